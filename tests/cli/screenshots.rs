//! The pictures in `runbooks/`: what a terminal of 100 columns shows of the demo, as SVG.
//!
//! `KMSCTL_TESTS_BLESS=1 cargo test --test cli screenshots` draws them anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::environment::TestEnvironment;
use crate::support::screen::at_terminal;

const COLUMNS: u16 = 100;

/// Name of the picture, what is shown, and what is done before.
const PICTURES: &[(&str, &str, &[&[&str]])] = &[
    ("doctor", "doctor", &[]),
    ("history", "history", CHANGES),
    ("revoke", "expose revoke --dry-run", &[]),
    ("status", "status", &[]),
];

const CHANGES: &[&[&str]] = &[
    &["ratelimit", "tighten", "--for", "2h", "--reason", "scanners", "--yes"],
    &["virusprot", "delete", "203.0.113.65", "--reason", "a customer", "--yes"],
    &["expose", "revoke", "--reason", "abuse", "--yes"],
    &["undo", "--yes"],
];

/// Returns the fill and weight that a sequence such as `1;31` asks for.
fn style(sequence: &str, present: &mut (&'static str, bool)) {
    for number in sequence.split(';') {
        match number {
            "1" => present.1 = true,
            "31" => present.0 = "#e06c75",
            "32" => present.0 = "#98c379",
            "33" => present.0 = "#e5c07b",
            _ => *present = ("#d7dae0", false),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Draws the text of a terminal.
fn draw(command: &str, text: &str) -> String {
    let (wide, high) = (9, 19);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let (width, height) = (usize::from(COLUMNS) * wide + 24, (lines.len() + 2) * high + 16);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"15\">\n<title>kmsctl {command}</title>\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#21252b\"/>\n"
    );
    let mut row = |number: usize, content: String| {
        let y = 12 + (number + 1) * high;
        let _ = writeln!(
            svg,
            "<text x=\"12\" y=\"{y}\" xml:space=\"preserve\" fill=\"#d7dae0\">{content}</text>"
        );
    };
    row(0, format!("<tspan fill=\"#7f848e\">$ kmsctl {}</tspan>", escaped(command)));
    for (number, line) in (1..).zip(&lines) {
        let mut present = ("#d7dae0", false);
        let mut content = String::new();
        let mut parts = line.split("\u{1b}[");
        content.push_str(&escaped(parts.next().unwrap_or_default()));
        for part in parts {
            let (sequence, rest) = part.split_once('m').unwrap_or(("", part));
            style(sequence, &mut present);
            if rest.is_empty() {
                continue;
            }
            let weight = if present.1 { " font-weight=\"bold\"" } else { "" };
            let _ =
                write!(content, "<tspan fill=\"{}\"{weight}>{}</tspan>", present.0, escaped(rest));
        }
        row(number, content);
    }
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn pictures_show_what_the_demo_prints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    for (name, command, before) in PICTURES {
        let environment = TestEnvironment::new();
        for change in *before {
            environment.demo(change).success();
        }
        let words = format!("--demo --no-pager {command}");
        let fresh = draw(command, &at_terminal(&environment, COLUMNS, 60, &words));
        let path = folder.join(format!("{name}.svg"));
        if std::env::var_os("KMSCTL_TESTS_BLESS").is_some() {
            std::fs::write(&path, fresh).expect("a picture");
        } else {
            let kept = std::fs::read_to_string(&path).expect("a picture");
            assert_eq!(kept, fresh, "{}", path.display());
        }
    }
}
