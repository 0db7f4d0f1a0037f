//! Why a question has no answer: what pfctl's exit codes and messages mean.

use super::gather::{Gathered, MOST_ARRIVED};
use crate::error::{Failure, FailureKind};
use crate::pfsense::agent::AgentError;
use crate::text::format_span;

/// Why one question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    #[error("this was not asked")]
    NotAsked,
    /// The program is not there.
    #[error("{program} is not on the firewall")]
    ProgramMissing { program: String },
    /// sudo stands before it, and refused or failed in its own name.
    #[error("{sudo} did not run {program}: {message}")]
    SudoRefused { sudo: String, program: String, message: String },
    /// `/dev/pf: Permission denied`.
    #[error("the account may not open /dev/pf")]
    Denied,
    /// `/dev/pf: No such file or directory`.
    #[error("pf is not loaded on the firewall")]
    NoPf,
    /// `Table does not exist.`
    #[error("the table {table} does not exist")]
    NoTable { table: String },
    #[error("{program} failed with exit code {status}: {message}")]
    Failed {
        program: String,
        status: i32,
        /// The first line of its stderr.
        message: String,
    },
    /// More than is kept.
    #[error("the answer of {program} is larger than {mebibytes} MiB")]
    TooLarge { program: String, mebibytes: usize },
    /// More than is waited for.
    #[error("more than {mebibytes} MiB came as the answer of {program}, and no end")]
    Endless { program: String, mebibytes: usize },
    /// It was given up, so that a change need not wait for it.
    #[error("the answer of {program} did not end within {}", format_span(*.seconds))]
    Late { program: String, seconds: u64 },
    /// An answer before it had no end.
    #[error("it was not asked any more, as an answer before it had no end")]
    NotReached,
    #[error("{program} printed more than {most} of them")]
    TooMany { program: String, most: usize },
    /// `Device busy`: the list was cut by a reload, with any exit code.
    #[error("the ruleset was being loaded each time that {program} was asked")]
    Busy { program: String },
    #[error("{program} complained: {message}")]
    Complained { program: String, message: String },
    /// A status without anything that only the kernel knows.
    #[error(
        "{program} printed a status without any counter, as it does where it may not ask the kernel"
    )]
    Unprivileged { program: String },
    /// The text has another form than expected.
    #[error("{program} answered in a form kmsctl does not know")]
    Garbled { program: String },
    #[error("{0}")]
    Agent(#[from] AgentError),
}

impl FactError {
    /// Returns whether this is proven to be a fault of what was asked, and not only of the asking.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::ProgramMissing { .. }
                | Self::Denied
                | Self::SudoRefused { .. }
                | Self::NoPf
                | Self::NoTable { .. }
                | Self::Unprivileged { .. }
                | Self::Agent(_)
        )
    }
}

pub type Answer<T> = Result<T, FactError>;

const SUDO: &str = "Which lines sudo must allow: `kmsctl runbook exporter`. firewall.paths.sudo names the program of pfSense's sudo package.";
const ROOT: &str =
    "Log in as admin or root, or set firewall.become = \"sudo\" (pfSense's sudo package).";

impl From<&FactError> for Failure {
    fn from(error: &FactError) -> Self {
        let message = format!("The firewall cannot answer: {error}.");
        match error {
            FactError::SudoRefused { .. } => Self::new(FailureKind::Unreachable, message).hint(SUDO),
            FactError::Denied => Self::new(FailureKind::Unreachable, message).hint(ROOT),
            FactError::Unprivileged { .. } => Self::new(FailureKind::Unreachable, message).hint(format!("pfctl needs root. {ROOT}")),
            FactError::Busy { .. } => Self::failed(message).hint("Run the command again when the reload is over (Status > Filter Reload in pfSense)."),
            FactError::NoPf => Self::failed(message).hint("Is this the right machine? `kmsctl config show` says where kmsctl connects."),
            FactError::NoTable { .. } => Self::failed(message).hint("pf makes it with the ruleset: look at `kmsctl rule show`, and at Status > Filter Reload in pfSense."),
            FactError::ProgramMissing { .. } => Self::failed(message).hint("Is this a pfSense box? firewall.paths.* names the paths."),
            _ => Self::failed(message),
        }
    }
}

/// Says whether a reload of the ruleset cut this answer; the exit code does not.
pub(super) fn is_busy(reply: &Gathered) -> bool {
    let lines = String::from_utf8_lossy(&reply.stderr);
    lines.lines().any(|line| line.ends_with(": Device busy"))
}

