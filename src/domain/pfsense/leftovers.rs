//! Files that kmsctl keeps on the firewall: which of them have something to do, and which were left behind by a crash, a
//! restored backup, or time. The agent lists them; removing them is a change like any other.

use serde::{Deserialize, Serialize};

use super::change::RunningChange;

/// A file of kmsctl's on the firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leftover {
    pub path: String,
    /// Epoch seconds at which it was written.
    pub since: i64,
    /// Nothing needs it any more. What is not stale is pending, and stays.
    pub stale: bool,
    /// Why it is what it is: a clause for people.
    pub why: String,
}

/// Returns whether a living process holds kmsctl's lock on the firewall: what is unfinished then is being made.
pub fn lock_is_held(files: &[Leftover]) -> bool {
    let mut files = files.iter();
    files.any(|file| !file.stale && file.path.ends_with("/kmsctl/lock"))
}

/// A file that was not removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRemoved {
    pub path: String,
    pub why: String,
}

/// What became of the wish to remove leftovers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cleaned", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cleaned {
    Done {
        /// These are not there any more.
        removed: Vec<String>,
        kept: Vec<NotRemoved>,
    },
    /// A change is being made; ask again.
    Locked { holder: Option<RunningChange> },
}
