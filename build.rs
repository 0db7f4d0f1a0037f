//! Gives the commit and its date to `kmsctl --version` and to the metrics page, as `BUILD_VERSION`, `BUILD_COMMIT` and
//! `BUILD_COMMIT_DATE`.
//!
//! A development build names no commit: each commit would compile the library again. Where nothing says which commit it
//! is (a source archive), the version stands alone, as a wrong commit is worse than none.
#![expect(clippy::disallowed_methods, reason = "a build script asks git")]

use std::process::Command;

/// The commit, shortened, and its date; either may be unknown.
type Commit = (Option<String>, Option<String>);

const SHORT_COMMIT: usize = 10;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=KMSCTL_BUILD_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let (commit, date) = if release {
        commit_of_environment()
            .or_else(commit_of_published_crate)
            .or_else(commit_of_work_tree)
            .unwrap_or_default()
    } else {
        (None, None)
    };
    let known: Vec<&str> = [&commit, &date].into_iter().flatten().map(String::as_str).collect();
    let shown = match known.as_slice() {
        [] if release => version.to_owned(),
        [] => format!("{version} (development build)"),
        known => format!("{version} ({})", known.join(" ")),
    };
    println!("cargo:rustc-env=BUILD_VERSION={shown}");
    println!("cargo:rustc-env=BUILD_COMMIT={}", commit.unwrap_or_default());
    println!("cargo:rustc-env=BUILD_COMMIT_DATE={}", date.unwrap_or_default());
}

/// Reads `KMSCTL_BUILD_COMMIT="COMMIT [DATE]"`, for a build that has no repository, such as that of the image.
fn commit_of_environment() -> Option<Commit> {
    let text = std::env::var("KMSCTL_BUILD_COMMIT").ok()?;
    let mut words = text.split_whitespace();
    let commit = words.next()?.to_owned();
    Some((Some(commit), words.next().map(str::to_owned)))
}

/// Reads what `cargo package` notes in a published crate; it notes no date.
fn commit_of_published_crate() -> Option<Commit> {
    let note = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = note.split_once("\"sha1\": \"")?;
    Some((rest.get(..SHORT_COMMIT).map(str::to_owned), None))
}

/// Asks git about the work tree, if it is this package's own and not that of a folder above.
fn commit_of_work_tree() -> Option<Commit> {
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let shown =
        git(&["show", "--no-patch", "--format=%H %cd", "--date=format-local:%Y-%m-%d", "HEAD"])?;
    let (hash, date) = shown.split_once(' ')?;
    // A commit, and an edit of what is compiled, each ask again.
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=runbooks");
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if std::fs::exists(&path).is_ok_and(|exists| exists) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let edited = !git(&[
        "status",
        "--porcelain",
        "--",
        "src",
        "build.rs",
        "Cargo.toml",
        "Cargo.lock",
        "runbooks",
    ])?
    .is_empty();
    let mut commit = hash.get(..SHORT_COMMIT)?.to_owned();
    if edited {
        commit.push_str("+edited");
    }
    Some((Some(commit), Some(date.to_owned())))
}

/// Runs git in the package's folder and returns what it printed, or `None` where it fails or is not installed.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(arguments)
        .env("TZ", "UTC")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