/// Says whether pfctl was asked for an anchor that does not exist: up to FreeBSD 14 by the first sentence, then by the other.
pub(super) fn is_no_anchor(reply: &Gathered) -> bool {
    let lines = String::from_utf8_lossy(&reply.stderr);
    let is_word = |line: &str| {
        line == "pfctl: DIOCGETRULES: Invalid argument" || line == "pfctl: Anchor does not exist."
    };
    reply.status == Some(0) && reply.stdout.is_empty() && lines.lines().any(is_word)
}

pub(super) fn check_came(reply: &Gathered, program: &str) -> Answer<i32> {
    let program = program.to_owned();
    match reply.status {
        None if reply.broke => Err(FactError::Garbled { program }),
        None if reply.cut => Err(FactError::Endless { program, mebibytes: MOST_ARRIVED >> 20 }),
        None => Err(reply.given_up_after.map_or(FactError::NotReached, |patience| {
            FactError::Late { program, seconds: patience.as_secs().max(1) }
        })),
        Some(_) if reply.cut => {
            Err(FactError::TooLarge { program, mebibytes: reply.bound_in_mebibytes() })
        }
        Some(126 | 127) => Err(FactError::ProgramMissing { program }),
        Some(status) => Ok(status),
    }
}

/// Turns exit code and stderr of pfctl into a typed error. `fine` are the codes of success; 255 is pfctl's own
/// code for table errors and never means a lost connection here.
pub(super) fn check_exit(reply: &Gathered, fine: &[i32], program: &str, table: &str) -> Answer<()> {
    let status = check_came(reply, program)?;
    if reply.raced || is_busy(reply) {
        return Err(FactError::Busy { program: program.to_owned() });
    }
    status_trouble(&reply.stderr, status, fine, program, table)
}

/// Finds out whether it was sudo that failed: pfctl complains in its own name.
pub(super) fn check_sudo(reply: &Gathered, fine: &[i32], sudo: &str, program: &str) -> Answer<()> {
    let Some(status) = reply.status.filter(|status| !fine.contains(status)) else {
        return Ok(());
    };
    let talk = String::from_utf8_lossy(&reply.stderr);
    let mut lines = talk.lines().filter(|line| !line.trim().is_empty() && !line.contains("ALTQ"));
    let message = match status {
        126 => "it may not be run",
        127 => "it is not on the firewall",
        _ if talk.lines().any(|line| line.starts_with("pfctl: ")) => return Ok(()),
        _ => match lines.next() {
            Some(line) => line.strip_prefix("sudo: ").unwrap_or(line),
            None => return Ok(()),
        },
    };
    Err(FactError::SudoRefused {
        sudo: sudo.to_owned(),
        program: program.to_owned(),
        message: message.chars().take(200).collect(),
    })
}

/// The same of what is known only by its exit code and stderr. With an exit code of success, a line in pfctl's own name
/// is trouble all the same: its lists end early, and it exits with 0.
pub(crate) fn status_trouble(
    stderr: &[u8],
    status: i32,
    fine: &[i32],
    program: &str,
    table: &str,
) -> Answer<()> {
    let talk = String::from_utf8_lossy(stderr);
    let complaint = talk.lines().find(|line| line.starts_with("pfctl: "));
    let fine = fine.contains(&status);
    if fine && complaint.is_none() {
        return Ok(());
    }
    if matches!(status, 126 | 127) {
        return Err(FactError::ProgramMissing { program: program.to_owned() });
    }
    let denied = |line: &str| {
        line.ends_with(": Permission denied") || line.ends_with(": Operation not permitted")
    };
    if complaint.is_some_and(denied) {
        return Err(FactError::Denied);
    }
    if talk.contains("/dev/pf: No such file or directory") {
        return Err(FactError::NoPf);
    }
    if talk.contains("Table does not exist") {
        return Err(FactError::NoTable { table: table.to_owned() });
    }
    let program = program.to_owned();
    let words = |line: &str| line.chars().take(200).collect();
    if let Some(line) = complaint.filter(|_| fine) {
        return Err(FactError::Complained { program, message: words(line) });
    }
    let first = talk.lines().find(|line| !line.trim().is_empty());
    Err(FactError::Failed { program, status, message: words(first.unwrap_or("it said nothing")) })
}
