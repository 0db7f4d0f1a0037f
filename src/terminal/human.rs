//! The form for people: headed lines and tables, fitted to the terminal's width. Everything is cleaned here.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use unicode_width::UnicodeWidthStr;

use super::pasted::Carried;
use crate::text::clean_text;

/// What a word means; colour repeats the meaning and never carries it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    /// Wraps text in the tone's colour, if colour is on.
    pub fn paint(self, text: &str, color: bool) -> String {
        let style = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Self::Warning => Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold(),
            Self::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        };
        if color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

#[derive(Clone, Debug)]
enum HumanBlock {
    Line(String),
    Verbatim(String),
    /// `shouts` is whether the label is the verdict, and the value a sentence about it.
    Field {
        label: String,
        value: String,
        tone: Tone,
        shouts: bool,
    },
    Table {
        columns: Vec<TableColumn>,
        rows: Vec<Vec<String>>,
    },
    Gap,
}

#[derive(Clone, Debug)]
pub struct TableColumn {
    title: &'static str,
    right: bool,
    /// Left out on narrow terminals, highest first; 0 always stays.
    dropped: u8,
    /// Says below the table how to read it.
    legend: Option<&'static str>,
}

impl TableColumn {
    /// Lets the column go on a terminal that is too narrow; the highest order goes first.
    #[must_use]
    pub fn droppable(mut self, order: u8) -> Self {
        self.dropped = order;
        self
    }

    #[must_use]
    pub fn explained(mut self, legend: &'static str) -> Self {
        self.legend = Some(legend);
        self
    }
}

pub fn text_column(title: &'static str) -> TableColumn {
    TableColumn { title, right: false, dropped: 0, legend: None }
}

pub fn number_column(title: &'static str) -> TableColumn {
    TableColumn { title, right: true, dropped: 0, legend: None }
}

/// What a view shows to people.
#[derive(Clone, Debug, Default)]
pub struct Human {
    blocks: Vec<HumanBlock>,
    /// Its tables are a few rows of lists that other commands show whole, so columns go from them without a word.
    pub is_extract: bool,
}

impl Human {
    pub fn line(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.blocks.push(HumanBlock::Line(clean_text(text.as_ref()).into_owned()));
        self
    }

    /// Adds a line that is neither wrapped nor cut, for text that has its own layout.
    pub fn verbatim(&mut self, text: &str) -> &mut Self {
        self.blocks.push(HumanBlock::Verbatim(clean_text(text).into_owned()));
        self
    }

    /// Adds a labelled value; consecutive fields share one column. The tone is that of the verdict that the value begins with.
    pub fn field(&mut self, label: &str, value: impl AsRef<str>, tone: Tone) -> &mut Self {
        self.add_field(label, value.as_ref(), tone, false)
    }

    /// Adds a verdict, and what it is about beside it.
    pub fn verdict(&mut self, verdict: &str, about: impl AsRef<str>, tone: Tone) -> &mut Self {
        self.add_field(verdict, about.as_ref(), tone, true)
    }

    fn add_field(&mut self, label: &str, value: &str, tone: Tone, shouts: bool) -> &mut Self {
        self.blocks.push(HumanBlock::Field {
            label: clean_text(label).into_owned(),
            value: clean_text(value).into_owned(),
            tone,
            shouts,
        });
        self
    }

    /// Adds a table; nothing is added when there are no rows.
    pub fn table(&mut self, columns: Vec<TableColumn>, rows: Vec<Vec<String>>) -> &mut Self {
        if !rows.is_empty() {
            let rows = rows
                .into_iter()
                .map(|row| row.iter().map(|cell| clean_text(cell).into_owned()).collect())
                .collect();
            self.blocks.push(HumanBlock::Table { columns, rows });
        }
        self
    }

    /// Adds an empty line, unless the view is still empty.
    pub fn gap(&mut self) -> &mut Self {
        if !self.blocks.is_empty() {
            self.blocks.push(HumanBlock::Gap);
        }
        self
    }

    /// Appends another view's blocks.
    pub fn add_view(&mut self, mut other: Self) -> &mut Self {
        self.blocks.append(&mut other.blocks);
        self
    }

    /// Puts flags into every command of lines and fields. Tables hold what came from elsewhere, and no commands.
    pub fn carry(&mut self, carried: &Carried) {
        for block in &mut self.blocks {
            if let HumanBlock::Line(text) | HumanBlock::Field { value: text, .. } = block {
                *text = carried.put_into_text(text).into_owned();
            }
        }
    }

