//! Tests that need a program which is not installed say so aloud, or fail where everything must run.

use std::path::{Path, PathBuf};

/// Says that something is skipped; fails instead where `KMSCTL_TESTS_MUST_RUN=1` is set.
pub fn skip(what: &str, because: &str) {
    assert!(
        std::env::var_os("KMSCTL_TESTS_MUST_RUN").is_none_or(|value| value != "1"),
        "{what} must run, but {because}"
    );
    eprintln!("SKIPPED: {what} because {because}");
}

/// Returns the first of several absolute paths that exists; says that the test is skipped if none does.
pub fn program(what: &str, candidates: &[&str]) -> Option<PathBuf> {
    let found = candidates.iter().map(Path::new).find(|path| path.exists());
    if found.is_none() {
        skip(what, &format!("none of {} is installed", candidates.join(", ")));
    }
    found.map(Path::to_owned)
}
