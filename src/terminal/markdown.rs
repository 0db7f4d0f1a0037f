//! Markdown for a terminal: wrapped paragraphs and lists, headings and code that stand out. Lines of code that are too long
//! are broken so that they can still be pasted. Only what the runbooks use is known; anything else is shown as its text.

use anstyle::Style;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use unicode_width::UnicodeWidthStr as _;

use super::human::{break_command, wrap_text};
use crate::text::clean_text;

/// Longer lines of prose are hard to read.
const WIDEST: u16 = 100;
/// What stands before code.
const MARGIN: &str = "    ";

/// Renders a document for a width, with or without colour.
pub fn render_markdown(text: &str, width: u16, color: bool) -> String {
    let mut page = Page { width, color, ..Page::default() };
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    width: u16,
    color: bool,
    block: String,
    /// What stands before the first line of the block, and how far the others are indented.
    lead: String,
    /// One for each list: the next number, if it is numbered.
    lists: Vec<Option<u64>>,
    code: Option<Code>,
    heading: bool,
}

/// What the lines of a block of code are.
#[derive(Clone, Copy, PartialEq)]
enum Code {
    /// Lines that a shell or a file takes; `#` begins a remark.
    Script,
    /// What is typed after `$ `, and what it prints.
    Session,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                self.end_block();
                let is_script = matches!(&kind, CodeBlockKind::Fenced(name) if ["sh", "toml"].contains(&&**name));
                self.code = Some(if is_script { Code::Script } else { Code::Session });
                self.gap();
            }
            Event::End(TagEnd::CodeBlock) => {
                self.code = None;
                self.gap();
            }
            Event::Start(Tag::Heading { .. }) => {
                self.gap();
                self.heading = true;
            }
            Event::End(TagEnd::Heading(_)) => {
                self.end_block();
                self.heading = false;
                self.gap();
            }
            Event::Start(Tag::List(first)) => {
                self.end_block();
                self.lists.push(first);
            }
            Event::End(TagEnd::List(_)) => {
                self.end_block();
                self.lists.pop();
                if self.lists.is_empty() {
                    self.gap();
                }
            }
            Event::Start(Tag::Item) => self.start_item(),
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::TableHead | TagEnd::TableRow) => {
                let paragraph =
                    self.lists.is_empty() && matches!(event, Event::End(TagEnd::Paragraph));
                self.end_block();
                if paragraph {
                    self.gap();
                }
            }
            Event::End(TagEnd::Table) => self.gap(),
            Event::End(TagEnd::TableCell) => self.block.push_str("  "),
            Event::Text(text) if let Some(code) = self.code => {
                for line in text.lines() {
                    self.add_code(&clean_text(line), code);
                }
            }
            Event::Text(text) => self.block.push_str(&clean_text(&text)),
            Event::Code(code) => self.block.push_str(&format!("`{}`", clean_text(&code))),
            Event::SoftBreak | Event::HardBreak => self.block.push(' '),
            _ => {}
        }
    }

    /// Writes a line of code. What is too long is broken: a command behind a backslash, a remark before its line, other text at
    /// a blank, under its last column.
    fn add_code(&mut self, line: &str, code: Code) {
        let room = usize::from(self.width).saturating_sub(MARGIN.len()).max(20);
        let mut lines = Vec::new();
        if line.width() <= room {
            lines.push(line.to_owned());
        } else if code == Code::Script {
            let (line, remark) = line.split_once(" # ").unwrap_or((line, ""));
            for remark in wrap_text(remark, Some(self.width), MARGIN.len() + 2).lines() {
                lines.extend((!remark.is_empty()).then(|| format!("# {remark}")));
            }
            lines.extend(break_command(line.trim_end(), room));
        } else if line.starts_with("$ ") {
            lines = break_command(line, room);
        } else {
            let column = line.rfind("  ").map(|end| end + 2).filter(|column| *column <= room / 2);
            let (before, text) = line.split_at(column.unwrap_or(0));
            // Rows of a table keep their order, not their places.
            let cells = text.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
            let text = cells.collect::<Vec<_>>().join("  ");
            let (mut lead, indent) = (before.to_owned(), column.unwrap_or(2));
            for line in wrap_text(&text, Some(self.width), MARGIN.len() + indent).lines() {
                lines.push(format!("{lead}{}", line.trim_start()));
                lead = " ".repeat(indent);
            }
        }
        for line in lines {
            self.out.push_str(format!("{MARGIN}{line}").trim_end());
            self.out.push('\n');
        }
    }

    fn start_item(&mut self) {
        self.end_block();
        let indent = "  ".repeat(self.lists.len());
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ => "- ".to_owned(),
        };
        self.lead = indent + &mark;
    }

    /// Writes the block, wrapped beside its lead.
    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let mut lead = std::mem::take(&mut self.lead);
        if block.trim().is_empty() {
            self.lead = lead;
            return;
        }
        if lead.is_empty() {
            lead = "  ".repeat(self.lists.len());
        }
        let indent = lead.chars().count();
        for line in wrap_text(block.trim(), Some(self.width.min(WIDEST)), indent).lines() {
            let line = if self.heading && self.color {
                let bold = Style::new().bold();
                format!("{bold}{line}{bold:#}")
            } else {
                line.to_owned()
            };
            self.out.push_str(&format!("{lead}{line}\n"));
            lead = " ".repeat(indent);
        }
    }

    /// Leaves one empty line, unless there is one or nothing stands before it.
    fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\nA paragraph that is `wrapped` where it is too long.\n\n- one\n- two words that do not fit on a line\n\n```console\n$ kmsctl status\nstate  wrapped under its last column\nA          B         OF TABLES\n$ kmsctl undo --reason 'a b' --yes\n```\n\n1. first\n2. second\n\n```toml\n[a]\nb = 1  # why this is one, said at length\n```\n";

    #[test]
    fn blocks_are_wrapped_and_code_stays_pasteable() {
        assert_eq!(
            render_markdown(TEXT, 30, false),
            "Title\n\nA paragraph that is `wrapped`\nwhere it is too long.\n\n  - one\n  - two words that do not fit\n    on a line\n\n    $ kmsctl status\n    state  wrapped under its\n           last column\n    A  B  OF TABLES\n    $ kmsctl undo --reason \\\n      'a b' --yes\n\n  1. first\n  2. second\n\n    [a]\n    # why this is one, said at\n    # length\n    b = 1\n\n"
        );
        let wide = render_markdown(TEXT, 80, false);
        assert!(!wide.contains('\\') && wide.contains("b = 1  # why"), "{wide}");
    }

    #[test]
    fn headings_stand_out_and_controls_do_not() {
        let shown = render_markdown("# A\u{1b}[2J\n", 40, true);
        assert_eq!(shown, "\u{1b}[1mA\\x1b[2J\u{1b}[0m\n\n");
    }
}
