//! Rules: real samples, every documented form, and properties.

use proptest::prelude::*;

use super::*;

const FILTER: &[u8] = include_bytes!("../../../../tests/fixtures/pfsense-2.7.2/vvPsr.txt");
const TRANSLATION: &[u8] = include_bytes!("../../../../tests/fixtures/pfsense-2.7.2/vvPsn.txt");
const MIXED: &[u8] = include_bytes!("../../../../tests/fixtures/pfctl/vvsr.14.txt");

fn all(text: &[u8]) -> Vec<Rule> {
    let parsed = parse_pf_rules(text);
    assert_eq!((parsed.unread.as_slice(), parsed.more_unread), (&[][..], 0));
    parsed.value
}

fn one(text: &str) -> Rule {
    let mut rules = all(text.as_bytes());
    assert_eq!(rules.len(), 1, "{text}");
    rules.remove(0)
}

fn tracked(rules: &[Rule], tracker: u32) -> &Rule {
    rules.iter().find(|rule| rule.tracker() == Some(tracker)).unwrap()
}

#[test]
fn the_exposures_filter_rule_tells_its_caps() {
    let rules = all(FILTER);
    let rule = tracked(&rules, 1_763_000_004);
    assert_eq!(rule.action, Action::Pass);
    assert_eq!((rule.direction, rule.quick), (Some(Direction::In), true));
    assert_eq!(rule.interface, Some(Interface { negated: false, name: "vtnet0".to_owned() }));
    let gateway = rule.reply_to.as_ref().unwrap();
    assert_eq!(
        (gateway.interface.as_str(), gateway.address),
        ("vtnet0", "192.168.1.1".parse().ok())
    );
    assert_eq!((rule.family, rule.protocol.as_deref()), (Some(Family::Inet), Some("tcp")));
    assert_eq!((rule.from.host.as_str(), rule.to.host.as_str()), ("any", "<k8s_kms_lb>"));
    assert_eq!(rule.to.port.as_deref(), Some("= 1688"));
    assert_eq!(rule.keep, Some(Keep::Keep));
    let options = &rule.state_options;
    assert_eq!(options.max_src_conn, Some(50));
    assert_eq!(options.max_src_conn_rate, Some(Rate { connections: 10, seconds: 60 }));
    let overload = options.overload.as_ref().unwrap();
    assert_eq!((overload.table.as_str(), overload.flush), ("virusprot", Flush::Global));
    assert_eq!(options.other, ["source-track rule", "src.track 60"]);
    assert_eq!(rule.labels, ["USER_RULE: NAT KMS public — kms.viktorbarzin.me", "id:1763000004"]);
}

#[test]
fn the_exposures_translation_rule_tells_its_target() {
    let rules = all(TRANSLATION);
    let is_ours = |rule: &&Rule| rule.to.port.as_deref() == Some("= 1688");
    let rule = rules.iter().find(is_ours).unwrap();
    assert_eq!(rule.action, Action::Rdr { pass: false });
    assert_eq!((rule.to.host.as_str(), rule.to.negated), ("192.168.1.2", false));
    assert_eq!(rule.target.as_deref(), Some("<k8s_kms_lb> round-robin"));
    assert_eq!(rule.target_hosts(), ["<k8s_kms_lb>"]);
    assert_eq!(rule.target_port(), None);
}

#[test]
fn pools_and_ports_of_translations_are_read() {
    let rule = one(
        "rdr pass on igb0 inet proto tcp from any to 203.0.113.10 port = 8443 -> { 192.168.1.20, <x:2> } port 443 round-robin sticky-address\n",
    );
    assert_eq!(rule.action, Action::Rdr { pass: true });
    assert_eq!(rule.target_hosts(), ["192.168.1.20", "<x>"]);
    assert_eq!(rule.target_port(), Some("443"));
    let rule = one(
        "@4 rdr on igb0 inet proto udp from any to 203.0.113.10 port 5060:5070 -> 192.168.1.30 port 5060:5070",
    );
    assert_eq!((rule.number, rule.to.port.as_deref()), (Some(4), Some("5060:5070")));
    assert_eq!(rule.target_port(), Some("5060:5070"));
    let rule = one("no nat proto carp all");
    assert_eq!(rule.action, Action::No("nat".to_owned()));
    let rule = one("binat on igb0 inet from 192.168.1.50 to any -> 203.0.113.50");
    assert_eq!((rule.action.clone(), rule.target_hosts()), (Action::Binat, vec!["203.0.113.50"]));
    let rule = one(
        "rdr on igb0 inet proto tcp from any to any port = 80 label \"a -> b\" tag T -> 10.0.0.1",
    );
    assert_eq!(
        (rule.labels.as_slice(), rule.target.as_deref()),
        (&["a -> b".to_owned()][..], Some("10.0.0.1"))
    );
    let rule = one(
        "pass in on igb0 inet proto tcp from any to any port = 80 flags S/SA keep state rdr-to 10.0.0.1 port 8080",
    );
    assert_eq!(rule.target_port(), Some("8080"));
}

