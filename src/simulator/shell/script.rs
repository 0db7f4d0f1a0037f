//! Reads the script that [`crate::ssh::script::Script::render`] makes, once it is there whole, and runs its commands once
//! for every line `t`, until the next script takes its place. Anything else is refused, so a change of the framing shows here.

use std::collections::BTreeMap;

use super::{LONGEST_INPUT, ShellReply, run_program, unsupported_command};
use crate::simulator::pfctl::PfctlOutput;
use crate::simulator::world::World;
use crate::ssh::script::{AWK_FILTER, NOT_RUN, PREAMBLE};

/// A line `t` that names every command of a script of kmsctl is shorter, in bytes.
const LONGEST_ROUND_LINE: usize = 256;

/// The shell's state while it reads.
#[derive(Debug, Default)]
pub struct ScriptReader {
    /// What was read and not taken yet: a part of a script, or of a line.
    text: Vec<u8>,
    nonce: String,
    /// The commands, once their script is whole.
    steps: Option<Vec<ScriptStep>>,
}

#[derive(Debug)]
struct ScriptStep {
    words: Vec<String>,
    input: Vec<u8>,
    only_after: Option<usize>,
    /// Was started ahead: both its outputs come as one.
    was_ahead: bool,
}

/// Why a script is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScriptStop {
    /// More of it is to come.
    Cut,
    /// It is not one of ours.
    Foreign,
}

impl ScriptReader {
    /// Takes bytes of the script and runs what is complete.
    pub fn feed(&mut self, data: &[u8], world: &mut World) -> ShellReply {
        self.text.extend_from_slice(data);
        let text = std::mem::take(&mut self.text);
        let mut lines = ScriptLines(&text);
        let mut reply = ShellReply::default();
        loop {
            let before = lines.0;
            let stop = match self.take_next(&mut lines, world, &mut reply) {
                Ok(()) => continue,
                Err(stop) => stop,
            };
            let most = match self.steps {
                Some(_) => LONGEST_ROUND_LINE,
                None => LONGEST_INPUT,
            };
            if stop == ScriptStop::Foreign || before.len() > most {
                let refusal = unsupported_command();
                reply.stderr.extend(refusal.stderr);
                reply.exit = refusal.exit;
            }
            self.text = before.to_vec();
            return reply;
        }
    }

    /// Takes a whole script, or a line that runs its commands.
    fn take_next(
        &mut self,
        lines: &mut ScriptLines<'_>,
        world: &mut World,
        reply: &mut ShellReply,
    ) -> Result<(), ScriptStop> {
        if let Some(steps) = &self.steps {
            let mut after = ScriptLines(lines.0);
            let line = after.next()?;
            if let Some(wanted) = wanted_steps(line, steps.len()) {
                run_round(steps, &self.nonce, world, &wanted, reply);
                *lines = after;
                return Ok(());
            }
            // The next script, with the same marks.
            if line != format!("n={}", self.nonce) {
                return Err(ScriptStop::Foreign);
            }
            self.steps = None;
        }
        let (nonce, steps) = read_script(lines)?;
        (self.nonce, self.steps) = (nonce, Some(steps));
        Ok(())
    }

    /// Ends as `sh` does at the end of its script.
    pub fn finish(&mut self) -> ShellReply {
        let between = self.steps.is_some() || self.nonce.is_empty();
        if between && self.text.is_empty() {
            ShellReply { exit: Some(0), ..ShellReply::default() }
        } else {
            unsupported_command()
        }
    }
}

/// The lines that are there whole.
struct ScriptLines<'a>(&'a [u8]);

