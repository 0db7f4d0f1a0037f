//! A terminal of a certain size around the real binary.

use std::process::{Command, Stdio};

use super::environment::TestEnvironment;

/// Runs kmsctl at a terminal of this size, through a shell, and returns what it printed. `0` is a size that is not known.
pub fn at_terminal(environment: &TestEnvironment, columns: u16, rows: u16, words: &str) -> String {
    let like = environment.command(&[]);
    let kmsctl = env!("CARGO_BIN_EXE_kmsctl");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("stty cols {columns} rows {rows}; exec '{kmsctl}' {words}"));
    command.env_clear().stdin(Stdio::inherit()).current_dir(environment.home());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = rexpect::session::spawn_command(command, Some(30_000)).expect("a pty");
    let text = terminal.exp_eof().expect("the end").replace('\r', "");
    // The pty's reader takes each byte for a character.
    let bytes: Option<Vec<u8>> =
        text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}