    /// Renders for the given width (`None`: no cutting), with or without colour. Ends with a newline unless empty.
    pub fn render(&self, width: Option<u16>, color: bool) -> String {
        let label_width = self.blocks.iter().map(|block| match block {
            HumanBlock::Field { label, .. } => label.width() + 2,
            _ => 0,
        });
        let label_width = label_width.max().unwrap_or_default();
        let mut text = String::new();
        for block in &self.blocks {
            match block {
                HumanBlock::Line(line) => text.push_str(&wrap_text(line, width, 0)),
                HumanBlock::Verbatim(line) => {
                    text.push_str(line);
                    text.push('\n');
                }
                HumanBlock::Field { label, value, tone, shouts } => {
                    let blanks = " ".repeat(label_width.saturating_sub(label.width()));
                    let wrapped = wrap_text(value, width, label_width);
                    let mut lines = wrapped.lines();
                    let first = lines.next().unwrap_or_default();
                    if *shouts {
                        text.push_str(&format!("{}{blanks}{first}\n", tone.paint(label, color)));
                    } else {
                        let verdict = tone.paint(leading_verdict(first), color);
                        let rest = first.get(leading_verdict(first).len()..).unwrap_or_default();
                        text.push_str(&format!("{label}{blanks}{verdict}{rest}\n"));
                    }
                    for line in lines {
                        text.push_str(&format!("{:label_width$}{line}\n", ""));
                    }
                }
                HumanBlock::Table { columns, rows } => {
                    text.push_str(&render_table(columns, rows, width, !self.is_extract));
                }
                HumanBlock::Gap => text.push('\n'),
            }
        }
        text
    }
}

/// Returns the verdict that a value begins with, such as `ok` or `NOT in force`; a sentence is none.
fn leading_verdict(value: &str) -> &str {
    const MOST_WORDS: usize = 3;
    let marks = value.find([':', ',', '.', ';', '(']).unwrap_or(value.len());
    let end = value.find("  ").unwrap_or(value.len()).min(marks);
    let verdict = value.get(..end).unwrap_or_default().trim_end();
    if verdict.split(' ').count() > MOST_WORDS { "" } else { verdict }
}

/// Breaks text at blanks so that it fits beside an indent; into a pipe it stays whole. Blanks at its beginning stay, and stand
/// before each of its lines.
pub(super) fn wrap_text(text: &str, width: Option<u16>, indent: usize) -> String {
    let margin: String = text.chars().take_while(|letter| *letter == ' ').collect();
    let taken = indent + margin.len();
    let room = width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(taken).max(20));
    let mut wrapped = margin.clone();
    let mut used = 0;
    let words = whole_words(text.trim_start_matches(' '));
    for word in words.into_iter().flat_map(|word| fit_word(word, room)) {
        let length = word.width();
        if used > 0 && used + 1 + length > room {
            wrapped.push('\n');
            wrapped.push_str(&margin);
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(&word);
        used += length;
    }
    wrapped.push('\n');
    wrapped
}

/// Breaks what stands in backticks where no line has room for it: a command so that it can still be pasted, and what a program
/// printed, which begins with a capital, at any blank.
fn fit_word(word: &str, room: usize) -> Vec<Cow<'_, str>> {
    if word.width() <= room || !word.contains(' ') {
        return vec![Cow::Borrowed(word)];
    }
    if word.trim_start_matches(['(', '`']).starts_with(char::is_uppercase) {
        return word.split(' ').map(Cow::Borrowed).collect();
    }
    break_command(word, room).into_iter().map(Cow::Owned).collect()
}

/// Breaks a command at blanks outside of quotes; a backslash at the end of a line joins it with the next for a shell.
pub(super) fn break_command(command: &str, room: usize) -> Vec<String> {
    const ON: &str = " \\";
    let mut lines = vec![String::new()];
    let mut quote = None;
    let mut word = String::new();
    for letter in command.chars().chain(" ".chars()) {
        if letter != ' ' || quote.is_some() {
            word.push(letter);
        }
        match quote {
            Some(open) if open == letter => quote = None,
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter == ' ' && !word.is_empty() => {
                let Some(line) = lines.last_mut() else { continue };
                if !line.trim().is_empty() && line.width() + 1 + word.width() + ON.len() > room {
                    line.push_str(ON);
                    lines.push(format!("  {word}"));
                } else {
                    line.push_str(if line.is_empty() { "" } else { " " });
                    line.push_str(&word);
                }
                word.clear();
            }
            _ => {}
        }
    }
    lines
}

