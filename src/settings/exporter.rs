//! The exporter's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::layers::{Layers, Origin};
use super::notifier::{Webhook, listen_address};
use super::values;
use crate::error::Result;

/// What `exporter run` needs to know, and who reads its record.
#[derive(Clone, Debug)]
pub struct Exporter {
    pub listen: SocketAddr,
    pub interval: Duration,
    /// Directory of the record; `None` is one beside the history.
    pub state_dir: Option<PathBuf>,
    /// File of the notifier's lines; `None` asks the cluster, where one is configured.
    pub events_file: Option<PathBuf>,
    pub webhook: Webhook,
    pub selector: String,
}

impl Exporter {
    /// Gives the layered texts their types. A directory that contexts share has a part for each of them, as each is about a
    /// box of its own.
    pub fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let file = |path: &str| {
            let text = layers.given_text(path);
            text.map(|path| environment.expand(path))
        };
        let own = layers.values.get("exporter.state_dir");
        let own = own.is_some_and(|value| matches!(value.origin, Origin::Context(..)));
        let chosen = layers.chosen_context().filter(|_| !own);
        Ok(Self {
            listen: listen_address(layers, "exporter.listen")?,
            interval: layers.parse_key("exporter.interval", values::parse_duration)?,
            state_dir: file("exporter.state_dir").map(|directory| match chosen {
                Some(name) => directory.join(name),
                None => directory,
            }),
            events_file: file("exporter.events_file"),
            webhook: file("exporter.webhook_file").map_or(Webhook::None, Webhook::File),
            selector: layers.parse_key("exporter.selector", values::parse_object_name)?,
        })
    }
}
