//! Configurations that people publish (tests/fixtures/cases), on a firewall behind OpenSSH's sshd: whose rules are the pair,
//! what a change touches of them, and what it says of the rest.

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::Outcome;
use crate::support::live::LiveBox;
use crate::support::sshd::Options;

/// Starts a firewall with these sections of a config.xml in the place of the usual ones.
fn start_case(sections: &str) -> Option<LiveBox> {
    start_case_over("russh", sections)
}

fn start_case_over(transport: &str, sections: &str) -> Option<LiveBox> {
    let mut xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("UTF-8");
    for tag in ["interfaces", "nat", "filter", "aliases"] {
        let Some(section) = cut_section(sections, tag) else {
            continue;
        };
        let old = cut_section(&xml, tag).expect("a section").to_owned();
        // Groups stand behind the interfaces, where there are any.
        let groups = cut_section(sections, "ifgroups").filter(|_| tag == "interfaces");
        let section = [section, groups.unwrap_or_default()].concat();
        xml = xml.replace(&old, &section);
    }
    LiveBox::of_xml(Options::default(), transport, Version::V272, xml.as_bytes())
}

fn cut_section<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let from = xml.find(&open)?;
    let to = xml.rfind(&close)? + close.len();
    Some(&xml[from..to])
}

fn run(live: &LiveBox, command: &str) -> Outcome {
    let words: Vec<&str> = command.split(' ').collect();
    live.environment.run(&[words.as_slice(), &["--yes"]].concat())
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
    assert!(matches!(after["state"].as_str(), Some("closed" | "half")), "{after:#}");
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
        let port = if sections.contains("9443") { "9443" } else { "8443" };
        let commands = [
            "expose restore",
            "ratelimit tighten",
            "ratelimit loosen",
            "expose apply",
            "expose revoke --delete",
        ];
        refused(&live, &commands, &["filter rule", port]);
        close_by_the_forward_alone(&live, "Only the port forward is disabled");
        assert!(live.firewall.text("pf/sr").contains(&format!("port = {port}")));
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
    assert!(said.contains("opt1") && said.contains("203.0.113.2:1688"), "{said}");
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
        assert!(live.firewall.text("pf/sr").contains("ridentifier 1763000077"));
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
        assert_eq!(live.loaded_caps().as_deref(), Some("max-src-conn 50, max-src-conn-rate 10/60"));
        assert!(section(&live, "nat").contains("KMS_port"), "the alias stays");
    }
    let wider = case.replace(
        "<type>port</type><address>1688</address>",
        "<type>port</type><address>1688 443</address>",
    );
    let Some(live) = start_case(&wider) else {
        return;
    };
    refused(&live, &["ratelimit tighten", "expose revoke"], &["for more than port 1688"]);
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
        refused(&live, &["expose revoke --delete"], &[port, "Close it: `kmsctl expose revoke"]);
        let said = run(&live, "expose revoke");
        assert_eq!(said.code, Some(0), "{said}");
        assert_eq!(exposure(&live)["paths"], Value::Array(Vec::new()));
        assert!(!live.redirected());
    }
}

/// What comes in by the service's port is its own on whichever inside port; what a rule of the same tracker lets in is not.
#[test]
fn a_closing_ends_the_services_connections_alone() {
    let case = include_str!("../fixtures/cases/40-other-inside-port.xml");
    let web = "<rule><tracker>1763000004</tracker><type>pass</type><interface>wan</interface><ipprotocol>inet</ipprotocol><protocol>tcp</protocol><source><any/></source><destination><address>10.0.20.50</address><port>443</port></destination><descr>web</descr></rule>";
    let other = "7700000000000001|id:1763000004|vtnet0 tcp 10.0.20.50:443 (192.168.1.2:443) <- 198.51.100.8:50001       ESTABLISHED:ESTABLISHED\n";
    let own = |port: &str| {
        format!(
            "6500000000000001|id:1763000004|vtnet0 tcp 10.0.20.202:{port} (192.168.1.2:1688) <- 198.51.100.7:40001       ESTABLISHED:ESTABLISHED\n"
        )
    };
    let shared = case.replace("21688", "1688").replace("<filter>", &format!("<filter>{web}"));
    for (sections, port, command) in [
        (case.to_owned(), "21688", "expose revoke"),
        (case.to_owned(), "21688", "states kill --all"),
        (shared.clone(), "1688", "states kill --all"),
        (shared, "1688", "expose revoke"),
    ] {
        let Some(live) = start_case(&sections) else {
            return;
        };
        live.firewall.php().write("pf/states", (own(port) + other).as_bytes());
        let shown = live.environment.run(&["states", "-o", "json"]).json();
        assert_eq!(shown["data"]["sources"][0]["address"], "198.51.100.7", "{shown:#}");
        let said = run(&live, command);
        assert!(said.success().contains("1 connection ended"));
        assert_eq!(live.firewall.text("pf/states"), other, "{command}: {port}");
    }
}

#[test]
fn a_nested_alias_stays_nested() {
    let case = include_str!("../fixtures/cases/23-nested-alias.xml");
    for address in ["10.0.20.202", "10.0.20.202/32"] {
        let sections = case
            .replace("<address>10.0.20.202</address>", &format!("<address>{address}</address>"));
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
        assert!(text.contains("other-path") || text.contains(name), "{planned}");
        let said = run(&live, "expose revoke");
        let text = said.fails_with(7);
        assert!(text.contains(name) && text.contains("203.0.113.2:1688"), "{text}");
        let shown = exposure(&live);
        assert!(!matches!(shown["state"].as_str(), Some("closed" | "open")), "{shown:#}");
        assert_eq!(shown["paths"][0]["interface"], name);
    }
}

/// What miniupnpd writes into its anchor for a port that a machine inside has asked for.
const UPNP_RDR: &str = "rdr on vtnet0 inet proto tcp from any to any port = 31688 keep state label \"KMS\" rtable 0 -> 10.0.20.202 port 1688\n";
const UPNP_PASS: &str = "pass in quick on vtnet0 inet proto tcp from any to 10.0.20.202 port = 1688 flags S/SA keep state label \"KMS\" rtable 0\n";

