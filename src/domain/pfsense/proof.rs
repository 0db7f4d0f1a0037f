//! What pf must show where records are in force: computed here, and held against pfctl's lists on the firewall, which
//! knows neither rules nor caps. Conditions are patterns of PHP's `preg_grep` and the sentence for where they do not hold.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::change::{Placed, Records};
use super::config::{ReadRequest, ranges_of_port};
use super::configured::{Configured, FilterRule, NatRule, parse_tracker};
use super::managed::{is_own_address, passes_to_service};
use super::record::Element;
use crate::domain::ratelimit;

/// What proves a change, and what proves that it was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PfProof {
    pub after: Vec<PfCondition>,
    pub before: Vec<PfCondition>,
}

/// One thing that pf must show. They are looked at in their order; the first that does not hold counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PfCondition {
    pub ask: PfList,
    /// What the list is called where it cannot be read.
    pub name: String,
    /// Patterns: the lines that match all of them are meant.
    pub lines: Vec<String>,
    pub wants: PfWant,
    /// What of the lines that should not be there is put behind the sentence.
    pub shown: Option<String>,
    /// Where it does not hold nothing is proven; otherwise the change is contradicted.
    pub doubts: bool,
    /// The sentence, without a full stop.
    pub says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PfList {
    /// `-sr`.
    Rules,
    /// `-sn`.
    Redirections,
    /// `-si`.
    Status,
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PfWant {
    /// One or more.
    Some,
    None,
}

impl PfCondition {
    fn new(ask: PfList, wants: PfWant, lines: Vec<String>, says: impl Into<String>) -> Self {
        let name = match ask {
            PfList::Rules => "pf's rules",
            PfList::Redirections => "pf's redirections",
            PfList::Status => "pf's status",
            PfList::Table => "pf's table of the alias",
        };
        Self {
            ask,
            name: name.to_owned(),
            lines,
            wants,
            shown: None,
            doubts: false,
            says: says.into(),
        }
    }

    /// Wants the list to be read, whatever it holds.
    fn reading(ask: PfList) -> Self {
        Self::new(ask, PfWant::None, vec!["/(?!)/".to_owned()], String::new())
    }

    fn doubting(self) -> Self {
        Self { doubts: true, ..self }
    }
}

/// Computes what proves the records after a change, and those before it.
pub(super) fn prove_swap(
    configured: &Configured,
    service: &ReadRequest,
    before: &Records,
    after: &Records,
) -> PfProof {
    let conditions = |now, was, takes_back| {
        let proof = RecordProof { configured, service, now, was, takes_back };
        proof.conditions()
    };
    PfProof { after: conditions(after, before, false), before: conditions(before, after, true) }
}

/// The pattern of what stands before something in a line of pf's, where that is not within quotation marks.
const PLAIN: &str = "(?:[^\"]|\"[^\"]*\")*?";

/// Says whether records have a rule at all.
pub(super) fn has_rules(records: &Records) -> bool {
    records.nat.is_some() || records.filter.is_some()
}

/// Returns whether a record is not in force.
pub fn is_out(placed: Option<&Placed>) -> bool {
    placed.is_none_or(|placed| placed.record.has_child("disabled"))
}

/// The records that are to be in force, and those that are not any more.
struct RecordProof<'a> {
    configured: &'a Configured,
    service: &'a ReadRequest,
    now: &'a Records,
    was: &'a Records,
    /// What is in force is to be taken back, perhaps hours later.
    takes_back: bool,
}

