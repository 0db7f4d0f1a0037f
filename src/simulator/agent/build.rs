//! Making alias, port forward, filter rule and caps what the service needs, from whatever is there, as the agent's
//! `build.php` does: only what differs is touched, and what is new has the shape of pfSense's own pages. Who may
//! connect (`source`) is the administrator's.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::edit::{Context, Refusal, edit_rule, refuse, set, set_caps, tracker_taken};
use super::pair::{Pair, association};
use super::separators::{bars, insert_rule};
use crate::domain::change::Element;
use crate::domain::pf::rule::Rate;
use crate::firewall::agent::ReadRequest;
use crate::simulator::configuration::Configuration;
use crate::simulator::configuration::read::side_field;

/// The longest description of a filter rule that the port forward page makes, in bytes.
const LONGEST_DESCRIPTION: usize = 62;

/// What is to be built.
pub struct Wanted<'a> {
    /// Description of new rules.
    pub description: &'a str,
    /// The caps.
    pub caps: (Option<u32>, Option<Rate>),
    /// Whether the alias may be made or corrected, and a port forward to elsewhere made ours.
    pub alias: bool,
}

/// Builds what is missing and corrects what differs.
pub fn build(
    configuration: &mut Configuration,
    pair: &Pair,
    wanted: &Wanted<'_>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    build_alias(configuration, pair, context.service, wanted.alias)?;
    let first = |section, places: &[usize]| {
        let rules = configuration.list(section, "rule");
        places.first().and_then(|place| rules.get(*place)).cloned()
    };
    let (forward, pass) = (first("nat", &pair.nat), first("filter", &pair.filter));
    let port = context.service.port.to_string();
    if let Some(forward) = &forward
        && side_field(forward, "destination", "port")
            .unwrap_or_default()
            .trim()
            != port
    {
        return refuse(format!("the port forward is for more than port {port}"));
    }
    if let Some(forward) = forward.as_ref().filter(|_| !pair.ours && !wanted.alias) {
        let target = forward.text("target").unwrap_or_default();
        return refuse(format!(
            "the port forward of this port leads elsewhere ({target})"
        ));
    }
    let id = shared_association(forward.as_ref(), pass.as_ref(), context.now);
    if forward.is_some() {
        edit_rule(configuration, "nat", &pair.nat, |rule| {
            correct_forward(rule, &id, context);
        });
    } else {
        append(configuration, "nat", new_forward(wanted, &id, context));
    }
    if pass.is_some() {
        edit_rule(configuration, "filter", &pair.filter, |rule| {
            correct_pass(rule, wanted, &id, context);
        });
    } else {
        let rule = new_pass(configuration, wanted, &id, context);
        append(configuration, "filter", rule);
    }
    Ok(())
}

fn append(configuration: &mut Configuration, section: &str, rule: Element) {
    let before = bars(configuration, section);
    insert_rule(configuration, section, usize::MAX, rule, &before);
}

/// Returns the association that joins the two: the one they share, or that one of them has, or a new one, in the
/// form of PHP's `uniqid`.
fn shared_association(forward: Option<&Element>, pass: Option<&Element>, now: i64) -> String {
    let (of_forward, of_pass) = (forward.and_then(association), pass.and_then(association));
    let made = || {
        format!(
            "nat_{now:x}1a2b3.{:08}",
            10_000_000 + now.rem_euclid(80_000_000)
        )
    };
    match (of_forward, of_pass) {
        (Some(id), None) => id.to_owned(),
        (Some(id), Some(other)) if id == other => id.to_owned(),
        (None, Some(id)) if forward.is_none() => id.to_owned(),
        _ => made(),
    }
}

fn build_alias(
    configuration: &mut Configuration,
    pair: &Pair,
    service: &ReadRequest,
    may: bool,
) -> Result<(), Refusal> {
    if pair.alias.is_none() && !may {
        return refuse(format!("there is no alias {}", service.alias));
    }
    if !may {
        return Ok(());
    }
    let address = service.address.to_string();
    configuration.edit("aliases", "alias", |aliases| {
        let Some(alias) = pair.alias.and_then(|place| aliases.get_mut(place)) else {
            let record = Element::of_texts([
                ("name", service.alias.as_str()),
                ("type", "host"),
                ("address", address.as_str()),
                ("descr", ""),
                ("detail", ""),
            ]);
            // The alias page sorts by name; others are not moved for ours.
            let before = |alias: &Element| {
                let name = alias.text("name").unwrap_or_default().to_lowercase();
                name.cmp(&service.alias.to_lowercase()) == Ordering::Less
            };
            let place = aliases.iter().rposition(before).map_or(0, |last| last + 1);
            aliases.insert(place, record);
            return;
        };
        let present = alias.text("address").unwrap_or_default().trim();
        if present.parse::<IpAddr>() != Ok(service.address) {
            alias.set("address", address.as_str());
            // Descriptions of the members, one each.
            alias.set("detail", "");
        }
        set(alias, "type", Some("host"));
    });
    Ok(())
}

