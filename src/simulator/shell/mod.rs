//! What the simulated box does with an SSH exec request. Two things only: the constant remote shell of
//! [`crate::ssh::script`], whose script it interprets, and single plain commands. It is strict: a line
//! that kmsctl would not render runs nothing and ends the shell.

mod programs;
mod script;

use super::agent;
use super::pfctl;
use super::pfctl::PfctlOutput;
use super::world::World;
use crate::ssh::script::REMOTE_SHELL;
use script::ScriptReader;

/// More input than this is refused, in bytes: kmsctl's scripts have a few thousand.
const LONGEST_INPUT: usize = 4 << 20;
/// What a shell says when it cannot do what was asked, and its exit status.
const UNSUPPORTED: &str = "sh: unsupported by the simulated firewall";
const NOT_FOUND: u8 = 127;

/// What goes back over the channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellReply {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Set when the remote command has ended.
    pub exit: Option<u8>,
}

impl From<PfctlOutput> for ShellReply {
    fn from(output: PfctlOutput) -> Self {
        Self { stdout: output.stdout, stderr: output.stderr, exit: Some(output.status) }
    }
}

/// One remote command that is running.
#[derive(Debug)]
pub enum SimulatedShell {
    Script(Box<ScriptReader>),
    /// A program that has everything it needs but the end of its input.
    Program {
        words: Vec<String>,
        /// What it was sent so far.
        input: Vec<u8>,
    },
    /// It has ended; more input is ignored.
    Ended,
}

impl SimulatedShell {
    /// Starts the command of an exec request; the reply is what it says at once.
    pub fn start(command: &[u8], world: &mut World) -> (Self, ShellReply) {
        let command = String::from_utf8_lossy(command);
        if command == REMOTE_SHELL {
            return (Self::Script(Box::default()), ShellReply::default());
        }
        let Some(words) = split_words(&command) else {
            return (Self::Ended, unsupported_command());
        };
        if words.first().is_some_and(|word| word.ends_with("sudo")) {
            return (Self::Ended, PfctlOutput::failure(1, "sudo: a password is required").into());
        }
        if programs::reads_input(&words) {
            return (Self::Program { words, input: Vec::new() }, ShellReply::default());
        }
        (Self::Ended, run_program(world, &words, b"").into())
    }

    /// Hands it input.
    pub fn feed(&mut self, data: &[u8], world: &mut World) -> ShellReply {
        let reply = match self {
            Self::Script(reader) => reader.feed(data, world),
            Self::Program { input, .. } if input.len() + data.len() > LONGEST_INPUT => {
                unsupported_command()
            }
            Self::Program { input, .. } => {
                input.extend_from_slice(data);
                ShellReply::default()
            }
            Self::Ended => ShellReply::default(),
        };
        if reply.exit.is_some() {
            *self = Self::Ended;
        }
        reply
    }

    /// Ends its input.
    pub fn finish(&mut self, world: &mut World) -> ShellReply {
        match std::mem::replace(self, Self::Ended) {
            Self::Script(mut reader) => reader.finish(),
            Self::Program { words, input } => run_program(world, &words, &input).into(),
            Self::Ended => ShellReply::default(),
        }
    }
}

fn unsupported_command() -> ShellReply {
    PfctlOutput::failure(NOT_FOUND, UNSUPPORTED).into()
}

fn run_program(world: &mut World, words: &[String], input: &[u8]) -> PfctlOutput {
    let Some((program, arguments)) = words.split_first() else {
        return PfctlOutput::default();
    };
    let base = program.rsplit('/').next().unwrap_or_default();
    match (base, programs::has_program(base, program)) {
        ("pfctl", true) => pfctl::run_pfctl(world, arguments, input),
        ("php", true) => agent::run_agent(world, arguments, input),
        (_, true) => programs::run_small_program(world, base, arguments),
        _ if program.starts_with('/') => {
            PfctlOutput::failure(NOT_FOUND, &format!("sh: {program}: not found"))
        }
        _ => PfctlOutput::failure(NOT_FOUND, UNSUPPORTED),
    }
}

/// Splits a plain command into words; `None` if a shell would do more than that with it. A leading `exec`
/// and `env NAME=VALUE…` change nothing here and are dropped.
fn split_words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None | Some('"'), _) if shell_expands(letter, quote.is_some()) => return None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    let mut plain = words.into_iter().skip_while(|word| word == "exec").peekable();
    if plain.next_if(|word| word == "env" || word == "/usr/bin/env").is_some() {
        while plain.next_if(|word| word.contains('=') && !word.starts_with('-')).is_some() {}
    }
    Some(plain.collect())
}

/// Says whether a shell would do something with the letter, outside single quotes.
fn shell_expands(letter: char, quoted: bool) -> bool {
    "\\$`".contains(letter) || (!quoted && "|&;<>()*?~#\n{}".contains(letter))
}

#[cfg(test)]
mod tests;
