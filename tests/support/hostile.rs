//! A hostile firewall behind OpenSSH's sshd on loopback, and what it costs kmsctl: the worst answers of every kind, the
//! peak of the resident memory, and how long an interrupt takes. The tests judge it, the bench prints it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::environment::TestEnvironment;
use super::processes;
use super::sshd::{Options, Sshd};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hostile_firewall.py");

/// How one answer is hostile: a name, the mode, which commands of the script, the text, and what is run.
pub type Case = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const DOCTOR: &[&str] = &["doctor"];
const CHANGES: &[&str] = &["expose", "revoke", "--yes"];

/// The worst answers, as far as is known.
pub const CASES: &[Case] = &[
    ("rules", "flood", "-vvPsr", r"pass\n", DOCTOR),
    (
        "rules with options",
        "flood",
        "-vvPsr",
        r"pass keep state (a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a)\n",
        DOCTOR,
    ),
    ("translation", "flood", "-vvPsn", r"nat all\n", DOCTOR),
    ("lines of nothing", "flood", "-vv", r"\n", DOCTOR),
    (
        "states",
        "flood",
        "-vvss",
        r"all tcp 10.0.20.202:1688 <- 198.51.100.23:50122 A:B\n   age 00:00:01, expires in 00:00:01, 1:1 pkts, 1:1 bytes, rule 1, a, a, a\n   id: 0000000000000001 creatorid: 00000001\n",
        &["states"],
    ),
    ("states of one line", "flood", "-vvss", r"a tcp ::[1688] <- ::[1] A:B\n", &["states"]),
    ("a state without end", "flood", "-vvss", r"a", &["states"]),
    ("table", "flood", "'show' '-v'", r"   ::\n", &["virusprot", "show"]),
    ("sources", "flood", "-vsS", r"::1 -> ::\n", DOCTOR),
    ("crontab", "flood", "crontab", r"* * * * * root x\n", &["virusprot", "show"]),
    ("configuration", "flood", "php", r"[", DOCTOR),
    ("interfaces", "flood", "ifconfig", r"a: flags=1\n\tinet 1.1.1.1 netmask 0x1\n", DOCTOR),
    ("every answer", "flood", "", r"   ::\n", DOCTOR),
    ("every answer, blank", "flood", "", r" \n", DOCTOR),
    ("every answer to a revoke", "flood", "vv|php|table|alias", r"pass\n", CHANGES),
    ("zero bytes", "flood", "", r"\x00", DOCTOR),
    ("bytes that are no text", "flood", "", r"\xff\n", DOCTOR),
    ("errors", "errors", "", r"pfctl: \xe2\x80\xae\x1b]0;x\x07\n", DOCTOR),
    ("without end", "endless", "-vvPsr", r"pass\n", DOCTOR),
    ("errors without end of a command", "endless", "-vsi", r"\x1b[31m", DOCTOR),
    ("silence in the middle", "hang", "-vvPsr", r"pass\n", DOCTOR),
    ("cut in the middle", "cut", "-vvPsr", r"pass\n", DOCTOR),
];

/// The firewall, and the operator's side.
pub struct Hostile {
    pub environment: TestEnvironment,
    pub sshd: Sshd,
}

impl Hostile {
    /// Starts one; None (said aloud) where sshd is not installed.
    pub fn start(transport: &str) -> Option<Self> {
        let sshd = Sshd::start(Options::default())?;
        let environment = TestEnvironment::new().private_runtime();
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\ntransport = \"{transport}\"\nidentity = \"{}\"\n\
             known_hosts = \"{}\"\nssh_config = \"/dev/null\"\ncontrol_persist = \"0s\"\n",
            sshd.port,
            sshd.user,
            sshd.client_key.display(),
            sshd.known_hosts.display(),
        ));
        Some(Self { environment, sshd })
    }

    /// Has it answer so from now on.
    pub fn answer(&self, mode: &str, pattern: &str, unit: &str) {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        self.sshd.set_login(&format!(
            "#!/bin/sh\nexec python3 '{PROGRAM}' {mode} {} {}\n",
            quoted(pattern),
            quoted(unit)
        ));
    }

    /// Runs a case to its end.
    pub fn measure(&self, case: &Case) -> Measured {
        let (_, mode, pattern, unit, arguments) = case;
        self.answer(mode, pattern, unit);
        let patience = if *mode == "hang" { "3s" } else { "60s" };
        let mut command = self.environment.command(arguments);
        command.args(["--timeout", patience]);
        measured(command)
    }

    /// Interrupts a case after a while, and returns how long it took to end.
    pub fn interrupt(&self, case: &Case, after: Duration) -> Duration {
        let (_, mode, pattern, unit, arguments) = case;
        self.answer(mode, pattern, unit);
        let mut command = self.environment.command(arguments);
        command.args(["--timeout", "60s"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("kmsctl starts");
        std::thread::sleep(after);
        let start = Instant::now();
        processes::signal(child.id(), "INT");
        child.wait().expect("it ends");
        start.elapsed()
    }
}

/// How a run ended, what it said, and its greatest resident memory in MiB.
#[derive(Debug)]
pub struct Measured {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub peak: u64,
    pub took: Duration,
}

/// Runs a command and watches its memory (`/proc`, so Linux only).
pub fn measured(mut command: Command) -> Measured {
    let start = Instant::now();
    let (out, err) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let copy = |file: &std::fs::File| file.try_clone().expect("a second handle");
    command.stdout(copy(&out)).stderr(copy(&err));
    let mut child = command.spawn().expect("kmsctl starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kibibytes.unwrap_or_default() / 1024);
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |mut file: std::fs::File| {
        use std::io::{Read as _, Seek as _};
        let mut bytes = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut bytes).expect("a file");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Measured { code, stdout: text(out), stderr: text(err), peak, took: start.elapsed() }
}
