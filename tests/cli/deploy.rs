//! What lies in `deploy/`: alert rules, dashboard and Containerfile, each held to what it stands on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::skip;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool() -> Option<PathBuf> {
    skip::program("rules and dashboard", &["/usr/bin/promtool", "/usr/local/bin/promtool"])
}

fn run(program: &Path, arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new(program).args(arguments).current_dir(root()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

/// Every name of a metric in a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with("kms_") || word.starts_with("kmsctl_"))
        .map(str::to_owned)
        .collect()
}

/// Every family of the metrics page.
fn families() -> BTreeSet<String> {
    use kmsctl::notifier::http::Pages as _;
    let metrics = kmsctl::notifier::metrics::Metrics::default();
    metrics.count_activation("Windows", "Licensed");
    metrics
        .print_page(false)
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
        .collect()
}

/// Families of the exporter's page, where everything was read.
fn exporter_families() -> BTreeSet<String> {
    let source = read("src/exporter/metrics.rs");
    let names = source.split('"').filter(|word| {
        let plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        !word.is_empty() && word.chars().all(plain)
    });
    names.map(|name| format!("kmsctl_{name}")).collect()
}

#[test]
fn the_rules_are_rules_and_each_of_them_was_seen_to_fire() {
    for (alerts, tests, least, families) in [
        ("alerts", "alerts_test", 10, families()),
        ("exporter-alerts", "exporter_alerts_test", 7, exporter_families()),
    ] {
        let alerts = format!("deploy/{alerts}.yaml");
        let tests = format!("tests/deploy/{tests}.yaml");
        check_alert_rules(&alerts, &tests, least, &families);
    }
}

fn check_alert_rules(alerts: &str, tests: &str, least: usize, families: &BTreeSet<String>) {
    let (text, tested) = (read(alerts), read(tests));
    let alert_names: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alert_names.len() >= least, "{alert_names:?}");
    for name in &alert_names {
        let seen = tested.contains(&format!("alertname: {name}\n"))
            || tested.contains(&format!("alertname=\"{name}\",alertstate=\"firing\""));
        assert!(seen, "no test sees {name} firing");
    }
    assert_eq!(text.matches("severity: ").count(), alert_names.len());
    assert_eq!(text.matches("summary: ").count(), alert_names.len());
    let expressions: String = text.lines().filter(|line| line.contains("expr:")).collect();
    let unknown: Vec<String> = names(&expressions).difference(families).cloned().collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}");
    let Some(promtool) = promtool() else { return };
    for arguments in [["check", "rules", alerts], ["test", "rules", tests]] {
        let (good, said) = run(&promtool, &arguments);
        assert!(good && said.contains("SUCCESS"), "{said}");
    }
}

/// Every expression of a dashboard: of its panels and its annotations.
fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dashboard];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                waiting.extend(fields.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    found
}

#[test]
fn the_dashboard_shows_metrics_that_exist_in_expressions_that_parse() {
    let text = read("deploy/dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let expressions = expressions(&dashboard);
    assert!(expressions.len() >= 20, "{}", expressions.len());
    let families = families();
    let shown = names(&expressions.join("\n"));
    let (exporters, shown): (BTreeSet<String>, _) =
        shown.into_iter().partition(|name| name.starts_with("kmsctl_"));
    let is_counter = |name: &String| name.trim_end_matches("_total").to_owned();
    let exporters: BTreeSet<String> = exporters.iter().map(is_counter).collect();
    let unknown: Vec<_> = exporters.difference(&exporter_families()).cloned().collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}");
    assert!(exporters.len() >= 18, "{exporters:?}");
    let unknown: Vec<&String> = shown.difference(&families).collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}");
    let unseen: Vec<&String> = families.difference(&shown).collect();
    assert!(unseen.is_empty(), "on no panel: {unseen:?}");
    // Panels are told apart, stand nowhere over each other and inside the 24 columns of Grafana's grid.
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().expect("a number"));
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
            assert!(cells.insert(cell), "{} covers another", panel["title"]);
        }
        // Two scrapes at least, where one comes each two minutes.
        assert_eq!(panel["interval"], "4m", "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
    let Some(promtool) = promtool() else { return };
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            let expression =
                expression.replace("$__rate_interval", "5m").replace("$namespace", "kms");
            assert!(!expression.contains('$'), "{expression}");
            serde_json::json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rules.json");
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, rules.to_string()).expect("rules");
    let (good, told) = run(&promtool, &["check", "rules", &file.display().to_string()]);
    assert!(good && told.contains(&format!("{} rules found", expressions.len())), "{told}");
}

