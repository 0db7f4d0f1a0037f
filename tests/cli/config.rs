//! `kmsctl config …` and the layers behind it.

use crate::support::environment::TestEnvironment;

#[test]
fn every_value_tells_where_it_came_from() {
    let environment = TestEnvironment::new().variable("KMSCTL_FIREWALL_PORT", "2022");
    environment.write_config(
        "[firewall]\nuser = \"viktor\"\n[presets.night]\nmax_src_conn = 5\nrate = \"2/60\"\n",
    );
    let shown = environment.run(&["config", "show", "-o", "json", "--timeout", "5s"]).json();
    let row = |key: &str| {
        let rows = shown["data"]["values"].as_array().expect("values");
        rows.iter()
            .find(|row| row["key"] == key)
            .unwrap_or_else(|| panic!("{key} is not shown"))
            .clone()
    };
    let text = |key: &str, field: &str| row(key)[field].as_str().expect("a text").to_owned();
    assert_eq!(
        (text("firewall.user", "value"), text("firewall.user", "origin")),
        (
            "viktor".into(),
            format!("file {}", environment.config_file().display())
                .replace(&environment.home().display().to_string(), "$HOME")
        )
    );
    assert_eq!(
        (text("firewall.port", "value"), text("firewall.port", "origin")),
        ("2022".into(), "environment KMSCTL_FIREWALL_PORT".into())
    );
    assert_eq!(
        (text("timeout", "value"), text("timeout", "origin")),
        ("5s".into(), "flag --timeout".into())
    );
    assert_eq!(
        (text("service.alias", "value"), text("service.alias", "origin")),
        ("k8s_kms_lb".into(), "built-in".into())
    );
    assert_eq!(text("presets.night.rate", "value"), "2/60");
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let environment = TestEnvironment::new();
    environment.write_config("timeout = \"7s\"\n");
    let origin = |environment: &TestEnvironment, arguments: &[&str]| {
        let shown =
            environment.run(&[&["config", "show", "-o", "csv"], arguments].concat()).success();
        shown.lines().find(|line| line.starts_with("timeout,")).expect("timeout").to_owned()
    };
    assert!(origin(&environment, &[]).starts_with("timeout,7s,file "));
    let environment = environment.variable("KMSCTL_TIMEOUT", "8s");
    assert_eq!(origin(&environment, &[]), "timeout,8s,environment KMSCTL_TIMEOUT,KMSCTL_TIMEOUT");
    assert_eq!(
        origin(&environment, &["--timeout", "9s"]),
        "timeout,9s,flag --timeout,KMSCTL_TIMEOUT"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let environment = TestEnvironment::new();
    environment.write_config("[firewall]\nhots = \"10.0.20.1\"\n");
    insta::assert_snapshot!(environment.run(&["config", "check"]), @"
    ------- stderr -------
    error: Unknown key `firewall.hots` in $HOME/.config/kmsctl/config.toml, line 2.
    hint: Did you mean `firewall.host`?
    [exit status: 2]
    ");
}

#[test]
fn wrong_values_name_the_layer_the_key_and_what_was_wanted() {
    let cases = [
        ("[service]\nport = 0\n", "is not a whole number from 1 to 65535"),
        ("[service]\nport = \"1688\"\n", "wants a number"),
        ("[service]\naddress = \"kms.example\"\n", "names are not looked up"),
        ("[service]\ntable = \"virus prot\"\n", "is not a table name"),
        ("[presets.default]\nrate = \"10\"\n", "write N/SECONDS"),
        ("[firewall]\nfingerprint = \"MD5:aa\"\n", "is not a fingerprint"),
        ("[firewall.paths]\npfctl = \"/sbin/pfctl; reboot\"\n", "is not an absolute path"),
        ("[firewall]\nhost = \"-oProxyCommand=id\"\n", "neither an address nor a host name"),
        ("[service]\nhost = \"-bad host!\"\n", "letters, digits, dots, hyphens"),
        ("[service]\nhost = \"kms.example.net/x\"\n", "letters, digits, dots, hyphens"),
        ("[service]\nhost = \"kms.example.net:1688\"\n", "and port = 1688"),
        ("[vantages.v]\nhost = \"-oProxyCommand=x\"\n", "letters, digits, dots, hyphens"),
        ("[vantages.v]\nhost = \"a b\"\n", "letters, digits, dots, hyphens"),
        ("[vantages.v]\nhost = \"h\"\nuser = \"-oProxyCommand=x\"\n", "not an account name"),
        ("timeout = \"soon\"\n", "is not a duration"),
        ("[networks]\npods = \"10.0.0.0/8\"\n", "wants a list"),
        ("not toml at all", "not valid TOML"),
    ];
    for (text, wanted) in cases {
        let environment = TestEnvironment::new().without("KMSCTL_FIREWALL_HOST");
        environment.write_config(text);
        let told = environment.run(&["config", "check"]).fails_with(2);
        assert!(told.contains(wanted), "{text}: {told}");
        let json = environment.run(&["-o", "json", "config", "check"]).fails_with(2);
        let error: serde_json::Value = serde_json::from_str(&json).expect("errors are JSON too");
        assert_eq!(error["error"]["kind"], "usage", "{json}");
    }
}

#[test]
fn a_misspelt_environment_name_is_pointed_out() {
    let environment = TestEnvironment::new().variable("KMSCTL_FIREWAL_HOST", "10.0.0.1");
    let outcome = environment.run(&["config", "check"]);
    assert!(outcome.stderr.contains("Did you mean KMSCTL_FIREWALL_HOST?"), "{outcome}");
}

#[test]
fn a_named_file_must_exist() {
    let environment = TestEnvironment::new();
    let told = environment.run(&["--config", "/nonexistent.toml", "config", "check"]).fails_with(2);
    assert!(told.contains("/nonexistent.toml cannot be read"), "{told}");
}

#[test]
fn without_a_terminal_init_asks_nothing_and_writes_nothing() {
    let environment = TestEnvironment::new();
    let told = environment.run(&["config", "init"]).fails_with(4);
    assert!(told.contains("no terminal"), "{told}");
    assert!(!environment.config_file().exists());
}

/// What is no file, or no text, is not mended by `config init`, which would write to that same place.
#[test]
fn an_unreadable_file_names_what_helps() {
    let environment = TestEnvironment::new();
    let place = |name: &str| environment.home().join(name);
    std::fs::create_dir(place("folder")).expect("a directory");
    std::os::unix::fs::symlink("nowhere", place("link")).expect("a link");
    std::fs::write(place("bytes"), [0xff, 0xfe]).expect("a file");
    for (name, helps) in [
        ("folder", "Put a file in its place"),
        ("link", "A link leads to what is not there"),
        ("bytes", "UTF-8"),
        ("missing", "config init"),
    ] {
        let file = place(name).display().to_string();
        let said = environment.run(&["--config", &file, "config", "check"]).fails_with(2);
        assert!(said.contains(helps), "{name}: {said}");
        assert_eq!(said.contains("config init"), name == "missing", "{name}: {said}");
    }
}

#[test]
fn a_home_that_is_no_text_is_shown_too() {
    use std::os::unix::ffi::OsStringExt as _;
    let environment = TestEnvironment::new();
    let odd = std::ffi::OsString::from_vec(b"/nowhere/h\xff".to_vec());
    let run = |words: &[&str]| {
        environment.command(words).env("HOME", &odd).env_remove("XDG_CONFIG_HOME").output().unwrap()
    };
    for words in [&["config", "path"][..], &["config", "path", "-o", "json"], &["config", "check"]]
    {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}