/// Starts a firewall on which UPnP runs, with these rules in its anchor.
fn start_with_upnp(rdr: &str, pass: &str) -> Option<LiveBox> {
    let xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("UTF-8");
    let package = "<installedpackages><miniupnpd><config><enable>on</enable></config></miniupnpd></installedpackages></pfsense>";
    let xml = xml.replace("</pfsense>", package);
    let live = LiveBox::of_xml(Options::default(), "russh", Version::V272, xml.as_bytes())?;
    live.firewall.php().write("upnp-sn", rdr.as_bytes());
    live.firewall.php().write("upnp-sr", pass.as_bytes());
    Some(live)
}

#[test]
fn a_port_opened_by_upnp_keeps_a_closing_unproven() {
    let Some(live) = start_with_upnp(UPNP_RDR, UPNP_PASS) else {
        return;
    };
    let opened = "a port opened by UPnP on wan at 192.168.1.2:31688 leads to 10.0.20.202:1688";
    let planned = live.environment.run(&["expose", "revoke", "--dry-run"]);
    assert!(planned.to_string().contains(opened), "{planned}");
    assert!(planned.to_string().contains("in the anchor miniupnpd"), "{planned}");
    let said = run(&live, "expose revoke").fails_with(7);
    assert!(said.contains(opened), "{said}");
    let shown = exposure(&live);
    assert_eq!(shown["state"], "half", "{shown:#}");
    assert_eq!(shown["paths"][0]["kind"], "upnp", "{shown:#}");
    assert_eq!(shown["paths"][0]["managed"], false, "{shown:#}");
}

#[test]
fn an_anchor_without_the_service_leaves_no_note() {
    let other = [UPNP_RDR, UPNP_PASS].map(|rule| rule.replace("10.0.20.202", "10.0.20.77"));
    for [rdr, pass] in [["", ""], [&other[0], &other[1]]] {
        let Some(live) = start_with_upnp(rdr, pass) else {
            return;
        };
        let shown = exposure(&live);
        assert!(!has_code(&shown, "anchor-unread"), "{shown:#}");
        assert_eq!(run(&live, "expose revoke").code, Some(0));
        assert_eq!(exposure(&live)["state"], "closed");
    }
}

#[test]
fn an_unread_anchor_keeps_a_closing_unproven() {
    for spoilt in ["-vvPsn", "-vvPsr"] {
        for trouble in ["busy", "fail"] {
            let Some(live) = start_with_upnp(UPNP_RDR, UPNP_PASS) else {
                return;
            };
            let line = format!("{trouble}|-a miniupnpd {spoilt}\n");
            live.firewall.php().write("pfctl-trouble", line.as_bytes());
            let shown = exposure(&live);
            assert!(has_code(&shown, "anchor-unread"), "{line}: {shown:#}");
            assert_eq!(shown["state"], "open", "{line}");
            let closed = run(&live, "expose revoke").fails_with(7);
            assert!(closed.contains("not known whether the service is closed"), "{line}: {closed}");
            assert!(!live.redirected(), "{line}");
            let expected = live.environment.run(&["verify", "--expect", "closed"]);
            assert_eq!(expected.code, Some(8), "{line}: {expected}");
        }
    }
}

#[test]
fn other_limits_are_shown_and_named_when_lower() {
    let case = include_str!("../fixtures/cases/28-caps-plus-other-limits.xml");
    let Some(live) = start_case(case) else { return };
    for view in [["expose", "show"], ["rule", "show"], ["ratelimit", "show"]] {
        let shown = live.environment.run(&view);
        for limit in ["max 5000", "max-src-nodes 100", "max-src-states 3", "tcp.established 5"] {
            assert!(shown.stdout.contains(limit), "{view:?}: {limit}: {shown}");
        }
    }
    for command in ["ratelimit loosen", "ratelimit set --max-src-conn 20"] {
        let said = run(&live, command);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, Some(0), "{text}");
        assert!(text.contains("max-src-states 3 is the lower limit"), "{command}: {text}");
    }
}

/// Two outside interfaces, the cluster's own one, and a group of the first two.
const INTERFACES: &str = "<interfaces><wan><enable></enable><if>vtnet0</if><ipaddr>192.168.1.2</ipaddr><subnet>24</subnet><gateway>WANGW</gateway></wan>\
    <lan><enable></enable><if>vtnet1</if><ipaddr>10.0.10.1</ipaddr><subnet>24</subnet></lan>\
    <opt1><enable></enable><if>vtnet2</if><ipaddr>203.0.113.2</ipaddr><subnet>29</subnet><gateway>WAN2GW</gateway></opt1>\
    <opt2><enable></enable><if>vtnet3</if><ipaddr>10.0.20.1</ipaddr><subnet>24</subnet></opt2></interfaces>\
    <ifgroups><ifgroupentry><members>wan opt1</members><descr></descr><ifname>WANS</ifname></ifgroupentry></ifgroups>";
const FORWARD: &str = "<rule><source><any/></source><destination><network>wanip</network><port>1688</port></destination><ipprotocol>inet</ipprotocol>\
    <protocol>tcp</protocol><target>k8s_kms_lb</target><local-port>1688</local-port><interface>wan</interface><descr><![CDATA[KMS]]></descr>\
    <associated-rule-id>nat_aa01</associated-rule-id></rule>";
const PASS: &str = "<rule><id></id><tracker>1763000004</tracker><type>pass</type><interface>wan</interface><ipprotocol>inet</ipprotocol><max></max>\
    <max-src-conn>50</max-src-conn><max-src-states></max-src-states><statetype><![CDATA[keep state]]></statetype><os></os>\
    <max-src-conn-rate>10</max-src-conn-rate><max-src-conn-rates>60</max-src-conn-rates><protocol>tcp</protocol><source><any/></source>\
    <destination><address>k8s_kms_lb</address><port>1688</port></destination><descr><![CDATA[NAT KMS]]></descr>\
    <associated-rule-id>nat_aa01</associated-rule-id></rule>";
