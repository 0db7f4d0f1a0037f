//! The exposure's raw records in the configuration: which they are, and their fingerprint. The same rules as the
//! agent's `records.php`: by port, interface, target and association, never by description or position.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use crate::domain::change::{Element, Placed, Records, Separators};
use crate::firewall::agent::ReadRequest;
use crate::simulator::configuration::Configuration;
use crate::simulator::configuration::read::{ours, side_field};

/// Where the service's records stand in their lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Port forwards.
    pub nat: Vec<usize>,
    /// Whether these lead to the service; if not, they hold its port for another target.
    pub ours: bool,
    /// Filter rules.
    pub filter: Vec<usize>,
    /// The alias.
    pub alias: Option<usize>,
}

impl Pair {
    /// Finds the records.
    pub fn find(configuration: &Configuration, service: &ReadRequest) -> Self {
        let (nat, is_ours) = forwards(configuration, service);
        let filter = passes(configuration, service, &nat);
        let aliases = configuration.list("aliases", "alias");
        let named = |alias: &Element| alias.text("name") == Some(service.alias.as_str());
        Self {
            nat,
            ours: is_ours,
            filter,
            alias: aliases.iter().position(named),
        }
    }

    /// Returns the records as they travel: the first of each kind.
    pub fn records(&self, configuration: &Configuration) -> Records {
        let placed = |section, tag, place: Option<usize>| {
            let record = configuration.list(section, tag).get(place?)?.clone();
            let index = u32::try_from(place?).unwrap_or(u32::MAX);
            Some(Placed { index, record })
        };
        Records {
            nat: placed("nat", "rule", self.nat.first().copied()),
            filter: placed("filter", "rule", self.filter.first().copied()),
            alias: placed("aliases", "alias", self.alias),
            separators: separators(configuration),
        }
    }

    /// Returns why pf could not be asked about the filter rule: it has no tracker of its own, and cannot be told by target
    /// and port.
    pub fn unprovable(
        &self,
        configuration: &Configuration,
        service: &ReadRequest,
    ) -> Option<String> {
        let [own] = self.filter.as_slice() else {
            return None;
        };
        let rules = configuration.list("filter", "rule");
        let rule = rules.get(*own)?;
        let number = |rule: &Element| {
            let tracker = rule.text("tracker").unwrap_or_default();
            tracker.parse::<u64>().unwrap_or(0)
        };
        let others = rules.iter().enumerate();
        let others: Vec<&Element> = others
            .filter(|(place, other)| place != own && number(other) == number(rule))
            .map(|(_, other)| other)
            .collect();
        if number(rule) != 0 && others.is_empty() {
            return None;
        }
        let advice = "open it in the GUI and save it as a new rule with a tracker of its own";
        let target = side_field(rule, "destination", "address").unwrap_or_default();
        if target.is_empty() || !lets_in(rule, service, Some(target)) {
            return Some(format!(
                "the filter rule has no tracker of its own, and pf cannot be asked about it by target and port; {advice}"
            ));
        }
        let same =
            |other: &&Element| !other.has("disabled") && lets_in(other, service, Some(target));
        others.iter().any(same).then(|| {
            format!("the filter rule has no tracker of its own, and another rule has its target and port; {advice}")
        })
    }

    /// Returns the fingerprint of all the service's records.
    pub fn fingerprint(&self, configuration: &Configuration) -> String {
        let list = |section, tag, places: &[usize]| {
            let records = configuration.list(section, tag);
            Element::List(
                places
                    .iter()
                    .filter_map(|place| records.get(*place))
                    .cloned()
                    .collect(),
            )
        };
        let bars = separators(configuration);
        let alias: Vec<usize> = self.alias.into_iter().collect();
        let whole = Element::Map(vec![
            ("alias".to_owned(), list("aliases", "alias", &alias)),
            ("filter".to_owned(), list("filter", "rule", &self.filter)),
            ("nat".to_owned(), list("nat", "rule", &self.nat)),
            (
                "separators".to_owned(),
                Element::Map(vec![
                    ("filter".to_owned(), bars.filter),
                    ("nat".to_owned(), bars.nat),
                ]),
            ),
        ]);
        format!("{:x}", Sha256::digest(whole.canonical()))
    }
}

/// Returns the separators of both lists.
pub fn separators(configuration: &Configuration) -> Separators {
    let of = |section| {
        let found = configuration.section(section).get("separator");
        found.cloned().unwrap_or_default()
    };
    Separators {
        nat: of("nat"),
        filter: of("filter"),
    }
}

