//! The preview against the measured table, against a second model, and over logs.

use proptest::prelude::*;

use super::*;
use crate::domain::pf::rule::Rate;

const START: i64 = 1_790_000_000;

fn source(last: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, last])
}

fn caps(max_src_conn: Option<u32>, connections: u32) -> Caps {
    let rate = Some(Rate { connections, seconds: 60 });
    Caps { max_src_conn, rate: rate.filter(|_| connections > 0) }
}

fn seen(times: impl IntoIterator<Item = i64>) -> SeenConnections {
    let mut connections = SeenConnections::default();
    for at in times {
        connections.add_connection(source(1), START + at, START + at);
    }
    connections
}

fn never(_: i64) -> Option<i64> {
    None
}

/// Which connection, counted from one, is cut.
fn cut_at(times: &[i64], caps: Caps) -> Option<usize> {
    let mut connections = seen(times.iter().copied());
    let cuts = preview_caps(&mut connections, caps, Some(Generation::Decaying), never);
    let cut = cuts.first().filter(|cut| cut.cuts > 0)?;
    let at = cut.cut_at.as_second() - START;
    // Of several in one second the last is cut.
    times.iter().rposition(|time| *time == at).map(|place| place + 1)
}

#[test]
fn the_measured_table_is_met() {
    let every = |step: i64, count: i64| (0..count).map(|n| n * step).collect::<Vec<i64>>();
    let ten = caps(None, 10);
    assert_eq!(cut_at(&every(0, 11), ten), Some(11));
    assert_eq!(cut_at(&every(0, 10), ten), None);
    assert_eq!(cut_at(&every(1, 30), ten), Some(11));
    assert_eq!(cut_at(&every(3, 30), ten), Some(14));
    assert_eq!(cut_at(&every(5, 30), ten), Some(21));
    assert_eq!(cut_at(&every(6, 25), ten), None);
    let after = |pause: i64, more: usize| [vec![0; 10], vec![pause; more]].concat();
    assert_eq!(cut_at(&after(6, 1), ten), None);
    assert_eq!(cut_at(&after(6, 2), ten), Some(12));
    assert_eq!(cut_at(&after(30, 5), ten), None);
    assert_eq!(cut_at(&after(30, 6), ten), Some(16));
    assert_eq!(cut_at(&after(60, 10), ten), None);
    assert_eq!(cut_at(&every(0, 4), caps(None, 3)), Some(4));
}

#[test]
fn what_a_second_decides_is_borderline() {
    let of = |times: &[i64], connections| {
        let mut all = seen(times.iter().copied());
        let cuts = preview_caps(&mut all, caps(None, connections), Some(Generation::Window), never);
        cuts.first().map(|cut| (cut.cuts, cut.borderline))
    };
    assert_eq!(of(&[0, 0, 0, 0], 3), Some((1, false)));
    assert_eq!(of(&[0, 0, 0, 58], 3), Some((1, false)));
    assert_eq!(of(&[0, 0, 0, 59], 3), Some((1, true)), "cut, by a second");
    assert_eq!(of(&[0, 0, 0, 60], 3), Some((0, true)), "not cut, by a second");
    assert_eq!(of(&[0, 0, 0, 61], 3), None);
}

/// A second more or less between two connections decides nothing where many follow.
#[test]
fn what_no_second_decides_is_certain() {
    let every = |step: i64, count: i64| (0..count).map(|n| n * step).collect::<Vec<i64>>();
    for generation in [Generation::Decaying, Generation::Window] {
        for (times, is_cut, is_borderline) in [
            (every(1, 30), true, false),
            (every(2, 40), true, false),
            (every(5, 60), true, false),
            (every(6, 25), false, generation == Generation::Window),
            (every(7, 60), false, false),
            (vec![0; 11], true, false),
        ] {
            let cuts =
                preview_caps(&mut seen(times.clone()), caps(None, 10), Some(generation), never);
            let cut = cuts.first();
            let found =
                (cut.is_some_and(|cut| cut.cuts > 0), cut.is_some_and(|cut| cut.borderline));
            assert_eq!(found, (is_cut, is_borderline), "{generation:?} {times:?}");
        }
    }
}

