//! The pfctl command of the simulated box: FreeBSD 14's options, words, messages and exit codes over the
//! [`World`]'s pf. What kmsctl never asks for (loading rules, switching pf, flushing) is refused by name.

mod info;
mod kill;
mod options;
mod show;
mod tables;

use jiff::Timestamp;

use super::pf::SimulatedPf;
use super::random::scramble_number;
use super::scenario::Scenario;
use super::world::World;

/// What a program printed, and its exit status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PfctlOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: u8,
}

impl PfctlOutput {
    /// Succeeds with text on stdout.
    pub fn data(text: impl Into<Vec<u8>>) -> Self {
        Self { stdout: text.into(), ..Self::default() }
    }

    /// Succeeds with one line of talk on stderr.
    fn talk(line: &str) -> Self {
        Self::failure(0, line)
    }

    /// Fails where kmsctl never asks for this.
    fn unsupported(what: &str) -> Self {
        let line = format!("pfctl: {what} is not supported by the simulated firewall");
        Self::failure(1, &line)
    }

    /// Fails with one line on stderr.
    pub fn failure(status: u8, line: &str) -> Self {
        Self { stderr: format!("{line}\n").into_bytes(), status, ..Self::default() }
    }

    /// Appends what ran after.
    fn then(mut self, next: Self) -> Self {
        self.stdout.extend(next.stdout);
        self.stderr.extend(next.stderr);
        self.status = next.status;
        self
    }
}

/// Runs pfctl with these arguments (without its own name) and this standard input.
pub fn run_pfctl(world: &mut World, arguments: &[String], input: &[u8]) -> PfctlOutput {
    let options = match options::parse_options(arguments) {
        Ok(options) => options,
        Err(output) => return output,
    };
    if world.scenario == Scenario::Denied {
        return PfctlOutput::failure(1, "pfctl: /dev/pf: Permission denied");
    }
    let now = world.now;
    let mut output = PfctlOutput::default();
    if let Some(word) = options.show {
        output = output.then(show::show_word(world, word, &options, now));
        if world.scenario == Scenario::Reloading && matches!(word, "rules" | "nat") {
            output = race_with_load(world, output);
        }
    }
    if !options.kill.is_empty() {
        output = output.then(kill::kill_by_option(&mut world.pf, &options, now));
    }
    if !options.kill_sources.is_empty() {
        output = output.then(kill::kill_sources(&mut world.pf, &options));
    }
    if options.table_command.is_some() {
        output = output.then(tables::run_table_command(&mut world.pf, &options, input, now));
    }
    output
}

/// Lets a load of the ruleset race with a list that is being printed: every second one is cut, anywhere, and some others are
/// the last of the old ruleset. pfctl says so on stderr, and exits with 0.
fn race_with_load(world: &mut World, whole: PfctlOutput) -> PfctlOutput {
    world.raced += 1;
    let chance = scramble_number(world.raced);
    if chance.is_multiple_of(5) {
        world.pf.load_meanwhile();
    }
    if chance.is_multiple_of(2) {
        return whole;
    }
    world.pf.load_meanwhile();
    let ends = whole.stdout.iter().enumerate();
    let ends: Vec<usize> = ends.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let lines = usize::try_from(chance >> 32).unwrap_or_default() % ends.len().max(1);
    let kept = lines.checked_sub(1).and_then(|last| ends.get(last));
    let request = if lines == 0 { "DIOCGETRULES" } else { "DIOCGETRULE" };
    let mut stdout = whole.stdout;
    stdout.truncate(kept.copied().unwrap_or_default());
    PfctlOutput { stdout, ..PfctlOutput::failure(0, &format!("pfctl: {request}: Device busy")) }
}

/// Counts the entries of a table as `-vv` shows it after the name: `*` if there is no such table.
fn entry_count(pf: &SimulatedPf, table: &str) -> String {
    pf.table(table).map_or_else(|| "*".to_owned(), |table| table.entries.len().to_string())
}

/// Prints Unix milliseconds in C's `ctime` form, in UTC.
fn printed_time(milliseconds: i64) -> String {
    let time = Timestamp::from_second(milliseconds.div_euclid(1000)).unwrap_or_default();
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[cfg(test)]
mod tests;
