//! Files that kmsctl keeps on the firewall: which of them have something to do, and which were left behind by a crash, a
//! restored backup, or time. The agent lists the files, here they are judged; removing them is a change like any other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::change::RunningChange;
use super::stored::StoredChange;

/// An outcome stays for a week, to be asked about.
const WEEK: i64 = 7 * 86_400;
/// As long a living process may take for a file.
const HOUR: i64 = 3600;
/// As long a file that none seems to write may take.
const MOMENT: i64 = 10;
/// More are not named.
const MOST: usize = 200;

/// What lies on the firewall under kmsctl's names, as the agent reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFiles {
    /// Epoch seconds, by the firewall's clock.
    pub now: i64,
    /// All but the lock.
    pub files: Vec<StoredFile>,
    /// Only where it says whose it is.
    pub lock: Option<StoredLock>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub path: String,
    /// Epoch seconds at which it was written.
    pub since: i64,
    /// It is named after a process, and that has ended.
    #[serde(default)]
    pub orphaned: bool,
}

/// kmsctl's lock on the firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredLock {
    pub path: String,
    pub since: i64,
    pub who: String,
    /// The process that took it lives.
    pub held: bool,
}

/// A file of kmsctl's on the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    pub path: String,
    /// Epoch seconds at which it was written.
    pub since: i64,
    /// Nothing needs it any more. What is not stale is pending, and stays.
    pub stale: bool,
    /// Why it is what it is: a clause for people.
    pub why: String,
}

/// What a file is by its name.
enum FileKind<'a> {
    /// Of the armed job of this change.
    Job(&'a str),
    Record(&'a str),
    /// Another writer's version, which this change has replaced.
    Lost(&'a str),
    /// Not written to its end; whether the process that writes it is in its name.
    Half(bool),
}

impl FileKind<'_> {
    fn of_path(path: &str) -> Option<FileKind<'_>> {
        let (_, name) = path.rsplit_once('/')?;
        let between = |start: &str, end: &str| name.strip_prefix(start)?.strip_suffix(end);
        if name.starts_with('.') {
            let process = [".claim-", ".trial-"];
            let named = process.iter().any(|start| name.starts_with(start));
            return Some(FileKind::Half(named));
        }
        if let Some(id) = between("change-", ".json") {
            return Some(FileKind::Record(id));
        }
        if let Some(named) = between("lost-", ".xml") {
            let (id, moment) = named.rsplit_once('-')?;
            let is_ours = moment == "damaged" || moment.bytes().all(|byte| byte.is_ascii_digit());
            return is_ours.then_some(FileKind::Lost(id));
        }
        between("revert-", ".php")
            .or_else(|| between("config-", ".xml"))
            .or_else(|| between("kmsctl-", ""))
            .map(FileKind::Job)
    }
}

impl StoredFiles {
    /// Judges every file by the changes that are kept, those that are where they belong left out.
    pub fn find_leftovers(&self, changes: &[StoredChange]) -> Vec<Leftover> {
        let lock = self.lock.iter().map(|lock| Leftover {
            path: lock.path.clone(),
            since: lock.since,
            stale: !lock.held,
            why: if lock.held {
                format!("{} holds it", lock.who)
            } else {
                format!("the process of {} that held it has ended", lock.who)
            },
        });
        let judged = |file: &StoredFile| {
            let (stale, why) = self.judge_file(file, changes)?;
            Some(Leftover {
                path: file.path.clone(),
                since: file.since,
                stale,
                why: why.chars().take(MOST).collect(),
            })
        };
        let mut files: Vec<Leftover> = self.files.iter().filter_map(judged).collect();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        lock.chain(files).take(MOST).collect()
    }

    /// Returns whether a file is left over, and why; `None` if it is where it belongs.
    fn judge_file(&self, file: &StoredFile, changes: &[StoredChange]) -> Option<(bool, String)> {
        let stale = |why: &str| Some((true, why.to_owned()));
        let kind = FileKind::of_path(&file.path)?;
        let id = match kind {
            FileKind::Half(named) => {
                return (!self.is_written(file, named))
                    .then(|| (true, "it was never finished".to_owned()));
            }
            FileKind::Job(id) | FileKind::Record(id) | FileKind::Lost(id) => id,
        };
        let Some(change) = changes.iter().find(|change| change.id.as_str() == id) else {
            let record = |file: &StoredFile| matches!(FileKind::of_path(&file.path), Some(FileKind::Record(other)) if other == id);
            return match kind {
                FileKind::Record(_) => stale("it cannot be read"),
                _ if self.files.iter().any(record) => {
                    stale("the record of its change cannot be read")
                }
                _ => stale("no change of this name is kept here"),
            };
        };
        if !matches!(kind, FileKind::Job(_)) {
            let old = change.has_ended_unarmed()
                && change.since < self.now.saturating_sub(WEEK)
                && !change.is_needed(changes);
            return old.then(|| stale("its change ended more than a week ago")).flatten();
        }
        let who = &change.who;
        if !change.ended {
            return Some((false, format!("the change {id} by {who} is not finished")));
        }
        let Some(at) = change.revert_at else {
            return stale(&format!("the change {id} has ended, and nothing takes it back"));
        };
        let at = Timestamp::from_second(at).unwrap_or_default();
        Some((false, format!("it takes back the change {id} by {who} at {at}")))
    }

    /// Says whether a process may still be writing a half-written file: the one that it is named after, or the lock's holder.
    fn is_written(&self, file: &StoredFile, named: bool) -> bool {
        let age = self.now.saturating_sub(file.since);
        let held = self.lock.as_ref().is_some_and(|lock| lock.held);
        !file.orphaned && age < if named || held { HOUR } else { MOMENT }
    }
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
