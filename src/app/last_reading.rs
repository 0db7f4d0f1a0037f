//! The addresses that the last reading found in the table, kept on this machine so that a shell's Tab key can offer
//! them without a connection. They decide nothing: a change reads the table anew.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Context;
use crate::own_files::make_private_directory;
use crate::pfsense::questions::Reading;

const FILE: &str = "last-blocked.json";
/// More are not offered: more a shell would not show either.
const MOST: usize = 1000;
const LARGEST_FILE: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Remembered {
    firewall: String,
    addresses: Vec<IpAddr>,
}

impl Context {
    /// Keeps the table's addresses. Where that cannot be done, nothing is offered later.
    pub(super) fn remember_blocked(&self, reading: &Reading) {
        let Ok(entries) = &reading.table else {
            return;
        };
        let Ok(directory) = self.memory_directory() else {
            return;
        };
        let nets = entries.iter().map(|entry| entry.net);
        let hosts = nets.filter(|net| net.prefix_len() == net.max_prefix_len());
        let remembered = Remembered {
            firewall: self.firewall_name().to_owned(),
            addresses: hosts.map(|net| net.addr()).take(MOST).collect(),
        };
        let _ = write_remembered(&directory, &remembered);
    }
}

fn write_remembered(directory: &Path, remembered: &Remembered) -> std::io::Result<()> {
    make_private_directory(directory)?;
    // A temporary file is its owner's alone.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(remembered)?)?;
    file.persist(directory.join(FILE))?;
    Ok(())
}

/// Returns the addresses that were blocked at the last reading of a firewall.
pub fn blocked_at_last_reading(directory: &Path, firewall: &str) -> Vec<String> {
    let read = || -> std::io::Result<Remembered> {
        let mut text = String::new();
        let file = std::fs::File::open(directory.join(FILE))?;
        file.take(LARGEST_FILE).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    let remembered = read()
        .ok()
        .filter(|remembered| remembered.firewall == firewall);
    let addresses = remembered
        .into_iter()
        .flat_map(|remembered| remembered.addresses);
    addresses.map(|address| address.to_string()).collect()
}
