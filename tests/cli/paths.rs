//! The demo's scenarios with another path into the service, or another shape of the pair: what every command says of each,
//! what a closing moves and what it leaves, and that `undo` gives the configuration back.

use serde_json::Value;

use crate::support::environment::{Outcome, TestEnvironment};

/// A scenario, and what is true of it.
struct Shape {
    name: &'static str,
    state: &'static str,
    /// Where the paths enter that kmsctl does not manage.
    others: &'static [&'static str],
    /// Those that a closing leaves.
    left: &'static [&'static str],
    /// Whether the filter rule moves with the port forward.
    moves_both: bool,
    /// The code of `ratelimit tighten`.
    tightened: i32,
}

const NONE: &[&str] = &[];
const WAN2: &[&str] = &["203.0.113.2:1688"];
const GROUP: &[&str] = &["192.168.1.2:21688", "203.0.113.2:21688"];
const PORT: &[&str] = &["192.168.1.2:21688"];
const OUTSIDE: &[&str] = &["192.168.1.9:1688"];
const UPNP: &[&str] = &["192.168.1.2:31688"];
const IPV6: &[&str] = &["[2001:db8:20::ca]:1688"];

const SHAPES: [Shape; 12] = [
    shape("floating", "open", NONE, NONE, false, 1),
    shape("group", "open", WAN2, WAN2, true, 6),
    shape("group-forward", "open", GROUP, GROUP, true, 6),
    shape("nested-alias", "open", NONE, NONE, true, 0),
    // Their filter rules cap the other path as well.
    shape("one-to-one", "open", OUTSIDE, OUTSIDE, false, 0),
    shape("other-port", "open", PORT, NONE, true, 0),
    shape("port-alias", "open", NONE, NONE, true, 0),
    shape("routed", "open", IPV6, IPV6, true, 0),
    shape("second-wan", "open", WAN2, WAN2, true, 0),
    shape("shadowed", "half", NONE, NONE, true, 0),
    shape("shared-association", "open", NONE, NONE, false, 6),
    shape("upnp", "open", UPNP, UPNP, false, 0),
];

const fn shape(
    name: &'static str,
    state: &'static str,
    others: &'static [&'static str],
    left: &'static [&'static str],
    moves_both: bool,
    tightened: i32,
) -> Shape {
    Shape { name, state, others, left, moves_both, tightened }
}

impl Shape {
    fn run(&self, environment: &TestEnvironment, command: &str) -> Outcome {
        let demo = format!("--demo={}", self.name);
        let words: Vec<&str> = command.split(' ').collect();
        environment.run(&[&[demo.as_str()], words.as_slice()].concat())
    }

    fn exposure(&self, environment: &TestEnvironment) -> Value {
        let shown = self.run(environment, "expose show -o json");
        shown.json()["data"].clone()
    }

    /// Says what every command says of it before anything is changed.
    fn check_reads(&self, environment: &TestEnvironment, shown: &Value) {
        let name = self.name;
        assert_eq!(shown["state"], self.state, "{name}: {shown:#}");
        assert_eq!(foreign_entries(shown), self.others, "{name}: {shown:#}");
        let is_fine = self.state == "open" && self.others.is_empty() && self.moves_both;
        let (verified, status, doctor) = (
            self.run(environment, "verify"),
            self.run(environment, "status"),
            self.run(environment, "doctor"),
        );
        let paths = doctor.stdout.lines().find(|line| line.starts_with("paths "));
        let is_wrong = paths.is_some_and(|line| line.contains("WRONG"));
        assert_eq!(is_wrong, !self.others.is_empty(), "{name}: {doctor}");
        if is_fine {
            assert_eq!(verified.code, Some(0), "{name}: {verified}");
        } else if self.state != "open" || !self.others.is_empty() {
            assert_eq!(verified.code, Some(3), "{name}: {verified}");
        }
        assert_eq!(status.code, Some(0), "{name}: {status}");
        for entry in self.others {
            for said in [&verified, &status, &doctor] {
                assert!(said.stdout.contains(entry), "{name}: {entry}: {said}");
            }
            let beside = "open: beside the managed pair, ";
            for said in [&verified, &status] {
                assert!(said.stdout.contains(beside), "{name}: {said}");
            }
        }
    }

    /// Plans the closing, closes, and looks what has moved and what is left.
    fn check_closing(&self, environment: &TestEnvironment, before: &Value) {
        let name = self.name;
        let planned = self.run(environment, "expose revoke --dry-run");
        assert_eq!(planned.code, Some(0), "{name}: {planned}");
        let closed = self.run(environment, "expose revoke --yes");
        let code = if self.left.is_empty() { 0 } else { 7 };
        assert_eq!(closed.code, Some(code), "{name}: {closed}");
        for said in [&planned, &closed] {
            let text = said.to_string();
            assert!(self.left.iter().all(|entry| text.contains(entry)), "{name}: {text}");
            let alone = text.contains("Only the port forward is disabled")
                || !text.contains("port forward and the filter rule");
            assert_eq!(alone, !self.moves_both, "{name}: {text}");
        }
        let shown = self.exposure(environment);
        assert_eq!(foreign_entries(&shown), self.left, "{name}: {shown:#}");
        let state = if self.left.is_empty() { "closed" } else { "half" };
        assert_eq!(shown["state"], state, "{name}: {shown:#}");
        assert_eq!(shown["nat"]["enabled"], false, "{name}: {shown:#}");
        if self.moves_both {
            assert_eq!(shown["filter"]["enabled"], false, "{name}: {shown:#}");
        } else {
            assert_eq!(
                shown["filter"]["enabled"], before["filter"]["enabled"],
                "{name}: {shown:#}"
            );
        }
    }
}

