//! What kmsctl is asked to do: built-in defaults < file < context < `KMSCTL_*` environment < flags, each value
//! remembering where it came from.
//!
//! [`keys`] is the one table of keys; `config.example.toml`, `config show`, the environment names and the
//! "did you mean" of unknown keys all come from it. [`layers`] reads the layers, `contexts` lays one over the file, [`resolved`] gives the
//! values their types. The environment is read once, by [`Environment::of_process`].

mod contexts;
pub mod environment;
pub mod exporter;
pub mod keys;
pub mod layers;
pub mod notifier;
pub mod resolved;
pub mod target;
pub mod values;
pub mod vantages;
pub mod window;

pub use environment::Environment;
pub use layers::{Layers, Origin};
pub use resolved::{Cluster, Settings};
