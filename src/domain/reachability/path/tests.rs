//! Hops judged from evidence that no lab brings about easily.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::domain::exposure::{AliasTable, Loaded, fixtures, judge as judge_exposure};
use crate::domain::pf::rule::StateOptions;
use crate::domain::reachability::finding::CheckResult;
use proptest::prelude::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn names() -> ObjectNames {
    ObjectNames {
        service: "windows-kms".into(),
        deployment: "kms".into(),
        selector: "app=kms-service".into(),
        server: "windows-kms".into(),
        notifier: "slack-notifier".into(),
    }
}

fn exposure(open: bool) -> Exposure {
    let mut configured = fixtures::configured();
    if !open {
        configured.nat[0].disabled = true;
        configured.filter[0].disabled = true;
    }
    let filter = if open {
        vec![fixtures::default_deny(), fixtures::block_table(), fixtures::pass()]
    } else {
        vec![fixtures::default_deny()]
    };
    let nat = if open { vec![fixtures::rdr()] } else { vec![] };
    let loaded =
        Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
    judge_exposure(Some(&configured), loaded, &fixtures::service())
}

struct Case {
    service: Service,
    names: ObjectNames,
    exposure: Known<Exposure>,
    resolutions: Vec<Resolution>,
    wan: &'static str,
    public_address: Option<IpAddr>,
    connection: ServiceConnection,
    answer: Option<BindAnswer>,
}

impl Case {
    fn new(open: bool) -> Self {
        Self {
            service: fixtures::service(),
            names: names(),
            exposure: Ok(exposure(open)),
            resolutions: vec![Resolution::new("one", false, Ok(vec![address("203.0.113.7")]))],
            wan: "192.168.1.2",
            public_address: None,
            connection: ServiceConnection::Open { took: Duration::from_millis(1) },
            answer: Some(BindAnswer::Kms),
        }
    }

    fn judge(&self, expected: Option<Expected>) -> Judgement {
        self.with_evidence(|evidence| judge(evidence, expected))
    }

