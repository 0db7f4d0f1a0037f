//! The rules and tables that pfSense 2.7.2 makes of the configuration, as FreeBSD 14's pfctl prints them once
//! loaded. The fixed part of the ruleset is a real one; the user's rules and forwards are made from their
//! records, by the facts of `filter_generate_user_rule()` and of pfctl's printing.

use super::Configuration;
use super::read::side_field;
use crate::domain::pfsense::change::Element;

const FILTER: &str = include_str!("../ruleset/filter.txt");
const TRANSLATION: &str = include_str!("../ruleset/translation.txt");
/// After this line of the fixed part come the user's rules.
const USER_RULES: &str = "anchor \"userrules/*\" all";
/// UPnP's anchors, behind everything else of their lists.
pub const UPNP_RDR_ANCHOR: &str = "rdr-anchor \"miniupnpd\" all";
const UPNP_ANCHOR: &str = "anchor \"miniupnpd\" all";
/// pf's longest label, in bytes.
const LONGEST_LABEL: usize = 63;

/// Networks that never are anybody's; the documentation networks, which the simulated clients live in, are
/// left out of the real list.
const BOGONS: &str =
    "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 192.0.0.0/24 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4";
const BOGONS6: &str = "::/8 3fff::/20";

/// Tables that are there in every configuration: name, flags of `-sT -v`, entries.
const TABLES: [(&str, &str, &str); 8] = [
    ("WAN__NETWORK", "-pa----", "192.168.1.0/24"),
    ("LAN__NETWORK", "-pa-r--", "10.0.10.0/24"),
    ("OPT1__NETWORK", "-pa-r--", "10.0.20.0/24"),
    ("sshguard", "-pa-r--", ""),
    ("snort2c", "--a-r--", ""),
    ("virusprot", "--a-r--", ""),
    ("bogons", "-pa-r--", BOGONS),
    ("bogonsv6", "-pa-r--", BOGONS6),
];

/// Everything that one load puts into pf. Rules are texts as `pfctl -P` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub scrub: Vec<String>,
    pub filter: Vec<String>,
    pub nat: Vec<String>,
    pub rdr: Vec<String>,
    /// 1:1 NAT.
    pub binat: Vec<String>,
    pub tables: Vec<DefinedTable>,
    /// Groups of interfaces, with the devices of their members.
    pub groups: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinedTable {
    pub name: String,
    /// The seven letters of `pfctl -sT -v`.
    pub flags: &'static str,
    /// Its entries; a table defined without any keeps what it has.
    pub entries: Vec<String>,
}

/// What pfctl says of a ruleset that it cannot load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("/tmp/rules.debug:{line}: syntax error")]
pub struct SyntaxError {
    pub line: usize,
}

pub fn generate_ruleset(configuration: &Configuration) -> Result<Ruleset, SyntaxError> {
    let mut made = Ruleset::default();
    for line in FILTER.lines() {
        if line.starts_with("scrub ") {
            made.scrub.push(line.to_owned());
            continue;
        }
        made.filter.push(line.to_owned());
        if line == USER_RULES {
            let records = configuration.tree.list("filter", "rule").iter();
            let mut records: Vec<(usize, &Element)> = records.enumerate().collect();
            records.sort_by_key(|(_, record)| rule_rank(configuration, record));
            for (index, record) in records {
                let rules = filter_rules(configuration, record);
                made.filter.extend(rules.ok_or(SyntaxError { line: 150 + index })?);
            }
        }
    }
    for line in TRANSLATION.lines() {
        let is_rdr = line.starts_with("rdr") || line.starts_with("no rdr");
        let list = if is_rdr { &mut made.rdr } else { &mut made.nat };
        list.push(line.to_owned());
    }
    let forwards = configuration.tree.list("nat", "rule").iter();
    made.rdr.extend(forwards.flat_map(|record| generate_redirections(configuration, record)));
    let pairs = configuration.tree.list("nat", "onetoone").iter();
    made.binat.extend(pairs.filter_map(|record| one_to_one(configuration, record)));
    if runs_upnp(configuration) {
        made.rdr.push(UPNP_RDR_ANCHOR.to_owned());
        made.filter.push(UPNP_ANCHOR.to_owned());
    }
    made.groups = interface_groups(configuration);
    made.tables = generate_tables(configuration, &made);
    Ok(made)
}

