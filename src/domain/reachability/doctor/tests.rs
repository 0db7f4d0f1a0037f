//! What the scenarios of the simulated firewall cannot be brought into.

use std::time::Duration;

use super::*;
use crate::domain::exposure::{AliasTable, Loaded, fixtures};
use crate::domain::reachability::finding::CheckResult;
use crate::domain::reachability::path::Trouble;

fn facts(service: &Service) -> Facts<'_> {
    Facts {
        clock_offset: Ok(0),
        round_trip: Ok(Duration::from_millis(50)),
        ..Facts::unseen(service, &Trouble::new("it was not asked"))
    }
}

fn result(facts: &Facts<'_>, check: &str) -> Finding {
    judge(facts).into_iter().find(|finding| finding.check == check).unwrap()
}

#[test]
fn what_was_not_asked_is_unknown() {
    let service = fixtures::service();
    for finding in judge(&facts(&service)) {
        let expected = match finding.check {
            "ssh-speed" | "clock" => CheckResult::Ok,
            _ => CheckResult::Unknown,
        };
        assert_eq!(finding.result, expected, "{finding:?}");
    }
}

#[test]
fn an_unreadable_fact_fails_its_check_alone() {
    fn denied<T>() -> Known<T> {
        Err(Trouble {
            fix: Some("Log in as root.".into()),
            fault: true,
            ..Trouble::new("the account may not open /dev/pf")
        })
    }
    let service = fixtures::service();
    let facts = Facts {
        configured: denied(),
        exposure: denied(),
        info: denied(),
        limits: denied(),
        entries: denied(),
        ..facts(&service)
    };
    for finding in judge(&facts) {
        let wrong = matches!(finding.check, "pf" | "php");
        assert_eq!(finding.result == CheckResult::Wrong, wrong, "{finding:?}");
        assert!(!wrong || finding.fix.is_some(), "{finding:?}");
    }
}

#[test]
fn a_missing_or_unblocked_table_is_wrong() {
    let service = fixtures::service();
    let judged = |filter: &[crate::domain::pf::rule::Rule], enabled: bool| {
        let loaded =
            Loaded { filter, nat: &[fixtures::rdr()], enabled, alias_table: AliasTable::Unasked };
        crate::domain::exposure::judge(Some(&fixtures::configured()), loaded, &service)
    };
    let rules = [fixtures::default_deny(), fixtures::block_table(), fixtures::pass()];
    let (kept, off) = (judged(&rules, true), judged(&rules, false));
    let idle = judged(&[fixtures::default_deny(), fixtures::pass()], true);
    for (entries, exposure, expected) in [
        (Some(1), &kept, CheckResult::Ok),
        (Some(1), &idle, CheckResult::Wrong),
        (None, &kept, CheckResult::Wrong),
    ] {
        let facts = Facts { entries: Ok(entries), exposure: Ok(exposure), ..facts(&service) };
        let finding = result(&facts, "table");
        assert_eq!(finding.result, expected, "{finding:?}");
    }
    // Nothing blocks where pf is off, even with the rules loaded.
    for (exposure, blocks) in [(&kept, true), (&off, false)] {
        let facts = Facts { entries: Ok(Some(1)), exposure: Ok(exposure), ..facts(&service) };
        let evidence = result(&facts, "table").evidence;
        assert_eq!(evidence.contains("blocks it"), blocks, "{evidence}");
    }
}

#[test]
fn clocks_may_differ_by_five_seconds() {
    let service = fixtures::service();
    for (offset, expected) in [
        (5, CheckResult::Ok),
        (-5, CheckResult::Ok),
        (6, CheckResult::Wrong),
        (-3_600, CheckResult::Wrong),
    ] {
        let facts = Facts { clock_offset: Ok(offset), ..facts(&service) };
        assert_eq!(result(&facts, "clock").result, expected, "{offset}");
    }
}

