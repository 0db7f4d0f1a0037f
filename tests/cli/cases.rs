//! Configurations that people publish (tests/fixtures/cases), on a firewall behind OpenSSH's sshd: whose rules are the pair,
//! what a change touches of them, and what it says of the rest.

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::Outcome;
use crate::support::live::LiveBox;
use crate::support::sshd::Options;

/// Starts a firewall with these sections of a config.xml in the place of the usual ones.
fn start_case(sections: &str) -> Option<LiveBox> {
    let mut xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("UTF-8");
    for tag in ["interfaces", "nat", "filter", "aliases"] {
        let Some(section) = cut_section(sections, tag) else {
            continue;
        };
        let old = cut_section(&xml, tag).expect("a section").to_owned();
        xml = xml.replace(&old, section);
    }
    LiveBox::of_xml(Options::default(), "russh", Version::V272, xml.as_bytes())
}

fn cut_section<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let from = xml.find(&open)?;
    let to = xml.rfind(&close)? + close.len();
    Some(&xml[from..to])
}

fn run(live: &LiveBox, command: &str) -> Outcome {
    let words: Vec<&str> = command.split(' ').collect();
    live.environment
        .run(&[words.as_slice(), &["--yes"]].concat())
}

fn exposure(live: &LiveBox) -> Value {
    let shown = live.environment.run(&["expose", "show", "-o", "json"]);
    shown.json()["data"].clone()
}

fn has_code(exposure: &Value, code: &str) -> bool {
    let why = exposure["why"].as_array().expect("a list");
    why.iter().any(|finding| finding["code"] == code)
}

fn section(live: &LiveBox, tag: &str) -> String {
    let config = live.firewall.config();
    cut_section(&config, tag).expect("a section").to_owned()
}

/// Runs commands that must be refused with 6, naming this, before anything is written.
#[track_caller]
fn refused(live: &LiveBox, commands: &[&str], words: &[&str]) {
    let before = live.firewall.config();
    for command in commands {
        let said = run(live, command).fails_with(6);
        for word in words {
            assert!(said.contains(word), "{command}: {word}: {said}");
        }
        assert_eq!(live.firewall.config(), before, "{command}");
    }
}

/// Closes it by the forward alone, opens it again, and looks at everything else.
#[track_caller]
fn close_by_the_forward_alone(live: &LiveBox, why: &str) {
    let (filter, aliases) = (section(live, "filter"), section(live, "aliases"));
    let said = run(live, "expose revoke");
    assert_eq!(said.code, Some(0), "{said}");
    let text = format!("{}{}", said.stdout, said.stderr);
    assert!(text.contains(why), "{text}");
    assert!(!live.redirected());
    assert_eq!(section(live, "filter"), filter, "no filter rule is touched");
    assert_eq!(section(live, "aliases"), aliases);
    let after = exposure(live);
    assert!(
        matches!(after["state"].as_str(), Some("closed" | "half")),
        "{after:#}"
    );
    assert_eq!(after["paths"], Value::Array(Vec::new()), "{after:#}");
}

#[test]
fn a_shared_filter_rule_is_never_changed() {
    let shapes = [
        include_str!("../fixtures/cases/05-shared-association.xml").to_owned(),
        include_str!("../fixtures/cases/05-shared-association-b.xml").to_owned(),
        include_str!("../fixtures/cases/05-shared-association.xml")
            .replace("8443", "9443")
            .replace("10.0.20.50", "k8s_kms_lb"),
    ];
    for sections in shapes {
        let Some(live) = start_case(&sections) else {
            return;
        };
        let shown = exposure(&live);
        assert!(has_code(&shown, "foreign-association"), "{shown:#}");
        assert!(!has_code(&shown, "configured-not-loaded"), "{shown:#}");
        let port = if sections.contains("9443") {
            "9443"
        } else {
            "8443"
        };
        let commands = [
            "expose restore",
            "ratelimit tighten",
            "ratelimit loosen",
            "expose apply",
            "expose revoke --delete",
        ];
        refused(&live, &commands, &["filter rule", port]);
        close_by_the_forward_alone(&live, "Only the port forward is disabled");
        assert!(
            live.firewall
                .text("pf/sr")
                .contains(&format!("port = {port}"))
        );
        refused(&live, &["expose restore"], &["filter rule", port]);
    }
}

