//! `-si` and `-sm`: real samples, documented forms, and properties.

use proptest::prelude::*;

use super::*;

const VERBOSE: &[u8] = include_bytes!("../../../../tests/fixtures/pfctl/si-loginterface.14.txt");
const PLAIN: &[u8] = include_bytes!("../../../../tests/fixtures/pfctl/si-disabled.12.txt");
const LIMITS: &[u8] = include_bytes!("../../../../tests/fixtures/pfctl/sm.14.txt");

#[test]
fn the_verbose_form_is_read_whole() {
    let parsed = parse_pf_info(VERBOSE);
    assert_eq!(parsed.unread, []);
    let info = &parsed.value;
    assert!(info.enabled);
    assert_eq!(info.running_seconds, Some(1_234_567));
    assert_eq!(info.debug.as_deref(), Some("Urgent"));
    assert_eq!(info.host_id, Some(0x1f2e_3d4c));
    assert_eq!(
        info.checksum.as_deref(),
        Some("0xa5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5")
    );
    assert_eq!((info.states, info.source_nodes), (Some(0), Some(6)));
    assert_eq!(info.state_table.unwrap().searches, 23_534_946_403);
    assert_eq!(info.counters.len(), 16);
    assert_eq!(info.counters["state-mismatch"], 3074);
    assert_eq!(info.limit_counters["overload table insertion"], 3750);
    assert_eq!(info.limit_counters["max states per rule"], 19_230_192_658);
    assert_eq!(info.syncookies.as_ref().unwrap().mode, "never");
    assert_eq!(info.reassemble.as_deref(), Some("yes"));
    let interface = info.interface.as_ref().unwrap();
    assert_eq!(interface.name, "igb0");
    assert_eq!(interface.blocked_out, (56_882, 66_448));
    assert_eq!(format!("{info}\n").as_bytes(), VERBOSE);
}

#[test]
fn a_disabled_pf_is_told() {
    let parsed = parse_pf_info(PLAIN);
    assert_eq!(parsed.unread, []);
    assert!(!parsed.value.enabled);
    assert_eq!(parsed.value.host_id, None);
    let printed = format!("{}\n", parsed.value.display(Verbosity::Plain));
    assert_eq!(printed.as_bytes(), PLAIN);
}

#[test]
fn limits_are_read_and_may_be_unlimited() {
    let parsed = parse_limits(LIMITS);
    assert_eq!(parsed.unread, []);
    assert_eq!(parsed.value["states"], Some(1_000_000));
    assert_eq!(parsed.value["table-entries"], Some(400_000));
    assert_eq!(
        parsed.value.len(),
        LIMITS.split(|byte| *byte == b'\n').count() - 1
    );
    let more = parse_limits(b"anchors       unlimited\neth-anchors   hard limit 512\n");
    assert_eq!(
        (more.value["anchors"], more.value["eth-anchors"]),
        (None, Some(512))
    );
    assert_eq!(more.unread, []);
}

#[test]
fn rubbish_is_reported() {
    let text = "  stray  1\nStatus: Perhaps\nHostid:   0xzz\nCounters\n  match  many  0.0/s\n  match  1  0.0/s\n  match  2  0.0/s\nWhat is this\n  x 1 0.0/s\n";
    let unread: Vec<usize> = parse_pf_info(text.as_bytes())
        .unread
        .iter()
        .map(|unread| unread.line)
        .collect();
    assert_eq!(unread, [1, 2, 3, 5, 7, 8, 9]);
    assert_eq!(
        parse_limits(b"states\nstates hard limit many\n")
            .unread
            .len(),
        2
    );
}

fn lookups() -> impl Strategy<Value = Option<Lookups>> {
    proptest::option::of(
        any::<(u64, u64, u64)>().prop_map(|(searches, inserts, removals)| Lookups {
            searches,
            inserts,
            removals,
        }),
    )
}

fn counters(names: &'static str) -> impl Strategy<Value = BTreeMap<String, u64>> {
    proptest::collection::btree_map(names, any::<u64>(), 0..8)
}

fn infos() -> impl Strategy<Value = Info> {
    let head = (
        any::<bool>(),
        any::<Option<u64>>(),
        proptest::option::of("(None|Urgent|Misc|Loud)"),
        any::<Option<u32>>(),
        proptest::option::of("0x[0-9a-f]{32}"),
    );
    let tables = (
        any::<Option<u64>>(),
        lookups(),
        any::<Option<u64>>(),
        lookups(),
    );
    let counters = (
        counters("(match|short|[a-z-]{3,12})"),
        counters("(max-src-conn|[a-z]{3,9}( [a-z-]{2,9}){0,2})"),
    );
    let pairs = proptest::option::of(("[a-z]{2,5}[0-9]", any::<[(u64, u64); 6]>()));
    let end = (
        pairs,
        proptest::option::of(("(never|always|adaptive)", "(in)?active")),
        proptest::option::of("(yes|no|yes no-df)"),
    );
    (head, tables, counters, end).prop_map(
        |(head, tables, counters, (pairs, cookies, reassemble))| Info {
            enabled: head.0,
            running_seconds: head.1,
            debug: head.2,
            host_id: head.3,
            checksum: head.4,
            states: tables.0,
            state_table: tables.1,
            source_nodes: tables.2,
            source_table: tables.3,
            counters: counters.0,
            limit_counters: counters.1,
            interface: pairs.map(|(name, pairs)| InterfaceStats {
                name,
                bytes_in: pairs[0],
                bytes_out: pairs[1],
                passed_in: pairs[2],
                blocked_in: pairs[3],
                passed_out: pairs[4],
                blocked_out: pairs[5],
            }),
            syncookies: cookies.map(|(mode, active)| Syncookies { mode, active }),
            reassemble,
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(info in infos()) {
        let parsed = parse_pf_info(info.to_string().as_bytes());
        prop_assert_eq!(&parsed.unread, &[]);
        prop_assert_eq!(parsed.value, info);
    }

    #[test]
    fn mutated_samples_never_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..50)) {
        let mut text = VERBOSE.to_vec();
        for (place, byte) in changes {
            let place = place.index(text.len());
            text[place] = byte;
        }
        parse_pf_info(&text);
        parse_limits(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        parse_pf_info(&text);
        parse_limits(&text);
    }
}
