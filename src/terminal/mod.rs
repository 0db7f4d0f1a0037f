//! Streams and modes: stdout is data, stderr is talk. The mode is decided once, in [`Terminal::new`]; every
//! byte that came from the firewall, a log or DNS passes [`clean_text`] before it reaches a terminal.

pub mod human;
mod interrupt;
pub mod keys;
mod markdown;
mod pager;
pub mod pasted;
pub mod prompt;
pub mod view;
pub mod yaml;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use human::{Human, Tone};
pub use interrupt::wait_for_interrupt;
pub use markdown::render_markdown;
pub use pager::Pager;
pub use pasted::{Carried, CarriedFlags};
pub use view::View;

use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::text::{clean_text, shorten_words, word_enum};

word_enum! {
    /// How data is printed.
    #[derive(Default)]
    pub enum Mode {
        #[default]
        Table = "table",
        Json = "json",
        /// One data item a line.
        Ndjson = "ndjson",
        /// Comma separated, with a header.
        Csv = "csv",
    }
}

word_enum! {
    #[derive(Default)]
    pub enum ColorChoice {
        /// On a terminal, unless NO_COLOR or TERM=dumb.
        #[default]
        Auto = "auto",
        Always = "always",
        Never = "never",
    }
}

/// The one output object.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub mode: Mode,
    /// Talk is silenced; data and errors are not.
    pub quiet: bool,
    /// Causes of errors and the progress of connecting are printed.
    pub verbose: bool,
    /// Width that tables are fitted to; `None` into a pipe.
    pub width: Option<u16>,
    /// How many lines a terminal has; `None` into a pipe.
    pub height: Option<u16>,
    /// A person can be asked: stdin and stderr are terminals.
    pub interactive: bool,
    /// Standard output is coloured.
    pub stdout_color: bool,
    /// Talk is coloured.
    pub stderr_color: bool,
    /// Width that talk is wrapped to; `None` into a pipe.
    talk_width: Option<u16>,
    /// What printed commands carry. One a process, so that the terminal stays a plain value.
    carried: Option<&'static Carried>,
    /// Shows what is longer than the screen; likewise.
    pager: Option<&'static Pager>,
}

impl Terminal {
    /// Decides modes from the settings and the streams.
    pub fn new(mode: Mode, color: ColorChoice, no_color: bool, quiet: bool, verbose: bool) -> Self {
        let stdout = io::stdout().is_terminal();
        let stderr = io::stderr().is_terminal();
        let colored = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        let size = stdout.then(terminal_size::terminal_size).flatten();
        Self {
            mode,
            quiet,
            verbose,
            width: size.map(|(width, _)| width.0.max(20)),
            height: size.map(|(_, height)| height.0),
            interactive: io::stdin().is_terminal() && stderr,
            talk_width: stderr
                .then(|| terminal_size::terminal_size_of(io::stderr()))
                .flatten()
                .map(|(width, _)| width.0.max(20)),
            stdout_color: colored(stdout),
            stderr_color: colored(stderr),
            carried: None,
            pager: None,
        }
    }

    /// Fits tables and lines to a width although they go into a pipe: another kmsctl shows them.
    #[must_use]
    pub fn fitted_to(mut self, width: Option<u16>) -> Self {
        self.width = width.or(self.width);
        self
    }

    /// Sends what is longer than the screen through a pager, where there is a person at a terminal.
    #[must_use]
    pub fn paging(mut self, pager: Option<&'static Pager>) -> Self {
        self.pager = pager.filter(|_| self.interactive && self.width.is_some());
        self
    }

    /// Returns whether text goes to a terminal in colour.
    pub fn colors(&self) -> bool {
        self.stdout_color
    }

    /// Writes text for reading, through the pager where it is longer than the screen.
    pub fn write_page(&self, text: &str, from_end: bool) -> Result<()> {
        let height = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        let long = text.lines().count() >= height.max(4);
        match self.pager.filter(|_| long) {
            Some(pager) => match pager::show_through(pager, text, from_end) {
                Ok(()) => Ok(()),
                Err(why) => {
                    self.caution(&format!("The pager `{}` {why}.", pager.command));
                    self.write(text)
                }
            },
            None => self.write(text),
        }
    }

    /// Makes every printed command carry these flags.
    #[must_use]
    pub fn carrying(mut self, carried: Option<&'static Carried>) -> Self {
        self.carried = carried;
        self
    }

