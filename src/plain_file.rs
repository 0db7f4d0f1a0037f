//! Opens files that must be plain ones: to open or to read a named pipe would wait for a writer or reader that never comes, deaf to
//! signals and time limits.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::own_files;

/// Reads a plain file, up to so many bytes.
///
/// # Errors
/// Those of the operating system; `InvalidInput` for a pipe, a socket, a device or a directory.
pub fn read_plain_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_start(open_plain_file(path, OpenOptions::new().read(true))?, most)
}

/// Reads a plain file of UTF-8, up to so many bytes.
///
/// # Errors
/// As [`read_plain_file`]; `InvalidData` for what is no UTF-8.
pub fn read_plain_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read_plain_file(path, most)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads a file of kmsctl's own, up to so many bytes.
///
/// # Errors
/// As [`open_own_file`].
pub fn read_own_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_start(open_own_file(path, OpenOptions::new().read(true))?, most)
}

fn read_start(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file that kmsctl itself has made: neither a link nor another user's, who could have planted it before the
/// directory was closed to others, or in one that is open to all as Kubernetes' volumes are.
///
/// # Errors
/// As [`open_plain_file`]; `PermissionDenied` where it is another user's.
pub fn open_own_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open_without_waiting(path, options, libc::O_NOFOLLOW).map_err(|error| {
        let is_link = error.raw_os_error() == Some(libc::ELOOP);
        if is_link { io::Error::new(io::ErrorKind::InvalidInput, "it is a link") } else { error }
    })?;
    own_files::check_not_foreign(&file.metadata()?)?;
    Ok(file)
}

/// Opens a file with these options, without waiting, and refuses all but plain files.
///
/// # Errors
/// Those of the operating system; `InvalidInput` for a pipe, a socket, a device or a directory.
pub fn open_plain_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open_without_waiting(path, options, 0)
}

fn open_without_waiting(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    let other = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file");
    let file = options.custom_flags(libc::O_NONBLOCK | flags).open(path).map_err(|error| {
        // A pipe without a reader, or a socket.
        if error.raw_os_error() == Some(libc::ENXIO) { other() } else { error }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(other()) }
}
