//! Keeps the fuzzer's list of parsers in step: every fixture goes through all of them, whole and spoilt.

#[path = "../fuzz/every_parser.rs"]
mod parsers;

use std::path::Path;

#[test]
fn no_fixture_panics_any_parser() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), &mut files);
    assert!(files.len() > 20, "{}", files.len());
    for path in files {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(16 << 10);
        parsers::feed(&bytes);
        for place in (0..bytes.len()).step_by(bytes.len() / 7 + 1) {
            let mut spoilt = bytes.clone();
            spoilt[place] ^= 0x80;
            parsers::feed(&spoilt);
            parsers::feed(&spoilt[..place]);
        }
    }
}

fn collect(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
