//! Every captured output of the real pfctl goes through its parser: nothing unread, nothing lost, and what is kept
//! as printed (states, rules, marks) is the same to the byte. The manifest drives it, so that a new sample cannot be
//! forgotten.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test stops at the first surprise, and its helpers are not #[test] functions; the samples' names are ours"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kmsctl::domain::pf::{Parsed, Verbosity, info, rule, source, state, table};

/// Outputs that kmsctl never asks for. `-sa` is the others one after the other under headings; `-r` turns
/// addresses into names and has a test of its own.
const NOT_READ: [&str; 8] = ["-sA", "-sR", "-sT", "-sa", "-sl", "-st", "-nvf", "-r"];

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What became of a sample: how many items it held, and its text printed anew.
struct Outcome {
    count: usize,
    printed: Option<String>,
}

fn outcome<T, P: Into<Option<String>>>(
    name: &str,
    parsed: &Parsed<Vec<T>>,
    print: impl Fn(&[T]) -> P,
) -> Outcome {
    assert_eq!((parsed.unread.as_slice(), parsed.more_unread), (&[][..], 0), "{name}");
    Outcome { count: parsed.value.len(), printed: print(&parsed.value).into() }
}

fn lines<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string() + "\n").collect()
}

/// Prints rules as pfctl does, without the lines of their counters.
fn print_rules(rules: &[rule::Rule], verbosity: Verbosity) -> String {
    let (mut out, mut open) = (String::new(), 0);
    // With `-v`, pfctl does not indent what is in braces.
    let indent = |depth: u32| match verbosity {
        Verbosity::Plain => "  ".repeat(depth as usize),
        _ => String::new(),
    };
    let close = |out: &mut String, open: &mut u32, depth: u32| {
        while *open > depth {
            *open -= 1;
            *out += &format!("{}}}\n", indent(*open));
        }
    };
    for rule in rules {
        close(&mut out, &mut open, rule.depth);
        let number = rule.number.map(|number| format!("@{number} "));
        let brace = if rule.block { " {" } else { "" };
        let (indent, number) = (indent(rule.depth), number.unwrap_or_default());
        out += &format!("{indent}{number}{}{brace}\n", rule.text);
        open += u32::from(rule.block);
    }
    close(&mut out, &mut open, 0);
    out
}

/// Leaves out the lines of rules' counters.
fn without_counters(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    lines(text.lines().filter(|line| !line.trim_start().starts_with("[ ")))
}

fn print_marked(marked: &[table::Marked]) -> String {
    let signed = |negated: bool, net: &ipnet::IpNet| {
        let host = net.prefix_len() == net.max_prefix_len();
        let net = if host { net.addr().to_string() } else { net.to_string() };
        format!("{}{net}", if negated { '!' } else { ' ' })
    };
    let line = |marked: &table::Marked| {
        let mark = match marked.mark {
            table::Mark::Match => 'M',
            table::Mark::Added => 'A',
            table::Mark::Deleted => 'D',
            _ => ' ',
        };
        let found = match &marked.found {
            None => String::new(),
            Some(table::Found::Nothing) => "\t nomatch".to_owned(),
            Some(table::Found::Entry { negated, net }) => format!("\t{}", signed(*negated, net)),
        };
        format!("{mark} {}{found}", signed(marked.negated, &marked.net))
    };
    lines(marked.iter().map(line))
}

/// The words of a pfctl command, and how verbose it is.
struct Command<'a> {
    words: Vec<&'a str>,
    verbosity: Verbosity,
    debug: bool,
}

impl<'a> Command<'a> {
    fn new(command: &'a str) -> Self {
        let words: Vec<&str> = command.split(' ').collect();
        let flags = words.iter().filter(|word| word.starts_with('-') && !word.starts_with("--"));
        let letters: String = flags.map(|word| word.trim_start_matches('-')).collect();
        let verbosity = match letters.matches('v').count() {
            0 => Verbosity::Plain,
            1 => Verbosity::Verbose,
            _ => Verbosity::VeryVerbose,
        };
        let debug = words.contains(&"-g");
        Self { words, verbosity, debug }
    }

    /// Returns what `-s` shows, or `T show`, `T test` and so on.
    fn shows(&self) -> String {
        if let Some(place) = self.words.iter().position(|word| *word == "-T") {
            return format!("T {}", self.words[place + 1]);
        }
        let shows = self.words.iter().find_map(|word| {
            let letters = word.strip_prefix('-')?.trim_start_matches('v').trim_start_matches('P');
            letters.strip_prefix('s')
        });
        shows.unwrap_or_default().to_owned()
    }