#[test]
fn untested_versions_are_unknown_old_php_wrong() {
    let service = fixtures::service();
    for (version, php, of_version, of_php) in [
        ("2.7.2-RELEASE", "8.2.11", CheckResult::Ok, CheckResult::Ok),
        ("2.6.0-RELEASE", "7.4.26", CheckResult::Ok, CheckResult::Ok),
        ("2.9.0-DEVELOPMENT", "8.3.1", CheckResult::Unknown, CheckResult::Ok),
        ("2.4.5-RELEASE", "7.2.29", CheckResult::Unknown, CheckResult::Wrong),
    ] {
        let mut configured = fixtures::configured();
        configured.system.version = Some(version.into());
        configured.system.php = php.into();
        let facts = Facts { configured: Ok(&configured), ..facts(&service) };
        assert_eq!(result(&facts, "pfsense-version").result, of_version, "{version}");
        assert_eq!(result(&facts, "php").result, of_php, "{version}");
    }
}

#[test]
fn what_is_nearly_full_is_named() {
    let service = fixtures::service();
    let info = Info { enabled: true, states: Some(900), source_nodes: Some(1), ..Info::default() };
    let limits = Limits::from([("states".into(), Some(1_000)), ("src-nodes".into(), Some(1_000))]);
    let full = Facts { info: Ok(&info), limits: Ok(&limits), ..facts(&service) };
    let finding = result(&full, "limits");
    let begins = "Nearly full: states. ";
    assert!(
        finding.result == CheckResult::Wrong && finding.evidence.starts_with(begins),
        "{finding:?}"
    );
    // One table says nothing of the room that all of them share, unless it fills that alone.
    let limits = Limits::from([("table-entries".into(), Some(1_000))]);
    for (entries, wanted) in
        [(10, CheckResult::Ok), (899, CheckResult::Ok), (900, CheckResult::Wrong)]
    {
        let tables = Facts {
            info: Ok(&info),
            limits: Ok(&limits),
            entries: Ok(Some(entries)),
            ..facts(&service)
        };
        let finding = result(&tables, "limits");
        assert_eq!(finding.result, wanted, "{finding:?}");
        assert!(finding.evidence.contains("alone, of 1000 for all tables"), "{finding:?}");
    }
    let many = Facts { entries: Ok(Some(65_535)), request_limit: Ok(65_535), ..facts(&service) };
    assert_eq!(result(&many, "request-limit").result, CheckResult::Wrong);
    let small = Facts { free_space: Ok(49 << 20), ..facts(&service) };
    assert_eq!(result(&small, "free-space").result, CheckResult::Wrong);
}

#[test]
fn the_missing_job_names_the_configured_table() {
    let mut service = fixtures::service();
    service.table = crate::domain::pf::table::TableName::new("abusers").unwrap();
    let facts =
        Facts { expiry: Ok(Judged { expiry: Expiry::None, overdue: None }), ..facts(&service) };
    let fix = result(&facts, "expiry").fix.unwrap();
    assert!(fix.contains(" -t 3600 abusers`; "), "{fix}");
}

#[test]
fn a_backup_node_is_the_wrong_one_to_change() {
    let service = fixtures::service();
    let mut configured = fixtures::configured();
    configured.ha_peer = true;
    let carp = |state: &str| [Carp { state: state.into(), vhid: 1 }];
    for (roles, expected) in
        [(carp("MASTER"), CheckResult::Ok), (carp("BACKUP"), CheckResult::Wrong)]
    {
        let facts = Facts { configured: Ok(&configured), carp: &roles, ..facts(&service) };
        assert_eq!(result(&facts, "ha").result, expected, "{roles:?}");
    }
}

#[test]
fn an_armed_rollback_is_no_fault() {
    let service = fixtures::service();
    let files = ["kmsctl-1".to_owned()];
    let facts = Facts { armed: Ok(&files), ..facts(&service) };
    let finding = result(&facts, "leftovers");
    assert!(
        finding.result == CheckResult::Unknown && finding.evidence.contains("kmsctl-1"),
        "{finding:?}"
    );
}

