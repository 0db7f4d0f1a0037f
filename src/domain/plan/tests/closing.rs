//! A closing opens nothing, shuts nothing else, and says where its doors lead then; an opening opens what was closed.

use serde_json::json;

use super::chance::{
    basis, find_fault_of_closing, judged, judged_apart, own_forward, own_pass, swap_records,
    undo_at_once,
};
use super::*;
use crate::domain::exposure::State as ExposureState;
use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::edit::{EditIds, make_swap};

const IDS: EditIds<'static> =
    EditIds { who: "viktor@laptop", now: 1_795_400_000, association: "nat_65f0c0de1a2b3.12345678" };

/// A pair of the service, as both of its rules are made by these; what is null is not there.
fn pair(nat: impl Fn(&mut Value), filter: impl Fn(&mut Value)) -> (Vec<Value>, Vec<Value>) {
    let mut own =
        (own_forward("1688", "k8s_kms_lb", "nat_1"), own_pass("1688", "k8s_kms_lb", "nat_1", true));
    nat(&mut own.0);
    filter(&mut own.1);
    let there = |rule: Value| Vec::from_iter((!rule.is_null()).then_some(rule));
    (there(own.0), there(own.1))
}

fn forward(interface: &str, port: &str, target: &str, association: &str) -> Value {
    json!({
        "source": {"any": ""}, "destination": {"network": "wanip", "port": port}, "ipprotocol": "inet", "protocol": "tcp",
        "target": target, "local-port": if port == "1024-65535" { "1024" } else { "1688" }, "interface": interface,
        "descr": "other", "associated-rule-id": association,
    })
}

fn pass(destination: &Value, tracker: &str) -> Value {
    json!({
        "type": "pass", "source": {"any": ""}, "interface": "wan", "ipprotocol": "inet", "protocol": "tcp",
        "destination": destination, "descr": "other", "tracker": tracker,
    })
}

fn wide() -> Value {
    pass(&json!({"address": "10.0.20.0/24"}), "900")
}

fn sections(
    (mut nat, mut filter): (Vec<Value>, Vec<Value>),
    more: (&[Value], &[Value]),
    external: Option<&str>,
    members: &str,
) -> Sections {
    nat.extend_from_slice(more.0);
    filter.extend_from_slice(more.1);
    let binat: Vec<Value> = external
        .into_iter()
        .map(|external| json!({
            "external": external, "interface": "wan", "source": {"address": "10.0.20.202"}, "destination": {"any": ""},
        }))
        .collect();
    let alias = |name: &str, kind: &str, address: &str| json!({"name": name, "type": kind, "address": address});
    let interface = |device: &str, address: &str, bits: &str, gateway: &str| json!({"enable": "", "if": device, "ipaddr": address, "subnet": bits, "gateway": gateway});
    let sections = json!({
        "nat": {"rule": nat, "onetoone": binat},
        "filter": {"rule": filter},
        "aliases": {"alias": [
            alias("k8s_kms_lb", "host", members), alias("two_ports", "port", "1688 8443"), alias("all_servers", "host", "k8s_kms_lb 10.0.20.7"),
            alias("friends", "host", "198.51.100.8"), alias("country", "urltable", "https://lists.example/country"),
        ]},
        "interfaces": {
            "wan": interface("vtnet0", "192.168.1.2", "24", "WANGW"), "lan": interface("vtnet1", "10.0.10.1", "24", ""),
            "opt1": interface("vtnet2", "203.0.113.2", "29", "WAN2GW"), "opt3": interface("vtnet3", "10.0.20.1", "24", ""),
        },
        "ifgroups": {"ifgroupentry": [{"ifname": "Uplinks", "members": "wan opt1"}]},
    });
    serde_json::from_value(sections).unwrap()
}

