//! A firewall under PHP that lets itself be changed: the stand-in's writing half, its pf, its cron and its reboots.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use kmsctl::domain::pfsense::change::{ChangeId, ChangeOutcome, Kept, OutcomeAnswer};
use kmsctl::domain::pfsense::configured::Configured;
use kmsctl::domain::shell_word::ShellWord;
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{AgentError, AgentRequest};
use kmsctl::ssh::script::Nonce;

use super::boxes::{Fixture, Version};
use super::instrument;
use super::php::{PhpBox, Run};

/// The box.
pub struct ChangingBox {
    php: PhpBox,
    instrumented: bool,
}

/// The one stand-in for /sbin/pfctl, told which box it is on.
const PFCTL: &str = concat!(
    "#!/bin/sh\nBOX='@BOX@' exec /bin/sh '",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/pfsense/pfctl' \"$@\"\n"
);

/// The overload table: an address, a tab, and since when, as pfctl prints it.
pub const TABLE: &str = "pf/virusprot";

/// Writes the configuration once, so that it has the form in which pfSense writes it.
const FIRST_WRITE: &[u8] = b"<?php require 'config.inc'; write_config('set up');";

/// Loads the ruleset, as pfSense does when it starts.
const BOOT: &[u8] = b"<?php require 'config.inc'; require 'functions.inc'; require 'filter.inc'; require 'shaper.inc'; filter_configure_sync();";

fn nonce() -> Nonce {
    Nonce::new([0x5a; 16])
}

impl ChangingBox {
    /// Sets up a firewall and starts it.
    pub fn new(version: Version, fixture: Fixture) -> Self {
        Self::of_xml(version, &fixture.xml(version))
    }

    /// Sets up a firewall of this configuration and starts it.
    pub fn of_xml(version: Version, xml: &[u8]) -> Self {
        let php = PhpBox::new(version, Fixture::Editor);
        php.write("conf/config.xml", xml);
        php.write("conf/backup/.keep", b"");
        php.write("run/.keep", b"");
        let set_up = Self { php, instrumented: false };
        set_up.furnish();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
        set_up.php.write("clock", now.as_secs().to_string().as_bytes());
        let run = set_up.php.run(FIRST_WRITE);
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
        set_up.later();
        set_up.boot();
        set_up
    }

    /// Sets up a firewall in the state of another one. The stand-in's own files are made anew: they name the directory.
    pub fn copy_of(other: &Self) -> Self {
        let php = PhpBox::new(other.php.version(), Fixture::Editor);
        for name in [
            "conf/config.xml",
            "conf/rules.debug.old",
            "tmp/rules.debug",
            "pf/sr",
            "pf/sn",
            "pf/table-k8s_kms_lb",
        ] {
            if other.file(name).exists() {
                php.write(name, other.text(name).as_bytes());
            }
        }
        if other.file(TABLE).exists() {
            php.write(TABLE, other.text(TABLE).as_bytes());
        }
        php.write("conf/backup/.keep", b"");
        php.write("run/.keep", b"");
        let copy = Self { php, instrumented: other.instrumented };
        copy.furnish();
        copy.php.write("clock", other.text("clock").as_bytes());
        copy.later();
        copy
    }

    /// Moves the box's clock ahead, so that nothing has to wait for the second after the last write.
    fn later(&self) {
        self.wait(2);
    }

    /// Lets seconds pass on the box's clock.
    fn wait(&self, seconds: u64) {
        let now: u64 = self.text("clock").trim().parse().expect("a clock");
        self.php.write("clock", (now + seconds).to_string().as_bytes());
    }