#[test]
fn closed_connections_count_until_they_are_purged() {
    let of = |last: i64| {
        let mut all = seen([0, 30, last]);
        let cuts = preview_caps(&mut all, caps(Some(2), 0), Some(Generation::Decaying), never);
        cuts.first().map(|cut| (cut.cuts, cut.borderline, cut.by))
    };
    let by = CutBy::MaxSrcConn;
    assert_eq!(of(60), Some((1, false, by)));
    assert_eq!(of(89), Some((1, true, by)));
    assert_eq!(of(95), Some((0, true, by)));
    assert_eq!(of(102), None);
}

#[test]
fn a_cut_source_is_refused_until_its_release() {
    let mut all = seen((0..4).chain(100..103).chain(3_700..3_704));
    all.count_activation(source(1), START);
    all.keep_window(START, START);
    let release = |at: i64| Some(at + 3_600);
    let cuts = preview_caps(&mut all, caps(None, 3), Some(Generation::Decaying), release);
    let [cut] = cuts.as_slice() else {
        panic!("{cuts:?}");
    };
    assert_eq!((cut.cuts, cut.refused, cut.connections), (2, 3, 11));
    assert_eq!((cut.customer, cut.blocked_seconds), (true, Some(3_600)));
    assert_eq!(cut.cut_at.as_second(), START + 3);
    let forever = preview_caps(&mut all, caps(None, 3), Some(Generation::Decaying), never);
    assert_eq!((forever[0].cuts, forever[0].refused), (1, 7));
    assert_eq!(forever[0].blocked_seconds, None);
}

#[test]
fn the_sum_names_customers_and_what_is_borderline() {
    let mut all = SeenConnections::default();
    for last in 1..=14 {
        for _ in 0..4 {
            all.add_connection(source(last), START, START);
        }
        if last > 12 {
            all.count_activation(source(last), START);
        }
    }
    all.keep_window(START, START);
    let cuts = preview_caps(&mut all, caps(None, 3), None, never);
    assert_eq!(
        cuts_sentence(&cuts, "24h"),
        "blocked 14 sources in 24h: 12 scanners, 2 customers (203.0.113.13, 203.0.113.14)"
    );
    assert_eq!(cuts_sentence(&[], "24h"), "blocked no source in 24h");
    let last = source(200);
    for at in [0, 0, 0, 55] {
        all.add_connection(last, START + at, START + at);
    }
    // A count that decays lets it through, a window does not.
    let cuts = preview_caps(&mut all, caps(None, 3), None, never);
    assert!(cuts_sentence(&cuts, "24h").ends_with("; 1 borderline"), "{cuts:?}");
}

/// A longer log says nothing of who is a customer now; a shorter window than a day makes none a scanner.
#[test]
fn activations_count_within_the_window() {
    const HOUR: i64 = 3_600;
    let end = START + 10 * DAY;
    for (window, ago, activations, customer) in [
        (DAY, 2, 1, true),
        (DAY, 25, 0, false),
        (DAY, 7 * 24, 0, false),
        (HOUR, 2, 0, true),
        (HOUR, 25, 0, false),
        (7 * DAY, 6 * 24, 1, true),
        (7 * DAY, 8 * 24, 0, false),
    ] {
        let mut all = SeenConnections::default();
        for _ in 0..4 {
            all.add_connection(source(1), end, end);
        }
        all.count_activation(source(1), end - ago * HOUR);
        all.keep_window(end - window, end);
        let cuts = preview_caps(&mut all, caps(None, 3), None, never);
        let found = (cuts[0].activations, cuts[0].customer);
        assert_eq!(found, (activations, customer), "{window} {ago}");
        assert_eq!((all.activations_of(source(1)), all.is_customer(source(1))), found);
    }
}

