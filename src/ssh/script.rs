//! What travels to the firewall: one POSIX sh script on the stdin of one remote shell; and the framing in
//! which its replies come back.
//!
//! The remote command line is a constant ([`REMOTE_SHELL`]). The script defines `t()`, whose body runs
//! every command of a [`Script`] in turn; each line `t` runs them once, so `--watch` asks again over the
//! same shell. A line `t 3 5` runs these two alone: what a reload of the ruleset raced is asked again. Around
//! each command the functions `b` and `e` print a marker on stdout *and* on stderr:
//!
//! ```text
//! \nNONCE b INDEX\n … output of the command … \nNONCE e INDEX STATUS\n
//! ```
//!
//! A command that is slow can be started early, and runs beside others ([`ScriptCommand::starts_ahead`]): it is the first
//! half of a pipe, and what it prints waits in the pipe until its turn.
//!
//! The newline before a marker belongs to the marker. The nonce is random, so no output can forge a
//! marker, and what a login shell prints before the first one is ignored. After the last command of
//! a round comes `\nNONCE d\n` on both streams.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::domain::shell_word::ShellWord;
use crate::text::hexadecimal;

/// The constant remote command line, the same words in sh, tcsh and pfSense's `rc.initial`.
pub const REMOTE_SHELL: &str = "exec /usr/bin/env TZ=UTC LC_ALL=C /bin/sh -s";

/// Returns [`REMOTE_SHELL`] run as root by the given sudo, which never asks: without a password or not at all.
pub fn remote_shell_with_sudo(sudo: &ShellWord) -> String {
    // sudo clears the environment; who asks is wanted all the same. Quoted so, sh and tcsh agree.
    let with_sudo = format!("exec {} -n ", sudo.as_str());
    REMOTE_SHELL.replacen("exec ", &with_sudo, 1).replacen(
        " /bin/sh",
        " SSH_CONNECTION=\"$SSH_CONNECTION\" /bin/sh",
        1,
    )
}

/// Sixteen random bytes in hexadecimal that mark our lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Makes a nonce of the given bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(format!("kmsctl{}", hexadecimal(&bytes)))
    }

    /// Returns the text that stands in the markers.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One command of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCommand {
    /// Program (an absolute path) and arguments.
    pub words: Vec<ShellWord>,
    /// Its standard input; empty means `/dev/null`. No line of it may equal the nonce.
    pub input: Vec<u8>,
    /// Runs its output through this filter on the firewall.
    pub filter: Option<OutputFilter>,
    /// Runs only if the command of this position exited 0 in the same round; otherwise it has [`NOT_RUN`]. Not for
    /// commands with a filter, nor to wait for one.
    pub only_after: Option<usize>,
    /// Is started so many commands before its turn, and runs beside those. Both its outputs come as one, on stdout. For one
    /// command of a script, and not for one with a filter or a condition; nor may those behind its start have a condition.
    pub starts_ahead: usize,
}

/// The exit status of a command that was not run, as the one it waits for failed. No program of ours has it.
pub const NOT_RUN: i32 = 125;

impl ScriptCommand {
    /// Makes a command without input.
    pub fn new(words: impl IntoIterator<Item = ShellWord>) -> Self {
        Self {
            words: words.into_iter().collect(),
            input: Vec::new(),
            filter: None,
            only_after: None,
            starts_ahead: 0,
        }
    }
}

/// A filter on the firewall: keeps the state records that can concern the service, so that what crosses the wire is what
/// is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFilter {
    /// The service's port.
    pub port: u16,
    /// Only records that name this address.
    pub address: Option<IpAddr>,
}

/// The awk program of [`OutputFilter`]: a record is a line that does not start with a blank and the lines after it
/// that do. Lines with the nonce pass, so that the end marker, and with it pfctl's own exit status, does; awk has
/// taken the newline before a marker for a line of its own, so it is put back. Keeps rather too much than too
/// little: what is not about the service is dropped when it is parsed.
///
/// Before it stands a `grep` for the port as it follows an address, with [`LINES_OF_A_STATE`]: awk reads a million states in
/// seconds, `grep` in tenths. It lets through all that may be the port, so awk decides as it would without. FreeBSD's `grep`
/// takes each pattern apart for every line, and `-F` no faster: so there is one, and the marker bears the port to pass it.
pub const AWK_FILTER: &str = r#"index($0, n) == 1 { sub(/ :[0-9]+$/, ""); printf "\n%s\n", $0; next } /^[^ \t]/ { keep = 0; if ($0 ~ ("[:[]" port "([] )]|$)")) { keep = 1; if (address != "") { keep = 0; for (i = 3; i <= NF; i++) { host = $i; gsub(/[()]/, "", host); sub(/\[[0-9]+\]$/, "", host); if (host !~ /:.*:/) sub(/:[0-9]+$/, "", host); sub(/%.*$/, "", host); if (host == address) keep = 1 } } } } keep && NF { print }"#;

/// How many lines may follow the first of a state in `pfctl -vvss`: four on FreeBSD 14, with room for more.
const LINES_OF_A_STATE: usize = 8;

/// Commands that are run together: one shell, one round trip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// In order; a reply refers to its command by position.
    pub commands: Vec<ScriptCommand>,
}

