//! Random rules, and a connection tried at every door by a plain packet walk that shares no code with the judgement:
//! closed means that no packet got in, every way in has a name, what is named for certain lets a packet in, and
//! nothing is unknown but for words that pf's rules leave open.
//!
//! 500 cases in every run; `KMSCTL_CASES` and `KMSCTL_SEED` name others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::super::fixtures::*;
use super::super::paths::PathKind;
use super::super::*;
use super::paths::with_networks;
use crate::domain::pf::rule::Rule;
use crate::domain::pfsense::configured::{Alias, InterfaceConfig};

/// Addresses that no list of unknown content holds.
const STRANGERS: [&str; 2] = ["9.9.9.9", "150.9.9.9"];
/// An address that every list of unknown content holds.
const LISTED: &str = "77.77.77.77";
const EXIT: &str = "vtnet3";
pub(crate) const OUTSIDE: [(&str, &str); 2] = [("wan", "vtnet0"), ("opt1", "vtnet2")];
/// Without a configuration any device can lead outside, and has its own name.
const ANY_SIDE: [(&str, &str); 4] =
    [("vtnet0", "vtnet0"), ("vtnet1", "vtnet1"), ("vtnet2", "vtnet2"), ("vtnet3", "vtnet3")];

const INTERFACES: [&str; 8] =
    ["", "vtnet0", "vtnet0", "vtnet2", "Uplinks", "vtnet1", "! vtnet0", "! Uplinks"];
const SOURCES: [&str; 16] = [
    "any",
    "any",
    "any",
    "any",
    "any",
    "198.51.100.7",
    "! 198.51.100.7",
    "198.51.100.0/24",
    "198.51.100.0/25",
    "198.51.100.192/26",
    "! 198.51.100.128/26",
    "8.8.8.0 - 8.8.8.99",
    "0.0.0.0/1",
    "<friends>",
    "! <nets>",
    "<country>",
];
const SOURCE_PORTS: [&str; 8] = ["", "", "", "", "", "= 53", "> 1023", "1024:65535"];
const DOORS: [&str; 14] = [
    "any",
    "192.168.1.2",
    "203.0.113.2",
    "192.168.1.0/24",
    "192.168.1.0/25",
    "192.168.1.192/26",
    "203.0.113.0/29",
    "<vips>",
    "! 192.168.1.2",
    "192.168.1.2 - 192.168.1.9",
    "(vtnet0)",
    "(self)",
    "<nets>",
    "<country>",
];
const ENDS: [&str; 12] = [
    "any",
    "any",
    "10.0.20.202",
    "10.0.20.0/24",
    "<k8s_kms_lb>",
    "<outer>",
    "<others>",
    "! 10.0.20.202",
    "! <others>",
    "10.0.20.50",
    "10.0.20.200 - 10.0.20.210",
    "<country>",
];
const TARGETS: [&str; 9] = [
    "<k8s_kms_lb>",
    "<k8s_kms_lb>",
    "10.0.20.202",
    "<outer>",
    "<others>",
    "10.0.20.50",
    "{ 10.0.20.50, 10.0.20.202 }",
    "10.0.20.200/29",
    "<country>",
];
const PORTS: [&str; 11] = [
    "",
    "= 1688",
    "= 1688",
    "= 1688",
    "= 8443",
    "1600:1700",
    "!= 1688",
    "!= 8443",
    "> 1688",
    "1600 >< 1700",
    "1600 <> 1700",
];
const TARGET_PORTS: [&str; 6] = ["", "", "1688", "8443", "1600:1700", "1680:1689"];
/// Words that pf's rules leave open: whether the rule matches, or where the packet goes then.
const MATCHING: [&str; 10] = [
    // A word of a pfctl to come.
    "nextword 7",
    "os",
    "probability 50%",
    "received-on vtnet1",
    "tos 0x10",
    "user = 0",
    "group = 0",
    "once",
    "prio 3",
    "max-pkt-rate 100/10",
];
/// Words about the mark of a packet, which only rules give.
const MARKS: [&str; 4] = ["tag guest", "tag guest", "tagged guest", "! tagged guest"];
const LEADING: [&str; 4] =
    ["route-to", "rtable 1", "divert-to 127.0.0.1 port 99", "rdr-to 10.0.20.51"];
/// Without a state, answers need rules of their own, but where the connection is translated.
const STATELESS: &str = "no state";

/// Which addresses the box has: the words stand for IPv4, and are moved for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Private,
    Public,
    Local6,
    Global6,
}

impl Space {
    fn is_six(self) -> bool {
        matches!(self, Self::Local6 | Self::Global6)
    }

    fn service(self) -> u32 {
        address_of(&self.moved("10.0.20.202"))
    }

    /// Returns the second address that the service's alias can hold.
    fn twin(self) -> u32 {
        address_of(&self.moved("10.0.20.50"))
    }

    fn is_routed(self) -> bool {
        matches!(self, Self::Public | Self::Global6)
    }

    /// Moves the network of the service where that is public.
    fn moved(self, word: &str) -> String {
        match self {
            Self::Public => word.replace("10.0.20.", "45.0.20."),
            _ => word.to_owned(),
        }
    }

    fn address(self, address: u32) -> IpAddr {
        let prefix: u128 = match self {
            Self::Private | Self::Public => return Ipv4Addr::from_bits(address).into(),
            Self::Local6 => 0xfd00_0001_0002_0003 << 64,
            Self::Global6 => 0x2600_0001_0002_0003 << 64,
        };
        Ipv6Addr::from_bits(prefix | u128::from(address)).into()
    }

