//! Reads the script that [`crate::ssh::script::Script::render`] makes, line by line as it arrives, and runs
//! its commands once for every line `t`, until the next script takes its place. Anything else is refused, so a change of
//! the framing shows here.

use crate::simulator::world::World;
use crate::ssh::script::{AWK_FILTER, NOT_RUN, OutputFilter, PREAMBLE};

use super::{LONGEST_INPUT, ShellReply, filter, run_program, unsupported_command};
use crate::simulator::pfctl::PfctlOutput;

/// A line `t` that names every command of a script of kmsctl is shorter, in bytes.
const LONGEST_ROUND_LINE: usize = 256;

/// The shell's state while it reads.
#[derive(Debug, Default)]
pub struct ScriptReader {
    /// Bytes of a line that has not ended.
    partial: Vec<u8>,
    taken: usize,
    /// Lines of the preamble read so far.
    preamble: Vec<String>,
    nonce: String,
    commands: Vec<ScriptStep>,
    /// The command that is started ahead of its turn, until then.
    ahead: Option<AheadStep>,
    /// Whether everything up to the end stands in the second half of a pipe.
    piped: bool,
    place: ScriptPosition,
}

/// Where in the script the next line stands.
#[derive(Debug, Default, PartialEq, Eq)]
enum ScriptPosition {
    #[default]
    Preamble,
    Body,
    /// In the input of the last command.
    Input,
    InputAhead,
    /// After `d`, before `}`.
    Close,
    Rounds,
}

#[derive(Debug)]
struct ScriptStep {
    words: Vec<String>,
    input: Vec<u8>,
    filter: Option<OutputFilter>,
    only_after: Option<usize>,
    /// Was started ahead: both its outputs come as one.
    was_ahead: bool,
}

/// A command before its turn, which has this position.
#[derive(Debug)]
struct AheadStep {
    index: usize,
    words: Vec<String>,
    input: Vec<u8>,
}

impl ScriptReader {
    /// Takes bytes of the script and runs what is complete.
    pub fn feed(&mut self, data: &[u8], world: &mut World) -> ShellReply {
        self.taken += data.len();
        if self.taken > LONGEST_INPUT && self.place != ScriptPosition::Rounds {
            return unsupported_command();
        }
        self.partial.extend_from_slice(data);
        let mut reply = ShellReply::default();
        // Whole lines are taken out at once: line by line would move thousands of addresses again and again.
        let end = self.partial.iter().rposition(|byte| *byte == b'\n');
        let rest = self.partial.split_off(end.map_or(0, |end| end + 1));
        let whole = std::mem::replace(&mut self.partial, rest);
        let lines = whole
            .strip_suffix(b"\n")
            .map(|whole| whole.split(|byte| *byte == b'\n'));
        for line in lines.into_iter().flatten() {
            if self.place == ScriptPosition::Rounds
                && let Some(wanted) = self.wanted(line)
            {
                self.round(world, &wanted, &mut reply);
            } else if self.line(line).is_none() {
                let refusal = unsupported_command();
                reply.stderr.extend(refusal.stderr);
                reply.exit = refusal.exit;
                return reply;
            }
        }
        if self.place == ScriptPosition::Rounds && self.partial.len() > LONGEST_ROUND_LINE {
            return unsupported_command();
        }
        reply
    }

    /// Ends as `sh` does at the end of its script.
    pub fn finish(&mut self) -> ShellReply {
        let complete = self.place == ScriptPosition::Rounds && self.partial.is_empty();
        let nothing = self.place == ScriptPosition::Preamble
            && self.preamble.is_empty()
            && self.partial.is_empty();
        if complete || nothing {
            ShellReply {
                exit: Some(0),
                ..ShellReply::default()
            }
        } else {
            unsupported_command()
        }
    }