#[test]
fn scrub_and_filter_rules_are_numbered_separately() {
    let rules = all(MIXED);
    let zeros = rules.iter().filter(|rule| rule.number == Some(0));
    let actions: Vec<&Action> = zeros.map(|rule| &rule.action).collect();
    assert_eq!(actions.len(), 2);
    assert_eq!(actions[0], &Action::Scrub);
    assert!(matches!(actions[1], Action::Anchor { .. }));
    let rule = rules.iter().find(|rule| rule.number == Some(25)).unwrap();
    assert_eq!(rule.counters.as_ref().unwrap().states, 105);
    assert_eq!(rule.counters.as_ref().unwrap().state_creations, 2_858_281);
}

#[test]
fn labels_may_hold_anything() {
    let odd = "say \"hi\" [there] (max-src-conn 5) ridentifier 7 } \u{1b}[31mä";
    let text = format!(
        "pass in on igb0 all flags S/SA keep state label \"{odd}\" label \"id:9\" ridentifier 42 tag T"
    );
    let rule = one(&text);
    assert_eq!(rule.labels, [odd, "id:9"]);
    assert_eq!((rule.ridentifier, rule.state_options.max_src_conn), (Some(42), None));
    let rule = one("pass all keep state label \"descr=x\" label \"id=0100000101\"");
    assert_eq!(rule.tracker(), Some(100_000_101));
}

#[test]
fn every_word_of_every_version_is_known() {
    let text = "\
pass in log (all, user, to pflog1) quick on ! igb1 inet6 proto tcp from 2001:db8:2::/64 to ! <negate_networks:1> port != ssh flags S/SA modulate state probability 25%
pass in quick on igb1 proto tcp from (igb1:network:1) to any port 1000 >< 2000 user = 0 group 0:10 flags any synproxy state
pass in quick on igb1 inet proto tcp from 10.0.0.1 - 10.0.0.9 os \"Windows XP\" to any port > 1024 no state tagged T1 rtable 2
pass in quick on igb1 inet proto icmp all icmp-type unreach code needfrag keep state (if-bound, sloppy, pflow)
pass out route-to { (igb0 203.0.113.1), (igb1 fe80::1) } round-robin sticky-address inet all received-on igb2 tos 0x10 prio 3 max-pkt-rate 5/1 max-pkt-size 100 set ( prio 3, tos 0x10 ) keep state allow-opts once
block return-icmp(net-unr, host-unr) in inet from no-route to urpf-failed ! tagged X
block return-rst(ttl 5) in inet proto tcp all
scrub on igb1 inet all no-df random-id min-ttl 5 max-mss 1440 set-tos 0x10 reassemble tcp fragment reassemble
scrub from any to <vpn_networks:*> fragment no reassemble
no scrub in all
match in all queue(q_a, q_b) dnpipe(1, 2)
match in all queue q_a dnqueue 3 ridentifier 5 dnpipe 1
pass in inet proto tcp all divert-to 127.0.0.1 port 8000
nat pass on igb0 inet from (igb1:network) to any -> (igb0:0) source-hash 0x1234 static-port
anchor all
binat-anchor \"x y\" on igb0 all
";
    let rules = all(text.as_bytes());
    assert_eq!(rules[0].to.host, "<negate_networks>");
    assert!(rules[0].to.negated && rules[0].interface.as_ref().unwrap().negated);
    assert_eq!(rules[1].from.host, "(igb1:network)");
    assert_eq!(rules[1].to.port.as_deref(), Some("1000 >< 2000"));
    assert_eq!(rules[2].from.host, "10.0.0.1 - 10.0.0.9");
    assert_eq!(rules[2].keep, Some(Keep::No));
    assert_eq!(rules[3].state_options.other, ["if-bound", "sloppy", "pflow"]);
    assert_eq!(rules[8].to.host, "<vpn_networks>");
    assert_eq!(rules[13].target.as_deref(), Some("(igb0:0) source-hash 0x1234 static-port"));
    assert_eq!(
        rules[15].action,
        Action::Anchor { kind: "binat-anchor".to_owned(), name: "x y".to_owned() }
    );
}

#[test]
fn what_an_overload_ends_is_told_apart() {
    for (words, flush) in
        [("", Flush::None), (" flush", Flush::Rule), (" flush global", Flush::Global)]
    {
        let rule = one(&format!("pass all keep state (max-src-conn 5, overload <bad>{words})"));
        let overload = rule.state_options.overload.unwrap();
        assert_eq!((overload.table.as_str(), overload.flush), ("bad", flush));
    }
}

#[test]
fn counters_of_all_versions_are_read() {
    let text = "\
@334(1000000400) pass all
  [ Evaluations: 90        Packets: 2183      Bytes: 2000042     States: 123456]
  [ Source Nodes: 3      Limit: 2      NAT/RDR: 1      Route: 0      ]
  [ Inserted: pid 3540 State Creations: 0     ]
  [ Last Active Time: N/A ]
";
    let rules = all(text.as_bytes());
    let rule = &rules[0];
    assert_eq!((rule.number, rule.ridentifier), (Some(334), Some(1_000_000_400)));
    let counters = rule.counters.as_ref().unwrap();
    assert_eq!(counters.states, 123_456);
    assert_eq!(counters.loader, Some(3540));
}

