//! What config.xml says, in the shape that the judgements use; [`super::config`] makes it of the raw sections
//! that the firewall reports. Judging is [`crate::domain::exposure`]'s work.
//!
//! Presence and emptiness differ in config.xml (an empty `<disabled/>` disables, an empty
//! `<max-src-conn/>` sets no cap), so optional texts are `None` when the element is absent and
//! `Some("")` when it is there but empty.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::change::{Armed, Deleted, Element, Expired, RunningChange};
use super::config::{Sections, members_of_text};
use super::leftovers::{Leftover, StoredFiles};
use super::stored::StoredChange;

mod record;

/// How many entries of the configuration history are shown.
const HISTORY: usize = 30;

/// Everything the agent reports in one read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configured {
    pub system: System,
    /// The configuration's revision: the first of `history`.
    #[serde(skip)]
    pub revision: Revision,
    /// The raw sections, of which the fields marked `skip` are made.
    #[serde(default)]
    pub sections: Sections,
    /// Every port forward, on every interface, in order.
    #[serde(skip)]
    pub all_nat: Vec<NatRule>,
    /// Every filter rule, floating ones and those of interface groups too, in order.
    #[serde(skip)]
    pub all_filter: Vec<FilterRule>,
    /// Every alias, nested ones and those of ports too.
    #[serde(skip)]
    pub aliases: Vec<Alias>,
    #[serde(skip)]
    pub interfaces: Vec<InterfaceConfig>,
    #[serde(skip)]
    pub interface_groups: Vec<InterfaceGroup>,
    /// NAT port forwards that touch the service: destination port or local port is ours, or the target is
    /// the alias or its address.
    #[serde(skip)]
    pub nat: Vec<NatRule>,
    /// Filter rules joined to one of those by association, or whose destination is the alias, its address
    /// or the service's port on the interface.
    #[serde(skip)]
    pub filter: Vec<FilterRule>,
    /// The alias of the configured name, if it exists.
    #[serde(skip)]
    pub alias: Option<Alias>,
    #[serde(skip)]
    pub cron: Vec<CronItem>,
    /// The configured interface (`wan`), if it exists.
    #[serde(skip)]
    pub interface: Option<InterfaceConfig>,
    /// GUI subsystems with saved but unapplied changes, of `filter`, `natconf`, `aliases`.
    pub dirty: Vec<String>,
    /// A sync peer is configured (this node pushes its rules to another).
    pub ha_peer: bool,
    /// pf is switched off in the configuration (`system/disablefilter`).
    #[serde(skip)]
    pub filter_disabled: bool,
    /// Fingerprint of the exposure's records, which a change must name (see [`super::change::Records::fingerprint`]).
    #[serde(skip)]
    pub fingerprint: String,
    /// The changes that the firewall keeps, oldest first.
    #[serde(default)]
    pub changes: Vec<StoredChange>,
    #[serde(skip)]
    pub armed: Vec<Armed>,
    /// Rollbacks that have fired or were disarmed by a later change, as far as the firewall still keeps them.
    #[serde(skip)]
    pub expired: Vec<Expired>,
    /// Changes that are being made, or were interrupted and will be brought to an end within a minute.
    #[serde(skip)]
    pub unfinished: Vec<RunningChange>,
    /// What deletions of rules of this port and interface took away, newest first.
    #[serde(skip)]
    pub deletions: Vec<Deleted>,
    /// What the last deletion of the service's rules took away, where neither rule is there now.
    #[serde(skip)]
    pub deleted: Option<Deleted>,
    #[serde(default)]
    pub files: StoredFiles,
    /// Files of kmsctl's that have something to do, and those that are left over.
    #[serde(skip)]
    pub leftovers: Vec<Leftover>,
    /// Functions that a change needs and the firewall's PHP does not have.
    #[serde(default)]
    pub missing: Vec<String>,
    #[serde(default)]
    pub revisions: Revisions,
    /// pfSense's own configuration history, newest first, at most 30 entries.
    #[serde(skip)]
    pub history: Vec<Revision>,
}

/// pfSense's own configuration history, raw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revisions {
    /// `revision` of config.xml: the one in force.
    pub revision: Element,
    /// Of the index of backups: by their time, in any order. The description has the user's name in front; only some versions
    /// keep the name by itself.
    pub backups: Element,
}