impl<'a> ScriptLines<'a> {
    fn next_bytes(&mut self) -> Result<&'a [u8], ScriptStop> {
        let end = memchr::memchr(b'\n', self.0).ok_or(ScriptStop::Cut)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(line)
    }

    fn next(&mut self) -> Result<&'a str, ScriptStop> {
        std::str::from_utf8(self.next_bytes()?).map_err(|_| ScriptStop::Foreign)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), ScriptStop> {
        let expected = self.next()? == wanted;
        expected.then_some(()).ok_or(ScriptStop::Foreign)
    }

    /// Reads the input below a command, to the line that is the nonce.
    fn read_input(&mut self, has_input: bool, nonce: &str) -> Result<Vec<u8>, ScriptStop> {
        let mut input = Vec::new();
        if !has_input {
            return Ok(input);
        }
        loop {
            let line = self.next_bytes()?;
            if line == nonce.as_bytes() {
                return Ok(input);
            }
            input.extend_from_slice(line);
            input.push(b'\n');
        }
    }
}

/// Reads the definitions: the nonce and the commands.
fn read_script(lines: &mut ScriptLines<'_>) -> Result<(String, Vec<ScriptStep>), ScriptStop> {
    let nonce = lines.next()?.strip_prefix("n=").unwrap_or_default();
    let digits = nonce.strip_prefix("kmsctl").unwrap_or_default();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ScriptStop::Foreign);
    }
    for wanted in PREAMBLE.lines().skip(1).chain(["t() {", "o=\" $* \""]) {
        lines.expect(wanted)?;
    }
    let mut steps: Vec<ScriptStep> = Vec::new();
    // The command that is started ahead of its turn, which has this position; then all else is the second half of a pipe.
    let (mut ahead, mut piped) = (None, false);
    loop {
        let (index, line) = (steps.len(), lines.next()?);
        let collects = format!(
            "w {index} && {{ b {index}; /bin/cat; printf '\\n%s e {index} 0\\n' \"$n\" >&2; }}"
        );
        let waits = matches!(ahead, Some((turn, _)) if turn == index);
        let ends = if piped { "}" } else { "d" };
        if line == ends && ahead.is_none() {
            if piped {
                lines.expect("d")?;
            }
            lines.expect("}")?;
            return Ok((nonce.to_owned(), steps));
        } else if line == collects && waits {
            steps.extend(ahead.take().map(|(_, step)| step));
        } else if let Some(rest) = line.strip_prefix("{ w ").filter(|_| !piped) {
            let (turn, call) = read_ahead(rest, nonce).ok_or(ScriptStop::Foreign)?;
            piped = true;
            ahead = Some((turn, call.with_input(lines, nonce)?));
        } else {
            let call = read_in_turn(index, line, nonce).ok_or(ScriptStop::Foreign)?;
            steps.push(call.with_input(lines, nonce)?);
        }
    }
}

/// A command as its line calls it.
struct ScriptCall {
    step: ScriptStep,
    has_input: bool,
}

impl ScriptCall {
    /// Reads `'word' … </dev/null`, or with an input below it; returns the rest of the line as well.
    fn read<'a>(mut rest: &'a str, nonce: &str) -> Option<(Self, &'a str)> {
        let mut words = Vec::new();
        while let Some(quoted) = rest.strip_prefix('\'') {
            let (word, after) = quoted.split_once("' ").filter(|(word, _)| !word.contains('\''))?;
            words.push(word.to_owned());
            rest = after;
        }
        let input = rest.strip_prefix(&format!("<<'{nonce}'"));
        let step = ScriptStep { words, input: Vec::new(), only_after: None, was_ahead: false };
        let has_input = input.is_some();
        let rest = input.or_else(|| rest.strip_prefix("</dev/null"))?;
        (!step.words.is_empty()).then_some((Self { step, has_input }, rest))
    }

    fn with_input(
        self,
        lines: &mut ScriptLines<'_>,
        nonce: &str,
    ) -> Result<ScriptStep, ScriptStop> {
        let input = lines.read_input(self.has_input, nonce)?;
        Ok(ScriptStep { input, ..self.step })
    }
}