    /// Takes one line of the definitions; `None` if it is not one of ours.
    fn line(&mut self, line: &[u8]) -> Option<()> {
        let input = match self.place {
            ScriptPosition::Input => Some(&mut self.commands.last_mut()?.input),
            ScriptPosition::InputAhead => Some(&mut self.ahead.as_mut()?.input),
            _ => None,
        };
        if let Some(input) = input {
            if line == self.nonce.as_bytes() {
                self.place = ScriptPosition::Body;
            } else {
                input.extend_from_slice(line);
                input.push(b'\n');
            }
            return Some(());
        }
        let line = std::str::from_utf8(line).ok()?;
        match self.place {
            ScriptPosition::Preamble => self.preamble_line(line),
            ScriptPosition::Body if line == "}" && self.piped => {
                self.piped = false;
                self.ahead.is_none().then_some(())
            }
            ScriptPosition::Body if line == "d" && !self.piped => {
                self.place = ScriptPosition::Close;
                Some(())
            }
            ScriptPosition::Body => self.command_line(line),
            ScriptPosition::Close if line == "}" => {
                self.place = ScriptPosition::Rounds;
                Some(())
            }
            // The next script, with the same marks.
            ScriptPosition::Rounds if line == format!("n={}", self.nonce) => {
                let partial = std::mem::take(&mut self.partial);
                *self = Self {
                    partial,
                    ..Self::default()
                };
                self.preamble_line(line)
            }
            _ => None,
        }
    }

    fn preamble_line(&mut self, line: &str) -> Option<()> {
        self.preamble.push(line.to_owned());
        let text = self.preamble.join("\n") + "\n";
        if self.preamble.len() == 1 {
            line.strip_prefix("n=")?.clone_into(&mut self.nonce);
            let digits = self.nonce.strip_prefix("kmsctl")?;
            return (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .then_some(());
        }
        let wanted = PREAMBLE.replace("NONCE", &self.nonce) + "t() {\no=\" $* \"\n";
        if text == wanted {
            self.place = ScriptPosition::Body;
        }
        wanted.starts_with(&text).then_some(())
    }

    /// Reads a line of a command: where it runs, where it is started ahead, or where it is waited for.
    fn command_line(&mut self, line: &str) -> Option<()> {
        let index = self.commands.len();
        let collects = format!(
            "w {index} && {{ b {index}; /bin/cat; printf '\\n%s e {index} 0\\n' \"$n\" >&2; }}"
        );
        if line == collects {
            let ahead = self.ahead.take().filter(|ahead| ahead.index == index)?;
            self.commands.push(ScriptStep {
                words: ahead.words,
                input: ahead.input,
                filter: None,
                only_after: None,
                was_ahead: true,
            });
            return Some(());
        }
        match line.strip_prefix("{ w ") {
            Some(rest) => self.line_of_ahead(rest),
            None => self.line_in_turn(index, line),
        }
    }

    /// Reads `I && { 'word' … <<'NONCE' 2>&1; printf … "$n" $?; }; } | {`.
    fn line_of_ahead(&mut self, rest: &str) -> Option<()> {
        let (index, rest) = rest.split_once(" && { ")?;
        let index = index.parse().ok()?;
        let (words, has_input, rest) = self.read_call(rest)?;
        let end = format!(" 2>&1; printf '\\n%s e {index} %s\\n' \"$n\" $?; }}; }} | {{");
        if self.piped || index <= self.commands.len() || rest != end {
            return None;
        }
        self.piped = true;
        self.ahead = Some(AheadStep {
            index,
            words,
            input: Vec::new(),
        });
        if has_input {
            self.place = ScriptPosition::InputAhead;
        }
        Some(())
    }

    /// Reads `'word' … </dev/null`, or with an input below it: the words, whether there is an input, and the rest.
    fn read_call<'a>(&self, mut rest: &'a str) -> Option<(Vec<String>, bool, &'a str)> {
        let mut words = Vec::new();
        while let Some(quoted) = rest.strip_prefix('\'') {
            let (word, after) = quoted.split_once("' ")?;
            if word.contains('\'') {
                return None;
            }
            words.push(word.to_owned());
            rest = after;
        }
        let here = format!("<<'{}'", self.nonce);
        let has_input = rest.starts_with(&here);
        rest = rest
            .strip_prefix(&here)
            .or_else(|| rest.strip_prefix("</dev/null"))?;
        (!words.is_empty()).then_some((words, has_input, rest))
    }

