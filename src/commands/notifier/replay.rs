//! `kmsctl notifier replay FILE`: prints each decision as it is made, so that a log of any size needs no memory.

use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::logs::EVENT_COLUMNS;
use super::status::Layout;
use crate::app::Context;
use crate::domain::kms_log::KmsEvent;
use crate::domain::kms_log::wrapper::{SEVERAL_SERVERS, STRANGE_ROW};
use crate::domain::notifier::decide::{Decided, Decision, DecisionRules, Summary};
use crate::domain::notifier::dedup::Dedup;
use crate::domain::notifier::event_log::EventRecord;
use crate::domain::warning::Warning;
use crate::error::{Failure, FailureKind, Result};
use crate::notifier::replay::replay_log;
use crate::settings::notifier::Notifier;
use crate::terminal::{Mode, Tone, View};
use crate::text::{clean_text, counted, escape_json, whole_second};

const COLUMNS: &[&str] = EVENT_COLUMNS.split_at(13).0.split_at(1).1;

enum Stop {
    Read(io::Error),
    Write(io::Error),
    Form(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// What is shown of a replay, and how it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// The totals only.
    pub summary_only: bool,
    pub probes: bool,
    /// As what was there before the notifier first looked.
    pub as_first_read: bool,
}

/// Replays a file, or stdin for `-`.
pub(super) fn run_replay(context: &Context, file: &Path, choice: Choice) -> Result<()> {
    let summary_only = choice.summary_only;
    let input = open_saved_log(file)?;
    let rules = context.settings.networks.decision_rules();
    let settings = Notifier::resolve(&context.settings_reader())?;
    let not_before =
        choice.as_first_read.then(|| settings.not_before(context.clock.now().as_second()));
    let first = (context.clock.today(), not_before);
    let mut dedup = Dedup::new(settings.dedup_window.as_secs(), Dedup::MOST);
    let mut printer = ReplayPrinter {
        mode: context.terminal.mode,
        output: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
        events: 0,
        probes: choice.probes,
        layout: Layout::new(context.terminal.width),
    };
    let replayed = if summary_only {
        replay_log(input, &rules, first, &mut dedup, |_, _| Ok(()))
    } else {
        printer.print_head(context).and_then(|()| {
            replay_log(input, &rules, first, &mut dedup, |event, decision| {
                printer.print_event(&rules, event, decision)
            })
        })
    };
    let finished = replayed.and_then(|summary| {
        if !summary_only {
            printer.print_summary(&summary)?;
        }
        printer.output.flush().map_err(Stop::Write)?;
        Ok(summary)
    });
    drop(printer);
    let summary = finished.map_err(|stop| match stop {
        Stop::Read(error) => cannot_read(file, &error),
        Stop::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Failure::new(FailureKind::ReaderGone, "The reader closed the pipe.")
        }
        Stop::Write(error) => Failure::failed(format!("The output cannot be written: {error}.")),
        Stop::Form(failure) => failure,
    })?;
    let warnings = log_warnings(&summary);
    if !(context.terminal.mode == Mode::Table && summary_only) {
        context.terminal.warn(&warnings);
    }
    show_summary(context, &summary, summary_only, warnings)?;
    if summary.lines > 0 && summary.unparsed == summary.lines {
        return Err(not_of_server(file));
    }
    Ok(())
}

/// Opens a saved log, packed or not, or stdin for `-`.
pub fn open_saved_log(file: &Path) -> Result<Box<dyn Read>> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(open_replay_file(file)?)
    };
    let input = unpack_gzip(input).map_err(|error| cannot_read(file, &error))?;
    Ok(Box::new(EndingLines { input, line: 0 }))
}

/// The longest line that is read to its end: more is no log, and may never end.
const LONGEST_LINE: usize = 64 << 20;

/// Reads on as long as lines end.
struct EndingLines<R> {
    input: R,
    line: usize,
}

impl<R: Read> Read for EndingLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        self.line = match memchr::memrchr(b'\n', read) {
            Some(end) => count - end - 1,
            None => self.line + count,
        };
        if self.line > LONGEST_LINE {
            let why = "it has a line of more than 64 MiB, and no log has";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(count)
    }
}

pub fn not_of_server(file: &Path) -> Failure {
    let text = format!("No line of {} is the KMS server's.", file.display());
    let hint = "Give it the file that vlmcsd writes with `-l`, or what `logs` of kubectl and docker prints of it.";
    Failure::new(FailureKind::Inconclusive, text).hint(hint)
}