/// The idle time-out starts anew with every byte, so a connection can be held for hours without a line.
#[test]
fn held_connections_keep_their_duration() {
    for (lasted, ending) in [
        (300, "closed"),
        (900, "closed"),
        (3_600, "closed"),
        (3_600, "restart"),
        (3_600, "end of the log"),
    ] {
        let mut lines = Vec::new();
        let mut say = |at: i64, text: &str| {
            let at = Timestamp::from_second(START + at).unwrap();
            lines.push(format!("{}: {text}", at.strftime("%Y-%m-%d %H:%M:%S")));
        };
        for port in 1..=3 {
            say(0, &format!("IPv4 connection accepted: 203.0.113.1:{port}."));
        }
        // Others come and go meanwhile.
        for at in (10..lasted).step_by(10) {
            say(at, "IPv4 connection accepted: 203.0.113.2:9.");
            say(at, "IPv4 connection closed: 203.0.113.2:9.");
        }
        say(lasted - 5, "IPv4 connection accepted: 203.0.113.1:4.");
        match ending {
            "closed" => {
                for port in 1..=4 {
                    say(lasted, &format!("IPv4 connection closed: 203.0.113.1:{port}."));
                }
            }
            "restart" => say(lasted, "vlmcsd 1113 started successfully"),
            _ => {}
        }
        let mut all = SeenConnections::default();
        let mut reader = ConnectionReader::new(jiff::civil::date(2026, 6, 1), &|_| true, &mut all);
        lines.iter().for_each(|line| reader.read_line(line.as_bytes()));
        reader.finish_log();
        let cuts = preview_caps(&mut all, caps(Some(3), 0), None, never);
        let cut = cuts.iter().find(|cut| cut.address == source(1)).expect(ending);
        let found = (cut.connections, cut.cut_at.as_second() - START, cut.cuts, cut.by);
        assert_eq!(found, (4, lasted - 5, 1, CutBy::MaxSrcConn), "{lasted} {ending}");
    }
}

#[test]
fn a_log_gives_connections_customers_and_no_forgeries() {
    let mut lines = String::new();
    let mut say = |at: i64, text: &str| {
        let at = Timestamp::from_second(START + at).unwrap();
        lines.push_str(&format!("{}: {text}\n", at.strftime("%Y-%m-%d %H:%M:%S")));
    };
    for port in 1..=4 {
        say(0, &format!("IPv4 connection accepted: 203.0.113.1:{port}."));
        say(1, &format!("IPv4 connection closed: 203.0.113.1:{port}."));
        say(1, &format!("IPv4 connection accepted: 10.0.20.103:{port}."));
        say(1, &format!("IPv4 connection closed: 10.0.20.103:{port}."));
    }
    say(5, "IPv4 connection accepted: 203.0.113.2:9.");
    say(5, "<<< Incoming KMS request");
    say(5, "Protocol version                : 6.0");
    say(5, "Workstation name                : PC");
    // What follows came with a name.
    for port in 1..=4 {
        say(5, &format!("IPv4 connection accepted: 203.0.113.3:{port}."));
    }
    say(5, "N count policy (minimum clients): 25");
    say(5, ">>> Sending response, ePID source = randomized at program start");
    say(8, "IPv4 connection closed: 203.0.113.2:9.");
    let external = |address: IpAddr| address != IpAddr::from([10, 0, 20, 103]);
    let mut all = SeenConnections::default();
    let mut reader = ConnectionReader::new(jiff::civil::date(2026, 6, 1), &external, &mut all);
    lines.lines().for_each(|line| reader.read_line(line.as_bytes()));
    assert_eq!(reader.finish_log().1, 0);
    assert_eq!((all.len(), all.inside), (5, 4));
    all.keep_window(START, START + 8);
    assert_eq!(all.span, Some((START, START + 8)));
    let cuts = preview_caps(&mut all, caps(None, 3), Some(Generation::Decaying), never);
    assert_eq!(cuts.len(), 1, "{cuts:?}");
    assert_eq!((cuts[0].address, cuts[0].customer), (source(1), false));
    let cuts = preview_caps(&mut all, caps(Some(0), 0), None, never);
    let customers: Vec<IpAddr> =
        cuts.iter().filter(|cut| cut.customer).map(|cut| cut.address).collect();
    assert_eq!(customers, [source(2)]);
}

