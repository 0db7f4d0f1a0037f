//! kmsctl: the map of the house.
//!
//! ```text
//! main → cli → commands → change → vantage → app → { pfsense, kubectl, exporter → notifier, simulator } → ssh → domain
//!                              settings, terminal and journal stand beside ssh; everything → domain → (std, serde, jiff, ipnet …)
//! ```
//!
//! Arrows run downward only; `tests/cli/house.rs` holds one table of what each room may name.
//!
//! * `start` — one run: what is decided before any connection, and the exit code of what came of it.
//! * [`cli`] — the root parser: global flags, the list of groups, and which code answers each.
//! * [`commands`] — one file a group, its arguments beside its code. A read command lists its questions
//!   ([`pfsense::questions::Question`]), gets one reading for them, hands it to the domain and shows one view.
//! * [`change`] — the one way in which anything is changed: read, plan, show, confirm, journal, apply, prove, report.
//! * [`vantage`] — reachability from inside and outside: name servers, a connection, the first word of the protocol;
//!   vantages are SSH servers, check services or this machine.
//! * [`app`] — what every command is given (settings, terminal, clock, connections), and the exposure of a reading, judged once.
//! * [`pfsense`] — the platform: `questions` turns replies into typed answers, `actions` changes tables and states, `agent` has
//!   pfSense's own PHP read config.xml and swap records in it (`agent/*.php`, one process for one question).
//! * [`kubectl`] — runs kubectl with a deadline and reads its JSON; nothing is changed in the cluster.
//! * [`exporter`] — what `exporter run` serves about the firewall, and its record of who was blocked.
//! * [`notifier`] — the side-car around the pure log core (`domain::kms_log`, `domain::notifier`).
//! * [`simulator`] — the embedded firewall behind `--demo`: a pf in memory, served over real SSH on loopback.
//! * [`ssh`] — one remote shell: the system's ssh or the built-in client, known hosts, framing. It knows nothing of pfSense.
//! * [`settings`] — defaults < file < context < environment < flags; each value remembers where it came from.
//! * [`journal`] — the history on this machine: chained lines, on the disk before the firewall is touched.
//! * [`terminal`] — streams, modes, tables, prompts, YAML; foreign text is cleaned here.
//! * [`domain`] — pure: pf's text ↔ values (`pf`), config.xml and its edits (`pfsense`), and every judgement:
//!   `exposure`, `ratelimit`, `virusprot`, `connections`, `reachability`. No file, process, network or clock.
//! * [`error`] — one [`error::Failure`] with kind and hints, and the table from kind to exit code.
//! * [`clock`] — the only place that asks for the time.
//!
//! One word, five places: command `virusprot` ⇔ `src/commands/virusprot.rs` ⇔ `runbooks/virusprot.md` ⇔
//! `tests/cli/virusprot.rs`, its thinking in `src/domain`.
#![doc = include_str!("design.md")]

pub mod app;
pub mod change;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod domain;
pub mod error;
pub mod exporter;
pub mod journal;
pub mod kubectl;
pub mod notifier;
mod own_files;
pub mod pfsense;
mod plain_file;
pub mod settings;
pub mod simulator;
pub mod ssh;
mod start;
pub mod terminal;
pub mod text;
pub mod vantage;

pub use start::{print_parser_answer, run_kmsctl};
