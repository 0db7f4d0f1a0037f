//! The table of both ends, row by row, and what must never be concluded.

use std::net::IpAddr;

use super::*;

const WAN: &str = "192.0.2.1";

pub(super) fn outside() -> IpAddr {
    "198.51.100.10".parse().unwrap()
}

fn vantage(attempts: Vec<Attempt>) -> Observation {
    Observation {
        vantage: "vps".into(),
        kind: "ssh",
        node: None,
        address: Some(outside()),
        place: Place::Outside,
        attempts,
        control: Control::OwnPath,
        short: None,
        trouble: None,
    }
}

/// Another port of the very address answers it.
fn controlled(attempts: Vec<Attempt>) -> Observation {
    Observation {
        control: Control::Passed { to: format!("{WAN}:443"), same_address: true },
        ..vantage(attempts)
    }
}

fn connected(answer: BindAnswer) -> Vec<Attempt> {
    vec![Attempt::Connected { answer: Some(answer), milliseconds: 12 }]
}

fn silence() -> Vec<Attempt> {
    vec![Attempt::NoAnswer; ATTEMPTS]
}

fn resets() -> Vec<Attempt> {
    vec![Attempt::Refused; ATTEMPTS]
}

/// The firewall lets in and made a state for the vantage.
fn forwarding() -> FirewallEvidence {
    FirewallEvidence {
        lets_in: true,
        forwarded: Some(1),
        dropped: Some(0),
        dropped_by_table: Some(0),
        sources: [(outside(), "FIN_WAIT_2:FIN_WAIT_2".to_owned())].into(),
        ..FirewallEvidence::default()
    }
}

/// The firewall lets in, and other clients connect all the while; nothing of the vantage is seen.
fn busy() -> FirewallEvidence {
    FirewallEvidence {
        forwarded: Some(3),
        sources: [("203.0.113.77".parse().unwrap(), "ESTABLISHED:ESTABLISHED".to_owned())].into(),
        ..forwarding()
    }
}

/// The firewall lets in, and the vantage's connection looks like this there.
fn forwarded_as(levels: &str) -> FirewallEvidence {
    FirewallEvidence { sources: [(outside(), levels.to_owned())].into(), ..forwarding() }
}

/// The firewall lets in, and nothing of it moved.
fn untouched(lets_in: bool) -> FirewallEvidence {
    FirewallEvidence {
        lets_in,
        forwarded: Some(0),
        dropped: Some(0),
        dropped_by_table: Some(0),
        ..FirewallEvidence::default()
    }
}

fn dropping() -> FirewallEvidence {
    FirewallEvidence { dropped: Some(7), dropped_by: Some(1_000_000_103), ..untouched(false) }
}

fn one(observation: &Observation, end: &FirewallEvidence) -> Seen {
    super::vantage_verdict(observation, end)
}

fn verdict_row(observation: &Observation, end: &FirewallEvidence) -> (Verdict, Option<Row>) {
    let seen = one(observation, end);
    (seen.verdict, seen.row)
}

fn run(observations: &[Observation], end: &FirewallEvidence, expected: Expected) -> Judgement {
    judge(observations, end, &PublicNames::default(), Some(expected))
}

#[test]
fn row_1_connected_and_kms_is_open() {
    let seen = one(&vantage(connected(BindAnswer::Kms)), &forwarding());
    assert_eq!(seen.verdict, Verdict::Open);
    assert_eq!(seen.row, Some(Row::OpenKms));
    assert_eq!((seen.port, seen.reason), (Some(PortState::Open), Some("syn-ack")));
}

#[test]
fn row_2_open_without_kms_is_unexpected() {
    for answer in [BindAnswer::RpcNotKms, BindAnswer::NotRpc, BindAnswer::Silent, BindAnswer::Reset]
    {
        let observation = vantage(connected(answer));
        assert_eq!(
            verdict_row(&observation, &forwarding()),
            (Verdict::Open, Some(Row::OpenNotKms))
        );
        let judgement = run(&[observation], &forwarding(), Expected::Open);
        assert_eq!(judgement.verdict, Verdict::Open);
        assert!(judgement.as_expected != Some(true), "{answer}");
    }
}

#[test]
fn a_connection_that_pf_takes_itself_is_unproven() {
    let unasked = vec![Attempt::Connected { answer: None, milliseconds: 12 }];
    let observation = vantage(unasked);
    assert_eq!(one(&observation, &forwarding()).verdict, Verdict::Open);
    for levels in ["PROXY:DST", "PROXY:SRC"] {
        let mut proxied = forwarding();
        proxied.sources = [(outside(), levels.to_owned())].into();
        let seen = one(&observation, &proxied);
        assert_eq!(seen.verdict, Verdict::Inconclusive, "{levels}");
    }
}

