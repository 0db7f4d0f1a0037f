//! Directories and files that must be this user's: their owner decides what kmsctl believes (sockets whose host key
//! was checked, the history, the configuration). Root is no exception, as it would believe what another user planted.

use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// The connections of vantages, in the directory of the history.
pub const SPENT_CONNECTIONS: &str = "vantages.json";

/// Returns the id of the user that this process acts as.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a directory of mode 0700 where there is none, and closes one to others that is open to them. A link to one is
/// fine where this user or root has made it.
///
/// # Errors
/// Those of the operating system; `PermissionDenied` with a sentence where it is another user's.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    check_own_directory(path)?;
    let mode = fs::metadata(path)?.mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Replaces a file at once and for its owner only (a temporary file has 0600): a reader sees the old bytes or the new
/// ones. Nothing is flushed to the disk.
///
/// # Errors
/// Those of the operating system.
pub fn replace_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Refuses a directory that is another user's, or a link to one that another user has made, or one in a directory of
/// kmsctl's that is another user's, who may put another in its place.
///
/// # Errors
/// Those of the operating system; `PermissionDenied` with a sentence where it is another user's.
pub fn check_own_directory(path: &Path) -> io::Result<()> {
    let is_named = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name == "kmsctl" || name.starts_with("kmsctl-"))
    };
    let above = path.ancestors().position(is_named).unwrap_or(0);
    for directory in path.ancestors().take(above + 1) {
        let link = fs::symlink_metadata(directory)?;
        let found = fs::metadata(directory)?;
        if let Some(foreign) = [&link, &found].into_iter().find(|found| is_foreign(found)) {
            return Err(foreign_owner(foreign));
        }
    }
    check_own(&fs::metadata(path)?)
}

/// Returns whose a directory is, or a link that leads to it, where that is another user, who may put another file into it.
pub fn directory_problem(path: &Path) -> Option<String> {
    let found = [fs::symlink_metadata(path), fs::metadata(path)];
    let foreign = found.iter().flatten().find(|found| is_foreign(found))?;
    Some(foreign_owner(foreign).to_string())
}

/// Says whether a directory is there and is neither this user's nor root's.
pub fn belongs_to_another(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| is_foreign(&found))
}

/// Refuses what is neither this user's nor root's.
///
/// # Errors
/// `PermissionDenied` with a sentence.
pub fn check_not_foreign(found: &Metadata) -> io::Result<()> {
    if is_foreign(found) { Err(foreign_owner(found)) } else { Ok(()) }
}

fn is_foreign(found: &Metadata) -> bool {
    found.uid() != own_user() && found.uid() != 0
}

/// Refuses what is another user's.
///
/// # Errors
/// `PermissionDenied` with a sentence.
pub fn check_own(found: &Metadata) -> io::Result<()> {
    if found.uid() == own_user() { Ok(()) } else { Err(foreign_owner(found)) }
}

/// Says why a configuration is not to be believed: another user owns it or may write it.
pub fn configuration_problem(found: &Metadata) -> Option<String> {
    if is_foreign(found) {
        return Some(format!(
            "it belongs to another user (id {}), neither to this one nor to root",
            found.uid()
        ));
    }
    (found.mode() & 0o022 != 0).then(|| {
        format!("others may write it (mode {:o}); close it with `chmod go-w`", found.mode() & 0o777)
    })
}

fn foreign_owner(found: &Metadata) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("it belongs to another user (id {}), and this is id {}", found.uid(), own_user()),
    )
}