    /// Returns a word as pfctl prints it.
    fn printed(self, word: &str) -> String {
        if let Some(rest) = word.strip_prefix("! ") {
            return format!("! {}", self.printed(rest));
        }
        if let Some(list) = word.strip_prefix("{ ") {
            let hosts = list.trim_end_matches(" }").split(", ");
            let hosts: Vec<String> = hosts.map(|host| self.printed(host)).collect();
            return format!("{{ {} }}", hosts.join(", "));
        }
        if word == "any" || word.starts_with(['<', '(']) {
            return word.to_owned();
        }
        if let Some((low, high)) = word.split_once(" - ") {
            return format!("{} - {}", self.printed(low), self.printed(high));
        }
        let (address, bits) = word.split_once('/').unwrap_or((word, ""));
        let address = self.address(address_of(address));
        match bits.parse::<u8>() {
            Ok(bits) if self.is_six() => format!("{address}/{}", bits + 96),
            Ok(bits) => format!("{address}/{bits}"),
            Err(_) => address.to_string(),
        }
    }
}

fn address_of(word: &str) -> u32 {
    word.parse::<Ipv4Addr>().unwrap().to_bits()
}

/// A rule as it was drawn: the walk reads these words, the judgement the text that is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// `rdr`, `rdr pass`, `no rdr`, `binat`, `no binat`, `nat`, `no nat`; `pass`, `block`, `match`.
    pub(crate) action: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) quick: bool,
    /// One of [`MATCHING`], [`MARKS`] or [`LEADING`].
    pub(crate) word: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) from: String,
    pub(crate) from_port: &'static str,
    pub(crate) to: String,
    pub(crate) port: &'static str,
    pub(crate) target: String,
    pub(crate) target_port: &'static str,
}

impl Drawn {
    pub(crate) fn text(&self, space: Space) -> String {
        let after = |before: &str, word: &str| {
            if word.is_empty() { String::new() } else { format!(" {before}{word}") }
        };
        let family = if space.is_six() { "inet6" } else { "inet" };
        let on = after("on ", self.interface);
        let (from, to) = (space.printed(&self.from), space.printed(&self.to));
        let target = space.printed(&self.target);
        match self.action {
            "binat" => return format!("binat{on} {family} from {from} to {to} -> {target}"),
            "no binat" => return format!("no binat{on} {family} from {from} to {to}"),
            "no nat" => return format!("no nat{on} {family} from {from} to {to}"),
            "nat" => {
                return format!("nat{on} {family} from {from} to {to} -> {target} port 1024:65535");
            }
            _ => {}
        }
        let os = if self.word == "os" { " os \"Linux\"" } else { "" };
        let route = if self.word == "route-to" { " route-to (vtnet1 10.0.10.9)" } else { "" };
        let word = match self.word {
            "os" | "route-to" | STATELESS => "",
            word => word,
        };
        let (word, translates) = match word.strip_prefix("rdr-to") {
            Some(_) => (String::new(), after("", word)),
            None => (after("", word), String::new()),
        };
        let from_port = after("port ", self.from_port);
        let port = after("port ", self.port);
        let ends = format!("{family} proto tcp from {from}{from_port}{os} to {to}{port}");
        match self.action {
            "no rdr" => format!("no rdr{on} {ends}{word}"),
            "rdr" | "rdr pass" => {
                let is_single = !target.starts_with(['<', '{']) && !target.contains('/');
                let pool = if is_single { "" } else { " round-robin" };
                let target_port = after("port ", self.target_port);
                format!("{}{on} {ends}{word} -> {target}{target_port}{pool}", self.action)
            }
            action => {
                let verb = if action == "block" { "block drop" } else { action };
                let direction = after("", self.direction);
                let quick = if self.quick && action != "match" { " quick" } else { "" };
                let state = match (action, self.word) {
                    ("pass", STATELESS) => " no state",
                    ("pass", _) => " keep state",
                    _ => "",
                };
                let flags = if action == "pass" { " flags S/SA" } else { "" };
                format!(
                    "{verb}{direction}{quick}{on}{route} {ends}{flags}{word}{state}{translates}"
                )
            }
        }
    }
}

fn owned(words: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    select(words.to_vec()).prop_map(str::to_owned)
}

fn conditions(words: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    let words = words.to_vec();
    prop::option::weighted(0.08, select(words)).prop_map(Option::unwrap_or_default)
}

fn translations() -> impl Strategy<Value = Drawn> {
    let actions = vec![
        "rdr", "rdr", "rdr", "rdr", "rdr", "rdr pass", "no rdr", "binat", "binat", "no binat",
        "nat", "no nat",
    ];
    let ends = (owned(&SOURCES), select(SOURCE_PORTS.to_vec()), owned(&DOORS));
    let ports = (select(PORTS.to_vec()), select(TARGET_PORTS.to_vec()));
    let pairs = vec![
        ("10.0.20.202", "192.168.1.7"),
        ("10.0.20.202", "203.0.113.3"),
        ("10.0.20.0/24", "192.0.2.0/24"),
        ("10.0.20.192/26", "203.0.113.192/26"),
        ("10.0.20.0/25", "203.0.113.0/25"),
        ("10.0.20.202", "(vtnet0)"),
        ("10.0.20.0/24", "(vtnet0)"),
    ];
    let shape = (select(actions), select(INTERFACES.to_vec()), conditions(&MARKS));
    (shape, ends, ports, owned(&TARGETS), select(pairs)).prop_map(
        |((action, interface, word), (from, from_port, to), (port, target_port), target, pair)| {
            let is_range = matches!(port, "1600:1700");
            let mut drawn = Drawn {
                action,
                direction: "",
                quick: false,
                word,
                interface,
                from,
                from_port,
                to,
                port,
                target,
                target_port: if target_port.contains(':') && !is_range { "" } else { target_port },
            };
            let device = if interface.starts_with("vtnet") { interface } else { "vtnet0" };
            match action {
                // The other side of 1:1 NAT is who may use it.
                "binat" => {
                    (drawn.interface, drawn.to) = (device, drawn.from);
                    (drawn.from, drawn.target) = (pair.0.to_owned(), pair.1.to_owned());
                }
                "no binat" => drawn.interface = device,
                // What is not redirected is not marked by it here.
                "no rdr" if word == "tag guest" => drawn.word = "",
                "nat" | "no nat" => {
                    drawn.interface = EXIT;
                    drawn.to = "10.0.20.0/24".to_owned();
                    drawn.target = "10.0.20.1".to_owned();
                }
                _ => {}
            }
            drawn
        },
    )
}

