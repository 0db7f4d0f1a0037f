//! `pfctl -vvPsr` and `pfctl -vvPsn`: filter and translation rules with their counters.
//!
//! A rule's text stays as printed; the fields are a reading of it. The fields
//! stop where kmsctl's judgement stops, but the reading knows every word pfctl can print, so that a rule with
//! a condition unknown to it is reported and not mistaken for one without.

mod body;
mod labels;
mod parse;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::text::quoted;
pub use parse::{Loader, parse_loader, parse_one, parse_pf_rules};

/// A loaded rule, as far as kmsctl judges rules; the rest stays in [`Rule::text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `@N`: the number states refer to. Scrub and filter rules are numbered separately.
    pub number: Option<u32>,
    /// How many anchors' braces enclose it: 0 is the main ruleset, the one states refer to.
    pub depth: u32,
    /// An anchor printed with its contents in braces: those rules follow, one deeper.
    pub block: bool,
    /// The rule as printed, without `@N `, indentation and the brace of an anchor.
    pub text: String,
    /// What the rule does.
    pub action: Action,
    /// `in` or `out`; absent means both.
    pub direction: Option<Direction>,
    /// Last match wins unless `quick`.
    pub quick: bool,
    /// `on IF`; `None` is every interface.
    pub interface: Option<Interface>,
    /// `reply-to (IF ADDR)`.
    pub reply_to: Option<Hop>,
    /// `inet` or `inet6`.
    pub family: Option<Family>,
    /// `proto NAME`.
    pub protocol: Option<String>,
    /// `from …`.
    pub from: Endpoint,
    /// `to …`.
    pub to: Endpoint,
    /// `keep state`, `no state` and so on.
    pub keep: Option<Keep>,
    /// The options of `keep state (…)`; all absent when there are none.
    pub state_options: StateOptions,
    /// `label "…"`, raw, in order.
    pub labels: Vec<String>,
    /// `ridentifier N`, up to pfSense 2.4 `(N)` after the number: pfSense's tracker. Several rules can share it.
    pub ridentifier: Option<u32>,
    /// What follows `->` in a translation rule (on FreeBSD 15 also `rdr-to`, `nat-to`, `af-to`), table counts
    /// removed: `<k8s_kms_lb> round-robin`, `192.168.1.30 port 5060:5070`.
    pub target: Option<String>,
    /// From the `[ … ]` lines of `-v`.
    pub counters: Option<RuleCounters>,
    /// Every word of it was known; if not, it may have conditions that are in no field.
    pub is_understood: bool,
}

/// What stands between a sentence about a rule and the rule as pf prints it.
pub const PF_WORDS: &str = " In pf's words";

impl Rule {
    /// Returns whether not even its action is known.
    pub fn is_unread(&self) -> bool {
        self.action == Action::Unread
    }

    /// Returns pfSense's tracker: the ridentifier, else the number in a label `id:N` or `id=N`.
    pub fn tracker(&self) -> Option<u32> {
        let from_label = || {
            self.labels.iter().find_map(|label| {
                let number = label.strip_prefix("id:").or(label.strip_prefix("id="))?;
                super::text::whole_number(number)
            })
        };
        self.ridentifier.or_else(from_label)
    }

    /// Returns its description in pfSense, quoted, and its tracker; `None` where pf's rule carries neither.
    pub fn title(&self) -> Option<String> {
        let is_number = |label: &&String| label.starts_with("id:") || label.starts_with("id=");
        let label = self.labels.iter().find(|label| !is_number(label));
        let label = label.map(|label| quoted(label.trim_start_matches("USER_RULE: ")));
        match (label, self.tracker()) {
            (Some(label), Some(tracker)) => Some(format!("{label} (tracker {tracker})")),
            (label, tracker) => label.or_else(|| Some(format!("tracker {}", tracker?))),
        }
    }

    /// Says something of it in full sentences: by its title, then as pf prints it.
    pub fn rule_sentences(&self, what: &str) -> String {
        let title = self.title().map(|title| format!(": {title}")).unwrap_or_default();
        format!("{what}{title}.{PF_WORDS}: {}.", self.text)
    }

