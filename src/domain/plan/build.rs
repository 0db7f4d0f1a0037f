//! Plans that make the exposure what kmsctl's configuration says, from whatever is there: only what differs is named,
//! and only that is changed.

use super::exposure::{Present, Terms, draft, opening, ready};
use super::{Difference, Draft, Planned, Refusal, caps};
use crate::domain::change::Change;
use crate::domain::configured::NatRule;
use crate::domain::exposure::State;
use crate::domain::exposure::pair::Pair;
use crate::domain::ratelimit::{self, Caps};
use crate::domain::service::Service;

/// Plans to make alias, port forward, filter rule and caps what the configuration says.
pub fn apply(present: &Present<'_>, caps: Caps, terms: Terms) -> Result<Planned, Refusal> {
    caps::limits(caps)?;
    let pair = ready(present, terms)?;
    let draft = build(present, &pair, caps, true, terms);
    let state = present.exposure.state;
    if draft.differences.is_empty()
        && state == State::Open
        && present.exposure.caps.loaded == Some(caps)
    {
        return Ok(Planned::NothingToDo(
            "Nothing to do: the firewall is what the configuration says.".to_owned(),
        ));
    }
    Ok(opening(draft, state).into())
}

pub(super) fn build(
    present: &Present<'_>,
    pair: &Pair<'_>,
    caps: Caps,
    alias: bool,
    terms: Terms,
) -> Draft {
    let service = present.service;
    let change = Change::Build {
        description: service.description.clone(),
        max_src_conn: caps.max_src_conn,
        rate: caps.rate,
        alias,
    };
    let what = if alias {
        "Make alias, port forward, filter rule and caps what the configuration says."
    } else {
        "Open the exposure: build the port forward and its filter rule from the configuration."
    };
    let mut draft = draft(present, terms, change, what);
    if alias && present.exposure.alias.as_expected != Some(true) {
        let members = &present.exposure.alias;
        let now = (members.configured == Some(true)).then(|| members.addresses.join(" "));
        draft
            .differences
            .push(Difference::new("alias", now, service.address.to_string()));
    }
    let differences = &mut draft.differences;
    match pair.nat.or_else(|| elsewhere(present)) {
        None => differences.push(Difference::new(
            "port forward",
            None::<&str>,
            format!("port {} to {}", service.port, service.alias),
        )),
        Some(nat) => nat_differences(nat, service, differences),
    }
    match pair.filter {
        None => {
            differences.push(Difference::new(
                "filter rule",
                None::<&str>,
                format!("pass to {} port {}", service.alias, service.port),
            ));
            differences.extend(caps::differences(Caps::default(), caps));
        }
        Some(filter) => {
            if filter.disabled {
                differences.push(Difference::new("filter rule", "disabled", "enabled"));
            }
            let kind = filter.kind.as_deref().unwrap_or("pass");
            if !matches!(kind, "" | "pass") {
                differences.push(Difference::new("filter rule type", kind, "pass"));
            }
            if filter.protocol.as_deref() != Some("tcp") {
                differences.push(Difference::new(
                    "filter rule protocol",
                    filter.protocol.clone(),
                    "tcp",
                ));
            }
            differences.extend(caps::differences(ratelimit::of_configured(filter).0, caps));
        }
    }
    draft
        .checks
        .push(format!("pf's loaded rule carries {caps}."));
    draft
}

fn nat_differences(nat: &NatRule, service: &Service, differences: &mut Vec<Difference>) {
    if nat.disabled {
        differences.push(Difference::new("port forward", "disabled", "enabled"));
    }
    if nat.target.as_deref() != Some(service.alias.as_str()) {
        differences.push(Difference::new(
            "port forward target",
            nat.target.clone(),
            service.alias.clone(),
        ));
    }
    let port = service.port.to_string();
    if nat.local_port.as_deref() != Some(port.as_str()) {
        differences.push(Difference::new(
            "port forward port",
            nat.local_port.clone(),
            port,
        ));
    }
    if nat.protocol.as_deref() != Some("tcp") {
        differences.push(Difference::new(
            "port forward protocol",
            nat.protocol.clone(),
            "tcp",
        ));
    }
    if nat.association.as_deref() == Some("pass") {
        differences.push(Difference::new(
            "association",
            "pass",
            "a filter rule of its own",
        ));
    }
}

/// Finds a port forward of the service's port that points elsewhere: the one that `apply` corrects.
fn elsewhere<'a>(present: &Present<'a>) -> Option<&'a NatRule> {
    let port = present.service.port.to_string();
    let here = |rule: &&NatRule| {
        rule.interface == present.service.interface
            && !rule.nordr
            && rule.destination.port.as_deref() == Some(port.as_str())
    };
    present.configured.nat.iter().find(here)
}