    /// Returns a sentence whose commands carry the flags of this run, for where it is read elsewhere.
    pub fn pasted<'a>(&self, sentence: &'a str) -> Cow<'a, str> {
        self.carried.map_or(Cow::Borrowed(sentence), |carried| carried.put_into_text(sentence))
    }

    pub fn pasted_view<'a>(&self, view: &'a View) -> Cow<'a, View> {
        let Some(carried) = self.carried else {
            return Cow::Borrowed(view);
        };
        let mut pasted = view.clone();
        pasted.human.carry(carried);
        pasted.carried = Some(carried);
        for warning in &mut pasted.warnings {
            warning.message = carried.put_into_text(&warning.message).into_owned();
        }
        Cow::Owned(pasted)
    }

    /// Prints a view in the chosen mode: data on stdout, its warnings and its empty sentence on stderr.
    pub fn show(&self, view: &View) -> Result<()> {
        let view = &*self.pasted_view(view);
        #[cfg(test)]
        if tests::keep_view(view) {
            return Ok(());
        }
        let text = match self.mode {
            Mode::Table => view.human.render(self.width, self.stdout_color),
            Mode::Json => view.json()?,
            Mode::Ndjson => view.ndjson()?,
            Mode::Csv => view.csv()?,
        };
        if view.is_for_reading && self.mode == Mode::Table {
            self.write_page(&text, view.ends_with_newest)?;
        } else {
            self.write(&text)?;
        }
        if self.mode == Mode::Table
            && let Some(sentence) = &view.empty
        {
            self.say(sentence);
        }
        if self.mode != Mode::Json {
            self.warn(&view.warnings);
        }
        Ok(())
    }

    /// Writes text to stdout as it is. A reader that has gone away ends the program silently with success.
    pub fn write(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::BrokenPipe => {
                Failure::new(FailureKind::ReaderGone, "The reader closed the pipe.")
            }
            _ => Failure::failed(format!("The output cannot be written: {error}.")),
        })
    }

    /// Says a sentence on stderr, unless quiet.
    pub fn say(&self, sentence: &str) {
        if !self.quiet {
            self.talk(Tone::Plain, "", sentence);
        }
    }

    /// Shows people something on stderr that they are about to be asked about, also when quiet.
    pub fn present(&self, human: &Human) {
        let mut human = human.clone();
        if let Some(carried) = self.carried {
            human.carry(carried);
        }
        let text = human.render(self.talk_width, self.stderr_color);
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Shows one line of the same kind.
    pub fn present_line(&self, sentence: &str) {
        self.talk(Tone::Plain, "", sentence);
    }

    /// Prints warnings on stderr, unless quiet.
    pub fn warn(&self, warnings: &[Warning]) {
        for warning in warnings {
            self.caution(&warning.message);
        }
    }

    /// Prints one warning on stderr, unless quiet.
    pub fn caution(&self, sentence: &str) {
        self.say_labelled(Tone::Warning, "warning", sentence);
    }

    /// Prints a hint on stderr, unless quiet.
    pub fn hint(&self, hint: &str) {
        self.say_labelled(Tone::Plain, "hint", hint);
    }

    /// Prints a failure on stderr: in JSON mode as one object, otherwise as a sentence with its hints.
    pub fn fail(&self, failure: &Failure) {
        let message = shorten_words(&failure.message);
        if matches!(self.mode, Mode::Json | Mode::Ndjson) {
            let hints = failure.hints.iter().map(|hint| self.pasted(hint));
            let error = serde_json::json!({
                "schema": "kmsctl/error/v1",
                "error": {
                    "kind": failure.kind.name(),
                    "message": self.pasted(&message),
                    "hints": hints.collect::<Vec<_>>(),
                },
            });
            stderr_line(&crate::text::escape_json(error.to_string()));
            return;
        }
        self.talk(Tone::Bad, "error: ", &message);
        for hint in &failure.hints {
            self.talk(Tone::Plain, "hint: ", hint);
        }
        if self.verbose
            && let Some(source) = &failure.source
        {
            let differs =
                |cause: &&(dyn std::error::Error + 'static)| cause.to_string() != failure.message;
            for cause in source.chain().filter(differs) {
                self.talk(Tone::Plain, "cause: ", &cause.to_string());
            }
        }
    }

    /// Redraws a view in place for `--watch`: each line cleared to its end, so that nothing flickers. Warnings stand above
    /// the data, where a small screen shows them. Begins at the line that `first` and the key lead to, and returns it.
    pub fn redraw(
        &self,
        view: &View,
        footer: &str,
        first: usize,
        key: Option<keys::Key>,
    ) -> Result<usize> {
        let (width, height) = terminal_size::terminal_size()
            .map_or((80, 24), |(width, height)| (width.0.max(20), usize::from(height.0.max(4))));
        let mut text = String::new();
        for warning in &view.warnings {
            text.push_str(&human::wrap_text(
                &format!("warning: {}", clean_text(&warning.message)),
                Some(width),
                0,
            ));
        }
        text.push_str(&view.human.render(Some(width), self.stdout_color));
        if let Some(sentence) = &view.empty {
            text.push_str(&human::wrap_text(&clean_text(sentence), Some(width), 0));
        }
        let room = height - 1;
        let mut frame = String::from("\x1b[H");
        let lines: Vec<&str> = text.lines().collect();
        let first =
            keys::scrolled_first(first, key.unwrap_or(keys::Key::Lines(0)), lines.len(), room);
        for line in lines.iter().skip(first).take(room) {
            frame.push_str(line);
            frame.push_str("\x1b[K\r\n");
        }
        let more = match lines.len().saturating_sub(room) {
            0 => String::new(),
            _ => format!(
                "lines {}-{} of {}  ",
                first + 1,
                lines.len().min(first + room),
                lines.len()
            ),
        };
        let footer: String =
            format!("q ends  {more}{footer}").chars().take(usize::from(width) - 1).collect();
        frame.push_str(&format!("{footer}\x1b[K\x1b[J"));
        self.write(&frame)?;
        Ok(first)
    }

    /// Returns whether data are shown to people on a terminal, which `--watch` can redraw.
    pub fn shows_people(&self) -> bool {
        self.mode == Mode::Table && self.width.is_some()
    }

    fn say_labelled(&self, tone: Tone, label: &str, sentence: &str) {
        if !self.quiet {
            self.talk(tone, &format!("{label}: "), sentence);
        }
    }

    /// Writes a labelled sentence to stderr, cleaned and wrapped to its width.
    fn talk(&self, tone: Tone, label: &str, sentence: &str) {
        let sentence = self.pasted(sentence);
        let text =
            human::wrap_text(&format!("{label}{}", clean_text(&sentence)), self.talk_width, 0);
        let rest = text.strip_prefix(label.trim_end()).unwrap_or(&text);
        let label = tone.paint(label.trim_end(), self.stderr_color && !label.is_empty());
        stderr_line(&format!("{label}{}", rest.trim_end_matches('\n')));
    }
}

/// Writes one line to stderr; nothing can be done about a stderr that is gone.
fn stderr_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The screen taken for `--watch`; given back when dropped, also after an error.
pub struct Screen(
    #[expect(dead_code, reason = "held for its end, which gives the keys back")] keys::KeyMode,
);

impl Drop for Screen {
    fn drop(&mut self) {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| stdout.flush());
    }
}

