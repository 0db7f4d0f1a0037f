//! What kmsctl is asked to do: built-in defaults < file < context < `KMSCTL_*` environment < flags, each value
//! remembering where it came from.
//!
//! A key is declared once, where it is read (see [`keys`]); `config.example.toml`, `config show`, the environment names and
//! the "did you mean" of unknown keys all come from that. [`layers`] reads the layers, `contexts` lays one over the file,
//! [`resolved`] and its neighbours give the values their types. The environment is read once, by [`Environment::of_process`].

mod contexts;
pub mod environment;
pub mod exporter;
pub mod keys;
pub mod layers;
pub mod manifest;
pub mod notifier;
pub mod resolved;
pub mod target;
pub mod values;
pub mod vantages;
pub mod window;

pub use environment::Environment;
pub use keys::SettingsReader;
pub use layers::{Layers, Origin};
pub use resolved::{Cluster, Settings};