/// Stamps before and after a step of the clock do not compare, whichever way a count across it would go.
#[test]
fn a_clock_set_back_is_not_counted_across() {
    // Seconds of the lines; of each source two connections stand before a step, and two behind it.
    for (before, after, is_step) in [
        ([0, 2], [-3_600, -3_598], true),
        ([0, 2], [-20, -18], true),
        ([3_600, 3_602], [3, 4], true),
        ([0, 2], [1, 3], false),
        ([0, 2], [-5, 3], false),
    ] {
        let lines: Vec<String> = before
            .iter()
            .chain(&after)
            .enumerate()
            .flat_map(|(port, at)| {
                let at = Timestamp::from_second(START + at).unwrap();
                let at = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
                let say = |word| format!("{at}: IPv4 connection {word}: 203.0.113.1:1{port}.");
                ["accepted", "closed"].map(say)
            })
            .collect();
        let mut all = SeenConnections::default();
        let mut reader = ConnectionReader::new(jiff::civil::date(2026, 6, 1), &|_| true, &mut all);
        lines.iter().for_each(|line| reader.read_line(line.as_bytes()));
        reader.finish_log();
        assert_eq!(all.steps_since(i64::MIN).len(), usize::from(is_step), "{before:?} {after:?}");
        let cuts = preview_caps(&mut all, caps(None, 3), Some(Generation::Window), never);
        let is_cut = cuts.iter().any(|cut| cut.cuts > 0);
        assert_eq!(is_cut, !is_step, "{before:?} {after:?}: {cuts:?}");
        let cuts = preview_caps(&mut all, caps(None, 1), Some(Generation::Window), never);
        assert_eq!((cuts[0].connections, all.connections_of(source(1))), (4, 4), "{cuts:?}");
        let first = cuts[0].cut_at.as_second() - START;
        if is_step {
            assert_eq!((first, cuts[0].cuts), (before[1], 2), "{before:?} {after:?}: {cuts:?}");
            assert_eq!(all.gaps_between(i64::MIN, START + after[1]), []);
        }
    }
}

/// A second model, as plain as can be: every connection against every other, and windows cut off one by one. Times are in order.
fn naive_rate_trips(times: &[i64], rate: Rate, generation: Generation) -> bool {
    let (limit, seconds) = (rate.connections as usize, i64::from(rate.seconds));
    match generation {
        Generation::Decaying => {
            let (mut count, mut last) = (0, i64::MIN / 2);
            times.iter().any(|at| {
                let pause = (at - last).min(seconds);
                (count, last) = (count - count * pause / seconds + 1_000, *at);
                count > 1_000 * i64::from(rate.connections)
            })
        }
        Generation::Window => {
            let (mut rest, mut fullest) = (times, 0);
            while let Some(begun) = rest.first() {
                let within = rest.iter().take_while(|at| *at - begun < seconds).count();
                fullest = fullest.max(within);
                rest = &rest[within..];
            }
            fullest > limit
        }
    }
}

/// Each was opened at a second, and counts until another.
fn naive_holds_many(times: &[(i64, i64)], max_src_conn: u32) -> bool {
    (1..=times.len()).any(|count| {
        let (at, _) = times[count - 1];
        let standing = times[..count - 1].iter().filter(|(_, gone)| *gone > at);
        standing.count() + 1 > max_src_conn as usize
    })
}

fn naive_cut(
    times: &[(i64, i64)],
    max_src_conn: u32,
    rate: Option<Rate>,
    generation: Generation,
) -> bool {
    let mut times: Vec<(i64, i64)> =
        times.iter().map(|(opened, lasted)| (*opened, opened + lasted + 90)).collect();
    times.sort_unstable();
    let opened: Vec<i64> = times.iter().map(|(opened, _)| *opened).collect();
    naive_holds_many(&times, max_src_conn)
        || rate.is_some_and(|rate| naive_rate_trips(&opened, rate, generation))
}

/// Every way in which connections of these seconds can lie by pf's clock: those of one second are of it up to one of them, and
/// of the next from that on.
fn orders_within_seconds(times: &[i64]) -> Vec<Vec<i64>> {
    let mut orders = vec![Vec::new()];
    for group in times.chunk_by(|one, other| one == other) {
        orders = orders
            .iter()
            .flat_map(|order| {
                (0..=group.len()).map(move |early| {
                    let own = group.iter().enumerate();
                    let own = own.map(|(place, at)| at + i64::from(place >= early));
                    order.iter().copied().chain(own).collect()
                })
            })
            .collect();
    }
    orders
}

