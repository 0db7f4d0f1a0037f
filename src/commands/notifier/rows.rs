//! Rows of events that are printed as they come, before the widest one is known: columns of fixed width that fit the
//! terminal. On a narrow one columns are left out and long cells cut; into a pipe everything stays whole.

use crate::domain::notifier::event_log::{EventRecord, Happening};
use crate::terminal::clean_text;

/// One column: its title, least and most width, and when it goes on a narrow terminal (highest first, 0 stays).
struct StatusColumn(&'static str, usize, usize, u8);

const COLUMNS: [StatusColumn; 8] = [
    StatusColumn("AT", 20, 20, 0),
    StatusColumn("EVENT", 10, 23, 0),
    StatusColumn("DECISION", 9, 9, 1),
    StatusColumn("CLIENT", 21, 21, 0),
    StatusColumn("SOURCE", 12, 12, 3),
    StatusColumn("PRODUCT", 18, 34, 0),
    StatusColumn("WORKSTATION", 15, 28, 2),
    StatusColumn("STATUS", 12, 12, 4),
];
/// Below this width a moment is shown without its year.
const NARROW: usize = 100;
/// Letters of a whole moment, and of one without its year.
const WHOLE_MOMENT: usize = 20;
const SHORT: usize = 14;
/// The place of the status.
const STATUS: usize = 7;
/// Those that take what is left, in this order: workstation, product, event.
const GROWING: [usize; 3] = [6, 5, 1];
/// Those that are never cut: half an address or half a time is worse than none.
const WHOLE: [&str; 2] = ["AT", "CLIENT"];
/// Blanks between two columns.
const BETWEEN: usize = 2;

/// Which columns are shown, and how wide.
pub struct Layout {
    shown: Vec<(usize, usize)>,
    width: Option<usize>,
    /// The width of a moment: without its year on a narrow terminal.
    moment: usize,
}

impl Layout {
    /// Fits the columns to a terminal's width.
    pub fn new(width: Option<u16>) -> Self {
        let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
        let width = width.map(usize::from);
        let order = |index: &usize| COLUMNS.get(*index).map_or(0, |column| column.3);
        let narrow = width.is_some_and(|room| room < NARROW);
        let moment = if narrow { SHORT } else { WHOLE_MOMENT };
        let mut widths = COLUMNS.map(|column| column.1);
        if let Some(first) = widths.first_mut() {
            *first = moment;
        }
        let least = |shown: &[usize]| -> usize {
            let widths = shown.iter().filter_map(|index| widths.get(*index));
            widths.map(|width| width + BETWEEN).sum::<usize>() - BETWEEN
        };
        while let Some(room) = width
            && least(&shown) > room
        {
            let Some(most) = shown.iter().map(order).max().filter(|most| *most > 0) else {
                break;
            };
            shown.retain(|index| order(index) != most);
        }
        let spare =
            |shown: &[usize]| width.map_or(usize::MAX, |room| room.saturating_sub(least(shown)));
        let growth = |index: &usize| COLUMNS.get(*index).map_or(0, |column| column.2 - column.1);
        // Whole names are worth more than the status before.
        if spare(&shown) < GROWING.iter().map(growth).sum() {
            shown.retain(|index| *index != STATUS);
        }
        let mut spare = spare(&shown);
        for index in GROWING {
            if let Some(wide) = widths.get_mut(index).filter(|_| shown.contains(&index)) {
                let more = growth(&index).min(spare);
                spare -= more;
                *wide += more;
            }
        }
        let wide = |index: usize| Some((index, *widths.get(index)?));
        Self {
            shown: shown.into_iter().filter_map(wide).collect(),
            width,
            moment,
        }
    }

    /// Renders the titles.
    pub fn head(&self) -> String {
        self.row(&COLUMNS.map(|column| column.0))
    }

    /// Renders one row; cells are cleaned here.
    pub fn row(&self, cells: &[&str; 8]) -> String {
        let mut line = String::new();
        for (index, width) in &self.shown {
            let (Some(cell), Some(column)) = (cells.get(*index), COLUMNS.get(*index)) else {
                continue;
            };
            let cell = if *index == 0 { self.moment(cell) } else { cell };
            let cell = clean_text(cell);
            let whole = self.width.is_none() || WHOLE.contains(&column.0);
            let cell = if whole {
                cell.into_owned()
            } else {
                cut_to_width(&cell, *width)
            };
            line.push_str(&format!("{cell:width$}  "));
        }
        self.fit(line.trim_end())
    }

    /// Renders an event.
    pub fn event(&self, told: &EventRecord) -> String {
        let at = told.at.map_or_else(String::new, |at| {
            at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        });
        if told.event == Happening::Note {
            let text = told.text.as_deref().unwrap_or_default();
            return self.fit(&format!(
                "{:width$}  {:10}  {}",
                self.moment(&at),
                "note",
                clean_text(text),
                width = self.moment
            ));
        }
        let client = match (told.address, told.port) {
            (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
            (Some(address), None) => address.to_string(),
            _ => String::new(),
        };
        let guess = if told.attribution.as_deref() == Some("ambiguous") {
            "?"
        } else {
            ""
        };
        let kind = told.kind.as_ref().map(|kind| format!(" {kind}"));
        self.row(&[
            &at,
            &format!("{}{}", told.event.name(), kind.unwrap_or_default()),
            told.decision.as_deref().unwrap_or_default(),
            &format!("{client}{guess}"),
            told.source
                .map_or("", crate::domain::notifier::source::ClientSource::name),
            told.product.as_deref().unwrap_or_default(),
            told.workstation.as_deref().unwrap_or_default(),
            told.status.as_deref().unwrap_or_default(),
        ])
    }

    /// Leaves the year out of `2026-03-01T12:00:00Z` on a narrow terminal.
    fn moment<'a>(&self, at: &'a str) -> &'a str {
        let short = || at.get(5..5 + SHORT);
        if self.moment == SHORT && at.len() == WHOLE_MOMENT {
            short().unwrap_or(at)
        } else {
            at
        }
    }

    /// Cuts a whole line to the terminal.
    pub fn fit(&self, line: &str) -> String {
        self.width
            .map_or_else(|| line.to_owned(), |width| cut_to_width(line, width))
    }
}

fn cut_to_width(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_every_terminal_and_stay_whole_in_a_pipe() {
        let told = EventRecord {
            event: Happening::Activation,
            at: "2026-03-01T12:00:00.25Z".parse().ok(),
            address: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().ok(),
            port: Some(50_001),
            product: Some("A product with a very long name that no column holds".into()),
            workstation: Some("x\x1b[2Jy".into()),
            ..EventRecord::default()
        };
        for width in [20, 79, 80, 100, 140, 200] {
            let layout = Layout::new(Some(width));
            for line in [layout.head(), layout.event(&told)] {
                assert!(
                    line.chars().count() <= usize::from(width),
                    "{width}: {line}"
                );
            }
        }
        let whole = Layout::new(None).event(&told);
        assert!(
            whole.contains("that no column holds") && whole.contains("x\\x1b[2Jy"),
            "{whole}"
        );
        assert!(whole.contains("[2001:db8:1234:5678:9abc:def0:1234:5678]:50001"));
        let narrow = Layout::new(Some(80)).head();
        assert!(
            narrow.contains("CLIENT") && narrow.contains("DECISION") && !narrow.contains("STATUS")
        );
        assert!(Layout::new(Some(180)).head().contains("STATUS"));
    }
}