#[test]
fn a_second_way_in_beside_a_shared_rule_is_listed() {
    let forward = "<rule><source><any/></source><destination><network>opt1ip</network><port>1688</port></destination><ipprotocol>inet</ipprotocol>\
                   <protocol>tcp</protocol><target>10.0.20.202</target><local-port>1688</local-port><interface>opt1</interface>\
                   <associated-rule-id>pass</associated-rule-id></rule></nat>";
    let networks = include_str!("../fixtures/cases/09-multi-wan.xml");
    let networks = cut_section(networks, "interfaces").expect("a section");
    let shared = include_str!("../fixtures/cases/05-shared-association.xml");
    let Some(live) = start_case(&format!("{networks}{}", shared.replace("</nat>", forward))) else {
        return;
    };
    let filter = section(&live, "filter");
    let said = run(&live, "expose revoke").fails_with(7);
    assert!(
        said.contains("opt1") && said.contains("203.0.113.2:1688"),
        "{said}"
    );
    assert_eq!(section(&live, "filter"), filter);
}

#[test]
fn a_floating_rule_is_not_the_filter_rule() {
    for sections in [
        include_str!("../fixtures/cases/11-floating-capped-rule.xml").to_owned(),
        include_str!("../fixtures/cases/11-floating-capped-rule-list.xml").to_owned(),
        include_str!("../fixtures/cases/11-floating-capped-rule.xml").replace(
            "<interface>wan</interface><ipprotocol>inet</ipprotocol><tag>",
            "<interface></interface><ipprotocol>inet</ipprotocol><tag>",
        ),
    ] {
        let Some(live) = start_case(&sections) else {
            return;
        };
        let shown = exposure(&live);
        assert_eq!(
            (&shown["state"], &shown["filter"]["configured"]),
            (&"open".into(), &false.into()),
            "{shown:#}"
        );
        assert_eq!(shown["caps"]["loaded"]["max_src_conn"], 3);
        let tightened = run(&live, "ratelimit tighten");
        assert!(matches!(tightened.code, Some(1 | 6)), "{tightened}");
        refused(&live, &["expose apply"], &["Rate-limited KMS"]);
        close_by_the_forward_alone(&live, "port forward");
        assert!(
            live.firewall
                .text("pf/sr")
                .contains("ridentifier 1763000077")
        );
        let restored = run(&live, "expose restore");
        assert_eq!(restored.code, Some(0), "{restored}");
        assert!(live.redirected());
        assert_eq!(exposure(&live)["state"], "open");
    }
}

#[test]
fn an_alias_of_one_port_is_the_port() {
    let case = include_str!("../fixtures/cases/08-port-alias.xml");
    let nested = case
        .replace(
            "<aliases>",
            "<aliases><alias><name>inner</name><type>port</type><address>1688</address></alias>",
        )
        .replace(
            "<type>port</type><address>1688</address><descr>",
            "<type>port</type><address>inner</address><descr>",
        );
    for sections in [case.to_owned(), nested] {
        let Some(live) = start_case(&sections) else {
            return;
        };
        assert_eq!(exposure(&live)["state"], "open");
        for (command, redirected) in [
            ("ratelimit tighten", true),
            ("expose revoke", false),
            ("expose restore", true),
            ("expose apply", true),
        ] {
            let said = run(&live, command);
            assert_eq!(said.code, Some(0), "{command}: {said}");
            assert_eq!(live.redirected(), redirected, "{command}");
        }
        assert_eq!(
            live.loaded_caps().as_deref(),
            Some("max-src-conn 50, max-src-conn-rate 10/60")
        );
        assert!(
            section(&live, "nat").contains("KMS_port"),
            "the alias stays"
        );
    }
    let wider = case.replace(
        "<type>port</type><address>1688</address>",
        "<type>port</type><address>1688 443</address>",
    );
    let Some(live) = start_case(&wider) else {
        return;
    };
    refused(
        &live,
        &["ratelimit tighten", "expose revoke"],
        &["for more than port 1688"],
    );
}

