//! Hands what the engine makes up to a parser of outside text, which `KMSCTL_FUZZ_PARSER` names, or to every one; see
//! CONTRIBUTING.md for the command.
#![no_main]

#[path = "../every_parser.rs"]
mod every_parser;

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| match std::env::var("KMSCTL_FUZZ_PARSER") {
    Err(_) => every_parser::feed,
    Ok(name) => {
        let mut parsers = every_parser::PARSERS.iter();
        let named = parsers.find(|parser| parser.0 == name);
        named.unwrap_or_else(|| panic!("no parser is called {name}")).1
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
