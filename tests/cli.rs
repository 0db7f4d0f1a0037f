//! End to end: the real binary, one module a command group. The path of a module is the command's.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests touch the world and fail loudly"
)]

#[path = "cli/advice.rs"]
mod advice;
#[path = "cli/cases.rs"]
mod cases;
#[path = "cli/change.rs"]
mod change;
#[path = "cli/client_campaign.rs"]
mod client_campaign;
#[path = "cli/completions.rs"]
mod completions;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/config_init.rs"]
mod config_init;
#[path = "cli/contexts.rs"]
mod contexts;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/deploy.rs"]
mod deploy;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/exporter.rs"]
mod exporter;
#[path = "cli/expose.rs"]
mod expose;
#[path = "cli/expose_saved.rs"]
mod expose_saved;
#[path = "cli/foreign_files.rs"]
mod foreign_files;
#[path = "cli/history.rs"]
mod history;
#[path = "cli/hostile_firewall.rs"]
mod hostile_firewall;
#[path = "cli/house.rs"]
mod house;
#[path = "cli/image.rs"]
mod image;
#[path = "cli/live_view.rs"]
mod live_view;
#[path = "cli/local_disk.rs"]
mod local_disk;
#[path = "cli/long_history.rs"]
mod long_history;
#[path = "cli/notifier.rs"]
mod notifier;
#[path = "cli/notifier_logs.rs"]
mod notifier_logs;
#[path = "cli/notifier_manifest.rs"]
mod notifier_manifest;
#[path = "cli/notifier_metrics.rs"]
mod notifier_metrics;
#[path = "cli/notifier_page.rs"]
mod notifier_page;
#[path = "cli/notifier_status.rs"]
mod notifier_status;
#[path = "cli/other_firewall.rs"]
mod other_firewall;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/over_sshd.rs"]
mod over_sshd;
#[path = "cli/packaging.rs"]
mod packaging;
#[path = "cli/pager.rs"]
mod pager;
#[path = "cli/pasted.rs"]
mod pasted;
#[path = "cli/paths.rs"]
mod paths;
#[path = "cli/plans.rs"]
mod plans;
#[path = "cli/prompts.rs"]
mod prompts;
#[path = "cli/ratelimit.rs"]
mod ratelimit;
#[path = "cli/reads.rs"]
mod reads;
#[path = "cli/rollbacks.rs"]
mod rollbacks;
#[path = "cli/runbook.rs"]
mod runbook;
#[path = "cli/screenshots.rs"]
mod screenshots;
#[path = "cli/sshd_changes.rs"]
mod sshd_changes;
#[path = "cli/sshd_faults.rs"]
mod sshd_faults;
#[path = "cli/sshd_proof.rs"]
mod sshd_proof;
#[path = "cli/states.rs"]
mod states;
#[path = "cli/status.rs"]
mod status;
mod support;
#[path = "cli/unconfigured.rs"]
mod unconfigured;
#[path = "cli/util.rs"]
mod util;
#[path = "cli/verify.rs"]
mod verify;
#[path = "cli/verify_external.rs"]
mod verify_external;
#[path = "cli/virusprot.rs"]
mod virusprot;
#[path = "cli/widths.rs"]
mod widths;
