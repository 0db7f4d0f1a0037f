//! `kmsctl config init` against the served demo, at a terminal and by flags: from nothing to a working `status`.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rexpect::session::PtySession;

use crate::support::environment::TestEnvironment;

/// The simulated firewall as an SSH server; ends when dropped.
struct Served {
    child: Child,
    port: String,
    fingerprint: String,
    _home: TestEnvironment,
}

impl Served {
    fn start() -> Self {
        let home = TestEnvironment::new();
        let arguments = ["demo", "serve", "--listen", "127.0.0.1:0", "-o", "ndjson"];
        let mut child = home
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kmsctl serves");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        let serving: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| serving[name].as_str().expect(name).to_owned();
        Self {
            child,
            port: text("address").rsplit(':').next().expect("a port").to_owned(),
            fingerprint: text("host_key"),
            _home: home,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A home without any configuration, where kmsctl's own SSH client is used.
fn fresh() -> TestEnvironment {
    // No kubectl and no ssh: what a machine of a new user may well look like.
    let environment = TestEnvironment::new();
    let programs = environment.home().join("bin");
    environment
        .without("KMSCTL_FIREWALL_HOST")
        .without("KMSCTL_DEMO_NOW")
        .variable("PATH", programs.display().to_string())
        .private_runtime()
}

fn spawn(environment: &TestEnvironment) -> PtySession {
    let mut command = environment.command(&["--color", "never", "config", "init"]);
    command.stdin(Stdio::inherit());
    rexpect::session::spawn_command(command, Some(60_000)).expect("a pty")
}

fn answer(terminal: &mut PtySession, question: &str, answer: &str) {
    terminal.exp_string(question).expect(question);
    terminal.send_line(answer).expect("an answer");
}

/// Answers everything from the first question to the confirmation of the host key.
fn reach_the_host_key(terminal: &mut PtySession, served: &Served) {
    answer(terminal, "pfSense box", "127.0.0.1");
    answer(terminal, "Port of its SSH server", &served.port);
    answer(terminal, "Account on it", "");
    terminal.exp_string(&served.fingerprint).expect("the fingerprint");
}

fn code(terminal: &mut PtySession) -> (String, Option<i32>) {
    let rest = terminal.exp_eof().expect("the end");
    let status = format!("{:?}", terminal.process().wait().expect("a status"));
    let code = status.strip_suffix(')').and_then(|text| text.rsplit(", ").next()?.parse().ok());
    (rest, code)
}

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().expect("metadata").permissions().mode() & 0o777
}

/// Answers the wizard up to the file's own confirmation, and that too.
fn reach_the_written_file(terminal: &mut PtySession, served: &Served) {
    reach_the_host_key(terminal, served);
    answer(terminal, "Is it the same?", "yes");
    answer(terminal, "Private key file", "");
    terminal.exp_string("ssh-ed25519 ").expect("the line to paste");
    answer(terminal, "Press Enter", "");
    terminal.exp_string("Logged in: pfSense").expect("the login");
    terminal.exp_string("1688").expect("the port forward");
    answer(terminal, "Which one is the service?", "");
    answer(terminal, "What its server speaks", "");
    for (question, wrong, right) in [
        ("Public name", "-bad host!", "kms.example.net"),
        ("A host outside", "-oProxyCommand=x@y", "-"),
    ] {
        answer(terminal, question, wrong);
        terminal.exp_string(&format!("`{}` is n", wrong.trim_end_matches("@y"))).expect(question);
        answer(terminal, question, right);
    }
    answer(terminal, "Write", "");
}

#[test]
fn a_new_user_reaches_status_within_minutes() {
    let served = Served::start();
    let environment = fresh();
    let started = Instant::now();
    let mut terminal = spawn(&environment);
    reach_the_written_file(&mut terminal, &served);
    let (shown, code) = code(&mut terminal);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("open"), "{shown}");
    assert!(started.elapsed() < Duration::from_secs(120));
    let path = environment.config_file();
    let text = std::fs::read_to_string(&path).expect("the file");
    let address = "address = \"10.0.20.202\"";
    for wanted in ["host = \"127.0.0.1\"", "host = \"kms.example.net\"", address, &served.port] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_file_name("known_hosts")), 0o600);
    assert_eq!(mode(&environment.home().join(".ssh/id_kmsctl")), 0o600);
    assert!(!path.with_extension("toml.draft").exists());
    environment.run(&["status"]).success();
    let refused = environment.run(&["config", "init"]).fails_with(2);
    assert!(refused.contains("exists already"), "{refused}");
}

#[test]
fn an_unconfirmed_host_key_is_not_kept() {
    let served = Served::start();
    let environment = fresh();
    for typed in ["", "n", "yep", "SHA256"] {
        let mut terminal = spawn(&environment);
        reach_the_host_key(&mut terminal, &served);
        answer(&mut terminal, "Is it the same?", typed);
        let (shown, code) = code(&mut terminal);
        assert_eq!(code, Some(4), "{typed:?}: {shown}");
        assert!(!environment.config_file().with_file_name("known_hosts").exists());
        assert!(!environment.config_file().exists());
    }
}