#[test]
fn another_inside_port_is_open_and_left() {
    for port in ["21688", "443", "1689"] {
        let sections =
            include_str!("../fixtures/cases/40-other-inside-port.xml").replace("21688", port);
        let Some(live) = start_case(&sections) else {
            return;
        };
        let shown = exposure(&live);
        assert_eq!(shown["state"], "open", "{shown:#}");
        assert!(has_code(&shown, "other-inside-port"));
        refused(&live, &["ratelimit tighten", "expose apply"], &[port]);
        let said = run(&live, "expose revoke");
        assert_eq!(said.code, Some(0), "{said}");
        assert_eq!(exposure(&live)["paths"], Value::Array(Vec::new()));
        assert!(!live.redirected());
    }
}

#[test]
fn a_nested_alias_stays_nested() {
    let case = include_str!("../fixtures/cases/23-nested-alias.xml");
    for address in ["10.0.20.202", "10.0.20.202/32"] {
        let sections = case.replace(
            "<address>10.0.20.202</address>",
            &format!("<address>{address}</address>"),
        );
        let Some(live) = start_case(&sections) else {
            return;
        };
        let aliases = section(&live, "aliases");
        let shown = exposure(&live);
        assert_eq!(
            (&shown["state"], &shown["alias"]["as_expected"]),
            (&"open".into(), &true.into()),
            "{shown:#}"
        );
        assert_eq!(run(&live, "expose apply").code, Some(0));
        assert_eq!(run(&live, "ratelimit tighten").code, Some(0));
        assert_eq!(run(&live, "expose revoke").code, Some(0));
        assert_eq!(run(&live, "expose restore").code, Some(0));
        assert_eq!(section(&live, "aliases"), aliases, "{address}");
    }
}

#[test]
fn a_second_wan_keeps_a_closing_unproven() {
    let case = include_str!("../fixtures/cases/09-multi-wan.xml");
    let wan_name = case.replace("opt1", "opt7");
    for (sections, name) in [(case.to_owned(), "opt1"), (wan_name, "opt7")] {
        let Some(live) = start_case(&sections) else {
            return;
        };
        let planned = live.environment.run(&["expose", "revoke", "--dry-run"]);
        let text = format!("{}{}", planned.stdout, planned.stderr);
        assert!(
            text.contains("other-path") || text.contains(name),
            "{planned}"
        );
        let said = run(&live, "expose revoke");
        let text = said.fails_with(7);
        assert!(
            text.contains(name) && text.contains("203.0.113.2:1688"),
            "{text}"
        );
        let shown = exposure(&live);
        assert!(
            !matches!(shown["state"].as_str(), Some("closed" | "open")),
            "{shown:#}"
        );
        assert_eq!(shown["paths"][0]["interface"], name);
    }
}

#[test]
fn other_limits_are_shown_and_named_when_lower() {
    let case = include_str!("../fixtures/cases/28-caps-plus-other-limits.xml");
    let Some(live) = start_case(case) else { return };
    for view in [["expose", "show"], ["rule", "show"], ["ratelimit", "show"]] {
        let shown = live.environment.run(&view);
        for limit in [
            "max 5000",
            "max-src-nodes 100",
            "max-src-states 3",
            "tcp.established 5",
        ] {
            assert!(shown.stdout.contains(limit), "{view:?}: {limit}: {shown}");
        }
    }
    for command in ["ratelimit loosen", "ratelimit set --max-src-conn 20"] {
        let said = run(&live, command);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, Some(0), "{text}");
        assert!(
            text.contains("max-src-states 3 is the lower limit"),
            "{command}: {text}"
        );
    }
}