#[test]
fn row_3_silence_and_drops_are_closed_here() {
    let seen = one(&controlled(silence()), &dropping());
    assert_eq!((seen.verdict, seen.row), (Verdict::Closed, Some(Row::ClosedHere)));
    assert_eq!((seen.port, seen.reason), (Some(PortState::Filtered), Some("no-response")));
    assert!(seen.why.contains("1000000103"), "{}", seen.why);
    assert!(run(&[controlled(silence())], &dropping(), Expected::Closed).as_expected == Some(true));
    assert!(run(&[controlled(silence())], &dropping(), Expected::Open).as_expected == Some(false));
}

#[test]
fn packets_dropped_meanwhile_prove_nothing() {
    for dropped in [1, 3, 7, 70_000] {
        for attempts in [silence(), resets()] {
            let end = FirewallEvidence { dropped: Some(dropped), ..dropping() };
            let judgement = run(&[vantage(attempts)], &end, Expected::Closed);
            assert_eq!(judgement.verdict, Verdict::Inconclusive, "{dropped}");
            assert!(judgement.summary.contains("`control`"), "{judgement:?}");
        }
    }
}

#[test]
fn with_pf_off_nothing_is_closed() {
    let end = FirewallEvidence { pf_off: true, ..dropping() };
    let judgement = run(&[controlled(silence())], &end, Expected::Closed);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(judgement.summary.contains("switched off"), "{judgement:?}");
}

#[test]
fn nothing_is_as_expected_without_an_expectation() {
    let seen = [controlled(silence())];
    let judgement = judge(&seen, &dropping(), &PublicNames::default(), None);
    assert_eq!(judgement.verdict, Verdict::Closed);
    assert_eq!((judgement.expected, judgement.as_expected), (None, None));
    assert!(judgement.summary.contains("it is not known"), "{judgement:?}");
}

#[test]
fn row_3_holds_when_another_port_answers() {
    let mut observation = vantage(silence());
    observation.control = Control::Passed { to: format!("{WAN}:443"), same_address: true };
    assert_eq!(
        verdict_row(&observation, &untouched(false)),
        (Verdict::Closed, Some(Row::ClosedHere))
    );
    observation.control = Control::Passed { to: "192.0.2.99:443".into(), same_address: false };
    assert_eq!(verdict_row(&observation, &untouched(false)).0, Verdict::Inconclusive);
}

#[test]
fn row_4_nothing_arrived_is_inconclusive() {
    for lets_in in [true, false] {
        for attempts in [silence(), resets()] {
            assert_eq!(
                verdict_row(&vantage(attempts), &untouched(lets_in)),
                (Verdict::Inconclusive, Some(Row::NothingArrived)),
            );
        }
    }
}

#[test]
fn row_5_no_listener_is_closed_but_unexpected() {
    for (attempts, levels) in [
        (resets(), "TIME_WAIT:TIME_WAIT"),
        (resets(), "CLOSED:SYN_SENT"),
        (silence(), "CLOSED:SYN_SENT"),
    ] {
        let observation = vantage(attempts);
        let end = forwarded_as(levels);
        assert_eq!(verdict_row(&observation, &end), (Verdict::Closed, Some(Row::NobodyListens)));
        let judgement = run(&[observation], &end, Expected::Closed);
        assert_eq!(judgement.verdict, Verdict::Closed);
        assert!(judgement.as_expected != Some(true));
        assert!(judgement.summary.contains("still lets"), "{}", judgement.summary);
    }
}

#[test]
fn a_lost_answer_is_still_an_answer() {
    for (attempts, levels) in [
        (silence(), "SYN_SENT:ESTABLISHED"),
        (silence(), "ESTABLISHED:ESTABLISHED"),
        // A reset that the vantage did not hear is an answer that is lost, too.
        (silence(), "TIME_WAIT:TIME_WAIT"),
        (resets(), "ESTABLISHED:ESTABLISHED"),
        (resets(), "FIN_WAIT_2:FIN_WAIT_2"),
        (silence(), "something new"),
    ] {
        let seen = one(&vantage(attempts), &forwarded_as(levels));
        assert_eq!((seen.verdict, seen.row), (Verdict::Inconclusive, None), "{levels}");
        assert!(seen.why.contains("did not reach the vantage"), "{}", seen.why);
    }
}