const ALIAS: &str = "<alias><name>k8s_kms_lb</name><type>host</type><address>10.0.20.202</address><descr></descr><detail></detail></alias>";

/// A record with other words in it.
fn with(record: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(record.to_owned(), |record, (from, to)| {
        assert!(record.contains(from), "{from}: {record}");
        record.replace(from, to)
    })
}

/// A pass rule that is nobody's pair.
fn other_pass(changes: &[(&str, &str)]) -> String {
    let alone = with(
        PASS,
        &[
            ("<associated-rule-id>nat_aa01</associated-rule-id>", ""),
            ("1763000004", "1763000009"),
            ("NAT KMS", "Other"),
        ],
    );
    with(&alone, changes)
}

/// A configuration that people publish, and what is true of it.
struct Shape {
    name: &'static str,
    nat: String,
    filter: String,
    aliases: String,
    state: &'static str,
    /// Ways in that kmsctl does not manage, by where each enters.
    others: &'static [&'static str],
    /// Those that are left once it has closed what it manages.
    left: &'static [&'static str],
    /// Exit codes of tighten, revoke and restore, in this order.
    codes: [i32; 3],
    /// The state in the end.
    then: &'static str,
}

impl Shape {
    fn new(name: &'static str, nat: &[&str], filter: &[&str]) -> Self {
        Self {
            name,
            nat: nat.concat(),
            filter: filter.concat(),
            aliases: ALIAS.to_owned(),
            state: "open",
            others: &[],
            left: &[],
            codes: [0, 0, 0],
            then: "open",
        }
    }

    /// Starts the firewall; the service is an address of this machine, so that `verify` leaves it alone.
    fn start(&self, transport: &str) -> Option<LiveBox> {
        let sections = format!(
            "{INTERFACES}<nat>{}</nat><filter>{}</filter><aliases>{}</aliases>",
            self.nat, self.filter, self.aliases
        );
        let live = start_case_over(transport, &sections.replace("10.0.20.", "127.0.0."))?;
        let environment = live
            .environment
            .variable("KMSCTL_SERVICE_ADDRESS", "127.0.0.202")
            .variable("KMSCTL_SERVICE_HOST", "127.0.0.1")
            .variable("KMSCTL_SERVICE_PUBLIC_ADDRESS", "127.0.0.1")
            .variable("KMSCTL_CLUSTER_KUBECONFIG", "/nonexistent");
        Some(LiveBox { environment, ..live })
    }

    fn check(&self, live: &LiveBox) {
        let name = self.name;
        let shown = exposure(live);
        assert_eq!(shown["state"], self.state, "{name}: {shown:#}");
        assert_eq!(foreign_entries(&shown), self.others, "{name}: {shown:#}");
        let has_others = !self.others.is_empty();
        let doctor = live.environment.run(&["doctor"]);
        let paths = doctor.stdout.lines().find(|line| line.starts_with("paths "));
        let is_wrong = paths.is_some_and(|line| line.contains("WRONG"));
        assert_eq!(is_wrong, has_others, "{name}: {doctor}");
        if has_others {
            let verified = live.environment.run(&["verify"]);
            assert_eq!(verified.code, Some(3), "{name}: {verified}");
            for other in self.others {
                assert!(verified.stdout.contains(other), "{name}: {verified}");
            }
        }
        self.check_caps(live);
        self.check_closing(live);
        let restored = run(live, "expose restore");
        assert_eq!(restored.code, Some(self.codes[2]), "{name}: {restored}");
        let shown = exposure(live);
        assert_eq!(shown["state"], self.then, "{name}: {restored} {shown:#}");
    }

    /// What is said to be done counts, and what does not count is not said to be done.
    fn check_caps(&self, live: &LiveBox) {
        let name = self.name;
        let said = run(live, "ratelimit tighten");
        assert_eq!(said.code, Some(self.codes[0]), "{name}: {said}");
        let shown = exposure(live);
        let counts = shown["caps"]["loaded"]["max_src_conn"] == 10;
        if said.code == Some(0) && !counts {
            let text = format!("{}{}", said.stdout, said.stderr);
            let is_said = ["half -> half", "its schedule"].iter().any(|word| text.contains(word));
            assert!(is_said, "{name}: {said} {shown:#}");
        } else {
            assert_eq!(counts, said.code == Some(0), "{name}: {said} {shown:#}");
        }
    }

    fn check_closing(&self, live: &LiveBox) {
        let name = self.name;
        let said = run(live, "expose revoke");
        assert_eq!(said.code, Some(self.codes[1]), "{name}: {said}");
        let text = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(text.contains("not closed by this"), !self.left.is_empty(), "{name}: {text}");
        let shown = exposure(live);
        if self.codes[1] == 6 {
            assert_eq!(shown["state"], self.state, "{name}: {said}");
            return;
        }
        assert_eq!(foreign_entries(&shown), self.left, "{name}: {shown:#}");
        for left in self.left {
            assert!(text.contains(left), "{name}: {text}");
        }
        let state = if self.left.is_empty() { "closed" } else { "half" };
        assert_eq!(shown["state"], state, "{name}: {said} {shown:#}");
    }
}

/// Returns where the ways enter that kmsctl does not manage.
fn foreign_entries(exposure: &Value) -> Vec<String> {
    let paths = exposure["paths"].as_array().expect("a list");
    let foreign = paths.iter().filter(|path| path["managed"] == false);
    let entries = foreign.map(|path| path["enters"].as_str().expect("a text").to_owned());
    entries.collect()
}

