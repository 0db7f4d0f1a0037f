//! The exporter's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{SettingsReader, key};
use super::layers::Origin;
use super::notifier::Webhook;
use super::values::{parse_given, parse_listen_address, parse_object_name, parse_period};
use crate::error::Result;

/// What `exporter run` needs to know, and who reads its record.
#[derive(Clone, Debug)]
pub struct Exporter {
    pub listen: SocketAddr,
    pub interval: Duration,
    pub state_dir: Option<PathBuf>,
    pub events_file: Option<PathBuf>,
    pub webhook: Webhook,
    pub selector: String,
}

impl Exporter {
    /// Reads the settings. A directory that contexts share has a part for each of them, as each is about a box of its own.
    pub fn resolve(read: &SettingsReader<'_>) -> Result<Self> {
        let own = matches!(read.layers.origin_of("exporter.state_dir"), Origin::Context(..));
        let chosen = read.layers.chosen_context().filter(|_| !own);
        let file = |named| read.file(named);
        Ok(Self {
            listen: key!(read, "exporter.listen" = "127.0.0.1:9102", parse_listen_address;
                "Address and port of the exporter's /metrics, /healthz and /readyz. Flag: --listen."),
            interval: key!(read, "exporter.interval" = "30s", parse_period;
                "How often the exporter asks the firewall. Flag: --every."),
            state_dir: file(key!(read, "exporter.state_dir" = "", parse_given;
                "Directory of the exporter's record of who was blocked; below it a part for each context that does not name\nits own. Empty is exporter, beside the history. Flag: --state-dir."))
            .map(|directory| match chosen {
                Some(name) => directory.join(name),
                None => directory,
            }),
            events_file: file(key!(read, "exporter.events_file" = "", parse_given;
                "File that `notifier run --echo` prints to: it says who is a customer. Empty asks the cluster, where one is\nconfigured; without either that is not known. Flag: --events-file.")),
            webhook: file(key!(read, "exporter.webhook_file" = "", parse_given;
                "File that holds the URL of Slack's webhook: a customer who is blocked is reported there once. Empty posts\nnothing."))
            .map_or(Webhook::None, Webhook::File),
            selector: key!(read, "exporter.selector" = "app=kmsctl-exporter", parse_object_name;
                "Label selector of the exporter's pod, for `virusprot history` on a machine without its record."),
        })
    }
}