    /// Returns the addresses, networks or `<table>`s that [`Rule::target`] names.
    pub fn target_hosts(&self) -> Vec<&str> {
        let target = self.target.as_deref().unwrap_or_default();
        match target.strip_prefix("{ ") {
            Some(list) => {
                let (list, _) = list.split_once(" }").unwrap_or((list, ""));
                list.split(", ").collect()
            }
            None => target.split(' ').take(1).filter(|host| !host.is_empty()).collect(),
        }
    }

    /// Returns the port or range that [`Rule::target`] names: `443`, `5060:5070`.
    pub fn target_port(&self) -> Option<&str> {
        let (_, port) = self.target.as_deref()?.split_once(" port ")?;
        port.split(' ').next()
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `pass`.
    Pass,
    /// `block`; what it answers (`drop`, `return`, …) stays in the text.
    Block,
    /// `match`.
    Match,
    /// `scrub`.
    Scrub,
    /// `nat`.
    Nat,
    /// `rdr`; `pass` lets the packet in without a filter rule.
    Rdr {
        /// `rdr pass`.
        pass: bool,
    },
    /// `binat`.
    Binat,
    /// `no nat`, `no rdr`, `no scrub`, `no binat`.
    No(String),
    /// `anchor`, `nat-anchor`, `rdr-anchor`, `binat-anchor`, with its name.
    Anchor {
        /// The first word.
        kind: String,
        /// The name between the quotes.
        name: String,
    },
    /// What kmsctl cannot read: it may do anything.
    Unread,
}

/// The direction of a rule or a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Inbound (`in`, `<-`).
    In,
    /// Outbound (`out`, `->`).
    Out,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// `on IF` or `on ! IF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// With `!`.
    pub negated: bool,
    /// The system's name, such as `vtnet0`.
    pub name: String,
}

/// `(IF ADDR)` of `reply-to` and `route-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The interface.
    pub interface: String,
    /// The next hop, if an address was printed.
    pub address: Option<IpAddr>,
}

/// One side of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// With `!`.
    pub negated: bool,
    /// `any`, an address, a network, a range, `(if)`, `<table>`, … as printed, table counts (`:3`) removed.
    pub host: String,
    /// `port …` as printed without the word: `= 1688`, `25:587`, `1000 >< 2000`.
    pub port: Option<String>,
    /// How many entries the table has that it names, as `-vv` prints: 0 also for `*`, a table that pf does not have.
    pub entries: Option<u32>,
}

/// What a rule does about state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// `no state`.
    No,
    /// `keep state`.
    Keep,
    /// `modulate state`.
    Modulate,
    /// `synproxy state`.
    Synproxy,
}

/// The options of `keep state (…)` that kmsctl judges, and the rest as printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `max-src-conn N`.
    pub max_src_conn: Option<u32>,
    /// `max-src-conn-rate N/S`.
    pub max_src_conn_rate: Option<Rate>,
    /// `max-src-states N`.
    pub max_src_states: Option<u32>,
    /// `max-src-nodes N`.
    pub max_src_nodes: Option<u32>,
    /// `overload <T> [flush [global]]`.
    pub overload: Option<Overload>,
    /// Every other option as printed, in order.
    pub other: Vec<String>,
}

/// `N/S`: connections within seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Connections.
    pub connections: u32,
    /// Seconds.
    pub seconds: u32,
}

/// `overload <table> [flush [global]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// The table that offenders are put into.
    pub table: String,
    /// Which of the offender's states are ended.
    pub flush: Flush,
}

/// Which of an offender's states an overload ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Only the state that tripped.
    None,
    /// All made by the same rule.
    Rule,
    /// All made by any rule.
    Global,
}

/// The counters of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Looks at the rule, after skip steps.
    pub evaluations: u64,
    /// Packets, those of the rule's states included.
    pub packets: u64,
    /// Bytes, likewise.
    pub bytes: u64,
    /// Present states.
    pub states: u64,
    /// States made since the rule was loaded last (0 with `-g`, which does not print it).
    pub state_creations: u64,
    /// The process that loaded it: the number of `Inserted: uid 0 pid N`.
    pub loader: Option<u32>,
}