fn shapes() -> Vec<Shape> {
    let onetoone = |inside: &str, outside: &str, interface: &str| {
        format!(
            "<onetoone><external>{outside}</external><source><address>{inside}</address></source><destination><any></any></destination>\
             <interface>{interface}</interface><descr></descr></onetoone>"
        )
    };
    let unlinked = ("<associated-rule-id>nat_aa01</associated-rule-id>", "");
    let floating = |more: &str| {
        let interface = format!("<floating>yes</floating><direction>any</direction>{more}");
        other_pass(&[("<interface>wan</interface>", &interface)])
    };
    let block = |more: &[(&str, &str)]| {
        let block = other_pass(&[("<type>pass</type>", "<type>block</type>")]);
        with(&block, more)
    };
    let second =
        with(FORWARD, &[("wanip", "opt1ip"), ("<interface>wan", "<interface>opt1"), unlinked]);
    let host = |address: &str| {
        with(PASS, &[("<address>k8s_kms_lb</address>", &format!("<address>{address}</address>"))])
    };
    let ours = |from: &str, to: &str| with(PASS, &[(from, to)]);
    let port =
        |text: &str, port: &str| text.replace("<port>1688</port>", &format!("<port>{port}</port>"));
    let ports = |members: &str| {
        format!(
            "{ALIAS}<alias><name>KMS_port</name><type>port</type><address>{members}</address></alias>"
        )
    };
    let alias_of = |address: &str| ALIAS.replace("<address>10.0.20.202</address>", address);
    let wan = |text: &str, interface: &str| {
        with(text, &[("<interface>wan", &format!("<interface>{interface}"))])
    };
    let any = [
        ("<port>1688</port>", ""),
        ("<address>k8s_kms_lb</address>", "<any/>"),
        ("<protocol>tcp</protocol>", ""),
    ];
    let some = ("<source><any/></source>", "<source><address>198.51.100.0/24</address></source>");
    let all_but = ("<source><any/>", "<source><not></not><address>198.51.100.0/24</address>");
    let uncapped = |text: String| {
        with(
            &text,
            &[
                ("<max-src-conn>50", "<max-src-conn>"),
                ("<max-src-conn-rate>10", "<max-src-conn-rate>"),
                ("<max-src-conn-rates>60", "<max-src-conn-rates>"),
            ],
        )
    };
    let blocks = |text: String| text.replace("<type>pass", "<type>block");
    let two = alias_of("<address>10.0.20.202 2620:fe::7</address>");
    let v6: &[&str] = &["[2620:fe::7]:1688"];
    let other_port = with(&port(FORWARD, "21688"), &[unlinked]);
    let exempt = with(FORWARD, &[("<rule><source>", "<rule><nordr></nordr><source>"), unlinked]);
    let local = |text: &str| text.replace("<local-port>1688", "<local-port>KMS_port");
    let on_opt1 = &["203.0.113.2:1688"];
    vec![
        Shape {
            others: on_opt1,
            left: on_opt1,
            codes: [6, 7, 0],
            ..Shape::new(
                "group rule, second WAN",
                &[FORWARD, &second],
                &[PASS, &wan(&other_pass(&[]), "WANS")],
            )
        },
        Shape {
            others: on_opt1,
            left: on_opt1,
            codes: [0, 7, 0],
            ..Shape::new(
                "forward on the second WAN alone, own rule",
                &[FORWARD, &second],
                &[PASS, &wan(&other_pass(&[]), "opt1")],
            )
        },
        Shape {
            others: &["203.0.113.2:1688", "203.0.113.2:1688"],
            left: &["203.0.113.2:1688", "203.0.113.2:1688"],
            codes: [6, 7, 0],
            ..Shape::new(
                "forward on a group",
                &[FORWARD, &wan(&with(&second, &[("<interface>opt1", "<interface>wan")]), "WANS")],
                &[PASS, &floating("<quick>yes</quick>")],
            )
        },
        Shape {
            codes: [6, 0, 0],
            ..Shape::new(
                "floating quick, any interface",
                &[FORWARD],
                &[PASS, &floating("<quick>yes</quick>")],
            )
        },
        Shape::new("floating, not quick", &[FORWARD], &[PASS, &uncapped(floating(""))]),
        Shape {
            codes: [1, 0, 0],
            ..Shape::new(
                "floating alone, not quick",
                &[&with(FORWARD, &[unlinked])],
                &[&floating("")],
            )
        },
        Shape {
            state: "half",
            then: "half",
            ..Shape::new(
                "floating block, quick",
                &[FORWARD],
                &[PASS, &blocks(floating("<quick>yes</quick>"))],
            )
        },
        Shape {
            state: "half",
            then: "half",
            ..Shape::new("floating block, not quick", &[FORWARD], &[PASS, &blocks(floating(""))])
        },
        Shape {
            state: "half",
            then: "half",
            ..Shape::new(
                "floating block on the way out",
                &[FORWARD],
                &[
                    PASS,
                    &blocks(
                        floating("<quick>yes</quick>")
                            .replace("<direction>any", "<interface>opt2</interface><direction>out"),
                    ),
                ],
            )
        },
        Shape::new("/32 destination", &[FORWARD], &[&host("10.0.20.202/32")]),
        Shape::new(
            "address",
            &[&with(FORWARD, &[("k8s_kms_lb", "10.0.20.202")])],
            &[&host("10.0.20.202")],
        ),
        Shape {
            codes: [6, 0, 6],
            then: "closed",
            ..Shape::new("network destination", &[FORWARD], &[&host("10.0.20.0/24")])
        },
        Shape {
            aliases: format!(
                "{}<alias><name>inner</name><type>host</type><address>innermost</address></alias><alias><name>innermost</name><type>host</type><address>10.0.20.202</address></alias>",
                alias_of("<address>inner</address>")
            ),
            ..Shape::new("nested alias, two deep", &[FORWARD], &[PASS])
        },
        Shape {
            aliases: ports("1688:1688"),
            ..Shape::new(
                "port alias of a range of one",
                &[&port(FORWARD, "KMS_port")],
                &[&port(PASS, "KMS_port")],
            )
        },
        Shape {
            aliases: ports("1688 443"),
            codes: [6, 6, 0],
            ..Shape::new(
                "port alias of two",
                &[&local(&port(FORWARD, "KMS_port"))],
                &[&port(PASS, "KMS_port")],
            )
        },
        Shape {
            aliases: ports("1680:1690"),
            codes: [6, 6, 0],
            ..Shape::new(
                "port alias of a range",
                &[&local(&port(FORWARD, "KMS_port"))],
                &[&port(PASS, "KMS_port")],
            )
        },
        Shape {
            codes: [6, 6, 0],
            ..Shape::new(
                "range",
                &[&port(FORWARD, "1600-1700").replace("<local-port>1688", "<local-port>1600")],
                &[&port(PASS, "1600-1700")],
            )
        },
        Shape {
            state: "half",
            others: &["192.168.1.2:21688"],
            then: "half",
            ..Shape::new("another outside port alone", &[&port(FORWARD, "21688")], &[PASS])
        },
        Shape {
            others: &["192.168.1.2:21688"],
            left: &["192.168.1.2:21688"],
            codes: [0, 7, 0],
            ..Shape::new(
                "another outside port with a rule of its own",
                &[FORWARD, &other_port],
                &[PASS, &other_pass(&[])],
            )
        },
        Shape {
            others: &["192.168.1.2:21688"],
            ..Shape::new("another outside port through our rule", &[FORWARD, &other_port], &[PASS])
        },
        Shape {
            others: &["192.168.1.9:1688"],
            ..Shape::new(
                "1:1 NAT through our rule",
                &[FORWARD, &onetoone("10.0.20.202", "192.168.1.9", "wan")],
                &[PASS],
            )
        },
        Shape {
            others: &["203.0.113.3:1688"],
            left: &["203.0.113.3:1688"],
            codes: [0, 7, 0],
            ..Shape::new(
                "1:1 NAT with a rule of its own",
                &[FORWARD, &onetoone("10.0.20.202", "203.0.113.3", "opt1")],
                &[PASS, &wan(&other_pass(&[]), "opt1")],
            )
        },
        Shape {
            others: &["198.51.100.202:1688"],
            left: &["198.51.100.202:1688"],
            codes: [0, 7, 0],
            ..Shape::new(
                "1:1 NAT of the subnet",
                &[FORWARD, &onetoone("10.0.20.0/24", "198.51.100.0", "wan")],
                &[PASS, &other_pass(&[])],
            )
        },
        Shape {
            state: "half",
            others: &["192.168.1.9:1688"],
            then: "half",
            ..Shape::new(
                "1:1 NAT alone",
                &[&onetoone("10.0.20.202", "192.168.1.9", "wan")],
                &[&other_pass(&[])],
            )
        },
        Shape {
            left: &["198.51.100.77:1688"],
            codes: [0, 7, 0],
            aliases: alias_of("<address>10.0.20.202 198.51.100.77</address>"),
            // With looser caps it would be the pair's rule that keeps them.
            ..Shape::new(
                "routed address",
                &[FORWARD],
                &[
                    PASS,
                    &other_pass(&[
                        ("<max-src-conn>50", "<max-src-conn>5"),
                        ("<max-src-conn-rate>10", "<max-src-conn-rate>3"),
                    ]),
                ],
            )
        },
        Shape {
            state: "uncapped",
            then: "uncapped",
            codes: [1, 0, 0],
            ..Shape::new("pass association", &[&with(FORWARD, &[("nat_aa01", "pass")])], &[])
        },
        Shape::new("no association", &[&with(FORWARD, &[unlinked])], &[&with(PASS, &[unlinked])]),
        Shape {
            state: "unknown",
            then: "unknown",
            codes: [0, 0, 7],
            ..Shape::new("os", &[FORWARD], &[&ours("<os></os>", "<os>Linux</os>")])
        },
        Shape {
            state: "half",
            then: "half",
            codes: [0, 0, 7],
            ..Shape::new("tagged", &[FORWARD], &[&ours("<os></os>", "<tagged>friend</tagged>")])
        },
        Shape {
            state: "unknown",
            then: "unknown",
            codes: [0, 0, 7],
            ..Shape::new("gateway", &[FORWARD], &[&ours("<os></os>", "<gateway>WANGW</gateway>")])
        },
        Shape {
            state: "half",
            then: "half",
            codes: [0, 0, 7],
            ..Shape::new(
                "outside of its schedule",
                &[FORWARD],
                &[&ours("<os></os>", "<sched>closed</sched>")],
            )
        },
        Shape::new("in its schedule", &[FORWARD], &[&ours("<os></os>", "<sched>office</sched>")]),
        Shape {
            state: "uncapped",
            then: "uncapped",
            codes: [1, 0, 0],
            ..Shape::new("no state", &[FORWARD], &[&ours("keep state", "none")])
        },
        Shape::new(
            "max-src-states",
            &[FORWARD],
            &[&ours("<max-src-states></max-src-states>", "<max-src-states>3</max-src-states>")],
        ),
        Shape {
            aliases:
                "<alias><name>other</name><type>host</type><address>10.0.20.9</address></alias>"
                    .to_owned(),
            state: "closed",
            then: "closed",
            codes: [1, 0, 1],
            ..Shape::new("no alias", &[FORWARD], &[PASS])
        },
        Shape {
            state: "half",
            then: "half",
            ..Shape::new("blocked above", &[FORWARD], &[&block(&[]), PASS])
        },
        Shape {
            state: "half",
            then: "half",
            ..Shape::new("everything blocked above", &[FORWARD], &[&block(&any), PASS])
        },
        Shape::new("some blocked above", &[FORWARD], &[&block(&[some]), PASS]),
        Shape {
            state: "uncapped",
            then: "uncapped",
            codes: [6, 0, 0],
            ..Shape::new("passed above", &[FORWARD], &[&other_pass(&any), PASS])
        },
        Shape::new("passed below", &[FORWARD], &[PASS, &other_pass(&any)]),
        Shape {
            others: v6,
            left: v6,
            codes: [0, 7, 0],
            aliases: two.clone(),
            ..Shape::new(
                "IPv6 rule",
                &[FORWARD],
                &[PASS, &other_pass(&[("<ipprotocol>inet<", "<ipprotocol>inet6<")])],
            )
        },
        Shape {
            others: v6,
            aliases: two,
            ..Shape::new(
                "IPv4 and IPv6 rule",
                &[FORWARD],
                &[&ours("<ipprotocol>inet<", "<ipprotocol>inet46<")],
            )
        },
        Shape::new("for some only", &[FORWARD], &[&with(PASS, &[some])]),
        Shape::new("for all but some", &[FORWARD], &[&with(PASS, &[all_but])]),
        Shape::new("all but some blocked above", &[FORWARD], &[&block(&[all_but]), PASS]),
        Shape::new(
            "empty rules",
            &["<rule></rule>", FORWARD, "<rule/>"],
            &["<rule></rule>", PASS, "<rule/>"],
        ),
        Shape {
            codes: [6, 0, 0],
            ..Shape::new(
                "its network passed above",
                &[FORWARD],
                &[
                    &other_pass(&[("<address>k8s_kms_lb</address>", "<network>opt2</network>")]),
                    PASS,
                ],
            )
        },
        Shape::new(
            "tcp/udp",
            &[&with(FORWARD, &[("<protocol>tcp<", "<protocol>tcp/udp<")])],
            &[&ours("<protocol>tcp<", "<protocol>tcp/udp<")],
        ),
        Shape {
            state: "half",
            then: "closed",
            codes: [0, 0, 6],
            ..Shape::new("exempt from redirection", &[&exempt], &[PASS])
        },
    ]
}

