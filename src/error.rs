//! What went wrong, in words for a person: one [`Failure`] with its kind and hints, and the one table from
//! kind to exit code. Lower layers have typed errors of their own; they become a `Failure` where the
//! side that failed and the next step are known.

use crate::text::word_enum;
use std::fmt;

word_enum! {
    /// Why kmsctl stops. Each kind has one exit code (see [`FailureKind::exit_code`]) and one name in JSON errors.
    pub enum FailureKind {
        /// The operation failed; nothing is half done.
        Failed = "failed",
        /// Wrong arguments or configuration.
        Usage = "usage",
        /// The answer is no: found not as expected.
        No = "no",
        /// Declined, or no terminal and no `--yes`; nothing changed.
        NotConfirmed = "not-confirmed",
        /// The firewall, a vantage or the cluster cannot be reached or refuses us; host key trouble too.
        Unreachable = "unreachable",
        /// Changed since the plan was made, drifted, or locked by another operator; nothing changed. It comes from plans
        /// that do not fit what is there (`RefusalKind::Conflict`, of which edits are refused too) and from the agent's
        /// answers `stale`, `locked` and `pending` (`change::config`).
        Conflict = "conflict",
        /// Written but not proven in force, or rolled back.
        Unproven = "unproven",
        /// The evidence does not allow a verdict.
        Inconclusive = "inconclusive",
        Interrupted = "interrupted",
        /// The reader of our output closed the pipe: that is no error.
        ReaderGone = "reader-gone",
    }
}

impl FailureKind {
    /// Returns the process exit code, as `kmsctl --help` and the README list it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::No => 3,
            Self::NotConfirmed => 4,
            Self::Unreachable => 5,
            Self::Conflict => 6,
            Self::Unproven => 7,
            Self::Inconclusive => 8,
            Self::Interrupted => 130,
            Self::ReaderGone => 0,
        }
    }
}

/// A failure as the operator sees it: one sentence that says which side failed, and hints that say what to do.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: FailureKind,
    /// One sentence with a full stop; may hold text from the firewall, so printing escapes it.
    pub message: String,
    pub hints: Vec<String>,
    /// The cause, for `--verbose`.
    pub source: Option<anyhow::Error>,
}

/// The result of everything above the typed layers.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Makes a [`FailureKind::Failed`] failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// Makes a [`FailureKind::Usage`] failure.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// Makes a [`FailureKind::Unreachable`] failure.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unreachable, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Returns the same words without the cause, where a failure is shown later than it happened.
    #[must_use]
    pub fn without_cause(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.message.clone(),
            hints: self.hints.clone(),
            source: None,
        }
    }

    /// Says that a firewall which is there, and does not answer this, leaves no verdict: unreachable is one that is away.
    #[must_use]
    pub fn without_verdict(self) -> Self {
        Self { kind: FailureKind::Inconclusive, ..self }
    }

    /// Keeps the cause for `--verbose`.
    #[must_use]
    pub fn with_cause(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