    /// Reads `w I && { b I; 'word' … </dev/null; e I $?; }`, with the variants for input and filter.
    fn line_in_turn(&mut self, index: usize, line: &str) -> Option<()> {
        let mut rest = line
            .strip_prefix(&format!("w {index} && {{ b {index}; "))?
            .strip_suffix("; }")?;
        let filtered = rest.strip_prefix("{ ");
        rest = filtered.unwrap_or(rest);
        let mut only_after = None;
        if let Some(condition) = rest.strip_prefix("if [ \"$s") {
            let (first, after) = condition.split_once("\" = 0 ]; then ")?;
            only_after = Some(first.parse().ok().filter(|first| *first < index)?);
            rest = after;
        }
        let (words, has_input, after) = self.read_call(rest)?;
        rest = after.strip_prefix(&format!("; e {index} $?"))?;
        if only_after.is_some() {
            rest = rest.strip_prefix(&format!("; else e {index} {NOT_RUN}; fi"))?;
        }
        let filter = match filtered {
            Some(_) => Some(read_filter(rest)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        self.commands.push(ScriptStep {
            words,
            input: Vec::new(),
            filter,
            only_after,
            was_ahead: false,
        });
        if has_input {
            self.place = ScriptPosition::Input;
        }
        Some(())
    }

    /// Reads `t` or `t I J …`: the commands of the round, in the order of the script.
    fn wanted(&self, line: &[u8]) -> Option<Vec<usize>> {
        let all = 0..self.commands.len();
        if line == b"t" {
            return Some(all.collect());
        }
        let named = std::str::from_utf8(line).ok()?.strip_prefix("t ")?;
        let named: Option<Vec<usize>> = named.split(' ').map(|word| word.parse().ok()).collect();
        named
            .filter(|named| named.is_sorted_by(|one, next| one < next))
            .filter(|named| named.iter().all(|index| all.contains(index)))
    }

    fn round(&self, world: &mut World, wanted: &[usize], reply: &mut ShellReply) {
        let nonce = &self.nonce;
        let mut statuses = std::collections::BTreeMap::new();
        let commands = self.commands.iter().enumerate();
        for (index, step) in commands.filter(|(index, _)| wanted.contains(index)) {
            append_marker(reply, &format!("\n{nonce} b {index}\n"));
            let runs = step
                .only_after
                .is_none_or(|first| statuses.get(&first) == Some(&0));
            let output = if runs {
                run_program(world, &step.words, &step.input)
            } else {
                PfctlOutput {
                    status: u8::try_from(NOT_RUN).unwrap_or(u8::MAX),
                    ..PfctlOutput::default()
                }
            };
            statuses.insert(index, output.status);
            let end = format!("\n{nonce} e {index} {}\n", output.status);
            let (mut stdout, mut stderr) = (output.stdout, output.stderr);
            if step.was_ahead {
                stdout.splice(..0, std::mem::take(&mut stderr));
            }
            stdout.extend_from_slice(end.as_bytes());
            if let Some(filter) = &step.filter {
                stdout = filter::apply_filter(filter, nonce, &stdout);
            }
            reply.stdout.extend(stdout);
            reply.stderr.extend(stderr);
            reply.stderr.extend_from_slice(end.as_bytes());
        }
        append_marker(reply, &format!("\n{nonce} d\n"));
    }
}

fn append_marker(reply: &mut ShellReply, marker: &str) {
    reply.stdout.extend_from_slice(marker.as_bytes());
    reply.stderr.extend_from_slice(marker.as_bytes());
}

fn read_filter(rest: &str) -> Option<OutputFilter> {
    let (_, rest) = rest
        .strip_prefix("; } | ")?
        .split_once(" | /usr/bin/awk -v n=\"$n\" -v port=")?;
    let (port, rest) = rest.split_once(" -v address='")?;
    let (address, program) = rest.split_once("' '")?;
    let address = if address.is_empty() {
        None
    } else {
        Some(address.parse().ok()?)
    };
    (program.strip_suffix('\'')? == AWK_FILTER).then_some(OutputFilter {
        port: port.parse().ok()?,
        address,
    })
}
