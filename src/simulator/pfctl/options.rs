//! pfctl's command line, as far as kmsctl and its runbooks use it: joined letters and abbreviated words as getopt(3) of
//! FreeBSD has them. Everything else is refused by name.

use super::PfctlOutput;
use crate::domain::exposure::upnp::UPNP_ANCHOR;

/// The words of `-s`, in the order abbreviations are looked up; case counts, `-s s` is states and `-s S` Sources.
const SHOW: [&str; 6] = ["nat", "rules", "Sources", "states", "info", "memory"];
/// The words of `-T`.
const TABLE: [&str; 4] = ["add", "delete", "show", "test"];
/// pf's `PF_TABLE_NAME_SIZE` less the final zero.
const TABLE_NAME: usize = 31;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PfctlOptions {
    /// `-a`, of UPnP's anchor.
    pub in_upnp: bool,
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
}

/// Reads the arguments; the error refuses what is not one of them.
pub fn parse_options(arguments: &[String]) -> Result<PfctlOptions, PfctlOutput> {
    let mut options = PfctlOptions::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-') else {
            options.addresses.push(word.clone());
            options.addresses.extend(words.cloned());
            break;
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'v' => options.verbose = options.verbose.saturating_add(1),
                // Ports are printed as numbers in any case.
                'P' => {}
                _ => {
                    let joined = Some(letters.as_str()).filter(|joined| !joined.is_empty());
                    let value = joined.or_else(|| words.next().map(String::as_str));
                    value
                        .and_then(|value| options.take_value(letter, value))
                        .ok_or_else(|| PfctlOutput::unsupported(&format!("-{letter}")))?;
                    break;
                }
            }
        }
    }
    let whole = if options.table_command.is_some() {
        (1..=TABLE_NAME).contains(&options.table.len())
    } else {
        let of_table = !options.table.is_empty() || !options.addresses.is_empty();
        !arguments.is_empty() && !of_table && options.file.is_none()
    };
    // Of an anchor only the rules are asked.
    let whole = whole && (!options.in_upnp || matches!(options.show, Some("nat" | "rules")));
    whole.then_some(options).ok_or_else(|| PfctlOutput::unsupported("such a command line"))
}

impl PfctlOptions {
    fn take_value(&mut self, letter: char, value: &str) -> Option<()> {
        let named = |words: &[&'static str]| {
            let mut words = words.iter().copied();
            words.find(|word| word.starts_with(value))
        };
        match letter {
            'a' if value == UPNP_ANCHOR => self.in_upnp = true,
            'f' => self.file = Some(value.to_owned()),
            'K' => self.kill_sources.push(value.to_owned()),
            'k' => self.kill.push(value.to_owned()),
            's' => self.show = Some(named(&SHOW)?),
            't' => value.clone_into(&mut self.table),
            'T' => self.table_command = Some(named(&TABLE)?),
            _ => return None,
        }
        Some(())
    }
}
