//! One suite, run against every stand-in and every real thing it stands for.

#[cfg(test)]
#[path = "contract/agent.rs"]
mod agent;
#[path = "contract/simulator.rs"]
mod simulator;
