//! What tests of several files share. Each test binary uses its own part of it.
#![allow(dead_code)]

pub mod boxes;
pub mod changing;
pub mod cluster;
pub mod delay_proxy;
pub mod environment;
pub mod instrument;
pub mod php;
pub mod pods;
pub mod processes;
pub mod redis;
pub mod skip;
pub mod sshd;
pub mod stubs;
