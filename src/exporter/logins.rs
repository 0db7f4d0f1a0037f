//! When a login may be tried. After a few failures the firewall's sshguard locks the operator's address out, so a program
//! that logs in by itself must be more careful than a person.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// Most logins in [`PERIOD`].
const MOST_LOGINS: usize = 2;
const PERIOD: Duration = Duration::from_secs(30 * 60);
/// The first and the longest wait after a lost connection; each is twice the one before.
const SHORTEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// What decides about a login on this machine: keys, known hosts and the configuration, by the state of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStamps(Vec<Option<(i64, i64, u64, u64)>>);

impl FileStamps {
    /// Looks at the files; one that is not there is a state like any other.
    pub fn take(paths: &[PathBuf]) -> Self {
        let stamp = |path: &PathBuf| {
            let found = std::fs::metadata(Path::new(path)).ok()?;
            Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
        };
        Self(paths.iter().map(stamp).collect())
    }
}

/// Decides when the next login may be tried.
#[derive(Debug, Default)]
pub struct LoginPolicy {
    /// How the files were when the last login was tried.
    tried: FileStamps,
    refused: bool,
    losses: u32,
    not_before: Option<Instant>,
    logins: VecDeque<Instant>,
}

impl LoginPolicy {
    /// Returns whether a login may be tried now. After a refusal it may once one of the files has changed.
    pub fn allows_login(&mut self, now: Instant, files: &FileStamps) -> bool {
        if self.refused && self.tried == *files {
            return false;
        }
        while self
            .logins
            .front()
            .is_some_and(|login| now.saturating_duration_since(*login) >= PERIOD)
        {
            self.logins.pop_front();
        }
        self.logins.len() < MOST_LOGINS && self.not_before.is_none_or(|then| now >= then)
    }

    pub fn note_login(&mut self, now: Instant, files: FileStamps) {
        self.refused = false;
        self.tried = files;
        self.logins.push_back(now);
    }

    /// Notes that the firewall refused the login, or that its host key is not to be trusted.
    pub fn note_refusal(&mut self) {
        self.refused = true;
    }

    /// Notes that with the files as they are now no login can be tried.
    pub fn note_unusable(&mut self, files: FileStamps) {
        self.tried = files;
    }

    /// Returns whether the last login was refused, so that the next one needs something else.
    pub fn was_refused(&self) -> bool {
        self.refused
    }

    /// Notes that the firewall could not be reached, or that the connection was lost.
    pub fn note_loss(&mut self, now: Instant) {
        let wait = SHORTEST_WAIT.saturating_mul(1 << self.losses.min(4));
        self.losses = self.losses.saturating_add(1);
        self.not_before = Some(now + wait.min(LONGEST_WAIT));
    }

    pub fn note_answer(&mut self) {
        self.losses = 0;
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn a_refusal_lasts_until_a_file_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = [folder.path().join("known_hosts"), folder.path().join("key")];
        let mut policy = LoginPolicy::default();
        let begin = Instant::now();
        policy.note_login(begin, FileStamps::take(&paths));
        policy.note_refusal();
        for day in 0..3 {
            let later = begin + minutes(day * 24 * 60);
            assert!(!policy.allows_login(later, &FileStamps::take(&paths)));
        }
        std::fs::write(&paths[1], "key").expect("a file");
        let changed = FileStamps::take(&paths);
        assert!(policy.allows_login(begin + minutes(1), &changed));
        policy.note_unusable(changed.clone());
        assert!(!policy.allows_login(begin + minutes(2), &changed));
    }

    #[test]
    fn losses_wait_longer_each_time() {
        let files = FileStamps::take(&[]);
        let mut policy = LoginPolicy::default();
        let mut now = Instant::now();
        let mut waited = Vec::new();
        for _ in 0..7 {
            policy.note_loss(now);
            let mut wait = 0;
            while !policy.allows_login(now, &files) {
                now += minutes(1);
                wait += 1;
            }
            waited.push(wait);
        }
        assert_eq!(waited, [1, 2, 4, 8, 15, 15, 15]);
        policy.note_answer();
        policy.note_loss(now);
        assert!(policy.allows_login(now + minutes(1), &files));
    }

    #[test]
    fn no_half_hour_sees_three_logins() {
        let files = FileStamps::take(&[]);
        let mut policy = LoginPolicy::default();
        let begin = Instant::now();
        let mut logins: Vec<Instant> = Vec::new();
        for minute in 0..600 {
            let now = begin + minutes(minute);
            if policy.allows_login(now, &files) {
                policy.note_login(now, files.clone());
                logins.push(now);
                // The worst firewall: it answers once, and cuts.
                policy.note_answer();
                policy.note_loss(now);
            }
        }
        assert!(logins.len() >= 39, "{}", logins.len());
        for three in logins.windows(3) {
            assert!(three[2].duration_since(three[0]) >= PERIOD);
        }
    }
}