impl RecordProof<'_> {
    fn conditions(&self) -> Vec<PfCondition> {
        // What cannot be read is found before anything is contradicted.
        let asked = [PfList::Rules, PfList::Redirections, PfList::Status];
        let mut conditions = asked.map(PfCondition::reading).to_vec();
        self.prove_pass(&mut conditions);
        self.prove_redirect(&mut conditions);
        if [self.now, self.was].iter().all(|records| !has_rules(records)) {
            self.prove_unloaded(&mut conditions);
        }
        let status = |pattern: &str, says: &str| {
            let lines = vec![pattern.to_owned()];
            PfCondition::new(PfList::Status, PfWant::Some, lines, says).doubting()
        };
        conditions
            .push(status(r"/^Status: (?:Enabled|Disabled)\b/", "pf's status could not be read"));
        conditions.push(status(r"/^Status: Enabled\b/", "pf is switched off on this firewall"));
        self.prove_alias(&mut conditions);
        conditions
    }

    fn prove_pass(&self, conditions: &mut Vec<PfCondition>) {
        let (now, was) = (self.now.filter.as_ref(), self.was.filter.as_ref());
        let rule = |placed: &Placed| FilterRule::of_record(placed.index, &placed.record);
        let is_kept = now == was;
        let stays_enabled = is_kept && !is_out(now);
        let (now, was) = (now.map(rule), was.map(rule));
        // The forward is closed alone, as its filter rule belongs to others too; or it comes back alone, and of the rule that
        // stayed pf shows nothing that distinguishes it.
        let is_known = |rule: &FilterRule| {
            self.has_own_tracker(rule)
                || rule.destination.address.as_deref().is_some_and(|to| !to.is_empty())
        };
        let is_closed = is_out(self.now.nat.as_ref());
        if stays_enabled && is_closed || is_kept && !now.as_ref().is_some_and(is_known) {
            return;
        }
        if let Some(now) = &now {
            self.prove_rule(now, conditions);
        }
        let Some(was) = was else { return };
        let lines = self.lines_of(&was);
        if now.is_none_or(|now| self.lines_of(&now) != lines) {
            let tracker = was.tracker.as_deref().unwrap_or_default();
            let says = format!("pf still runs the filter rule {tracker}");
            let says = says.trim_end();
            conditions.push(PfCondition::new(PfList::Rules, PfWant::None, lines, says));
        }
    }

    fn prove_rule(&self, rule: &FilterRule, conditions: &mut Vec<PfCondition>) {
        let lines = self.lines_of(rule);
        let condition =
            |wants, says: &str| PfCondition::new(PfList::Rules, wants, lines.clone(), says);
        if rule.disabled {
            conditions.push(condition(PfWant::None, "pf still runs the filter rule"));
            return;
        }
        // Outside of the times of its schedule pfSense does not load it.
        if rule.sched.as_deref().is_none_or(str::is_empty) {
            conditions.push(condition(PfWant::Some, "pf does not run the filter rule"));
        }
        let mut forbid = |pattern: String, shown: Option<&str>, says: &str| {
            let mut condition = condition(PfWant::None, says);
            condition.lines.push(pattern);
            condition.shown = shown.map(str::to_owned);
            conditions.push(condition);
        };
        if let Some(port) = self.printed_port(rule.destination.port.as_deref(), |_| true) {
            let says = "pf runs the filter rule for another port";
            forbid(format!("/^(?!{PLAIN}{port} )/"), None, says);
        }
        let shown = "/max-src-conn(?:-rate)? [0-9\\/]+/";
        let says = "pf runs the filter rule with other caps";
        forbid(pattern_of_other_caps(rule), Some(shown), says);
    }

    /// Returns the patterns of pf's lines of a filter rule: by its tracker where that is its own, else also by target and
    /// port. pf prints the tracker as a number: 0100000101 is ridentifier 100000101. What stands in quotation marks is a
    /// description or a name, and says nothing of the rule.
    fn lines_of(&self, rule: &FilterRule) -> Vec<String> {
        let by_tracker = match rule.tracker_number() {
            None => format!("/^(?!{PLAIN} ridentifier [0-9])/"),
            Some(number) => format!("/^{PLAIN} ridentifier {number}(?![0-9])/"),
        };
        if self.has_own_tracker(rule) {
            return vec![by_tracker];
        }
        let to = printed_host(rule.destination.address.as_deref());
        let port = self.printed_service_port(rule.destination.port.as_deref());
        let device = self.device();
        let way = format!("/^pass {PLAIN}\\bon {device} {PLAIN}proto tcp {PLAIN} to {to} {port} /");
        vec![by_tracker, way]
    }

    /// Returns whether the tracker alone distinguishes this rule from all others that stay.
    fn has_own_tracker(&self, rule: &FilterRule) -> bool {
        let Some(number) = rule.tracker_number() else {
            return false;
        };
        let swapped = [self.now.filter.as_ref(), self.was.filter.as_ref()];
        let is_swapped = |record: &Element| {
            let mut swapped = swapped.iter().flatten();
            swapped.any(|placed| placed.record.canonical_json() == record.canonical_json())
        };
        let all = self.configured.sections.list("filter", "rule").iter();
        let tracker = |rule: &Element| rule.child_text("tracker").and_then(parse_tracker);
        let mut bearers = all.filter(|rule| tracker(rule) == Some(number));
        bearers.all(is_swapped)
    }

    /// Returns the pattern of a field's ports as pf prints them, each number and range in a rule of its own: of those that
    /// are meant. A single port may stand as a range of one. `None` where the field names no port that is meant.
    fn printed_port(
        &self,
        field: Option<&str>,
        is_meant: impl Fn(&(u16, u16)) -> bool,
    ) -> Option<String> {
        let aliases = &self.configured.aliases;
        let ranges = ranges_of_port(aliases, field.unwrap_or_default(), 0)?;
        let meant = ranges.into_iter().filter(is_meant);
        let printed: Vec<String> = meant.map(printed_range).collect();
        (!printed.is_empty()).then(|| format!("port (?:{})", printed.join("|")))
    }

    /// The same of those that hold the service's port, by which a record counts as the service's.
    fn printed_service_port(&self, field: Option<&str>) -> String {
        let port = self.service.port;
        let holds = |(low, high): &(u16, u16)| (*low..=*high).contains(&port);
        let printed = self.printed_port(field, holds);
        printed.unwrap_or_else(|| format!("port (?:{})", printed_range((port, port))))
    }

    fn device(&self) -> String {
        let interface = self.configured.interface.as_ref();
        let device = interface.and_then(|interface| interface.device.as_deref());
        quoted(device.unwrap_or_default())
    }

    fn prove_redirect(&self, conditions: &mut Vec<PfCondition>) {
        let rule = |placed: &Placed| NatRule::of_record(placed.index, &placed.record);
        let now = self.now.nat.as_ref().map(rule);
        let was = self.was.nat.as_ref().map(rule);
        let mut push = |wants, rule: &NatRule, says: &str| {
            let mut lines = vec![self.line_of_redirection(rule)];
            // Until then others may have built a forward for another address.
            let door = self.printed_door(rule).filter(|_| self.takes_back && wants == PfWant::None);
            lines.extend(door);
            conditions.push(PfCondition::new(PfList::Redirections, wants, lines, says));
        };
        match &now {
            Some(now) if now.disabled => {
                push(PfWant::None, now, "pf still runs the redirection");
            }
            Some(now) => push(PfWant::Some, now, "pf does not run the redirection"),
            None => {}
        }
        if let Some(was) = was
            && now
                .is_none_or(|now| self.line_of_redirection(&now) != self.line_of_redirection(&was))
        {
            push(PfWant::None, &was, "pf still runs the old redirection");
        }
    }

    /// Returns the pattern of the address that a forward is for, as pf prints it; `None` where it is not one address.
    fn printed_door(&self, rule: &NatRule) -> Option<String> {
        let to = &rule.destination;
        let interface = self.configured.interface.as_ref();
        let own = is_own_address(to, interface, self.service);
        let own = interface.filter(|_| own).and_then(|interface| interface.ipaddr.as_deref());
        let address = own.or(to.address.as_deref()).filter(|_| !to.not)?;
        let address = address.trim().parse::<IpAddr>().ok()?.to_string();
        Some(format!("/^{PLAIN} to {} port /", quoted(&address)))
    }

    /// The configuration has no rules of the service, and what pf runs of them goes by loading it.
    fn prove_unloaded(&self, conditions: &mut Vec<PfCondition>) {
        let device = self.device();
        let port = self.service.port;
        let port = format!("port (?:{})", printed_range((port, port)));
        let address = quoted(&self.service.address.to_string());
        let to = format!("(?:{}|{address})", printed_host(Some(&self.service.alias)));
        let pass =
            format!("/^pass {PLAIN}\\bon {device} {PLAIN}proto tcp {PLAIN} to {to} {port} /");
        // A filter rule whose forward was led elsewhere stays.
        let stays = |rule: &FilterRule| {
            !rule.disabled && passes_to_service(rule, &self.configured.aliases, self.service)
        };
        let pass = (PfList::Rules, pass, "filter rule");
        let pass = Some(pass).filter(|_| !self.configured.filter.iter().any(stays));
        let redirection = (PfList::Redirections, self.redirection_to(&to, &port), "redirection");
        for (list, line, rule) in std::iter::once(redirection).chain(pass) {
            let says = format!("pf still runs a {rule} of the service");
            conditions.push(PfCondition::new(list, PfWant::None, vec![line], says));
        }
    }

    fn line_of_redirection(&self, rule: &NatRule) -> String {
        let port = self.printed_service_port(rule.destination.port.as_deref());
        self.redirection_to(&printed_host(rule.target.as_deref()), &port)
    }

    fn redirection_to(&self, to: &str, port: &str) -> String {
        let device = self.device();
        let family = if self.service.address.is_ipv6() { "inet6" } else { "inet" };
        format!("/^rdr {PLAIN}\\bon {device} (?:{family} )?proto tcp {PLAIN}{port} -> {to}(?: |$)/")
    }

    /// The members of pf's table are those of the alias; only where a rule in force names it, as pf has no table else.
    fn prove_alias(&self, conditions: &mut Vec<PfCondition>) {
        let name = &self.service.alias;
        let names_it = |placed: &Option<Placed>| {
            let record = placed.as_ref().map(|placed| &placed.record);
            let record = record.filter(|record| !record.has_child("disabled"));
            let named = |record: &Element| {
                let destination = record.get("destination");
                let address = destination.and_then(|side| side.child_text("address"));
                record.child_text("target") == Some(name) || address == Some(name)
            };
            record.is_some_and(named)
        };
        let Some(alias) = &self.now.alias else { return };
        if !names_it(&self.now.nat) && !names_it(&self.now.filter) {
            return;
        }
        // What the change has not touched does not take it back.
        let was = self.was.alias.as_ref().map(|placed| &placed.record);
        let ours = was != Some(&alias.record);
        // Until then another writer may have given it other members.
        if self.takes_back && !ours {
            return;
        }
        let table = format!("pf's table of the alias {name}");
        let mut push = |condition: PfCondition| {
            conditions.push(PfCondition {
                name: table.clone(),
                doubts: condition.doubts || !ours,
                ..condition
            });
        };
        push(PfCondition::reading(PfList::Table));
        let text = alias.record.child_text("address").unwrap_or_default();
        let mut patterns = Vec::new();
        // Names, other aliases and ranges are made addresses by pfSense.
        let mut open = false;
        for member in text.split_whitespace() {
            let Some(printed) = printed_member(member) else {
                open = true;
                continue;
            };
            let quoted = quoted(&printed);
            let lines = vec![format!("/^\\s*{quoted}\\s*$/")];
            let says = format!("{table} lacks {printed}");
            push(PfCondition::new(PfList::Table, PfWant::Some, lines, says));
            patterns.push(quoted);
        }
        if !open {
            let others = format!("/^(?!\\s*(?:{})\\s*$).*\\S/", patterns.join("|"));
            let says = format!("{table} holds others than its members");
            push(PfCondition {
                shown: Some("/\\S+/".to_owned()),
                ..PfCondition::new(PfList::Table, PfWant::None, vec![others], says)
            });
        }
    }
}