pub fn cannot_read(file: &Path, error: &io::Error) -> Failure {
    let name = file.display();
    let failure = Failure::failed(format!("{name} cannot be read: {error}."));
    // What is damaged is not the disk but what was packed.
    let damaged =
        [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];
    failure.hint(if damaged.contains(&error.kind()) {
        "It is cut off or damaged: copy it again, or give what `zcat` still reads of it on stdin, with - as the file."
    } else {
        "Look at the file and at the disk that it is on."
    })
}

/// Unpacks what gzip has packed; everything else is handed on as it is.
fn unpack_gzip(mut input: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut start = Vec::new();
    input.by_ref().take(2).read_to_end(&mut start)?;
    let packed = start == b"\x1f\x8b";
    let whole = io::Cursor::new(start).chain(input);
    Ok(if packed {
        Box::new(Unpacked(Some(GzDecoder::new(io::BufReader::new(whole)))))
    } else {
        Box::new(whole)
    })
}

/// Reads packed members one after the other, up to what is none: gzip(1) leaves what follows the last aside as well.
struct Unpacked<R>(Option<GzDecoder<R>>);

impl<R: io::BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let mut rest = self.0.take().map(GzDecoder::into_inner);
            let more = match &mut rest {
                Some(rest) => rest.fill_buf()?.starts_with(b"\x1f"),
                None => false,
            };
            self.0 = rest.filter(|_| more).map(GzDecoder::new);
        }
        Ok(0)
    }
}

fn log_warnings(summary: &Summary) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(wrapped) = summary.wrapped {
        warnings.push(Warning::new(
            "wrapped",
            format!("Each line carries {}; it was taken off.", wrapped.as_words()),
        ));
    }
    if summary.several_sources {
        warnings.push(Warning::new("several-servers", SEVERAL_SERVERS));
    }
    if summary.lines > 0 && summary.unparsed == summary.lines {
        let seems =
            summary.seems.map_or_else(String::new, |seems| format!(" It seems to be {seems}."));
        let text = format!("None of {} lines is vlmcsd's.{seems}", summary.lines);
        warnings.push(Warning::new("not-understood", text));
    } else if summary.strange_row >= STRANGE_ROW {
        let seems =
            summary.seems.map_or_else(String::new, |seems| format!(" They seem to be {seems}."));
        let text = format!("None of the last {} lines is vlmcsd's.{seems}", summary.strange_row);
        warnings.push(Warning::new("not-understood", text));
    }
    warnings
}

fn open_replay_file(file: &Path) -> Result<File> {
    let cannot = |problem: String| {
        Failure::usage(format!("{} cannot be read: {problem}.", file.display()))
            .hint("Give it the file that vlmcsd writes with `-l`, or - and the log on stdin.")
    };
    // What a shell puts in a command's place (`<(zcat LOG)`) is a pipe that has no path of its own.
    if file.canonicalize().is_ok_and(|path| is_named_pipe(&path)) {
        return Err(cannot("it is a named pipe, which nothing may ever be written to".to_owned()));
    }
    let opened = File::open(file).map_err(|error| cannot(error.to_string()))?;
    let kind = opened.metadata().map_err(|error| cannot(error.to_string()))?.file_type();
    if kind.is_dir() {
        return Err(cannot("it is a directory".to_owned()));
    }
    if kind.is_char_device() || kind.is_block_device() {
        return Err(cannot("it is a device, which may have no end".to_owned()));
    }
    Ok(opened)
}

fn is_named_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Prints events one by one in the chosen form.
struct ReplayPrinter<W: Write> {
    mode: Mode,
    output: W,
    events: u64,
    probes: bool,
    layout: Layout,
}

impl<W: Write> ReplayPrinter<W> {
    fn print_head(&mut self, context: &Context) -> std::result::Result<(), Stop> {
        match self.mode {
            Mode::Json => {
                let now = whole_second(context.clock.now());
                write!(
                    self.output,
                    "{{\n  \"schema\": \"kmsctl/notifier.replay/v1\",\n  \"taken_at\": \"{now}\",\n  \"data\": {{\n    \"events\": ["
                )
            }
            Mode::Csv => writeln!(self.output, "{}", COLUMNS.join(",")),
            Mode::Ndjson => Ok(()),
            Mode::Table => writeln!(self.output, "{}", self.layout.title_row()),
        }
        .map_err(Stop::Write)
    }

