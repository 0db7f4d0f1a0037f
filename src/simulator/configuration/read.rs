//! What the agent's `read` reports of the configuration: the same sections, records and fields as `read.php` picks. The
//! contract suite holds both to it.

use super::Configuration;
use crate::domain::pfsense::change::Element;
use crate::domain::pfsense::config::Sections;
use crate::domain::pfsense::configured::{Configured, Revisions, System};
use crate::pfsense::agent::ReadRequest;

impl Configuration {
    pub fn read(&self, request: &ReadRequest) -> Configured {
        let answer = Configured {
            system: System {
                version: Some("2.7.2-RELEASE".to_owned()),
                config_version: owned_field(&self.tree.0, "version"),
                php: "8.2.11".to_owned(),
            },
            sections: self.sections(request),
            dirty: self.dirty.clone(),
            ha_peer: self
                .tree
                .section("hasync")
                .child_text("synchronizetoip")
                .is_some_and(|peer| !peer.is_empty()),
            revisions: self.revisions(),
            ..Configured::default()
        };
        answer.shaped_for(request)
    }

    pub fn sections(&self, request: &ReadRequest) -> Sections {
        let mut sections = Element::Map(Vec::new());
        for section in ["nat", "filter"] {
            let found = self.tree.section(section).get("separator");
            let mut child = Element::Map(Vec::new());
            child.set_child("separator", found.cloned().unwrap_or_default());
            sections.set_child(section, child);
        }
        for (section, tag, keys) in LISTS {
            let records = self.tree.list(section, tag).iter();
            let picked = records.filter_map(|record| match (tag, record.child_text("name")) {
                ("alias", Some(name)) if name == request.alias => Some(record.clone()),
                ("item", _) if !names_table(record, request) => None,
                _ if keys.is_empty() => Some(record.clone()),
                _ => Some(pick_fields(record, keys)),
            });
            let mut child = sections.get(section).cloned().unwrap_or_default();
            child.set_child(tag, Element::List(picked.collect()));
            sections.set_child(section, child);
        }
        if let Element::Map(interfaces) = self.tree.section("interfaces") {
            let picked = |(name, record): &(String, Element)| {
                (name.clone(), pick_fields(record, &INTERFACE))
            };
            let interfaces = interfaces.iter().map(picked).collect();
            sections.set_child("interfaces", Element::Map(interfaces));
        }
        sections.set_child("system", pick_fields(self.tree.section("system"), &FLAGS));
        Sections(sections)
    }

    fn revisions(&self) -> Revisions {
        let mut backups = Element::Map(Vec::new());
        // pfSense names its backups by the second; the last of one replaces the others.
        for revision in self.history.iter().rev() {
            let time = revision.child_text("time").unwrap_or_default();
            backups.set_child(time, revision.clone());
        }
        Revisions { revision: self.tree.section("revision").clone(), backups }
    }
}

const INTERFACE: [&str; 9] =
    ["enable", "if", "descr", "ipaddr", "subnet", "ipaddrv6", "subnetv6", "gateway", "gatewayv6"];
/// The lists that are read, and what of each record; nothing named is everything.
const LISTS: [(&str, &str, &[&str]); 8] = [
    ("nat", "rule", &[]),
    ("nat", "onetoone", &[]),
    ("filter", "rule", &[]),
    ("aliases", "alias", &["name", "type", "address"]),
    (
        "gateways",
        "gateway_item",
        &["name", "interface", "gateway", "ipprotocol", "defaultgw", "disabled"],
    ),
    ("ifgroups", "ifgroupentry", &["ifname", "members"]),
    (
        "virtualip",
        "vip",
        &["mode", "interface", "type", "subnet", "subnet_bits", "descr", "uniqid"],
    ),
    ("cron", "item", &[]),
];
/// What is read of `system`.
const FLAGS: [&str; 8] = [
    "disablefilter",
    "disablenatreflection",
    "enablenatreflectionpurenat",
    "enablebinatreflection",
    "enablenatreflectionhelper",
    "disablescrub",
    "maximumstates",
    "ipv6allow",
];

fn pick_fields(record: &Element, keys: &[&str]) -> Element {
    match record {
        Element::Map(pairs) => Element::Map(
            pairs.iter().filter(|(name, _)| keys.contains(&name.as_str())).cloned().collect(),
        ),
        other => other.clone(),
    }
}

/// Says whether a cron job's command names the table; others can hold passwords.
fn names_table(item: &Element, request: &ReadRequest) -> bool {
    let command = item.child_text("command").unwrap_or_default();
    command.split_whitespace().any(|word| word == request.table.as_str())
}

/// Returns a text of a rule's `source` or `destination`.
pub fn side_field<'a>(rule: &'a Element, side: &str, key: &str) -> Option<&'a str> {
    rule.get(side).and_then(|side| side.child_text(key))
}

fn owned_field(record: &Element, key: &str) -> Option<String> {
    record.child_text(key).map(str::to_owned)
}
