//! Tables: real samples, documented forms, and properties.

use proptest::prelude::*;

use super::*;

const COUNTERS: &[u8] = include_bytes!("../../../../tests/fixtures/pfctl/T-show-v-counters.14.txt");

fn lines<T: std::fmt::Display>(values: &[T]) -> String {
    values
        .iter()
        .map(|value| value.to_string() + "\n")
        .collect()
}

#[test]
fn an_entry_tells_when_it_came_and_what_it_counted() {
    let parsed = parse_table_entries(COUNTERS);
    assert_eq!(parsed.unread, []);
    let [entry] = parsed.value.as_slice() else {
        panic!("one entry: {:?}", parsed.value);
    };
    assert_eq!(entry.net.to_string(), "192.0.2.200/32");
    assert_eq!(entry.since.unwrap().to_string(), "2025-09-27T19:06:40Z");
    let counters = entry.counters.unwrap();
    assert_eq!(
        counters.in_block,
        Traffic {
            packets: 12345,
            bytes: 987_654
        }
    );
    assert_eq!(counters.out_pass.bytes, 98_765_432_109_876);
    assert_eq!(lines(&parsed.value).as_bytes(), COUNTERS);
    assert_eq!(
        entry.display(Verbosity::Plain).to_string(),
        "   192.0.2.200"
    );
}

#[test]
fn networks_negation_and_ipv6_are_read() {
    let text = "   10.0.0.0/8\n  !10.1.2.3\n   2001:db8::/32\n";
    let parsed = parse_table_entries(text.as_bytes());
    assert_eq!(parsed.unread, []);
    let negated: Vec<bool> = parsed.value.iter().map(|entry| entry.negated).collect();
    assert_eq!(negated, [false, true, false]);
    assert_eq!(lines(&parsed.value), text);
}

#[test]
fn wide_numbers_leave_no_blank_and_are_read() {
    let text = "   192.0.2.1\n\tIn/Pass:     [ Packets: 1234567890123456789 Bytes: 12345678901234567890]\n";
    let parsed = parse_table_entries(text.as_bytes());
    assert_eq!(parsed.unread, []);
    assert_eq!(
        parsed.value[0].counters.unwrap().in_pass.bytes,
        12_345_678_901_234_567_890
    );
}

#[test]
fn rubbish_is_reported() {
    let text = "\tCleared:     Thu Oct  9 06:06:40 2025\n   host.example\n192.0.2.1\n   192.0.2.1/33\nA  192.0.2.1\n   192.0.2.2\n\tCleared:     yesterday\n\tOut/Nowhere: [ Packets: 1 Bytes: 1 ]\n";
    let parsed = parse_table_entries(text.as_bytes());
    let unread: Vec<usize> = parsed.unread.iter().map(|unread| unread.line).collect();
    assert_eq!(unread, [1, 2, 3, 4, 5, 7, 8]);
    assert_eq!(parsed.value.len(), 1);
    assert_eq!(parsed.value[0].since, None);
}

#[test]
fn a_test_tells_which_entry_decided() {
    let text =
        "   192.0.2.1\t nomatch\nM  203.0.113.200\t 203.0.113.128/25\n   10.1.2.3\t!10.1.0.0/16\n";
    let parsed = parse_test(text.as_bytes());
    assert_eq!(parsed.unread, []);
    assert_eq!(parsed.value[0].found, Some(Found::Nothing));
    assert_eq!(parsed.value[1].mark, Mark::Match);
    assert!(matches!(
        parsed.value[2].found,
        Some(Found::Entry { negated: true, .. })
    ));
    assert_eq!(lines(&parsed.value), text);
}

#[test]
fn table_names_need_no_quoting() {
    assert!(TableName::new("virusprot").is_some());
    for bad in ["", "-x", "a b", "a;b", "a$b", &"x".repeat(32)] {
        assert_eq!(TableName::new(bad), None, "{bad}");
    }
}

fn nets() -> impl Strategy<Value = IpNet> {
    (any::<std::net::IpAddr>(), 0_u8..=128).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(longest)).unwrap()
    })
}

fn traffics() -> impl Strategy<Value = Traffic> {
    any::<(u64, u64)>().prop_map(|(packets, bytes)| Traffic { packets, bytes })
}

fn entries() -> impl Strategy<Value = Entry> {
    let since = proptest::option::of(-2_000_000_000_i64..20_000_000_000);
    let counters = proptest::option::of([traffics(), traffics(), traffics(), traffics()]);
    (any::<bool>(), nets(), since, counters).prop_map(|(negated, net, since, counters)| Entry {
        negated,
        net,
        since: since.map(|second| Timestamp::from_second(second).unwrap()),
        counters: counters.map(|[in_block, in_pass, out_block, out_pass]| EntryCounters {
            in_block,
            in_pass,
            out_block,
            out_pass,
        }),
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(entries in proptest::collection::vec(entries(), 0..5)) {
        let parsed = parse_table_entries(lines(&entries).as_bytes());
        prop_assert_eq!(&parsed.unread, &[]);
        prop_assert_eq!(parsed.value, entries);
    }

    #[test]
    fn mutated_samples_never_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..50)) {
        let mut text = COUNTERS.to_vec();
        for (place, byte) in &changes {
            let place = place.index(text.len());
            text[place] = *byte;
        }
        parse_table_entries(&text);
        parse_test(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        parse_table_entries(&text);
            parse_test(&text);
    }
}
