//! Hands what the engine makes up to every parser of outside text; see CONTRIBUTING.md for the command.
#![no_main]

#[path = "../every_parser.rs"]
mod every_parser;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| every_parser::feed(bytes));
