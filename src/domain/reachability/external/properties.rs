//! What must hold for any evidence: never "open" without a completed connection, never "closed" without a
//! working vantage and a proof.

use proptest::prelude::*;

use super::tests::outside;
use super::*;

fn attempt() -> impl Strategy<Value = Attempt> {
    let answer = proptest::option::of(prop_oneof![
        Just(BindAnswer::Kms),
        Just(BindAnswer::RpcNotKms),
        Just(BindAnswer::NotRpc),
        Just(BindAnswer::Silent),
        Just(BindAnswer::Reset),
    ]);
    prop_oneof![
        1 => answer.prop_map(|answer| Attempt::Connected { answer, milliseconds: 1 }),
        4 => Just(Attempt::Refused),
        6 => Just(Attempt::NoAnswer),
        2 => Just(Attempt::Unreachable { why: "no route".into() }),
        1 => Just(Attempt::NotTried { why: "forbidden".into() }),
    ]
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        any::<bool>().prop_map(|same_address| Control::Passed { to: "h:1".into(), same_address }),
        Just(Control::OwnPath),
        Just(Control::Failed { to: "h:1".into(), why: "refused".into() }),
        Just(Control::NotNeeded),
    ]
}

prop_compose! {
    fn observation(name: &'static str)(
        attempts in proptest::collection::vec(attempt(), 0..5),
        control in control(),
        known in any::<bool>(),
        place in prop_oneof![8 => Just(Place::Outside), 1 => Just(Place::Inside("x".into())), 1 => Just(Place::Unproven("x".into()))],
        trouble in proptest::option::weighted(0.1, Just("broken".to_owned())),
    ) -> Observation {
        Observation {
            vantage: name.into(), kind: "ssh", node: None, address: known.then(outside), place, attempts, control,
            short: None, trouble,
        }
    }
}

prop_compose! {
    fn end()(
        lets_in in any::<bool>(),
        pf_off in proptest::bool::weighted(0.1),
        changed in proptest::bool::weighted(0.1),
        forwarded in proptest::option::of(0_u64..3),
        dropped in proptest::option::of(0_u64..9),
        dropped_by_table in proptest::option::of(0_u64..9),
        seen in any::<bool>(),
        levels in prop_oneof![Just("CLOSED:SYN_SENT"), Just("TIME_WAIT:TIME_WAIT"), Just("ESTABLISHED:ESTABLISHED")],
        foreign in any::<bool>(),
        blocked in proptest::bool::weighted(0.2),
    ) -> FirewallEvidence {
        FirewallEvidence {
            lets_in, pf_off, changed, forwarded, dropped, dropped_by_table, dropped_by: None,
            sources: seen.then(|| (outside(), levels.to_owned())).into_iter()
                .chain(foreign.then(|| ("203.0.113.77".parse().unwrap(), "CLOSED:SYN_SENT".to_owned())))
                .collect(),
            blocked: if blocked { vec![outside().into()] } else { Vec::new() },
        }
    }
}

fn completed(observation: &Observation) -> bool {
    observation.attempts.iter().any(|attempt| matches!(attempt, Attempt::Connected { .. }))
}

/// Everything "closed" rests on, written independently of how the code gets there.
fn may_be_closed(observation: &Observation, end: &FirewallEvidence) -> bool {
    let usable = observation.trouble.is_none() && observation.place == Place::Outside;
    let tried = observation.attempts.len() >= ATTEMPTS && !completed(observation);
    let controlled = matches!(observation.control, Control::Passed { .. } | Control::OwnPath);
    let shut_out = observation.address.is_some() && !end.blocked.is_empty();
    let same = matches!(observation.control, Control::Passed { same_address: true, .. });
    let forwarded_to_nobody = end.lets_in
        && observation.address.is_some_and(|address| {
            end.sources.get(&address).is_some_and(|levels| levels != "ESTABLISHED:ESTABLISHED")
        });
    let proven = forwarded_to_nobody || (!end.lets_in && same);
    usable && tried && controlled && !shut_out && !end.changed && !end.pf_off && proven
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn open_needs_a_completed_connection_that_the_firewall_saw(observation in observation("a"), end in end()) {
        let seen = super::vantage_verdict(&observation, &end);
        if seen.verdict == Verdict::Open {
            prop_assert!(completed(&observation));
            prop_assert_eq!(&observation.place, &Place::Outside);
            prop_assert!(observation.trouble.is_none());
            prop_assert!(observation.address.is_some_and(|address| end.sources.contains_key(&address)));
        }
    }

    #[test]
    fn closed_needs_a_working_vantage_and_a_proof(observation in observation("a"), end in end()) {
        let seen = super::vantage_verdict(&observation, &end);
        if seen.verdict == Verdict::Closed {
            prop_assert!(may_be_closed(&observation, &end), "{:?}", seen);
        }
    }

    #[test]
    fn the_whole_says_no_more_than_its_parts(one in observation("a"), two in observation("b"), end in end(), open in any::<bool>()) {
        let expected = if open { Expected::Open } else { Expected::Closed };
        let judgement = judge(&[one, two], &end, &PublicNames::default(), Some(expected));
        let says = |wanted| judgement.vantages.iter().any(|seen| seen.verdict == wanted);
        match judgement.verdict {
            Verdict::Open => prop_assert!(says(Verdict::Open)),
            Verdict::Closed => prop_assert!(says(Verdict::Closed) && !says(Verdict::Open)),
            Verdict::Inconclusive => prop_assert!(!says(Verdict::Open) && !says(Verdict::Closed)),
        }
        if judgement.as_expected == Some(true) {
            prop_assert_eq!(judgement.verdict.name(), expected.name());
            prop_assert!(!(says(Verdict::Open) && says(Verdict::Closed)));
            prop_assert!(open || !end.lets_in, "closed as wanted means that the firewall closes");
        }
    }
}
