//! Contexts: overlays over the configuration, and one command run in all of them.

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::{Outcome, TestEnvironment};
use crate::support::live::LiveBox;
use crate::support::served::Served;
use crate::support::sshd::Options;

const TWO: &str = "timeout = \"9s\"
[firewall]
user = \"base\"
[contexts.home.firewall]
host = \"127.0.0.1\"
port = 1
[contexts.office]
timeout = \"3s\"
[contexts.office.firewall]
host = \"localhost\"
port = 1
[contexts.office.service]
alias = \"office_kms\"
";

fn origin_of(environment: &TestEnvironment, arguments: &[&str], key: &str) -> String {
    let shown = environment.run(&[&["config", "show", "-o", "csv"], arguments].concat()).success();
    let line = shown.lines().find(|line| line.starts_with(&format!("{key},")));
    let line = line.unwrap_or_else(|| panic!("{key} is not shown"));
    let fields: Vec<&str> = line.split(',').collect();
    let origin = fields[2].split(' ').take(2).collect::<Vec<_>>().join(" ");
    format!("{} {origin}", fields[1])
}

#[test]
fn a_context_overlays_any_key() {
    let environment = TestEnvironment::new().variable("KMSCTL_FIREWALL_HOST", "");
    environment.write_config(TWO);
    let file = origin_of(&environment, &[], "timeout");
    assert!(file.starts_with("9s file "), "{file}");
    let office: &[&str] = &["--context", "office"];
    assert_eq!(origin_of(&environment, office, "timeout"), "3s context office");
    assert_eq!(origin_of(&environment, office, "firewall.host"), "localhost context office");
    assert_eq!(origin_of(&environment, office, "context"), "office flag --context");
    assert!(origin_of(&environment, office, "firewall.user").starts_with("base file "));
    assert_eq!(
        origin_of(&environment, &["--context=home"], "service.alias"),
        "k8s_kms_lb built-in"
    );
}

#[test]
fn flag_beats_environment_beats_default_context() {
    let environment = TestEnvironment::new().variable("KMSCTL_FIREWALL_HOST", "");
    environment.write_config(&format!("context = \"home\"\n{TWO}"));
    let host = |environment: &TestEnvironment, arguments: &[&str]| {
        origin_of(environment, arguments, "firewall.host")
    };
    assert_eq!(host(&environment, &[]), "127.0.0.1 context home");
    let environment = environment.variable("KMSCTL_CONTEXT", "office");
    assert_eq!(host(&environment, &[]), "localhost context office");
    assert_eq!(host(&environment, &["--context", "home"]), "127.0.0.1 context home");
    let environment = environment.variable("KMSCTL_FIREWALL_HOST", "127.0.0.9");
    assert_eq!(
        host(&environment, &["--context", "home"]),
        "127.0.0.9 environment KMSCTL_FIREWALL_HOST"
    );
    let said = environment.run(&["config", "contexts"]).stderr;
    assert!(
        said.contains("KMSCTL_FIREWALL_HOST is set, and goes before what the context office says."),
        "{said}"
    );
}

#[test]
fn an_unknown_context_names_its_nearest() {
    let environment = TestEnvironment::new();
    environment.write_config(TWO);
    let default = TestEnvironment::new();
    default.write_config(&format!("context = \"ofice\"\n{TWO}"));
    let variable = TestEnvironment::new().variable("KMSCTL_CONTEXT", "home");
    for (environment, words, error, hint) in [
        (
            &environment,
            &["--context", "ofice"][..],
            "`ofice` (--context)",
            "Did you mean `office`?",
        ),
        (&environment, &["--context", ""], "`` (--context)", "There are: home, office."),
        (&environment, &["--context=\u{1b}[2Jx"], "(--context)", "There are: home, office."),
        (&default, &[], "`ofice` (`context` of the file)", "Did you mean `office`?"),
        (&variable, &[], "`home` (KMSCTL_CONTEXT)", "The configuration has no contexts"),
    ] {
        let outcome = environment.run(&[&["status"], words].concat());
        assert_eq!(outcome.code, Some(2), "{outcome}");
        let said = &outcome.stderr;
        assert!(said.contains(error) && said.contains(hint), "{outcome}");
        assert!(!said.contains('\u{1b}'), "{outcome}");
    }
}

#[test]
fn the_list_names_a_missing_default() {
    let list = |begin: &str| {
        let environment = TestEnvironment::new();
        environment.write_config(&format!("{begin}{TWO}"));
        environment.run(&["config", "contexts"])
    };
    let missing = list("context = \"zz\"\n");
    assert!(missing.stderr.contains("`zz`") && missing.stdout.contains("office"), "{missing}");
    for fine in ["", "context = \"home\"\n"] {
        assert!(!list(fine).stderr.contains("context `"), "{fine}");
    }
}

/// A command that one of them printed is printed once more by what ran them all.
#[test]
fn commands_of_all_contexts_can_be_pasted() {
    for by_variable in [false, true] {
        for words in
            [&["expose", "show", "--expect", "closed"][..], &["status"], &["doctor"], &["verify"]]
        {
            for form in [&[][..], &["-o", "json"]] {
                let environment = TestEnvironment::new();
                let environment = if by_variable {
                    environment.variable("KMSCTL_DEMO", "1")
                } else {
                    environment
                };
                let flags: &[&str] =
                    if by_variable { &["--all-contexts"] } else { &["--demo", "--all-contexts"] };
                let shown = environment.run(&[flags, words, form].concat());
                let text = shown.stdout.clone() + &shown.stderr;
                let commands: Vec<&str> =
                    text.split("kmsctl ").skip(1).filter(|rest| rest.starts_with("--")).collect();
                for command in commands {
                    let command = command.split(['`', '\n', '"']).next().unwrap_or_default();
                    assert_eq!(command.matches("--demo").count(), 1, "{words:?}: {command}");
                    assert_eq!(command.matches("--context").count(), 1, "{words:?}: {command}");
                }
            }
        }
    }
}