/// Splits text at its blanks, but for words in backticks: a command is pasted whole, and a schedule of cron is one thing.
fn whole_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Only a backtick before the word's first letter opens one; the rest of the text is not searched for it.
        let opening = rest.find(|letter: char| "` ".contains(letter) || letter.is_alphanumeric());
        let quoted =
            opening.filter(|start| rest.get(*start..).is_some_and(|at| at.starts_with('`')));
        let close = quoted.and_then(|start| {
            let (words, _) = rest.get(start + 1..)?.split_once('`')?;
            // A lone backtick, in the name of a rule perhaps, holds no sentence together.
            (words.trim() == words).then_some(start + words.len() + 2)
        });
        let from = close.unwrap_or(0);
        let blank = rest.get(from..).and_then(|tail| tail.find(' '));
        let end = blank.map_or(rest.len(), |blank| from + blank);
        words.extend(rest.get(..end));
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    words
}

/// Blanks between two columns.
const BETWEEN: usize = 2;

/// A text column is not made narrower than this, as a word a line cannot be read.
const NARROWEST: usize = 14;

/// A column's place and its width.
type Fitted = (usize, usize);

/// Lays a table out. No word is ever broken, as addresses and ids are pasted: columns that may go are left out first,
/// then text is wrapped at its blanks; where that does not do, each row becomes a block of lines.
fn render_table(
    columns: &[TableColumn],
    rows: &[Vec<String>],
    width: Option<u16>,
    notes: bool,
) -> String {
    let Some(shown) = fit_columns(columns, rows, width.map(usize::from)) else {
        return render_stacked(columns, rows, width);
    };
    let pick = |row: &[String]| -> Vec<String> {
        shown.iter().map(|(index, _)| row.get(*index).cloned().unwrap_or_default()).collect()
    };
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(
            shown.iter().filter_map(|(index, _)| columns.get(*index)).map(|column| column.title),
        );
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.add_rows(rows.iter().map(|row| pick(row)));
    let last = shown.len().saturating_sub(1);
    for (place, (column, (index, fitted))) in table.column_iter_mut().zip(&shown).enumerate() {
        let padding = if place == last { 0 } else { BETWEEN };
        column.set_padding((0, u16::try_from(padding).unwrap_or_default()));
        if columns.get(*index).is_some_and(|shape| shape.right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if width.is_some() {
            let whole = u16::try_from(fitted + padding).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(whole)));
        }
    }
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let legends = shown.iter().filter_map(|(index, _)| columns.get(*index)?.legend);
    text.extend(legends.map(|legend| wrap_text(legend, width, 0)));
    let is_shown = |place: &usize| shown.iter().any(|(index, _)| index == place);
    let left_out = (0..columns.len()).filter(|place| !is_shown(place));
    let left_out = left_out.filter_map(|place| columns.get(place)).map(|column| column.title);
    if let Some(sentence) = left_out_sentence(&left_out.collect::<Vec<_>>()).filter(|_| notes) {
        text.push_str(&wrap_text(&sentence, width, 0));
    }
    text
}

/// Says which columns a narrow terminal has no room for; nothing where there are none.
pub fn left_out_sentence(titles: &[&str]) -> Option<String> {
    let titles = titles.join(", ");
    (!titles.is_empty())
        .then(|| format!("Too narrow for {titles}: a wider terminal shows more, a pipe all."))
}

/// Renders each row as a block of labelled lines, for tables that do not fit.
fn render_stacked(columns: &[TableColumn], rows: &[Vec<String>], width: Option<u16>) -> String {
    let label_width = columns.iter().map(|column| column.title.width() + BETWEEN);
    let label_width = label_width.max().unwrap_or_default();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        for (column, cell) in columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
            let mut label = column.title;
            for line in wrap_text(cell, width, label_width).lines() {
                text.push_str(format!("{label:label_width$}{line}").trim_end());
                text.push('\n');
                label = "";
            }
        }
    }
    let legends = columns.iter().filter_map(|column| column.legend);
    text.extend(legends.map(|legend| wrap_text(legend, width, 0)));
    text
}

