//! Why a question has no answer: what pfctl's exit codes and messages mean.

use super::gather::{Gathered, MOST_BYTES};
use crate::error::{Failure, Kind};
use crate::firewall::agent::AgentError;

/// Why one question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// Not asked.
    #[error("this was not asked")]
    NotAsked,
    /// The program is not there.
    #[error("{program} is not on the firewall")]
    ProgramMissing {
        /// Its path.
        program: String,
    },
    /// `/dev/pf: Permission denied`.
    #[error("the account may not open /dev/pf")]
    Denied,
    /// `/dev/pf: No such file or directory`.
    #[error("pf is not loaded on the firewall")]
    NoPf,
    /// `Table does not exist.`
    #[error("the table {table} does not exist")]
    NoTable {
        /// The table.
        table: String,
    },
    /// Any other failure.
    #[error("{program} failed with exit code {status}: {message}")]
    Failed {
        /// Its path.
        program: String,
        /// The exit code.
        status: i32,
        /// The first line of its stderr.
        message: String,
    },
    /// More than is kept.
    #[error("the answer of {program} is larger than {mebibytes} MiB")]
    TooLarge {
        /// Its path.
        program: String,
        /// The bound.
        mebibytes: usize,
    },
    /// The text has another form than expected.
    #[error("{program} answered in a form kmsctl does not know")]
    Garbled {
        /// Its path.
        program: String,
    },
    /// The agent's own error.
    #[error("{0}")]
    Agent(#[from] AgentError),
}

impl FactError {
    /// Returns whether this is proven to be a fault of what was asked, and not only of the asking.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::ProgramMissing { .. }
            | Self::Denied
            | Self::NoPf
            | Self::NoTable { .. }
            | Self::Agent(_) => true,
            Self::NotAsked | Self::Failed { .. } | Self::TooLarge { .. } | Self::Garbled { .. } => {
                false
            }
        }
    }
}

/// The answer to one question.
pub type Fact<T> = Result<T, FactError>;

impl From<&FactError> for Failure {
    fn from(error: &FactError) -> Self {
        let message = format!("The firewall cannot answer: {error}.");
        match error {
            FactError::Denied => Self::new(Kind::Unreachable, message).hint("Log in as admin or root, or set firewall.become = \"sudo\" (pfSense's sudo package)."),
            FactError::NoPf => Self::failed(message).hint("Is this the right machine? `kmsctl config show` tells where kmsctl connects."),
            FactError::NoTable { .. } => Self::failed(message).hint("pf makes it with the ruleset: look at `kmsctl rule show`, and at Status > Filter Reload in pfSense."),
            FactError::ProgramMissing { .. } => Self::failed(message).hint("Is this a pfSense box? firewall.paths.* names the paths."),
            FactError::Failed { .. } | FactError::TooLarge { .. } | FactError::Garbled { .. } | FactError::Agent(_) | FactError::NotAsked => Self::failed(message),
        }
    }
}

/// Turns an exit code and stderr of pfctl into a typed error. `fine` are the codes of success; 255 is pfctl's own
/// code for table errors and never means a lost connection here.
pub(super) fn check(
    reply: &Gathered,
    status: i32,
    fine: &[i32],
    program: &str,
    table: &str,
) -> Fact<()> {
    let talk = String::from_utf8_lossy(&reply.stderr);
    let program = || program.to_owned();
    if reply.cut {
        return Err(FactError::TooLarge {
            program: program(),
            mebibytes: MOST_BYTES >> 20,
        });
    }
    if fine.contains(&status) {
        return Ok(());
    }
    if status == 127 || status == 126 {
        return Err(FactError::ProgramMissing { program: program() });
    }
    if talk.contains("/dev/pf: Permission denied") {
        return Err(FactError::Denied);
    }
    if talk.contains("/dev/pf: No such file or directory") {
        return Err(FactError::NoPf);
    }
    if talk.contains("Table does not exist") {
        return Err(FactError::NoTable {
            table: table.to_owned(),
        });
    }
    let message = talk
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .chars()
        .take(200)
        .collect();
    Err(FactError::Failed {
        program: program(),
        status,
        message,
    })
}
