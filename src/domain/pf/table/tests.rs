//! Tables: real samples, documented forms, and properties.

use proptest::prelude::*;

use super::*;

const COUNTERS: &[u8] = include_bytes!("../../../../tests/fixtures/pfctl/T-show-v-counters.14.txt");

#[test]
fn an_entry_shows_when_it_came() {
    let parsed = parse_table_entries(COUNTERS);
    assert_eq!(parsed.unread, []);
    let [entry] = parsed.value.as_slice() else {
        panic!("one entry: {:?}", parsed.value);
    };
    assert_eq!(entry.net.to_string(), "192.0.2.200/32");
    assert_eq!(entry.since.unwrap().to_string(), "2025-09-27T19:06:40Z");
}

#[test]
fn networks_negation_and_ipv6_are_read() {
    let text = "   10.0.0.0/8\n  !10.1.2.3\n   2001:db8::/32\n";
    let parsed = parse_table_entries(text.as_bytes());
    assert_eq!(parsed.unread, []);
    let entries = parsed.value.iter();
    let entries: Vec<_> = entries.map(|entry| (entry.negated, entry.net.to_string())).collect();
    let net = |negated, net: &str| (negated, net.to_owned());
    assert_eq!(
        entries,
        [net(false, "10.0.0.0/8"), net(true, "10.1.2.3/32"), net(false, "2001:db8::/32")]
    );
}

#[test]
fn wide_numbers_leave_no_blank_and_are_read() {
    let text = "   192.0.2.1\n\tIn/Pass:     [ Packets: 1234567890123456789 Bytes: 12345678901234567890]\n";
    let parsed = parse_table_entries(text.as_bytes());
    assert_eq!((parsed.unread.len(), parsed.value.len()), (0, 1));
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
    let entry = |negated, net: &str| {
        let net = net.parse().unwrap();
        Some(Found::Entry { negated, net })
    };
    assert_eq!(parsed.value[1].found, entry(false, "203.0.113.128/25"));
    assert_eq!(parsed.value[2].found, entry(true, "10.1.0.0/16"));
}

#[test]
fn table_names_need_no_quoting() {
    assert!(TableName::new("virusprot").is_some());
    for bad in ["", "-x", "a b", "a;b", "a$b", &"x".repeat(32)] {
        assert_eq!(TableName::new(bad), None, "{bad}");
    }
}

proptest! {
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
