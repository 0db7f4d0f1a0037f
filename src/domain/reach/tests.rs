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
        control: Control::Passed {
            to: format!("{WAN}:443"),
            same_address: true,
        },
        ..vantage(attempts)
    }
}

fn connected(answer: Answer) -> Vec<Attempt> {
    vec![Attempt::Connected {
        answer: Some(answer),
        milliseconds: 12,
    }]
}

fn silence() -> Vec<Attempt> {
    vec![Attempt::NoAnswer; ATTEMPTS]
}

fn resets() -> Vec<Attempt> {
    vec![Attempt::Refused; ATTEMPTS]
}

/// The firewall lets in and made a state for the vantage.
fn forwarding() -> End {
    End {
        lets_in: true,
        forwarded: Some(1),
        dropped: Some(0),
        dropped_by_table: Some(0),
        sources: [(outside(), "FIN_WAIT_2:FIN_WAIT_2".to_owned())].into(),
        ..End::default()
    }
}

/// The firewall lets in, and nothing of it moved.
fn untouched(lets_in: bool) -> End {
    End {
        lets_in,
        forwarded: Some(0),
        dropped: Some(0),
        dropped_by_table: Some(0),
        ..End::default()
    }
}

fn dropping() -> End {
    End {
        dropped: Some(7),
        dropped_by: Some(1_000_000_103),
        ..untouched(false)
    }
}

fn one(observation: &Observation, end: &End) -> Seen {
    super::one::judge(observation, end)
}

fn told(observation: &Observation, end: &End) -> (Verdict, Option<Row>) {
    let seen = one(observation, end);
    (seen.verdict, seen.row)
}

fn run(observations: &[Observation], end: &End, expected: Expected) -> Judgement {
    judge(observations, end, &Names::default(), Some(expected))
}

#[test]
fn row_1_connected_and_kms_is_open() {
    let seen = one(&vantage(connected(Answer::Kms)), &forwarding());
    assert_eq!(seen.verdict, Verdict::Open);
    assert_eq!(seen.row, Some(Row::OpenKms));
    assert_eq!(
        (seen.port, seen.reason),
        (Some(PortState::Open), Some("syn-ack"))
    );
}

#[test]
fn row_2_connected_and_anything_else_is_open_but_not_as_expected() {
    for answer in [
        Answer::RpcNotKms,
        Answer::NotRpc,
        Answer::Silent,
        Answer::Reset,
    ] {
        let observation = vantage(connected(answer));
        assert_eq!(
            told(&observation, &forwarding()),
            (Verdict::Open, Some(Row::OpenNotKms))
        );
        let judgement = run(&[observation], &forwarding(), Expected::Open);
        assert_eq!(judgement.verdict, Verdict::Open);
        assert!(judgement.as_expected != Some(true), "{answer}");
    }
}

#[test]
fn row_3_silence_and_drops_are_closed_here() {
    let seen = one(&controlled(silence()), &dropping());
    assert_eq!(
        (seen.verdict, seen.row),
        (Verdict::Closed, Some(Row::ClosedHere))
    );
    assert_eq!(
        (seen.port, seen.reason),
        (Some(PortState::Filtered), Some("no-response"))
    );
    assert!(seen.why.contains("1000000103"), "{}", seen.why);
    assert!(run(&[controlled(silence())], &dropping(), Expected::Closed).as_expected == Some(true));
    assert!(run(&[controlled(silence())], &dropping(), Expected::Open).as_expected == Some(false));
}

#[test]
fn packets_dropped_meanwhile_are_anybodys_and_prove_nothing() {
    for dropped in [1, 3, 7, 70_000] {
        for attempts in [silence(), resets()] {
            let end = End {
                dropped: Some(dropped),
                ..dropping()
            };
            let judgement = run(&[vantage(attempts)], &end, Expected::Closed);
            assert_eq!(judgement.verdict, Verdict::Inconclusive, "{dropped}");
            assert!(judgement.summary.contains("`control`"), "{judgement:?}");
        }
    }
}

#[test]
fn with_pf_off_nothing_is_closed() {
    let end = End {
        pf_off: true,
        ..dropping()
    };
    let judgement = run(&[controlled(silence())], &end, Expected::Closed);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(judgement.summary.contains("switched off"), "{judgement:?}");
}

#[test]
fn where_nobody_knows_what_to_expect_nothing_is_as_expected() {
    let seen = [controlled(silence())];
    let judgement = judge(&seen, &dropping(), &Names::default(), None);
    assert_eq!(judgement.verdict, Verdict::Closed);
    assert_eq!((judgement.expected, judgement.as_expected), (None, None));
    assert!(judgement.summary.contains("nobody knows"), "{judgement:?}");
}

