//! The state table: real samples, every documented form, and properties.

use proptest::prelude::*;

use super::*;
use crate::domain::pf::Unread;

const VERY_VERBOSE: &[&[u8]] = &[
    include_bytes!("../../../../tests/fixtures/pfctl/ss-vv.12.txt"),
    include_bytes!("../../../../tests/fixtures/pfctl/ss-vv.14.txt"),
    include_bytes!("../../../../tests/fixtures/pfctl/ss-vv-floating.14.txt"),
    include_bytes!("../../../../tests/fixtures/pfctl/ss-vv-gen200.12.txt"),
    include_bytes!("../../../../tests/fixtures/pfctl/ss-vv-gen200.14.txt"),
];

fn only(text: &str) -> State {
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.unread, []);
    let [state] = <[State; 1]>::try_from(parsed.value).unwrap();
    state
}

fn print(states: &[State], verbosity: Verbosity) -> String {
    states.iter().map(|state| state.display(verbosity).to_string() + "\n").collect()
}

#[test]
fn a_redirected_inbound_state_tells_its_three_hosts() {
    let state = only(
        "igb0 tcp 192.168.1.20:1688 (203.0.113.10:1688) <- 198.51.100.23:50122       ESTABLISHED:ESTABLISHED\n",
    );
    assert_eq!(state.interface, "igb0");
    assert_eq!(state.direction, Direction::In);
    assert_eq!(state.left.to_string(), "192.168.1.20:1688");
    assert_eq!(state.left_inside.unwrap().to_string(), "203.0.113.10:1688");
    assert_eq!(state.right.address.to_string(), "198.51.100.23");
    assert_eq!(state.right.port, 50122);
    assert_eq!(state.levels, "ESTABLISHED:ESTABLISHED");
    assert_eq!(state.detail, None);
}

#[test]
fn every_detail_of_a_very_verbose_state_is_read() {
    let state = only(concat!(
        "all tcp 2001:db8:2::20[1688] (2001:db8:1::10[1688]) <- 2001:db8:ffff::77[50200]       PROXY:SRC\n",
        "   [3045 + 65535](+12) wscale 7  [77 + 0] wscale 0\n",
        "   age 100:00:07, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, anchor 3, rule 25, set-prio (0x1 0x2), log (all)\n",
        "   id: 640000005f3a2101 creatorid: 1f2e3d4c reply-to: 203.0.113.1@igb0 rtable: 2\n",
        "   rlabel: 0a1b2c3d some words\n",
        "   origif: igb0\n",
    ));
    let detail = state.detail.unwrap();
    assert_eq!(detail.windows.unwrap(), "[3045 + 65535](+12) wscale 7  [77 + 0] wscale 0");
    assert_eq!((detail.age_seconds, detail.expires_seconds), (360_007, 3540));
    assert_eq!((detail.packets, detail.bytes), ((14, 11), (1820, 3100)));
    assert_eq!(detail.rule, Some(25));
    assert_eq!(detail.extras, ["anchor 3", "set-prio (0x1 0x2)", "log (all)"]);
    let identity = state.identity.unwrap();
    assert_eq!((identity.id, identity.creator), (0x6400_0000_5f3a_2101, 0x1f2e_3d4c));
    assert_eq!(
        identity.extras,
        ["reply-to: 203.0.113.1@igb0", "rtable: 2", "rlabel: 0a1b2c3d some words"]
    );
    assert_eq!(identity.original_interface.unwrap(), "igb0");
}

#[test]
fn odd_forms_are_read() {
    let table = "\
igb1 tcp 192.168.1.1:443 <- 192.168.1.100:40010       <BAD STATE LEVELS 4:13>
all 99 10.20.0.5 <- 192.168.1.100       MULTIPLE:MULTIPLE
igb0 ipv6-icmp ff02::1:ff00:10 <- fe80::1%igb0[135]       NO_TRAFFIC:NO_TRAFFIC
igb1 icmp 1.1.1.1:8 <- 192.168.1.100:8       0:0
igb0 tcp 64:ff9b::c000:201[80] (192.0.2.1:80) -> 192.0.2.9:443 (2001:db8::9[443])       SYN_SENT:CLOSED
igb0 sctp 203.0.113.10:36412 <- 198.51.100.99:36412       SHUTDOWN_ACK_SENT:SHUTDOWN_PENDING
";
    let parsed = parse(table.as_bytes());
    assert_eq!(parsed.unread, []);
    assert_eq!(parsed.value.len(), 6);
    assert_eq!(parsed.value[0].levels, "<BAD STATE LEVELS 4:13>");
    assert_eq!(parsed.value[1].left.port, 0);
    assert_eq!(parsed.value[2].right.scope.as_deref(), Some("igb0"));
    assert!(parsed.value[4].left.address.is_ipv6());
    assert!(parsed.value[4].right_inside.is_some());
    assert_eq!(print(&parsed.value, Verbosity::Plain), table);
}