/// Returns the pattern of a line that does not carry the caps that pfSense makes of the record, or others too.
fn pattern_of_other_caps(rule: &FilterRule) -> String {
    let (caps, _) = ratelimit::of_configured(rule);
    let connections = caps.max_src_conn.map_or_else(
        || format!("(?!{PLAIN}\\bmax-src-conn [0-9])"),
        |most| format!("(?={PLAIN}\\bmax-src-conn {most}(?![0-9]))"),
    );
    let rate = caps.rate.map_or_else(
        || format!("(?!{PLAIN}\\bmax-src-conn-rate [0-9])"),
        |rate| {
            let (count, seconds) = (rate.connections, rate.seconds);
            format!("(?={PLAIN}\\bmax-src-conn-rate {count}\\/{seconds}(?![0-9]))")
        },
    );
    format!("/^(?!{connections}{rate})/")
}

/// Returns the pattern of a range of ports as pf prints it.
fn printed_range((low, high): (u16, u16)) -> String {
    let range = format!("{low}:{high}");
    if low == high { format!("= {low}|{range}") } else { range }
}

/// Returns the pattern of a target as pf prints it: an address in its own spelling, or the table of an alias.
fn printed_host(field: Option<&str>) -> String {
    let field = field.unwrap_or_default().trim();
    printed_member(field)
        .map_or_else(|| format!("<{}(?::[0-9*]+)?>", quoted(field)), |printed| quoted(&printed))
}

/// Prints a member as pf does: an address, or a network with its length.
fn printed_member(member: &str) -> Option<String> {
    if let Ok(address) = member.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let net = member.parse::<IpNet>().ok()?.trunc();
    Some(if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    })
}

/// Lets every character of a text stand for itself in a pattern.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}