impl Script {
    /// Renders the definitions; nothing runs until [`ROUND`] follows.
    pub fn render(&self, nonce: &Nonce) -> Vec<u8> {
        let nonce = nonce.as_str();
        let mut text = Vec::new();
        let preamble = PREAMBLE.replace("NONCE", nonce);
        text.extend_from_slice(preamble.as_bytes());
        text.extend_from_slice(b"t() {\no=\" $* \"\n");
        let ahead = |(_, command): &(usize, &ScriptCommand)| command.starts_ahead > 0;
        let ahead = self.commands.iter().enumerate().find(ahead);
        let starts = ahead.map(|(index, command)| index.saturating_sub(command.starts_ahead));
        for (index, command) in self.commands.iter().enumerate() {
            if let Some((early, command)) = ahead.filter(|_| starts == Some(index)) {
                start_ahead(&mut text, early, command, nonce);
            }
            if ahead.is_some_and(|(early, _)| early == index) {
                collect_ahead(&mut text, index);
            } else {
                render_command(&mut text, index, command, nonce);
            }
        }
        text.extend_from_slice(if ahead.is_some() { b"}\nd\n}\n" } else { b"d\n}\n" });
        text
    }
}

/// Runs every command of the script once.
pub const ROUND: &[u8] = b"t\n";

/// Returns the line that runs only these commands, which are at least one.
pub fn round_of(commands: &[usize]) -> Vec<u8> {
    let mut line = String::from("t");
    for index in commands {
        let _ = write!(line, " {index}");
    }
    line.push('\n');
    line.into_bytes()
}

/// The functions behind the markers. `w` says whether a command is wanted in this round, which is one of all commands
/// where none is named; `e` remembers each exit status for [`ScriptCommand::only_after`]; `d` ends a round.
pub const PREAMBLE: &str = "n=NONCE\n\
    w() { case \"$o\" in '  '|*\" $1 \"*) return 0;; esac; return 1; }\n\
    m() { printf '\\n%s %s\\n' \"$n\" \"$*\"; printf '\\n%s %s\\n' \"$n\" \"$*\" >&2; }\n\
    b() { m b \"$1\"; }\n\
    e() { eval \"s$1=$2\"; m e \"$1\" \"$2\"; }\n\
    d() { m d; }\n";

fn render_command(text: &mut Vec<u8>, index: usize, command: &ScriptCommand, nonce: &str) {
    let mut line = format!("w {index} && {{ b {index}; ");
    let call = call_of(command, nonce);
    if let Some(OutputFilter { port, address }) = command.filter {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let _ = write!(
            line,
            "{{ {call}; printf '\\n%s e {index} %s :{port}\\n' \"$n\" $?; }} | /usr/bin/grep -a -A {LINES_OF_A_STATE} '[:[]{port}' | /usr/bin/awk -v n=\"$n\" -v port={port} -v address='{address}' '{AWK_FILTER}'; {}",
            end_on_errors(index)
        );
    } else if let Some(first) = command.only_after {
        let _ = write!(
            line,
            "if [ \"$s{first}\" = 0 ]; then {call}; e {index} $?; else e {index} {NOT_RUN}; fi"
        );
    } else {
        let _ = write!(line, "{call}; e {index} $?");
    }
    line.push_str("; }");
    push_line(text, &line, command, nonce);
}

/// Starts a command whose turn comes later: what follows is the other end of its pipe. Its end marker on stdout goes
/// through the pipe, as it carries the exit status.
fn start_ahead(text: &mut Vec<u8>, index: usize, command: &ScriptCommand, nonce: &str) {
    let line = format!(
        "{{ w {index} && {{ {} 2>&1; printf '\\n%s e {index} %s\\n' \"$n\" $?; }}; }} | {{",
        call_of(command, nonce)
    );
    push_line(text, &line, command, nonce);
}

/// Prints what a command that was started ahead has printed, and waits for its end.
fn collect_ahead(text: &mut Vec<u8>, index: usize) {
    let line = format!("w {index} && {{ b {index}; /bin/cat; {}; }}\n", end_on_errors(index));
    text.extend_from_slice(line.as_bytes());
}

/// Returns what ends a command on stderr alone, as its end marker on stdout, with the exit status, comes through a pipe.
fn end_on_errors(index: usize) -> String {
    format!("printf '\\n%s e {index} 0\\n' \"$n\" >&2")
}

/// Returns the command as the shell is to call it, with its input.
fn call_of(command: &ScriptCommand, nonce: &str) -> String {
    let mut call = String::new();
    for word in &command.words {
        // No word of kmsctl's holds a quote; one that came to hold it must not end the quoting.
        let _ = write!(call, "'{}' ", word.as_str().replace('\'', r"'\''"));
    }
    if command.input.is_empty() {
        call.push_str("</dev/null");
    } else {
        let _ = write!(call, "<<'{nonce}'");
    }
    call
}

/// Adds a line, and below it the input that it announces.
fn push_line(text: &mut Vec<u8>, line: &str, command: &ScriptCommand, nonce: &str) {
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    if !command.input.is_empty() {
        text.extend_from_slice(&command.input);
        if !command.input.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(nonce.as_bytes());
        text.push(b'\n');
    }
}