#[test]
fn an_interrupted_run_goes_on_with_its_answers() {
    let served = Served::start();
    let environment = fresh();
    let mut terminal = spawn(&environment);
    reach_the_host_key(&mut terminal, &served);
    terminal.exp_string("Is it the same?").expect("the question");
    terminal.send_control('c').expect("Ctrl-C");
    let (shown, ended) = code(&mut terminal);
    assert_eq!(ended, Some(130), "{shown}");
    assert!(shown.contains("is kept") && shown.contains("config init`"), "{shown}");
    let draft = environment.config_file().with_extension("toml.draft");
    assert_eq!(mode(&draft), 0o600);
    let mut terminal = spawn(&environment);
    terminal.exp_string("[127.0.0.1]").expect("the host of before");
    terminal.send_line("").expect("the default");
    terminal.exp_string(&format!("[{}]", served.port)).expect("the port of before");
    terminal.send_control('c').expect("Ctrl-C");
    assert_eq!(code(&mut terminal).1, Some(130));
    // What was answered about another box is no default where nothing is asked, and a failure there leaves none.
    let print = format!("SHA256:{}", "A".repeat(43));
    for draft in [true, false] {
        let flags = ["config", "init", "--yes", "--host", "127.0.0.1", "--fingerprint", &print];
        let failed = environment.run(&flags).fails_with(5);
        assert!(!failed.contains("earlier run"), "{failed}");
        assert!(!failed.contains(&served.fingerprint), "{failed}");
        let path = environment.config_file().with_extension("toml.draft");
        assert_eq!(path.exists(), draft, "{failed}");
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn flags_answer_instead_of_a_person() {
    let served = Served::start();
    let environment = fresh();
    let key = environment.home().join("key");
    let made = kmsctl::ssh::first_contact::make_login_key(&key).expect("a key");
    assert!(made.starts_with("ssh-ed25519 "), "{made}");
    let key = key.display().to_string();
    let flags =
        ["config", "init", "--host", "127.0.0.1", "--port", &served.port, "--identity", &key];
    let unnamed = environment.run(&flags).fails_with(2);
    assert!(unnamed.contains("--fingerprint SHA256:"), "{unnamed}");
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let other = environment.run(&[&flags[..], &["--fingerprint", &wrong]].concat());
    let other = other.fails_with(5);
    assert!(other.contains(&served.fingerprint), "{other}");
    assert!(!environment.config_file().exists());
    assert!(!environment.config_file().with_file_name("known_hosts").exists());
    environment.run(&[&flags[..], &["--fingerprint", "MD5:x"]].concat()).fails_with(2);
    let last = ["--protocol", "tcp", "--fingerprint", &served.fingerprint];
    let done = environment.run(&[&flags[..], &last].concat());
    assert_eq!(done.code, Some(0), "{done}");
    let written = std::fs::read_to_string(environment.config_file()).expect("the file");
    assert!(written.contains("protocol = \"tcp\""), "{written}");
    // No name was given, so none is asked for, and what that costs is said.
    assert!(written.contains("\nhost = \"\"\n"), "{written}");
    assert!(done.stderr.contains("service.host"), "{done}");
    // What the alias of the box holds is named, also where it is the built-in address.
    assert!(written.contains("address = \"10.0.20.202\""), "{written}");
    let environment = environment.variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.1");
    for (command, list) in [("verify", "hops"), ("doctor", "findings")] {
        let outcome = environment.run(&[command, "-o", "json", "--quiet"]);
        let answer: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let found = answer["data"][list].as_array().expect("findings");
        let names = found.iter().filter(|finding| {
            finding["check"].as_str().is_some_and(|check| check.starts_with("dns"))
        });
        for name in names {
            assert_eq!(name["result"], "skipped", "{command}: {name:#}");
        }
        assert!(!outcome.stdout.contains("viktorbarzin"), "{outcome}");
    }
    environment.run(&["expose", "show", "--quiet"]).success();
    assert_eq!(mode(&environment.config_file()), 0o600);
}

/// What is typed with a port is taken apart, and no host is a default before one was named.
#[test]
fn a_typed_port_is_the_next_default() {
    for (typed, host, port) in [
        ("127.0.0.1:2222", "127.0.0.1", "[2222]"),
        ("[::1]:2222", "::1", "[2222]"),
        ("[::1]", "::1", "[22]"),
    ] {
        let environment = fresh();
        let mut terminal = spawn(&environment);
        let asked = terminal.exp_string("ssh Host)").expect("the question");
        assert!(!asked.contains("10.0.20.1"), "{asked}");
        let after = terminal.exp_string(": ").expect("the end of the question");
        assert!(!after.contains("10.0.20.1"), "{after}");
        terminal.send_line("").expect("no answer");
        answer(&mut terminal, "ssh Host): ", typed);
        terminal.exp_string(port).expect(typed);
        terminal.send_control('c').expect("Ctrl-C");
        assert_eq!(code(&mut terminal).1, Some(130));
        let draft = environment.config_file().with_extension("toml.draft");
        let draft = std::fs::read_to_string(draft).expect("a draft");
        assert!(draft.contains(&format!("host = \"{host}\"")), "{draft}");
    }
    let refused = fresh().demo(&["config", "init", "--host", "127.0.0.1"]).fails_with(2);
    assert!(refused.contains("--demo"), "{refused}");
}

#[test]
fn flags_that_the_box_contradicts_are_refused() {
    let served = Served::start();
    let environment = fresh();
    let key = environment.home().join("key");
    kmsctl::ssh::first_contact::make_login_key(&key).expect("a key");
    let key = key.display().to_string();
    let (port, print) = (served.port.as_str(), served.fingerprint.as_str());
    let flags = [
        "config",
        "init",
        "--yes",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--identity",
        &key,
        "--fingerprint",
        print,
    ];
    for wrong in [["--alias", "nope"], ["--interface", "nowan"], ["--service-port", "1234"]] {
        let refused = environment.run(&[&flags[..], &wrong].concat()).fails_with(2);
        assert!(refused.contains("wan port 1688 -> <k8s_kms_lb>"), "{wrong:?}: {refused}");
        assert!(!environment.config_file().exists(), "{wrong:?}");
    }
}

#[test]
fn flags_with_wrong_names_are_refused() {
    for (flag, wanted) in [
        ("--host=-oProxyCommand=x", "letters, digits, dots, hyphens"),
        ("--service-host=-bad host!", "letters, digits, dots, hyphens"),
        ("--service-host=http://kms.example.net", "letters, digits, dots, hyphens"),
        ("--vantage=-oProxyCommand=x@y", "not an account name"),
        ("--vantage=-oProxyCommand=x", "letters, digits, dots, hyphens"),
        ("--vantage=root@", "letters, digits, dots, hyphens"),
        ("--vantage=root@a b", "letters, digits, dots, hyphens"),
    ] {
        let environment = fresh();
        let host = ["config", "init", "--host=127.0.0.1", "--port=1", flag];
        let words = if flag.starts_with("--host") { &["config", "init", flag][..] } else { &host };
        let refused = environment.run(words).fails_with(2);
        assert!(refused.contains(wanted), "{flag}: {refused}");
        assert!(!environment.config_file().exists(), "{flag}");
        assert!(!environment.config_file().with_extension("toml.draft").exists(), "{flag}");
    }
}

#[test]
fn init_installs_the_completion_where_asked() {
    let generated = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let served = Served::start();
    for (shell, place, file) in [
        ("/bin/bash", ".local/share/bash-completion/completions/kmsctl", "kmsctl.bash"),
        ("/usr/bin/fish", ".config/fish/completions/kmsctl.fish", "kmsctl.fish"),
        ("/usr/local/bin/zsh", ".local/share/zsh/site-functions/_kmsctl", "_kmsctl"),
    ] {
        let environment = fresh().variable("SHELL", shell);
        let mut terminal = spawn(&environment);
        reach_the_written_file(&mut terminal, &served);
        answer(&mut terminal, "Install the completion", "y");
        let (rest, code) = code(&mut terminal);
        assert_eq!(code, Some(0), "{rest}");
        assert_eq!(rest.contains("fpath=("), shell.ends_with("zsh"), "{rest}");
        let written = std::fs::read_to_string(environment.home().join(place)).expect(place);
        let wanted = std::fs::read_to_string(generated.join(file)).expect(file);
        assert!(wanted.starts_with(written.trim_end()), "{place}: {written}");
    }
}

#[test]
fn init_keeps_a_completion_and_a_no() {
    let place = ".local/share/bash-completion/completions/kmsctl";
    let served = Served::start();
    let declined = fresh().variable("SHELL", "/bin/bash");
    let mut terminal = spawn(&declined);
    reach_the_written_file(&mut terminal, &served);
    answer(&mut terminal, "Install the completion", "n");
    let (rest, declined_code) = code(&mut terminal);
    assert_eq!(declined_code, Some(0), "{rest}");
    assert!(rest.contains("kmsctl doctor"), "{rest}");
    assert!(declined.config_file().exists());
    assert!(!declined.home().join(place).exists());

    let present = fresh().variable("SHELL", "/bin/bash");
    let kept = present.home().join(place);
    std::fs::create_dir_all(kept.parent().expect("a folder")).expect("a folder");
    std::fs::write(&kept, "# of another version\n").expect("a completion");
    let mut terminal = spawn(&present);
    reach_the_written_file(&mut terminal, &served);
    let (rest, kept_code) = code(&mut terminal);
    assert_eq!(kept_code, Some(0), "{rest}");
    assert!(!rest.contains("Install the completion"), "{rest}");
    assert_eq!(std::fs::read_to_string(kept).expect("a completion"), "# of another version\n");
}
