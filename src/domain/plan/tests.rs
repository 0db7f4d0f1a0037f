//! Plans from hand-made readings: what is planned, what is refused and why, and what a saved plan holds on to.

mod building;
mod capping;
mod chance;
mod closing;
mod freeing;
mod killing;
mod opening;
mod saving;
mod undoing;

use std::net::IpAddr;

use super::*;
use crate::domain::connections;
use crate::domain::connections::ConnectedSource;
use crate::domain::exposure::{self, AliasTable, Exposure, Loaded, fixtures};
use crate::domain::firewall_identity::FirewallIdentity;
use crate::domain::history;
use crate::domain::history::{EndedAs, Finish, HistoryEntry, HistoryEvent};
use crate::domain::pf::rule::{Rate, Rule};
use crate::domain::pf::state::{self, State};
use crate::domain::pf::table::Entry as TableEntry;
use crate::domain::pfsense::change::{
    ChangeEnding, ChangeOutcome, Element, Placed, Records, RunningChange,
};
use crate::domain::pfsense::config::Sections;
use crate::domain::pfsense::configured::{CapFields, Configured, Side};
use crate::domain::pfsense::edit::CAP_KEYS;
use crate::domain::ratelimit::Caps;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn table() -> TableName {
    TableName::new("virusprot").unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn entry(text: &str, age: i64) -> TableEntry {
    let address = address(text);
    TableEntry {
        negated: address.negated,
        net: address.net,
        since: Timestamp::from_second(now().as_second() - age).ok(),
    }
}

fn entries() -> Vec<TableEntry> {
    vec![
        entry("203.0.113.5", 60),
        entry("203.0.113.9", 7200),
        entry("198.51.100.0/24", 90_000),
        entry("2001:db8::1", 3600),
    ]
}

fn draft(planned: Result<Planned, Refusal>) -> Draft {
    match planned.unwrap() {
        Planned::Change(draft) => *draft,
        Planned::NothingToDo(sentence) => panic!("{sentence}"),
    }
}

fn nothing(planned: Result<Planned, Refusal>) -> String {
    match planned.unwrap() {
        Planned::NothingToDo(sentence) => sentence,
        Planned::Change(draft) => panic!("{}", draft.what),
    }
}

fn codes(draft: &Draft) -> Vec<&str> {
    draft.risks.iter().map(|risk| risk.code.as_str()).collect()
}

fn author() -> Author {
    Author {
        made_at: now(),
        firewall: "demo".into(),
        identity: FirewallIdentity {
            host_key: "ssh-ed25519 SHA256:demo".into(),
            authority: None,
            tied: Vec::new(),
        },
        who: "viktor@laptop".into(),
        command: "virusprot flush".into(),
        reason: None,
    }
}

/// Frees every entry.
fn flushing() -> Draft {
    draft(plan_freeing(&entries(), &TableChoice::All, &table(), now(), &SourceCounts::Kept))
}

fn sealed() -> Plan {
    Plan::seal(flushing(), author(), "0")
}

const STATES: &str = "all tcp 10.0.20.202:1688 (192.168.1.2:1688) <- 198.51.100.23:50122       ESTABLISHED:ESTABLISHED
   age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 25
   id: 00000000000000a1 creatorid: 0000001a
all tcp 198.51.100.23:50122 -> 10.0.20.202:1688       ESTABLISHED:ESTABLISHED
   age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 60
   id: 00000000000000a2 creatorid: 0000001a
all tcp 10.0.20.202:1688 (192.168.1.2:1688) <- 198.51.100.24:40000       ESTABLISHED:ESTABLISHED
   age 00:00:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 25
   id: 00000000000000a3 creatorid: 0000001a
all tcp 10.0.20.202:443 <- 198.51.100.23:50123       ESTABLISHED:ESTABLISHED
   age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 26
   id: 00000000000000a4 creatorid: 0000001a
";

fn states() -> Vec<State> {
    let parsed = state::parse(STATES.as_bytes());
    assert_eq!(parsed.unread, []);
    parsed.value
}

/// Writes the rules and the alias as raw records, each where it stands.
fn sections_of(configured: &Configured) -> Sections {
    let side = |side: &Side| {
        let flags = [("any", side.any), ("not", side.not)];
        let texts = [("network", &side.network), ("address", &side.address), ("port", &side.port)];
        let mut element = Element::Map(Vec::new());
        for (name, _) in flags.iter().filter(|(_, set)| *set) {
            element.set_child(name, "");
        }
        for (name, text) in texts {
            if let Some(text) = text {
                element.set_child(name, text.as_str());
            }
        }
        element
    };
    let record = |disabled: bool, texts: &[(&str, Option<&str>)], sides: [&Side; 2]| {
        let mut record = Element::Map(Vec::new());
        if disabled {
            record.set_child("disabled", "");
        }
        for (name, text) in texts {
            if let Some(text) = text {
                record.set_child(name, *text);
            }
        }
        record.set_child("source", side(sides[0]));
        record.set_child("destination", side(sides[1]));
        record
    };
    let mut sections = Sections::default();
    let mut put = |section: &str, index: u32, record: Element| {
        sections.edit_list(section, "rule", |rules| {
            let place = index as usize;
            while rules.len() <= place {
                rules.push(Element::Map(Vec::new()));
            }
            rules[place] = record;
        });
    };
    for rule in &configured.nat {
        let texts = [
            ("interface", Some(rule.interface.as_str())),
            ("protocol", rule.protocol.as_deref()),
            ("target", rule.target.as_deref()),
            ("local-port", rule.local_port.as_deref()),
            ("descr", rule.descr.as_deref()),
            ("associated-rule-id", rule.association.as_deref()),
        ];
        let sides = [&rule.source, &rule.destination];
        put("nat", rule.index, record(rule.disabled, &texts, sides));
    }
    for rule in &configured.filter {
        let texts = [
            ("type", rule.kind.as_deref()),
            ("tracker", rule.tracker.as_deref()),
            ("interface", rule.interface.as_deref()),
            ("protocol", rule.protocol.as_deref()),
            ("descr", rule.descr.as_deref()),
            ("associated-rule-id", rule.association.as_deref()),
            ("statetype", rule.statetype.as_deref()),
            (CAP_KEYS[0], rule.caps.max_src_conn.as_deref()),
            (CAP_KEYS[1], rule.caps.max_src_conn_rate.as_deref()),
            (CAP_KEYS[2], rule.caps.max_src_conn_rates.as_deref()),
        ];
        let sides = [&rule.source, &rule.destination];
        put("filter", rule.index, record(rule.disabled, &texts, sides));
    }
    if let Some(alias) = &configured.alias {
        let mut record = Element::of_texts([("name", alias.name.as_str())]);
        for (name, text) in [("type", &alias.kind), ("address", &alias.address)] {
            if let Some(text) = text {
                record.set_child(name, text.as_str());
            }
        }
        sections.edit_list("aliases", "alias", |aliases| aliases.push(record));
    }
    sections
}

/// A firewall: its configuration, its rules, and what follows.
struct Box_ {
    configured: Configured,
    exposure: Exposure,
    sources: Vec<ConnectedSource>,
}

impl Box_ {
    fn new(mut configured: Configured, filter: &[Rule], nat: &[Rule]) -> Self {
        fixtures::fill_lists(&mut configured);
        let service = fixtures::service();
        let loaded = Loaded { filter, nat, enabled: true, alias_table: AliasTable::Unasked };
        let configured = Configured {
            fingerprint: "before".into(),
            sections: sections_of(&configured),
            aliases: configured.alias.iter().cloned().collect(),
            ..configured
        };
        Self {
            exposure: exposure::judge(Some(&configured), loaded, &service),
            sources: connections::tally_sources(&states(), &service, Some(&[]), &[], |_| false),
            configured,
        }
    }

    fn open() -> Self {
        let filter = [fixtures::block_table(), fixtures::pass(), fixtures::default_deny()];
        Self::new(fixtures::configured(), &filter, &[fixtures::rdr()])
    }

    fn closed() -> Self {
        let mut configured = fixtures::configured();
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        Self::new(configured, &[fixtures::block_table(), fixtures::default_deny()], &[])
    }

    fn absent() -> Self {
        let configured =
            Configured { nat: Vec::new(), filter: Vec::new(), ..fixtures::configured() };
        Self::new(configured, &[fixtures::block_table(), fixtures::default_deny()], &[])
    }

    fn changed(mut self, change: impl Fn(&mut Configured)) -> Self {
        change(&mut self.configured);
        self.configured.all_nat.clear();
        self.configured.all_filter.clear();
        fixtures::fill_lists(&mut self.configured);
        self.configured.sections = sections_of(&self.configured);
        self.configured.aliases = self.configured.alias.iter().cloned().collect();
        self
    }

    fn plan<T>(&self, plan: impl Fn(&PlanBasis<'_>) -> T) -> T {
        let service = fixtures::service();
        plan(&PlanBasis {
            configured: &self.configured,
            exposure: &self.exposure,
            service: &service,
            sources: &self.sources,
            blocked: Some(2),
        })
    }

    fn caps(
        &self,
        max_src_conn: Option<u32>,
        rate: Option<(u32, u32)>,
    ) -> Result<Planned, Refusal> {
        let rate = rate.map(|(connections, seconds)| Rate { connections, seconds });
        let wanted = WantedCaps { caps: Caps { max_src_conn, rate }, preset: None };
        self.plan(|present| plan_caps(present, &wanted, ChangeOptions::default()))
    }
}

fn default_caps() -> Caps {
    Caps { max_src_conn: Some(50), rate: Some(Rate { connections: 10, seconds: 60 }) }
}

fn change_of(draft: &Draft) -> &ConfigurationEdit {
    match &draft.operation {
        Operation::Configuration { change, .. } => change,
        other => panic!("{other:?}"),
    }
}

fn revoked(on: &Box_, delete: bool) -> Result<Planned, Refusal> {
    on.plan(|present| plan_revoke(present, delete, true, ChangeOptions::default()))
}

fn restored(on: &Box_, saved: Option<&SavedRecords>) -> Result<Planned, Refusal> {
    on.plan(|present| plan_restore(present, saved, default_caps(), ChangeOptions::default()))
}

/// The exposure's records, as they are saved.
fn records(port: &str) -> Records {
    let to = |place: (&str, &str)| Element::of_texts([place, ("port", port)]);
    let placed = |texts: &[(&str, &str)], to: Element| {
        let mut record = Element::of_texts([
            ("z", "1"),
            ("tracker", "1763000004"),
            ("interface", "wan"),
            ("protocol", "tcp"),
            ("associated-rule-id", "nat_1"),
        ]);
        for (name, text) in texts {
            record.set_child(name, *text);
        }
        record.set_child("source", Element::of_texts([("any", "")]));
        record.set_child("destination", to);
        Some(Placed { index: 3, record, beside: None })
    };
    let caps = [("max-src-conn", "50"), ("max-src-conn-rate", "10"), ("max-src-conn-rates", "60")];
    Records {
        nat: placed(&[("target", "k8s_kms_lb")], to(("network", "wanip"))),
        filter: placed(&caps, to(("address", "k8s_kms_lb"))),
        ..Records::default()
    }
}

fn saved(records: Records) -> SavedRecords {
    SavedRecords { id: "abc".into(), by: None, at: Some(now()), records, kept: true, broken: None }
}

fn applied(on: &Box_) -> Result<Planned, Refusal> {
    on.plan(|present| plan_apply(present, default_caps(), ChangeOptions::default()))
}

fn done(plan: &Plan, finish: Finish) -> HistoryEntry {
    let events = [
        HistoryEvent::Started {
            plan: Box::new(plan.clone()),
            by: None,
            context: None,
            planned_as: None,
            beside: None,
        },
        HistoryEvent::Ended { id: plan.id.to_string(), finish: Box::new(finish) },
    ];
    fold(events.iter().map(|event| (event, None))).remove(0)
}

/// Puts events of a history together, each with its line where that is broken.
fn fold<'a>(events: impl Iterator<Item = (&'a HistoryEvent, Option<u64>)>) -> Vec<HistoryEntry> {
    let mut folder = history::Folder::of_last(usize::MAX);
    for (event, line) in events {
        folder.push(now(), event.clone(), line);
    }
    folder.into_entries()
}