impl Revisions {
    /// Returns the revision in force, and the backups, newest first.
    fn history(&self) -> Vec<Revision> {
        let revision = |time: Option<&str>, record: &Element| Revision {
            time: time.map(str::to_owned),
            description: record.child_text("description").map(str::to_owned),
            username: record.child_text("username").map(str::to_owned),
        };
        let backups = match &self.backups {
            Element::Map(backups) => backups.as_slice(),
            Element::Text(_) | Element::List(_) => &[],
        };
        let times = backups.iter().filter_map(|(time, record)| {
            let number: u64 = time.parse().ok()?;
            Some((number, revision(Some(time), record)))
        });
        let mut older: Vec<(u64, Revision)> = times.collect();
        older.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        let present = revision(self.revision.child_text("time"), &self.revision);
        let older = older.into_iter().map(|(_, revision)| revision);
        std::iter::once(present).chain(older).take(HISTORY).collect()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// `/etc/version`, such as `2.7.2-RELEASE`.
    pub version: Option<String>,
    /// `version` of config.xml, such as `23.3`.
    pub config_version: Option<String>,
    pub php: String,
}

/// `revision` of config.xml.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Epoch seconds, as text.
    pub time: Option<String>,
    pub description: Option<String>,
    pub username: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// `<any/>` is present.
    pub any: bool,
    /// `<network>`: `wanip`, `lan`, ….
    pub network: Option<String>,
    /// `<address>`: an address, network or alias.
    pub address: Option<String>,
    /// `<port>`: a port, `a-b` range or alias.
    pub port: Option<String>,
    /// `<not/>` is present.
    pub not: bool,
}

/// A `<nat><rule>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRule {
    /// Position in the list, from 0. Not an identity: the list is re-sorted on saves.
    pub index: u32,
    /// `<disabled>` is present.
    pub disabled: bool,
    /// `<nordr>` is present.
    pub nordr: bool,
    /// `wan`, `opt1`, ….
    pub interface: String,
    /// `inet`, `inet6`; absent on old configurations, meaning `inet`.
    pub ipprotocol: Option<String>,
    /// `tcp`, `udp`, `tcp/udp`.
    pub protocol: Option<String>,
    pub source: Side,
    pub destination: Side,
    /// Where it goes: an address or alias.
    pub target: Option<String>,
    /// First target port.
    pub local_port: Option<String>,
    pub descr: Option<String>,
    /// `nat_…`, `pass` or empty.
    pub association: Option<String>,
    /// `enable`, `purenat`, `disable`; absent is the system's default.
    pub natreflection: Option<String>,
}

impl NatRule {
    /// Returns whether its redirection passes what it redirects: no filter rule is asked, and nothing is capped.
    pub fn passes_by_itself(&self) -> bool {
        self.association.as_deref() == Some("pass")
    }
}

/// A `<filter><rule>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterRule {
    /// Position in the list, from 0. Not an identity.
    pub index: u32,
    /// Epoch second of creation as text; pf's `ridentifier`. Leading zeros count.
    pub tracker: Option<String>,
    /// `pass`, `block`, `reject`; absent means pass.
    pub kind: Option<String>,
    /// `<disabled>` is present.
    pub disabled: bool,
    /// `<floating>` is present.
    pub floating: bool,
    /// `<quick>` is present; rules that are not floating always are.
    pub quick: bool,
    /// `in`, `out`, `any`; only floating rules have it.
    pub direction: Option<String>,
    /// `wan`, `opt1`, a group, …, comma separated on floating rules.
    pub interface: Option<String>,
    /// `inet`, `inet6`, `inet46`.
    pub ipprotocol: Option<String>,
    /// `tcp`, `udp`, `tcp/udp`; absent is any.
    pub protocol: Option<String>,
    pub source: Side,
    pub destination: Side,
    pub descr: Option<String>,
    /// `nat_…` joins it to the NAT rule with the same value.
    pub association: Option<String>,
    /// `keep state`, `none`, ….
    pub statetype: Option<String>,
    /// The schedule outside of which pfSense does not load the rule.
    pub sched: Option<String>,
    pub caps: CapFields,
    /// What else limits or marks its traffic, as typed: element and value.
    pub conditions: Vec<(&'static str, String)>,
}

/// Reads a tracker as pf carries it: a number of 32 bits, not 0. pf prints 0100000101 as 100000101.
pub fn parse_tracker(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number != 0)
}