#[test]
fn row_5_a_rule_that_rejects_is_closed() {
    let seen = one(&controlled(resets()), &dropping());
    assert_eq!((seen.verdict, seen.row), (Verdict::Closed, Some(Row::NobodyListens)));
    assert!(run(&[controlled(resets())], &dropping(), Expected::Closed).as_expected == Some(true));
}

#[test]
fn a_blocked_vantage_proves_nothing() {
    let mut end = dropping();
    end.blocked = vec!["198.51.100.0/24".parse().unwrap()];
    assert_eq!(verdict_row(&controlled(silence()), &end).0, Verdict::Inconclusive);
    // Its connection counts all the same, should there be one.
    let mut end = forwarding();
    end.blocked = vec!["198.51.100.10/32".parse().unwrap()];
    assert_eq!(verdict_row(&vantage(connected(BindAnswer::Kms)), &end).0, Verdict::Open);
    // Without a known address the counter of the table's rule decides.
    let mut observation = controlled(silence());
    observation.address = None;
    let end = FirewallEvidence { dropped_by_table: Some(6), ..dropping() };
    assert_eq!(verdict_row(&observation, &end).0, Verdict::Inconclusive);
}

#[test]
fn an_answer_past_the_firewall_proves_nothing() {
    let seen = one(&vantage(connected(BindAnswer::Kms)), &untouched(true));
    assert_eq!(seen.verdict, Verdict::Inconclusive);
    assert!(seen.why.contains("saw nothing"), "{}", seen.why);
}

#[test]
fn connections_of_others_prove_nothing() {
    for answer in [BindAnswer::Kms, BindAnswer::NotRpc, BindAnswer::Silent] {
        let observation = vantage(connected(answer));
        let seen = one(&observation, &busy());
        assert_eq!((seen.verdict, seen.row), (Verdict::Inconclusive, None), "{answer}");
        for part in [&outside().to_string(), "vantages.vps.address"] {
            assert!(seen.why.contains(part), "{}", seen.why);
        }
        assert!(!seen.why.contains("not known"), "{}", seen.why);
        // Ours is found among them.
        let mut both = busy();
        both.sources.extend(forwarding().sources);
        assert_eq!(verdict_row(&observation, &both).0, Verdict::Open);
    }
    // Nor does mere movement of the counters.
    let moved = FirewallEvidence { sources: BTreeMap::new(), ..busy() };
    assert_eq!(verdict_row(&vantage(connected(BindAnswer::Kms)), &moved).0, Verdict::Inconclusive);
    let judgement = run(&[vantage(connected(BindAnswer::Kms))], &busy(), Expected::Open);
    assert_eq!(judgement.as_expected, Some(false));
    assert_eq!(verdict_row(&vantage(silence()), &busy()).0, Verdict::Inconclusive);
}

#[test]
fn without_an_address_nothing_counts_as_ours() {
    for attempts in [connected(BindAnswer::Kms), connected(BindAnswer::NotRpc), silence()] {
        let mut observation = vantage(attempts);
        observation.address = None;
        for end in [forwarding(), busy()] {
            assert_eq!(verdict_row(&observation, &end).0, Verdict::Inconclusive);
        }
    }
    let mut observation = vantage(connected(BindAnswer::Kms));
    observation.address = None;
    let why = one(&observation, &busy()).why;
    assert!(why.contains("not known; set vantages.vps.address"), "{why}");
    // The check service reports its node's address; the operator cannot set it.
    observation.kind = "check-host";
    let why = one(&observation, &busy()).why;
    assert!(!why.contains("vantages."), "{why}");
}

#[test]
fn inside_never_counts() {
    for place in [Place::Inside("hairpin".into()), Place::Unproven("no idea".into())] {
        for attempts in [connected(BindAnswer::Kms), silence(), resets()] {
            let mut observation = vantage(attempts);
            observation.place = place.clone();
            for end in [forwarding(), dropping()] {
                assert_eq!(verdict_row(&observation, &end).0, Verdict::Inconclusive);
            }
        }
    }
    // A connection that reaches the firewall from a private address came from inside.
    let mut observation = vantage(connected(BindAnswer::Kms));
    observation.address = None;
    let mut end = forwarding();
    end.sources = [("10.0.10.7".parse().unwrap(), "ESTABLISHED:ESTABLISHED".into())].into();
    assert_eq!(verdict_row(&observation, &end).0, Verdict::Inconclusive);
}

