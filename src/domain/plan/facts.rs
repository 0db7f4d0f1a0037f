//! What a plan rests on, as names and texts: small enough to compare, plain enough to tell what moved.

use std::collections::BTreeMap;

use super::Address;
use crate::domain::pf::state::State;
use crate::domain::pf::table::Entry;
use crate::domain::pfsense::configured::Configured;
use crate::domain::pfsense::edit::CAP_KEYS;
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::service::Service;

pub fn entry_facts<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeMap<String, String> {
    let fact = |entry: &Entry| {
        let since = entry
            .since
            .map_or_else(|| "blocked".to_owned(), |since| format!("blocked since {since}"));
        (Address::from(entry).to_string(), since)
    };
    entries.map(fact).collect()
}

pub fn state_facts<'a>(states: impl Iterator<Item = &'a State>) -> BTreeMap<String, String> {
    let fact = |state: &State| {
        let identity = state.identity.as_ref()?;
        let name = format!("state {:016x}/{:08x}", identity.id, identity.creator);
        Some((name, format!("of {}", state.client().address)))
    };
    states.filter_map(fact).collect()
}

/// Returns what config.xml says about the exposure, field by field. The agent's fingerprint decides whether
/// something moved; this names it.
pub fn configuration_facts(configured: &Configured, service: &Service) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut say = |name: &str, value: String| facts.insert(name.to_owned(), value);
    let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| "unset".to_owned());
    let enabled = |disabled: bool| if disabled { "disabled" } else { "enabled" }.to_owned();
    let pair = ManagedPair::of_service(configured, service);
    if let Some(nat) = pair.own_forward() {
        say("port forward", enabled(nat.disabled));
        say("port forward target", text(nat.target.as_ref()));
        say("port forward port", text(nat.local_port.as_ref()));
        say("association", text(nat.association.as_ref()));
    }
    if let Some(filter) = pair.own_filter() {
        say("filter rule", enabled(filter.disabled));
        say("filter rule type", text(filter.kind.as_ref()));
        say("tracker", text(filter.tracker.as_ref()));
        let caps = &filter.caps;
        let values = [&caps.max_src_conn, &caps.max_src_conn_rate, &caps.max_src_conn_rates];
        for (key, value) in CAP_KEYS.into_iter().zip(values) {
            say(key, text(value.as_ref()));
        }
    }
    if let Some(alias) = &configured.alias {
        say("alias", text(alias.address.as_ref()));
    }
    // Who goes on with what waits has agreed to what waited then.
    if !configured.dirty.is_empty() {
        let saved = text(configured.revision.time.as_ref());
        say("saved and not applied", format!("{}, saved at {saved}", configured.dirty.join(", ")));
    }
    facts
}