    /// The stand-in's programs, and the permission to write.
    fn furnish(&self) {
        self.php.write("may-write", b"");
        let text = PFCTL.replace("@BOX@", self.php.path().to_str().expect("a plain path"));
        self.php.write("pfctl", text.as_bytes());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.php.path().join("pfctl"), executable).expect("an executable");
        self.php.interpreter();
    }

    /// Puts programs in place that the real tool can use through an sshd: PHP that knows its box and marks the moments in
    /// whatever it is given, and `cut`, which ends the connection under which it is run.
    pub fn serve(&self, listener: u32) {
        self.php.interpreter_for_all(&instrument::sed());
        let box_path = self.php.path().to_str().expect("a plain path");
        let text = include_str!("pfsense/cut.sh")
            .replace("@BOX@", box_path)
            .replace("@LISTENER@", &listener.to_string());
        self.php.write("cut", text.as_bytes());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.file("cut"), executable).expect("an executable");
    }

    /// Marks moments in the script at which something can happen (see the stand-in's `shim_step`).
    pub fn with_moments(mut self) -> Self {
        self.instrumented = true;
        self
    }

    pub fn php(&self) -> &PhpBox {
        &self.php
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.php.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub fn config(&self) -> String {
        self.text("conf/config.xml")
    }

    /// Makes a file two hours old.
    pub fn make_old(&self, name: &str) {
        let file = std::fs::File::options().write(true).open(self.file(name)).expect("the file");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        file.set_modified(then).expect("an age");
    }

    /// Lets something go wrong: lines of the stand-in's file `trouble`.
    pub fn trouble(&self, lines: &str) {
        self.php.write("trouble", lines.as_bytes());
    }

    /// Loads the ruleset from the configuration, and empties what does not survive. As pfSense does, it puts the newest
    /// backup in the place of a configuration that cannot be read.
    pub fn boot(&self) {
        // A real table would be empty; here what a change did to it must still be told.
        let table = std::fs::read(self.file(TABLE));
        for name in ["tmp", "run", "pf"] {
            let _ = std::fs::remove_dir_all(self.file(name));
        }
        self.php.write("tmp/.keep", b"");
        self.php.write("run/.keep", b"");
        let mut run = self.php.run(BOOT);
        if run.status != Some(0)
            && let Some(backup) = self.newest_backup()
        {
            let holds_his = || self.config().contains("<hostname>renamed<");
            let rejected_his = holds_his();
            std::fs::copy(backup, self.file("conf/config.xml")).expect("a restored configuration");
            if rejected_his && !holds_his() {
                // pfSense itself has thrown away what another writer had saved into it.
                let _ = std::fs::remove_file(self.file("written-by-another"));
            }
            run = self.php.run(BOOT);
        }
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "the box does not start");
        if let Ok(table) = table {
            self.php.write(TABLE, &table);
        }
    }

    fn newest_backup(&self) -> Option<PathBuf> {
        let backups = std::fs::read_dir(self.file("conf/backup")).ok()?;
        let paths = backups.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "xml")).max()
    }

    /// The script of a request, with moments if they are wanted.
    pub fn script(&self, request: &AgentRequest) -> Vec<u8> {
        let php = ShellWord::path(self.file("php").to_str().expect("a plain path")).expect("plain");
        let input = request.command(&php, &nonce()).input;
        if self.instrumented { instrument::instrument(&input) } else { input }
    }

    pub fn ask(&self, request: &AgentRequest) -> Run {
        let run = self.php.run(&self.script(request));
        assert!(!run.stdout.windows(6).any(|window| window == b"SECRET"), "a secret came out");
        run
    }

    pub fn apply(&self, request: &AgentRequest) -> Result<ChangeOutcome, AgentError> {
        agent::read_reply(&self.ask(request).stdout, &nonce())
    }

    pub fn outcome(&self, request: &AgentRequest) -> Result<OutcomeAnswer, AgentError> {
        agent::read_reply(&self.ask(request).stdout, &nonce())
    }

    pub fn keep(&self, request: &AgentRequest) -> Result<Kept, AgentError> {
        agent::read_reply(&self.ask(request).stdout, &nonce())
    }

    pub fn read(&self, request: &AgentRequest) -> Result<Configured, AgentError> {
        let AgentRequest::Read(service) = request else {
            panic!("this is no question: {request:?}");
        };
        agent::parse_agent_answer(&self.ask(request).stdout, &nonce(), service)
    }

    /// One minute of cron: every line of `/etc/cron.d` that is run each minute by root.
    pub fn tick(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.file("etc/cron.d")) else {
            return 0;
        };
        self.wait(60);
        let mut started = 0;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).expect("a cron file");
            for line in text.lines().filter(|line| !line.starts_with(['#', 'P'])) {
                let command =
                    line.strip_prefix("*\t*\t*\t*\t*\troot\t").expect("each minute, by root");
                let run = self.php.shell(format!("{command}\n").as_bytes());
                assert_eq!(String::from_utf8_lossy(&run.stdout), "", "cron mails this");
                started += 1;
            }
        }
        started
    }

    /// Moves the deadline of a change into the past.
    pub fn make_due(&self, id: &ChangeId) {
        let name = format!("conf/kmsctl/change-{id}.json");
        let text = self.text(&name);
        let key = "\"revert_at\":";
        let from = text.find(key).expect("the deadline") + key.len();
        let rest = text[from..].trim_start_matches(|digit: char| digit.is_ascii_digit());
        self.php.write(&name, format!("{}1{rest}", &text[..from]).as_bytes());
    }

    /// What is armed or left over on the firewall.
    pub fn left_over(&self) -> Vec<String> {
        let mut names = Vec::new();
        for directory in ["etc/cron.d", "conf/kmsctl", "conf"] {
            for entry in std::fs::read_dir(self.file(directory)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if (name.contains("kmsctl-")
                    || name.starts_with("revert-")
                    || name.starts_with("config-"))
                    && !name.contains(".keep")
                {
                    names.push(name);
                }
            }
        }
        names.sort();
        names
    }

    /// The configuration without the exposure's rules, its alias and the revision: what no change may touch.
    pub fn foreign(&self) -> String {
        split(&self.config()).0
    }

    /// The exposure, without what no two runs share: times, and numbers made of them.
    pub fn exposure(&self) -> [String; 3] {
        [self.ours(), self.text("pf/sr"), self.text("pf/sn")].map(|text| {
            let mut masked = String::new();
            let mut digits = String::new();
            for character in text.chars().chain(['\n']) {
                if character.is_ascii_hexdigit() || character == '.' {
                    digits.push(character);
                    continue;
                }
                let long = digits.len() >= 10 && digits != "1763000004" && digits != "1763000001";
                masked.push_str(if long { "#" } else { &digits });
                digits.clear();
                masked.push(character);
            }
            masked
        })
    }

    /// The exposure's rules and its alias.
    pub fn ours(&self) -> String {
        split(&self.config()).1
    }
}

/// Splits a configuration in pfSense's own form into what no change of the exposure may touch, and the exposure.
fn split(xml: &str) -> (String, String) {
    let (mut foreign, mut ours) = (String::new(), String::new());
    let mut block: Option<(&str, String)> = None;
    for line in xml.split_inclusive('\n') {
        let word = line.trim();
        let Some((end, text)) = &mut block else {
            match word {
                "<rule>" => block = Some(("</rule>", line.to_owned())),
                "<alias>" => block = Some(("</alias>", line.to_owned())),
                "<revision>" => block = Some(("</revision>", line.to_owned())),
                _ => foreign.push_str(line),
            }
            continue;
        };
        text.push_str(line);
        if word == *end {
            let is_ours =
                text.contains("<port>1688</port>") || text.contains("<name>k8s_kms_lb</name>");
            match (*end, is_ours) {
                ("</revision>", _) => {}
                (_, true) => ours.push_str(text),
                (_, false) => foreign.push_str(text),
            }
            block = None;
        }
    }
    (foreign, ours)
}
