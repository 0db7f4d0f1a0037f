//! What every `--help` and man page shows below its options: two commands to start from. A test parses each of them.

/// The path of a command, and its examples without the word `kmsctl`.
type Examples = (&'static str, &'static [&'static str]);

/// Every command, alphabetical.
pub const EXAMPLES: &[Examples] = &[
    ("", &["--demo status", "config init"]),
    ("apply", &["apply revoke.plan --dry-run", "apply revoke.plan"]),
    ("completion", &["completion bash", "completion fish"]),
    ("config", &["config init", "config show"]),
    ("config check", &["config check", "--config new.toml config check"]),
    ("config contexts", &["config contexts", "config contexts -o json"]),
    ("config init", &["config init", "--config office.toml config init"]),
    ("config path", &["config path", "config path -o json"]),
    ("config show", &["config show", "config show -o json"]),
    ("demo", &["demo scenarios", "demo serve"]),
    ("demo reset", &["demo reset", "demo reset --quiet"]),
    ("demo scenarios", &["demo scenarios", "--demo=half status"]),
    ("demo serve", &["demo serve", "--demo=half demo serve --listen 127.0.0.1:2200"]),
    ("doctor", &["doctor", "doctor --problems"]),
    ("exporter", &["exporter run", "exporter run --every 1m"]),
    ("exporter run", &["exporter run", "--config /etc/kmsctl/config.toml exporter run --every 1m"]),
    ("expose", &["expose show", "expose revoke --dry-run"]),
    ("expose apply", &["expose apply --dry-run", "expose apply --reason 'new load balancer'"]),
    (
        "expose restore",
        &["expose restore --dry-run", "expose restore --for 2h --reason 'maintenance window'"],
    ),
    ("expose revoke", &["expose revoke --dry-run", "expose revoke --reason 'abuse, ticket 4711'"]),
    ("expose show", &["expose show", "expose show -o json"]),
    ("history", &["history", "history --limit 5 -o json"]),
    ("keep", &["keep", "keep c2346eeacb38 --dry-run"]),
    ("notifier", &["notifier status", "notifier logs"]),
    ("notifier logs", &["notifier logs", "notifier logs --follow"]),
    ("notifier manifest", &["notifier manifest", "notifier manifest --only patch"]),
    ("notifier metrics", &["notifier metrics", "notifier metrics -o json"]),
    ("notifier replay", &["notifier replay vlmcsd.log", "notifier replay vlmcsd.log -o ndjson"]),
    ("notifier run", &["notifier run", "--config /etc/kmsctl/config.toml notifier run"]),
    ("notifier status", &["notifier status", "notifier status -o json"]),
    ("ratelimit", &["ratelimit show", "ratelimit tighten --for 2h"]),
    ("ratelimit default", &["ratelimit default --dry-run", "ratelimit default"]),
    ("ratelimit loosen", &["ratelimit loosen --dry-run", "ratelimit loosen --for 2h"]),
    (
        "ratelimit preview",
        &[
            "ratelimit preview tighten",
            "ratelimit preview --max-src-conn 20 --rate 5/60 --log vlmcsd.log",
        ],
    ),
    (
        "ratelimit set",
        &["ratelimit set --max-src-conn 20 --rate 5/60", "ratelimit set --preset tighten --for 2h"],
    ),
    ("ratelimit show", &["ratelimit show", "ratelimit show -o json"]),
    (
        "ratelimit tighten",
        &["ratelimit tighten --dry-run", "ratelimit tighten --for 2h --reason 'scanners'"],
    ),
    ("rule", &["rule show", "rule show --watch"]),
    ("rule show", &["rule show", "rule show --watch=5s"]),
    ("runbook", &["runbook", "runbook expose"]),
    ("states", &["states", "states --source 203.0.113.65"]),
    ("states kill", &["states kill 203.0.113.65 --dry-run", "states kill --all"]),
    ("status", &["status", "status --watch"]),
    ("undo", &["undo --dry-run", "undo"]),
    ("util", &["util completions bash", "util example-config"]),
    ("util completions", &["util completions bash", "util completions zsh"]),
    ("util example-config", &["util example-config", "util example-config --quiet"]),
    ("util man", &["util man /usr/local/share/man/man1", "util man --quiet ."]),
    ("verify", &["verify", "verify --external --expect open"]),
    ("version", &["version", "--version"]),
    ("virusprot", &["virusprot show", "virusprot delete 203.0.113.65"]),
    ("virusprot add", &["virusprot add 203.0.113.99 --dry-run", "virusprot add 198.51.100.64/28"]),
    (
        "virusprot delete",
        &["virusprot delete 203.0.113.65 --dry-run", "virusprot delete 203.0.113.0/24"],
    ),
    ("virusprot expire", &["virusprot expire --dry-run", "virusprot expire --older-than 2h"]),
    ("virusprot flush", &["virusprot flush --dry-run", "virusprot flush"]),
    ("virusprot history", &["virusprot history", "virusprot history --since 7d -o csv"]),
    ("virusprot show", &["virusprot show", "virusprot show --older-than 2h"]),
    (
        "virusprot test",
        &["virusprot test 203.0.113.65", "virusprot test 203.0.113.0/24 2001:db8::1"],
    ),
];

/// Returns the examples of a command, by its path without `kmsctl`.
pub fn examples_of(path: &str) -> &'static [&'static str] {
    let found = EXAMPLES.iter().find(|(known, _)| *known == path);
    found.map_or(&[], |(_, examples)| examples)
}
