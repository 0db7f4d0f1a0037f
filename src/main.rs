//! Parses, runs, and turns the result into an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use kmsctl::cli::Cli;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => ExitCode::from(kmsctl::run(&cli)),
        Err(error) => ExitCode::from(kmsctl::refuse(&error)),
    }
}