    fn with_evidence<Found>(&self, judged: impl FnOnce(&Evidence<'_>) -> Found) -> Found {
        judged(&Evidence {
            service: &self.service,
            address_named: true,
            names: &self.names,
            public_address: self.public_address,
            resolutions: &self.resolutions,
            exposure: self.exposure.as_ref().map_err(Clone::clone),
            table: Ok(Some(2)),
            wan: Ok(Wan { device: "vtnet0".into(), addresses: vec![address(self.wan)] }),
            cluster: None,
            connection: &self.connection,
            answer: self.answer,
        })
    }

    fn hop(&self, check: &str) -> Finding {
        self.judge(None).hops.into_iter().find(|hop| hop.check == check).unwrap()
    }
}

#[test]
fn an_open_path_is_open_and_a_closed_one_closed() {
    let open = Case::new(true).judge(None);
    assert_eq!(
        (open.verdict, open.expected, open.as_expected),
        (Verdict::Open, Some(Expected::Open), Some(true))
    );
    let closed = Case::new(false).judge(None);
    assert_eq!(
        (closed.verdict, closed.expected, closed.as_expected),
        (Verdict::Closed, Some(Expected::Closed), Some(true))
    );
    let unwanted = Case::new(true).judge(Some(Expected::Closed));
    assert_eq!(unwanted.as_expected, Some(false));
    assert!(unwanted.hops.iter().any(|hop| hop.check == "nat" && hop.result == CheckResult::Wrong));
}

/// Judges the exposure anew from what is loaded.
fn loaded(configured: bool, enabled: bool, nat: &[crate::domain::pf::rule::Rule]) -> Exposure {
    let mut records = fixtures::configured();
    records.nat[0].disabled = true;
    records.filter[0].disabled = true;
    let filter = [fixtures::default_deny(), fixtures::pass()];
    let loaded = Loaded { filter: &filter, nat, enabled, alias_table: AliasTable::Unasked };
    judge_exposure(configured.then_some(&records), loaded, &fixtures::service())
}

#[test]
fn with_pf_off_nothing_is_as_expected() {
    for configured in [true, false] {
        let mut case = Case::new(false);
        case.exposure = Ok(loaded(configured, false, &[]));
        for expected in [Expected::Open, Expected::Closed] {
            let judged = case.judge(Some(expected));
            assert_eq!(judged.verdict, Verdict::Inconclusive);
            assert_eq!(judged.as_expected, Some(false));
            let text = format!("{:?}", judged.hops);
            assert!(!text.contains("No client gets in"), "{text}");
        }
        let hop = case.hop("pf");
        assert_eq!(hop.result, CheckResult::Wrong);
        assert!(hop.fix.is_some(), "{hop:?}");
    }
    assert_eq!(Case::new(true).hop("pf").result, CheckResult::Ok);
}

#[test]
fn without_the_configuration_nothing_is_expected() {
    for nat in [vec![], vec![fixtures::rdr()]] {
        let mut case = Case::new(true);
        case.exposure = Ok(loaded(false, true, &nat));
        let judged = case.judge(None);
        assert_eq!((judged.expected, judged.as_expected), (None, None));
        let wrong = |hop: &Finding| hop.check == "nat" && hop.result == CheckResult::Wrong;
        assert!(!judged.hops.iter().any(wrong), "{judged:?}");
        // That the service is open is not proven by what is loaded alone.
        assert_ne!(case.judge(Some(Expected::Open)).as_expected, Some(true));
    }
}

#[test]
fn a_redirection_elsewhere_offers_no_revoke() {
    let mut rule = fixtures::rdr();
    rule.target = Some("10.0.20.99".into());
    let mut exposure = loaded(true, true, &[rule]);
    exposure.nat.configured = Some(false);
    exposure.nat.enabled = None;
    exposure.filter.configured = Some(false);
    exposure.filter.enabled = None;
    exposure.state = crate::domain::exposure::State::Open;
    let mut case = Case::new(true);
    assert!(exposure.elsewhere.loaded, "{exposure:?}");
    case.exposure = Ok(exposure);
    let judged = case.judge(Some(Expected::Closed));
    let nat = judged.hops.iter().find(|hop| hop.check == "nat").unwrap();
    assert_eq!(nat.result, CheckResult::Wrong);
    assert!(nat.evidence.contains("10.0.20.99"), "{nat:?}");
    assert!(!format!("{:?}", nat.fix).contains("revoke"), "{nat:?}");
    let open = case.judge(Some(Expected::Open));
    let fixes = format!("{:?}", open.hops);
    assert!(fixes.contains("expose apply") && !fixes.contains("expose restore"), "{fixes}");
    let mut hops = judged.hops.iter();
    let filter = hops.find(|hop| hop.check == "filter").unwrap();
    assert!(filter.evidence.contains("block drop in"), "{filter:?}");
}

#[test]
fn a_silent_server_leaves_the_verdict_open_to_doubt() {
    let mut case = Case::new(true);
    case.connection = ServiceConnection::Silent { seconds: 3 };
    case.answer = None;
    let judged = case.judge(None);
    assert_eq!((judged.verdict, judged.as_expected), (Verdict::Inconclusive, None));
    case.connection = ServiceConnection::Refused;
    assert_eq!(case.judge(None).as_expected, Some(false), "refused is proof");
}

#[test]
fn an_old_address_in_the_rule_is_found() {
    let mut case = Case::new(true);
    assert_eq!(case.hop("nat").result, CheckResult::Ok);
    case.wan = "192.168.1.77";
    let hop = case.hop("nat");
    assert_eq!(hop.result, CheckResult::Wrong, "{hop:?}");
    assert!(hop.evidence.contains("192.168.1.77"), "{hop:?}");
}

#[test]
fn a_public_wan_decides_the_name() {
    let mut case = Case::new(true);
    case.wan = "203.0.113.9";
    assert_eq!(case.hop("dns").result, CheckResult::Wrong);
    case.public_address = Some(address("203.0.113.7"));
    assert_eq!(case.hop("dns").result, CheckResult::Ok, "the operator knows better");
    case.public_address = None;
    case.wan = "100.64.3.4";
    let wan = case.hop("wan");
    assert!(wan.evidence.contains("another router"), "shared address space: {wan:?}");
}

#[test]
fn resolvers_that_disagree_are_wrong() {
    let mut case = Case::new(true);
    let other = Resolution::new("two", false, Ok(vec![address("203.0.113.8")]));
    case.resolutions.push(other);
    let hop = case.hop("dns");
    assert!(hop.result == CheckResult::Wrong && hop.evidence.contains("disagree"), "{hop:?}");
    case.resolutions = vec![
        Resolution::new("one", true, Ok(vec![address("203.0.113.7")])),
        Resolution::new("two", false, Err("it does not answer".into())),
    ];
    assert_eq!(case.hop("dns").result, CheckResult::Unknown);
    case.resolutions = vec![Resolution::new("one", true, Ok(vec![case.service.address]))];
    let inside = case.hop("dns");
    let mut outside = Case::new(true);
    assert_eq!(outside.hop("dns").result, CheckResult::Unknown, "nothing to compare with");
    outside.public_address = Some(address("203.0.113.7"));
    assert_eq!(outside.hop("dns").result, CheckResult::Ok);
    assert!(
        inside.result == CheckResult::Unknown
            && inside.fix.as_ref().is_some_and(|fix| fix.contains("verify.resolvers")),
        "{inside:?}"
    );
}

#[test]
fn without_the_firewall_nothing_is_claimed() {
    let mut case = Case::new(true);
    case.exposure = Err(Trouble::new("pf cannot be read"));
    let judged = case.judge(None);
    assert_eq!(
        (judged.verdict, judged.expected, judged.as_expected),
        (Verdict::Inconclusive, None, None)
    );
    let nat = judged.hops.iter().find(|hop| hop.check == "nat").unwrap();
    assert_eq!(nat.evidence, "Unknown: pf cannot be read.");
}

#[test]
fn every_hop_that_is_wrong_says_what_to_do() {
    let mut case = Case::new(true);
    case.resolutions = vec![Resolution::new("one", true, Ok(vec![address("2001:db8::1")]))];
    case.connection = ServiceConnection::Refused;
    case.answer = None;
    let wrong: Vec<Finding> =
        case.judge(None).hops.into_iter().filter(|hop| hop.result == CheckResult::Wrong).collect();
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
    assert!(
        wrong.iter().all(|hop| { hop.fix.as_ref().is_some_and(|fix| fix.ends_with(['.', '?'])) })
    );
}

proptest! {
    /// Open is claimed only where pf lets in and a KMS server answered; closed only where pf lets nothing in.
    #[test]
    fn no_verdict_without_its_proof(open in any::<bool>(), known in any::<bool>(), connected in any::<bool>(), speaks in any::<bool>(), expected in any::<Option<bool>>()) {
        let mut case = Case::new(open);
        if !known {
            case.exposure = Err(Trouble::new("x"));
        }
        if !connected {
            case.connection = ServiceConnection::Silent { seconds: 3 };
        }
        case.answer = (connected && speaks).then_some(BindAnswer::Kms);
        let expected = expected.map(|open| if open { Expected::Open } else { Expected::Closed });
        let judged = case.judge(expected);
        prop_assert_eq!(judged.verdict == Verdict::Open, known && open && connected && speaks);
        prop_assert_eq!(judged.verdict == Verdict::Closed, known && !open);
        if judged.as_expected == Some(true) {
            prop_assert_eq!(Some(judged.verdict.name()), judged.expected.map(Expected::name));
        }
    }
}

/// Caps that are loaded and keep no source out are no whole path: each kind of them.
#[test]
fn idle_caps_are_no_whole_exposure() {
    type Change = fn(&mut StateOptions);
    let cases: [(&str, Change); 3] = [
        ("never-overloads", |options| {
            (options.max_src_conn_rate, options.overload) = (None, None);
        }),
        ("no-overload", |options| options.overload = None),
        ("other-table", |options| {
            let overload = options.overload.iter_mut();
            overload.for_each(|overload| overload.table = "bruteforce".to_owned());
        }),
    ];
    for (code, change) in cases {
        let mut pass = fixtures::pass();
        change(&mut pass.state_options);
        let filter = [fixtures::default_deny(), fixtures::block_table(), pass];
        let nat = [fixtures::rdr()];
        let loaded =
            Loaded { filter: &filter, nat: &nat, enabled: true, alias_table: AliasTable::Unasked };
        let mut case = Case::new(true);
        let exposure = judge_exposure(Some(&fixtures::configured()), loaded, &case.service);
        assert!(exposure.finding_of_code(code).is_some(), "{exposure:?}");
        case.exposure = Ok(exposure);
        let hop = case.hop("exposure");
        assert_eq!(hop.result, CheckResult::Wrong, "{code}");
        assert!(hop.fix.is_some(), "{code}");
        assert_eq!(case.judge(None).as_expected, Some(false), "{code}");
    }
}

/// A Service with addresses of both families is judged by the one that the firewall sends to.
#[test]
fn each_family_of_addresses_is_judged_alone() {
    let both = "10.0.20.202,2001:db8::202";
    for (asked, given, wanted) in [
        ("10.0.20.202", &["10.0.20.202"][..], CheckResult::Ok),
        (both, &["10.0.20.202", "2001:db8::202"], CheckResult::Ok),
        ("2001:db8::202, 10.0.20.202", &["2001:db8::202", "10.0.20.202"], CheckResult::Ok),
        ("", &["2001:db8::202", "10.0.20.202"], CheckResult::Ok),
        (both, &["2001:db8::202"], CheckResult::Wrong),
        (both, &["10.0.20.203", "2001:db8::202"], CheckResult::Wrong),
        (both, &["10.0.20.202", "10.0.20.203"], CheckResult::Wrong),
        ("10.0.20.203,2001:db8::202", &["10.0.20.202", "2001:db8::202"], CheckResult::Wrong),
        ("kms.example", &["10.0.20.202"], CheckResult::Wrong),
        (both, &[], CheckResult::Wrong),
    ] {
        let ingress: Vec<_> = given.iter().map(|ip| serde_json::json!({ "ip": ip })).collect();
        let service: KubernetesService = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "windows-kms", "annotations": { "metallb.io/loadBalancerIPs": asked } },
            "spec": { "type": "LoadBalancer" },
            "status": { "loadBalancer": { "ingress": ingress } },
        }))
        .unwrap();
        let case = Case::new(true);
        assert_eq!(case.service.address, address("10.0.20.202"));
        let found = case.with_evidence(|evidence| address_finding(evidence, &service));
        assert_eq!(found.result, wanted, "{asked:?}, {given:?}: {found:?}");
        assert!(wanted == CheckResult::Ok || found.fix.is_some(), "{found:?}");
    }
}