fn filters() -> impl Strategy<Value = Drawn> {
    let shape = (
        select(vec!["pass", "pass", "pass", "pass", "block", "match"]),
        select(vec!["in", "in", "in", "", "out"]),
        any::<bool>(),
        prop_oneof![
            conditions(&[MATCHING.as_slice(), &LEADING, &[STATELESS]].concat()),
            prop::option::weighted(0.15, select(MARKS.to_vec()))
                .prop_map(Option::unwrap_or_default),
        ],
    );
    let interfaces = select([INTERFACES.as_slice(), &[EXIT]].concat());
    let ports = (select(SOURCE_PORTS.to_vec()), select(PORTS.to_vec()));
    (shape, interfaces, owned(&SOURCES), owned(&ENDS), ports).prop_map(
        |((action, direction, quick, word), interface, from, to, (from_port, port))| Drawn {
            action,
            direction,
            quick,
            word: if action != "pass" && (LEADING.contains(&word) || word == STATELESS) {
                ""
            } else {
                word
            },
            interface,
            from,
            from_port,
            to,
            port,
            target: "any".to_owned(),
            target_port: "",
        },
    )
}

/// What is known of the box beside its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    All,
    /// The outside addresses are leased.
    Leased,
    /// The configuration could not be read.
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) nat: Vec<Drawn>,
    pub(crate) filter: Vec<Drawn>,
    /// Where the pair's rules stand, and its inside port.
    pub(crate) pair: Option<(usize, usize, &'static str)>,
    pub(crate) enabled: bool,
    pub(crate) space: Space,
    pub(crate) known: Known,
    /// What pf has in the tables that are named; others are printed without a count.
    pub(crate) held: Vec<(&'static str, Held)>,
    /// The service's alias holds a second address.
    pub(crate) has_twin: bool,
}

/// What pf has in a table, and prints beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// As many entries as the configuration says, and somebody where it does not say who.
    Counted,
    Nothing,
    /// It was filled by another configuration than the present one.
    Stale,
}

impl Case {
    fn held_in(&self, name: &str) -> Option<Held> {
        self.held.iter().find(|(table, _)| *table == name).map(|(_, held)| *held)
    }

    fn services(&self) -> Vec<u32> {
        let twin = self.has_twin.then(|| self.space.twin());
        std::iter::once(self.space.service()).chain(twin).collect()
    }

    /// Returns a rule as pfctl prints it, with the counts of its tables.
    pub(crate) fn printed(&self, rule: &Drawn) -> String {
        let counted = |word: &String| {
            let (sign, table) = word.split_once('<').unwrap_or((word, ""));
            let Some(held) = self.held_in(table.trim_end_matches('>')) else {
                return word.clone();
            };
            let members = configured_members(self, &format!("<{table}")).unwrap_or_default();
            let count = match held {
                Held::Counted => members.len().max(1).to_string(),
                Held::Nothing if table.len() % 2 == 0 => "*".to_owned(),
                Held::Nothing => "0".to_owned(),
                Held::Stale => (members.len() + 3).to_string(),
            };
            format!("{sign}<{}:{count}>", table.trim_end_matches('>'))
        };
        Drawn { from: counted(&rule.from), to: counted(&rule.to), ..rule.clone() }.text(self.space)
    }
}

/// Returns what the configuration has in a table.
fn configured_members(case: &Case, name: &str) -> Option<Vec<String>> {
    let words: &[&str] = match name {
        "<friends>" => &["198.51.100.8"],
        "<vips>" => &["192.168.1.9", "203.0.113.3"],
        "<nets>" => &["198.51.100.0/25", "198.51.100.192/26", "192.168.1.128/26"],
        "<k8s_kms_lb>" if case.has_twin => &["10.0.20.202", "10.0.20.50"],
        "<k8s_kms_lb>" => &["10.0.20.202"],
        "<outer>" => &["10.0.20.202", "10.0.20.9"],
        "<others>" => &["10.0.20.50"],
        _ => return None,
    };
    Some(words.iter().map(|word| case.space.moved(word)).collect())
}