#[test]
fn rubbish_is_reported_line_by_line_and_never_attributed() {
    let text = concat!(
        "   age 00:00:01, expires in 00:00:02, 1:1 pkts, 2:2 bytes\n",
        "\n",
        "igb0 tcp 300.0.0.1:1 <- 1.2.3.4:5       CLOSED:CLOSED\n",
        "   id: 1 creatorid: 2\n",
        "igb0 udp 1.2.3.4:5 -> 1.2.3.4:6       SINGLE:SINGLE\n",
        "   age 00:00:01, expires in 00:00:02, 1:1 pkts\n",
        "   id: 00000000000000001 creatorid: 2\n",
        "   origif: igb0\n",
        "igb0 tcp host.example:80 -> 1.2.3.4:6       CLOSED:CLOSED\n",
        "igb0 tcp 1.2.3.4:5 -> 1.2.3.4:6       CLOSED\n",
    );
    let parsed = parse(text.as_bytes());
    let lines: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
    assert_eq!(lines, [1, 3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(parsed.value.len(), 1);
    assert_eq!((&parsed.value[0].detail, &parsed.value[0].identity), (&None, &None));
}

#[test]
fn a_second_detail_or_identity_line_does_not_replace_the_first() {
    let text = concat!(
        "igb0 udp 1.2.3.4:5 -> 1.2.3.4:6       SINGLE:SINGLE\n",
        "   age 00:00:01, expires in 00:00:02, 1:1 pkts, 2:2 bytes\n",
        "   age 00:00:09, expires in 00:00:02, 1:1 pkts, 2:2 bytes\n",
        "   id: 01 creatorid: 02\n",
        "   id: 09 creatorid: 02\n",
    );
    let parsed = parse(text.as_bytes());
    let lines: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
    assert_eq!(lines, [3, 5]);
    let state = &parsed.value[0];
    assert_eq!(state.detail.as_ref().map(|detail| detail.age_seconds), Some(1));
    assert_eq!(state.identity.as_ref().map(|identity| identity.id), Some(1));
}

#[test]
fn an_overlong_line_is_dropped_and_the_next_state_is_read() {
    let good = "igb0 udp 1.2.3.4:5 -> 1.2.3.4:6       SINGLE:SINGLE\n";
    let long = "x".repeat(Unread::LONGEST + 1);
    let text =
        format!("{good}{long}\n{good}{good}   {long}\n   id: 01 creatorid: 02\n{good}{long}");
    for size in [1, 1000, 70_000, text.len()] {
        let mut parser = StateParser::new();
        let mut states = 0;
        for chunk in text.as_bytes().chunks(size) {
            parser.push(chunk, &mut |_| states += 1);
        }
        let end = parser.finish_table(&mut |_| states += 1);
        assert_eq!((states, end.value), (4, 4), "chunks of {size}");
        let lines: Vec<usize> = end.unread.iter().map(|unread| unread.line).collect();
        assert_eq!(lines.first(), Some(&2), "chunks of {size}");
        assert_eq!(lines.last(), Some(&8), "chunks of {size}");
        assert_eq!(end.unread[0].text, long[..Unread::SHOWN]);
    }
}

#[test]
fn a_record_without_end_is_cut() {
    let mut text = String::from("igb0 udp 1.2.3.4:5 -> 1.2.3.4:6       SINGLE:SINGLE\n");
    text.push_str(&"   what\n".repeat(10_000));
    for size in [7, text.len()] {
        let mut parser = StateParser::new();
        for chunk in text.as_bytes().chunks(size) {
            parser.push(chunk, &mut |_| {});
        }
        let end = parser.finish_table(&mut |_| {});
        assert_eq!((end.value, end.unread.len() + end.more_unread), (1, 10_000));
    }
}

#[test]
fn samples_print_back_to_the_byte() {
    for sample in VERY_VERBOSE {
        let parsed = parse(sample);
        assert_eq!((parsed.unread.as_slice(), parsed.more_unread), (&[][..], 0));
        let text = print(&parsed.value, Verbosity::VeryVerbose);
        assert_eq!(text, String::from_utf8_lossy(sample));
    }
}

/// Reads in pieces cut at `cuts` (in thousandths of the text).
fn parse_in_pieces(text: &[u8], cuts: &[usize]) -> Parsed<Vec<State>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut * text.len() / 1000).collect();
    cuts.sort_unstable();
    cuts.push(text.len());
    let mut states = Vec::new();
    let mut keep = |state| states.push(state);
    let mut parser = StateParser::new();
    let mut start = 0;
    for cut in cuts {
        parser.push(&text[start..cut], &mut keep);
        start = cut;
    }
    let end = parser.finish_table(&mut keep);
    assert_eq!(end.value, states.len());
    Parsed {
        value: states,
        unread: end.unread,
        more_unread: end.more_unread,
        too_many: end.too_many,
    }
}