proptest! {
    #[test]
    fn a_naive_model_cuts_the_same_sources(
        all in proptest::collection::vec((1_u8..6, 0_i64..900, 0_i64..120), 0..150),
        max_src_conn in 1_u32..30,
        connections in 0_u32..12,
        is_window in proptest::bool::ANY,
    ) {
        let generation = if is_window { Generation::Window } else { Generation::Decaying };
        let mut connections_seen = SeenConnections::default();
        for (last, at, lasted) in &all {
            connections_seen.add_connection(source(*last), START + at, START + at + lasted);
        }
        let caps = caps(Some(max_src_conn), connections);
        let cuts = preview_caps(&mut connections_seen, caps, Some(generation), never);
        for last in 1..6 {
            let own: Vec<(i64, i64)> = all
                .iter()
                .filter(|one| one.0 == last)
                .map(|one| (one.1, one.2))
                .collect();
            let cut = cuts.iter().find(|cut| cut.address == source(last));
            let is_cut = cut.is_some_and(|cut| cut.cuts > 0);
            prop_assert!(is_cut == naive_cut(&own, max_src_conn, caps.rate, generation), "{last} {own:?} {cut:?}");
        }
    }

    /// Borderline is what some order within the seconds decides otherwise, and nothing else.
    #[test]
    fn borderline_is_what_an_order_decides(
        groups in proptest::collection::vec((1_i64..14, 1_usize..4), 1..7),
        connections in 1_u32..9,
        seconds in prop_oneof![Just(3_u32), Just(10), Just(30), Just(60)],
        is_window in proptest::bool::ANY,
    ) {
        let generation = if is_window { Generation::Window } else { Generation::Decaying };
        let rate = Rate { connections, seconds };
        let mut times = Vec::new();
        let mut at = 0;
        for (pause, count) in groups {
            at += pause;
            times.extend(std::iter::repeat_n(at, count));
        }
        let mut trips = orders_within_seconds(&times).into_iter();
        let mut trips: Vec<bool> =
            trips.by_ref().map(|order| naive_rate_trips(&order, rate, generation)).collect();
        trips.dedup();
        let caps = Caps { max_src_conn: None, rate: Some(rate) };
        let cuts = preview_caps(&mut seen(times.iter().copied()), caps, Some(generation), never);
        let cut = cuts.first();
        prop_assert_eq!(cut.is_some_and(|cut| cut.borderline), trips.len() > 1, "{:?} {:?}", &times, cut);
        prop_assert_eq!(cut.is_some_and(|cut| cut.cuts > 0), naive_rate_trips(&times, rate, generation));
        // Of two clocks' arithmetic neither is believed alone.
        let other = if is_window { Generation::Decaying } else { Generation::Window };
        let agree = trips.len() == 1
            && orders_within_seconds(&times).iter().all(|order| naive_rate_trips(order, rate, other) == trips[0]);
        let both = preview_caps(&mut seen(times.iter().copied()), caps, None, never);
        prop_assert_eq!(both.first().is_some_and(|cut| cut.borderline), !agree);
    }

    /// The same of the connections that are held at once: each end and each purge early or late.
    #[test]
    fn a_purge_decides_what_is_borderline(
        own in proptest::collection::vec((0_i64..140, 0_i64..40), 1..5),
        max_src_conn in 1_u32..4,
    ) {
        let mut own = own;
        own.sort_unstable();
        let opened: Vec<i64> = own.iter().map(|(at, _)| *at).collect();
        let mut answers = BTreeSet::new();
        for order in orders_within_seconds(&opened) {
            for late in 0..1_u32 << own.len() {
                let ends = order.iter().zip(&own).enumerate().map(|(place, (at, (opened, lasted)))| {
                    let purge = if late >> place & 1 == 1 { 11 } else { 0 };
                    (*at, opened + lasted + 90 + purge)
                });
                answers.insert(naive_holds_many(&ends.collect::<Vec<_>>(), max_src_conn));
            }
        }
        let mut all = SeenConnections::default();
        for (at, lasted) in &own {
            all.add_connection(source(1), START + at, START + at + lasted);
        }
        let cuts = preview_caps(&mut all, caps(Some(max_src_conn), 0), Some(Generation::Decaying), never);
        let is_borderline = cuts.first().is_some_and(|cut| cut.borderline);
        prop_assert_eq!(is_borderline, answers.len() > 1, "{:?} {:?}", own, cuts);
    }
}