fn held_tables() -> impl Strategy<Value = Vec<(&'static str, Held)>> {
    let held = || {
        let held = vec![Held::Counted, Held::Counted, Held::Nothing, Held::Stale];
        prop::option::weighted(0.6, select(held))
    };
    let own =
        prop::option::weighted(0.6, select(vec![Held::Counted, Held::Counted, Held::Nothing]));
    (own, [held(), held(), held(), held(), held(), held()]).prop_map(|(own, others)| {
        let names = ["country", "friends", "nets", "others", "outer", "vips"];
        let tables = names.into_iter().zip(others).chain([("k8s_kms_lb", own)]);
        tables.filter_map(|(name, held)| Some((name, held?))).collect()
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let private = Space::Private;
    (
        prop::collection::vec(translations(), 0..5),
        prop::collection::vec(filters(), 0..6),
        prop::option::of((0..5_usize, 0..6_usize, select(vec!["", "", "", "21688"]))),
        prop::bool::weighted(0.95),
        select(vec![private, private, Space::Public, Space::Local6, Space::Global6]),
        select(vec![Known::All, Known::All, Known::All, Known::Leased, Known::Nothing]),
        (held_tables(), prop::bool::weighted(0.2)),
    )
        .prop_map(|(mut nat, mut filter, pair, enabled, space, known, (held, has_twin))| {
            for rule in nat.iter_mut().chain(&mut filter) {
                for word in [&mut rule.from, &mut rule.to, &mut rule.target] {
                    *word = space.moved(word);
                }
            }
            if let Some((forward, pass, inside)) = pair {
                let own = Drawn {
                    action: "rdr",
                    direction: "in",
                    quick: true,
                    word: "",
                    interface: "vtnet0",
                    from: "any".to_owned(),
                    from_port: "",
                    to: "192.168.1.2".to_owned(),
                    port: "= 1688",
                    target: "<k8s_kms_lb>".to_owned(),
                    target_port: inside,
                };
                let own_pass = Drawn {
                    action: "pass",
                    to: own.target.clone(),
                    port: if inside.is_empty() { "= 1688" } else { "= 21688" },
                    target: "any".to_owned(),
                    ..own.clone()
                };
                nat.insert(forward.min(nat.len()), own);
                filter.insert(pass.min(filter.len()), own_pass);
            }
            // pfctl prints no count beside the target of a translation: what pf has in such a table is then not seen.
            let ends = || nat.iter().chain(&filter).flat_map(|rule| [&rule.from, &rule.to]);
            let is_counted = |name: &str| ends().any(|end| end.contains(&format!("<{name}>")));
            let held = held.into_iter().filter(|(name, _)| is_counted(name)).collect();
            // Without the configuration the one address is known.
            let has_twin = has_twin && known != Known::Nothing;
            Case { nat, filter, pair, enabled, space, known, held, has_twin }
        })
}

// The walk: nothing below knows the judgement's code.

/// One way in which what pf's rules leave open can be.
#[derive(Clone, Copy)]
pub(crate) struct World<'c> {
    pub(crate) case: &'c Case,
    pub(crate) salt: u64,
}

impl World<'_> {
    fn says(&self, place: usize, what: &str) -> bool {
        match self.salt {
            0 => false,
            1 => true,
            salt => {
                let mixed = what.bytes().fold(salt ^ place as u64, |mixed, byte| {
                    (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
                mixed >> 20 & 1 == 1
            }
        }
    }

    /// Returns what pf has in a table, where that is known.
    fn table(&self, name: &str) -> Option<Vec<String>> {
        match self.case.held_in(name.trim_matches(['<', '>'])) {
            Some(Held::Nothing) => Some(Vec::new()),
            Some(Held::Stale) => None,
            _ => configured_members(self.case, name),
        }
    }

    /// Reads a word once: what it holds is asked very often.
    fn read(&self, word: &str) -> Addresses {
        if let Some(rest) = word.strip_prefix("! ") {
            return Addresses { negated: true, ..self.read(rest) };
        }
        let own = match word {
            "any" => vec!["0.0.0.0/0".to_owned()],
            "(vtnet0)" => vec!["192.168.1.2".to_owned()],
            "(self)" => {
                ["192.168.1.2", "203.0.113.2", "10.0.10.1", "10.8.0.2"].map(str::to_owned).to_vec()
            }
            word if word.starts_with('<') => {
                let is_counted = self.case.held_in(word.trim_matches(['<', '>'])).is_some();
                let listed = (is_counted || self.says(0, word)).then(|| LISTED.to_owned());
                self.table(word).unwrap_or_else(|| listed.into_iter().collect())
            }
            word => vec![word.to_owned()],
        };
        let is_open = word.starts_with('(') || word.starts_with('<') && self.table(word).is_none();
        // The firewall's own addresses are not the service's, and strangers are on no list.
        let services = self.case.services().into_iter().filter(|_| word.starts_with('('));
        let strangers = STRANGERS.iter().map(|stranger| address_of(stranger));
        Addresses {
            negated: false,
            ranges: own.iter().filter_map(|word| ends_of(word)).collect(),
            open: is_open.then(|| (word.to_owned(), services.chain(strangers).collect())),
        }
    }

    fn holds(&self, addresses: &Addresses, address: u32) -> bool {
        let mut ranges = addresses.ranges.iter();
        let open = addresses.open.as_ref().is_some_and(|(word, others)| {
            !others.contains(&address) && self.says(address as usize, word)
        });
        let found = open || ranges.any(|(low, high)| (*low..=*high).contains(&address));
        found != addresses.negated
    }

    /// Says whether a redirection's pool, or the outside of 1:1 NAT, has an address.
    fn target_has(&self, rule: &Plain<'_>, address: u32) -> bool {
        rule.target.iter().any(|host| self.holds(host, address))
    }
}

struct Addresses {
    negated: bool,
    ranges: Vec<(u32, u32)>,
    /// The word, where it can hold others, and those that it never holds.
    open: Option<(String, Vec<u32>)>,
}

/// A rule whose words have been read.
struct Plain<'a> {
    drawn: &'a Drawn,
    from: Addresses,
    to: Addresses,
    target: Vec<Addresses>,
    from_port: fn(u16) -> bool,
    port: fn(u16) -> bool,
}

fn read_rules<'a>(world: &World<'_>, rules: &'a [Drawn]) -> Vec<Plain<'a>> {
    let plain = |drawn: &'a Drawn| {
        let hosts = drawn.target.trim_start_matches("{ ").trim_end_matches(" }");
        Plain {
            drawn,
            from: world.read(&drawn.from),
            to: world.read(&drawn.to),
            target: hosts.split(", ").map(|host| world.read(host)).collect(),
            from_port: port_test(drawn.from_port),
            port: port_test(drawn.port),
        }
    };
    rules.iter().map(plain).collect()
}

fn ends_of(word: &str) -> Option<(u32, u32)> {
    if let Some((low, high)) = word.split_once(" - ") {
        return Some((address_of(low), address_of(high)));
    }
    let (address, bits) = word.split_once('/').unwrap_or((word, "32"));
    let mask = u32::MAX.checked_shr(bits.parse().unwrap()).unwrap_or(0);
    let address: u32 = address.parse::<Ipv4Addr>().ok()?.to_bits();
    Some((address & !mask, address | mask))
}

fn on_holds(interface: &str, device: &str) -> bool {
    match interface.strip_prefix("! ") {
        Some(rest) => !on_holds(rest, device),
        None if interface == "Uplinks" => device == "vtnet0" || device == "vtnet2",
        None => interface.is_empty() || interface == device,
    }
}

fn port_test(condition: &str) -> fn(u16) -> bool {
    match condition {
        "" => |_| true,
        "= 53" => |port| port == 53,
        "= 1688" => |port| port == 1688,
        "= 21688" => |port| port == 21688,
        "= 8443" => |port| port == 8443,
        "1600:1700" => |port| (1600..=1700).contains(&port),
        "1600 >< 1700" => |port| (1601..=1699).contains(&port),
        "1600 <> 1700" => |port| !(1600..=1700).contains(&port),
        "1024:65535" | "> 1023" => |port| port > 1023,
        "!= 1688" => |port| port != 1688,
        "!= 8443" => |port| port != 8443,
        "> 1688" => |port| port > 1688,
        other => panic!("{other}"),
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Syn<'a> {
    pub(crate) device: &'a str,
    pub(crate) client: (u32, u16),
    pub(crate) to: (u32, u16),
}

fn matches(world: &World<'_>, place: usize, rule: &Plain<'_>, syn: Syn<'_>, marked: bool) -> bool {
    let drawn = rule.drawn;
    let holds = (rule.port)(syn.to.1)
        && (rule.from_port)(syn.client.1)
        && world.holds(&rule.to, syn.to.0)
        && world.holds(&rule.from, syn.client.0)
        && on_holds(drawn.interface, syn.device);
    holds
        && match drawn.word {
            "" => true,
            "tagged guest" => marked,
            "! tagged guest" => !marked,
            word => !MATCHING.contains(&word) || world.says(place, word),
        }
}

/// Returns the translation that a packet meets, and the port that it has afterwards, if it can end at this address of the
/// service.
fn translate(
    world: &World<'_>,
    nat: &[Plain<'_>],
    syn: Syn<'_>,
    service: u32,
) -> Option<(Option<usize>, u16)> {
    let met = nat.iter().enumerate().find(|(at, rule)| {
        matches(world, 1000 + at, rule, syn, false)
            && matches!(rule.drawn.action, "rdr" | "rdr pass" | "no rdr")
    });
    if let Some((at, rule)) = met.filter(|(_, rule)| rule.drawn.action != "no rdr") {
        let port = match rule.drawn.target_port {
            "" => syn.to.1,
            "1600:1700" => 1600 + (syn.to.1 - 1600) % 101,
            "1680:1689" => 1680 + (syn.to.1 - 1600) % 10,
            number => number.parse().unwrap(),
        };
        let ends_here = world.target_has(rule, service);
        return ends_here.then_some((Some(at), port));
    }
    // An exception to redirections is none to 1:1 NAT, which is looked up whenever nothing was redirected.
    for (at, rule) in nat.iter().enumerate() {
        let plain = on_holds(rule.drawn.interface, syn.device);
        match rule.drawn.action {
            "no binat"
                if plain
                    && world.holds(&rule.from, syn.client.0)
                    && world.holds(&rule.to, syn.to.0) =>
            {
                break;
            }
            "binat"
                if plain
                    && world.target_has(rule, syn.to.0)
                    && world.holds(&rule.to, syn.client.0) =>
            {
                // The number within the network stays.
                let inside = ends_of(&rule.drawn.from)?;
                let address = inside.0 | (syn.to.0 & (inside.1 - inside.0));
                return (address == service).then_some((Some(at), syn.to.1));
            }
            _ => {}
        }
    }
    let is_routed = world.case.space.is_routed() && syn.to.0 == service;
    is_routed.then_some((None, syn.to.1))
}

/// Every rule that matches marks the packet; the last one that passes or blocks, or the first quick one, decides.
fn filter_passes(
    world: &World<'_>,
    rules: &[Plain<'_>],
    direction: &str,
    syn: Syn<'_>,
    (marked, is_translated): (&mut bool, bool),
) -> Result<Option<usize>, ()> {
    // The default rule of the fixture blocks what comes in.
    let mut passes = if direction == "out" { Ok(None) } else { Err(()) };
    for (place, rule) in rules.iter().enumerate() {
        let drawn = rule.drawn;
        let is_met = drawn.direction.is_empty() || drawn.direction == direction;
        if is_met && matches(world, place, rule, syn, *marked) {
            *marked |= drawn.word == "tag guest";
            if drawn.action == "match" {
                continue;
            }
            let is_open =
                LEADING.contains(&drawn.word) || (drawn.word == STATELESS && !is_translated);
            let arrives = !is_open || world.says(place, drawn.word);
            passes = if drawn.action == "pass" && arrives { Ok(Some(place)) } else { Err(()) };
            if drawn.quick {
                break;
            }
        }
    }
    passes
}

/// The rules of a case, in one way in which what they leave open can be.
pub(crate) struct Ruleset<'a> {
    world: World<'a>,
    services: Vec<u32>,
    nat: Vec<Plain<'a>>,
    filter: Vec<Plain<'a>>,
}

impl<'a> Ruleset<'a> {
    pub(crate) fn of(case: &'a Case, world: World<'a>) -> Self {
        let (nat, filter) = (read_rules(&world, &case.nat), read_rules(&world, &case.filter));
        Self { world, services: case.services(), nat, filter }
    }

    /// Says whether somebody's connection to here is translated or routed: all others are not worth a try.
    pub(crate) fn has_door(&self, device: &str, to: (u32, u16)) -> bool {
        let is_routed = self.world.case.space.is_routed() && self.services.contains(&to.0);
        let leads = |rule: &Plain<'_>| {
            let is_here = if rule.drawn.action == "binat" {
                self.world.target_has(rule, to.0)
            } else {
                (rule.port)(to.1) && self.world.holds(&rule.to, to.0)
            };
            is_here && on_holds(rule.drawn.interface, device)
        };
        is_routed || self.nat.iter().any(leads)
    }

    /// Returns by which translation a connection arrives at the service, and at which addresses and port.
    pub(crate) fn arrivals(&self, syn: Syn<'_>) -> impl Iterator<Item = Arrival> {
        self.services.iter().filter_map(move |service| self.arrive_at(syn, *service))
    }

    /// Returns the translation that leads a connection to an address.
    pub(crate) fn led_by(&self, syn: Syn<'_>, address: &str) -> Option<usize> {
        translate(&self.world, &self.nat, syn, address_of(address))?.0
    }

    /// Returns how a connection arrives at an address.
    pub(crate) fn arrival_at(&self, syn: Syn<'_>, address: &str) -> Option<Arrival> {
        self.arrive_at(syn, address_of(address))
    }

    fn arrive_at(&self, syn: Syn<'_>, service: u32) -> Option<Arrival> {
        let world = &self.world;
        let (at, port) = translate(world, &self.nat, syn, service)?;
        let to = (service, port);
        let entering = Syn { to, ..syn };
        let rule = at.map(|at| self.nat[at].drawn);
        let mut marked =
            rule.is_some_and(|rule| rule.action.starts_with("rdr") && rule.word == "tag guest");
        // A redirection to where the packet goes anyway is none, and lets nothing pass.
        let is_moved = to != syn.to;
        let passed_by = if rule.is_some_and(|rule| rule.action == "rdr pass" && is_moved) {
            None
        } else {
            filter_passes(world, &self.filter, "in", entering, (&mut marked, rule.is_some()))
                .ok()?
        };
        let mut leaving = Syn { device: EXIT, ..entering };
        let source = self.nat.iter().find(|rule| {
            matches!(rule.drawn.action, "nat" | "no nat")
                && world.holds(&rule.from, leaving.client.0)
                && world.holds(&rule.to, leaving.to.0)
        });
        let source = source.filter(|rule| rule.drawn.action == "nat");
        if let Some(rule) = source {
            // pf takes a port of its own choice.
            leaving.client = (address_of(&rule.drawn.target), 50_000);
        }
        let marks = (&mut marked, source.is_some());
        filter_passes(world, &self.filter, "out", leaving, marks).ok()?;
        Some(Arrival { by: at, passed_by, service, port })
    }
}

/// Where a connection has got to.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// The place of the translation that led it.
    pub(crate) by: Option<usize>,
    /// The place of the filter rule that let it in; none with `rdr pass`.
    pub(crate) passed_by: Option<usize>,
    service: u32,
    pub(crate) port: u16,
}

/// Returns where a connection arrives with pf switched off: what is routed does.
fn arrive_unfiltered(case: &Case, (service, port): (u32, u16)) -> Option<Arrival> {
    let is_routed = case.space.is_routed() && case.services().contains(&service);
    is_routed.then_some(Arrival { by: None, passed_by: None, service, port })
}

/// Returns a client that no rule names.
pub(crate) fn stranger() -> (u32, u16) {
    (address_of(STRANGERS[0]), 50_000)
}

/// Returns the addresses at which what these words hold changes, and some that no word names.
fn edges<'a>(
    world: &World<'_>,
    words: impl Iterator<Item = &'a String>,
    more: &[&str],
) -> Vec<u32> {
    let mut found: BTreeSet<u32> = more.iter().map(|word| address_of(word)).collect();
    for word in words {
        let word = word.trim_start_matches("! ");
        let inner = world.table(word).unwrap_or_else(|| vec![word.to_owned()]);
        for (low, high) in inner.iter().filter_map(|word| ends_of(word)) {
            found.extend([low.saturating_sub(1), low, high, high.saturating_add(1)]);
        }
    }
    found.into_iter().collect()
}

