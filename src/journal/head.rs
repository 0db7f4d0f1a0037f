//! What the last record of the history was, in a file beside it, so that records which are cut off at the end are missed. It is
//! written after each record under the same lock: a machine that goes down between the two leaves it behind, never ahead.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line::LARGEST_NUMBER;
use super::open_history_file;

/// The file's name.
pub(super) const NAME: &str = "journal.head";
/// More is no head.
const LONGEST: u64 = 1024;

/// The last record, by its number and its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// Its number, from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// Returns where it is.
    pub(super) fn path_in(directory: &Path) -> PathBuf {
        directory.join(NAME)
    }

    /// Reads it; `None` where there is none.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Self>> {
        let path = Self::path_in(directory);
        let file = match open_history_file(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        let head: Self = serde_json::from_slice(&text)?;
        if head.seq > LARGEST_NUMBER {
            let what = format!("its number is {}, and no history has as many records", head.seq);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(head))
    }

    /// Puts it in the place of the one before, whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join("journal.head.new");
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, Self::path_in(directory))
    }
}