#[test]
fn anchors_in_braces_nest() {
    let text = "anchor \"a\" all {\n  pass all\n  anchor all {\n    block drop all\n  }\n}\npass quick all\n";
    let rules = all(text.as_bytes());
    let depths: Vec<u32> = rules.iter().map(|rule| rule.depth).collect();
    assert_eq!(depths, [0, 1, 1, 2, 0]);
    assert_eq!(rules[2].action, Action::Anchor { kind: "anchor".to_owned(), name: String::new() });
}

#[test]
fn an_unknown_condition_is_reported_and_the_rule_is_kept() {
    let text = "pass in on igb0 inet moonphase full from any to any keep state\nfrobnicate all\n  [ What: 1 ]\n}\npass all keep state (max-src-conn many)\n";
    let parsed = parse_pf_rules(text.as_bytes());
    let unread: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
    assert_eq!(unread, [1, 2, 3, 4, 5]);
    assert_eq!(parsed.value.len(), 2);
    assert_eq!(parsed.value[0].keep, Some(Keep::Keep));
    assert_eq!(parsed.value[1].state_options.max_src_conn, None);
}

#[test]
fn a_line_of_quotes_or_brackets_is_read_in_linear_time() {
    for unit in ["\" label \"", "(", "\"", "{ ", "<x:3>", "<", ", ", "! ", "a "] {
        let text =
            format!("pass all label \"{0}\"\npass from {0}\n", unit.repeat(30_000 / unit.len()));
        let text = text.repeat(20);
        // Quadratic time would be minutes here, not fractions of a second.
        assert!(parse_pf_rules(text.as_bytes()).value.len() >= 20);
    }
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ -~\u{80}-\u{ff}\u{1}-\u{9}]{0,30}", 0..3).prop_filter(
        "ambiguous even for people",
        |labels| {
            // These two texts pfctl itself prints in a way that no reader can take apart.
            labels.iter().all(|label| !label.contains("\" label \""))
        },
    )
}

/// A rule made of parts, and the parts.
#[derive(Clone, Debug)]
struct Parts {
    interface: String,
    max_src_conn: u32,
    rate: Rate,
    port: u16,
    labels: Vec<String>,
    ridentifier: u32,
}

impl Parts {
    fn text(&self) -> String {
        let Rate { connections, seconds } = self.rate;
        let labels = self.labels.join("\" label \"");
        let labels = if self.labels.is_empty() { labels } else { format!(" label \"{labels}\"") };
        format!(
            "pass in quick on {} inet proto tcp from any to <kms> port = {} flags S/SA keep state (source-track rule, max-src-conn {}, max-src-conn-rate {connections}/{seconds}, overload <virusprot> flush global, src.track {seconds}){labels} ridentifier {}",
            self.interface, self.port, self.max_src_conn, self.ridentifier,
        )
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    ("[a-z]{1,9}[0-9.]{0,5}", any::<(u32, u32, u32, u16, u32)>(), labels()).prop_map(
        |(interface, (max_src_conn, connections, seconds, port, ridentifier), labels)| Parts {
            interface,
            max_src_conn,
            rate: Rate { connections, seconds },
            port,
            labels,
            ridentifier,
        },
    )
}

proptest! {
    #[test]
    fn the_parts_of_a_rule_are_read_back(parts in parts()) {
        let rule = one(&parts.text());
        prop_assert_eq!(rule.interface.as_ref().map(|interface| &interface.name), Some(&parts.interface));
        prop_assert_eq!(rule.state_options.max_src_conn, Some(parts.max_src_conn));
        prop_assert_eq!(rule.state_options.max_src_conn_rate, Some(parts.rate));
        prop_assert_eq!(rule.to.port.as_ref(), Some(&format!("= {}", parts.port)));
        prop_assert_eq!(&rule.labels, &parts.labels);
        prop_assert_eq!(rule.ridentifier, Some(parts.ridentifier));
        prop_assert_eq!(rule.text, parts.text());
    }

    #[test]
    fn mutated_samples_never_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..50)) {
        for sample in [MIXED, TRANSLATION] {
            let mut text = sample.to_vec();
            for (place, byte) in &changes {
                let place = place.index(text.len());
                text[place] = *byte;
            }
            parse_pf_rules(&text);
        }
    }

    #[test]
    fn arbitrary_words_never_panic(words in proptest::collection::vec("(pass|anchor|rdr|no|block|on|from|to|port|!|label \"|\"|\\(|\\)|\\{|\\}|->|keep state|=|<x:1>|[ -~]{0,5})", 0..30)) {
        let text = words.join(" ");
        let rules = parse_pf_rules(text.as_bytes()).value;
        for rule in &rules {
            rule.target_hosts();
            rule.target_port();
            rule.tracker();
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        parse_pf_rules(&text);
    }
}
