//! Looks at processes through `/proc` and ends those that tests have started, by their number.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its name, without arguments.
    pub name: String,
    /// Its arguments, joined with blanks; empty for a zombie.
    pub command: String,
}

/// Lists all processes.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (named, rest) = stat.rsplit_once(") ")?;
    let name = named.split_once('(')?.1.to_owned();
    let parent = rest.split(' ').nth(1)?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Process { pid, parent, name, command })
}

/// Lists the processes of a name below a process, children before grandchildren.
pub fn below(ancestor: u32, name: &str) -> Vec<u32> {
    let all = all();
    let mut found = vec![ancestor];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        let children =
            all.iter().filter(|process| process.parent == parent && process.name == name);
        found.extend(children.map(|process| process.pid));
        at += 1;
    }
    found.split_off(1)
}

/// Lists the processes whose command line holds a text.
pub fn naming(text: &str) -> Vec<Process> {
    all().into_iter().filter(|process| process.command.contains(text)).collect()
}

/// Waits until no process names a text; returns those that still do after some seconds.
pub fn remaining(text: &str, patience: Duration) -> Vec<Process> {
    let start = Instant::now();
    loop {
        let left = naming(text);
        if left.is_empty() || start.elapsed() > patience {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal (`KILL`, `STOP`, `CONT`) to a process.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("/bin/kill").args([format!("-{name}"), pid.to_string()]).output().unwrap();
    drop(sent);
}

/// Sends a signal to a process group, as a terminal does.
pub fn signal_group(group: u32, name: &str) {
    let sent = Command::new("/bin/kill")
        .args([format!("-{name}"), "--".to_owned(), format!("-{group}")])
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
}
