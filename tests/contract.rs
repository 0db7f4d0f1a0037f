//! One suite, run against every stand-in and every real thing it stands for.

#[path = "contract/samples.rs"]
mod samples;