/// Which connections are tried.
pub(crate) struct Tries {
    pub(crate) clients: Vec<(u32, u16)>,
    pub(crate) doors: Vec<(u32, u16)>,
}

impl Tries {
    pub(crate) fn of(case: &Case, world: &World<'_>) -> Self {
        let rules = || case.nat.iter().chain(&case.filter);
        let sources = rules().flat_map(|rule| match rule.action {
            "binat" => vec![&rule.to],
            _ => vec![&rule.from],
        });
        let clients = edges(world, sources, &[STRANGERS[0], STRANGERS[1], LISTED]);
        let has_ports = rules().any(|rule| !rule.from_port.is_empty());
        let source_ports: &[u16] = if has_ports { &[50_000, 53, 1023] } else { &[50_000] };
        let targets = |rule: &&Drawn| !rule.target.starts_with('(');
        let doors = case.nat.iter().filter(targets).flat_map(|rule| [&rule.to, &rule.target]);
        let named = ["192.168.1.2", "203.0.113.2", "100.99.98.97"];
        let mut doors = edges(world, doors, &named);
        doors.extend(case.services());
        // The outside addresses of the service in 1:1 networks.
        let one_to_one = ["192.0.2.202", "203.0.113.202", "192.0.2.50", "203.0.113.50"];
        doors.extend(one_to_one.map(address_of));
        let ports = [
            1, 1599, 1600, 1601, 1608, 1618, 1687, 1688, 1689, 1698, 1699, 1700, 1701, 8443, 40_001,
        ];
        let cross = |addresses: &[u32], ports: &[u16]| {
            let pairs = addresses.iter();
            pairs.flat_map(|address| ports.iter().map(|port| (*address, *port))).collect()
        };
        Self { clients: cross(&clients, source_ports), doors: cross(&doors, &ports) }
    }
}

