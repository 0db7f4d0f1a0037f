//! One suite, run against every stand-in and every real thing it stands for.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests touch the world and fail loudly"
)]

#[path = "contract/agent.rs"]
mod agent;
#[path = "contract/agent_older.rs"]
mod agent_older;
#[path = "contract/apply.rs"]
mod apply;
#[path = "contract/apply_failures.rs"]
mod apply_failures;
#[path = "contract/apply_foreign.rs"]
mod apply_foreign;
#[path = "contract/apply_proof.rs"]
mod apply_proof;
#[path = "contract/apply_records.rs"]
mod apply_records;
#[path = "contract/apply_rollback.rs"]
mod apply_rollback;
#[path = "contract/apply_saved.rs"]
mod apply_saved;
#[path = "contract/apply_trackers.rs"]
mod apply_trackers;
#[path = "contract/campaign.rs"]
mod campaign;
#[path = "contract/clean.rs"]
mod clean;
#[path = "contract/every_parser.rs"]
mod every_parser;
#[path = "contract/link.rs"]
mod link;
#[path = "contract/link_identity.rs"]
mod link_identity;
#[path = "contract/link_kept.rs"]
mod link_kept;
#[path = "contract/link_keys.rs"]
mod link_keys;
#[path = "contract/link_refusals.rs"]
mod link_refusals;
#[path = "contract/link_spoilt.rs"]
mod link_spoilt;
#[path = "contract/samples.rs"]
mod samples;
#[path = "contract/script.rs"]
mod script;
#[path = "contract/simulator.rs"]
mod simulator;
#[path = "contract/simulator_apply.rs"]
mod simulator_apply;
mod support;
