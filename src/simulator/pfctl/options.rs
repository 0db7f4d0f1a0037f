//! pfctl's command line: getopt(3) as FreeBSD has it, abbreviated words, and what is wrong usage.

use super::PfctlOutput;

/// The words of `-s`, in the order abbreviations are looked up.
const SHOW: [&str; 6] = ["nat", "rules", "Sources", "states", "info", "memory"];
/// The words of `-T`.
const TABLE: [&str; 4] = ["add", "delete", "show", "test"];
/// pf's `PF_TABLE_NAME_SIZE` less the final zero.
const TABLE_NAME: usize = 31;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PfctlOptions {
    /// `-f`.
    pub file: Option<String>,
    /// `-k`, once or twice.
    pub kill: Vec<String>,
    /// `-K`, once or twice.
    pub kill_sources: Vec<String>,
    /// `-s`.
    pub show: Option<&'static str>,
    /// `-t`.
    pub table: String,
    /// `-T`.
    pub table_command: Option<&'static str>,
    /// How many `-v`.
    pub verbose: u8,
    pub addresses: Vec<String>,
    /// The first option that the simulation does not know how to do.
    pub unsupported: Option<char>,
}

/// Reads the arguments; the error is what pfctl prints about them.
pub fn parse_options(arguments: &[String]) -> Result<PfctlOptions, PfctlOutput> {
    if arguments.is_empty() {
        return Err(PfctlOutput::usage(None));
    }
    let mut options = PfctlOptions::default();
    let mut words = arguments.iter();
    let mut rest: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            rest.push(word.clone());
            break;
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            if !takes_value(letter) {
                options.flag(letter)?;
                continue;
            }
            let joined = letters.as_str().to_owned();
            let value = if joined.is_empty() {
                words.next().cloned()
            } else {
                Some(joined)
            };
            let Some(value) = value else {
                return Err(PfctlOutput::usage(Some(&format!(
                    "pfctl: option requires an argument -- {letter}"
                ))));
            };
            options.value(letter, value)?;
            break;
        }
    }
    rest.extend(words.cloned());
    options.check(rest)
}

fn takes_value(letter: char) -> bool {
    "aDFfiKkopstTx".contains(letter)
}

impl PfctlOptions {
    fn flag(&mut self, letter: char) -> Result<(), PfctlOutput> {
        match letter {
            'v' => self.verbose = self.verbose.saturating_add(1),
            // Ports are printed as numbers in any case.
            'P' => {}
            'A' | 'd' | 'e' | 'g' | 'M' | 'm' | 'N' | 'n' | 'O' | 'q' | 'R' | 'r' | 'z' => {
                self.unsupported = self.unsupported.or(Some(letter));
            }
            _ => {
                return Err(PfctlOutput::usage(Some(&format!(
                    "pfctl: illegal option -- {letter}"
                ))));
            }
        }
        Ok(())
    }

    fn value(&mut self, letter: char, value: String) -> Result<(), PfctlOutput> {
        match letter {
            'f' => self.file = Some(value),
            'K' => push_option(&mut self.kill_sources, value, letter)?,
            'k' => push_option(&mut self.kill, value, letter)?,
            's' => self.show = Some(look_up(&SHOW, &value, "show modifier")?),
            't' => self.table = value,
            'T' => self.table_command = Some(look_up(&TABLE, &value, "table command")?),
            _ => self.unsupported = self.unsupported.or(Some(letter)),
        }
        Ok(())
    }

    fn check(mut self, rest: Vec<String>) -> Result<Self, PfctlOutput> {
        if self.table_command.is_some() {
            if self.table.is_empty() || self.table.len() > TABLE_NAME {
                return Err(PfctlOutput::usage(None));
            }
            self.addresses = rest;
        } else if let Some(first) = rest.first() {
            return Err(PfctlOutput::usage(Some(&format!(
                "pfctl: unknown command line argument: {first} ..."
            ))));
        } else if self.file.is_some() {
            self.unsupported = self.unsupported.or(Some('f'));
        }
        Ok(self)
    }
}

fn push_option(list: &mut Vec<String>, value: String, letter: char) -> Result<(), PfctlOutput> {
    if list.len() >= 2 {
        return Err(PfctlOutput::usage(Some(&format!(
            "pfctl: can only specify -{letter} twice"
        ))));
    }
    list.push(value);
    Ok(())
}

/// Returns the first word that begins so; case counts, `-s s` is states and `-s S` Sources.
fn look_up(
    words: &'static [&'static str],
    given: &str,
    what: &str,
) -> Result<&'static str, PfctlOutput> {
    words
        .iter()
        .find(|word| word.starts_with(given))
        .copied()
        .ok_or_else(|| PfctlOutput::usage(Some(&format!("pfctl: Unknown {what} '{given}'"))))
}