/// Returns where the paths enter that kmsctl does not manage.
fn foreign_entries(exposure: &Value) -> Vec<&str> {
    let paths = exposure["paths"].as_array().expect("a list").iter();
    let foreign = paths.filter(|path| path["managed"] == false);
    foreign.map(|path| path["enters"].as_str().expect("a text")).collect()
}

/// What the box holds of rules, aliases and interfaces, without times.
fn records(environment: &TestEnvironment) -> Value {
    let path = environment.home().join(".local/state/kmsctl/demo/state.json");
    let saved = std::fs::read(&path).expect("the state of the demo");
    let saved: Value = serde_json::from_slice(&saved).expect("JSON");
    let mut tree = saved["world"]["configuration"]["tree"].clone();
    assert!(tree["nat"]["rule"].is_array(), "{tree:#}");
    for record in ["/nat/rule", "/filter/rule"] {
        let list = tree.pointer_mut(record).and_then(Value::as_array_mut);
        for record in list.into_iter().flatten() {
            if let Some(record) = record.as_object_mut() {
                record.remove("updated");
            }
        }
    }
    serde_json::json!([tree["nat"], tree["filter"], tree["aliases"], tree["interfaces"]])
}

#[test]
fn each_path_is_named_closed_or_left() {
    for shape in SHAPES {
        let environment = TestEnvironment::new();
        let before = shape.exposure(&environment);
        let held = records(&environment);
        shape.check_reads(&environment, &before);
        shape.check_closing(&environment, &before);
        assert_ne!(records(&environment), held, "{}", shape.name);
        let undone = shape.run(&environment, "undo --yes");
        assert_eq!(records(&environment), held, "{}: {undone}", shape.name);
        assert_eq!(undone.code, Some(0), "{}: {undone}", shape.name);
        let after = shape.exposure(&environment);
        for field in ["state", "paths", "caps"] {
            assert_eq!(after[field], before[field], "{}: {field}", shape.name);
        }
        let tightened = shape.run(&environment, "ratelimit tighten --dry-run");
        assert_eq!(tightened.code, Some(shape.tightened), "{}: {tightened}", shape.name);
    }
}

/// What pf runs already is not called another thing than config.xml, where a rule above blocks it, and nothing is promised.
#[test]
fn a_shadowed_pair_is_no_drift() {
    for command in ["expose apply", "expose restore"] {
        for flag in ["--dry-run", "--yes"] {
            let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "shadowed");
            let words: Vec<&str> = command.split(' ').chain([flag]).collect();
            let refused = environment.demo(&words).fails_with(6);
            assert!(refused.contains("shadowed by the filter rule"), "{words:?}: {refused}");
            assert!(!refused.contains("is not in it"), "{words:?}: {refused}");
        }
    }
}

/// Where only closing is possible, no command recommends to open it.
#[test]
fn a_shared_rule_is_never_recommended_opened() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "shared-association");
    let own = "Give the port forward a filter rule of its own";
    for close in [false, true] {
        if close {
            environment.demo(&["expose", "revoke", "--yes"]).success();
        }
        for command in [&["verify"][..], &["status"], &["doctor"]] {
            let said = environment.demo(command).to_string();
            assert!(!said.contains("expose restore"), "{command:?}: {said}");
            assert!(said.contains(own) || command == ["status"], "{command:?}: {said}");
        }
    }
}

/// Beside the closed pair another machine can have the service's port; once the pair is open, it goes first.
#[test]
fn what_upnp_opens_for_another_machine_is_said() {
    let environment = TestEnvironment::new().variable("KMSCTL_DEMO_SCENARIO", "upnp-elsewhere");
    let shown = || environment.demo(&["expose", "show", "-o", "json"]).json()["data"].clone();
    let is_said = |shown: &Value| {
        let why = shown["why"].as_array().expect("a list");
        let found = why.iter().find(|finding| finding["code"] == "upnp-elsewhere");
        found.is_some_and(|finding| finding["message"].to_string().contains("10.0.10.77"))
    };
    let closed = shown();
    assert_eq!((&closed["state"], &closed["paths"]), (&"closed".into(), &serde_json::json!([])));
    assert!(is_said(&closed), "{closed:#}");
    for command in
        [&["verify"][..], &["expose", "show", "--expect", "closed"], &["expose", "revoke", "--yes"]]
    {
        environment.demo(command).success();
    }
    environment.demo(&["expose", "restore", "--yes"]).success();
    let open = shown();
    assert_eq!(open["state"], "open", "{open:#}");
    assert!(!is_said(&open), "{open:#}");
}