#[test]
fn row_3_also_holds_when_another_port_of_the_same_address_answers() {
    let mut observation = vantage(silence());
    observation.control = Control::Passed {
        to: format!("{WAN}:443"),
        same_address: true,
    };
    assert_eq!(
        told(&observation, &untouched(false)),
        (Verdict::Closed, Some(Row::ClosedHere))
    );
    observation.control = Control::Passed {
        to: "192.0.2.99:443".into(),
        same_address: false,
    };
    assert_eq!(
        told(&observation, &untouched(false)).0,
        Verdict::Inconclusive
    );
}

#[test]
fn row_4_nothing_arrived_is_inconclusive_whatever_the_rules_say() {
    for lets_in in [true, false] {
        for attempts in [silence(), resets()] {
            assert_eq!(
                told(&vantage(attempts), &untouched(lets_in)),
                (Verdict::Inconclusive, Some(Row::NothingArrived)),
            );
        }
    }
}

#[test]
fn row_5_forwarded_and_nobody_listens_is_closed_but_not_what_revoking_means() {
    for attempts in [resets(), silence()] {
        let observation = vantage(attempts);
        assert_eq!(
            told(&observation, &forwarding()),
            (Verdict::Closed, Some(Row::NobodyListens))
        );
        let judgement = run(&[observation], &forwarding(), Expected::Closed);
        assert_eq!(judgement.verdict, Verdict::Closed);
        assert!(judgement.as_expected != Some(true));
        assert!(
            judgement.summary.contains("still lets"),
            "{}",
            judgement.summary
        );
    }
}

#[test]
fn row_5_a_rule_that_rejects_is_closed() {
    let seen = one(&controlled(resets()), &dropping());
    assert_eq!(
        (seen.verdict, seen.row),
        (Verdict::Closed, Some(Row::NobodyListens))
    );
    assert!(run(&[controlled(resets())], &dropping(), Expected::Closed).as_expected == Some(true));
}

#[test]
fn a_vantage_in_the_table_proves_nothing_about_others() {
    let mut end = dropping();
    end.blocked = vec!["198.51.100.0/24".parse().unwrap()];
    assert_eq!(told(&controlled(silence()), &end).0, Verdict::Inconclusive);
    // Its connection counts all the same, should there be one.
    let mut end = forwarding();
    end.blocked = vec!["198.51.100.10/32".parse().unwrap()];
    assert_eq!(
        told(&vantage(connected(Answer::Kms)), &end).0,
        Verdict::Open
    );
    // Without a known address the table's rule tells.
    let mut observation = controlled(silence());
    observation.address = None;
    let end = End {
        dropped_by_table: Some(6),
        ..dropping()
    };
    assert_eq!(told(&observation, &end).0, Verdict::Inconclusive);
}

#[test]
fn something_that_answers_without_the_firewall_seeing_it_is_not_us() {
    let seen = one(&vantage(connected(Answer::Kms)), &untouched(true));
    assert_eq!(seen.verdict, Verdict::Inconclusive);
    assert!(seen.why.contains("saw nothing"), "{}", seen.why);
}

#[test]
fn without_an_address_only_kms_counts_as_ours() {
    let mut observation = vantage(connected(Answer::Kms));
    observation.address = None;
    assert_eq!(told(&observation, &forwarding()).0, Verdict::Open);
    observation.attempts = connected(Answer::NotRpc);
    assert_eq!(told(&observation, &forwarding()).0, Verdict::Inconclusive);
    observation.attempts = silence();
    assert_eq!(told(&observation, &forwarding()).0, Verdict::Inconclusive);
}

#[test]
fn inside_never_counts() {
    for place in [
        Place::Inside("hairpin".into()),
        Place::Unproven("no idea".into()),
    ] {
        for attempts in [connected(Answer::Kms), silence(), resets()] {
            let mut observation = vantage(attempts);
            observation.place = place.clone();
            for end in [forwarding(), dropping()] {
                assert_eq!(told(&observation, &end).0, Verdict::Inconclusive);
            }
        }
    }
    // A connection that reaches the firewall from a private address came from inside, whatever was believed.
    let mut observation = vantage(connected(Answer::Kms));
    observation.address = None;
    let mut end = forwarding();
    end.sources = [(
        "10.0.10.7".parse().unwrap(),
        "ESTABLISHED:ESTABLISHED".into(),
    )]
    .into();
    assert_eq!(told(&observation, &end).0, Verdict::Inconclusive);
}

