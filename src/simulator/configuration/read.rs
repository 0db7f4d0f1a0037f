//! What the agent's `read` reports of the configuration: the same records and fields that `agent.php` picks, by
//! the same rules. The contract suite holds both to it.

use std::net::IpAddr;

use super::Configuration;
use crate::domain::change::Element;
use crate::domain::configured::{
    Alias, Configured, CronItem, FilterRule, InterfaceConfig, NatRule, Revision, System,
};
use crate::firewall::agent::ReadRequest;

/// How many entries of the configuration history are told.
const HISTORY: usize = 30;
/// How deep port aliases may nest.
const DEPTH: u8 = 4;

impl Configuration {
    /// Returns what a read request is answered with.
    pub fn read(&self, request: &ReadRequest) -> Configured {
        let nat = self.nat_rules(request);
        let filter = self.filter_rules(request, &nat);
        let system = self.section("system");
        Configured {
            system: System {
                version: Some("2.7.2-RELEASE".to_owned()),
                config_version: owned(&self.tree, "version"),
                php: "8.2.11".to_owned(),
                timezone: owned(system, "timezone"),
            },
            revision: revision_of(self.section("revision")),
            nat,
            filter,
            alias: self.alias(&request.alias),
            cron: self.cron_items(request.table.as_str()),
            interface: self.interface(&request.interface),
            dirty: self.dirty.clone(),
            ha_peer: self
                .section("hasync")
                .text("synchronizetoip")
                .is_some_and(|peer| !peer.is_empty()),
            filter_disabled: system.has("disablefilter"),
            history: self.revisions(),
            ..Configured::default()
        }
    }

    /// Returns the revision in force and older ones, newest first.
    fn revisions(&self) -> Vec<Revision> {
        let present = std::iter::once(self.section("revision"));
        let all = present.chain(&self.history).take(HISTORY);
        all.map(revision_of).collect()
    }

    fn nat_rules(&self, request: &ReadRequest) -> Vec<NatRule> {
        let found = self
            .list("nat", "rule")
            .iter()
            .enumerate()
            .filter(|(_, rule)| {
                let covers = |field| self.covers(field, request.port, 0);
                covers(side_field(rule, "destination", "port"))
                    || covers(rule.text("local-port"))
                    || ours(rule.text("target"), request)
            });
        found
            .map(|(index, rule)| NatRule::of_record(place(index), rule))
            .collect()
    }

    fn filter_rules(&self, request: &ReadRequest, nat: &[NatRule]) -> Vec<FilterRule> {
        let joined = |rule: &Element| {
            let id = rule.text("associated-rule-id").unwrap_or_default();
            !id.is_empty()
                && id != "pass"
                && nat.iter().any(|nat| nat.association.as_deref() == Some(id))
        };
        let found = self
            .list("filter", "rule")
            .iter()
            .enumerate()
            .filter(|(_, rule)| {
                joined(rule)
                    || ours(side_field(rule, "destination", "address"), request)
                    || (is_on(rule, &request.interface)
                        && self.covers(side_field(rule, "destination", "port"), request.port, 0))
            });
        found
            .map(|(index, rule)| FilterRule::of_record(place(index), rule))
            .collect()
    }

    /// Says whether a port field covers the port: a number, a range, or an alias of those.
    pub fn covers(&self, field: Option<&str>, port: u16, depth: u8) -> bool {
        let field = field.unwrap_or_default().trim();
        if let Ok(number) = field.parse::<u16>() {
            return number == port;
        }
        if let Some((low, high)) = field.split_once(['-', ':'])
            && let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>())
        {
            return (low..=high).contains(&port);
        }
        let aliases = self.list("aliases", "alias").iter().filter(|alias| {
            alias.text("name") == Some(field) && alias.text("type") == Some("port")
        });
        !field.is_empty()
            && depth <= DEPTH
            && aliases
                .flat_map(|alias| alias.text("address").unwrap_or_default().split_whitespace())
                .any(|member| self.covers(Some(member), port, depth + 1))
    }

    fn alias(&self, name: &str) -> Option<Alias> {
        let aliases = self.list("aliases", "alias");
        let found = aliases
            .iter()
            .find(|alias| alias.text("name") == Some(name))?;
        Some(Alias {
            name: name.to_owned(),
            kind: owned(found, "type"),
            address: owned(found, "address"),
        })
    }

    fn cron_items(&self, table: &str) -> Vec<CronItem> {
        let items = self.list("cron", "item").iter().filter(|item| {
            let command = item.text("command").unwrap_or_default();
            command.split_whitespace().any(|word| word == table)
        });
        let field = |item: &Element, key: &str| item.text(key).unwrap_or_default().to_owned();
        items
            .map(|item| CronItem {
                minute: field(item, "minute"),
                hour: field(item, "hour"),
                mday: field(item, "mday"),
                month: field(item, "month"),
                wday: field(item, "wday"),
                who: field(item, "who"),
                command: field(item, "command"),
            })
            .collect()
    }

    fn interface(&self, name: &str) -> Option<InterfaceConfig> {
        let found = self.section("interfaces").get(name)?;
        Some(InterfaceConfig {
            name: name.to_owned(),
            device: owned(found, "if"),
            descr: owned(found, "descr"),
            ipaddr: owned(found, "ipaddr"),
            subnet: owned(found, "subnet"),
        })
    }
}

/// Says whether a field names the service: its alias, or its address in any spelling.
pub fn ours(field: Option<&str>, request: &ReadRequest) -> bool {
    let field = field.unwrap_or_default().trim();
    field == request.alias || field.parse::<IpAddr>() == Ok(request.address)
}

/// Says whether a filter rule looks at this interface.
pub fn is_on(rule: &Element, interface: &str) -> bool {
    let names = rule.text("interface").unwrap_or_default();
    names.split(',').any(|name| name == interface)
        || (rule.has("floating") && matches!(names, "" | "any"))
}

/// Returns a text of a rule's `source` or `destination`.
pub fn side_field<'a>(rule: &'a Element, side: &str, key: &str) -> Option<&'a str> {
    rule.get(side).and_then(|side| side.text(key))
}

fn revision_of(revision: &Element) -> Revision {
    Revision {
        time: owned(revision, "time"),
        description: owned(revision, "description"),
        username: owned(revision, "username"),
    }
}

fn owned(record: &Element, key: &str) -> Option<String> {
    record.text(key).map(str::to_owned)
}

fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