fn family(service: &ReadRequest) -> &'static str {
    if service.address.is_ipv4() {
        "inet"
    } else {
        "inet6"
    }
}

fn any() -> Element {
    Element::of_texts([("any", "")])
}

fn outside(service: &ReadRequest) -> Element {
    let (network, port) = (format!("{}ip", service.interface), service.port.to_string());
    Element::of_texts([("network", network.as_str()), ("port", port.as_str())])
}

/// Lets a filter rule in to the service and nowhere else. Returns whether it did not before.
fn set_way(rule: &mut Element, service: &ReadRequest) -> bool {
    let field = |key| side_field(rule, "destination", key).unwrap_or_default();
    let wide = rule
        .get("destination")
        .is_some_and(|side| side.has("not") || side.has("any"));
    let same = !wide
        && field("network").is_empty()
        && field("address") == service.alias
        && field("port") == service.port.to_string();
    if !same {
        rule.set("destination", destination(service));
    }
    !same
}

fn new_forward(wanted: &Wanted<'_>, id: &str, context: &Context<'_>) -> Element {
    let service = context.service;
    let port = service.port.to_string();
    let mut rule = Element::Map(Vec::new());
    rule.set("source", any());
    rule.set("destination", outside(service));
    rule.set("ipprotocol", family(service));
    rule.set("protocol", "tcp");
    rule.set("target", service.alias.as_str());
    rule.set("local-port", port.as_str());
    rule.set("interface", service.interface.as_str());
    rule.set("descr", wanted.description);
    rule.set("associated-rule-id", id);
    rule.set("updated", context.stamp());
    rule.set("created", context.stamp());
    rule
}

fn correct_forward(rule: &mut Element, id: &str, context: &Context<'_>) {
    let service = context.service;
    let mut differs = rule.remove("disabled");
    let destination = rule.get("destination").cloned().unwrap_or_default();
    let empty = |key| destination.text(key).unwrap_or_default().is_empty();
    // A virtual address of the firewall is as good as its own; anything else is not an address of the outside.
    if destination.has("not") || destination.has("any") || (empty("network") && empty("address")) {
        rule.set("destination", outside(service));
        differs = true;
    }
    differs |= set(rule, "protocol", Some("tcp"));
    differs |= set(rule, "target", Some(&service.alias));
    differs |= set(rule, "local-port", Some(&service.port.to_string()));
    differs |= set(rule, "associated-rule-id", Some(id));
    if differs {
        rule.set("updated", context.stamp());
    }
}

fn destination(service: &ReadRequest) -> Element {
    let port = service.port.to_string();
    Element::of_texts([("address", service.alias.as_str()), ("port", port.as_str())])
}

fn new_pass(
    configuration: &Configuration,
    wanted: &Wanted<'_>,
    id: &str,
    context: &Context<'_>,
) -> Element {
    let service = context.service;
    let mut tracker = context.now;
    while tracker_taken(configuration, &tracker.to_string()) {
        tracker += 1;
    }
    let mut rule = Element::Map(Vec::new());
    rule.set("source", any());
    rule.set("interface", service.interface.as_str());
    rule.set("ipprotocol", family(service));
    rule.set("protocol", "tcp");
    rule.set("destination", destination(service));
    set_caps(&mut rule, wanted.caps.0, wanted.caps.1);
    rule.set(
        "descr",
        cut(&format!("NAT {}", wanted.description)).as_str(),
    );
    rule.set("associated-rule-id", id);
    rule.set("tracker", tracker.to_string().as_str());
    let time = context.now.to_string();
    let created = [("time", time.as_str()), ("username", "NAT Port Forward")];
    rule.set("created", Element::of_texts(created));
    rule
}

fn correct_pass(rule: &mut Element, wanted: &Wanted<'_>, id: &str, context: &Context<'_>) {
    let mut differs = rule.remove("disabled");
    differs |= set_way(rule, context.service);
    differs |= set(rule, "protocol", Some("tcp"));
    if !rule.text("type").unwrap_or_default().is_empty() {
        differs |= set(rule, "type", Some("pass"));
    }
    if rule.text("statetype") == Some("none") {
        differs |= set(rule, "statetype", Some("keep state"));
    }
    differs |= set(rule, "associated-rule-id", Some(id));
    differs |= set_caps(rule, wanted.caps.0, wanted.caps.1);
    if differs {
        rule.set("updated", context.stamp());
    }
}

/// Cuts a description at pfSense's length in bytes, at a character.
fn cut(text: &str) -> String {
    let end = (0..=LONGEST_DESCRIPTION.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