fn runs_upnp(configuration: &Configuration) -> bool {
    let package = configuration.tree.section("installedpackages").get("miniupnpd");
    package.is_some_and(|package| package.child_text("enable") == Some("on"))
}

/// Tables of aliases exist as long as a rule refers to them.
fn generate_tables(configuration: &Configuration, made: &Ruleset) -> Vec<DefinedTable> {
    let members = |entries: &str| alias_members(configuration, entries, 0);
    let fixed = TABLES.iter().map(|(name, flags, entries)| DefinedTable {
        name: (*name).to_owned(),
        flags,
        entries: members(entries),
    });
    let aliases = configuration.tree.list("aliases", "alias").iter().filter_map(|alias| {
        let name = alias.child_text("name")?;
        let reference = format!("<{name}>");
        let referred = made.filter.iter().chain(&made.rdr).any(|rule| rule.contains(&reference));
        (referred && is_table(configuration, name)).then(|| DefinedTable {
            name: name.to_owned(),
            flags: "--a-r--",
            entries: members(alias.child_text("address").unwrap_or_default()),
        })
    });
    fixed.chain(aliases).collect()
}

fn is_table(configuration: &Configuration, name: &str) -> bool {
    configuration.tree.list("aliases", "alias").iter().any(|alias| {
        alias.child_text("name") == Some(name)
            && matches!(alias.child_text("type"), Some("host" | "network"))
            && !alias.child_text("address").unwrap_or_default().trim().is_empty()
    })
}

/// Makes the loaded rules of one record: none if it is disabled or an alias cannot be resolved, two for
/// `tcp/udp`. `None` is a syntax error of the whole ruleset.
fn filter_rules(configuration: &Configuration, record: &Element) -> Option<Vec<String>> {
    if record.has_child("disabled") {
        return Some(Vec::new());
    }
    let (Some(from), Some(to)) = (
        rule_host(configuration, record, "source"),
        rule_host(configuration, record, "destination"),
    ) else {
        return Some(Vec::new());
    };
    let family = record.child_text("ipprotocol").unwrap_or("inet");
    let action = match record.child_text("type").unwrap_or_default() {
        "block" => "block drop",
        "reject" => "block return",
        _ => "pass",
    };
    let floats = record.has_child("floating");
    let direction = match (floats, record.child_text("direction")) {
        (false, _) | (_, Some("in")) => "in ",
        (_, Some("out")) => "out ",
        _ => "",
    };
    let quick = if !floats || record.child_text("quick") == Some("yes") { "quick " } else { "" };
    let protocols = record.child_text("protocol").unwrap_or_default();
    let interfaces = record.child_text("interface").unwrap_or_default();
    let mut rules = Vec::new();
    let expanded = interfaces
        .split(',')
        .flat_map(|interface| protocols.split('/').map(move |protocol| (interface, protocol)));
    for (interface, protocol) in expanded {
        let on = match device_of(configuration, interface) {
            Some(device) => format!("on {device} "),
            None if floats && interface.is_empty() => String::new(),
            None => continue,
        };
        let reply_to = match interface {
            _ if family != "inet" || action != "pass" || direction != "in " => "",
            "wan" => "reply-to (vtnet0 192.168.1.1) ",
            "opt2" => "reply-to (vtnet3 203.0.113.1) ",
            _ => "",
        };
        let keep = if action == "pass" { keep_state(record, protocol)? } else { String::new() };
        let proto = if protocol.is_empty() { String::new() } else { format!("proto {protocol} ") };
        rules.push(format!(
            "{action} {direction}{quick}{on}{reply_to}{family} {proto}from {from} to {to}{keep}{}",
            rule_labels(record)
        ));
    }
    Some(rules)
}