#[test]
fn wrong_keys_inside_contexts_name_their_line() {
    for (text, path, line) in [
        ("[contexts.home.firewall]\nhots = \"x\"\n", "contexts.home.firewall.hots", 2),
        ("timeout = \"9s\"\n\n[contexts.home]\ntimeuot = \"3s\"\n", "contexts.home.timeuot", 4),
        ("contexts.home.service.prot = 1\n", "contexts.home.service.prot", 1),
        ("[contexts]\nhome = 3\n", "contexts.home", 2),
        ("[contexts.a]\n[contexts.b]\ncontext = \"a\"\n", "contexts.b.context", 3),
        ("[contexts.a.contexts.b]\n", "contexts.a.contexts", 1),
        ("[contexts.'../x']\n", "contexts.../x", 1),
        ("[contexts.Home]\n", "contexts.Home", 1),
        ("contexts = 3\n", "contexts", 1),
        ("[firewall]\n\nhots = \"x\"\n", "firewall.hots", 3),
    ] {
        let environment = TestEnvironment::new();
        environment.write_config(text);
        let outcome = environment.run(&["config", "check"]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        let wanted = format!("`{path}` in $HOME/.config/kmsctl/config.toml, line {line}");
        assert!(outcome.stderr.contains(&wanted), "{wanted}: {outcome}");
    }
}

#[test]
fn wrong_values_inside_contexts_name_their_line() {
    for (text, key, line) in [
        ("[contexts.home.service]\n\nport = 70000\n", "service.port", 3),
        ("[contexts.home.service]\nport = \"x\"\n", "service.port", 2),
        ("[contexts.home]\nfirewall.transport = \"telnet\"\n", "firewall.transport", 2),
        ("[contexts.home.presets.night]\nrate = \"3\"\n", "presets.night.rate", 2),
        ("timeout = \"9s\"\n[service]\naddress = \"here\"\n", "service.address", 3),
    ] {
        let environment = TestEnvironment::new();
        environment.write_config(text);
        let outcome = environment.run(&["config", "check"]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        let (key, line) = (format!("`{key}`"), format!(", line {line})"));
        assert!(outcome.stderr.contains(&key), "{outcome}");
        assert!(outcome.stderr.contains(&line), "{line}: {outcome}");
    }
}

#[test]
fn one_box_by_two_names_is_named() {
    let served = Served::start("open");
    let environment = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
    let contexts = ["one", "two"].map(|name| {
        let host = if name == "one" { "127.0.0.1" } else { "localhost" };
        served.context(name, host, "")
    });
    environment.write_config(&contexts.concat());
    let list = || environment.run(&["config", "contexts"]);
    assert!(!list().stderr.contains("one firewall"), "not read yet");
    for context in ["one", "two"] {
        environment.run(&["--context", context, "expose", "show"]).success();
    }
    let said = list().stderr;
    assert!(said.contains("The contexts one, two have one firewall, by its host key"), "{said}");
}

/// The demo's two boxes as a pair.
struct Pair {
    environment: TestEnvironment,
    config: String,
}

impl Pair {
    fn new() -> Self {
        let environment = TestEnvironment::new();
        let config = environment.home().join("pair.toml");
        let text = "[contexts.home.firewall]\npeer = \"office\"\n[contexts.office.firewall]\npeer = \"home\"\n";
        std::fs::write(&config, text).expect("a file");
        let config = config.display().to_string();
        Self { environment, config }
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let chosen = ["--demo", "--config", &self.config, "--context", "home"];
        self.environment.run(&[&chosen, words].concat())
    }

    /// The addresses in the table of a node.
    fn blocked(&self, node: &str) -> Vec<String> {
        let line = ["--demo", "--config", &self.config, "--context", node, "--alone"];
        let shown = self
            .environment
            .run(&[&line[..], &["virusprot", "show", "-o", "json"]].concat())
            .json();
        let entries = shown["data"]["entries"].as_array().expect("entries").iter();
        let text = |entry: &serde_json::Value| entry["address"].as_str().expect("text").to_owned();
        entries.map(text).collect()
    }
}

#[test]
fn a_pair_is_looked_at_whole() {
    let pair = Pair::new();
    for words in [&["status"][..], &["virusprot", "show"], &["expose", "show"]] {
        let shown = pair.run(words).success();
        for node in ["== home (demo)", "== office (demo-office)"] {
            assert!(shown.contains(node), "{shown}");
        }
    }
    let alone = pair.run(&["--alone", "expose", "show"]).success();
    assert!(!alone.contains("== "), "{alone}");
}

#[test]
fn table_changes_go_to_both_nodes() {
    let pair = Pair::new();
    let address = "198.51.100.200";
    let has = |node| pair.blocked(node).iter().any(|one| one == address);
    let unconfirmed = pair.run(&["virusprot", "add", address]);
    assert_eq!(unconfirmed.code, Some(4), "{unconfirmed}");
    let planned = pair.run(&["virusprot", "add", address, "--dry-run"]).success();
    assert!(planned.contains("== office"), "{planned}");
    assert!(!has("home") && !has("office"));
    let added = pair.run(&["virusprot", "add", address, "--yes", "--reason", "both", "-o", "json"]);
    let added = added.json();
    assert_eq!(added["data"]["contexts"][1]["exit_code"], 0, "{added}");
    assert!(has("home") && has("office"));
    // One entry a node, each taken back by itself.
    let entry = |node: &str| {
        let line = ["--demo", "--config", &pair.config, "--context", node];
        let list = |words: &[&str]| pair.environment.run(&[&line[..], words].concat());
        let shown = list(&["history", "--local"]).success();
        assert!(shown.contains("CONTEXT") && shown.contains(node), "{shown}");
        let history = list(&["history", "--local", "-o", "json"]).json();
        let entries = history["data"]["entries"].as_array().expect("entries");
        assert_eq!(entries.len(), 1, "{history}");
        assert_eq!(entries[0]["context"], node, "{history}");
        assert_eq!(entries[0]["reason"], "both", "{history}");
        let command = format!("virusprot add {address}");
        assert_eq!(entries[0]["command"], command, "{history}");
        entries[0]["id"].as_str().expect("an id").to_owned()
    };
    entry("home");
    let id = &entry("office");
    let office = ["--demo", "--config", &pair.config, "--context", "office", "--alone"];
    pair.environment.run(&[&office[..], &["undo", id, "--yes"]].concat()).success();
    assert!(has("home") && !has("office"));
    // What one node alone has is freed there, and nothing happens on the other.
    pair.run(&["virusprot", "delete", address, "--yes"]).success();
    assert!(!has("home") && !has("office"));
    let nothing = pair.run(&["virusprot", "delete", address, "--yes"]);
    assert_eq!(nothing.code, Some(0), "{nothing}");
    for words in [
        &["virusprot", "delete", "-", "--yes"][..],
        &["virusprot", "flush", "--plan-out", "plan"],
        &["virusprot", "delete", "here", "--yes"],
    ] {
        assert_eq!(pair.run(words).code, Some(2), "{words:?}");
    }
}

/// What one confirmation changed on both nodes, one confirmation takes back on both.
#[test]
fn undo_takes_both_nodes_back() {
    let pair = Pair::new();
    let address = "198.51.100.200";
    let both_have =
        || ["home", "office"].map(|node| pair.blocked(node).iter().any(|one| one == address));
    let last_id = || {
        let history = pair.run(&["history", "--local", "-o", "json"]).json();
        history["data"]["entries"][0]["id"].as_str().expect("an id").to_owned()
    };
    let added = pair.run(&["virusprot", "add", address, "--yes"]);
    let both = format!("undo {}` takes both back.", last_id());
    assert!(added.code == Some(0) && added.stderr.contains(&both), "{added}");
    assert_eq!(pair.run(&["undo"]).code, Some(4));
    assert!(pair.run(&["undo", "--dry-run"]).success().contains("== office"));
    pair.run(&["undo", "--plan-out", "/dev/null/x"]).fails_with(2);
    assert_eq!(both_have(), [true, true]);
    pair.run(&["undo", "--yes", "--reason", "a mistake"]).success();
    assert_eq!(both_have(), [false, false]);
    // The undo of both is one, too.
    pair.run(&["undo", &last_id(), "--yes"]).success();
    assert_eq!(both_have(), [true, true]);
    let alone = pair.run(&["--alone", "undo", &last_id(), "--yes"]);
    assert_eq!(alone.code, Some(0), "{alone}");
    assert_eq!(both_have(), [false, true]);
    let rest = alone.stderr.split('`').find(|part| part.contains("--context office --alone undo"));
    let rest = rest.unwrap_or_else(|| panic!("{alone}"));
    let id = rest.rsplit(' ').next().expect("an id");
    let office = ["--demo", "--config", &pair.config, "--context", "office", "--alone"];
    pair.environment.run(&[&office[..], &["undo", id, "--yes"]].concat()).success();
    assert_eq!(both_have(), [false, false]);
    // What one node alone was changed by, is of that node.
    pair.run(&["--alone", "virusprot", "add", address, "--yes"]).success();
    let own = pair.run(&["undo", "--yes"]);
    assert_eq!(own.code, Some(0), "{own}");
    assert!(!own.stdout.contains("== office") && !own.stderr.contains("left as it is"), "{own}");
    assert_eq!(both_have(), [false, false]);
}

/// As kmsctl recorded a pair's changes before it recorded each with the other.
#[test]
fn unrecorded_halves_of_pairs_are_named() {
    let pair = Pair::new();
    let address = "198.51.100.200";
    let both_have =
        || ["home", "office"].map(|node| pair.blocked(node).iter().any(|one| one == address));
    let on = |node: &str, words: &[&str]| {
        let place = ["--demo", "--config", &pair.config, "--context", node, "--alone"];
        pair.environment.run(&[&place[..], words].concat())
    };
    for command in ["add", "delete"] {
        let is_blocked = command == "add";
        for node in ["home", "office"] {
            on(node, &["virusprot", command, address, "--yes"]).success();
        }
        assert_eq!(both_have(), [is_blocked, is_blocked]);
        let undone = pair.run(&["undo", "--yes"]);
        assert_eq!((undone.code, both_have()), (Some(0), [!is_blocked, is_blocked]), "{undone}");
        let said = undone.stderr.split('`').find(|part| part.contains("office --alone undo"));
        let id =
            said.and_then(|said| said.rsplit(' ').next()).unwrap_or_else(|| panic!("{undone}"));
        on("office", &["undo", id, "--yes"]).success();
        assert_eq!(both_have(), [!is_blocked, !is_blocked]);
        if is_blocked {
            pair.run(&["virusprot", "add", address, "--yes"]).success();
        }
    }
}

#[test]
fn rules_of_an_unclear_primary_are_refused() {
    let pair = Pair::new();
    for words in [
        &["ratelimit", "tighten", "--yes"][..],
        &["ratelimit", "set", "--rate", "3/60", "--dry-run"],
        // What is as wanted on this node may be otherwise on the primary.
        &["expose", "restore", "--yes"],
    ] {
        let refused = pair.run(words).fails_with(6);
        assert!(refused.contains("not clear that home is the CARP primary"), "{refused}");
        let office = "kmsctl --config $HOME/pair.toml --demo --context office --alone";
        for command in ["doctor --problems", &words[..2].join(" ")] {
            assert!(refused.contains(&format!("{office} {command}")), "{command}: {refused}");
        }
    }
    pair.run(&["--alone", "expose", "show", "--expect", "open"]).success();
    pair.run(&["--alone", "expose", "revoke", "--yes"]).success();
    pair.run(&["ratelimit", "preview", "tighten"]).success();
}

/// Two served boxes as a pair, home in this scenario, and a place to look at them from.
fn served_pair(home: &str) -> (TestEnvironment, [Served; 2]) {
    let (home, office) = (Served::start(home), Served::start("open"));
    let environment =
        TestEnvironment::new().without("KMSCTL_FIREWALL_HOST").without("KMSCTL_DEMO_NOW");
    environment.write_config(
        &[
            home.context("home", "127.0.0.1", "peer = \"office\""),
            office.context("office", "127.0.0.1", "peer = \"home\""),
        ]
        .concat(),
    );
    (environment, [home, office])
}

#[test]
fn a_rule_change_waits_for_the_secondary() {
    let (environment, _boxes) = served_pair("ha-peer");
    let planned = ["--context", "home", "expose", "revoke", "--for", "2h", "--dry-run"];
    let planned = environment.run(&planned).success();
    for words in ["The other node, office, holds and runs the same", "a failover leaves it behind"]
    {
        assert!(planned.contains(words), "{planned}");
    }
    let revoke = ["--context", "home", "expose", "revoke", "--yes", "--keep-states"];
    let mut waiting = environment.command(&revoke);
    waiting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut waiting = waiting.spawn().expect("kmsctl runs");
    let closed = ["--context", "home", "--alone", "expose", "show", "--expect", "closed"];
    let is_closed = || environment.run(&closed).code == Some(0);
    let begun = std::time::Instant::now();
    while !is_closed() {
        assert!(begun.elapsed().as_secs() < 20, "home is not closed");
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(waiting.try_wait().expect("a process").is_none(), "office is still open");
    // What the primary's sync does.
    let office = ["--context", "office", "--alone", "expose", "revoke", "--yes", "--keep-states"];
    environment.run(&office).success();
    let done = waiting.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(said.contains("office holds and runs the same"), "{said}");
    let again = environment.run(&["--context", "home", "expose", "revoke", "--yes"]);
    assert_eq!(again.code, Some(0), "{again}");
}

#[test]
fn a_secondary_without_the_rules_is_named() {
    let (environment, [_home, office]) = served_pair("ha-peer");
    let home = |words: &[&str]| {
        environment.run(&[&["--context", "home", "--timeout", "6s"], words].concat())
    };
    let check = |said: &str| {
        for words in ["office not, or not provably", "kmsctl --context office --alone expose show"]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
    };
    check(&home(&["ratelimit", "tighten", "--yes"]).fails_with(7));
    let history = home(&["history", "--local", "-o", "json"]).json();
    assert_eq!(history["data"]["entries"][0]["outcome"], "unverified", "{history}");
    // The primary is as wanted by now, and the other node is not.
    check(&home(&["ratelimit", "tighten", "--yes"]).fails_with(7));
    let plan = environment.home().join("plan.json");
    let plan = plan.to_str().expect("a path");
    home(&["expose", "revoke", "--keep-states", "--plan-out", plan]).success();
    check(&home(&["apply", plan, "--yes"]).fails_with(7));
    check(&home(&["undo", "--yes"]).fails_with(7));
    drop(office);
    check(&home(&["ratelimit", "loosen", "--yes"]).fails_with(7));
}

/// After a failover the backup is master and hands its rules to no one.
#[test]
fn a_node_of_unclear_role_is_closed() {
    for words in [&["expose", "revoke"][..], &["expose", "revoke", "--delete"]] {
        let (environment, _boxes) = served_pair("open");
        let home = |words: &[&str]| {
            environment.run(&[&["--context", "home", "--timeout", "6s"], words].concat())
        };
        let planned = home(&[words, &["--dry-run"]].concat()).success();
        assert!(planned.contains("What office runs may stay open"), "{planned}");
        let said = home(&[words, &["--yes"]].concat()).fails_with(7);
        assert!(said.contains("office not, or not provably"), "{said}");
        let other = home(&["expose", "restore", "--yes"]).fails_with(6);
        assert!(other.contains("not clear that home is the CARP primary"), "{other}");
    }
}

#[test]
fn a_pair_of_one_box_proves_nothing() {
    let home = Served::start("ha-peer");
    let environment = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
    let named = [("home", "127.0.0.1", "office"), ("office", "localhost", "home")];
    let contexts =
        named.map(|(name, host, peer)| home.context(name, host, &format!("peer = \"{peer}\"")));
    environment.write_config(&contexts.concat());
    let tighten = ["--context", "home", "ratelimit", "tighten", "--yes"];
    let said = environment.run(&tighten).fails_with(7);
    assert!(said.contains("both contexts lead to one box"), "{said}");
}

#[test]
fn a_backup_names_the_primary() {
    let (environment, _boxes) = served_pair("ha-backup");
    for words in [&["ratelimit", "tighten"][..], &["expose", "restore"]] {
        let line = [&["--context", "home"], words, &["--yes"]].concat();
        let refused = environment.run(&line).fails_with(6);
        let command = format!("kmsctl --context office {}", words.join(" "));
        assert!(refused.contains("home is the CARP backup"), "{refused}");
        assert!(refused.contains(&command), "{command}: {refused}");
    }
    let office = environment.run(&["--context", "office", "ratelimit", "tighten", "--yes"]);
    office.fails_with(6);
}

#[test]
fn a_node_that_is_away_is_named_with_its_command() {
    let (home, office) = (Served::start("open"), Served::start("open"));
    let environment = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
    environment.write_config(
        &[
            home.context("home", "127.0.0.1", "peer = \"office\""),
            office.context("office", "127.0.0.1", "peer = \"home\""),
        ]
        .concat(),
    );
    let flush = ["--color", "never", "--context", "home", "virusprot", "flush"];
    let mut command = environment.command(&flush);
    command.stdin(std::process::Stdio::inherit());
    let mut terminal = rexpect::session::spawn_command(command, Some(60_000)).expect("a pty");
    terminal.exp_string("Change both nodes?").expect("one question");
    drop(office);
    terminal.send_line("y").expect("an answer");
    let rest = terminal.exp_eof().expect("the end");
    let status = format!("{:?}", terminal.process().wait().expect("a status"));
    assert!(status.ends_with(", 7)"), "{status}: {rest}");
    assert!(rest.contains("Done on home, and not, or not provably, on office."), "{rest}");
    let command = "kmsctl --context office --alone virusprot flush";
    assert!(rest.contains(command), "{rest}");
    let environment = environment.without("KMSCTL_DEMO_NOW");
    let away = environment.run(&["--context", "home", "virusprot", "flush", "--yes"]);
    let said = away.fails_with(5);
    assert!(said.contains("Neither node was changed"), "{said}");
    let hinted = |said: &str, name: &str| {
        let mut parts = said.split('`');
        let begin = format!("kmsctl --context {name} --alone ");
        parts.find(|part| part.starts_with(&begin)).expect(said).replacen("kmsctl ", "", 1)
    };
    assert_eq!(hinted(&said, "office"), "--context office --alone virusprot flush --yes");
    let typed = [
        "--context",
        "home",
        "virusprot",
        "-o",
        "json",
        "--timeout=9s",
        "expire",
        "--older-than",
        "1d",
        "--yes",
    ];
    let away = environment.run(&typed).fails_with(5);
    let command = hinted(&away, "home");
    assert_eq!(command, "--context home --alone virusprot expire --older-than 1d --yes");
    environment.run(&command.split(' ').collect::<Vec<&str>>()).success();
    let alone = ["--context", "home", "--alone", "virusprot", "delete", "198.51.100.200", "--yes"];
    environment.run(&alone).success();
}

#[test]
fn contexts_reach_two_boxes_through_sshd() {
    for transport in ["openssh", "russh"] {
        let boxes = [LiveBox::start(transport), LiveBox::start(transport)];
        let [Some(one), Some(two)] = boxes else {
            return;
        };
        let overlay = |name: &str, live: &LiveBox| {
            let head = format!("[contexts.{name}.firewall");
            live.settings(transport).replace("[firewall", &head)
        };
        let environment = TestEnvironment::new().private_runtime().without("KMSCTL_FIREWALL_HOST");
        environment.write_config(&(overlay("one", &one) + &overlay("two", &two)));
        let revoke = ["--context", "two", "expose", "revoke", "--yes"];
        environment.run(&revoke).success();
        let all = ["--all-contexts", "expose", "show", "-o", "json"];
        let shown = environment.run(&all);
        let shown: serde_json::Value =
            serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"));
        let state = |place: usize| &shown["data"]["contexts"][place]["answer"]["data"]["state"];
        assert_eq!((state(0), state(1)), (&"open".into(), &"closed".into()), "{shown}");
        let last = environment.run(&["--context", "one", "undo", "--yes"]);
        assert_eq!(last.code, Some(1), "{last}");
        environment.run(&["--context", "two", "undo", "--yes"]).success();
    }
}

/// Starts two firewalls with host keys of their own.
fn two_boxes(transport: &str) -> Option<[LiveBox; 2]> {
    let other = Options { host_key: "second_ed25519", ..Options::default() };
    let other = LiveBox::behind(other, transport, Version::V272, Fixture::Editor)?;
    Some([LiveBox::start(transport)?, other])
}

/// Writes the context of a node whose other node is the context of another name.
fn node_of_pair(name: &str, live: &LiveBox, transport: &str, peer: &str) -> String {
    let settings = live.settings(transport);
    let settings = settings.replace("[firewall", &format!("[contexts.{name}.firewall"));
    settings.replacen("firewall]\n", &format!("firewall]\npeer = \"{peer}\"\n"), 1)
}

#[test]
fn tables_of_a_pair_change_through_sshd() {
    for transport in ["openssh", "russh"] {
        let Some([one, two]) = two_boxes(transport) else {
            return;
        };
        let node = |name, live, peer| node_of_pair(name, live, transport, peer);
        let environment = TestEnvironment::new().private_runtime().without("KMSCTL_FIREWALL_HOST");
        environment.write_config(&(node("one", &one, "two") + &node("two", &two, "one")));
        let change = |words: &[&str]| environment.run(&[&["--context", "one"], words].concat());
        change(&["virusprot", "add", "198.51.100.200", "2001:db8:7::/64", "--yes"]).success();
        for live in [&one, &two] {
            assert_eq!(live.blocked(), ["198.51.100.200", "2001:db8:7::/64"], "{transport}");
        }
        let refused = change(&["virusprot", "add", "127.0.0.1", "--yes"]).fails_with(1);
        let sentence = "error: one: 127.0.0.1 is not blocked: it is a private address. Neither node was changed.\nhint: An entry blocks";
        assert!(refused.starts_with(sentence) && !refused.contains("is away"), "{refused}");
        change(&["--alone", "virusprot", "delete", "198.51.100.200", "--yes"]).success();
        assert_eq!((one.blocked().len(), two.blocked().len()), (1, 2), "{transport}");
        change(&["virusprot", "flush", "--yes"]).success();
        assert!(one.blocked().is_empty() && two.blocked().is_empty(), "{transport}");
    }
}

/// Has a node print a CARP role among its interfaces.
fn give_carp_role(live: &LiveBox, role: &str) {
    let line = format!("\tcarp: {role} vhid 1 advbase 1 advskew 0\n");
    live.firewall.php().write("interfaces", line.as_bytes());
    let interfaces = live.firewall.file("interfaces");
    live.sshd.set_login(&format!(
        "#!/bin/sh\nsed -u \"s#'/sbin/ifconfig' '-a'#'/bin/cat' '{}'#\" | /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
        interfaces.display()
    ));
}

/// The rules go to the CARP primary alone, and are done when the other node has them: by real sshd, PHP and rulesets.
#[test]
fn rules_of_a_pair_change_through_sshd() {
    for transport in ["openssh", "russh"] {
        let xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("text");
        let xml = xml.replace("<synchronizetoip><", "<synchronizetoip>10.0.99.2<");
        let other = Options { host_key: "second_ed25519", ..Options::default() };
        let one = LiveBox::of_xml(Options::default(), transport, Version::V272, xml.as_bytes());
        let two = LiveBox::behind(other, transport, Version::V272, Fixture::Editor);
        let (Some(one), Some(two)) = (one, two) else {
            return;
        };
        give_carp_role(&one, "MASTER");
        give_carp_role(&two, "BACKUP");
        let node = |name, live, peer| node_of_pair(name, live, transport, peer);
        let environment = TestEnvironment::new().private_runtime().without("KMSCTL_FIREWALL_HOST");
        environment.write_config(&(node("one", &one, "two") + &node("two", &two, "one")));
        let run = |words: &[&str]| environment.run(words);
        let refused = run(&["--context", "two", "ratelimit", "tighten", "--yes"]).fails_with(6);
        assert!(refused.contains("kmsctl --context one ratelimit tighten"), "{refused}");
        // Nothing here hands the rules on.
        let before = two.firewall.config();
        let tighten = ["--context", "one", "--timeout", "8s", "ratelimit", "tighten", "--yes"];
        let said = run(&tighten).fails_with(7);
        assert!(said.contains("two not, or not provably"), "{transport}: {said}");
        assert_eq!(two.firewall.config(), before, "{transport}");
        // What the primary's sync does, before the next change and while that is waited for.
        run(&["--context", "two", "--alone", "ratelimit", "tighten", "--yes"]).success();
        run(&["--context", "one", "ratelimit", "tighten", "--yes"]).success();
        let revoke = ["expose", "revoke", "--yes", "--keep-states"];
        let mut waiting = environment.command(&[&["--context", "one"], &revoke[..]].concat());
        waiting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let waiting = waiting.spawn().expect("kmsctl runs");
        let closed = ["--context", "one", "--alone", "expose", "show", "--expect", "closed"];
        let begun = std::time::Instant::now();
        while run(&closed).code != Some(0) {
            assert!(begun.elapsed().as_secs() < 60, "{transport}: one is not closed");
        }
        run(&[&["--context", "two", "--alone"], &revoke[..]].concat()).success();
        let done = waiting.wait_with_output().expect("an end");
        assert_eq!(done.status.code(), Some(0), "{transport}: {done:?}");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.contains("two holds and runs the same"), "{transport}: {said}");
    }
}

#[test]
fn an_interrupt_spares_the_second_node() {
    let Some([one, two]) = two_boxes("russh") else {
        return;
    };
    let environment = TestEnvironment::new()
        .private_runtime()
        .without("KMSCTL_FIREWALL_HOST")
        .without("KMSCTL_DEMO_NOW");
    environment.write_config(
        &(node_of_pair("one", &one, "russh", "two") + &node_of_pair("two", &two, "russh", "one")),
    );
    one.firewall.php().write("hold-table", b"");
    let words = ["--context", "one", "virusprot", "add", "198.51.100.200", "--yes"];
    let mut command = environment.command(&words);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn();
    let child = child.expect("kmsctl runs");
    one.wait_until_held();
    let group = format!("-{}", child.id());
    let killed = std::process::Command::new("kill").args(["-INT", "--", &group]).status();
    assert!(killed.expect("kill runs").success());
    let ended = child.wait_with_output().expect("an end");
    std::fs::remove_file(one.firewall.file("hold-table")).expect("it was held");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(said.contains("kmsctl --context two --alone virusprot add"), "{said}");
    assert!(two.blocked().is_empty(), "{said}");
}

#[test]
fn a_wrong_peer_is_refused() {
    let of = |name: &str, peer: &str| format!("[contexts.{name}.firewall]\npeer = \"{peer}\"\n");
    let pair = |one: &str, other: &str| of("a", one) + &of("b", other);
    for (config, said) in [
        (of("a", "a"), "its own context"),
        (of("a", "b"), "no context `b`"),
        ("[firewall]\npeer = \"a\"\n[contexts.a]\n".to_owned(), "its own context"),
        (of("a", "b") + "[contexts.b]\n", "`b` does not name `a`"),
        (pair("b", "c") + "[contexts.c]\n", "`b` does not name `a`"),
        (pair("b", "b"), "`b` does not name `a`"),
    ] {
        let environment = TestEnvironment::new();
        environment.write_config(&config);
        for words in [&["--context", "a"][..], &[]] {
            let said = if words.is_empty() && config.starts_with("[firewall]") {
                "none is chosen"
            } else {
                said
            };
            let refused = environment.run(&[words, &["config", "check"]].concat()).fails_with(2);
            assert!(refused.contains("firewall.peer") && refused.contains(said), "{refused}");
        }
        // Nothing listens there.
        let looks = ["--context", "a", "virusprot", "show"];
        environment.run(&looks).fails_with(2);
    }
    for config in [
        pair("b", "a"),
        "[firewall]\npeer = \"a\"\n[contexts.b]\n".to_owned() + &of("a", "b"),
        "[contexts]\na.firewall.peer = \"b\"\nb.firewall.peer = \"a\"\n".to_owned(),
    ] {
        let environment = TestEnvironment::new();
        environment.write_config(&config);
        for context in ["a", "b"] {
            environment.run(&["--context", context, "config", "check"]).success();
        }
        if !config.starts_with("[firewall]") {
            environment.run(&["config", "check"]).success();
        }
    }
}

#[test]
fn a_file_of_contexts_wants_one_chosen() {
    let environment = TestEnvironment::new().variable("KMSCTL_FIREWALL_HOST", "");
    environment.write_config(TWO);
    // The list of this machine alone, as a failure of this test must not go to the built-in host.
    let outcome = environment.run(&["history", "--local"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("--context: home, office"), "{outcome}");
    environment.run(&["history", "--local", "--context", "home"]).success();
    environment.run(&["config", "check"]).success();
}

#[test]
fn the_list_shows_the_last_reading() {
    let environment = TestEnvironment::new();
    let list = || environment.run(&["--demo", "config", "contexts", "-o", "json"]).json();
    let state = |place: usize| list()["data"]["contexts"][place]["state"].clone();
    assert_eq!(state(1), serde_json::Value::Null);
    let office: &[&str] = &["--demo", "--context", "office"];
    environment.run(&[office, &["status"]].concat()).success();
    assert_eq!((state(0), state(1)), (serde_json::Value::Null, "open".into()));
    environment.run(&[office, &["expose", "revoke", "--yes"]].concat()).success();
    environment.run(&[office, &["expose", "show"]].concat()).success();
    assert_eq!((state(0), state(1)), (serde_json::Value::Null, "closed".into()));
    // Without a context the demo's box is that of home.
    environment.run(&["--demo", "expose", "show", "--expect", "open"]).success();
    assert_eq!((state(0), state(1)), ("open".into(), "closed".into()));
    environment.run(&["--demo", "--context", "home", "expose", "revoke", "--yes"]).success();
    environment.run(&["--demo", "--context", "home", "expose", "show"]).success();
    assert_eq!((state(0), state(1)), ("closed".into(), "closed".into()));
}

#[test]
fn a_change_names_its_context() {
    let environment = TestEnvironment::new();
    let office: &[&str] = &["--demo", "--context", "office"];
    let revoked = environment.run(&[office, &["expose", "revoke", "--yes"]].concat());
    revoked.success();
    let history = environment.run(&[office, &["history", "-o", "json"]].concat()).json();
    let entry = &history["data"]["entries"][0];
    assert_eq!(entry["context"], "office");
    let id = entry["id"].as_str().expect("an id");
    let elsewhere = environment.run(&["--demo", "undo", id, "--yes"]);
    assert_ne!(elsewhere.code, Some(0), "{elsewhere}");
    environment.run(&[office, &["undo", id, "--yes"]].concat()).success();
}

#[test]
fn a_plan_of_one_context_stays_there() {
    let environment = TestEnvironment::new();
    let file = environment.home().join("plan.json");
    let file = file.to_str().expect("a path");
    let plan = ["--demo", "--context", "office", "expose", "revoke", "--plan-out", file];
    environment.run(&plan).success();
    let outcome = environment.run(&["--demo", "--context", "home", "apply", file, "--yes"]);
    assert_eq!(outcome.code, Some(6), "{outcome}");
    environment
        .run(&["--demo", "--context", "home", "expose", "show", "--expect", "open"])
        .success();
}

#[test]
fn one_box_keeps_undo_apart_by_context() {
    let environment = TestEnvironment::new();
    let config = environment.home().join("own.toml");
    std::fs::write(&config, "[contexts.home]\n").expect("a file");
    let config = config.to_str().expect("a path");
    let bare: &[&str] = &["--demo", "--config", config];
    let home = &[bare, &["--context", "home"]].concat();
    environment.run(&[home, &["ratelimit", "tighten", "--yes"][..]].concat()).success();
    let last = environment.run(&[bare, &["undo", "--yes"]].concat());
    assert_eq!(last.code, Some(1), "{last}");
    let history = environment.run(&[bare, &["history", "--local", "-o", "json"]].concat()).json();
    let id = history["data"]["entries"][0]["id"].as_str().expect("an id").to_owned();
    let named = environment.run(&[bare, &["undo", &id, "--yes"]].concat());
    assert_eq!(named.code, Some(6), "{named}");
    assert!(named.stderr.contains("--context home"), "{named}");
    environment.run(&[home, &["undo", "--yes"][..]].concat()).success();
}

#[test]
fn every_context_answers_beside_the_others() {
    let environment = TestEnvironment::new();
    environment.run(&["--demo", "--context", "office", "expose", "revoke", "--yes"]).success();
    let all: &[&str] = &["--demo", "--all-contexts"];
    let shown = environment.run(&[all, &["expose", "show", "-o", "json"]].concat()).json();
    let states = |place: usize| shown["data"]["contexts"][place]["answer"]["data"]["state"].clone();
    assert_eq!((states(0), states(1)), ("open".into(), "closed".into()));
    assert_eq!(shown["data"]["contexts"][1]["context"], "office");
    for command in [
        &["status"][..],
        &["doctor"],
        &["verify"],
        &["virusprot", "show"],
        &["virusprot", "history"],
        &["expose", "show"],
    ] {
        let outcome = environment.run(&[all, command].concat());
        for head in ["== home (demo)", "== office (demo-office)"] {
            assert!(outcome.stdout.contains(head), "{outcome}");
        }
        assert!(matches!(outcome.code, Some(0 | 3 | 8)), "{outcome}");
    }
    let expected = environment.run(&[all, &["status", "--expect", "open"]].concat());
    assert_eq!(expected.code, Some(3), "{expected}");
    assert!(expected.stdout.contains("kmsctl --context office --demo"), "{expected}");
}

#[test]
fn one_failing_context_hides_no_other() {
    let environment = TestEnvironment::new();
    environment.write_config("[contexts.a.firewall]\nhost = \"127.0.0.1\"\nport = 1\n[contexts.b]\n[contexts.b.firewall]\nhost = \"127.0.0.1\"\nport = 1\n[contexts.b.cluster]\nnamespace = \"-x\"\n\
        [contexts.c.service]\naddress = \"here\"\n[contexts.d.firewall]\nhots = \"127.0.0.1\"\n");
    let outcome = environment.run(&["--all-contexts", "expose", "show", "-o", "json"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let shown: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let contexts = shown["data"]["contexts"].as_array().expect("contexts");
    let codes: Vec<_> = contexts.iter().map(|each| each["exit_code"].clone()).collect();
    assert_eq!(codes, [5, 2, 2, 2]);
    for (place, key) in [(1, "cluster.namespace"), (2, "service.address"), (3, "firewall.hots")] {
        assert!(contexts[place]["said"].to_string().contains(key), "{key}: {shown}");
    }
    // Nor does it keep from working in another; it is not chosen itself, and `config check` names it.
    environment.run(&["--context", "a", "history", "--local"]).success();
    for words in [&["--context", "d", "history", "--local"][..], &["config", "check"]] {
        environment.run(words).fails_with(2);
    }
    let listed = environment.run(&["config", "contexts"]).success();
    assert!(listed.contains("contexts.d.firewall.hots"), "{listed}");
}

#[test]
fn changes_take_exactly_one_context() {
    let environment = TestEnvironment::new();
    for command in [
        &["expose", "revoke", "--yes"][..],
        &["ratelimit", "tighten", "--yes"],
        &["virusprot", "flush", "--yes"],
        &["doctor", "--clean", "--yes"],
        &["status", "--watch"],
        &["undo", "--yes"],
    ] {
        let outcome = environment.run(&[&["--demo", "--all-contexts"], command].concat());
        assert_eq!(outcome.code, Some(2), "{outcome}");
    }
    let both = environment.run(&["--demo", "--all-contexts", "--context", "home", "status"]);
    assert_eq!(both.code, Some(2), "{both}");
    let none = environment.run(&["--all-contexts", "status"]);
    assert_eq!(none.code, Some(2), "{none}");
}

#[test]
fn contexts_with_one_firewall_are_named() {
    let environment = TestEnvironment::new();
    let environment = environment.variable("KMSCTL_FIREWALL_HOST", "");
    environment.write_config("[contexts.a.firewall]\nhost = \"127.0.0.1\"\n[contexts.b.firewall]\nhost = \"127.0.0.1\"\n[contexts.c.firewall]\nhost = \"localhost\"\n");
    let outcome = environment.run(&["config", "contexts"]);
    assert!(
        outcome.stderr.contains("The contexts a, b have one firewall: 127.0.0.1."),
        "{outcome}"
    );
}

/// A box is its host key: a name may have one behind each port.
#[test]
fn two_ports_of_one_host_are_two_boxes() {
    let (one, two) = (Served::start("open"), Served::start("open"));
    let environment = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
    let contexts = [("one", &one), ("two", &two)];
    let contexts = contexts.map(|(name, served)| served.context(name, "127.0.0.1", ""));
    environment.write_config(&contexts.concat());
    let list = || environment.run(&["config", "contexts"]);
    assert!(!list().stderr.contains("one firewall"), "not read yet: {}", list());
    for name in ["one", "two"] {
        environment.run(&["--context", name, "expose", "show"]).success();
    }
    assert!(!list().stderr.contains("one firewall"), "{}", list());
    let all = environment.run(&["--all-contexts", "expose", "show"]);
    assert!(!all.stderr.contains("one firewall"), "{all}");
}

#[test]
fn a_shell_is_offered_the_contexts() {
    let environment = TestEnvironment::new();
    let offered = |words: &[&str]| {
        let mut command = environment.command(&["--", "kmsctl"]);
        command
            .args(words)
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        let output = command.output().expect("kmsctl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for words in [&["--demo", "--context", ""][..], &["--demo", "status", "--context", "o"]] {
        assert!(offered(words).contains("office"), "{words:?}");
    }
    environment.write_config(TWO);
    assert!(offered(&["--context", "h"]).contains("home"));
    assert!(
        offered(&["--context", "office", "ratelimit", "set", "--preset", "t"]).contains("tighten")
    );
}
