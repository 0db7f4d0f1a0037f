//! Opens files that must be plain ones: to open or to read a named pipe would wait for a writer or reader that never comes, deaf to
//! signals and time limits.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a file with these options, without waiting, and refuses all but plain files.
///
/// # Errors
/// Those of the operating system; `InvalidInput` for a pipe, a socket, a device or a directory.
pub fn open_plain_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a plain file",
        ))
    }
}