/// Lists the state options of a TCP rule in pfctl's order, with what pf adds by itself; `None` where pfSense 2.7.2 writes
/// `keep state (  )`, which pf refuses. Of the cap fields no simulated record has others.
fn state_options(record: &Element) -> Option<String> {
    let number = |key: &str| {
        let number = record.child_text(key)?.parse::<u32>().ok();
        number.filter(|number| *number > 0)
    };
    let connections = number("max-src-conn").map(|number| format!("max-src-conn {number}"));
    let rate = match (number("max-src-conn-rate"), number("max-src-conn-rates")) {
        (Some(count), Some(seconds)) => Some(format!(
            "max-src-conn-rate {count}/{seconds}, overload <virusprot> flush global, src.track {seconds}"
        )),
        (None, None) => None,
        _ if connections.is_none() => return None,
        _ => None,
    };
    let caps: Vec<String> = connections.into_iter().chain(rate).collect();
    Some(if caps.is_empty() {
        String::new()
    } else {
        format!(" (source-track rule, {})", caps.join(", "))
    })
}

/// Returns ` flags S/SA keep state (…)`; `None` is a syntax error.
fn keep_state(record: &Element, protocol: &str) -> Option<String> {
    if record.child_text("statetype") == Some("none") {
        return Some(" no state".to_owned());
    }
    let is_tcp = protocol == "tcp";
    let flags = if is_tcp || protocol.is_empty() { " flags S/SA" } else { "" };
    let options = if is_tcp { state_options(record)? } else { String::new() };
    Some(format!("{flags} keep state{options}"))
}

/// Returns the labels and the `ridentifier` of a record.
fn rule_labels(record: &Element) -> String {
    let descr = record.child_text("descr").unwrap_or_default().replace('"', "");
    let mut label =
        if descr.is_empty() { "USER_RULE".to_owned() } else { format!("USER_RULE: {descr}") };
    if label.len() > LONGEST_LABEL {
        let end = (0..=LONGEST_LABEL - 3).rev().find(|end| label.is_char_boundary(*end));
        label.truncate(end.unwrap_or(0));
        label.push_str("...");
    }
    let tracker = record.child_text("tracker").unwrap_or_default();
    match tracker.parse::<u32>() {
        Ok(number) => format!(" label \"{label}\" label \"id:{tracker}\" ridentifier {number}"),
        Err(_) => format!(" label \"{label}\""),
    }
}

/// Returns `HOST [port = N]` of a rule's side; `None` if an alias cannot be resolved.
fn rule_host(configuration: &Configuration, record: &Element, side: &str) -> Option<String> {
    let not = if record.get(side).is_some_and(|side| side.has_child("not")) { "! " } else { "" };
    let name = match (side_field(record, side, "network"), side_field(record, side, "address")) {
        (Some(network), _) => format!("<{}__NETWORK>", network.to_uppercase()),
        (None, Some(address)) => forward_target(configuration, address)?,
        (None, None) => "any".to_owned(),
    };
    let port = side_field(record, side, "port").and_then(|port| one_port(configuration, port));
    let port = match port.as_deref().map(|port| port.split_once(['-', ':']).ok_or(port)) {
        None => String::new(),
        Some(Ok((low, high))) => format!(" port {low}:{high}"),
        Some(Err(port)) => format!(" port = {port}"),
    };
    Some(format!("{not}{name}{port}"))
}

/// Returns an address or the table of an alias.
fn forward_target(configuration: &Configuration, name: &str) -> Option<String> {
    if crate::simulator::pf::table::table_net(name).is_some() {
        return Some(name.to_owned());
    }
    is_table(configuration, name).then(|| format!("<{name}>"))
}

/// Returns an interface's device, or the name of a group.
fn device_of<'a>(configuration: &'a Configuration, interface: &'a str) -> Option<&'a str> {
    match configuration.tree.section("interfaces").get(interface) {
        Some(record) => record.child_text("if"),
        None => is_group(configuration, interface).then_some(interface),
    }
}

fn is_group(configuration: &Configuration, name: &str) -> bool {
    let groups = configuration.tree.list("ifgroups", "ifgroupentry");
    groups.iter().any(|group| group.child_text("ifname") == Some(name))
}