/// Checks every fourth shape, beginning with this one; some over the system's ssh.
fn check_shapes(first: usize) {
    let mut faults = 0;
    for (place, shape) in shapes().iter().enumerate().skip(first).step_by(4) {
        let transport = if place.is_multiple_of(5) { "openssh" } else { "russh" };
        let Some(live) = shape.start(transport) else {
            return;
        };
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shape.check(&live)));
        faults += usize::from(checked.is_err());
    }
    assert_eq!(faults, 0, "each is above");
}

#[test]
fn published_shapes_are_judged_and_changed() {
    check_shapes(0);
}

#[test]
fn more_published_shapes_are_judged_and_changed() {
    check_shapes(1);
}

#[test]
fn further_published_shapes_are_judged_and_changed() {
    check_shapes(2);
}

#[test]
fn other_published_shapes_are_judged_and_changed() {
    check_shapes(3);
}

/// An interface without an address has no forward in pf: caps that cannot be proven are taken back, and nothing is left unfinished.
#[test]
fn what_pf_never_ran_is_no_unfinished_change() {
    let box_xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("UTF-8");
    let interfaces = cut_section(&box_xml, "interfaces").expect("a section");
    let leased = interfaces.replace("192.168.1.2", "dhcp");
    assert_ne!(leased, interfaces);
    let Some(live) = start_case(&leased) else {
        return;
    };
    let before = (section(&live, "filter"), section(&live, "nat"));
    for command in ["ratelimit tighten", "ratelimit set --max-src-conn 7"] {
        // What config.xml has open, and pf does not run, is not opened in passing.
        run(&live, command).fails_with(6);
        let said = run(&live, &format!("{command} --with-pending"));
        assert_eq!(said.code, Some(7), "{said}");
        assert!(said.stdout.contains("Rolled back"), "{said}");
        assert_eq!((section(&live, "filter"), section(&live, "nat")), before);
        let doctor = live.environment.run(&["doctor", "-o", "json"]).stdout;
        let doctor: Value = serde_json::from_str(&doctor).expect("JSON");
        let findings = doctor["data"]["findings"].as_array().expect("a list");
        let leftovers = findings.iter().find(|found| found["check"] == "leftovers");
        assert_eq!(leftovers.expect("a finding")["result"], "ok", "{doctor:#}");
    }
}

