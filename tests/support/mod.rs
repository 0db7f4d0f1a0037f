//! What tests of several files share. Each test binary uses its own part of it.
#![allow(dead_code)]

pub mod boxes;
pub mod campaign;
pub mod changing;
pub mod cluster;
pub mod delay_proxy;
pub mod environment;
pub mod hostile;
pub mod instrument;
pub mod kms_log;
pub mod live;
pub mod php;
pub mod pods;
pub mod processes;
pub mod raw_sshd;
pub mod redis;
pub mod screen;
pub mod served;
pub mod side_car;
pub mod skip;
pub mod sshd;
pub mod stubs;
pub mod world;