fn hosts() -> impl Strategy<Value = Host> {
    let scope = proptest::option::of("[a-z]{1,5}[0-9]");
    (any::<std::net::IpAddr>(), scope, any::<u16>()).prop_map(|(address, scope, port)| Host {
        address,
        scope: scope.filter(|_| address.is_ipv6()),
        port,
    })
}

fn details() -> impl Strategy<Value = Detail> {
    let windows = proptest::option::of("\\[[0-9]{1,9} \\+ [0-9]{1,9}\\]  \\[1 \\+ 2\\] wscale 7");
    let extra = prop_oneof!["(sloppy|no-sync|log \\(all\\)|limit source-track|max-mss 1[0-9]{3})"];
    let extras =
        (proptest::option::of("anchor [0-9]{1,4}"), proptest::collection::vec(extra, 0..4))
            .prop_map(|(anchor, extras)| anchor.into_iter().chain(extras).collect());
    let rule = proptest::option::of(any::<u32>());
    (windows, any::<[u64; 2]>(), any::<(u64, u64)>(), any::<(u64, u64)>(), rule, extras).prop_map(
        |(windows, times, packets, bytes, rule, extras)| Detail {
            windows,
            age_seconds: times[0],
            expires_seconds: times[1],
            packets,
            bytes,
            rule,
            extras,
        },
    )
}

fn identities() -> impl Strategy<Value = Identity> {
    let extra = "(reply-to: fe80::@igb0|gateway: 2001:db8::|rtable: [0-9]|rlabel: [0-9a-f]{8})";
    let extras = proptest::collection::vec(extra, 0..3);
    let interface = proptest::option::of("[a-z]{2,5}[0-9]{1,2}");
    (any::<u64>(), any::<u32>(), extras, interface).prop_map(
        |(id, creator, extras, original_interface)| Identity {
            id,
            creator,
            extras,
            original_interface,
        },
    )
}

fn states() -> impl Strategy<Value = State> {
    let levels = "([A-Z_0-9]{1,9}:[A-Z_0-9]{1,9}|<BAD STATE LEVELS [0-9]{1,2}:[0-9]{1,2}>)";
    let inside = || proptest::option::of(hosts());
    let names = ("[a-z][a-z0-9._]{0,14}", "[a-z0-9-]{1,10}", levels);
    let sides = (hosts(), inside(), hosts(), inside());
    let more = (proptest::option::of(details()), proptest::option::of(identities()));
    (names, any::<bool>(), sides, more).prop_map(|(names, inbound, sides, (detail, identity))| {
        State {
            interface: names.0,
            protocol: names.1,
            direction: if inbound { Direction::In } else { Direction::Out },
            left: sides.0,
            left_inside: sides.1,
            right: sides.2,
            right_inside: sides.3,
            levels: names.2,
            detail,
            identity,
        }
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(states in proptest::collection::vec(states(), 0..5)) {
        let text = print(&states, Verbosity::VeryVerbose);
        prop_assert_eq!(parse(text.as_bytes()).with_nothing_unread(), states);
    }

    #[test]
    fn the_cuts_do_not_matter(which in 0..VERY_VERBOSE.len(), cuts in proptest::collection::vec(0_usize..=1000, 0..20)) {
        let sample = VERY_VERBOSE[which];
        prop_assert_eq!(parse_in_pieces(sample, &cuts), parse(sample));
    }

    #[test]
    fn mutated_samples_never_panic_and_cuts_do_not_matter(
        which in 0..VERY_VERBOSE.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..50),
        cuts in proptest::collection::vec(0_usize..=1000, 0..5),
    ) {
        let mut text = VERY_VERBOSE[which].to_vec();
        for (place, byte) in changes {
            let place = place.index(text.len());
            text[place] = byte;
        }
        prop_assert_eq!(parse_in_pieces(&text, &cuts), parse(&text));
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        parse(&text);
    }
}

impl Parsed<Vec<State>> {
    fn with_nothing_unread(self) -> Vec<State> {
        assert_eq!((self.unread.as_slice(), self.more_unread), (&[][..], 0));
        self.value
    }
}
