//! Plans from hand-made readings: what is planned, what is refused and why, and what a saved plan holds on to.

use std::net::IpAddr;

use super::*;
use crate::domain::change::{Element, Ending, Outcome, Placed, Records, Running};
use crate::domain::configured::{Configured, Side};
use crate::domain::connections::{self, Source};
use crate::domain::exposure::{self, Exposure, Loaded, fixtures};
use crate::domain::history::{self, Ended, Entry, Event, Finish};
use crate::domain::pf::rule::{Rate, Rule};
use crate::domain::pf::state::{self, State};
use crate::domain::pf::table::Entry as TableEntry;
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
        counters: None,
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

fn deleted(draft: &Draft) -> Vec<String> {
    match &draft.operation {
        Operation::TableDelete { entries, .. } => entries
            .iter()
            .map(|entry| entry.address.to_string())
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn codes(draft: &Draft) -> Vec<&str> {
    draft.risks.iter().map(|risk| risk.code.as_str()).collect()
}

#[test]
fn expire_frees_what_is_strictly_older() {
    let older = |limit| free(&entries(), &TableChoice::OlderThan(limit), &table(), now());
    assert_eq!(
        deleted(&draft(older(3600))),
        ["203.0.113.9", "198.51.100.0/24"]
    );
    assert!(nothing(older(90_000)).contains("none of the 4 entries"));
}

#[test]
fn flush_names_every_entry_and_wants_the_word() {
    let draft = draft(free(&entries(), &TableChoice::All, &table(), now()));
    assert_eq!(deleted(&draft).len(), 4);
    assert_eq!(draft.confirm, Confirm::Word("flush".into()));
    assert_eq!(
        draft.differences,
        [Difference::new("blocked", 4_u32, 0_u32)]
    );
    assert_eq!(codes(&draft), ["comes-back", "shared-table"]);
    assert!(nothing(free(&[], &TableChoice::All, &table(), now())).contains("is empty"));
}

#[test]
fn delete_takes_exact_entries_once_and_names_what_is_not_there() {
    let wanted = ["203.0.113.5", "203.0.113.5", "192.0.2.1", "198.51.100.0/24"].map(address);
    let choice = TableChoice::Addresses(wanted.to_vec());
    let draft = draft(free(&entries(), &choice, &table(), now()));
    assert_eq!(deleted(&draft), ["198.51.100.0/24", "203.0.113.5"]);
    assert_eq!(draft.confirm, Confirm::YesNo);
    assert!(codes(&draft).contains(&"not-blocked"));
    let choice = TableChoice::Addresses(vec![address("192.0.2.1")]);
    let told = nothing(free(&entries(), &choice, &table(), now()));
    assert_eq!(told, "Nothing to do: 192.0.2.1 is not in virusprot.");
}

#[test]
fn an_address_within_a_blocked_network_is_refused_with_the_network() {
    let choice = TableChoice::Addresses(vec![address("198.51.100.7")]);
    let refusal = free(&entries(), &choice, &table(), now()).unwrap_err();
    assert!(
        refusal.message.contains("part of 198.51.100.0/24"),
        "{refusal}"
    );
    assert_eq!(refusal.hints.len(), 1);
}

fn author() -> Author {
    Author {
        made_at: now(),
        firewall: "demo".into(),
        host_key: None,
        who: "viktor@laptop".into(),
        command: "virusprot flush".into(),
        reason: None,
    }
}

fn sealed() -> Plan {
    let draft = draft(free(&entries(), &TableChoice::All, &table(), now()));
    Plan::seal(draft, author(), "0").unwrap()
}

#[test]
fn a_saved_plan_comes_back_and_every_edit_shows() {
    let plan = sealed();
    let text = serde_json::to_string_pretty(&plan).unwrap();
    assert_eq!(Plan::read(&text), Ok(plan));
    for (from, to) in [
        ("203.0.113.9", "203.0.113.8"),
        ("\"demo\"", "\"fw\""),
        ("virusprot flush", "virusprot show"),
        ("\"reverts_after\": null", "\"reverts_after\": 60"),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        assert_eq!(Plan::read(&edited), Err(PlanError::Edited), "{from}");
    }
    let newer = text.replacen("kmsctl/plan/v1", "kmsctl/plan/v2", 1);
    assert_eq!(
        Plan::read(&newer),
        Err(PlanError::NewerSchema("kmsctl/plan/v2".into()))
    );
    for none in [
        "",
        "{}",
        "[]",
        "null",
        "{\"schema\": \"kmsctl/change/v1\"}",
        "\u{0}",
    ] {
        assert!(
            matches!(Plan::read(none), Err(PlanError::NotAPlan(_))),
            "{none:?}"
        );
    }
    let more = text.replacen('{', "{\"surplus\": 1,", 1);
    assert!(matches!(Plan::read(&more), Err(PlanError::NotAPlan(_))));
    let hostile = text.replace("203.0.113.9", "203.0.113.9\\nreboot");
    assert!(matches!(Plan::read(&hostile), Err(PlanError::NotAPlan(_))));
}

#[test]
fn ids_tell_apart_what_happens_at_one_moment() {
    let draft = || draft(free(&entries(), &TableChoice::All, &table(), now()));
    let id = |salt: &str| Plan::seal(draft(), author(), salt).unwrap().id;
    assert_eq!(id("0"), id("0"));
    assert_ne!(id("0"), id("2"));
    assert_eq!(id("0").as_str().len(), 12);
}

#[test]
fn what_moved_is_named() {
    let seen = Seen::of(entry_facts(entries()[..2].iter()));
    assert_eq!(seen.moved(&seen.facts), Vec::<String>::new());
    let now = entry_facts([entry("203.0.113.5", 10)].iter());
    assert_eq!(
        seen.moved(&now),
        [
            "203.0.113.5: was blocked since 2026-03-01T11:59:00Z, is blocked since 2026-03-01T11:59:50Z",
            "203.0.113.9: was blocked since 2026-03-01T10:00:00Z, is nothing",
        ]
    );
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

fn killed(choice: &StatesChoice, rules: &[Rule]) -> Draft {
    let tracker = Some(1_763_000_004);
    let (states, service) = (states(), fixtures::service());
    let live = Live::new(&states, &service, Some(&[]));
    draft(kill(&live, labels(rules, tracker), choice))
}

#[test]
fn both_halves_of_the_service_only_are_ended() {
    let client: IpAddr = [198, 51, 100, 23].into();
    let draft = killed(&StatesChoice::Clients(vec![client]), &[fixtures::pass()]);
    let Operation::StatesKill { labels, states, .. } = &draft.operation else {
        panic!("{draft:?}");
    };
    let ids: Vec<u64> = states.iter().map(|state| state.id).collect();
    assert_eq!((labels.len(), ids), (0, vec![0xa1, 0xa2]));
    assert_eq!(draft.confirm, Confirm::YesNo);
    assert!(
        draft.what.starts_with("End 1 connection of 1 source"),
        "{}",
        draft.what
    );
}

#[test]
fn all_go_by_the_label_where_the_rule_has_one() {
    let draft = killed(&StatesChoice::All, &[fixtures::pass()]);
    let Operation::StatesKill {
        labels,
        states: planned,
        ..
    } = &draft.operation
    else {
        panic!("{draft:?}");
    };
    assert_eq!(
        (labels.as_slice(), planned.len()),
        (&["id:1763000004".to_owned()][..], 3)
    );
    assert_eq!(draft.confirm, Confirm::Word("kill".into()));
    let unlabelled = Rule {
        labels: Vec::new(),
        ..fixtures::pass()
    };
    let draft = killed(&StatesChoice::All, &[unlabelled]);
    assert!(matches!(&draft.operation, Operation::StatesKill { labels, .. } if labels.is_empty()));
    let stranger = StatesChoice::Clients(vec![[192, 0, 2, 1].into()]);
    let (states, service) = (states(), fixtures::service());
    let live = Live::new(&states, &service, Some(&[]));
    let told = nothing(kill(&live, Vec::new(), &stranger));
    assert!(told.contains("has no connection to port 1688"), "{told}");
}

#[test]
fn servers_that_the_alias_holds_are_ended_too_and_strangers_never() {
    let text = "all tcp 10.0.20.203:1688 (192.168.1.2:1688) <- 198.51.100.23:50122       ESTABLISHED:ESTABLISHED\n   \
         age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 25\n   id: 00000000000000b1 creatorid: 0000001a\n\
         all tcp 198.51.100.23:50122 -> 10.0.20.203:1688       ESTABLISHED:ESTABLISHED\n   \
         age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 26\n   id: 00000000000000b2 creatorid: 0000001a\n\
         all tcp 10.0.20.9:1688 <- 10.0.10.5:40002       ESTABLISHED:ESTABLISHED\n   \
         age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 27\n   id: 00000000000000b3 creatorid: 0000001a\n";
    let (states, service) = (state::parse(text.as_bytes()).value, fixtures::service());
    assert_eq!(states.len(), 3);
    let ended = |members: Option<&[&str]>| {
        let members = members.map(|members| connections::members(members.iter().copied()));
        let live = Live::new(&states, &service, members.as_deref());
        let chosen = live.chosen(&StatesChoice::All).into_iter();
        let ids = chosen.filter_map(|state| state.identity.as_ref().map(|identity| identity.id));
        ids.collect::<Vec<u64>>()
    };
    assert_eq!(ended(Some(&[])), Vec::<u64>::new());
    assert_eq!(ended(Some(&["10.0.20.203"])), [0xb1, 0xb2]);
    assert_eq!(
        ended(None),
        [0xb1, 0xb2],
        "both halves of what is forwarded"
    );
}

/// A firewall: its configuration, its rules, and what follows.
struct Box_ {
    configured: Configured,
    exposure: Exposure,
    sources: Vec<Source>,
}

impl Box_ {
    fn new(configured: Configured, filter: &[Rule], nat: &[Rule]) -> Self {
        let service = fixtures::service();
        let loaded = Loaded {
            filter,
            nat,
            enabled: true,
        };
        let configured = Configured {
            fingerprint: "before".into(),
            ..configured
        };
        Self {
            exposure: exposure::judge(Some(&configured), loaded, &service),
            sources: connections::tally(&states(), &service, Some(&[]), &[], |_| false),
            configured,
        }
    }

    fn open() -> Self {
        let filter = [
            fixtures::block_table(),
            fixtures::pass(),
            fixtures::default_deny(),
        ];
        Self::new(fixtures::configured(), &filter, &[fixtures::rdr()])
    }

    fn closed() -> Self {
        let mut configured = fixtures::configured();
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
        Self::new(
            configured,
            &[fixtures::block_table(), fixtures::default_deny()],
            &[],
        )
    }

    fn absent() -> Self {
        let configured = Configured {
            nat: Vec::new(),
            filter: Vec::new(),
            ..fixtures::configured()
        };
        Self::new(
            configured,
            &[fixtures::block_table(), fixtures::default_deny()],
            &[],
        )
    }

    fn changed(mut self, change: impl Fn(&mut Configured)) -> Self {
        change(&mut self.configured);
        self
    }

    fn plan<T>(&self, plan: impl Fn(&Present<'_>) -> T) -> T {
        let service = fixtures::service();
        plan(&Present {
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
        let rate = rate.map(|(connections, seconds)| Rate {
            connections,
            seconds,
        });
        let wanted = Wanted {
            caps: Caps { max_src_conn, rate },
            preset: None,
        };
        self.plan(|present| ratelimit(present, &wanted, Terms::default()))
    }
}

fn default_caps() -> Caps {
    Caps {
        max_src_conn: Some(50),
        rate: Some(Rate {
            connections: 10,
            seconds: 60,
        }),
    }
}

fn change_of(draft: &Draft) -> &Change {
    match &draft.operation {
        Operation::Configuration { change, .. } => change,
        other => panic!("{other:?}"),
    }
}

#[test]
fn caps_that_are_there_already_are_nothing_to_do() {
    let told = nothing(Box_::open().caps(Some(50), Some((10, 60))));
    assert!(told.contains("already"), "{told}");
}

#[test]
fn tightening_says_what_it_implies_and_who_will_feel_it() {
    let mut open = Box_::open();
    open.sources[0].established = 14;
    let draft = draft(open.caps(Some(10), Some((3, 60))));
    assert_eq!(
        draft.differences,
        [
            Difference::new("max_src_conn", 50_u32, 10_u32),
            Difference::new("rate", "10/60", "3/60")
        ]
    );
    assert_eq!(
        codes(&draft),
        ["counters-restart", "cut-soon", "stay-blocked"]
    );
    assert!(
        draft.risks[1].message.contains("198.51.100.23 (14)"),
        "{:?}",
        draft.risks
    );
    assert!(!draft.risks[2].message.contains("flush"));
    assert_eq!(draft.seen.fingerprint, "before");
}

#[test]
fn loosening_offers_to_clear_the_slate() {
    let draft = draft(Box_::open().caps(Some(50), Some((30, 60))));
    let stay = draft
        .risks
        .iter()
        .find(|risk| risk.code == "stay-blocked")
        .unwrap();
    assert!(stay.message.contains("kmsctl virusprot flush"), "{stay:?}");
}

#[test]
fn caps_without_a_rate_and_without_any_are_named_for_what_they_are() {
    let draft_of = |caps: Result<Planned, Refusal>| draft(caps);
    assert!(codes(&draft_of(Box_::open().caps(Some(10), None))).contains(&"no-overload"));
    let none = draft_of(Box_::open().caps(None, None));
    assert_eq!(none.confirm, Confirm::Word("uncapped".into()));
    assert!(
        codes(&draft_of(
            Box_::open().caps(Some(1_000_000), Some((10, 60)))
        ))
        .contains(&"never-bites")
    );
}

#[test]
fn values_that_do_not_load_or_that_the_form_refuses_are_refused() {
    for (conn, rate) in [
        (Some(0), None),
        (Some(10), Some((0, 60))),
        (Some(10), Some((10, 0))),
        (Some(10), Some((5_000_000, 60))),
        (Some(10), Some((10, 256))),
    ] {
        let refusal = Box_::open().caps(conn, rate).unwrap_err();
        assert_eq!(
            refusal.kind,
            RefusalKind::Usage,
            "{conn:?} {rate:?}: {refusal}"
        );
    }
    assert!(
        Box_::open()
            .caps(Some(u32::MAX), Some((4_294_967, 255)))
            .is_ok()
    );
}

#[test]
fn caps_are_refused_where_they_cannot_work_with_the_reason() {
    type Edit = fn(&mut Configured);
    let cases: [(&str, Edit); 6] = [
        ("association is \"Pass\"", |configured| {
            configured.nat[0].association = Some("pass".into());
        }),
        ("action is block", |configured| {
            configured.filter[0].kind = Some("block".into());
        }),
        ("protocol is udp", |configured| {
            configured.filter[0].protocol = Some("udp".into());
        }),
        ("protocol is any", |configured| {
            configured.filter[0].protocol = None;
        }),
        ("keeps no state", |configured| {
            configured.filter[0].statetype = Some("none".into());
        }),
        ("There is no filter rule", |configured| {
            configured.filter.clear();
            configured.nat[0].association = Some(String::new());
        }),
    ];
    for (reason, change) in cases {
        let refusal = Box_::open()
            .changed(change)
            .caps(Some(10), Some((3, 60)))
            .unwrap_err();
        assert!(refusal.message.contains(reason), "{reason}: {refusal}");
        assert_eq!(refusal.kind, RefusalKind::Impossible);
        assert!(!refusal.hints.is_empty(), "{reason}");
    }
}

#[test]
fn half_a_rate_is_something_to_do_even_where_the_caps_would_be_the_same() {
    let half =
        Box_::open().changed(|configured| configured.filter[0].caps.max_src_conn_rate = None);
    let draft = draft(half.caps(Some(50), None));
    assert!(matches!(change_of(&draft), Change::Caps { rate: None, .. }));
}

#[test]
fn others_work_is_in_the_way() {
    let pending = Box_::open().changed(|configured| configured.dirty = vec!["filter".into()]);
    assert_eq!(
        pending.caps(Some(9), None).unwrap_err().kind,
        RefusalKind::Conflict
    );
    let terms = Terms {
        with_pending: true,
        reverts_after: Some(7200),
    };
    let wanted = Wanted {
        caps: Caps {
            max_src_conn: Some(9),
            rate: None,
        },
        preset: None,
    };
    let draft = draft(pending.plan(|present| ratelimit(present, &wanted, terms)));
    assert!(codes(&draft).contains(&"activates-pending"));
    assert_eq!(draft.reverts_after, Some(7200));
    let busy = Box_::open().changed(|configured| {
        let id = ChangeId::new("abc").unwrap();
        configured.unfinished = vec![Running {
            id,
            who: "vera@desk".into(),
            what: "caps".into(),
            since: 1,
        }];
    });
    let refusal = busy.caps(Some(9), None).unwrap_err();
    assert!(
        refusal.kind == RefusalKind::Conflict && refusal.message.contains("vera@desk"),
        "{refusal}"
    );
    let twice = Box_::open().changed(|configured| {
        let copy = configured.nat[0].clone();
        configured.nat.push(copy);
    });
    assert!(
        twice
            .caps(Some(9), None)
            .unwrap_err()
            .message
            .contains("not clear which")
    );
    let off = Box_::open().changed(|configured| configured.filter_disabled = true);
    assert!(
        off.caps(Some(9), None)
            .unwrap_err()
            .message
            .contains("disabled")
    );
}

fn revoked(on: &Box_, delete: bool) -> Result<Planned, Refusal> {
    on.plan(|present| revoke(present, delete, true, Terms::default()))
}

#[test]
fn revoke_disables_or_deletes_and_wants_the_word() {
    let plan = draft(revoked(&Box_::open(), false));
    assert_eq!(change_of(&plan), &Change::Disable);
    assert_eq!(plan.confirm, Confirm::Word("revoke".into()));
    assert!(
        plan.differences
            .contains(&Difference::new("exposure", "open", "closed"))
    );
    assert!(
        plan.differences
            .contains(&Difference::new("connections", 2_u32, 0_u32))
    );
    assert_eq!(
        change_of(&draft(revoked(&Box_::open(), true))),
        &Change::Delete
    );
    assert_eq!(
        change_of(&draft(revoked(&Box_::closed(), true))),
        &Change::Delete
    );
    assert!(nothing(revoked(&Box_::closed(), false)).contains("disabled already"));
    assert!(nothing(revoked(&Box_::absent(), true)).contains("no such rules"));
}

#[test]
fn rules_that_only_pf_still_has_are_no_closed_exposure() {
    let drifted = Box_::open().changed(|configured| {
        configured.nat.clear();
        configured.filter.clear();
    });
    let refusal = revoked(&drifted, false).unwrap_err();
    assert!(refusal.message.contains("but pf runs some"), "{refusal}");
}

fn restored(on: &Box_, saved: Option<&Saved>) -> Result<Planned, Refusal> {
    on.plan(|present| restore(present, saved, default_caps(), Terms::default()))
}

fn records(port: &str) -> Records {
    let placed = |name: &str| {
        Some(Placed {
            index: 3,
            record: Element::of_texts([
                ("z", "1"),
                ("tracker", "1763000004"),
                ("port", port),
                ("descr", name),
            ]),
        })
    };
    Records {
        nat: placed("nat"),
        filter: placed("filter"),
        ..Records::default()
    }
}

#[test]
fn restore_enables_or_puts_back_or_builds() {
    assert_eq!(
        change_of(&draft(restored(&Box_::closed(), None))),
        &Change::Enable
    );
    assert!(nothing(restored(&Box_::open(), None)).contains("is open"));
    let saved = Saved {
        id: "abc".into(),
        records: records("1688"),
    };
    let put_back = draft(restored(&Box_::absent(), Some(&saved)));
    assert!(
        matches!(change_of(&put_back), Change::PutBack { alias: false, records: given } if **given == records("1688"))
    );
    let built = draft(restored(&Box_::absent(), None));
    assert!(matches!(
        change_of(&built),
        Change::Build {
            alias: false,
            max_src_conn: Some(50),
            ..
        }
    ));
    assert!(codes(&built).contains(&"built-anew"));
    let half = Box_::open().changed(|configured| configured.filter.clear());
    assert!(
        matches!(
            change_of(&draft(restored(&half, Some(&saved)))),
            Change::Build { .. }
        ),
        "what is left of the pair is not overwritten"
    );
}

#[test]
fn apply_names_what_differs_and_nothing_else() {
    let applied = |on: &Box_| on.plan(|present| apply(present, default_caps(), Terms::default()));
    assert!(nothing(applied(&Box_::open())).contains("what the configuration says"));
    let wrong = Box_::open().changed(|configured| {
        configured.nat[0].target = Some("k8s_shared_lb".into());
        configured.nat[0].association = Some("pass".into());
        configured.filter.clear();
    });
    let fields = |draft: &Draft| {
        draft
            .differences
            .iter()
            .map(|difference| difference.field.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fields(&draft(applied(&wrong))),
        [
            "port forward target",
            "association",
            "filter rule",
            "max_src_conn",
            "rate"
        ]
    );
    let absent = draft(applied(&Box_::absent()));
    assert_eq!(
        fields(&absent),
        [
            "port forward",
            "filter rule",
            "max_src_conn",
            "rate",
            "exposure"
        ]
    );
    assert!(matches!(
        change_of(&absent),
        Change::Build { alias: true, .. }
    ));
}

fn applied(on: &Box_) -> Result<Planned, Refusal> {
    on.plan(|present| apply(present, default_caps(), Terms::default()))
}

fn differences(draft: &Draft) -> Vec<&str> {
    let fields = draft.differences.iter();
    fields.map(|difference| difference.field.as_str()).collect()
}

#[test]
fn apply_names_every_field_that_it_edits() {
    let wrong = Box_::open().changed(|configured| {
        let nat = &mut configured.nat[0];
        nat.disabled = true;
        nat.destination = Side {
            any: true,
            ..Side::default()
        };
        nat.destination.port = Some("1688".into());
        nat.local_port = Some("1689".into());
        nat.protocol = Some("tcp/udp".into());
        let filter = &mut configured.filter[0];
        filter.disabled = true;
        filter.kind = Some("block".into());
        filter.destination.port = Some("1600".into());
        filter.protocol = Some("tcp/udp".into());
        filter.statetype = Some("none".into());
        let alias = configured.alias.as_mut().unwrap();
        alias.address = Some("10.0.20.202 10.0.20.203".into());
        alias.kind = Some("network".into());
    });
    assert_eq!(
        differences(&draft(applied(&wrong))),
        [
            "alias",
            "alias type",
            "port forward",
            "port forward destination",
            "port forward port",
            "port forward protocol",
            "filter rule",
            "filter rule type",
            "filter rule destination",
            "filter rule protocol",
            "filter rule state type",
            // Such a rule has no caps, whatever its fields say.
            "max_src_conn",
            "rate",
        ]
    );
    let links = |nat: &str, filter: &str| {
        let on = Box_::open().changed(|configured| {
            configured.nat[0].association = Some(nat.into());
            configured.filter[0].association = Some(filter.into());
        });
        match applied(&on).unwrap() {
            Planned::NothingToDo(_) => 0,
            Planned::Change(draft) => draft.differences.len(),
        }
    };
    assert_eq!(links("nat_a", "nat_a"), 0);
    assert_eq!(links("nat_a", ""), 1, "the filter rule takes it over");
    for (nat, filter) in [("", ""), ("", "nat_b"), ("pass", ""), ("nat_a", "nat_b")] {
        assert_eq!(links(nat, filter), 2, "{nat:?} {filter:?}");
    }
}

#[test]
fn a_source_limit_is_told_and_left() {
    let limited = |caps: Option<&str>| {
        let change = move |configured: &mut Configured| {
            let friends = Side {
                address: Some("10.99.0.0/16".into()),
                ..Side::default()
            };
            configured.nat[0].source = friends.clone();
            configured.filter[0].source = friends;
            if let Some(caps) = caps {
                configured.filter[0].caps.max_src_conn = Some(caps.into());
            }
        };
        Box_::open().changed(change)
    };
    let told = nothing(applied(&limited(None)));
    assert!(
        told.contains("10.99.0.0/16") && told.contains("stays"),
        "{told}"
    );
    let mut on = limited(Some("9"));
    on.exposure.state = exposure::State::Half;
    let planned = draft(applied(&on));
    assert_eq!(
        differences(&planned),
        ["max_src_conn"],
        "open is not promised"
    );
    assert_eq!(codes(&planned), ["source-limited"]);
    let mut closed = Box_::closed().changed(|configured| {
        configured.filter[0].source.not = true;
    });
    closed.configured.fingerprint = "before".into();
    let enabled = draft(restored(&closed, None));
    assert_eq!(differences(&enabled), ["port forward", "filter rule"]);
    assert_eq!(codes(&enabled), ["source-limited"]);
}

/// The exposure is gone, and somebody's forward of the port leads to 10.0.30.5.
fn somebody_elses(destination: Side) -> Box_ {
    Box_::absent().changed(move |configured| {
        let mut nat = fixtures::nat_rule();
        nat.target = Some("10.0.30.5".into());
        nat.descr = Some("Theirs".into());
        nat.destination = Side {
            port: Some("1688".into()),
            ..destination.clone()
        };
        let mut filter = fixtures::filter_rule();
        filter.destination.address = Some("10.0.30.5".into());
        filter.tracker = Some("1700000009".into());
        configured.nat = vec![nat];
        configured.filter = vec![filter];
        configured.interface.as_mut().unwrap().ipaddr = Some("192.0.2.2".into());
    })
}

#[test]
fn a_forward_of_another_address_is_left_alone() {
    let theirs = somebody_elses(Side {
        address: Some("203.0.113.9".into()),
        ..Side::default()
    });
    for planned in [restored(&theirs, None), applied(&theirs)] {
        let planned = draft(planned);
        assert_eq!(
            differences(&planned),
            [
                "port forward",
                "filter rule",
                "max_src_conn",
                "rate",
                "exposure"
            ]
        );
        assert!(!codes(&planned).contains(&"takes-over"));
    }
}

#[test]
fn only_apply_takes_a_forward_to_elsewhere_over_and_says_so() {
    let saved = Saved {
        id: "abc".into(),
        records: records("1688"),
    };
    let places = [
        Side {
            network: Some("wanip".into()),
            ..Side::default()
        },
        Side {
            address: Some("192.0.2.2".into()),
            ..Side::default()
        },
    ];
    for place in places {
        let theirs = somebody_elses(place);
        for saved in [None, Some(&saved)] {
            let refusal = restored(&theirs, saved).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Conflict);
            assert!(refusal.message.contains("\"10.0.30.5\""), "{refusal}");
        }
        let planned = draft(applied(&theirs));
        let risk = planned
            .risks
            .iter()
            .find(|risk| risk.code == "takes-over")
            .unwrap();
        assert!(
            risk.message.contains("Theirs") && risk.message.contains("1700000009"),
            "{}",
            risk.message
        );
        let fields = differences(&planned);
        for field in ["port forward target", "filter rule destination"] {
            assert!(fields.contains(&field), "{fields:?}");
        }
    }
}

#[test]
fn a_forward_of_more_ports_is_not_planned_on() {
    let range = Box_::open().changed(|configured| {
        configured.nat[0].destination.port = Some("1600-1700".into());
    });
    let refusal = applied(&range).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Impossible);
    assert!(refusal.message.contains("more than port 1688"), "{refusal}");
}

fn done(plan: &Plan, finish: Finish) -> Entry {
    let events = [
        Event::Started {
            plan: Box::new(plan.clone()),
        },
        Event::Ended {
            id: plan.id.to_string(),
            finish: Box::new(finish),
        },
    ];
    history::fold(events.iter().map(|event| (now(), event))).remove(0)
}

fn flushed() -> Entry {
    let plan = sealed();
    let mut finish = Finish::new(Ended::Done, "4 of 4 freed.");
    finish.changed = entries().iter().map(PlannedEntry::from).collect();
    done(&plan, finish)
}

#[test]
fn undo_of_a_flush_blocks_again_what_was_freed_but_not_the_operator() {
    let operator: IpAddr = [203, 0, 113, 9].into();
    let there = [entry("203.0.113.5", 1)];
    let undone = draft(undo(&flushed(), &Past::Table(&there, Some(operator))));
    let Operation::TableAdd { entries, .. } = &undone.operation else {
        panic!("{undone:?}");
    };
    let names: Vec<String> = entries
        .iter()
        .map(|entry| entry.address.to_string())
        .collect();
    assert_eq!(names, ["198.51.100.0/24", "2001:db8::1"]);
    assert_eq!(codes(&undone), ["ages-restart", "operator-left-out"]);
    assert_eq!(undone.undoes.as_deref(), Some(sealed().id.as_str()));
    assert!(
        nothing(undo(
            &flushed(),
            &Past::Table(&super::tests::entries(), None)
        ))
        .contains("again already")
    );
}

#[test]
fn nothing_is_undone_twice_and_nothing_unknown_is_undone() {
    let entry = Entry {
        undone_by: Some("def".into()),
        ..flushed()
    };
    assert!(
        undo(&entry, &Past::Table(&[], None))
            .unwrap_err()
            .message
            .contains("already, by def")
    );
    let entry = Entry {
        finish: None,
        ..flushed()
    };
    let refusal = undo(&entry, &Past::Table(&[], None)).unwrap_err();
    assert!(
        refusal.message.contains("not known") && refusal.hints.len() == 1,
        "{refusal}"
    );
}

fn revoke_done(fingerprints: (&str, &str)) -> Entry {
    let plan = Plan::seal(draft(revoked(&Box_::open(), true)), author(), "0").unwrap();
    let outcome = Outcome {
        id: plan.id.clone(),
        result: Ending::Done,
        message: "Deleted.".into(),
        before: records("1688"),
        after: Records::default(),
        fingerprints: (fingerprints.0.into(), fingerprints.1.into()),
        steps: Vec::new(),
        reverts_at: None,
        lost_update: None,
        holder: None,
        reverted: None,
    };
    let mut finish = Finish::new(Ended::Done, "Deleted.");
    finish.outcome = Some(Box::new(outcome));
    done(&plan, finish)
}

#[test]
fn undo_of_a_deletion_puts_the_saved_records_back_if_nothing_moved() {
    let undone = |fingerprints| {
        let entry = revoke_done(fingerprints);
        Box_::absent()
            .plan(|present| undo(&entry, &Past::Configuration(*present, Terms::default())))
    };
    let draft = draft(undone(("older", "before")));
    assert!(
        matches!(change_of(&draft), Change::PutBack { records: given, alias: false } if **given == records("1688"))
    );
    assert!(
        draft
            .differences
            .contains(&Difference::new("port forward", Value::Null, "enabled")),
        "{:?}",
        draft.differences
    );
    assert_eq!(
        undone(("older", "newer")).unwrap_err().kind,
        RefusalKind::Conflict
    );
    assert!(nothing(undone(("before", "newer"))).contains("before"));
}

#[test]
fn a_plan_with_records_keeps_the_order_of_their_elements() {
    let saved = Saved {
        id: "abc".into(),
        records: records("1688"),
    };
    let plan = Plan::seal(
        draft(restored(&Box_::absent(), Some(&saved))),
        author(),
        "0",
    )
    .unwrap();
    let text = serde_json::to_string_pretty(&plan).unwrap();
    assert!(text.find("\"z\"").unwrap() < text.find("\"tracker\"").unwrap());
    assert_eq!(Plan::read(&text), Ok(plan));
}

#[test]
fn undo_without_an_id_means_the_last_that_can_be_and_never_an_undo() {
    let first = sealed();
    let undoing = Draft {
        undoes: Some(first.id.to_string()),
        ..first.change.clone()
    };
    let second = Plan::seal(undoing, author(), "2").unwrap();
    let started = |plan: &Plan| Event::Started {
        plan: Box::new(plan.clone()),
    };
    let ended = |plan: &Plan, how| Event::Ended {
        id: plan.id.to_string(),
        finish: Box::new(Finish::new(how, "So.")),
    };
    let fold = |events: &[Event]| history::fold(events.iter().map(|event| (now(), event)));
    let before = fold(&[started(&first), ended(&first, Ended::Done)]);
    assert_eq!(
        history::last_undoable(&before, "demo").map(|entry| &entry.plan.id),
        Some(&first.id)
    );
    assert_eq!(history::last_undoable(&before, "other"), None);
    let failed = fold(&[
        started(&first),
        ended(&first, Ended::Done),
        started(&second),
        ended(&second, Ended::Failed),
    ]);
    assert_eq!(
        history::last_undoable(&failed, "demo").map(|entry| &entry.plan.id),
        Some(&first.id),
        "an undo that failed undid nothing"
    );
    let after = fold(&[
        started(&first),
        ended(&first, Ended::Done),
        started(&second),
        ended(&second, Ended::Done),
    ]);
    assert_eq!(history::last_undoable(&after, "demo"), None);
    assert_eq!(after[0].undone_by.as_deref(), Some(second.id.as_str()));
    assert!(history::find(&after, &second.id.as_str()[..6]).is_ok());
    assert!(matches!(
        history::find(&after, "zz"),
        Err(history::FindError::Unknown(_))
    ));
}

#[test]
fn the_firewalls_own_history_tells_of_other_operators() {
    let revision = |username: &str, description: &str| crate::domain::configured::Revision {
        time: Some("1795350619".into()),
        description: Some(description.into()),
        username: Some(username.into()),
    };
    let told = history::elsewhere(&revision(
        "kmsctl (vera@desk)",
        "kmsctl (vera@desk): kmsctl c1: caps per source: 10: night",
    ))
    .unwrap();
    assert_eq!(
        (told.id.as_str(), told.who.as_str(), told.what.as_str()),
        ("c1", "vera@desk", "caps per source: 10: night")
    );
    assert_eq!(
        history::elsewhere(&revision(
            "admin@10.0.10.5 (Local Database)",
            "kmsctl c1: x"
        )),
        None
    );
    assert_eq!(
        history::elsewhere(&revision("kmsctl (vera@desk)", "nonsense")),
        None
    );
}

#[test]
fn keep_disarms_only_what_is_armed() {
    let armed = Box_::open().changed(|configured| {
        let id = ChangeId::new("abc").unwrap();
        configured.armed = vec![crate::domain::change::Armed {
            id,
            reverts_at: 1_795_350_619,
            what: "caps".into(),
            who: "v@l".into(),
        }];
    });
    assert!(matches!(
        draft(armed.plan(|present| keep("abc", present))).operation,
        Operation::Keep { .. }
    ));
    assert!(nothing(armed.plan(|present| keep("def", present))).contains("nothing is armed"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics_as_a_plan(text in ".{0,200}") {
        let _ = Plan::read(&text);
        let _ = text.parse::<Address>();
    }
}