#[test]
fn doubt_of_any_kind_is_never_closed() {
    let mut few = controlled(vec![Attempt::NoAnswer; ATTEMPTS - 1]);
    few.short = Some("at most 5 connections in 60 s".into());
    let mut control = vantage(silence());
    control.control = Control::Failed { to: "h:1".into(), why: "refused".into() };
    let mut trouble = vantage(Vec::new());
    trouble.trouble = Some("unreachable".into());
    let mut prohibited = controlled(silence());
    prohibited.attempts[1] = Attempt::NotTried { why: "forwarding is forbidden".into() };
    for observation in [few, control, trouble, prohibited, vantage(Vec::new())] {
        assert_eq!(
            verdict_row(&observation, &dropping()).0,
            Verdict::Inconclusive,
            "{observation:?}"
        );
    }
    let changed = FirewallEvidence { changed: true, ..dropping() };
    assert_eq!(verdict_row(&controlled(silence()), &changed).0, Verdict::Inconclusive);
}

#[test]
fn vantages_that_disagree_are_never_as_expected() {
    let mut other = controlled(silence());
    other.vantage = "office".into();
    other.address = Some("203.0.113.5".parse().unwrap());
    let end = FirewallEvidence { lets_in: false, dropped: Some(9), ..forwarding() };
    for expected in [Expected::Open, Expected::Closed] {
        let judgement = run(&[vantage(connected(BindAnswer::Kms)), other.clone()], &end, expected);
        assert_eq!(judgement.verdict, Verdict::Open);
        assert!(judgement.as_expected != Some(true));
        assert_eq!((judgement.quorum.open, judgement.quorum.closed), (1, 1));
        assert!(judgement.findings.iter().any(|finding| finding.code == "conflict"));
    }
}

#[test]
fn nodes_of_a_check_service_count_once() {
    let node = |name: &str, address: &str, attempts: Vec<Attempt>| Observation {
        node: Some(name.into()),
        kind: "check-host",
        address: Some(address.parse().unwrap()),
        ..vantage(attempts)
    };
    let tcp = || vec![Attempt::Connected { answer: None, milliseconds: 30 }];
    let mut end = forwarding();
    end.sources = ["203.0.113.1", "203.0.113.2"]
        .map(|address| (address.parse().unwrap(), "x".to_owned()))
        .into();
    let nodes = [
        node("a", "203.0.113.1", tcp()),
        node("b", "203.0.113.2", tcp()),
        node("c", "203.0.113.3", silence()),
    ];
    let judgement = run(&nodes, &end, Expected::Open);
    assert_eq!((judgement.quorum.open, judgement.quorum.inconclusive), (1, 0));
    assert!(judgement.as_expected == Some(true));
    let more = ["d", "e"].map(|name| node(name, "203.0.113.3", silence()));
    let judgement = run(&[&nodes[1..], &more].concat(), &end, Expected::Open);
    assert_eq!(judgement.verdict, Verdict::Open, "1 of 4");
    assert_eq!((judgement.quorum.open, judgement.quorum.inconclusive), (1, 0));
    // Closed takes more than half.
    end.sources = [("203.0.113.2".parse().unwrap(), "CLOSED:SYN_SENT".to_owned())].into();
    let failing = [node("b", "203.0.113.2", silence()), nodes[2].clone()];
    assert_eq!(run(&failing, &end, Expected::Closed).verdict, Verdict::Inconclusive);
    assert_eq!(run(&failing[..1], &end, Expected::Closed).verdict, Verdict::Closed);
}

fn names(expected: Option<&str>, answers: &[(&str, bool, &[&str])]) -> PublicNames {
    PublicNames {
        host: "kms.example.net".into(),
        expected: expected.map(|address| address.parse().unwrap()),
        resolved: answers
            .iter()
            .map(|(by, from_outside, addresses)| Resolved {
                by: (*by).into(),
                from_outside: *from_outside,
                answer: Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()),
            })
            .collect(),
    }
}

#[test]
fn names_that_lead_elsewhere_are_unexpected() {
    for (addresses, code) in [
        (&["192.0.2.7"][..], "wrong-address"),
        (&["192.0.2.1", "2001:db8::1"], "stray-aaaa"),
        (&["10.0.20.202"], "split-horizon"),
        (&[], "no-address"),
    ] {
        let names = names(Some(WAN), &[("9.9.9.9 through vps", true, addresses)]);
        assert_eq!(names.target_address(), Some(WAN.parse().unwrap()));
        let judgement = judge(
            &[vantage(connected(BindAnswer::Kms))],
            &forwarding(),
            &names,
            Some(Expected::Open),
        );
        assert!(judgement.as_expected != Some(true), "{code}");
        assert_eq!(judgement.findings[0].code, code);
        // A wrong name does not open the port; but only IPv4 was tried.
        let closed = judge(&[controlled(silence())], &dropping(), &names, Some(Expected::Closed));
        assert_eq!(closed.verdict, Verdict::Closed);
        assert_eq!(closed.as_expected, Some(code != "stray-aaaa"), "{code}");
        let noted = closed.summary.contains("IPv4 only: IPv6 was not tried");
        assert_eq!(noted, code == "stray-aaaa", "{}", closed.summary);
    }
    let inside = names(Some(WAN), &[("this machine", false, &["10.0.20.202"])]);
    let judgement =
        judge(&[vantage(connected(BindAnswer::Kms))], &forwarding(), &inside, Some(Expected::Open));
    assert!(judgement.as_expected == Some(true), "a resolver may answer something else inside");
    assert_eq!(judgement.findings[0].code, "split-horizon");
    assert_eq!(inside.private_answer(), Some("10.0.20.202".parse().unwrap()));
}

