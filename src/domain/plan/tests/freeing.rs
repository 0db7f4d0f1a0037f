//! Plans that free addresses.

use super::*;

fn deleted(draft: &Draft) -> Vec<String> {
    match &draft.operation {
        Operation::TableDelete { entries, .. } => entries
            .iter()
            .map(|entry| entry.address.to_string())
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn expire_frees_what_is_strictly_older() {
    let older = |limit| plan_freeing(&entries(), &TableChoice::OlderThan(limit), &table(), now());
    assert_eq!(
        deleted(&draft(older(3600))),
        ["203.0.113.9", "198.51.100.0/24"]
    );
    assert!(nothing(older(90_000)).contains("none of the 4 entries"));
}

#[test]
fn flush_names_every_entry_and_wants_the_word() {
    let draft = draft(plan_freeing(&entries(), &TableChoice::All, &table(), now()));
    assert_eq!(deleted(&draft).len(), 4);
    assert_eq!(draft.confirm, Confirm::Word("flush".into()));
    assert_eq!(
        draft.differences,
        [Difference::new("blocked", 4_u32, 0_u32)]
    );
    assert_eq!(codes(&draft), ["comes-back", "shared-table"]);
    assert!(nothing(plan_freeing(&[], &TableChoice::All, &table(), now())).contains("is empty"));
}

#[test]
fn delete_takes_exact_entries_once_and_names_what_is_not_there() {
    let wanted = ["203.0.113.5", "203.0.113.5", "192.0.2.1", "198.51.100.0/24"].map(address);
    let choice = TableChoice::Addresses(wanted.to_vec());
    let draft = draft(plan_freeing(&entries(), &choice, &table(), now()));
    assert_eq!(deleted(&draft), ["198.51.100.0/24", "203.0.113.5"]);
    assert_eq!(draft.confirm, Confirm::YesNo);
    assert!(codes(&draft).contains(&"not-blocked"));
    let choice = TableChoice::Addresses(vec![address("192.0.2.1")]);
    let told = nothing(plan_freeing(&entries(), &choice, &table(), now()));
    assert_eq!(told, "Nothing to do: 192.0.2.1 is not in virusprot.");
}

#[test]
fn an_address_within_a_blocked_network_is_refused_with_the_network() {
    let choice = TableChoice::Addresses(vec![address("198.51.100.7")]);
    let refusal = plan_freeing(&entries(), &choice, &table(), now()).unwrap_err();
    assert!(
        refusal.message.contains("part of 198.51.100.0/24"),
        "{refusal}"
    );
    assert_eq!(refusal.hints.len(), 1);
}