/// Plans on these sections; what is planned is carried out, and what opens or shuts beside it is a fault.
fn planned(
    sections: &Sections,
    plan: impl Fn(&PlanBasis<'_>) -> Result<Planned, Refusal>,
) -> Result<Planned, Refusal> {
    let (configured, exposure, before) = judged(sections);
    let (service, request) = (fixtures::service(), ReadRequest::from(&fixtures::service()));
    let planned = plan(&basis(&configured, &exposure, &service));
    if let Ok(Planned::Change(draft)) = &planned
        && let Operation::Configuration { change, .. } = &draft.operation
    {
        let swap = make_swap(&configured, change, &request, &IDS).unwrap();
        let (_, judged_after, after) = judged(&swap_records(sections, &swap).unwrap());
        let (_, promised) = draft.turns_exposure().unwrap();
        // Where the port leads to another service afterwards, its state is that one's.
        if !judged_after.elsewhere.loaded {
            assert_eq!(judged_after.state, promised, "{draft:#?} {:#?}", judged_after.paths);
        }
        if change.only_closes() {
            assert_eq!(find_fault_of_closing(&before, &after, draft), None, "{draft:#?}");
        }
    }
    planned
}

fn revoke(sections: &Sections, deletes: bool) -> Result<Planned, Refusal> {
    planned(sections, |present| plan_revoke(present, deletes, false, ChangeOptions::default()))
}

const SERVICE: &str = "10.0.20.202";
const EXTERNAL: Option<&str> = Some("192.168.1.9");

fn keeps(_: &mut Value) {}

fn disables(rule: &mut Value) {
    rule["disabled"] = json!("");
}

fn blocks(rule: &mut Value) {
    rule["type"] = json!("block");
}

#[test]
fn what_keeps_out_is_not_switched_off() {
    for kind in ["block", "reject", "match"] {
        let kept = |rule: &mut Value| rule["type"] = json!(kind);
        let open = sections(pair(keeps, kept), (&[], &[wide()]), EXTERNAL, SERVICE);
        let plan = draft(revoke(&open, false));
        assert!(plan.what.contains("the filter rule stays"), "{}", plan.what);
        assert!(plan.risks[0].message.contains("lets nothing in"), "{:#?}", plan.risks);
        let shut = sections(pair(disables, kept), (&[], &[wide()]), EXTERNAL, SERVICE);
        let words = nothing(revoke(&shut, false));
        assert!(words.contains("the filter rule stays"), "{words}");
        for sections in [open, shut] {
            let refusal = revoke(&sections, true).unwrap_err();
            assert!(refusal.message.contains("lets nothing in"), "{refusal}");
        }
    }
}

#[test]
fn what_a_rule_of_the_pair_keeps_shut_stays_shut() {
    let group = [forward("Uplinks", "1688", SERVICE, "pass")];
    // The half that is there keeps the group's forward from the port.
    let half = sections(pair(keeps, |rule| *rule = Value::Null), (&group, &[]), None, SERVICE);
    let refusal = revoke(&half, false).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert!(refusal.message.contains("would open something: a port forward on wan"), "{refusal}");
    assert!(
        refusal.hints.iter().any(|hint| hint.contains("disable the forward of 192.168.1.2:1688")),
        "{refusal:?}"
    );
    // Of a whole pair the filter rule goes.
    let whole = sections(pair(keeps, keeps), (&group, &[]), None, SERVICE);
    let plan = draft(revoke(&whole, false));
    assert_eq!(change_of(&plan), &ConfigurationEdit::DisableFilter);
    assert!(plan.what.contains("disable the filter rule; the port forward stays"), "{}", plan.what);
    assert!(revoke(&whole, true).unwrap_err().message.starts_with("To delete the pair"));
    let again = sections(pair(keeps, disables), (&group, &[]), None, SERVICE);
    assert!(
        revoke(&again, false).is_err()
            || nothing(revoke(&again, false)).contains("disabled already")
    );
}

#[test]
fn caps_of_other_paths_are_not_lost() {
    let second = [forward("wan", "8443", SERVICE, "")];
    for (more, external) in [(&[][..], EXTERNAL), (&second[..], None)] {
        let sections = sections(pair(keeps, keeps), (more, &[wide()]), external, SERVICE);
        let plan = draft(revoke(&sections, false));
        assert_eq!(change_of(&plan), &ConfigurationEdit::DisableForward);
        let kept = &plan.risks[0];
        assert!(kept.message.contains("without its filter rule this would be open"), "{kept:?}");
        assert!(kept.message.contains(", uncapped"), "{kept:?}");
        assert!(codes(&plan).contains(&"other-path"), "{:#?}", plan.risks);
        let refusal = revoke(&sections, true).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        assert!(refusal.hints.iter().any(|hint| hint.contains("kmsctl expose revoke")));
    }
    // Without a forward there is nothing that could be closed alone.
    let alone = pair(|rule| *rule = Value::Null, |rule| rule["associated-rule-id"] = json!(""));
    let refusal = revoke(&sections(alone, (&[], &[wide()]), EXTERNAL, SERVICE), false).unwrap_err();
    assert!(refusal.message.contains("1:1 NAT on wan at 192.168.1.9:1688"), "{refusal}");
}

#[test]
fn a_rule_of_other_ports_stays_for_them() {
    let any_port = |rule: &mut Value| rule["destination"] = json!({"address": "k8s_kms_lb"});
    let two_ports = |rule: &mut Value| rule["destination"]["port"] = json!("two_ports");
    let range = |rule: &mut Value| rule["destination"]["port"] = json!("1600-1700");
    for filter in [any_port, two_ports, range] {
        let beside = sections(pair(keeps, filter), (&[], &[]), EXTERNAL, SERVICE);
        let plan = draft(revoke(&beside, false));
        assert!(plan.what.contains("the filter rule stays"), "{}", plan.what);
        let why = &plan.risks[0].message;
        assert!(why.contains("192.168.1.9 to 10.0.20.202, on other ports too"), "{why}");
        assert!(revoke(&beside, true).is_err());
        let caps = WantedCaps { caps: Caps { max_src_conn: Some(3), rate: None }, preset: None };
        let refusal =
            planned(&beside, |present| plan_caps(present, &caps, ChangeOptions::default()))
                .unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
        let alone = sections(pair(keeps, filter), (&[], &[]), None, SERVICE);
        assert_eq!(change_of(&draft(revoke(&alone, false))), &ConfigurationEdit::Disable);
        assert!(!draft(revoke(&alone, false)).what.contains("stays"));
    }
    let own = sections(pair(keeps, keeps), (&[], &[]), EXTERNAL, SERVICE);
    assert!(
        !draft(revoke(&own, false)).what.contains("stays"),
        "it is for the service's port alone"
    );
}

#[test]
fn where_the_door_leads_then_is_named() {
    let to_other = || pass(&json!({"address": "10.0.20.50"}), "902");
    let of_firewall = || pass(&json!({"network": "wanip", "port": "1688"}), "903");
    for (nat, filter, external, end, admitted) in [
        (
            vec![forward("wan", "1688", "10.0.20.50", "")],
            vec![to_other()],
            None,
            "10.0.20.50:1688",
            true,
        ),
        (vec![forward("wan", "1688", "10.0.20.50", "")], vec![], None, "10.0.20.50:1688", false),
        (
            vec![forward("wan", "1024-65535", "10.0.20.50", "")],
            vec![to_other()],
            None,
            "10.0.20.50:1688",
            true,
        ),
        (
            vec![forward("Uplinks", "1688", "10.0.20.50", "pass")],
            vec![],
            None,
            "10.0.20.50:1688",
            true,
        ),
        (vec![], vec![of_firewall()], None, "the firewall itself", true),
    ] {
        for filter_goes in [keeps, disables] {
            let sections = sections(pair(keeps, filter_goes), (&nat, &filter), external, SERVICE);
            for deletes in [false, true] {
                let plan = draft(revoke(&sections, deletes));
                let said = plan.risks.iter().find(|risk| risk.code == "leads-elsewhere");
                let said = &said.expect("it is named").message;
                assert!(
                    said.contains(&format!("192.168.1.2:1688 on wan leads to {end} then")),
                    "{said}"
                );
                assert_eq!(said.contains("connections are let in, uncapped"), admitted, "{said}");
            }
        }
    }
    let plain =
        draft(revoke(&sections(pair(keeps, keeps), (&[], &[wide()]), None, SERVICE), false));
    assert!(!codes(&plain).contains(&"leads-elsewhere"));
    assert!(plain.checks.iter().any(|check| check.ends_with("lets nothing in to the service.")));
}

#[test]
fn what_is_published_without_forward_is_enabled_alone() {
    let alone = |rule: &mut Value| {
        rule["associated-rule-id"] = json!("");
        disables(rule);
    };
    let shut = sections(pair(|rule| *rule = Value::Null, alone), (&[], &[]), EXTERNAL, SERVICE);
    let restore = |sections: &Sections| {
        planned(sections, |present| {
            plan_restore(present, None, default_caps(), ChangeOptions::default())
        })
    };
    let plan = draft(restore(&shut));
    assert_eq!(change_of(&plan), &ConfigurationEdit::Enable);
    assert!(codes(&plan).contains(&"without-forward"), "{:#?}", plan.risks);
    assert_eq!(plan.turns_exposure(), Some((ExposureState::Closed, ExposureState::Half)));
    let open = pair(|rule| *rule = Value::Null, |rule| rule["associated-rule-id"] = json!(""));
    let words = nothing(restore(&sections(open, (&[], &[]), EXTERNAL, SERVICE)));
    assert!(words.contains("1:1 NAT on wan at 192.168.1.9:1688"), "{words}");
    // Without such a way the rule alone opens nothing.
    let built = draft(restore(&sections(
        pair(|rule| *rule = Value::Null, alone),
        (&[], &[]),
        None,
        SERVICE,
    )));
    assert!(matches!(change_of(&built), ConfigurationEdit::Build { .. }));
}

#[test]
fn an_alias_of_others_is_not_led_away() {
    let apply = |forward_more: Value, filter_more: Value| {
        let sections =
            sections(pair(keeps, keeps), (&[forward_more], &[filter_more]), None, "10.0.20.99");
        let (configured, exposure, _) = judged(&sections);
        let service = fixtures::service();
        let present = basis(&configured, &exposure, &service);
        plan_apply(&present, default_caps(), ChangeOptions::default())
    };
    let web = |target: &str, edit: fn(&mut Value)| {
        let mut rule = forward("wan", "8443", target, "");
        rule["local-port"] = json!("8443");
        edit(&mut rule);
        rule
    };
    let to_web = |edit: fn(&mut Value)| {
        let mut rule = pass(&json!({"address": "k8s_kms_lb", "port": "8443"}), "905");
        edit(&mut rule);
        rule
    };
    for (nat, filter) in [
        (web("k8s_kms_lb", keeps), to_web(disables)),
        (web("all_servers", keeps), to_web(disables)),
        (web("k8s_kms_lb", disables), to_web(keeps)),
        (
            web("k8s_kms_lb", disables),
            to_web(|rule| rule["destination"] = json!({"address": "k8s_kms_lb"})),
        ),
    ] {
        let refusal = apply(nat, filter).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
        assert!(refusal.message.contains("used for another service too"), "{refusal}");
    }
    let plan = draft(apply(web("k8s_kms_lb", disables), to_web(blocks)));
    let first = &codes(&plan)[..3];
    assert_eq!(first, ["alias-shared"; 3], "{:#?}", plan.risks);
    assert!(plan.risks[2].message.contains("all_servers"));
}

#[test]
fn a_forward_led_away_closes_by_loading() {
    let away = |rule: &mut Value| rule["target"] = json!("10.0.20.50");
    let away_and_off = |rule: &mut Value| {
        away(rule);
        disables(rule);
    };
    let edits: [&dyn Fn(&mut Value); 2] = [&away, &away_and_off];
    for edit in edits {
        for (external, is_off) in [(None, false), (EXTERNAL, false), (None, true)] {
            let filter: fn(&mut Value) = if is_off { disables } else { keeps };
            let runs = sections(pair(keeps, keeps), (&[], &[]), external, SERVICE);
            let saved = sections(pair(edit, filter), (&[], &[]), external, SERVICE);
            let (configured, exposure, _) = judged_apart(&saved, &runs);
            assert_eq!(exposure.closing, "Close it: `kmsctl expose revoke`");
            let service = fixtures::service();
            let present = basis(&configured, &exposure, &service);
            let plan = draft(plan_revoke(&present, false, false, ChangeOptions::default()));
            let change = change_of(&plan);
            let swap = make_swap(&configured, change, &ReadRequest::from(&service), &IDS).unwrap();
            assert_eq!(swap.before, swap.after);
            let (_, then, _) = judged(&saved);
            assert_eq!(plan.turns_exposure(), Some((exposure.state, then.state)));
            let names_other = codes(&plan).contains(&"other-path");
            assert_eq!(names_other, external.is_some(), "{:#?}", plan.risks);
            let proves = |what: &str| swap.proof.after.iter().any(|one| one.says.ends_with(what));
            assert!(proves("redirection of the service"));
            assert_eq!(proves("filter rule of the service"), is_off);
        }
    }
}

/// Plans to open a closed pair among these, and to take that back once it is done; returns both.
fn opened_and_undone(more: (&[Value], &[Value])) -> (Draft, Draft) {
    let shut = sections(pair(disables, disables), more, None, SERVICE);
    let (configured, exposure, _) = judged(&shut);
    let (service, request) = (fixtures::service(), ReadRequest::from(&fixtures::service()));
    let present = basis(&configured, &exposure, &service);
    let terms = ChangeOptions { reverts_after: Some(1800), ..ChangeOptions::default() };
    let opening = draft(plan_restore(&present, None, default_caps(), terms));
    let swap = make_swap(&configured, change_of(&opening), &request, &IDS).unwrap();
    let (configured, exposure, _) = judged(&swap_records(&shut, &swap).unwrap());
    let present = basis(&configured, &exposure, &service);
    let undo = draft(undo_at_once("restore", &opening, &swap, &present));
    (opening, undo)
}

#[test]
fn an_undo_that_closes_says_what_it_uncovers() {
    let (opening, undo) = opened_and_undone((&[], &[]));
    for plan in [&opening, &undo] {
        assert!(!codes(plan).contains(&"leads-elsewhere"), "{:#?}", plan.risks);
    }
    assert_eq!(undo.turns_exposure(), Some((ExposureState::Open, ExposureState::Closed)));
    let to_other = pass(&json!({"address": "10.0.20.50"}), "902");
    let (opening, undo) =
        opened_and_undone((&[forward("wan", "1688", "10.0.20.50", "")], &[to_other]));
    for plan in [&opening, &undo] {
        assert!(codes(plan).contains(&"leads-elsewhere"), "{:#?}", plan.risks);
    }
    let (_, undo) = opened_and_undone((&[forward("Uplinks", "1688", SERVICE, "pass")], &[]));
    assert_eq!(codes(&undo)[0], "uncovers", "{:#?}", undo.risks);
    assert!(codes(&undo).contains(&"other-path"));
    assert_eq!(undo.turns_exposure(), Some((ExposureState::Open, ExposureState::Half)));
}

#[test]
fn a_list_before_the_named_sources_is_open() {
    let mut listed = forward("wan", "1688", "10.0.20.50", "");
    listed["source"] = json!({"address": "country"});
    listed["destination"]["network"] = json!("(self)");
    let mut strangers = pass(&json!({"any": ""}), "906");
    strangers["type"] = json!("block");
    strangers["source"] = json!({"address": "friends", "not": ""});
    let (mut nat, mut filter) = pair(disables, disables);
    nat.insert(0, listed);
    filter.insert(0, strangers);
    let shut = sections((nat, filter), (&[], &[]), None, SERVICE);
    let (configured, exposure, _) = judged(&shut);
    let service = fixtures::service();
    let present = basis(&configured, &exposure, &service);
    let plan = draft(plan_restore(&present, None, default_caps(), ChangeOptions::default()));
    assert_eq!(plan.turns_exposure(), None, "{:#?}", plan.differences);
    assert!(codes(&plan).contains(&"source-limited"), "{:#?}", plan.risks);
}
