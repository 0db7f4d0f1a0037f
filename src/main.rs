//! Parses, runs, and turns the result into an exit code. Everything else is in the library.

use std::process::ExitCode;

use kmsctl::cli::Cli;

fn main() -> ExitCode {
    match kmsctl::cli::answer_shell() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return ExitCode::from(kmsctl::print_parser_answer(error, &[])),
    }
    match Cli::parse_process() {
        Ok(cli) => ExitCode::from(kmsctl::run_kmsctl(&cli)),
        Err(error) => {
            let words: Vec<String> =
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            ExitCode::from(kmsctl::print_parser_answer(error, &words))
        }
    }
}