/// Where a configuration has no such list, or an empty one, the rules are built, and nothing of them is left when that is undone.
#[test]
fn lists_that_are_missing_are_built() {
    let box_xml = String::from_utf8(Fixture::Editor.xml(Version::V272)).expect("UTF-8");
    let bare = |tag: &str, kept: &str| {
        let section = cut_section(&box_xml, tag).expect("a section");
        let rest: Vec<&str> = ["outbound", "separator"]
            .into_iter()
            .filter(|inner| kept.contains(inner))
            .filter_map(|inner| cut_section(section, inner))
            .collect();
        (section.to_owned(), rest.concat())
    };
    for (form, kept) in [("", ""), ("<TAG/>", ""), ("<TAG>KEPT</TAG>", "outbound separator")] {
        let mut xml = box_xml.clone();
        for tag in ["nat", "filter", "aliases"] {
            let (section, rest) = bare(tag, kept);
            xml = xml.replace(&section, &form.replace("TAG", tag).replace("KEPT", &rest));
        }
        assert!(!xml.contains("<rule>"), "{form}");
        let Some(live) =
            LiveBox::of_xml(Options::default(), "russh", Version::V272, xml.as_bytes())
        else {
            return;
        };
        let environment = live.environment.variable("KMSCTL_SERVICE_ADDRESS", "10.0.20.202");
        let live = LiveBox { environment, ..live };
        let shown = exposure(&live);
        assert_eq!(shown["state"], "absent", "{form}: {shown:#}");
        let built = run(&live, "expose apply");
        assert_eq!(built.code, Some(0), "{form}: {built}");
        let shown = exposure(&live);
        assert_eq!(shown["state"], "open", "{form}: {shown:#}");
        let tightened = run(&live, "ratelimit tighten");
        assert_eq!(tightened.code, Some(0), "{form}: {tightened}");
        let back = [run(&live, "undo"), run(&live, "undo")];
        assert!(back.iter().all(|said| said.code == Some(0)), "{form}: {back:?}");
        let shown = exposure(&live);
        assert_eq!(shown["state"], "absent", "{form}: {shown:#}");
        let config = live.firewall.config();
        assert!(!config.contains("<rule>") && !config.contains("k8s_kms_lb"), "{form}: {config}");
    }
}

