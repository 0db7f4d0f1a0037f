//! Plans that end connections: both halves of the service's own, and no others.

use super::*;

fn killed(choice: &StatesChoice, rules: &[Rule]) -> Draft {
    let tracker = Some(1_763_000_004);
    let (states, service) = (states(), fixtures::service());
    let live = Live::new(&states, &service, Some(&[]));
    draft(plan_kill(&live, rule_labels(rules, tracker, &service, None), choice))
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
    assert!(draft.what.starts_with("End 1 connection of 1 source"), "{}", draft.what);
}

#[test]
fn only_too_many_states_go_by_the_label() {
    let draft = killed(&StatesChoice::All, &[fixtures::pass()]);
    let Operation::StatesKill { labels, states: planned, .. } = &draft.operation else {
        panic!("{draft:?}");
    };
    assert_eq!((labels.as_slice(), planned.len()), (&[][..], 3), "a label reaches other ports");
    assert_eq!(draft.confirm, Confirm::Word("kill".into()));
    let many: Vec<State> = (0..5_001_u64)
        .map(|number| {
            let mut state = states().swap_remove(0);
            state.identity.as_mut().unwrap().id = number;
            state
        })
        .collect();
    let (service, rules) = (fixtures::service(), [fixtures::pass()]);
    let live = Live::new(&many, &service, Some(&[]));
    let labels = rule_labels(&rules, Some(1_763_000_004), &service, None);
    let by_label = super::draft(plan_kill(&live, labels, &StatesChoice::All));
    assert!(codes(&by_label).contains(&"by-label"), "{:?}", by_label.risks);
    assert!(
        matches!(&by_label.operation, Operation::StatesKill { labels, .. } if labels.len() == 1)
    );
    assert!(plan_kill(&live, Vec::new(), &StatesChoice::All).is_err());
    let stranger = StatesChoice::Clients(vec![[192, 0, 2, 1].into()]);
    let (states, service) = (states(), fixtures::service());
    let live = Live::new(&states, &service, Some(&[]));
    let words = nothing(plan_kill(&live, Vec::new(), &stranger));
    assert!(words.contains("has no connection to port 1688"), "{words}");
}

/// What is left of a connection whose client's half is gone already is no connection.
#[test]
fn what_is_left_over_is_called_so() {
    let text = "all tcp 198.51.100.23:50122 -> 10.0.20.202:1688       ESTABLISHED:ESTABLISHED\n   \
         age 00:02:05, expires in 00:59:00, 14:11 pkts, 1820:3100 bytes, rule 26\n   id: 00000000000000b2 creatorid: 0000001a\n";
    let (states, service) = (state::parse(text.as_bytes()).value, fixtures::service());
    let live = Live::new(&states, &service, Some(&[]));
    let draft = draft(plan_kill(&live, Vec::new(), &StatesChoice::All));
    assert_eq!(draft.what, "End 1 state to port 1688, left over from connections that have ended.");
}

#[test]
fn a_label_that_others_share_ends_nothing() {
    let (service, own) = (fixtures::service(), fixtures::pass());
    let tracker = own.ridentifier;
    let labels = |rules: &[Rule], configured: &Configured| {
        rule_labels(rules, tracker, &service, Some(configured))
    };
    let alone = fixtures::configured();
    let expanded = Rule { from: fixtures::host("198.51.100.9", None), ..own.clone() };
    assert_eq!(labels(&[own.clone(), expanded], &alone), ["id:1763000004"]);
    let for_more = |change: &dyn Fn(&mut Rule)| {
        let mut rule = own.clone();
        change(&mut rule);
        rule
    };
    for other in [
        for_more(&|rule| rule.to.host = "<k8s_shared_lb>".to_owned()),
        for_more(&|rule| rule.to.host = "any".to_owned()),
        for_more(&|rule| rule.to.negated = true),
        for_more(&|rule| rule.to.port = Some("= 443".to_owned())),
        for_more(&|rule| rule.to.port = Some("1688:1690".to_owned())),
        for_more(&|rule| rule.to.port = None),
        for_more(&|rule| rule.protocol = Some("udp".to_owned())),
        for_more(&|rule| rule.protocol = None),
    ] {
        assert!(labels(std::slice::from_ref(&other), &alone).is_empty(), "{other:?}");
        assert!(labels(&[own.clone(), other.clone()], &alone).is_empty(), "{other:?}");
    }
    let mut shared = alone;
    let mut second = fixtures::filter_rule();
    (second.index, second.disabled) = (8, true);
    shared.all_filter = vec![fixtures::filter_rule(), second];
    assert!(labels(&[own], &shared).is_empty(), "a disabled rule may have left states");
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
        let members = members.map(|members| connections::alias_members(members.iter().copied()));
        let live = Live::new(&states, &service, members.as_deref());
        let chosen = live.chosen_states(&StatesChoice::All).into_iter();
        let ids = chosen.filter_map(|state| state.identity.as_ref().map(|identity| identity.id));
        ids.collect::<Vec<u64>>()
    };
    assert_eq!(ended(Some(&[])), Vec::<u64>::new());
    assert_eq!(ended(Some(&["10.0.20.203"])), [0xb1, 0xb2]);
    assert_eq!(ended(None), [0xb1, 0xb2], "both halves of what is forwarded");
}