fn interface_groups(configuration: &Configuration) -> Vec<(String, Vec<String>)> {
    let groups = configuration.tree.list("ifgroups", "ifgroupentry").iter();
    let devices = |members: &str| {
        let devices =
            members.split_whitespace().filter_map(|member| device_of(configuration, member));
        devices.map(str::to_owned).collect()
    };
    groups
        .filter_map(|group| {
            let name = group.child_text("ifname")?.to_owned();
            Some((name, devices(group.child_text("members")?)))
        })
        .collect()
}

/// Floating rules come first, then those of groups, then those of interfaces.
fn rule_rank(configuration: &Configuration, record: &Element) -> u8 {
    let interface = record.child_text("interface").unwrap_or_default();
    if record.has_child("floating") {
        0
    } else if is_group(configuration, interface) {
        1
    } else {
        2
    }
}

/// Returns the members of a list, those of aliases within it instead of their names.
fn alias_members(configuration: &Configuration, members: &str, depth: u8) -> Vec<String> {
    let aliases = configuration.tree.list("aliases", "alias");
    let inside = |member: &str| {
        let mut named = aliases.iter().filter(|_| depth < 5);
        let alias = named.find(|alias| alias.child_text("name") == Some(member))?;
        alias.child_text("address")
    };
    members
        .split_whitespace()
        .flat_map(|member| match inside(member) {
            Some(members) => alias_members(configuration, members, depth + 1),
            None => vec![member.to_owned()],
        })
        .collect()
}

/// Returns the port or range that a field names; the aliases of ports here hold one each.
fn one_port(configuration: &Configuration, field: &str) -> Option<String> {
    alias_members(configuration, field, 0).into_iter().next()
}

/// Makes the rule of 1:1 NAT of one address.
fn one_to_one(configuration: &Configuration, record: &Element) -> Option<String> {
    if record.has_child("disabled") {
        return None;
    }
    let device = device_of(configuration, record.child_text("interface")?)?;
    let inside = side_field(record, "source", "address")?;
    let outside = record.child_text("external")?;
    Some(format!("binat on {device} inet from {inside} to any -> {outside}"))
}

/// Returns the address of an interface whose name stands with `ip` behind it.
fn interface_address(configuration: &Configuration, network: &str) -> Option<String> {
    let interfaces = configuration.tree.section("interfaces");
    let interface = interfaces.get(network.strip_suffix("ip")?)?;
    interface.child_text("ipaddr").map(str::to_owned)
}

/// Makes the redirections of a port forward.
fn generate_redirections(configuration: &Configuration, record: &Element) -> Vec<String> {
    let interface = record.child_text("interface").unwrap_or_default();
    let goes = forward_target(configuration, record.child_text("target").unwrap_or_default());
    let from = rule_host(configuration, record, "source");
    let side = |key| side_field(record, "destination", key);
    let to = match (side("address"), side("network")) {
        (Some(address), _) => forward_target(configuration, address),
        (None, Some(network)) => interface_address(configuration, network),
        (None, None) => Some("any".to_owned()),
    };
    let (Some(device), Some(goes), Some(from), Some(to)) =
        (device_of(configuration, interface), goes, from, to)
    else {
        return Vec::new();
    };
    if record.has_child("disabled") || record.has_child("nordr") {
        return Vec::new();
    }
    let pass = if record.child_text("associated-rule-id") == Some("pass") { "pass " } else { "" };
    let port_of = |field: Option<&str>| one_port(configuration, field?);
    let port = port_of(side_field(record, "destination", "port")).unwrap_or_default();
    let local = port_of(record.child_text("local-port")).unwrap_or_default();
    let moved =
        if local == port || local.is_empty() { String::new() } else { format!(" port {local}") };
    let turns = if goes.starts_with('<') { " round-robin" } else { "" };
    let protocols = record.child_text("protocol").unwrap_or("tcp").split('/');
    protocols
        .map(|protocol| {
            format!("rdr {pass}on {device} inet proto {protocol} from {from} to {to} port = {port} -> {goes}{moved}{turns}")
        })
        .collect()
}