// What is expected of the judgement.

fn surrounded(case: &Case) -> Configured {
    let mut configured = configured();
    with_networks(&mut configured);
    let space = case.space;
    let mut alias = |name: &str| {
        let words = configured_members(case, &format!("<{name}>")).unwrap();
        let words: Vec<String> = words.iter().map(|word| space.printed(word)).collect();
        configured.aliases.retain(|alias| alias.name != name);
        configured.aliases.push(Alias {
            name: name.into(),
            kind: text("network"),
            address: Some(words.join(" ")),
        });
    };
    for name in ["friends", "vips", "nets", "k8s_kms_lb", "others", "outer"] {
        alias(name);
    }
    let is_own = |alias: &&Alias| alias.name == "k8s_kms_lb";
    configured.alias = configured.aliases.iter().find(is_own).cloned();
    // What a table from the web holds is not in the configuration.
    configured.aliases.push(Alias {
        name: "country".into(),
        kind: text("urltable"),
        address: text(""),
    });
    let mut move_interface = |interface: &mut InterfaceConfig| {
        let is_leased = case.known == Known::Leased && matches!(&*interface.name, "wan" | "opt1");
        let own = interface.ipaddr.take().map(|own| space.moved(&own));
        let bits: u8 = interface.subnet.take().unwrap().parse().unwrap();
        let own = own.map(|own| space.printed(&own));
        match (is_leased, space.is_six()) {
            (true, false) => interface.ipaddr = text("dhcp"),
            (true, true) => interface.ipaddr_v6 = text("dhcp6"),
            (false, false) => {
                (interface.ipaddr, interface.subnet) = (own, Some(bits.to_string()));
            }
            (false, true) => {
                interface.ipaddr_v6 = own;
                interface.subnet_v6 = Some((bits + 96).to_string());
            }
        }
    };
    configured.interfaces.iter_mut().for_each(&mut move_interface);
    configured.interface = configured.interfaces.first().cloned();
    let pair = case.pair;
    configured.nat[0].disabled = pair.is_none();
    configured.filter[0].disabled = pair.is_none();
    if let Some((_, _, inside)) = pair.filter(|(_, _, inside)| !inside.is_empty()) {
        configured.nat[0].local_port = text(inside);
        configured.filter[0].destination.port = text(inside);
    }
    configured
}