impl FilterRule {
    pub fn tracker_number(&self) -> Option<u32> {
        parse_tracker(self.tracker.as_deref()?)
    }

    /// Returns whether it lets in what it is about; pfSense reads a rule without a type as one that does.
    pub fn is_pass(&self) -> bool {
        matches!(self.kind.as_deref(), None | Some("" | "pass"))
    }

    pub fn is_block(&self) -> bool {
        matches!(self.kind.as_deref(), Some("block" | "reject"))
    }

    /// Says why pfSense ignores caps on the rule (`filter.inc` of 2.7.2): a clause.
    pub fn why_caps_are_ignored(&self) -> Option<String> {
        let kind = self.kind.as_deref().unwrap_or_default();
        let protocol = self.protocol.as_deref().filter(|text| !text.is_empty()).unwrap_or("any");
        if !self.is_pass() {
            return Some(format!(
                "the filter rule's action is {kind}, and only rules that pass have caps"
            ));
        }
        if !matches!(protocol, "tcp" | "tcp/udp") {
            return Some(format!(
                "the filter rule's protocol is {protocol}, and pfSense writes connection caps for TCP only"
            ));
        }
        let keeps_none = self.statetype.as_deref() == Some("none");
        keeps_none
            .then(|| "the filter rule keeps no state, so there is nothing to count".to_owned())
    }
}

/// The cap fields of a filter rule, as typed (pfSense 2.7.2 source, `filter.inc`): an empty element sets no
/// cap, and the rate counts only when both of its halves are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapFields {
    /// Connections per source.
    pub max_src_conn: Option<String>,
    /// N of the rate.
    pub max_src_conn_rate: Option<String>,
    /// SECONDS of the rate.
    pub max_src_conn_rates: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alias {
    pub name: String,
    /// `host`, `network`, `port`, `url`, ….
    pub kind: Option<String>,
    /// Its members, space separated.
    pub address: Option<String>,
}

impl Configured {
    /// Gives the history its order, and takes out what this PHP need not have.
    pub(super) fn sort_history(&mut self) {
        self.history = self.revisions.history();
        self.revision = self.history.first().cloned().unwrap_or_default();
        // PHP has it since 8.1; before, a power cut can cost a file of ours.
        let is_old = self.system.php.starts_with("7.") || self.system.php.starts_with("8.0.");
        self.missing.retain(|name| !(is_old && name == "fsync"));
    }

    /// Returns the addresses and networks of the service's alias, those of nested aliases too; `None` if one of them is
    /// a name or a list that only the firewall can resolve, or there is no alias.
    pub fn resolved_members(&self) -> Option<Vec<ipnet::IpNet>> {
        let text = self.alias.as_ref()?.address.as_deref();
        members_of_text(&self.aliases, text.unwrap_or_default())
    }

    /// Returns the configured filter rules with this tracker.
    pub fn rules_of_tracker(&self, number: u32) -> impl Iterator<Item = &FilterRule> {
        self.all_filter.iter().filter(move |rule| rule.tracker_number() == Some(number))
    }

    /// Returns the tracker of a rule that no other configured rule carries.
    pub fn sole_tracker(&self, own: &FilterRule) -> Option<u32> {
        own.tracker_number().filter(|number| self.rules_of_tracker(*number).count() == 1)
    }

    /// Returns the members of the service's alias, but for names, which only the firewall can resolve.
    pub fn alias_networks(&self) -> Vec<ipnet::IpNet> {
        let alias = self.alias.as_ref();
        let text = alias.and_then(|alias| alias.address.as_deref()).unwrap_or_default();
        let known = || crate::domain::connections::alias_members(text.split_ascii_whitespace());
        self.resolved_members().unwrap_or_else(known)
    }

    /// Returns whether rules of this interface, or of this group of interfaces, look at packets of `interface`.
    pub fn covers_interface(&self, name: &str, interface: &str) -> bool {
        let has_it = |group: &InterfaceGroup| {
            group.name == name && group.members.iter().any(|member| member == interface)
        };
        name == interface || self.interface_groups.iter().any(has_it)
    }

    /// Returns whether there is an interface whose packets are looked at by rules of both of these, which may be groups.
    pub fn shares_interface(&self, one: &str, other: &str) -> bool {
        let mut groups = self.interface_groups.iter().filter(|group| group.name == one);
        self.covers_interface(other, one)
            || groups
                .any(|group| group.members.iter().any(|name| self.covers_interface(other, name)))
    }

