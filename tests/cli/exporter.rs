//! `kmsctl exporter run` and `kmsctl virusprot history`: the firewall's side for Prometheus, and who was blocked when.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::cluster::kubectl;
use crate::support::delay_proxy::DelayProxy;
use crate::support::environment::{MOMENT, TestEnvironment};
use crate::support::live::LiveBox;
use crate::support::pods::{Answer, FakeSlack, OK};
use crate::support::served::Served;
use crate::support::skip;
use crate::support::sshd::{Options, Sshd};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running exporter; killed when dropped.
struct Running {
    child: Child,
    address: SocketAddr,
    events: Receiver<Value>,
    talk: Receiver<String>,
}

impl Running {
    fn start(environment: &TestEnvironment, arguments: &[&str]) -> Self {
        let fixed = ["exporter", "run", "--every", "1s", "--listen", "127.0.0.1:0"];
        let arguments: Vec<&str> = fixed.iter().chain(arguments).copied().collect();
        Self::spawn(environment.command(&arguments))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kmsctl runs");
        let (send_event, events) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send_event.send(serde_json::from_str(&line).expect(&line));
            }
        });
        let (send_line, talk) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send_line.send(line);
            }
        });
        let first = talk.recv_timeout(PATIENCE).expect("a first line");
        let address = first
            .strip_prefix("Metrics are on http://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap_or_else(|| panic!("{first}"))
            .0;
        Self { child, address: address.parse().expect("an address"), events, talk }
    }

    /// Returns status line and body.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("the page");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.lines().next().expect("a status").to_owned(), body.to_owned())
    }

    /// Waits until a line is on the page, and returns the page.
    fn page_with(&self, line: &str) -> String {
        let begin = Instant::now();
        loop {
            let (_, page) = self.get("/metrics");
            if page.lines().any(|other| other == line) {
                return page;
            }
            assert!(begin.elapsed() < PATIENCE, "{line} is not in\n{page}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn next_event(&self) -> Value {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// Ends it and returns the exit code and what it said.
    fn stop(mut self) -> (Option<i32>, Vec<String>) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let ended = self.child.wait().expect("an end");
        (ended.code(), self.talk.iter().collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a program that a firewall runs.
fn write_program(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a program");
}

#[test]
fn the_documented_lines_are_enough_to_read() {
    let Some(live) = LiveBox::start("openssh") else {
        return;
    };
    live.block(&[("203.0.113.99", "Sun Mar  1 12:00:00 2026")]);
    live.answer_pfctl(
        "openssh",
        "*) if [ -z \"$BY_SUDO\" ]; then echo 'pfctl: /dev/pf: Permission denied' >&2; exit 1; fi; exec \"$PFCTL\" \"$@\" ;;",
    );
    let runbook = include_str!("../../runbooks/exporter.md");
    let lines = runbook.lines().filter_map(|line| line.strip_prefix("/sbin/pfctl "));
    let lines: Vec<String> = lines.map(|line| format!("'{line}'")).collect();
    assert!(lines.len() > 5, "{lines:?}");
    let sudo = live.firewall.file("sudo");
    write_program(
        &sudo,
        &format!(
            "#!/bin/sh\n[ \"$1\" = -n ] || exit 1\nprogram=$2\nshift 2\ncase \"$*\" in\n{}) BY_SUDO=1 exec \"$program\" \"$@\" ;;\n*) echo 'sudo: a password is required' >&2; exit 1 ;;\nesac\n",
            lines.join("|")
        ),
    );
    let file = live.environment.home().join(".config/kmsctl/config.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let php = live.firewall.file("php-at-login");
    let text = text
        .replace("[firewall]\n", "[firewall]\nbecome = \"sudo-pfctl\"\n")
        .replace(
            "[firewall.paths]\n",
            &format!("[firewall.paths]\nsudo = \"{}\"\n", sudo.display()),
        )
        .replace(&php.display().to_string(), "/bin/false");
    live.environment.write_config(&text);
    let exposure = live.environment.run(&["expose", "show", "-o", "json"]).json();
    assert_eq!(exposure["data"]["state"], "open", "{exposure}");
    let blocked = live.environment.run(&["virusprot", "show", "-o", "json"]).json();
    assert_eq!(blocked["data"]["entries"][0]["address"], "203.0.113.99", "{blocked}");
    for change in [&["virusprot", "flush", "--yes"][..], &["expose", "revoke", "--yes"]] {
        let refused = live.environment.run(change).fails_with(2);
        assert!(refused.contains("only looks"), "{refused}");
    }
    let running = Running::start(&live.environment, &[]);
    let page = running.page_with("kmsctl_up 1");
    for line in [
        "kmsctl_exposure_state{state=\"open\"} 1",
        "kmsctl_cap{cap=\"connections\",side=\"loaded\"} 50",
        "kmsctl_blocked_entries 1",
        "kmsctl_pf_enabled 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
    }
    for name in ["kmsctl_rollbacks_armed", "side=\"configured\""] {
        assert!(
            !page.contains(&format!("{name} ")) && !page.contains(&format!("{name}}}")),
            "{page}"
        );
    }
    for name in [
        "kmsctl_sources ",
        "kmsctl_pf_states ",
        "kmsctl_pf_states_limit ",
        "kmsctl_overloads_total ",
    ] {
        assert!(page.contains(name), "{name} in\n{page}");
    }
}

#[test]
fn the_page_shows_what_the_firewall_says() {
    let environment = TestEnvironment::new();
    let running = Running::start(&environment, &["--demo"]);
    let page = running.page_with("kmsctl_up 1");
    for line in [
        "kmsctl_exposure_state{state=\"open\"} 1",
        "kmsctl_exposure_state{state=\"half\"} 0",
        "kmsctl_cap{cap=\"connections\",side=\"loaded\"} 50",
        "kmsctl_expiry_working 1",
        "kmsctl_rollbacks_armed 0",
        "kmsctl_pf_enabled 1",
        "kmsctl_logins_total 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
    }
    let version = concat!("\nkmsctl_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(page.contains(version), "{page}");
    // Of the addresses that the demo blocks and connects, none is a label.
    for word in ["203.0.113", "198.51.100", "2001:db8"] {
        assert!(!page.contains(word), "{word} in\n{page}");
    }
    let (status, _) = running.get("/readyz");
    assert_eq!(status, "HTTP/1.1 200 OK");
    if let Some(promtool) =
        skip::program("promtool check metrics", &["/usr/bin/promtool", "/usr/local/bin/promtool"])
    {
        let file = environment.home().join("page");
        std::fs::write(&file, &page).expect("written");
        let output = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(std::fs::File::open(&file).expect("a page"))
            .output()
            .expect("promtool runs");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let (code, _) = running.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn the_record_knows_who_is_gone() {
    let served = Served::start("open");
    let environment = served.reached_from(TestEnvironment::new());
    environment.run(&["virusprot", "history"]).fails_with(8);
    let running = Running::start(&environment, &[]);
    let first = running.next_event();
    assert_eq!(first["event"], "blocked");
    let shown = environment.run(&["virusprot", "show", "-o", "json"]).json();
    let address = shown["data"]["entries"][0]["address"].as_str().expect("an address").to_owned();
    environment.run(&["virusprot", "delete", &address, "--yes"]).success();
    let released = std::iter::repeat_with(|| running.next_event())
        .take(1000)
        .find(|event| event["event"] == "released")
        .expect("a release");
    assert_eq!(released["address"], address.as_str());
    let periods = environment.run(&["virusprot", "history", "-o", "json"]).json();
    let gone: Vec<&Value> = periods["data"]["periods"]
        .as_array()
        .expect("periods")
        .iter()
        .filter(|period| !period["released_at"].is_null())
        .collect();
    assert_eq!(gone.len(), 1, "{periods}");
    assert_eq!(gone[0]["address"], address.as_str());
    assert!(environment.run(&["virusprot", "history"]).success().contains("not yet"));
    running.stop();
    // Started again, it reports nothing that it has reported before.
    let running = Running::start(&environment, &[]);
    running.page_with("kmsctl_up 1");
    std::thread::sleep(Duration::from_millis(200));
    assert!(running.events.try_recv().is_err());
    drop(running);
    let record = environment.home().join(".local/state/kmsctl/exporter/blocks.jsonl");
    let mode = std::fs::metadata(record).expect("a record").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

/// A day that was before the exporter ran stays in the demo's history once it did.
#[test]
fn the_demos_day_outlasts_its_exporter() {
    let environment = TestEnvironment::new();
    let periods = || {
        let shown = environment.demo(&["virusprot", "history", "-o", "json"]).json();
        let periods = shown["data"]["periods"].as_array().expect("periods").iter();
        let place = |period: &Value| {
            let text = |key: &str| period[key].as_str().map(str::to_owned);
            (text("address"), text("blocked_at"), text("released_at").is_some())
        };
        periods.map(place).collect::<Vec<_>>()
    };
    environment.demo(&["status"]).success();
    let before = periods();
    assert!(before.iter().any(|(.., is_released)| *is_released), "{before:?}");
    let running = Running::start(&environment, &["--demo"]);
    running.next_event();
    running.page_with("kmsctl_up 1");
    running.stop();
    assert_eq!(periods(), before);
    // Who was freed since is released, once.
    let (freed, ..) = before.iter().find(|(.., is_released)| !is_released).expect("one").clone();
    let freed = freed.expect("an address");
    environment.demo(&["virusprot", "delete", &freed, "--yes"]).success();
    let running = Running::start(&environment, &["--demo"]);
    let released = std::iter::repeat_with(|| running.next_event())
        .take(1000)
        .find(|event| event["event"] == "released");
    assert_eq!(released.expect("a release")["address"], freed.as_str());
    running.stop();
    let after = periods();
    assert_eq!(after.len(), before.len(), "{after:?}");
    let is_gone = |period: &&(Option<String>, Option<String>, bool)| period.2;
    let gone = |all: &[_]| all.iter().filter(is_gone).count();
    assert_eq!(gone(&after), gone(&before) + 1, "{after:?}");
}

/// The machine's clock is set back by two hours, ahead by as much, and right again.
#[test]
fn clock_steps_lose_and_double_nothing() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    let Some(library) = skip::program("steps of the clock", &[LIBRARY]) else {
        return;
    };
    let served = Served::start("open");
    let environment = served.reached_from(TestEnvironment::new()).without("KMSCTL_DEMO_NOW");
    let address = blocked_address(&environment);
    let at = |name: &str| environment.home().join(name);
    let set_clock = |offset: &str| {
        // It is read anew by each look at the clock, so it is never half there.
        std::fs::write(at("new-offset"), offset).expect("an offset");
        std::fs::rename(at("new-offset"), at("offset")).expect("an offset");
    };
    set_clock("+0");
    let now = jiff::Timestamp::now();
    let ago = |minutes: i64| now - jiff::SignedDuration::from_mins(minutes);
    let event = |minutes: i64, kind: &str, address: &str| {
        format!("{{\"at\":\"{}\",\"event\":\"{kind}\",\"address\":\"{address}\"}}\n", ago(minutes))
    };
    let events = [event(1_500, "probe", "198.51.100.250"), event(23 * 60, "activation", &address)];
    std::fs::write(at("events"), events.concat()).expect("events");
    let file = at("events").display().to_string();
    let start = || {
        let mut command = environment.command(&[
            "exporter",
            "run",
            "--every",
            "1s",
            "--listen",
            "127.0.0.1:0",
            "--events-file",
            &file,
        ]);
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", at("offset"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        Running::spawn(command)
    };
    let running = start();
    let page = running.page_with("kmsctl_blocked_customers 1");
    let line =
        page.lines().find(|line| line.starts_with("kmsctl_blocked_entries ")).expect("a line");
    let blocked: usize =
        line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number");
    let first: Vec<Value> = (0..blocked).map(|_| running.next_event()).collect();
    assert!(first.iter().all(|event| event["event"] == "blocked"), "{first:?}");
    for offset in ["-2h", "+2h", "-2h", "+0"] {
        set_clock(offset);
        std::thread::sleep(Duration::from_millis(2_500));
        let (_, page) = running.get("/metrics");
        assert!(page.contains("kmsctl_up 1\n"), "{offset}: {page}");
        assert!(page.contains(line), "{offset}: {page}");
        let negative = page.lines().find(|line| !line.starts_with('#') && line.contains(" -"));
        assert_eq!(negative, None, "{offset}");
        let ages = page.lines().filter(|line| line.starts_with("kmsctl_answer_age_seconds{"));
        for age in ages {
            let seconds: u64 =
                age.rsplit(' ').next().and_then(|text| text.parse().ok()).expect(age);
            assert!(seconds < 60, "{offset}: {age}");
        }
        for page in ["/readyz", "/healthz"] {
            assert_eq!(running.get(page).0, "HTTP/1.1 200 OK", "{offset} {page}");
        }
    }
    running.page_with("kmsctl_blocked_customers 1");
    assert!(running.events.try_recv().is_err(), "nothing happened");
    // What happens while the clock is wrong happens once.
    set_clock("-2h");
    environment.run(&["virusprot", "delete", &address, "--yes"]).success();
    let released = running.next_event();
    assert_eq!(
        (&released["event"], &released["address"]),
        (&"released".into(), &address.as_str().into())
    );
    set_clock("+2h");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(running.events.try_recv().is_err(), "once");
    running.stop();
    let running = start();
    running.page_with("kmsctl_up 1");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(running.events.try_recv().is_err(), "its record is good");
    drop(running);
    let shown = environment.run(&["virusprot", "history", "-o", "json"]).json();
    let periods = shown["data"]["periods"].as_array().expect("periods");
    assert_eq!(periods.len(), blocked, "{shown}");
    let gone: Vec<&Value> =
        periods.iter().filter(|period| !period["released_at"].is_null()).collect();
    assert_eq!((gone.len(), &gone[0]["address"]), (1, &address.as_str().into()), "{shown}");
}

/// A page without any of pf's numbers fires no alert on them, so that the page itself must be the alarm.
#[test]
fn unread_lists_of_pf_are_an_outage() {
    const UNREAD: &str = "kmsctl_down{reason=\"unread\"} 1";
    const BEGINNING: &str = "warning: The firewall cannot answer: ";
    let check_outage = |running: &Running| {
        let page = running.page_with(UNREAD);
        assert!(page.contains("kmsctl_up 0\n"), "{page}");
        let (status, why) = running.get("/readyz");
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert!(why.contains("pf's rules"), "{why}");
        page
    };
    let said =
        |talk: &[String], words: &str| talk.iter().filter(|line| line.contains(words)).count();
    let served = Served::start("denied");
    let running = Running::start(&served.reached_from(TestEnvironment::new()), &[]);
    let page = check_outage(&running);
    assert!(page.contains("kmsctl_rollbacks_armed 0\n"), "what is read is shown: {page}");
    let (_, talk) = running.stop();
    assert_eq!(said(&talk, BEGINNING), 1, "{talk:?}");

    for (transport, account) in [("openssh", ""), ("russh", "sudo-pfctl")] {
        let Some(live) = LiveBox::start(transport) else {
            return;
        };
        let mark = live.firewall.file("denied");
        live.answer_pfctl(
            transport,
            "*) if [ -e \"$BOX/denied\" ]; then echo 'pfctl: /dev/pf: Permission denied' >&2; exit 1; fi; exec \"$PFCTL\" \"$@\" ;;",
        );
        let sudo = live.firewall.file("sudo");
        write_program(
            &sudo,
            &format!(
                "#!/bin/sh\n[ \"$1\" = -n ] && shift\nif [ -e '{}' ]; then echo 'sudo: a password is required' >&2; exit 1; fi\nexec \"$@\"\n",
                mark.display()
            ),
        );
        let file = live.environment.home().join(".config/kmsctl/config.toml");
        let text = std::fs::read_to_string(&file).expect("a configuration");
        live.environment.write_config(
            &text
                .replace("[firewall]\n", &format!("[firewall]\nbecome = \"{account}\"\n"))
                .replace(
                    "[firewall.paths]\n",
                    &format!("[firewall.paths]\nsudo = \"{}\"\n", sudo.display()),
                ),
        );
        let allow = || std::fs::remove_file(&mark).expect("it was denied");
        let deny = || std::fs::write(&mark, "").expect("a mark");
        deny();
        let running = Running::start(&live.environment, &[]);
        check_outage(&running);
        allow();
        let page = running.page_with("kmsctl_up 1");
        assert!(!page.contains("kmsctl_down"), "{page}");
        assert!(page.contains("kmsctl_exposure_state{state=\"open\"} 1\n"), "{page}");
        let (status, _) = running.get("/readyz");
        assert_eq!(status, "HTTP/1.1 200 OK");
        deny();
        let page = check_outage(&running);
        assert!(!page.contains("kmsctl_exposure_state"), "{page}");
        std::thread::sleep(Duration::from_secs(2));
        let (_, talk) = running.stop();
        assert_eq!(said(&talk, BEGINNING), 2, "{transport}: {talk:?}");
        assert_eq!(said(&talk, "The firewall answers again."), 1, "{talk:?}");
    }
}

/// An exposure that is judged by half of the lists fires no alert.
#[test]
fn one_unread_list_is_an_outage() {
    let Some(live) = LiveBox::start("openssh") else {
        return;
    };
    live.answer_pfctl(
        "openssh",
        "*) read -r line 2>/dev/null <\"$BOX/denied\"; if [ \"$*\" = \"$line\" ]; then echo 'pfctl: /dev/pf: Permission denied' >&2; exit 1; fi; exec \"$PFCTL\" \"$@\" ;;",
    );
    let mark = live.firewall.file("denied");
    let deny = |line: &str| std::fs::write(&mark, format!("{line}\n")).expect("a mark");
    deny("nothing");
    let running = Running::start(&live.environment, &[]);
    running.page_with("kmsctl_up 1");
    for (line, name) in [("-vvPsr", "rules"), ("-vvPsn", "translation"), ("-vsi", "status")] {
        deny(line);
        let page = running.page_with("kmsctl_down{reason=\"unread\"} 1");
        let unread = format!("kmsctl_unread{{answer=\"{name}\"}} 1\n");
        assert!(page.contains("kmsctl_up 0\n") && page.contains(&unread), "{line}: {page}");
        let (status, _) = running.get("/readyz");
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        deny("nothing");
        let page = running.page_with("kmsctl_up 1");
        assert!(!page.contains("kmsctl_unread") && !page.contains("kmsctl_down"), "{page}");
    }
    deny("-t virusprot -T show -v");
    let page = running.page_with("kmsctl_unread{answer=\"table\"} 1");
    // How long ago it came is seen, and grows.
    assert!(page.contains("kmsctl_answer_age_seconds{answer=\"table\"} "), "{page}");
    running.page_with("kmsctl_answer_age_seconds{answer=\"table\"} 3");
    assert!(page.contains("kmsctl_up 1\n") && !page.contains("kmsctl_blocked"), "{page}");
    deny("-t k8s_kms_lb -T show");
    let page = running.page_with("kmsctl_unread{answer=\"alias\"} 1");
    assert!(page.contains("kmsctl_up 1\n") && page.contains("kmsctl_blocked_entries"), "{page}");
}

/// Failures lock the operator out; so one is enough.
#[test]
fn a_refused_login_is_not_repeated() {
    let Some(sshd) = Sshd::start(Options::default()) else {
        return;
    };
    let other_key = std::fs::read_to_string(sshd.other_client_key.with_extension("pub"));
    let other_key = other_key.expect("a public key");
    let other_key: Vec<&str> = other_key.split(' ').take(2).collect();
    for (transport, is_changed) in
        [("russh", false), ("openssh", false), ("russh", true), ("openssh", true)]
    {
        let environment = TestEnvironment::new();
        let [key, known_hosts] = ["key", "known"].map(|name| environment.home().join(name));
        let own_key = if is_changed { &sshd.client_key } else { &sshd.other_client_key };
        std::fs::copy(own_key, &key).expect("a key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let known = std::fs::read_to_string(&sshd.known_hosts).expect("known hosts");
        let host = known.split(' ').next().expect("a host");
        let changed = format!("{host} {}\n", other_key.join(" "));
        std::fs::write(&known_hosts, if is_changed { &changed } else { &known }).expect("a file");
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\ntransport = \"{transport}\"\n\
             identity = \"{}\"\nknown_hosts = \"{}\"\nssh_config = \"/dev/null\"\n",
            sshd.port,
            sshd.user,
            key.display(),
            known_hosts.display(),
        ));
        let before = sshd.connections();
        let running = Running::start(&environment, &[]);
        let page = running.page_with("kmsctl_down{reason=\"refused\"} 1");
        assert!(page.contains("kmsctl_up 0\n"), "{page}");
        assert!(!page.contains("kmsctl_exposure_state"), "{page}");
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(sshd.connections() - before, 1, "{transport}: {}", sshd.log());
        let (status, _) = running.get("/readyz");
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        let (status, _) = running.get("/healthz");
        assert_eq!(status, "HTTP/1.1 200 OK");
        // A key that may be the right one is tried at once.
        std::fs::copy(&sshd.client_key, &key).expect("a key");
        std::fs::copy(&sshd.known_hosts, &known_hosts).expect("known hosts");
        let begin = Instant::now();
        while sshd.connections() - before < 2 {
            assert!(begin.elapsed() < PATIENCE, "{transport}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let (_, talk) = running.stop();
        let why = if is_changed { "host key" } else { "refused" };
        let said = |line: &&String| line.starts_with("warning: ") && line.contains(why);
        assert_eq!(talk.iter().filter(said).count(), 1, "{why}: {talk:?}");
    }
}

/// A box that was replaced, or a configuration that named the wrong one, while the exporter runs.
#[test]
fn a_mended_refusal_is_asked_again() {
    for (transport, is_configured) in [("russh", false), ("openssh", true)] {
        let other = Options { host_key: "second_ed25519", ..Options::default() };
        let other = LiveBox::behind(other, transport, Version::V272, Fixture::Editor);
        let (Some(old), Some(new)) = (Sshd::start(Options::default()), other) else {
            return;
        };
        // It shows its key, and lets in no shell.
        old.set_login("#!/bin/sh\necho 'This account is currently not available.'\nexit 1\n");
        let proxy = DelayProxy::start(old.port, Duration::ZERO);
        let known_hosts = new.environment.home().join("known");
        let keys_of = |sshd: &Sshd| {
            let text = std::fs::read_to_string(&sshd.known_hosts).expect("known hosts");
            text.replace(&format!(":{} ", sshd.port), &format!(":{} ", proxy.port))
        };
        let settings = |fingerprint: &str| {
            new.settings(transport)
                .replace(
                    &format!("port = {}\n", new.sshd.port),
                    &format!("port = {}\n", proxy.port),
                )
                .replace(
                    &new.sshd.known_hosts.display().to_string(),
                    &known_hosts.display().to_string(),
                )
                .replace(&new.sshd.fingerprint, fingerprint)
        };
        let all_keys = keys_of(&old) + &keys_of(&new.sshd);
        let known = if is_configured { all_keys } else { keys_of(&old) };
        std::fs::write(&known_hosts, known).expect("known hosts");
        let pinned = if is_configured { &old.fingerprint } else { "" };
        new.environment.write_config(&settings(pinned));
        let running = Running::start(&new.environment, &[]);
        running.page_with("kmsctl_down{reason=\"refused\"} 1");
        drop(old);
        proxy.lead_to(new.sshd.port);
        if is_configured {
            new.environment.write_config("[firewall]\nhots = \"127.0.0.1\"\n");
        }
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(new.sshd.connections(), 0, "nothing was mended: {}", new.sshd.log());
        if is_configured {
            new.environment.write_config(&settings(&new.sshd.fingerprint));
        } else {
            std::fs::write(&known_hosts, keys_of(&new.sshd)).expect("known hosts");
        }
        let page = running.page_with("kmsctl_up 1");
        assert!(page.contains("kmsctl_logins_total 2\n"), "{page}");
        let (_, talk) = running.stop();
        let said = |words: &str| talk.iter().filter(|line| line.contains(words)).count();
        assert_eq!(said("`firewall.hots`"), usize::from(is_configured), "{talk:?}");
        assert_eq!(said("leads to another firewall"), 0, "{talk:?}");
    }
}

/// Returns an address that the served firewall blocks.
fn blocked_address(environment: &TestEnvironment) -> String {
    let shown = environment.run(&["virusprot", "show", "-o", "json"]).json();
    let entries = shown["data"]["entries"].as_array().expect("entries");
    let addresses = entries.iter().map(|entry| entry["address"].as_str().expect("text"));
    let mut v4 = addresses.filter(|address| address.contains('.') && !address.contains('/'));
    v4.next().expect("an address").to_owned()
}

fn activation(address: &str) -> String {
    activation_after(0, address)
}

/// Returns an event of so many hours after the tests' own moment.
fn activation_after(hours: i64, address: &str) -> String {
    let now: jiff::Timestamp = MOMENT.parse().expect("a time");
    let at = now + jiff::SignedDuration::from_hours(hours);
    format!("{{\"at\":\"{at}\",\"event\":\"activation\",\"address\":\"{address}\"}}\n")
}

#[track_caller]
fn texts_posted_to(slack: &FakeSlack, count: usize) -> Vec<String> {
    let begin = Instant::now();
    while slack.posted_texts().len() < count && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    let posted = slack.posted_texts();
    assert_eq!(posted.len(), count, "{posted:?}");
    posted
}

#[test]
fn a_blocked_customer_is_posted_once() {
    let served = Served::start("open");
    let environment = served.reached_from(TestEnvironment::new());
    let address = blocked_address(&environment);
    let (events, url) = (environment.home().join("events"), environment.home().join("url"));
    let slack = FakeSlack::start(&[]);
    std::fs::write(&url, &slack.url).expect("a webhook");
    std::fs::write(&events, activation_after(-24, "198.51.100.250")).expect("events");
    let environment = environment
        .variable("KMSCTL_EXPORTER_EVENTS_FILE", events.display().to_string())
        .variable("KMSCTL_EXPORTER_INTERVAL", "1s")
        .variable("KMSCTL_EXPORTER_WEBHOOK_FILE", url.display().to_string());
    // Slack is away when the activation is known, and the exporter is killed meanwhile.
    slack.answer(Answer::Say(503, "", "away"));
    let running = Running::start(&environment, &[]);
    let first = running.next_event();
    assert_eq!(first["customer"], false, "{first}");
    let mut file = std::fs::OpenOptions::new().append(true).open(&events).expect("a file");
    file.write_all(activation(&address).as_bytes()).expect("written");
    let turned = std::iter::repeat_with(|| running.next_event())
        .take(1000)
        .find(|event| event["event"] == "customer")
        .expect("a customer");
    assert_eq!(turned["address"], address.as_str());
    drop(running);
    slack.answer(OK);
    let running = Running::start(&environment, &[]);
    let told = texts_posted_to(&slack, 1);
    let command = format!("kmsctl virusprot delete {address}");
    assert!(told[0].contains(&command) && told[0].contains("customer"), "{told:?}");
    running.page_with("kmsctl_blocked_customers 1");
    let (code, talk) = running.stop();
    assert_eq!(code, Some(0));
    assert!(!talk.concat().contains("SECRET"), "{talk:?}");
    // Started again, it says nothing again.
    let running = Running::start(&environment, &[]);
    running.page_with("kmsctl_blocked_customers 1");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(slack.posted_texts().len(), 1);
    drop(running);
    // The command of the message frees it.
    environment.run(&["virusprot", "delete", &address, "--yes"]).success();
    let periods = environment.run(&["virusprot", "history", "-o", "json"]).json();
    let customer = periods["data"]["periods"].as_array().expect("periods").iter();
    let customers: Vec<&Value> = customer.filter(|period| period["customer"] == true).collect();
    assert_eq!(customers.len(), 1, "{periods}");
}

/// The message is read on another screen than the exporter's.
#[test]
fn the_posted_command_is_this_runs() {
    for (contexts, flag, typed) in [
        ("", "", None),
        ("context = \"home\"\n[contexts.home.service]\nport = 1688\n", "--context home ", None),
        ("", "", Some("own.toml")),
    ] {
        let served = Served::start("open");
        let environment = served.reached_from(TestEnvironment::new());
        let address = blocked_address(&environment);
        let at = |name: &str| environment.home().join(name);
        let slack = FakeSlack::start(&[]);
        std::fs::write(at("url"), &slack.url).expect("a webhook");
        std::fs::write(at("events"), activation(&address)).expect("events");
        std::fs::write(
            at("own.toml"),
            format!(
                "{contexts}[exporter]\nevents_file = \"{}\"\nwebhook_file = \"{}\"\n",
                at("events").display(),
                at("url").display()
            ),
        )
        .expect("a configuration");
        let config = at("own.toml").display().to_string();
        let typed = typed.unwrap_or(&config);
        let _running = Running::start(&environment, &["--config", typed]);
        let posted = texts_posted_to(&slack, 1);
        let command = format!("kmsctl --config {config} {flag}virusprot delete {address}");
        assert!(posted[0].contains(&command), "{command}: {posted:?}");
    }
}

/// Who is no customer is known by all of the last day alone, and a clock that is a year ahead makes none.
#[test]
fn a_part_of_the_day_denies_no_customer() {
    let served = Served::start("open");
    let place = served.reached_from(TestEnvironment::new());
    let address = blocked_address(&place);
    let (events, url) = (place.home().join("events"), place.home().join("url"));
    let slack = FakeSlack::start(&[]);
    std::fs::write(&url, &slack.url).expect("a webhook");
    let other = "198.51.100.250";
    for (text, customer) in [
        (String::new(), Value::Null),
        (activation_after(-1, other), Value::Null),
        (activation_after(365 * 24, &address), Value::Null),
        (activation_after(-30, other) + &activation_after(365 * 24, &address), Value::Null),
        (activation_after(-30, other), false.into()),
        (activation_after(-30, &address), false.into()),
    ] {
        std::fs::write(&events, &text).expect("events");
        let environment = served
            .reached_from(TestEnvironment::new())
            .variable("KMSCTL_EXPORTER_EVENTS_FILE", events.display().to_string())
            .variable("KMSCTL_EXPORTER_WEBHOOK_FILE", url.display().to_string());
        let running = Running::start(&environment, &[]);
        assert_eq!(running.next_event()["customer"], customer, "{text}");
        let page = running.page_with("kmsctl_up 1");
        assert_eq!(
            page.contains("kmsctl_blocked_customers 0"),
            !customer.is_null(),
            "{text}: {page}"
        );
    }
    std::thread::sleep(Duration::from_millis(1500));
    assert!(slack.taken().is_empty(), "{:?}", slack.taken());
}

#[test]
fn without_a_source_no_customer_is_named() {
    let served = Served::start("open");
    let environment = served.reached_from(TestEnvironment::new());
    let address = blocked_address(&environment);
    let home = environment.home().to_owned();
    let (events, url) = (home.join("events"), home.join("url"));
    let slack = FakeSlack::start(&[]);
    std::fs::write(&url, &slack.url).expect("a webhook");
    let missing = events.display().to_string();
    for (arguments, said) in [(&[][..], false), (&["--events-file", &missing], true)] {
        let environment = served
            .reached_from(TestEnvironment::new())
            .variable("KMSCTL_EXPORTER_WEBHOOK_FILE", url.display().to_string());
        let running = Running::start(&environment, arguments);
        let first = running.next_event();
        assert_eq!((&first["event"], &first["customer"]), (&"blocked".into(), &Value::Null));
        let page = running.page_with("kmsctl_up 1");
        assert!(!page.contains("customers"), "{page}");
        std::thread::sleep(Duration::from_millis(1200));
        let (_, talk) = running.stop();
        let unknown = talk.iter().filter(|line| line.contains("file of events")).count();
        assert_eq!(unknown, usize::from(said), "{talk:?}");
    }
    // Off by default, also where the notifier's webhook is known.
    std::fs::write(&events, activation(&address)).expect("events");
    let environment = served
        .reached_from(TestEnvironment::new())
        .variable("SLACK_WEBHOOK_URL", &slack.url)
        .variable("KMSCTL_NOTIFIER_WEBHOOK_FILE", url.display().to_string());
    let running = Running::start(&environment, &["--events-file", &missing]);
    running.page_with("kmsctl_blocked_customers 1");
    std::thread::sleep(Duration::from_millis(1200));
    assert!(slack.taken().is_empty(), "{:?}", slack.taken());
}

#[test]
fn one_record_has_one_exporter() {
    let environment = TestEnvironment::new();
    let _running = Running::start(&environment, &["--demo"]);
    let line = ["--demo", "exporter", "run", "--listen", "127.0.0.1:0"];
    let second = environment.run(&line).fails_with(6);
    assert!(second.contains("Another exporter"), "{second}");
}

#[test]
fn history_of_another_machine_is_the_pods() {
    let environment = TestEnvironment::new();
    let program = environment.home().join("kubectl");
    let line = |at: &str, event: &str| {
        format!(
            "2026-03-01T12:00:00.000000001Z {{\"at\":\"{at}\",\"event\":\"{event}\",\"address\":\"203.0.113.7\",\"since\":null,\"connections\":2,\"customer\":true}}"
        )
    };
    let now = jiff::Timestamp::now();
    let ago = |minutes| (now - jiff::SignedDuration::from_mins(minutes)).to_string();
    let line_of_other =
        |at: &str, event: &str| line(at, event).replace("203.0.113.7", "203.0.113.8");
    let printed = [
        line(&ago(90), "blocked"),
        "2026-03-01T12:00:00Z no event".to_owned(),
        line(&ago(30), "released"),
        // The firewall's clock was set back meanwhile.
        line_of_other(&ago(20), "blocked"),
        line_of_other(&ago(110), "released"),
    ];
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*'get pods -l app=kmsctl-exporter'*) echo '{{\"items\":[{{\"metadata\":{{\"name\":\"kmsctl-exporter-1\"}}}}]}}' ;;\n*'logs kmsctl-exporter-1 -c exporter'*) cat <<'END'\n{}\nEND\n;;\n*) echo \"$*\" >&2; exit 1 ;;\nesac\n",
        printed.join("\n")
    );
    std::fs::write(&program, script).expect("a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let environment = environment
        .variable("KMSCTL_CLUSTER_KUBECTL", program.display().to_string())
        .variable("KMSCTL_CLUSTER_ENABLED", "yes")
        .without("KMSCTL_DEMO_NOW");
    let shown = environment.run(&["virusprot", "history", "-o", "json"]).json();
    let periods = shown["data"]["periods"].as_array().expect("periods");
    assert_eq!(periods.len(), 2, "{shown}");
    assert_eq!(periods[1]["address"], "203.0.113.7");
    assert_eq!(periods[1]["customer"], true);
    assert_eq!(periods[1]["seconds"], 3_600);
    assert_eq!(
        (&periods[0]["address"], &periods[0]["seconds"]),
        (&"203.0.113.8".into(), &0.into())
    );
    assert!(!periods[0]["released_at"].is_null(), "{shown}");
    let none = environment
        .variable("KMSCTL_EXPORTER_SELECTOR", "app=other")
        .run(&["virusprot", "history"]);
    assert!(none.code == Some(8) || none.code == Some(5), "{none}");
}

/// What a run is given by its flag alone, no other command finds.
#[test]
fn a_record_beside_the_configured_one_is_named() {
    let environment = TestEnvironment::new();
    let other = environment.home().join("other place").display().to_string();
    for (configured, is_named) in [("", true), (other.as_str(), false)] {
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = 9\n[exporter]\nstate_dir = \"{configured}\"\n"
        ));
        let running = Running::start(&environment, &["--state-dir", &other]);
        running.page_with("kmsctl_up 0");
        let (_, talk) = running.stop();
        let command = format!("kmsctl virusprot history --state-dir '{other}'");
        let named = talk.iter().any(|line| line.contains(&command));
        assert_eq!(named, is_named, "{talk:?}");
    }
    let missing = environment.run(&["virusprot", "history"]).fails_with(8);
    assert!(missing.contains("--state-dir"), "{missing}");
}

#[test]
fn contexts_share_no_record() {
    let environment = TestEnvironment::new();
    let (shared, own) = (environment.home().join("shared"), environment.home().join("own"));
    environment.write_config(&format!(
        "[exporter]\nstate_dir = \"{}\"\n[contexts.one.service]\nport = 1688\n[contexts.two.exporter]\nstate_dir = \"{}\"\n",
        shared.display(),
        own.display()
    ));
    for (context, place) in [("one", shared.join("one")), ("two", own)] {
        let missing = environment.run(&["--context", context, "virusprot", "history"]);
        let missing = missing.fails_with(8);
        let place = place.display().to_string();
        let home = environment.home().display().to_string();
        let named = format!("in {}.", place.replace(&home, "$HOME"));
        assert!(missing.contains(&named), "{missing}");
    }
}

#[test]
fn the_manifest_runs_without_rights() {
    let Some(kubectl) = kubectl() else { return };
    let yaml = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/exporter.yaml");
    let home = tempfile::tempdir().expect("a home");
    let read = Command::new(kubectl)
        .args(["set", "image", "--local", "-f", yaml, "exporter=x", "-o", "json"])
        .env("HOME", home.path())
        .output()
        .expect("kubectl runs");
    // What kubectl's own types do not know would be missing from what it prints.
    let typed: Value = serde_json::from_slice(&read.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read.stderr)));
    let text = std::fs::read_to_string(yaml).expect(yaml);
    let fields = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    for field in fields.filter_map(|line| line.trim_start_matches([' ', '-']).split_once(':')) {
        let name = format!("\"{}\"", field.0);
        assert!(typed.to_string().contains(&name), "{name} is no field");
    }
    let pod = &typed["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(typed["spec"]["replicas"], 1);
    assert_eq!(typed["spec"]["strategy"]["type"], "Recreate");
    let labels = &typed["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app"], "kmsctl-exporter", "as exporter.selector has it");
    // The same process, with the volumes elsewhere and the served firewall in place of the real one.
    let served = Served::start("open");
    let reached = served.reached_from(TestEnvironment::new());
    let volumes = [("/etc/kmsctl/ssh", "ssh"), ("/var/lib/kmsctl-exporter", "record")];
    for (_, name) in volumes {
        std::fs::create_dir(home.path().join(name)).expect(name);
    }
    let given: std::collections::BTreeMap<_, _> = reached
        .command(&[])
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())))
        .collect();
    for (key, name) in [("IDENTITY", "key"), ("KNOWN_HOSTS", "known_hosts")] {
        let to = home.path().join("ssh").join(name);
        std::fs::copy(&given[&format!("KMSCTL_FIREWALL_{key}")], &to).expect(name);
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o440)).expect(name);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsctl"));
    command.env_clear();
    for item in container["env"].as_array().expect("env") {
        let mut value = item["value"].as_str().expect("a value").to_owned();
        for (path, name) in volumes {
            value = value.replace(path, &home.path().join(name).display().to_string());
        }
        let value = match item["name"].as_str() {
            Some("KMSCTL_FIREWALL_HOST") => "127.0.0.1".to_owned(),
            Some("KMSCTL_EXPORTER_LISTEN") => "127.0.0.1:0".to_owned(),
            _ => value,
        };
        command.env(item["name"].as_str().expect("a name"), value);
    }
    command.env("KMSCTL_FIREWALL_PORT", &given["KMSCTL_FIREWALL_PORT"]);
    let arguments = container["args"].as_array().expect("args").iter();
    command.args(arguments.filter_map(Value::as_str));
    let running = Running::spawn(command);
    running.page_with("kmsctl_up 1");
    assert!(home.path().join("record/record/blocks.jsonl").is_file());
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert_eq!(running.get(path).0, "HTTP/1.1 200 OK", "{probe}");
    }
}

#[test]
fn wrong_flags_are_usage_errors() {
    let environment = TestEnvironment::new();
    for arguments in [
        ["--demo", "exporter", "run", "--every", "0s"],
        ["--demo", "exporter", "run", "--every", "soon"],
        ["--demo", "exporter", "run", "--listen", "here"],
        ["--demo", "exporter", "run", "--state-dir", "/dev/null/x"],
        ["--demo", "virusprot", "history", "--since", "yesterday"],
    ] {
        environment.run(&arguments).fails_with(2);
    }
}
