//! Plans that free addresses.

use super::*;

fn deleted(draft: &Draft) -> Vec<String> {
    match &draft.operation {
        Operation::TableDelete { entries, .. } => {
            entries.iter().map(|entry| entry.address.to_string()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn expire_frees_what_is_strictly_older() {
    let older = |limit| {
        plan_freeing(
            &entries(),
            &TableChoice::OlderThan(limit),
            &table(),
            now(),
            &SourceCounts::Kept,
        )
    };
    assert_eq!(deleted(&draft(older(3600))), ["203.0.113.9", "198.51.100.0/24"]);
    assert!(nothing(older(90_000)).contains("none of the 4 entries"));
}

#[test]
fn entries_of_unknown_age_are_not_called_young() {
    let mut entries = entries();
    entries[1].since = None;
    // The firewall's clock was set back after it was blocked.
    entries[2] = entry("198.51.100.0/24", -90_000);
    let older = |limit| {
        let choice = TableChoice::OlderThan(limit);
        plan_freeing(&entries, &choice, &table(), now(), &SourceCounts::Kept)
    };
    let words = nothing(older(3600));
    assert!(
        words.contains("none of the 4 entries of virusprot is known to be that old")
            && words.contains("the age of 2 is unknown"),
        "{words}"
    );
    let draft = draft(older(120));
    assert_eq!(deleted(&draft), ["2001:db8::1"]);
    assert!(codes(&draft).contains(&"age-unknown"), "{:?}", draft.risks);
}

#[test]
fn flush_names_every_entry_and_wants_the_word() {
    let draft = flushing();
    assert_eq!(deleted(&draft).len(), 4);
    assert_eq!(draft.confirm, Confirm::Word("flush".into()));
    assert_eq!(draft.differences, [Difference::new("blocked", 4_u32, 0_u32)]);
    assert_eq!(codes(&draft), ["comes-back", "shared-table"]);
    assert!(
        nothing(plan_freeing(&[], &TableChoice::All, &table(), now(), &SourceCounts::Kept))
            .contains("is empty")
    );
}

#[test]
fn delete_takes_exact_entries_once_and_names_what_is_not_there() {
    let wanted = ["203.0.113.5", "203.0.113.5", "192.0.2.1", "198.51.100.0/24"].map(address);
    let choice = TableChoice::Addresses(wanted.to_vec());
    let draft = draft(plan_freeing(&entries(), &choice, &table(), now(), &SourceCounts::Kept));
    assert_eq!(deleted(&draft), ["198.51.100.0/24", "203.0.113.5"]);
    assert_eq!(draft.confirm, Confirm::YesNo);
    assert!(codes(&draft).contains(&"not-blocked"));
    let choice = TableChoice::Addresses(vec![address("192.0.2.1")]);
    let words = nothing(plan_freeing(&entries(), &choice, &table(), now(), &SourceCounts::Kept));
    assert_eq!(words, "Nothing to do: 192.0.2.1 is not in virusprot.");
}

#[test]
fn an_address_within_a_blocked_network_is_refused_with_the_network() {
    let choice = TableChoice::Addresses(vec![address("198.51.100.7")]);
    let refusal =
        plan_freeing(&entries(), &choice, &table(), now(), &SourceCounts::Kept).unwrap_err();
    assert!(refusal.message.contains("part of 198.51.100.0/24"), "{refusal}");
    assert_eq!(refusal.hints.len(), 1);
}

fn freed(entries: &[TableEntry], counts: &SourceCounts) -> (Vec<String>, Vec<(String, String)>) {
    let draft = draft(plan_freeing(entries, &TableChoice::All, &table(), now(), counts));
    let Operation::TableDelete { forget, .. } = &draft.operation else {
        panic!("{:?}", draft.operation);
    };
    let of_counts = draft.risks.iter().filter(|risk| risk.code.starts_with("counts"));
    let words = of_counts.map(|risk| (risk.code.clone(), risk.message.clone()));
    (forget.iter().map(IpAddr::to_string).collect(), words.collect())
}

fn counts_with(rules: &[Rule], states: &str) -> SourceCounts {
    let states = state::parse(states.as_bytes()).value;
    SourceCounts::judge(rules, &states, &fixtures::service(), now())
}

#[test]
fn only_young_single_addresses_are_forgotten() {
    let counts = counts_with(&[fixtures::pass()], "");
    let mut entries = vec![
        entry("203.0.113.5", 0),
        entry("203.0.113.6", 60),
        entry("203.0.113.7", 61),
        entry("2001:db8::1", 59),
        entry("198.51.100.0/24", 5),
        entry("!203.0.113.8", 5),
        entry("203.0.113.9", 0),
    ];
    entries[6].since = None;
    let (forget, words) = freed(&entries, &counts);
    assert_eq!(forget, ["203.0.113.5", "2001:db8::1", "203.0.113.6", "203.0.113.9"]);
    assert_eq!(words[0].0, "counts-forgotten");
    assert!(words[0].1.contains("under its other rules too"), "{words:?}");
    assert_eq!(freed(&entries, &SourceCounts::Kept), (vec![], vec![]));
    let (forget, words) = freed(&entries, &SourceCounts::Unknown("Denied.".into()));
    assert_eq!((forget.len(), words[0].0.as_str()), (0, "counts-unknown"));
    let old = [entry("203.0.113.5", 61)];
    assert_eq!(freed(&old, &counts), (vec![], vec![]));
}

#[test]
fn live_sources_keep_their_count_and_are_named() {
    let line = |client: &str, levels: &str| {
        format!("vtnet0 tcp 10.0.20.202:1688 (192.168.1.2:1688) <- {client}:40001       {levels}\n")
    };
    let states = line("203.0.113.5", "ESTABLISHED:ESTABLISHED")
        + &line("203.0.113.6", "CLOSED:CLOSED")
        + &line("203.0.113.7", "CLOSED:SYN_SENT");
    let counts = counts_with(&[fixtures::pass()], &states);
    let young = ["203.0.113.5", "203.0.113.6", "203.0.113.7"].map(|text| entry(text, 5));
    let (forget, words) = freed(&young, &counts);
    assert_eq!(forget, ["203.0.113.6"]);
    assert_eq!(words[1].0, "counts-kept");
    assert!(words[1].1.contains("203.0.113.5") && words[1].1.contains("203.0.113.7"));
}

#[test]
fn the_longest_window_that_fills_the_table_decides() {
    let with =
        |rate: &str| fixtures::printed(&format!("pass in proto tcp all keep state ({rate})"));
    let rules = [
        fixtures::pass(),
        with("max-src-conn-rate 5/300, overload <virusprot> flush global"),
        with("max-src-conn-rate 5/900, overload <other> flush global"),
        with("max-src-conn-rate 5/900"),
    ];
    let young = [entry("203.0.113.5", 300), entry("203.0.113.6", 301)];
    assert_eq!(freed(&young, &counts_with(&rules, "")).0, ["203.0.113.5"]);
    let none = counts_with(&[fixtures::pass_without_caps()], "");
    assert_eq!(freed(&[entry("203.0.113.5", 0)], &none), (vec![], vec![]));
}

#[test]
fn what_is_forgotten_at_once_is_bounded() {
    let entry_of = |n: u32| entry(&format!("198.18.{}.{}", n / 250, n % 250 + 1), 3);
    let many: Vec<TableEntry> = (0..1_002).map(entry_of).collect();
    let (forget, words) = freed(&many, &counts_with(&[fixtures::pass()], ""));
    assert_eq!(forget.len(), 1_000);
    assert_eq!(words[1].0, "counts-kept");
    assert!(words.iter().all(|(_, message)| message.len() < 500), "{words:?}");
}