    fn parse(&self, name: &str, text: &[u8]) -> Outcome {
        let verbosity = self.verbosity;
        match self.shows().as_str() {
            "T show" => outcome(name, &table::parse_table_entries(text), |_| None),
            "T test" => outcome(name, &table::parse_test(text), print_marked),
            "T add" | "T delete" => outcome(name, &table::parse_changes(text), print_marked),
            "r" | "n" => outcome(name, &rule::parse_pf_rules(text), |rules| {
                // What `-g` adds is read over, not kept.
                (!self.debug).then(|| print_rules(rules, verbosity))
            }),
            "s" => outcome(name, &state::parse(text), |states| {
                lines(states.iter().map(|state| state.display(verbosity)))
            }),
            "S" => outcome(name, &source::parse_source_nodes(text), |_| None),
            "i" => outcome(name, &info::parse_pf_info(text).map(|info| vec![info]), |_| None),
            "m" => outcome(name, &info::parse_limits(text).map(|limits| vec![limits]), |_| None),
            other => panic!("{name}: no parser for `{other}`"),
        }
    }
}

/// Counts items without the parser: lines that do not belong to the line before.
fn count_heads(text: &[u8], shows: &str) -> usize {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .filter(|line| match shows {
            "r" | "n" => !line.starts_with("  [") && *line != "}",
            "T show" => !line.starts_with('\t'),
            "i" | "m" => false,
            _ => !line.starts_with([' ', '\t']) || shows.starts_with("T "),
        })
        .count()
        .max(usize::from(matches!(shows, "i" | "m")))
}

#[test]
fn every_sample_of_stdout_is_read_whole() {
    let folder = fixtures("pfctl");
    let manifest = String::from_utf8(read(&folder.join("MANIFEST.tsv"))).unwrap();
    let mut read_files = BTreeSet::new();
    let mut counts = BTreeMap::new();
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (stdout, command) = (columns[3], Command::new(columns[5]));
        if stdout == "-" {
            continue;
        }
        read_files.insert(stdout.to_owned());
        if NOT_READ.iter().any(|flag| command.words.contains(flag)) {
            continue;
        }
        let text = read(&folder.join(stdout));
        let Outcome { count, printed } = command.parse(stdout, &text);
        assert_eq!(count, count_heads(&text, &command.shows()), "{stdout}");
        if let Some(printed) = printed {
            assert_eq!(printed, without_counters(&text), "{stdout}");
        }
        counts.insert(stdout.to_owned(), count);
    }
    let on_disk: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".txt") && !name.ends_with(".stderr.txt"))
        .collect();
    assert_eq!(read_files, on_disk, "the manifest names every file, and every file is there");
    // Counted by hand (`grep -c`).
    for (file, count) in [
        ("T-show-v.14.txt", 5),
        ("sS-gen100.14.txt", 100),
        ("sn-vv.14.txt", 14),
        ("ss-floating.14.txt", 27),
        ("ss-vv-gen200.12.txt", 200),
        ("ss-vv-gen200.14.txt", 200),
        ("vvsr.12.txt", 39),
        ("vvsr.14.txt", 39),
    ] {
        assert_eq!(counts[file], count, "{file}");
    }
}

#[test]
fn a_name_in_place_of_an_address_is_reported_and_never_looked_up() {
    for file in ["ss-r.12.txt", "ss-r.14.txt"] {
        let parsed = state::parse(&read(&fixtures("pfctl").join(file)));
        assert_eq!(parsed.value.len(), 26, "{file}");
        let [unread] = parsed.unread.as_slice() else {
            panic!("{file}: {:?}", parsed.unread);
        };
        assert_eq!(
            unread.text,
            "lo0 tcp localhost:953 <- localhost:35000       TIME_WAIT:TIME_WAIT"
        );
    }
}

#[test]
fn the_samples_of_a_box_like_the_users_are_read_whole() {
    let folder = fixtures("pfsense-2.7.2");
    let commands = [
        ("sn-P.txt", "pfctl -sn -P", 17),
        ("sr-P.txt", "pfctl -sr -P", 87),
        ("vvPsn.txt", "pfctl -vvPsn", 17),
        ("vvPsr.txt", "pfctl -vvPsr", 87),
    ];
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), commands.len());
    for (file, command, count) in commands {
        let text = read(&folder.join(file));
        let command = Command::new(command);
        let result = command.parse(file, &text);
        assert_eq!(result.count, count_heads(&text, &command.shows()), "{file}");
        assert_eq!(result.count, count, "{file}");
        assert_eq!(result.printed.unwrap(), without_counters(&text), "{file}");
    }
}