/// Rules that are closed by the forward alone, or have a copy of it.
fn shapes_closed_by_the_forward() -> Vec<Shape> {
    let copy = [("1763000004", "1763000099"), ("NAT KMS", "Copy")];
    let unlinked = ("<associated-rule-id>nat_aa01</associated-rule-id>", "");
    let disabled = |record: &str| record.replace("<rule>", "<rule><disabled></disabled>");
    let linked = with(PASS, &copy);
    let (alone, other) = (with(PASS, &[unlinked]), with(&linked, &[unlinked]));
    let old = disabled(&with(FORWARD, &[("CDATA[KMS]", "CDATA[old]"), unlinked]));
    let friend = |tracker: &str| {
        let from = "<source><address>198.51.100.0/24</address></source>";
        other_pass(&[("1763000009", tracker), ("<source><any/></source>", from)])
    };
    let untracked = |record: &str| with(record, &[("<tracker>1763000004</tracker>", "")]);
    let any = with(PASS, &[("<address>k8s_kms_lb</address>", "<any/>")]);
    let web = with(&friend("1763000004"), &[("<port>1688</port>", "<port>443</port>")]);
    let inside = with(FORWARD, &[("<local-port>1688", "<local-port>21688")]);
    let inside_pass = with(PASS, &[("<port>1688", "<port>21688")]);
    vec![
        Shape::new("two linked rules", &[FORWARD], &[PASS, &linked]),
        Shape::new("a disabled linked rule before", &[FORWARD], &[&disabled(&linked), PASS]),
        Shape::new("a disabled linked rule behind", &[FORWARD], &[PASS, &disabled(&linked)]),
        Shape::new("two rules", &[&with(FORWARD, &[unlinked])], &[&alone, &other]),
        Shape::new("a disabled copy behind", &[FORWARD, &old], &[PASS]),
        Shape::new("a disabled copy before", &[&old, FORWARD], &[PASS]),
        Shape::new("one tracker", &[FORWARD], &[&friend("1763000004"), PASS]),
        Shape::new(
            "no trackers",
            &[FORWARD],
            &[&untracked(&friend("1763000004")), &untracked(PASS)],
        ),
        Shape::new("any host, no tracker", &[FORWARD], &[&untracked(&any)]),
        Shape::new("any host, one tracker", &[FORWARD], &[&web, &any]),
        Shape::new("other inside port", &[&inside], &[&inside_pass]),
    ]
}