    fn print_event(
        &mut self,
        rules: &DecisionRules,
        event: &KmsEvent,
        decision: Decision,
    ) -> std::result::Result<(), Stop> {
        if self.mode == Mode::Table && !self.probes && matches!(event, KmsEvent::Probe { .. }) {
            return Ok(());
        }
        let decided = rules.describe_event(event, decision);
        self.events += 1;
        let text = || {
            serde_json::to_string(&decided).map_err(|error| {
                Stop::Form(Failure::failed("An event cannot be put into JSON.").with_cause(error))
            })
        };
        match self.mode {
            Mode::Json => {
                let comma = if self.events > 1 { "," } else { "" };
                write!(self.output, "{comma}\n      {}", escape_json(text()?))
            }
            Mode::Ndjson => writeln!(self.output, "{}", escape_json(text()?)),
            Mode::Csv => return self.print_record(&decided),
            Mode::Table => {
                let record = EventRecord::from(decided);
                writeln!(self.output, "{}", self.layout.render_event(&record))
            }
        }
        .map_err(Stop::Write)
    }

    fn print_record(&mut self, decided: &Decided) -> std::result::Result<(), Stop> {
        let broken = |error: anyhow::Error| {
            Stop::Form(Failure::failed("An event cannot be put into CSV.").with_cause(error))
        };
        let value = serde_json::to_value(decided).map_err(|error| broken(error.into()))?;
        let cells = COLUMNS.iter().map(|column| match value.get(column) {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => clean_text(text).into_owned(),
            Some(other) => other.to_string(),
        });
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(cells).map_err(|error| broken(error.into()))?;
        let bytes = writer.into_inner().map_err(|error| broken(anyhow::anyhow!("{error}")))?;
        self.output.write_all(&bytes).map_err(Stop::Write)
    }

    fn print_summary(&mut self, summary: &Summary) -> std::result::Result<(), Stop> {
        if self.mode != Mode::Json {
            return Ok(());
        }
        let text = serde_json::to_string(summary).map_err(|error| {
            Stop::Form(Failure::failed("The totals cannot be put into JSON.").with_cause(error))
        })?;
        let warnings = serde_json::to_string(&log_warnings(summary)).map_err(|error| {
            Stop::Form(Failure::failed("The warnings cannot be put into JSON.").with_cause(error))
        })?;
        let end = if self.events > 0 { "\n    " } else { "" };
        writeln!(
            self.output,
            "{end}],\n    \"summary\": {text}\n  }},\n  \"warnings\": {warnings}\n}}"
        )
        .map_err(Stop::Write)
    }
}

/// Shows the totals: under the table, or alone where only they were asked for.
fn show_summary(
    context: &Context,
    summary: &Summary,
    only: bool,
    warnings: Vec<Warning>,
) -> Result<()> {
    if !only && context.terminal.mode != Mode::Table {
        return Ok(());
    }
    let mut view = View::new(
        "notifier.replay",
        context.clock.now(),
        &serde_json::json!({ "summary": summary }),
    )?;
    view.warnings = warnings;
    if !only {
        view.human.gap();
    }
    let probes = &summary.probes;
    let total = probes.internal_pod + probes.cluster_node + probes.external;
    let fields = [
        ("Lines", format!("{} ({} not understood)", summary.lines, summary.unparsed)),
        ("Connections", summary.connections.to_string()),
        (
            "Activations",
            format!("{} ({} of uncertain client)", summary.activations, summary.ambiguous),
        ),
        ("Refusals", summary.refusals.to_string()),
        (
            "Posts",
            format!(
                "{} ({} held back)",
                summary.posts,
                counted(summary.duplicates, "duplicate", "duplicates")
            ),
        ),
        (
            "Probes",
            format!(
                "{total} ({}, {}, {} outside)",
                counted(probes.internal_pod, "pod", "pods"),
                counted(probes.cluster_node, "node", "nodes"),
                probes.external
            ),
        ),
        ("Anomalies", summary.anomalies.to_string()),
    ];
    for (label, value) in fields {
        view.human.field(label, &value, Tone::Plain);
    }
    context.terminal.show(&view)
}
