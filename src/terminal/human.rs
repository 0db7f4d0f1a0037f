//! The form for people: headed lines and tables, fitted to the terminal's width. Everything is cleaned here.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::clean;

/// What a word means; colour repeats the meaning and never carries it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Needs a look.
    Warning,
    /// Wrong.
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
        if color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[derive(Clone, Debug)]
enum Block {
    Line(String),
    Verbatim(String),
    Field {
        label: String,
        value: String,
        tone: Tone,
    },
    Table {
        columns: Vec<Column>,
        rows: Vec<Vec<String>>,
    },
    Gap,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
}

/// A text column.
pub fn left(title: &'static str) -> Column {
    Column {
        title,
        right: false,
    }
}

/// A number column.
pub fn right(title: &'static str) -> Column {
    Column { title, right: true }
}

/// What a view shows to people.
#[derive(Clone, Debug, Default)]
pub struct Human {
    blocks: Vec<Block>,
}

impl Human {
    /// Adds a line of text.
    pub fn line(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.blocks
            .push(Block::Line(clean(text.as_ref()).into_owned()));
        self
    }

    /// Adds a line that is neither wrapped nor cut, for text that has its own layout.
    pub fn verbatim(&mut self, text: &str) -> &mut Self {
        self.blocks.push(Block::Verbatim(clean(text).into_owned()));
        self
    }

    /// Adds a labelled value; consecutive fields share one column.
    pub fn field(&mut self, label: &str, value: impl AsRef<str>, tone: Tone) -> &mut Self {
        self.blocks.push(Block::Field {
            label: label.to_owned(),
            value: clean(value.as_ref()).into_owned(),
            tone,
        });
        self
    }

    /// Adds a table; nothing is added when there are no rows.
    pub fn table(&mut self, columns: Vec<Column>, rows: Vec<Vec<String>>) -> &mut Self {
        if !rows.is_empty() {
            let rows = rows
                .into_iter()
                .map(|row| row.iter().map(|cell| clean(cell).into_owned()).collect())
                .collect();
            self.blocks.push(Block::Table { columns, rows });
        }
        self
    }

    /// Adds an empty line, unless the view is still empty.
    pub fn gap(&mut self) -> &mut Self {
        if !self.blocks.is_empty() {
            self.blocks.push(Block::Gap);
        }
        self
    }

    /// Appends another view's blocks.
    pub fn append(&mut self, mut other: Self) -> &mut Self {
        self.blocks.append(&mut other.blocks);
        self
    }

    /// Renders for the given width (`None`: no cutting), with or without colour. Ends with a newline unless empty.
    pub fn render(&self, width: Option<u16>, color: bool) -> String {
        let label_width = self.blocks.iter().map(|block| match block {
            Block::Field { label, .. } => label.chars().count() + 2,
            _ => 0,
        });
        let label_width = label_width.max().unwrap_or_default();
        let mut text = String::new();
        for block in &self.blocks {
            match block {
                Block::Line(line) => text.push_str(&wrap(line, width, 0)),
                Block::Verbatim(line) => {
                    text.push_str(line);
                    text.push('\n');
                }
                Block::Field { label, value, tone } => {
                    let wrapped = wrap(value, width, label_width);
                    let mut lines = wrapped.lines();
                    let first = lines.next().unwrap_or_default();
                    text.push_str(&format!("{label:label_width$}{}", tone.paint(first, color)));
                    for line in lines {
                        text.push_str(&format!("\n{:label_width$}{}", "", tone.paint(line, color)));
                    }
                    text.push('\n');
                }
                Block::Table { columns, rows } => {
                    text.push_str(&render_table(columns, rows, width));
                }
                Block::Gap => text.push('\n'),
            }
        }
        text
    }
}

/// Breaks text at blanks so that it fits beside an indent; into a pipe it stays whole.
fn wrap(text: &str, width: Option<u16>, indent: usize) -> String {
    let room = width.map_or(usize::MAX, |width| {
        usize::from(width).saturating_sub(indent).max(20)
    });
    let mut wrapped = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            wrapped.push('\n');
            used = 0;
        } else if used > 0 || !wrapped.is_empty() {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped.push('\n');
    wrapped
}

fn render_table(columns: &[Column], rows: &[Vec<String>], width: Option<u16>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(columns.iter().map(|column| column.title));
    match width {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.add_rows(rows);
    for (column, shape) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if shape.right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// Renders a span of seconds with its two largest units: `45s`, `12m 05s`, `3h 20m`, `2d 4h`; whole ones alone: `1h`.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours, minutes, rest) {
        (0, 0, 0, _) => format!("{rest}s"),
        (0, 0, _, 0) => format!("{minutes}m"),
        (0, 0, _, _) => format!("{minutes}m {rest:02}s"),
        (0, _, 0, _) => format!("{hours}h"),
        (0, _, _, _) => format!("{hours}h {minutes:02}m"),
        (_, 0, _, _) => format!("{days}d"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Renders bytes with a binary unit: `512 B`, `1.4 KiB`, `3.0 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut divisor = 1024_u64;
    while unit + 1 < UNITS.len() && count / divisor >= 1024 {
        divisor *= 1024;
        unit += 1;
    }
    let tenths = u128::from(count) * 10 / u128::from(divisor);
    format!(
        "{}.{} {}",
        tenths / 10,
        tenths % 10,
        UNITS.get(unit).unwrap_or(&"EiB")
    )
}

/// Renders a count with thin grouping for people: `1 445 985`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_bytes_are_short() {
        assert_eq!(
            [span(5), span(725), span(3_600), span(12_000), span(190_000)],
            ["5s", "12m 05s", "1h", "3h 20m", "2d 4h"]
        );
        assert_eq!(
            [bytes(12), bytes(1_434), bytes(3 << 20), bytes(u64::MAX)],
            ["12 B", "1.4 KiB", "3.0 MiB", "15.9 EiB"]
        );
        assert_eq!([count(7), count(1_445_985)], ["7", "1 445 985"]);
    }

    #[test]
    fn a_table_fits_a_terminal_and_stays_whole_in_a_pipe() {
        let mut human = Human::default();
        let long = "a long cell with many words that cannot fit into thirty columns";
        human.table(
            vec![left("ADDRESS"), left("WHY")],
            vec![vec!["192.0.2.1".into(), long.into()]],
        );
        assert!(
            human
                .render(Some(30), false)
                .lines()
                .all(|line| line.chars().count() <= 30)
        );
        assert!(human.render(None, false).contains(long));
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        let mut human = Human::default();
        human
            .line("a\x1b[2J")
            .field("label", "b\r\nc", Tone::Bad)
            .table(vec![left("X")], vec![vec!["\x1b]0;t\x07".into()]]);
        assert!(!human.render(Some(80), false).contains('\x1b'));
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
