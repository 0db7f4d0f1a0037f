//! What the last reading of each context found, kept on this machine so that a shell's Tab key can offer the blocked
//! addresses and `config contexts` the state without a connection. It decides nothing: a change reads anew.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::domain::service::Service;
use crate::own_files::{make_private_directory, replace_private_file};
use crate::pfsense::questions::Reading;
use crate::plain_file::read_plain_file;

/// More are not offered: more a shell would not show either.
const MOST: usize = 1000;
const LARGEST_FILE: u64 = 64 << 10;

/// What the last reading found.
#[derive(Default, Serialize, Deserialize)]
pub struct LastReading {
    firewall: String,
    /// The host key that the firewall presented; empty where that is not known.
    #[serde(default)]
    pub host_key: String,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub service: String,
    #[serde(default)]
    pub state: Option<(String, Timestamp)>,
}

impl Context {
    /// Keeps what a reading found; what it did not ask for stays as it was. Where that cannot be done, nothing is offered
    /// later.
    pub(super) fn remember_reading(&self, reading: &Reading) {
        let Ok(directory) = self.memory_directory() else {
            return;
        };
        let (context, firewall) = (self.layers.remembered_context(self.demo), self.firewall_name());
        let mut last = last_reading(&directory, context, firewall).unwrap_or_default();
        firewall.clone_into(&mut last.firewall);
        if let Some(seen) = self.seen.get() {
            last.host_key.clone_from(&seen.host_key);
        }
        if let Ok(entries) = &reading.table {
            let nets = entries.iter().map(|entry| entry.net);
            let hosts = nets.filter(|net| net.prefix_len() == net.max_prefix_len());
            last.addresses = hosts.map(|net| net.addr()).take(MOST).collect();
        }
        if reading.configured.is_ok()
            && reading.info.is_ok()
            && let Ok(exposure) = self.situation(reading).exposure()
        {
            last.service = service_name(&self.settings.service);
            last.state = Some((exposure.state.to_string(), reading.clock.now));
        }
        let _ = write_remembered(&directory, context, &last);
    }
}

/// Returns the name that output gives a service: `ALIAS port PORT`.
pub fn service_name(service: &Service) -> String {
    format!("{} port {}", service.alias, service.port)
}

fn remembered_file(directory: &Path, context: Option<&str>) -> PathBuf {
    let context = context.map_or_else(String::new, |name| format!("-{name}"));
    directory.join(format!("last-reading{context}.json"))
}

fn write_remembered(
    directory: &Path,
    context: Option<&str>,
    last: &LastReading,
) -> std::io::Result<()> {
    make_private_directory(directory)?;
    let text = serde_json::to_vec(last)?;
    replace_private_file(&remembered_file(directory, context), &text)
}

/// Returns what the last reading of a context found, where it was of this firewall.
pub fn last_reading(
    directory: &Path,
    context: Option<&str>,
    firewall: &str,
) -> Option<LastReading> {
    let text = read_plain_file(&remembered_file(directory, context), LARGEST_FILE).ok()?;
    let last: LastReading = serde_json::from_slice(&text).ok()?;
    (last.firewall == firewall).then_some(last)
}