/// Says whether a rule's destination is the interface's own address: a virtual address and its port are somebody
/// else's.
fn to_own_address(configuration: &Configuration, rule: &Element, interface: &str) -> bool {
    let present = configuration.section("interfaces").get(interface);
    let own = present.and_then(|interface| interface.text("ipaddr")?.parse::<IpAddr>().ok());
    let field = |key| side_field(rule, "destination", key).unwrap_or_default();
    let named = field("address").parse::<IpAddr>().ok();
    !rule.get("destination").is_some_and(|side| side.has("not"))
        && (field("network") == format!("{interface}ip") || (own.is_some() && named == own))
}

fn is_forward_of_port(
    configuration: &Configuration,
    rule: &Element,
    service: &ReadRequest,
) -> bool {
    !rule.has("nordr")
        && rule.text("interface") == Some(service.interface.as_str())
        && is_tcp(rule)
        && configuration.covers(side_field(rule, "destination", "port"), service.port)
}

/// Says whether saved records are the service's: its forward, and the filter rule that is joined to it or lets the
/// service's traffic in.
pub fn are_ours(records: &Records, configuration: &Configuration, service: &ReadRequest) -> bool {
    let record = |placed: &Option<Placed>| placed.as_ref().map(|placed| placed.record.clone());
    let (nat, filter) = (record(&records.nat), record(&records.filter));
    let joined = nat.as_ref().and_then(association);
    let is_joined = |rule: &Element| joined.is_some() && association(rule) == joined;
    let forwards = |rule: &Element| {
        is_forward_of_port(configuration, rule, service) && ours(rule.text("target"), service)
    };
    (nat.is_some() || filter.is_some())
        && nat.as_ref().is_none_or(forwards)
        && filter
            .as_ref()
            .is_none_or(|rule| is_joined(rule) || lets_in(rule, service, None))
}

/// Port forwards of this port and interface: those to the service or, if there are none, those that lead the
/// interface's own address elsewhere.
fn forwards(configuration: &Configuration, service: &ReadRequest) -> (Vec<usize>, bool) {
    let here = |rule: &Element| is_forward_of_port(configuration, rule, service);
    let found = configuration.list("nat", "rule").iter().enumerate();
    let (mine, others): (Vec<_>, Vec<_>) = found
        .filter(|(_, rule)| here(rule))
        .partition(|(_, rule)| ours(rule.text("target"), service));
    let is_ours = !mine.is_empty();
    let chosen = if is_ours { mine } else { others };
    let meant = |(_, rule): &(usize, &Element)| {
        is_ours || to_own_address(configuration, rule, &service.interface)
    };
    let chosen = chosen.into_iter().filter(meant);
    (chosen.map(|(place, _)| place).collect(), is_ours)
}

/// Filter rules joined to the port forwards, or else those that let the service's traffic in.
fn passes(configuration: &Configuration, service: &ReadRequest, forwards: &[usize]) -> Vec<usize> {
    let nat = configuration.list("nat", "rule");
    let forwards: Vec<&Element> = forwards
        .iter()
        .filter_map(|place| nat.get(*place))
        .collect();
    let joined = |rule: &Element| {
        let id = association(rule);
        id.is_some() && forwards.iter().any(|forward| association(forward) == id)
    };
    let rules = configuration.list("filter", "rule").iter().enumerate();
    let (linked, matching): (Vec<_>, Vec<_>) = rules
        .filter(|(_, rule)| joined(rule) || lets_in(rule, service, None))
        .partition(|(_, rule)| joined(rule));
    let chosen = if linked.is_empty() { matching } else { linked };
    chosen.into_iter().map(|(place, _)| place).collect()
}

/// Returns the association that joins two records.
pub fn association(rule: &Element) -> Option<&str> {
    rule.text("associated-rule-id")
        .filter(|id| !id.is_empty() && *id != "pass")
}

fn is_tcp(rule: &Element) -> bool {
    matches!(rule.text("protocol"), Some("tcp" | "tcp/udp"))
}

/// Says whether a filter rule lets the service's traffic in; with a target, also what is forwarded there.
fn lets_in(rule: &Element, service: &ReadRequest, target: Option<&str>) -> bool {
    let address = side_field(rule, "destination", "address");
    let port = side_field(rule, "destination", "port").unwrap_or_default();
    matches!(rule.text("type"), None | Some("" | "pass"))
        && !rule.has("floating")
        && is_tcp(rule)
        && rule.text("interface") == Some(service.interface.as_str())
        && !rule.get("destination").is_some_and(|side| side.has("not"))
        && port.trim() == service.port.to_string()
        && (ours(address, service) || (target.is_some() && address == target))
}