/// Reads `I && { 'word' … <<'NONCE' 2>&1; printf … "$n" $?; }; } | {`: its turn and what is called.
fn read_ahead(rest: &str, nonce: &str) -> Option<(usize, ScriptCall)> {
    let (index, rest) = rest.split_once(" && { ")?;
    let index = index.parse().ok()?;
    let (mut call, rest) = ScriptCall::read(rest, nonce)?;
    call.step.was_ahead = true;
    let end = format!(" 2>&1; printf '\\n%s e {index} %s\\n' \"$n\" $?; }}; }} | {{");
    (rest == end).then_some((index, call))
}

/// Reads `w I && { b I; 'word' … </dev/null; e I $?; }`, with the variants for input, condition and filter. The filter is not
/// applied: it saves a real firewall's wire, and what is not about the service is dropped when it is parsed.
fn read_in_turn(index: usize, line: &str, nonce: &str) -> Option<ScriptCall> {
    let mut rest =
        line.strip_prefix(&format!("w {index} && {{ b {index}; "))?.strip_suffix("; }")?;
    if let Some(filtered) = rest.strip_prefix("{ ") {
        let (call, filter) = filtered.split_once(&format!("; printf '\\n%s e {index} %s :"))?;
        let (_, filter) = filter.split_once("\\n' \"$n\" $?; } | /usr/bin/grep ")?;
        let end = format!(" '{AWK_FILTER}'; printf '\\n%s e {index} 0\\n' \"$n\" >&2");
        filter.ends_with(&end).then_some(())?;
        let (call, rest) = ScriptCall::read(call, nonce)?;
        return rest.is_empty().then_some(call);
    }
    let mut only_after = None;
    if let Some(condition) = rest.strip_prefix("if [ \"$s") {
        let (first, after) = condition.split_once("\" = 0 ]; then ")?;
        only_after = Some(first.parse().ok().filter(|first| *first < index)?);
        rest = after.strip_suffix(&format!("; else e {index} {NOT_RUN}; fi"))?;
    }
    let (mut call, rest) = ScriptCall::read(rest, nonce)?;
    call.step.only_after = only_after;
    (rest == format!("; e {index} $?")).then_some(call)
}

/// Reads `t` or `t I J …`: the commands of the round, in the order of the script.
fn wanted_steps(line: &str, count: usize) -> Option<Vec<usize>> {
    if line == "t" {
        return Some((0..count).collect());
    }
    let named = line.strip_prefix("t ")?.split(' ');
    let named: Option<Vec<usize>> = named.map(|word| word.parse().ok()).collect();
    named
        .filter(|named| named.is_sorted_by(|one, next| one < next))
        .filter(|named| named.iter().all(|index| *index < count))
}

fn run_round(
    steps: &[ScriptStep],
    nonce: &str,
    world: &mut World,
    wanted: &[usize],
    reply: &mut ShellReply,
) {
    let mut statuses = BTreeMap::new();
    let steps = steps.iter().enumerate();
    for (index, step) in steps.filter(|(index, _)| wanted.contains(index)) {
        append_marker(reply, &format!("\n{nonce} b {index}\n"));
        let runs = step.only_after.is_none_or(|first| statuses.get(&first) == Some(&0));
        let output = if runs {
            run_program(world, &step.words, &step.input)
        } else {
            PfctlOutput {
                status: u8::try_from(NOT_RUN).unwrap_or(u8::MAX),
                ..PfctlOutput::default()
            }
        };
        statuses.insert(index, output.status);
        let aside = if step.was_ahead { &mut reply.stdout } else { &mut reply.stderr };
        aside.extend(output.stderr);
        reply.stdout.extend(output.stdout);
        append_marker(reply, &format!("\n{nonce} e {index} {}\n", output.status));
    }
    append_marker(reply, &format!("\n{nonce} d\n"));
}

fn append_marker(reply: &mut ShellReply, marker: &str) {
    reply.stdout.extend_from_slice(marker.as_bytes());
    reply.stderr.extend_from_slice(marker.as_bytes());
}