/// Each compared with each would take minutes here, in which neither a signal nor a time limit is heard.
#[test]
fn a_list_as_long_as_the_table_is_planned() {
    let name = |number: u32| format!("9.9.{}.{}", number / 256, number % 256);
    let entries: Vec<TableEntry> = (0..40_000).map(|number| entry(&name(number), 60)).collect();
    let wanted: Vec<Address> = entries.iter().map(Address::from).collect();
    let choice = TableChoice::Within(wanted.clone());
    let planned = plan_freeing(&entries, &choice, &table(), now(), &SourceCounts::Kept);
    let Ok(Planned::Change(draft)) = planned else {
        panic!("there is something to free");
    };
    assert_eq!(draft.what, "Free 40000 addresses from virusprot.");
    let networks: Vec<Address> =
        ["9.9.1.0/24", "9.9.1.7", "9.10.0.0/16"].iter().map(|text| text.parse().unwrap()).collect();
    let within = TableChoice::Within(networks);
    let planned = plan_freeing(&entries, &within, &table(), now(), &SourceCounts::Kept);
    let Ok(Planned::Change(draft)) = planned else {
        panic!("there is something to free");
    };
    assert_eq!(draft.what, "Free 256 addresses from virusprot.");
    let missing = draft.risks.iter().find(|risk| risk.code == "not-blocked");
    assert!(missing.unwrap().message.starts_with("9.10.0.0/16 is not"));
}