/// Returns the columns that fit with their widths; `None` where the table cannot be shown without breaking a word.
fn fit_columns(
    columns: &[TableColumn],
    rows: &[Vec<String>],
    width: Option<usize>,
) -> Option<Vec<Fitted>> {
    let cells = |index: usize| rows.iter().filter_map(move |row| row.get(index));
    let title = |index: usize| columns.get(index).map_or(0, |column| column.title.width());
    let natural = |index: usize| {
        let widest = cells(index).map(|cell| cell.width()).max();
        // A column without a title and without a word is laid out one wide.
        widest.unwrap_or_default().max(title(index)).max(1)
    };
    let narrowest = |index: usize| {
        let whole = natural(index);
        if columns.get(index).is_none_or(|column| column.right) {
            return whole;
        }
        let words = cells(index).flat_map(|cell| cell.split(' '));
        let longest = words.map(UnicodeWidthStr::width).max().unwrap_or_default();
        longest.max(title(index)).max(whole.min(NARROWEST))
    };
    let mut shown: Vec<Fitted> = (0..columns.len()).map(|index| (index, natural(index))).collect();
    let Some(width) = width else {
        return Some(shown);
    };
    let total = |shown: &[Fitted]| {
        let widths: usize = shown.iter().map(|(_, width)| width + BETWEEN).sum();
        widths.saturating_sub(BETWEEN)
    };
    let order = |index: usize| columns.get(index).map_or(0, |column| column.dropped);
    while total(&shown) > width {
        let most = shown.iter().map(|(index, _)| order(*index)).max();
        let Some(most) = most.filter(|most| *most > 0) else {
            break;
        };
        shown.retain(|(index, _)| order(*index) != most);
    }
    while total(&shown) > width {
        let wide = shown
            .iter_mut()
            .filter(|(index, width)| *width > narrowest(*index))
            .max_by_key(|(_, width)| *width)?;
        wide.1 -= 1;
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_end_is_wrapped() {
        let long = "no name (no node): container ` missing; ".repeat(50_000) + "`one command`";
        let lines = wrap_text(&long, Some(80), 0);
        assert!(lines.ends_with("`one command`\n"), "{}", &lines[lines.len() - 80..]);
    }

    #[test]
    fn margins_stay_and_quotes_are_whole() {
        assert_eq!(wrap_text("  a: b", None, 0), "  a: b\n");
        assert_eq!(
            wrap_text("  one two three four five six", Some(22), 0),
            "  one two three four\n  five six\n"
        );
        assert_eq!(
            wrap_text("Cron frees it at (`*/60 * * * *`) now", Some(24), 0),
            "Cron frees it at\n(`*/60 * * * *`) now\n"
        );
        let long = "See `kmsctl virusprot show --older-than 2h` and `a b`";
        let words = ["See", "`kmsctl virusprot show --older-than 2h`", "and", "`a b`"];
        assert_eq!(whole_words(long), words);
        assert_eq!(
            wrap_text(
                "Free it: `kmsctl virusprot delete --reason 'a b' 203.0.113.65`.",
                Some(30),
                4
            ),
            "Free it:\n`kmsctl virusprot delete \\\n  --reason 'a b' \\\n  203.0.113.65`.\n"
        );
        // A lone backtick, in the name of a rule perhaps, holds nothing together.
        let lone = whole_words("The rule `odd is in front: `kmsctl status`");
        assert_eq!(lone.last(), Some(&"`kmsctl status`"));
    }

    #[test]
    fn a_table_fits_a_terminal_and_stays_whole_in_a_pipe() {
        let mut human = Human::default();
        let long = "a long cell with many words that cannot fit into thirty columns";
        human.table(
            vec![text_column("ADDRESS"), text_column("WHY")],
            vec![vec!["192.0.2.1".into(), long.into()]],
        );
        assert!(human.render(Some(30), false).lines().all(|line| line.chars().count() <= 30));
        assert!(human.render(None, false).contains(long));
    }

    #[test]
    fn columns_go_before_an_address_is_broken() {
        let mut human = Human::default();
        human.table(
            vec![
                text_column("ADDRESS"),
                number_column("IN").droppable(2),
                number_column("AGE").droppable(1),
            ],
            vec![vec!["2001:db8:bad::20".into(), "1.0 MiB".into(), "5m".into()]],
        );
        let (narrow, narrowest) = (human.render(Some(24), false), human.render(Some(18), false));
        assert!(narrow.starts_with("ADDRESS           AGE\n2001:db8:bad::20   5m\n"), "{narrow}");
        assert!(narrowest.starts_with("ADDRESS\n2001:db8:bad::20\n"), "{narrowest}");
        let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined(&narrow).contains("Too narrow for IN:"), "{narrow}");
        assert!(joined(&narrowest).contains("Too narrow for IN, AGE:"), "{narrowest}");
        assert!(!human.render(Some(80), false).contains("Too narrow"));
    }

    /// Returns the words of a text.
    fn words(text: &str) -> std::collections::BTreeSet<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn no_table_breaks_a_word() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255";
        let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let rows = vec![
            row([
                "2026-03-01T12:21:34Z",
                "20260301T122134Z-abcdef",
                "a.rather.long.name@a-machine.with-a-long-name.example.net",
                "ratelimit set --max-src-conn 4294967295 --rate 4294967295/86400 --for 24h",
                "superseded by 20260301T122134Z-abcdef",
            ]),
            row(["", longest, "x", "规则 规则 规则 规则 规则 规则 规则", "failed"]),
        ];
        let mut human = Human::default();
        human.table(["AT", "ID", "WHO", "WHAT", "OUTCOME"].map(text_column).to_vec(), rows);
        let whole = human.render(None, false);
        for width in [20, 40, 60, 80, 100, 140, 200] {
            let shown = human.render(Some(width), false);
            assert!(words(&shown).is_subset(&words(&whole)), "{width}:\n{shown}");
            assert!(words(&whole).is_subset(&words(&shown)), "{width}:\n{shown}");
            for line in
                shown.lines().filter(|line| width >= 60 && line.width() > usize::from(width))
            {
                let last = line.split_whitespace().next_back().unwrap_or_default();
                assert!(last.width() + 9 > usize::from(width), "{width}: {line}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_table_keeps_its_words(
            rows in proptest::collection::vec(proptest::collection::vec("[a-z0-9.: ]{0,50}", 4), 1..5),
            width in 20_u16..150,
        ) {
            let mut human = Human::default();
            human.table(vec![text_column(""), number_column("B"), text_column("C"), text_column("WITH MANY WORDS")], rows);
            let (whole, shown) = (human.render(None, false), human.render(Some(width), false));
            proptest::prop_assert!(words(&shown).is_subset(&words(&whole)), "{}", shown);
            let wider = shown.lines().filter(|line| line.width() > usize::from(width));
            for line in wider.filter(|_| width >= 60) {
                let longest = line.split(' ').map(UnicodeWidthStr::width).max().unwrap_or_default();
                proptest::prop_assert!(longest + 20 > usize::from(width), "{}: {}", width, shown);
            }
        }
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        let mut human = Human::default();
        human
            .line("a\x1b[2J")
            .field("la\x1b[8mbel", "b\r\nc", Tone::Bad)
            .table(vec![text_column("X")], vec![vec!["\x1b]0;t\x07".into()]]);
        assert!(!human.render(Some(80), false).contains('\x1b'));
    }

    #[test]
    fn colour_marks_the_verdict_alone() {
        let (on, off) = ("\u{1b}[32m", "\u{1b}[0m");
        for (label, value, wanted) in [
            ("Verdict", "open: it answers", format!("Verdict  {on}open{off}: it answers\n")),
            (
                "Verdict",
                "not as expected: half",
                format!("Verdict  {on}not as expected{off}: half\n"),
            ),
            (
                "Caps",
                "NOT in force, though loaded",
                format!("Caps  {on}NOT in force{off}, though loaded\n"),
            ),
            ("host", "not blocked (by none)", format!("host  {on}not blocked{off} (by none)\n")),
            (
                "dns",
                "ok       fw is 10.0.0.1.",
                format!("dns  {on}ok{off}       fw is 10.0.0.1.\n"),
            ),
            ("pf", "WRONG    It is off.", format!("pf  {on}WRONG{off}    It is off.\n")),
            ("Undo", "none. It is gone.", format!("Undo  {on}none{off}. It is gone.\n")),
            ("Note", "this is a sentence.", "Note  this is a sentence.\n".to_owned()),
            ("Reading", "unknown", format!("Reading  {on}unknown{off}\n")),
        ] {
            let mut human = Human::default();
            human.field(label, value, Tone::Good);
            assert_eq!(human.render(Some(80), true), wanted);
        }
        for (verdict, about) in [("Fine", "All is well."), ("Rolled back", "pfSense says no.")] {
            let mut human = Human::default();
            human.verdict(verdict, about, Tone::Good);
            assert_eq!(human.render(Some(80), true), format!("{on}{verdict}{off}  {about}\n"));
        }
        let mut human = Human::default();
        human.field("A rather long label", "NOT in force: none is loaded", Tone::Good);
        let narrow = human.render(Some(30), true);
        assert!(narrow.contains(&format!("{on}NOT in force{off}: none\n")), "{narrow}");
    }

    #[test]
    fn fields_wrap_beside_their_label() {
        let mut human = Human::default();
        human.field("State", "one two three four five six seven", Tone::Plain);
        assert_eq!(
            human.render(Some(27), false),
            "State  one two three four\n       five six seven\n"
        );
    }
}