#[test]
fn doubt_of_any_kind_is_never_closed() {
    let mut few = controlled(vec![Attempt::NoAnswer; ATTEMPTS - 1]);
    few.short = Some("at most 5 connections in 60 s".into());
    let mut control = vantage(silence());
    control.control = Control::Failed {
        to: "h:1".into(),
        why: "refused".into(),
    };
    let mut trouble = vantage(Vec::new());
    trouble.trouble = Some("unreachable".into());
    let mut prohibited = controlled(silence());
    prohibited.attempts[1] = Attempt::NotTried {
        why: "forwarding is forbidden".into(),
    };
    for observation in [few, control, trouble, prohibited, vantage(Vec::new())] {
        assert_eq!(
            told(&observation, &dropping()).0,
            Verdict::Inconclusive,
            "{observation:?}"
        );
    }
    let changed = End {
        changed: true,
        ..dropping()
    };
    assert_eq!(
        told(&controlled(silence()), &changed).0,
        Verdict::Inconclusive
    );
}

#[test]
fn vantages_that_disagree_are_said_and_never_as_expected() {
    let mut other = controlled(silence());
    other.vantage = "office".into();
    other.address = Some("203.0.113.5".parse().unwrap());
    let end = End {
        lets_in: false,
        dropped: Some(9),
        ..forwarding()
    };
    for expected in [Expected::Open, Expected::Closed] {
        let judgement = run(
            &[vantage(connected(Answer::Kms)), other.clone()],
            &end,
            expected,
        );
        assert_eq!(judgement.verdict, Verdict::Open);
        assert!(judgement.as_expected != Some(true));
        assert_eq!((judgement.quorum.open, judgement.quorum.closed), (1, 1));
        assert!(
            judgement
                .findings
                .iter()
                .any(|finding| finding.code == "conflict")
        );
    }
}

#[test]
fn nodes_of_a_check_service_count_once_and_by_majority() {
    let node = |name: &str, address: &str, attempts: Vec<Attempt>| Observation {
        node: Some(name.into()),
        kind: "check-host",
        address: Some(address.parse().unwrap()),
        ..vantage(attempts)
    };
    let tcp = || {
        vec![Attempt::Connected {
            answer: None,
            milliseconds: 30,
        }]
    };
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
    assert_eq!(
        (judgement.quorum.open, judgement.quorum.inconclusive),
        (1, 0)
    );
    assert!(judgement.as_expected == Some(true));
    let judgement = run(&nodes[1..], &end, Expected::Open);
    assert_eq!(
        judgement.verdict,
        Verdict::Inconclusive,
        "1 of 2 is no majority"
    );
}

fn names(expected: Option<&str>, answers: &[(&str, bool, &[&str])]) -> Names {
    Names {
        host: "kms.example.net".into(),
        expected: expected.map(|address| address.parse().unwrap()),
        resolved: answers
            .iter()
            .map(|(by, from_outside, addresses)| Resolved {
                by: (*by).into(),
                from_outside: *from_outside,
                answer: Ok(addresses
                    .iter()
                    .map(|address| address.parse().unwrap())
                    .collect()),
            })
            .collect(),
    }
}

#[test]
fn names_that_lead_elsewhere_are_told_and_open_is_then_not_as_expected() {
    for (addresses, code) in [
        (&["192.0.2.7"][..], "wrong-address"),
        (&["192.0.2.1", "2001:db8::1"], "stray-aaaa"),
        (&["10.0.20.202"], "split-horizon"),
        (&[], "no-address"),
    ] {
        let names = names(Some(WAN), &[("9.9.9.9 through vps", true, addresses)]);
        assert_eq!(names.target(), Some(WAN.parse().unwrap()));
        let judgement = judge(
            &[vantage(connected(Answer::Kms))],
            &forwarding(),
            &names,
            Some(Expected::Open),
        );
        assert!(judgement.as_expected != Some(true), "{code}");
        assert_eq!(judgement.findings[0].code, code);
        // Closed is closed, whatever the name says.
        assert!(
            judge(
                &[controlled(silence())],
                &dropping(),
                &names,
                Some(Expected::Closed)
            )
            .as_expected
                == Some(true)
        );
    }
    let inside = names(Some(WAN), &[("this machine", false, &["10.0.20.202"])]);
    let judgement = judge(
        &[vantage(connected(Answer::Kms))],
        &forwarding(),
        &inside,
        Some(Expected::Open),
    );
    assert!(
        judgement.as_expected == Some(true),
        "the inside may be told something else"
    );
    assert_eq!(judgement.findings[0].code, "split-horizon");
}

#[test]
fn the_address_to_try_is_the_known_one_then_the_outsides_then_ours() {
    let answers: &[(&str, bool, &[&str])] = &[
        ("this machine", false, &["192.0.2.3"]),
        ("vps", true, &["2001:db8::1", "192.0.2.2"]),
    ];
    assert_eq!(
        names(Some(WAN), answers).target(),
        Some(WAN.parse().unwrap())
    );
    assert_eq!(
        names(None, answers).target(),
        Some("192.0.2.2".parse().unwrap())
    );
    assert_eq!(
        names(None, &answers[..1]).target(),
        Some("192.0.2.3".parse().unwrap())
    );
    assert_eq!(names(None, &[]).target(), None);
}
