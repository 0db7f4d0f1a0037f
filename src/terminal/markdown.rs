//! Markdown for a terminal: wrapped paragraphs and lists, headings and code that stand out, blocks of code as they are.
//! Only what the runbooks use is known; anything else is shown as its text.

use anstyle::Style;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::human::wrap_text;
use crate::text::clean_text;

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
    in_code: bool,
    heading: bool,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                self.end_block();
                self.in_code = true;
                self.gap();
            }
            Event::End(TagEnd::CodeBlock) => {
                self.in_code = false;
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
            Event::Text(text) if self.in_code => {
                for line in text.lines() {
                    let line = format!("    {}", clean_text(line));
                    self.out.push_str(line.trim_end());
                    self.out.push('\n');
                }
            }
            Event::Text(text) => self.block.push_str(&clean_text(&text)),
            Event::Code(code) => self.block.push_str(&format!("`{}`", clean_text(&code))),
            Event::SoftBreak | Event::HardBreak => self.block.push(' '),
            _ => {}
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
        for line in wrap_text(block.trim(), Some(self.width), indent).lines() {
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

    const TEXT: &str = "# Title\n\nA paragraph that is `wrapped` where it is too long.\n\n- one\n- two words that do not fit on a line\n\n```console\n$ kmsctl status\nas it is, however long the line may be in here\n```\n\n1. first\n2. second\n";

    #[test]
    fn blocks_are_wrapped_and_code_is_not() {
        assert_eq!(
            render_markdown(TEXT, 30, false),
            "Title\n\nA paragraph that is `wrapped`\nwhere it is too long.\n\n  - one\n  - two words that do not fit\n    on a line\n\n    $ kmsctl status\n    as it is, however long the line may be in here\n\n  1. first\n  2. second\n\n"
        );
    }

    #[test]
    fn headings_stand_out_and_controls_do_not() {
        let shown = render_markdown("# A\u{1b}[2J\n", 40, true);
        assert_eq!(shown, "\u{1b}[1mA\\x1b[2J\u{1b}[0m\n\n");
    }
}
