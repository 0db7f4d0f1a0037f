//! The side-car's shell around the pure core: files, clocks, sockets. The rules are in `domain`: `vlmcsd`,
//! `classify`, `dedup`, `decision`, `announce`.

pub mod replay;