    /// Returns the interface that leads to an address: that of the narrowest network with it.
    pub fn exit_interface(&self, address: IpAddr) -> Option<&InterfaceConfig> {
        let narrowest = |interface: &&InterfaceConfig| {
            let networks = interface.networks().into_iter();
            let here = networks.filter(|net| net.contains(&address));
            here.map(|net| net.prefix_len()).max()
        };
        let enabled = self.interfaces.iter().filter(|interface| interface.is_enabled());
        let here = enabled.filter(|interface| narrowest(interface).is_some());
        // Of several the first.
        here.rev().max_by_key(narrowest)
    }
}

/// A `<cron><item>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronItem {
    /// Minute field, such as `*/60`.
    pub minute: String,
    pub hour: String,
    /// Day of the month field.
    pub mday: String,
    pub month: String,
    /// Day of the week field.
    pub wday: String,
    pub who: String,
    pub command: String,
}

/// `interfaces/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// `wan`, `opt1`.
    pub name: String,
    /// `<enable>` is present.
    pub enabled: bool,
    /// The system's name, such as `vtnet0`.
    pub device: Option<String>,
    pub descr: Option<String>,
    /// An address, or `dhcp`, `pppoe`, ….
    pub ipaddr: Option<String>,
    /// Prefix length.
    pub subnet: Option<String>,
    /// An IPv6 address, or `dhcp6`, `track6`, ….
    pub ipaddr_v6: Option<String>,
    /// Prefix length of it.
    pub subnet_v6: Option<String>,
    /// Its gateway's name: who has one leads outside.
    pub gateway: Option<String>,
    /// Its IPv6 gateway's name.
    pub gateway_v6: Option<String>,
    /// A gateway of System > Routing is on it: it may lead outside, or to a router inside.
    pub has_routing_gateway: bool,
    pub virtual_addresses: Vec<VirtualAddress>,
}

/// A `<virtualip><vip>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    pub network: IpNet,
    /// The interface has it, so its network is behind the interface; one of Proxy ARP is only answered for.
    pub is_own: bool,
}

impl InterfaceConfig {
    /// Returns whether pfSense makes rules for it, and leads to its networks.
    pub fn is_enabled(&self) -> bool {
        self.enabled || self.name == "wan"
    }

    /// Returns the networks that it leads to, as far as they are configured.
    pub fn networks(&self) -> Vec<IpNet> {
        let sides = [(&self.ipaddr, &self.subnet), (&self.ipaddr_v6, &self.subnet_v6)];
        let network = |(address, bits): (&Option<String>, &Option<String>)| {
            let address: IpAddr = address.as_deref()?.trim().parse().ok()?;
            let bits: u8 = bits.as_deref()?.trim().parse().ok()?;
            let network = IpNet::new(address, bits).ok();
            network.map(|network| network.trunc())
        };
        let own = self.virtual_addresses.iter().filter(|other| other.is_own);
        let own = own.map(|other| other.network);
        sides.into_iter().filter_map(network).chain(own).collect()
    }

    /// Returns what rules mean by its network: those of its virtual addresses too.
    pub fn rule_networks(&self) -> Vec<IpNet> {
        let others = self.virtual_addresses.iter().filter(|other| !other.is_own);
        let mut networks = self.networks();
        networks.extend(others.map(|other| other.network));
        networks
    }

    /// Returns whether config.xml gives it a gateway; an address by DHCP or PPPoE brings its own.
    pub fn has_gateway(&self) -> bool {
        let named = |gateway: &Option<String>| {
            gateway.as_deref().is_some_and(|name| !name.is_empty() && name != "none")
        };
        let dynamic =
            matches!(self.ipaddr.as_deref(), Some("dhcp" | "pppoe" | "pptp" | "l2tp" | "ppp"))
                || matches!(self.ipaddr_v6.as_deref(), Some("dhcp6" | "slaac"));
        named(&self.gateway) || named(&self.gateway_v6) || dynamic
    }
}

/// An interface group: rules on it count on all of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceGroup {
    /// Its name, which a rule's `interface` names.
    pub name: String,
    /// `wan`, `opt1`, ….
    pub members: Vec<String>,
}