fn own_pass(case: &Case, drawn: &Drawn) -> Rule {
    let caps = "(source-track rule, max-src-conn 50, max-src-conn-rate 10/60, overload <virusprot> flush global, src.track 60)";
    printed(&format!("{} {caps} ridentifier {TRACKER}", case.printed(drawn)))
}

/// Says whether a word leaves open what it holds, whether it matches or where it leads.
fn leaves_open(case: &Case) -> bool {
    let rules = || case.nat.iter().chain(&case.filter);
    let words = || rules().flat_map(|rule| [&rule.from, &rule.to, &rule.target]);
    case.known == Known::Nothing
        || rules().any(|rule| !rule.word.is_empty() && !MARKS.contains(&rule.word))
        || words().any(|word| {
            let held = case.held_in(word.trim_matches(['!', ' ', '<', '>']));
            word.contains("<country>") || word.contains('(') || held == Some(Held::Stale)
        })
}

fn check_case(case: &Case) -> Result<(), TestCaseError> {
    let space = case.space;
    let own = case.pair.and_then(|(_, pass, _)| {
        let own =
            |rule: &Drawn| rule.to == "<k8s_kms_lb>" && rule.quick && rule.interface == "vtnet0";
        case.filter
            .iter()
            .enumerate()
            .position(|(at, rule)| at == pass.min(case.filter.len() - 1) && own(rule))
    });
    let nat_rules: Vec<Rule> = case.nat.iter().map(|rule| printed(&case.printed(rule))).collect();
    let mut filter_rules = vec![if space.is_six() {
        printed(
            "block drop in log inet6 all label \"Default deny rule IPv6\" ridentifier 1000000105",
        )
    } else {
        default_deny()
    }];
    filter_rules.extend(case.filter.iter().enumerate().map(|(at, rule)| {
        if own == Some(at) { own_pass(case, rule) } else { printed(&case.printed(rule)) }
    }));
    let configured = surrounded(case);
    let loaded = Loaded {
        filter: &filter_rules,
        nat: &nat_rules,
        enabled: case.enabled,
        alias_table: AliasTable::Unasked,
    };
    let service = Service { address: space.address(space.service()), ..service() };
    let is_read = case.known != Known::Nothing;
    let exposure = judge(is_read.then_some(&configured), loaded, &service);
    let texts = |rules: &[Rule]| rules.iter().map(|rule| rule.text.clone()).collect::<Vec<_>>();
    let shown = || {
        format!(
            "{:?} {:?} {space:?} {:?}\n{:#?}\nnat {:#?}\nfilter {:#?}",
            exposure.state,
            exposure.why,
            case.known,
            exposure.paths,
            texts(&nat_rules),
            texts(&filter_rules),
        )
    };
    let devices: &[(&str, &str)] = if is_read { &OUTSIDE } else { &ANY_SIDE };
    let is_elsewhere = exposure.elsewhere.loaded;
    let is_managed = |at: Option<usize>, device: &str| {
        (device == "vtnet0" || !is_read)
            && at.is_some_and(|at| {
                exposure.paths.iter().any(|path| path.managed && path.rule == nat_rules[at].text)
            })
    };
    let mut came_in = false;
    let salts: &[u64] = if leaves_open(case) { &[0, 1, 77] } else { &[0] };
    for salt in salts {
        let world = World { case, salt: *salt };
        let rules = Ruleset::of(case, world);
        let tries = Tries::of(case, &world);
        let mut strangers_by_pair = false;
        for (interface, device) in devices {
            for door in tries.doors.iter().filter(|door| rules.has_door(device, **door)) {
                for client in &tries.clients {
                    let syn = Syn { device, client: *client, to: *door };
                    let arrived = if case.enabled {
                        rules.arrivals(syn).next()
                    } else {
                        arrive_unfiltered(case, syn.to)
                    };
                    let Some(Arrival { by: at, port, .. }) = arrived else {
                        continue;
                    };
                    let by_pair = is_managed(at, device) && door.1 == 1688;
                    if port != 1688 && !by_pair {
                        continue;
                    }
                    came_in = true;
                    strangers_by_pair |= by_pair && *client == stranger();
                    let met = || {
                        format!(
                            "salt {salt}: {interface} {}:{} -> {}:{}\n{}",
                            space.address(client.0),
                            client.1,
                            space.address(door.0),
                            door.1,
                            shown()
                        )
                    };
                    prop_assert!(
                        !matches!(exposure.state, State::Closed | State::Absent),
                        "called closed: {}",
                        met()
                    );
                    let is_named = exposure.paths.iter().any(|path| {
                        let same = match at {
                            Some(at) => path.rule == nat_rules[at].text,
                            None => path.kind == PathKind::Routed,
                        };
                        same && (path.interface == *interface
                            || !is_read && matches!(&*path.interface, "wan" | "some interface"))
                    });
                    prop_assert!(is_named, "not named: {}", met());
                }
            }
        }
        for path in exposure.paths.iter().filter(|path| path.certain) {
            let to = match path.enters.parse::<SocketAddr>().unwrap() {
                SocketAddr::V4(door) => (door.ip().to_bits(), door.port()),
                SocketAddr::V6(door) => {
                    let low = door.ip().to_bits() & u128::from(u32::MAX);
                    (u32::try_from(low).unwrap(), door.port())
                }
            };
            let is_here =
                |name: &str| path.interface == name || (!is_read && path.interface == "wan");
            let gets_in = |device: &str| {
                tries.clients.iter().any(|client| {
                    let syn = Syn { device, client: *client, to };
                    let leads_there = |arrival: Arrival| {
                        let end = SocketAddr::new(space.address(arrival.service), arrival.port);
                        path.leads_to == end.to_string()
                    };
                    if case.enabled {
                        rules.arrivals(syn).any(leads_there)
                    } else {
                        arrive_unfiltered(case, to).is_some_and(leads_there)
                    }
                })
            };
            let mut here = devices.iter().filter(|(name, _)| is_here(name));
            let gets_in = here.any(|(_, device)| gets_in(device));
            prop_assert!(gets_in, "salt {salt}: named, and leads nowhere: {path:?}\n{}", shown());
        }
        // Half of the IPv4 addresses is a large part of the outside; as many of IPv6 are a list.
        let is_half = |rule: &Drawn| rule.from == "0.0.0.0/1";
        let is_listed = space.is_six() && case.nat.iter().chain(&case.filter).any(is_half);
        if strangers_by_pair && !leaves_open(case) && !is_listed {
            prop_assert!(
                exposure.state.lets_in(),
                "the pair lets strangers in, and is not called open: {}",
                shown()
            );
        }
    }
    if exposure.state.lets_in() && !is_elsewhere {
        let by_pair = exposure.paths.iter().any(|path| path.managed);
        prop_assert!(by_pair, "called open, and the pair lets nothing in: {}", shown());
    }
    if !leaves_open(case) {
        prop_assert!(exposure.state != State::Unknown, "unknown without a reason: {}", shown());
        prop_assert!(
            exposure.paths.iter().all(|path| path.certain),
            "not certain without a reason: {}",
            shown()
        );
        prop_assert!(came_in || exposure.paths.is_empty(), "{}", shown());
    }
    Ok(())
}

/// Returns the number that a variable of the environment holds.
#[expect(clippy::disallowed_methods, reason = "the cases and their seed are chosen by hand")]
pub(crate) fn number_chosen_by_hand(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs random cases: how many and from which seed the environment says.
pub(crate) fn run_cases<S: Strategy>(
    strategy: S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let cases = number_chosen_by_hand("KMSCTL_CASES").unwrap_or(500);
    let seed = number_chosen_by_hand("KMSCTL_SEED").unwrap_or(1688);
    println!("KMSCTL_SEED={seed} KMSCTL_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if let Err(error) = runner.run(&strategy, check) {
        panic!("KMSCTL_SEED={seed}: {error}");
    }
}

#[test]
fn the_judgement_agrees_with_the_walk() {
    run_cases(cases(), |case| check_case(&case));
}