#[test]
fn no_login_leaves_one_fault_and_the_rest_unknown() {
    let trouble = Trouble::new("10.0.20.1 did not answer");
    let findings = login_findings(&Err(trouble));
    let wrong: Vec<&Finding> =
        findings.iter().filter(|finding| finding.result == CheckResult::Wrong).collect();
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].evidence, "No login: 10.0.20.1 did not answer.");
    assert!(findings.iter().skip(1).all(|finding| finding.result == CheckResult::Unknown));
}

#[test]
fn doctor_says_what_the_exposure_finds() {
    use crate::domain::exposure::{AliasTable, Loaded, judge as judge_exposure};
    use crate::domain::pf::rule::Rule;
    use crate::domain::pfsense::configured::{Configured, FilterRule};
    type Change = fn(&mut Configured, &mut Vec<Rule>, &mut Vec<Rule>);
    let changes: [Change; 14] = [
        |_, filter, _| {
            filter.insert(2, fixtures::printed("block drop in quick on vtnet0 inet proto tcp from ! <friends:2> to any port = 1688"));
        },
        |_, _, nat| {
            nat.push(Rule { interface: fixtures::on("vtnet1"), ..fixtures::rdr() });
        },
        |_, filter, _| {
            filter.insert(
                2,
                fixtures::printed(
                    "block drop in quick on vtnet0 inet proto tcp from any to any port = 1688",
                ),
            );
        },
        |_, filter, _| {
            filter.insert(0, fixtures::printed("block drop out quick inet from any to any"));
        },
        |_, filter, _| drop(filter.pop()),
        |configured, _, _| configured.filter[0].disabled = true,
        |configured, _, _| configured.nat[0].disabled = true,
        |configured, _, _| configured.filter[0].caps.max_src_conn = fixtures::text("20"),
        |configured, _, _| configured.filter.clear(),
        |configured, _, _| configured.nat[0].association = fixtures::text("pass"),
        |configured, _, _| configured.filter[0].conditions = vec![("max-src-states", "3".into())],
        |configured, _, _| {
            configured.alias.as_mut().unwrap().address = fixtures::text("kms.example.net");
        },
        |_, filter, _| filter.clear(),
        |configured, _, _| {
            configured.filter[0].association = fixtures::text("nat_x");
            configured.filter[0].floating = true;
            configured.filter.push(FilterRule {
                index: 9,
                association: None,
                ..fixtures::filter_rule()
            });
        },
    ];
    // Reasons of a state, and what is no fault.
    let told_otherwise = [
        "in-force",
        "no-caps",
        "nat-not-in-force",
        "filter-not-in-force",
        "not-loaded",
        "path-unknown",
        "nat-disabled",
        "filter-rule-disabled",
    ];
    let service = fixtures::service();
    for (number, change) in changes.into_iter().enumerate() {
        let mut configured = fixtures::configured();
        let mut filter = vec![fixtures::default_deny(), fixtures::block_table(), fixtures::pass()];
        let mut nat = vec![fixtures::rdr()];
        change(&mut configured, &mut filter, &mut nat);
        let loaded =
            Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
        let exposure = judge_exposure(Some(&configured), loaded, &service);
        let facts = Facts {
            configured: Ok(&configured),
            exposure: Ok(&exposure),
            entries: Ok(Some(1)),
            ..facts(&service)
        };
        let findings = judge(&facts);
        for said in &exposure.why {
            let by_sentence =
                findings.iter().any(|finding| finding.evidence.contains(&said.message));
            let by_check = findings.iter().any(|finding| {
                let check = match said.code {
                    "nat-pass" | "foreign-association" => "association",
                    "caps-differ" => "caps",
                    _ => return false,
                };
                finding.check == check && finding.result != CheckResult::Ok
            });
            assert!(
                by_sentence || by_check || told_otherwise.contains(&said.code),
                "{number}: {said:?}\n{findings:#?}"
            );
        }
    }
}