/// Counts that began within the hour are all of that hour: `increase` alone never sees a series' first value.
#[test]
fn a_new_product_counts_from_its_first_increment() {
    let Some(promtool) = promtool() else { return };
    let dashboard: Value = serde_json::from_str(&read("deploy/dashboard.json")).expect("JSON");
    let by = |label: &str| {
        let wanted = format!("sum by ({label}) (");
        let found = expressions(&dashboard);
        let found = found.into_iter().find(|expression| {
            expression.starts_with(&wanted) && expression.contains("kms_activations_total")
        });
        found.expect(label).replace("$namespace", "kms")
    };
    let directory = tempfile::tempdir().expect("a directory");
    for (seconds, interval) in [(15, "15s"), (60, "1m"), (120, "2m")] {
        let each_hour = 3_600 / seconds;
        // One new after two hours, one that was there all along and counts four an hour, one that restarts.
        let series = |product: &str, values: String| {
            serde_json::json!({
                "series": format!("kms_activations_total{{namespace=\"kms\",product=\"{product}\",status=\"Licensed\"}}"),
                "values": values,
            })
        };
        let expected = |label: &str, values: &[(&str, u32)]| -> Vec<Value> {
            let one = |(name, value): &(&str, u32)| serde_json::json!({"labels": format!("{{{label}=\"{name}\"}}"), "value": value});
            values.iter().map(one).collect()
        };
        let test = |label: &str, values: &[(&str, u32)], time: &str| serde_json::json!({"expr": format!("round({})", by(label)), "eval_time": time, "exp_samples": expected(label, values)});
        let file = serde_json::json!({"rule_files": [], "evaluation_interval": "1m", "tests": [{
            "interval": interval,
            "input_series": [
                series("new", format!("_x{} 1x{}", each_hour * 2, each_hour * 2)),
                series("still", format!("7x{}", each_hour * 4)),
                series("lost", format!("9x{} 0x{}", each_hour * 2, each_hour * 2)),
            ],
            "promql_expr_test": [
                test("product", &[("lost", 0), ("new", 1), ("still", 0)], "2h30m"),
                test("product", &[("lost", 0), ("new", 0), ("still", 0)], "3h30m"),
                test("status", &[("Licensed", 1)], "2h30m"),
            ],
        }]});
        let path = directory.path().join("test.json");
        std::fs::write(&path, file.to_string()).expect("a test");
        let (good, told) = run(&promtool, &["test", "rules", &path.display().to_string()]);
        assert!(good, "{interval}: {told}");
    }
}

/// Instructions of a Containerfile: word and rest, continued lines joined, comments left out.
fn instructions(text: &str) -> Vec<(String, String)> {
    text.replace("\\\n", " ")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (word, rest) = line.split_once(' ').expect("an instruction and its rest");
            (word.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

#[test]
fn the_containerfile_is_small_pinned_and_not_root() {
    let instructions = instructions(&read("deploy/Containerfile"));
    let all = |wanted: &str| -> Vec<&str> {
        instructions
            .iter()
            .filter(|(word, _)| word == wanted)
            .map(|(_, rest)| rest.as_str())
            .collect()
    };
    // The compiler's image has the version that Cargo.toml wants, and is one of musl.
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let [base] = all("ARG")[..] else { panic!("one argument") };
    assert!(
        base.starts_with(&format!("BUILD=docker.io/library/rust:{wanted}."))
            && base.contains("-alpine"),
        "{base}"
    );
    assert_eq!(all("FROM"), ["${BUILD} AS build", "scratch"]);
    // The last stage holds two files and no command: there is no shell.
    let last = instructions.iter().rposition(|(word, _)| word == "FROM").expect("a stage");
    let last: Vec<&(String, String)> = instructions[last + 1..].iter().collect();
    let words: Vec<&str> = last.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["LABEL", "COPY", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"]);
    let account = kmsctl::domain::cluster::manifest::ACCOUNT;
    assert_eq!(last[3].1, format!("{account}:{account}"));
    let json = |text: &str| -> Vec<String> { serde_json::from_str(text).expect("the exec form") };
    assert_eq!(json(&last[5].1), ["/kmsctl"]);
    // What the manifest's container runs, too.
    let patch = read("deploy/patch.yaml");
    for word in json(&last[5].1).iter().chain(&json(&last[6].1)) {
        assert!(
            patch.contains(&format!("- {word}\n")) || patch.contains(&format!("- \"{word}\"\n")),
            "{word}"
        );
    }
    assert!(patch.contains(&format!("containerPort: {}\n", last[4].1)));
}

#[test]
fn the_containerfile_copies_what_the_build_needs() {
    let instructions = instructions(&read("deploy/Containerfile"));
    let copied: Vec<String> = instructions
        .iter()
        .filter(|(word, rest)| word == "COPY" && !rest.starts_with("--from"))
        .flat_map(|(_, rest)| {
            let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            words.pop();
            words
        })
        .collect();
    let let_in = read(".dockerignore");
    for path in &copied {
        assert!(root().join(path).exists(), "{path}");
        assert!(let_in.contains(&format!("!{path}\n")), "{path} is not let in by .dockerignore");
    }
    // Whatever the sources take in at compile time is copied.
    let mut waiting = vec![root().join("src")];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).expect("sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for part in text.split("include_str!(\"").skip(1) {
                let file = part.split('"').next().expect("a name");
                let file =
                    path.parent().expect("a folder").join(file).canonicalize().expect("a file");
                let inside = file.strip_prefix(root()).expect("in here");
                // Fixtures are taken in by unit tests, which the build leaves out.
                let fixture = inside.starts_with("tests");
                assert!(
                    fixture || copied.iter().any(|path| inside.starts_with(path)),
                    "{}",
                    inside.display()
                );
            }
        }
    }
}

#[test]
fn every_alert_names_its_runbook() {
    let alerts = read("deploy/alerts.yaml");
    let count = alerts.matches("- alert:").count();
    let urls: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    assert_eq!(urls.len(), count);
    for url in urls {
        let (_, file) = url.split_once("/blob/main/").expect(url);
        let file = file.split('#').next().expect("a path");
        assert!(root().join(file).is_file(), "{url}");
    }
}