#[test]
fn this_machines_resolver_counts_as_well() {
    let here = |addresses: &[&str]| names(Some(WAN), &[("this machine", false, addresses)]);
    for (addresses, code) in [
        (&["192.0.2.7"][..], "wrong-address"),
        // Half of the clients would go there.
        (&["192.0.2.1", "192.0.2.7"], "wrong-address"),
        (&["192.0.2.1", "2001:db8::1"], "stray-aaaa"),
        (&["10.0.20.202", "fd00::1"], "stray-aaaa"),
    ] {
        let judgement = judge(
            &[vantage(connected(BindAnswer::Kms))],
            &forwarding(),
            &here(addresses),
            Some(Expected::Open),
        );
        assert_eq!(judgement.verdict, Verdict::Open, "{addresses:?}");
        assert_eq!(judgement.as_expected, Some(false), "{addresses:?}");
        assert!(judgement.findings.iter().any(|finding| finding.code == code), "{addresses:?}");
    }
    for addresses in [&["192.0.2.1"][..], &["10.0.20.202"], &[]] {
        assert_eq!(here(addresses).misleading_clause(), None, "{addresses:?}");
    }
    // No client outside can reach an address of the inside.
    assert_eq!(here(&["10.0.20.202", "fd00::1"]).other_family(), None);
    // Where no address is known, what was tried is what others must agree with.
    let answers: &[(&str, bool, &[&str])] =
        &[("this machine", false, &["192.0.2.7"]), ("9.9.9.9 through vps", true, &[WAN])];
    let why = names(None, answers).misleading_clause().unwrap();
    assert!(why.contains("192.0.2.7") && why.contains("192.0.2.1 was tried"), "{why}");
}

#[test]
fn a_name_unchecked_from_outside_is_noted() {
    let noted = |names: &PublicNames| {
        let judgement = judge(
            &[vantage(connected(BindAnswer::Kms))],
            &forwarding(),
            names,
            Some(Expected::Open),
        );
        assert_eq!(judgement.as_expected, Some(true));
        judgement.findings.iter().any(|finding| finding.code == "name-not-checked")
    };
    let here: (&str, bool, &[&str]) = ("this machine", false, &[WAN]);
    assert!(noted(&names(Some(WAN), &[here])));
    assert!(!noted(&names(Some(WAN), &[here, ("9.9.9.9", true, &[WAN])])));
    let mut silent = names(Some(WAN), &[here, ("9.9.9.9", true, &[])]);
    silent.resolved[1].answer = Err("it does not answer".into());
    assert!(noted(&silent));
    let mut address = names(Some(WAN), &[]);
    address.host = WAN.into();
    assert!(!noted(&address), "an address needs no resolver");
}

#[test]
fn the_known_address_is_tried_first() {
    let answers: &[(&str, bool, &[&str])] =
        &[("this machine", false, &["192.0.2.3"]), ("vps", true, &["2001:db8::1", "192.0.2.2"])];
    assert_eq!(names(Some(WAN), answers).target_address(), Some(WAN.parse().unwrap()));
    assert_eq!(names(None, answers).target_address(), Some("192.0.2.2".parse().unwrap()));
    assert_eq!(names(None, &answers[..1]).target_address(), Some("192.0.2.3".parse().unwrap()));
    assert_eq!(names(None, &[]).target_address(), None);
}

#[test]
fn rules_that_are_unknown_excuse_no_proven_fault() {
    let unknown = Finding::unknown("exposure", "The configuration was not read.");
    for (expected, left) in [(Expected::Closed, None), (Expected::Open, Some(false))] {
        let judgement = run(&[controlled(silence())], &dropping(), expected);
        assert_eq!(judgement.as_expected, Some(expected == Expected::Closed));
        assert_eq!(judgement.beside_rules(&unknown).as_expected, left);
    }
}