impl Terminal {
    /// Switches to the alternate screen and hides the cursor until the returned value is dropped.
    pub fn take_screen(&self) -> Screen {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(b"\x1b[?1049h\x1b[?25l\x1b[2J").and_then(|()| stdout.flush());
        Screen(keys::KeyMode::start())
    }

    /// Starts a spinner on stderr, if stderr is a terminal and talk is wanted; it shows only after 400 ms, so that quick
    /// answers do not flicker.
    pub fn spinner(&self, message: &str) -> Spinner {
        if self.quiet || !self.interactive || self.mode != Mode::Table {
            return Spinner(None);
        }
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_style(style)
            .with_message(clean_text(message).into_owned());
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            shown.set_draw_target(ProgressDrawTarget::stderr());
            shown.enable_steady_tick(Duration::from_millis(120));
        });
        Spinner(Some((bar, task.abort_handle())))
    }
}

pub struct Spinner(Option<(ProgressBar, tokio::task::AbortHandle)>);

impl Spinner {
    /// Shows another message from now on.
    pub fn set_message(&self, message: &str) {
        if let Some((bar, _)) = &self.0 {
            bar.set_message(clean_text(message).into_owned());
        }
    }

    /// Takes it off the screen, so that a question can be asked or data shown.
    pub fn finish_and_clear(&self) {
        if let Some((bar, task)) = &self.0 {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.finish_and_clear();
    }
}

#[cfg(test)]
pub mod tests {
    use super::View;
    use std::cell::RefCell;

    thread_local! {
        static KEPT: RefCell<Option<Vec<View>>> = const { RefCell::new(None) };
    }

    /// Keeps what is shown on this thread while something works, and returns it: no width is chosen yet.
    pub fn views_of(work: impl FnOnce()) -> Vec<View> {
        KEPT.set(Some(Vec::new()));
        work();
        KEPT.take().unwrap_or_default()
    }

    pub fn keep_view(view: &View) -> bool {
        KEPT.with_borrow_mut(|kept| kept.as_mut().map(|kept| kept.push(view.clone())).is_some())
    }
}