#[test]
fn a_second_revoke_disarms_the_timer() {
    let mut faults = Vec::new();
    for shape in shapes_closed_by_the_forward() {
        let Some(live) = shape.start("russh") else {
            return;
        };
        let name = shape.name;
        let promised = || {
            let planned = live.environment.run(&["expose", "revoke", "--dry-run", "-o", "json"]);
            planned.json()["data"]["after"]["exposure"].clone()
        };
        let armed = || {
            let listed = live.environment.run(&["history", "-o", "json"]).json();
            listed["data"]["armed"].as_array().map_or(0, Vec::len)
        };
        let state = promised();
        let closed = run(&live, "expose revoke --for 30m");
        let shown = exposure(&live);
        if closed.code != Some(0) || shown["state"] != state || armed() != 1 {
            faults.push(format!("{name}: {state} {} {closed}", shown["state"]));
            continue;
        }
        assert_eq!(shown["paths"], Value::Array(Vec::new()), "{name}: {shown:#}");
        let again = run(&live, "expose revoke");
        if again.code != Some(0) || armed() != 0 {
            faults.push(format!("{name}: {} armed, {again}", armed()));
        }
        let idle = run(&live, "expose revoke");
        if idle.code != Some(0) || !idle.to_string().contains("disabled already") {
            faults.push(format!("{name}: {idle}"));
        }
        assert_eq!(exposure(&live)["state"], state, "{name}");
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn undo_of_any_closing_works_at_once() {
    let mut faults = Vec::new();
    for shape in shapes_closed_by_the_forward() {
        let Some(live) = shape.start("russh") else {
            return;
        };
        let rules = || (section(&live, "nat"), section(&live, "filter"));
        let before = rules();
        let closed = run(&live, "expose revoke");
        let undone = run(&live, "undo");
        if closed.code != Some(0) || undone.code != Some(0) || rules() != before {
            faults.push(format!("{}: {closed} {undone}", shape.name));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

/// Saves another configuration, as the GUI does before "Apply Changes": pf goes on with what it runs.
fn save_unapplied(live: &LiveBox, change: impl Fn(&str) -> String) {
    let config = live.firewall.config();
    let changed = change(&config);
    assert_ne!(changed, config);
    live.firewall.php().write("conf/config.xml", changed.as_bytes());
}

/// What config.xml has no more and pf still runs is closed by loading the rules, also where another target was saved in its place.
#[test]
fn a_revoke_loads_what_was_saved() {
    let led_away = |config: String| {
        let to = config.replace("<target>k8s_kms_lb", "<target>127.0.0.50");
        to.replace("<address>k8s_kms_lb", "<address>127.0.0.50")
    };
    let deleted = |config: String| {
        ["nat", "filter"].iter().fold(config, |config, tag| {
            let section = cut_section(&config, tag).expect("a section");
            config.replace(section, &format!("<{tag}></{tag}>"))
        })
    };
    for name in ["deleted", "led away"] {
        let Some(live) = Shape::new(name, &[FORWARD], &[PASS]).start("russh") else {
            return;
        };
        assert!(live.redirected());
        save_unapplied(&live, |config| match name {
            "deleted" => deleted(config.to_owned()),
            _ => led_away(config.to_owned()),
        });
        let said = run(&live, "expose revoke");
        assert_eq!(said.code, Some(0), "{name}: {said}");
        let redirections = live.firewall.text("pf/sn");
        assert!(!redirections.contains("k8s_kms_lb"), "{name}: {redirections}");
        assert_eq!(exposure(&live)["paths"], Value::Array(Vec::new()), "{name}");
        let text = said.to_string();
        assert_eq!(text.contains("127.0.0.50"), name == "led away", "{name}: {text}");
    }
}

/// Where config.xml says already what is wanted, nothing would take the loading of it back.
#[test]
fn a_timer_needs_something_to_take_back() {
    let off = |record: &str| record.replace("<rule>", "<rule><disabled></disabled>");
    let Some(live) = Shape::new("off", &[&off(FORWARD)], &[&off(PASS)]).start("russh") else {
        return;
    };
    save_unapplied(&live, |config| config.replace("<disabled></disabled>", ""));
    for command in ["expose restore --for 30m", "ratelimit default --for 30m"] {
        let said = run(&live, command).fails_with(6);
        assert!(said.contains("--for"), "{said}");
        assert!(!live.redirected(), "{command}");
    }
    let opened = run(&live, "expose restore");
    assert_eq!(opened.code, Some(0), "{opened}");
    assert!(!opened.to_string().contains("kmsctl undo"), "{opened}");
    let listed = live.environment.run(&["history", "-o", "json"]).json();
    let id = listed["data"]["entries"][0]["id"].as_str().expect("an id").to_owned();
    let undone = run(&live, &format!("undo {id}"));
    assert_eq!(undone.code, Some(1), "{undone}");
    assert!(undone.stderr.contains("expose revoke"), "{undone}");
    // A closing goes on, and says that it lasts.
    save_unapplied(&live, |config| config.replace("<rule>", "<rule><disabled></disabled>"));
    let closed = run(&live, "expose revoke --for 30m");
    assert_eq!(closed.code, Some(0), "{closed}");
    assert!(closed.to_string().contains("No rollback was armed"), "{closed}");
    assert!(!live.redirected());
}

/// A temporary closing that is made permanent ends the connections that it had left.
#[test]
fn a_permanent_revoke_ends_what_lived_on() {
    let Some(live) = Shape::new("pair", &[FORWARD], &[PASS]).start("russh") else {
        return;
    };
    let state = "6500000000000001|id:1763000004|vtnet0 tcp 127.0.0.202:1688 (192.168.1.2:1688) <- 198.51.100.7:40001       ESTABLISHED:ESTABLISHED\n";
    let closed = run(&live, "expose revoke --for 30m --keep-states");
    assert_eq!(closed.code, Some(0), "{closed}");
    live.firewall.php().write("pf/states", state.as_bytes());
    let kept = run(&live, "expose revoke --keep-states");
    assert_eq!(kept.code, Some(0), "{kept}");
    assert!(kept.to_string().contains("lives on"), "{kept}");
    assert_eq!(live.firewall.text("pf/states"), state);
    assert_eq!(run(&live, "expose restore").code, Some(0));
    assert_eq!(run(&live, "expose revoke --for 30m --keep-states").code, Some(0));
    live.firewall.php().write("pf/states", state.as_bytes());
    let ended = run(&live, "expose revoke");
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.to_string().contains("1 connection ended"), "{ended}");
    assert_eq!(live.firewall.text("pf/states"), "");
}

/// What an administrator writes into a description is no rule.
#[test]
fn a_description_spoils_no_proof() {
    for words in [
        "ridentifier 1763000004",
        "on vtnet0 proto tcp from any to any port = 1688 ridentifier 1763000004 x",
        "max-src-conn 3 ridentifier 1763000004",
    ] {
        let other = other_pass(&[("Other", words), ("<port>1688</port>", "<port>443</port>")]);
        let Some(live) = Shape::new("description", &[FORWARD], &[PASS, &other]).start("russh")
        else {
            return;
        };
        for command in ["expose revoke", "expose restore", "ratelimit tighten", "undo"] {
            let said = run(&live, command);
            assert_eq!(said.code, Some(0), "{words}: {said}");
        }
    }
}

/// An undo is stopped by another's work on what it touches alone, and judged by what it puts back.
#[test]
fn an_undo_looks_at_what_it_puts_back() {
    let Some(live) = Shape::new("pair", &[FORWARD], &[PASS]).start("russh") else {
        return;
    };
    for (command, note) in [("ratelimit tighten", "one"), ("expose revoke", "two")] {
        assert_eq!(run(&live, command).code, Some(0), "{command}");
        save_unapplied(&live, |config| {
            config.replace("</alias>", &format!("<{note}>moved</{note}></alias>"))
        });
        let undone = run(&live, "undo");
        assert_eq!(undone.code, Some(0), "{command}: {undone}");
    }
    // A second way in keeps it half; what was disabled comes back all the same.
    let second = [("<network>wanip", "<network>opt1ip"), ("<interface>wan", "<interface>opt1")];
    let second = with(FORWARD, &[&second[..], &[("nat_aa01", "nat_bb02")]].concat());
    let pass = with(
        PASS,
        &[
            ("<interface>wan", "<interface>opt1"),
            ("nat_aa01", "nat_bb02"),
            ("1763000004", "1763000009"),
        ],
    );
    let off = PASS.replace("<rule>", "<rule><disabled></disabled>");
    let Some(live) = Shape::new("half", &[FORWARD, &second], &[&off, &pass]).start("russh") else {
        return;
    };
    let closed = run(&live, "expose revoke");
    assert_eq!(closed.code, Some(7), "{closed}");
    let undone = run(&live, "undo");
    assert_eq!(undone.code, Some(0), "{undone}");
}

/// No history, and none that can be written, stops a closing, by any kind of change.
#[test]
fn no_history_stops_a_closing() {
    let state = "6500000000000001|id:1763000004|vtnet0 tcp 127.0.0.202:1688 (192.168.1.2:1688) <- 198.51.100.7:40001       ESTABLISHED:ESTABLISHED\n";
    for first in ["expose revoke --for 30m", "expose revoke --keep-states"] {
        let Some(live) = Shape::new("pair", &[FORWARD], &[PASS]).start("russh") else {
            return;
        };
        assert_eq!(run(&live, first).code, Some(0), "{first}");
        live.firewall.php().write("pf/states", state.as_bytes());
        let history = live.environment.home().join(".local/state/kmsctl/journal.jsonl");
        std::fs::remove_file(&history).expect("a history");
        std::fs::create_dir(&history).expect("a directory in its place");
        let closed = run(&live, "expose revoke");
        assert_eq!(closed.code, Some(0), "{first}: {closed}");
        assert_eq!(live.firewall.text("pf/states"), "", "{first}");
    }
}
