//! The parser against cases written by hand: those the service's owner kept from production, and forged lines.

use super::score::read;
use super::*;
use crate::domain::notifier::source::{ClientSource, classify_source};

/// The server's first line: no connection is open.
const STARTED: &str = "vlmcsd svn1113 started successfully";

/// Forged lines that a workstation name can hold (at most 64 characters), each inside an honest request.
#[test]
fn a_name_with_a_newline_makes_no_event() {
    let forged = [
        "IPv4 connection accepted: 8.8.8.8:5.",
        "IPv4 connection closed: 10.0.20.9:5.",
        "IPv4 connection accepted: 10.0.20.9:5.",
        "<<< Incoming KMS request",
        "vlmcsd x started successfully",
        "Refusing (0xC004F042)",
        ">>> Sending response",
        "KMS v6.0 request from a for b",
    ];
    for line in forged {
        for time in ["13:00:01", "23:59:59"] {
            let name = format!("Workstation name                : x\n2026-05-10 {time}: {line}");
            let (events, log) = read(&stamped(&[
                ("12:59:50", "IPv4 connection accepted: 10.0.20.9:5."),
                ("13:00:01", "IPv4 connection accepted: 192.0.2.1:7."),
                ("13:00:01", "<<< Incoming KMS request"),
                ("13:00:01", "Protocol version                : 6.0"),
                (
                    "13:00:01",
                    "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
                ),
                ("13:00:01", &name),
                ("13:00:01", "N count policy (minimum clients): 25"),
                ("13:00:01", ">>> Sending response, ePID source = x"),
                ("13:00:02", "IPv4 connection closed: 10.0.20.9:5."),
                ("13:00:03", "IPv4 connection closed: 192.0.2.1:7."),
            ]));
            let posted =
                events.iter().filter(|event| !matches!(event, KmsEvent::Anomaly { .. })).count();
            assert_eq!(posted, 2, "{line}: {events:?}");
            assert!(
                events
                    .iter()
                    .any(|event| matches!(event, KmsEvent::Probe { peer, .. } if peer.port == 5)),
                "{line}: {events:?}"
            );
            // A stamp that no other line bears out opens nothing.
            let left = usize::from(line.ends_with("8.8.8.8:5.") && time == "13:00:01");
            assert_eq!(log.open_connections(), left, "{line}");
        }
    }
}

/// A client accepted where a forged line could stand, at another time than the request's: an invented one is counted
/// and makes no other request uncertain, and a real one (the server's child died, and then the log was quiet; the clock was set)
/// is there as soon as the next line is of that time too.
#[test]
fn a_connection_from_another_time_needs_a_second_line_of_that_time() {
    let forged = |time: &str, next: &'static str| {
        let name = format!(
            "Workstation name                : x\n2026-05-10 {time}: IPv4 connection accepted: 8.8.8.8:5."
        );
        let (events, log) = read(&stamped(&[
            ("13:00:00", STARTED),
            ("13:00:00", "IPv4 connection accepted: 192.0.2.1:7."),
            ("13:00:00", "<<< Incoming KMS request"),
            (
                "13:00:00",
                "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
            ),
            ("13:00:00", &name),
            (next, "N count policy (minimum clients): 25"),
            (next, ">>> Sending response, ePID source = x"),
            (next, "IPv4 connection closed: 192.0.2.1:7."),
        ]));
        let certain = events.iter().any(|event| {
            matches!(event, KmsEvent::Request(request) if request.attribution == Attribution::Certain)
        });
        let wanted = |event: &&KmsEvent| {
            matches!(event, KmsEvent::Anomaly { kind: Anomaly::InsideRequest, .. })
        };
        let count = events.iter().filter(wanted).count();
        (certain, count, log.open_connections())
    };
    for time in ["12:59:58", "11:00:00", "13:00:11", "23:59:59"] {
        assert_eq!(forged(time, "13:00:00"), (true, 1, 0), "{time}");
    }
    // Of the request's own time it may be anybody's: believed as far as it goes, as ever.
    for time in ["12:59:59", "13:00:00", "13:00:10"] {
        assert_eq!(forged(time, "13:00:00").1, 0, "{time}");
        assert_eq!(forged(time, "13:00:00").2, 1, "{time}");
    }
    for (time, next, open) in
        [("13:05:00", "13:05:01", 1), ("13:05:00", "13:04:58", 0), ("12:00:00", "12:00:03", 1)]
    {
        assert_eq!(forged(time, next).2, open, "{time}, then {next}");
    }
}

/// A request whose name closes another's connection in a forged line, while it may be taken for that one's own.
#[test]
fn a_forged_end_takes_no_activation_away() {
    let request = |time: &'static str, name: &'static str| {
        [
            "<<< Incoming KMS request",
            "Protocol version                : 6.0",
            "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
            name,
            "N count policy (minimum clients): 25",
            ">>> Sending response, ePID source = x",
        ]
        .map(|text| (time, text))
    };
    for closes_first in [true, false] {
        let forged = "Workstation name                : x\n2026-05-10 13:00:01: IPv4 connection closed: 192.0.2.1:7.";
        let mut lines = vec![
            ("13:00:00", "IPv4 connection accepted: 192.0.2.1:7."),
            ("13:00:00", "IPv4 connection accepted: 198.51.100.66:9."),
        ];
        lines.extend(request("13:00:01", forged));
        if closes_first {
            lines.push(("13:00:01", "IPv4 connection closed: 198.51.100.66:9."));
        }
        lines.extend(request("13:00:02", "Workstation name                : VICTIM"));
        lines.push(("13:00:02", "IPv4 connection closed: 192.0.2.1:7."));
        if !closes_first {
            lines.push(("13:00:09", "IPv4 connection closed: 198.51.100.66:9."));
        }
        let (events, log) = read(&stamped(&lines));
        let victim = events.iter().find_map(|event| match event {
            KmsEvent::Request(request) if request.workstation.as_deref() == Some("VICTIM") => {
                Some(request)
            }
            _ => None,
        });
        let victim = victim.unwrap_or_else(|| panic!("no victim: {events:?}"));
        if closes_first {
            assert_eq!(victim.peer.expect("a client").to_string(), "192.0.2.1:7");
        } else {
            assert!(
                victim.peer.expect("a client").to_string() == "192.0.2.1:7"
                    || victim.attribution == Attribution::Ambiguous,
                "{victim:?}"
            );
        }
        let kinds = |wanted| {
            let is = |event: &&KmsEvent| matches!(event, KmsEvent::Anomaly { kind, .. } if *kind == wanted);
            events.iter().filter(is).count()
        };
        assert_eq!(kinds(Anomaly::InsideRequest), 1, "{events:?}");
        assert_eq!(kinds(Anomaly::ForgedClose), 1, "{events:?}");
        assert_eq!(log.open_connections(), 0);
    }
}

/// Two machines of one name: a guess that a connection speaks for the other one too does not make it certain.
#[test]
fn a_guess_replaces_no_certain_machine() {
    let (first, second) = (
        "Client machine ID               : 0000000a-0000-4000-8000-000000000000",
        "Client machine ID               : 0000000b-0000-4000-8000-000000000000",
    );
    let mut lines = vec![("13:00:00", "IPv4 connection accepted: 192.0.2.1:7.")];
    for (machine, name) in [
        (first, "Workstation name                : A"),
        (first, "Workstation name                : x"),
        (second, "Workstation name                : x"),
        (first, "Workstation name                : A"),
    ] {
        for text in [
            "<<< Incoming KMS request",
            "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
            machine,
            name,
            "N count policy (minimum clients): 25",
            ">>> Sending response, ePID source = x",
        ] {
            lines.push(("13:00:01", text));
        }
        if lines.len() < 10 {
            lines.push(("13:00:01", "IPv4 connection accepted: 192.0.2.2:8."));
        }
    }
    let (events, _) = read(&stamped(&lines));
    let last = events.iter().rev().find_map(|event| match event {
        KmsEvent::Request(request) => Some(request),
        _ => None,
    });
    let last = last.expect("a request");
    assert!(
        last.peer.expect("a client").port == 7 || last.attribution == Attribution::Ambiguous,
        "{last:?}"
    );
}

/// A whole request of a machine, a line after the other at one time.
/// Reads lines of a server whose start is in the log, and lists its requests: the client's port, or 0, and whether it is certain.
fn clients_of(lines: &[(&str, String)]) -> Vec<(u16, bool)> {
    let mut log = Log::default();
    log.begin_empty();
    let mut events = Vec::new();
    for (time, text) in lines {
        log.read_line(format!("2026-05-10 {time}: {text}").as_bytes(), &mut events);
    }
    let requests = events.iter().filter_map(|event| match event {
        KmsEvent::Request(request) => {
            let port = request.peer.map_or(0, |peer| peer.port);
            Some((port, request.attribution == Attribution::Certain))
        }
        _ => None,
    });
    requests.collect()
}

/// A client that drips bytes keeps its connection open as long as it likes, without a line: it may ask after minutes and hours. Of a
/// child that died there is no `closed` line either.
#[test]
fn silent_connections_stay_possible_until_closed() {
    let silent = |last: u8| format!("IPv4 connection accepted: 203.0.113.66:{last}.");
    let probes = |first: u32, last: u32| {
        (first..last).map(|minute| {
            let time: &str = format!("{:02}:{:02}:00", minute / 60, minute % 60).leak();
            (time, "IPv4 connection closed: 192.0.2.9:1.".to_owned())
        })
    };
    for minutes in [12, 40, 600] {
        let until: &str = format!("{:02}:{:02}:10", 1 + minutes / 60, minutes % 60).leak();
        let begin = [("01:00:00", silent(7))].into_iter().chain(probes(61, 60 + minutes));
        let begin: Vec<_> = begin.collect();
        let alone = [begin.clone(), request_of(until, 1, "A")].concat();
        assert_eq!(clients_of(&alone), [(7, false)], "after {minutes} minutes");
        let beside = ("IPv4 connection accepted: 198.51.100.5:8.").to_owned();
        let beside = [begin.clone(), vec![(until, beside)], request_of(until, 1, "A")].concat();
        assert!(clients_of(&beside).iter().all(|(_, certain)| !certain), "after {minutes} minutes");
    }
    let dead = [
        vec![
            ("01:00:00", silent(7)),
            ("01:00:00", silent(8)),
            ("01:00:20", "Warning: Child killed/crashed by SIGSEGV".to_owned()),
            ("01:00:30", silent(8).replace("accepted", "closed")),
        ],
        (1..15).map(|minute| (&*format!("01:{minute:02}:00").leak(), String::new())).collect(),
    ];
    let mut lines = dead.concat();
    for (index, line) in lines.iter_mut().enumerate().skip(4) {
        let what = if index % 2 == 0 { "accepted" } else { "closed" };
        line.1 = format!("IPv4 connection {what}: 192.0.2.9:1.");
    }
    lines.push(("01:16:00", "IPv4 connection accepted: 198.51.100.5:9.".to_owned()));
    lines.extend(request_of("01:16:00", 1, "A"));
    assert_eq!(clients_of(&lines), [(9, true)], "the dead one is not waited for");
}

/// An answered request is an activation, also where nothing says whose.
#[test]
fn answered_requests_without_a_client_count() {
    assert_eq!(clients_of(&request_of("13:00:00", 1, "A")), [(0, false)]);
    let closed = ("13:00:00", "IPv4 connection closed: 192.0.2.1:7.".to_owned());
    let twice = [request_of("12:59:59", 1, "A"), vec![closed], request_of("13:00:01", 2, "B")];
    assert_eq!(clients_of(&twice.concat()), [(0, false), (0, false)]);
}

/// A clock that is set back makes no connection new that was open before.
#[test]
fn a_clock_set_back_makes_nothing_new() {
    let accepted =
        |address: &str, port: u16| format!("IPv4 connection accepted: {address}:{port}.");
    for back in ["12:00:00", "13:29:55", "13:00:00"] {
        let known = [
            vec![("13:00:00", accepted("192.0.2.1", 1))],
            request_of("13:00:00", 1, "A"),
            vec![("13:00:01", "IPv4 connection closed: 192.0.2.1:1.".to_owned())],
            vec![("13:10:00", accepted("192.0.2.1", 2))],
            request_of("13:10:00", 1, "A"),
            vec![("13:10:01", "IPv4 connection closed: 192.0.2.1:2.".to_owned())],
            // Two wait; the clock is set back; one of them asks for a machine that was at the other's address.
            vec![
                ("13:20:00", accepted("203.0.113.9", 3)),
                ("13:30:00", accepted("192.0.2.1", 4)),
                (back, "IPv4 connection closed: 192.0.2.77:1.".to_owned()),
            ],
        ];
        let later: &str = match back {
            "13:29:55" => "13:30:00",
            _ => back,
        };
        let lines = [known.concat(), request_of(later, 1, "A")].concat();
        assert!(clients_of(&lines).last().is_some_and(|(_, certain)| !certain), "{back}");
    }
}

/// In the short form a second client may ask before the first is answered.
#[test]
fn short_requests_at_once_are_all_read() {
    let short = |name: &str| ("13:00:00", format!("KMS v6.0 request from {name} for Windows"));
    let accepted = |port: u16| ("13:00:00", format!("IPv4 connection accepted: 192.0.2.1:{port}."));
    let answer = ("13:00:00", "Sending ePID (0x1): 55041-00206-271-395932-03-1033".to_owned());
    for count in 2..=3_u16 {
        let ports = 1..=count;
        let mut lines: Vec<_> = ports.clone().map(accepted).collect();
        lines.extend(ports.clone().map(|port| short(&format!("PC-{port}"))));
        lines.extend(ports.map(|_| answer.clone()));
        assert_eq!(clients_of(&lines).len(), usize::from(count), "{lines:?}");
    }
}

fn request_of(time: &'static str, machine: u32, name: &str) -> Vec<(&'static str, String)> {
    [
        "<<< Incoming KMS request".to_owned(),
        "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)"
            .to_owned(),
        format!("Client machine ID               : {machine:08x}-0000-4000-8000-000000000000"),
        format!("Workstation name                : {name}"),
        "N count policy (minimum clients): 25".to_owned(),
        ">>> Sending response, ePID source = x".to_owned(),
    ]
    .map(|text| (time, text))
    .to_vec()
}

/// Reads a log and says whether its last request is certain: of its address, and of its connection.
fn is_last_certain(lines: &[(&str, String)]) -> (bool, bool) {
    let lines: Vec<(&str, &str)> =
        lines.iter().map(|(time, text)| (*time, text.as_str())).collect();
    let (events, _) = read(&stamped(&lines));
    let last = events.iter().rev().find_map(|event| match event {
        KmsEvent::Request(request) => Some(request),
        _ => None,
    });
    let last = last.expect("a request");
    (last.address_sure, last.attribution == Attribution::Certain)
}

/// Each of these requests may be the other connection's, which is open or not known to be closed: it was silent for long,
/// for longer than the usual time-out, while the clock was set, or it spoke for another machine a moment ago.
#[test]
fn another_connection_that_may_be_open_is_never_ruled_out() {
    let accepted = |time, peer: &str| (time, format!("IPv4 connection accepted: {peer}."));
    let two = |first, second| {
        let mut lines = vec![
            (first, STARTED.to_owned()),
            accepted(first, "192.0.2.1:7"),
            accepted(second, "192.0.2.2:8"),
        ];
        lines.extend(request_of(second, 2, "A"));
        lines
    };
    for (first, second) in [
        ("13:00:10", "13:00:15"),
        ("13:00:10", "13:00:39"),
        ("13:00:10", "13:10:10"),
        ("13:00:10", "14:00:12"),
        ("13:00:10", "11:59:50"),
    ] {
        assert_eq!(is_last_certain(&two(first, second)), (false, false), "{first}, {second}");
        // The same once the other one is closed.
        let mut lines = two(first, second);
        lines.insert(2, (first, "IPv4 connection closed: 192.0.2.1:7.".to_owned()));
        assert_eq!(is_last_certain(&lines), (true, true), "{first}, {second}");
    }
    let mut changing = vec![accepted("13:00:10", "192.0.2.1:7")];
    changing.extend(request_of("13:00:10", 1, "A"));
    changing.push(accepted("13:00:12", "192.0.2.2:8"));
    changing.extend(request_of("13:00:12", 2, "B"));
    assert_eq!(is_last_certain(&changing), (false, false));
}

/// A log that begins in the middle: a connection that it does not name may be open, until the longest time-out is over or
/// the server starts.
#[test]
fn a_log_that_begins_in_the_middle_is_certain_of_nothing_at_first() {
    let accepted = |time| (time, "IPv4 connection accepted: 192.0.2.2:8.".to_owned());
    let mut lines = vec![accepted("13:00:00")];
    lines.extend(request_of("13:00:00", 2, "A"));
    assert_eq!(is_last_certain(&lines), (false, false));
    lines.insert(0, ("13:00:00", STARTED.to_owned()));
    assert_eq!(is_last_certain(&lines), (true, true));
    let mut later: Vec<_> = (0..=11_u32)
        .flat_map(|minute| {
            let time: &str = Box::leak(format!("13:{minute:02}:00").into_boxed_str());
            ["accepted", "closed"]
                .map(|word| (time, format!("IPv4 connection {word}: 192.0.2.9:9.")))
        })
        .collect();
    later.push(accepted("13:11:01"));
    later.extend(request_of("13:11:01", 2, "A"));
    assert_eq!(is_last_certain(&later), (true, true));
    // One is closed that the log does not know: there may be more of them, also where none was before.
    for place in [1, 23] {
        let mut unknown = later.clone();
        unknown
            .insert(place + 1, (later[place].0, "IPv4 connection closed: 192.0.2.7:7.".to_owned()));
        assert_eq!(is_last_certain(&unknown), (place == 1, place == 1), "{place}");
    }
}

/// One of a crowd behind one address is there whenever a machine is seen, wherever that is: no second witness, and no machine's
/// own connection when it has just come.
#[test]
fn a_crowd_behind_one_address_settles_nothing() {
    let line = |time, word: &str, peer: &str| (time, format!("IPv4 connection {word}: {peer}."));
    for crowd in [true, false] {
        let mut lines = vec![("13:00:00", STARTED.to_owned())];
        // Seen beside one of the crowd at one address, then at another.
        for (begin, end, own) in
            [("13:00:10", "13:00:18", "192.0.2.1:1"), ("13:00:30", "13:00:38", "192.0.2.2:2")]
        {
            let of_crowd = format!("198.18.0.1:{}", &begin[6..]);
            lines.extend([line(begin, "accepted", &of_crowd), line(begin, "accepted", own)]);
            lines.extend(request_of(begin, 1, "A"));
            lines.extend([line(end, "closed", own), line(end, "closed", &of_crowd)]);
        }
        for (begin, end) in
            [("13:00:40", "13:00:48"), ("13:00:50", "13:00:58"), ("13:01:00", "13:01:03")]
        {
            let of_crowd =
                format!("198.18.0.1:{}", 100 + begin[6..].parse::<u16>().expect("a second"));
            lines.extend(
                [line(begin, "accepted", &of_crowd), line(end, "closed", &of_crowd)]
                    .into_iter()
                    .filter(|_| crowd),
            );
        }
        lines.push(line("13:01:10", "accepted", "192.0.2.2:3"));
        lines.push(line("13:01:15", "accepted", "198.18.0.1:4"));
        lines.extend(request_of("13:01:15", 1, "A"));
        assert_eq!(is_last_certain(&lines), (!crowd, !crowd));
        let lines: Vec<(&str, &str)> =
            lines.iter().map(|(time, text)| (*time, text.as_str())).collect();
        // What was learned of the crowd outlives the process.
        let (mut first, mut events) = (Log::default(), Vec::new());
        let bytes = stamped(&lines);
        let place = memchr::memmem::find(&bytes, b"13:01:10").expect("a line") - 11;
        line::LogLines::default()
            .feed_chunk(&bytes[..place], |line| first.read_line(line, &mut events));
        let saved = serde_json::to_string(&first.save_log()).expect("a checkpoint");
        let mut second = Log::restore_log(serde_json::from_str(&saved).expect("a checkpoint"));
        events.clear();
        line::LogLines::default()
            .feed_chunk(&bytes[place..], |line| second.read_line(line, &mut events));
        let certain = |event: &KmsEvent| matches!(event, KmsEvent::Request(request) if request.attribution == Attribution::Certain);
        assert_eq!(events.iter().any(certain), !crowd);
    }
}

/// A server that forks and writes to syslog names the process of each connection with every line; threads and what passes lines on
/// share one.
#[test]
fn a_process_of_its_own_tells_a_connection() {
    for (form, forks) in [
        ("2026-05-10T{time}+00:00 kms vlmcsd[{child}]: {text}", true),
        ("<30>1 2026-05-10T{time}Z kms vlmcsd {child} - - {text}", true),
        ("{\"MESSAGE\":\"2026-05-10 {time}: {text}\",\"_PID\":\"{child}\"}", true),
        ("2026-05-10T{time}+00:00 kms vlmcsd[7]: {text}", false),
        ("2026-05-10T{time}+00:00 node docker[9]: 2026-05-10 {time}: {text}", false),
    ] {
        let mut bytes = String::new();
        let mut write = |time: &str, child: u32, text: &str| {
            let line = form.replace("{time}", time).replace("{child}", &child.to_string());
            bytes.push_str(&line.replace("{text}", text));
            bytes.push('\n');
        };
        write("13:00:00", 6, STARTED);
        for (child, peer) in [(10, "192.0.2.1:1"), (11, "192.0.2.2:2"), (12, "192.0.2.3:3")] {
            write("13:00:01", child, &format!("IPv4 connection accepted: {peer}."));
        }
        // Lines of two requests, one after the other in turn; the first accepted is the last to ask.
        let turns = request_of("13:00:05", 2, "A").into_iter().zip(request_of("13:00:05", 1, "B"));
        for ((time, second), (_, first)) in turns {
            write(time, 11, &second);
            write(time, 10, &first);
        }
        let (events, _) = read(bytes.as_bytes());
        let mut found: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                KmsEvent::Request(request) => {
                    let certain = request.attribution == Attribution::Certain;
                    Some((
                        request.peer.expect("a client").port,
                        request.workstation.clone().unwrap_or_default(),
                        certain,
                    ))
                }
                _ => None,
            })
            .collect();
        found.sort();
        if forks {
            let wanted = [(1, "B".to_owned(), true), (2, "A".to_owned(), true)];
            assert_eq!(found, wanted, "{form}");
        } else {
            assert!(
                found.len() == 2 && found.iter().all(|(.., certain)| !certain),
                "{form}: {found:?}"
            );
        }
    }
}

/// A machine that is seen at one address again and again asks from there, whichever other is silent; elsewhere it is in doubt.
#[test]
fn a_settled_machine_is_certain_beside_silent_connections() {
    let mut lines = vec![("13:00:00", STARTED.to_owned())];
    for (time, port) in [("13:00:00", 1), ("13:01:00", 2)] {
        lines.push((time, format!("IPv4 connection accepted: 192.0.2.1:{port}.")));
        lines.extend(request_of(time, 1, "A"));
        lines.push((time, format!("IPv4 connection closed: 192.0.2.1:{port}.")));
    }
    lines.push(("13:02:00", "IPv4 connection accepted: 203.0.113.9:9.".to_owned()));
    let mut settled = lines.clone();
    settled.push(("13:02:20", "IPv4 connection accepted: 192.0.2.1:3.".to_owned()));
    settled.extend(request_of("13:02:20", 1, "A"));
    assert_eq!(is_last_certain(&settled), (true, true));
    for other in
        ["IPv4 connection accepted: 192.0.2.1:4.", "IPv4 connection accepted: 203.0.113.8:4."]
    {
        let mut rivalled = settled.clone();
        rivalled.insert(rivalled.len() - 7, ("13:02:20", other.to_owned()));
        assert!(!is_last_certain(&rivalled).1, "{other}");
    }
    // Nor where that one is from where another machine always is: both may be behind it now.
    let mut beside = vec![("13:00:00", STARTED.to_owned())];
    for time in ["13:00:00", "13:01:00"] {
        for machine in [1, 2] {
            let port = &time[3..5];
            let peer = format!("192.0.2.{machine}:1{port}");
            beside.push((time, format!("IPv4 connection accepted: {peer}.")));
            beside.extend(request_of(time, machine, &format!("PC-{machine}")));
            beside.push((time, format!("IPv4 connection closed: {peer}.")));
        }
    }
    beside.push(("13:02:00", "IPv4 connection accepted: 192.0.2.1:9.".to_owned()));
    beside.push(("13:02:00", "IPv4 connection accepted: 192.0.2.2:9.".to_owned()));
    beside.extend(request_of("13:02:00", 1, "PC-1"));
    assert_eq!(is_last_certain(&beside), (false, false));
    let mut moved = lines;
    moved.push(("13:02:20", "IPv4 connection accepted: 192.0.2.7:3.".to_owned()));
    moved.extend(request_of("13:02:20", 1, "A"));
    assert_eq!(is_last_certain(&moved), (false, false));
}

/// Any number of connections from one address, as of an office behind one: the address is sure as long as no other is open.
#[test]
fn one_address_alone_is_sure_however_crowded() {
    for (count, other) in [(2, false), (24, false), (26, false), (300, false), (26, true)] {
        let accepted = |peer: String| ("13:00:10", format!("IPv4 connection accepted: {peer}."));
        let mut lines = vec![("13:00:00", STARTED.to_owned())];
        lines.extend((0..count).map(|port| accepted(format!("192.0.2.1:{}", 6_000 + port))));
        lines.extend(other.then(|| accepted("192.0.2.2:8".to_owned())));
        lines.extend(request_of("13:00:10", 1, "A"));
        assert_eq!(is_last_certain(&lines), (!other, false), "{count}, {other}");
    }
}

/// Where one connection alone is open, a child that died was its own.
#[test]
fn a_crash_ends_the_only_connection() {
    let accepted = |time, peer: &str| (time, format!("IPv4 connection accepted: {peer}."));
    for (started, beside, certain) in
        [(true, false, true), (true, true, false), (false, false, false)]
    {
        let mut lines = vec![("13:00:00", STARTED.to_owned())];
        lines.truncate(usize::from(started));
        lines.push(accepted("13:00:05", "203.0.113.9:1"));
        lines.extend(beside.then(|| accepted("13:00:05", "203.0.113.8:1")));
        lines.push(("13:00:06", "Warning: Child killed/crashed by SIGSEGV".to_owned()));
        lines.push(accepted("13:00:30", "192.0.2.1:7"));
        lines.extend(request_of("13:00:30", 1, "A"));
        assert_eq!(is_last_certain(&lines), (certain, certain), "{started}, {beside}");
    }
}

/// Lines of two servers in one log: each has connections of its own, so nothing is certain from then on.
#[test]
fn a_log_of_two_servers_is_certain_of_nothing() {
    let forms: [fn(&str, &str) -> String; 2] = [
        |server, line| format!("[pod/kms-{server}/windows-kms] {line}"),
        |server, line| format!("kms-{server}  | {line}"),
    ];
    for form in forms {
        for (second, between, certain) in [
            ("a", "IPv4 connection accepted: 192.0.2.3:9.", true),
            ("b", "IPv4 connection accepted: 192.0.2.3:9.", false),
            ("b", "what another program of the same project prints", true),
        ] {
            let mut lines = vec![
                ("a", "13:00:00", STARTED.to_owned()),
                (second, "13:00:01", between.to_owned()),
                (second, "13:00:02", between.replace("accepted", "closed")),
                ("a", "13:00:05", "IPv4 connection accepted: 192.0.2.1:7.".to_owned()),
            ];
            let request = request_of("13:00:05", 1, "A");
            lines.extend(request.into_iter().map(|(time, text)| ("a", time, text)));
            let wrapped = |(server, time, text): &(&str, &str, String)| {
                form(server, &format!("2026-05-10 {time}: {text}")) + "\n"
            };
            let (events, log) = read(lines.iter().map(wrapped).collect::<String>().as_bytes());
            let found = events.iter().find_map(|event| match event {
                KmsEvent::Request(request) => Some(request.attribution == Attribution::Certain),
                _ => None,
            });
            assert_eq!(found, Some(certain), "{lines:?}");
            assert_eq!(log.wrapper.several_sources, !certain, "{lines:?}");
        }
    }
}

/// Two connections from a machine's only address, one of them late because a packet was lost: the address is sure, the port is not.
#[test]
fn two_connections_of_one_address_stay_uncertain() {
    let request = |time: &'static str| {
        [
            "<<< Incoming KMS request",
            "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
            "Client machine ID               : 0000000a-0000-4000-8000-000000000000",
            "N count policy (minimum clients): 25",
            ">>> Sending response, ePID source = x",
        ]
        .map(|text| (time, text))
    };
    let mut lines =
        vec![("13:00:00", STARTED), ("13:00:00", "IPv4 connection accepted: 192.0.2.1:7.")];
    lines.extend(request("13:00:00"));
    lines.extend([
        ("13:00:01", "IPv4 connection closed: 192.0.2.1:7."),
        ("13:05:00", "IPv4 connection accepted: 192.0.2.1:8."),
        ("13:05:02", "IPv4 connection accepted: 192.0.2.1:9."),
    ]);
    lines.extend(request("13:05:02"));
    let (events, _) = read(&stamped(&lines));
    let last = events.iter().rev().find_map(|event| match event {
        KmsEvent::Request(request) => Some(request),
        _ => None,
    });
    let last = last.expect("a request");
    assert_eq!(last.attribution, Attribution::Ambiguous, "{last:?}");
    assert!(last.address_sure, "{last:?}");
}

/// A probe that a request was taken for closes in the middle of it: the request goes to a connection that could have
/// sent it and keeps its first lines, whichever silent one is open besides.
#[test]
fn a_request_outlives_a_wrong_guess_whole() {
    let machine = "Client machine ID               : 0000000a-0000-4000-8000-000000000000";
    let opening = [
        "<<< Incoming KMS request",
        "Protocol version                : 6.0",
        "Licensing status                : 2 (OOB grace)",
    ];
    let ending = [
        "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
        machine,
        "Workstation name                : PC",
        "N count policy (minimum clients): 25",
        ">>> Sending response, ePID source = x",
    ];
    let mut lines = vec![
        ("13:00:00", "IPv4 connection accepted: 203.0.113.1:5."),
        ("13:00:06", "IPv4 connection accepted: 192.0.2.1:7."),
    ];
    lines.extend(opening.into_iter().chain(ending).map(|text| ("13:00:06", text)));
    lines.push(("13:00:06", "IPv4 connection accepted: 203.0.113.2:6."));
    lines.extend(opening.map(|text| ("13:00:06", text)));
    lines.push(("13:00:06", "IPv4 connection closed: 203.0.113.2:6."));
    lines.extend(ending.map(|text| ("13:00:06", text)));
    let (events, _) = read(&stamped(&lines));
    let last = events.iter().rev().find_map(|event| match event {
        KmsEvent::Request(request) => Some(request),
        _ => None,
    });
    let last = last.expect("a request");
    assert_eq!(
        (last.peer.expect("a client").port, last.status),
        (7, Some(RequestStatus::OobGrace))
    );
}

/// A client whose name closes its own connection in a forged line: no server closes it before the request's last line.
#[test]
fn a_client_cannot_hide_its_own_activation() {
    let name = "Workstation name                : x\n2026-05-10 13:00:00: IPv4 connection closed: 192.0.2.1:7.";
    let texts = [
        STARTED,
        "IPv4 connection accepted: 192.0.2.1:7.",
        "<<< Incoming KMS request",
        "Protocol version                : 6.0",
        "Client is a virtual machine     : No",
        "Licensing status                : 2 (OOB grace)",
        "Remaining time (0 = forever)    : 43200 minutes",
        "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
        "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (W)",
        "Key Management Service ID       : 58e2134f-8e11-4d17-9cb2-91069c151148 (W)",
        "Client machine ID               : 0000000a-0000-4000-8000-000000000000",
        "Previous client machine ID      : 00000000-0000-0000-0000-000000000000",
        "Client request timestamp (UTC)  : 2026-05-10 13:00:00",
        name,
        "N count policy (minimum clients): 25",
        ">>> Sending response, ePID source = x",
        "IPv4 connection closed: 192.0.2.1:7.",
    ];
    let (events, log) = read(&stamped(&texts.map(|text| ("13:00:00", text))));
    let requests: Vec<&KmsRequest> = events
        .iter()
        .filter_map(|event| match event {
            KmsEvent::Request(request) => Some(&**request),
            _ => None,
        })
        .collect();
    assert_eq!(requests.len(), 1, "{events:?}");
    assert_eq!(requests[0].outcome, RequestOutcome::Answered);
    assert_eq!(requests[0].attribution, Attribution::Certain);
    assert_eq!(log.open_connections(), 0);
}

#[test]
fn connections_that_never_close_are_bounded() {
    let mut lines: Vec<(String, String)> = (1..=60_000)
        .map(|port| ("13:00:00".to_owned(), format!("IPv4 connection accepted: 192.0.2.1:{port}.")))
        .collect();
    for minute in 1..=11 {
        lines.push((
            format!("13:{minute:02}:00"),
            "IPv4 connection closed: 192.0.2.9:1.".to_owned(),
        ));
    }
    lines.push(("13:12:00".to_owned(), "IPv4 connection accepted: 192.0.2.2:1.".to_owned()));
    let lines: Vec<(&str, &str)> =
        lines.iter().map(|(time, text)| (time.as_str(), text.as_str())).collect();
    let (events, log) = read(&stamped(&lines));
    let count = |wanted| {
        events
            .iter()
            .filter(|event| matches!(event, KmsEvent::Anomaly { kind, .. } if *kind == wanted))
            .count()
    };
    assert_eq!(count(Anomaly::Evicted), 60_001 - connections::MOST);
    assert_eq!(count(Anomaly::Expired), connections::MOST);
    assert_eq!(log.open_connections(), connections::MOST);
}

#[test]
fn a_restart_of_the_server_ends_every_connection() {
    let (events, log) = read(&stamped(&[
        ("13:00:00", "IPv4 connection accepted: 192.0.2.1:7."),
        ("13:00:00", "vlmcsd svn1113, built 2020-01-01 00:00:00 UTC started successfully"),
    ]));
    assert_eq!((events.len(), log.open_connections()), (0, 0));
}

#[test]
fn the_short_form_is_read_as_well() {
    let (events, _) = read(&stamped(&[
        ("13:00:00", "IPv4 connection accepted: 192.0.2.1:7."),
        ("13:00:00", "KMS v6.0 request from DESKTOP-1 for Windows 10 Professional"),
        ("13:00:00", "Sending ePID (randomized at program start): 03612-00206"),
        ("13:00:30", "IPv4 connection closed: 192.0.2.1:7."),
    ]));
    let [KmsEvent::Request(request)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(request.product.as_deref(), Some("Windows 10 Professional"));
    assert_eq!(
        (request.workstation.as_deref(), request.outcome),
        (Some("DESKTOP-1"), RequestOutcome::Answered)
    );
}

#[test]
fn a_log_goes_on_from_its_checkpoint_at_any_line() {
    let log: &[u8] =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vlmcsd/flood.old.log"));
    let (whole, _) = read(log);
    let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    for cut in 0..lines.len() {
        let (mut first, mut events) = (Log::default(), Vec::new());
        lines[..cut].iter().for_each(|line| first.read_line(line, &mut events));
        let saved = serde_json::to_string(&first.save_log()).expect("a checkpoint");
        let mut second = Log::restore_log(serde_json::from_str(&saved).expect("a checkpoint"));
        lines[cut..].iter().for_each(|line| second.read_line(line, &mut events));
        let requests = |events: &[KmsEvent]| {
            events.iter().filter(|event| !matches!(event, KmsEvent::Anomaly { .. })).count()
        };
        assert_eq!(requests(&events), requests(&whole), "cut at {cut}");
    }
}

proptest::proptest! {
    #[test]
    fn no_order_of_lines_panics_or_grows(order in proptest::collection::vec(0_usize..6203, 0..400)) {
        let log: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vlmcsd/hostile.old.log"));
        let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
        let (mut reader, mut events) = (Log::default(), Vec::new());
        for index in order {
            reader.read_line(lines[index % lines.len()], &mut events);
        }
        proptest::prop_assert!(reader.open_connections() <= 400);
    }
}

fn stamped(lines: &[(&str, &str)]) -> Vec<u8> {
    lines
        .iter()
        .map(|(time, text)| format!("2026-05-10 {time}: {text}\n"))
        .collect::<String>()
        .into_bytes()
}

fn activation_block(time: &'static str) -> Vec<(&'static str, &'static str)> {
    [
        "IPv4 connection accepted: 10.0.20.103:50001.",
        "<<< Incoming KMS request",
        "Application ID    : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
        "Activation ID (Product) : 2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 11 Pro)",
        "Licensing status  : 2 (Notification)",
        "Workstation name  : DESKTOP-MO2323B",
        "IPv4 connection closed: 10.0.20.103:50001.",
    ]
    .map(|text| (time, text))
    .to_vec()
}

const PROBE: [(&str, &str); 2] = [
    ("13:00:00", "IPv4 connection accepted: 10.10.107.224:54321."),
    ("13:00:00", "IPv4 connection closed: 10.10.107.224:54321."),
];

fn assert_desktop(event: &KmsEvent) {
    let KmsEvent::Request(request) = event else { panic!("{event:?}") };
    assert_eq!(request.peer.expect("a client").to_string(), "10.0.20.103:50001");
    assert_eq!(request.application.as_deref(), Some("Windows"));
    assert_eq!(request.product.as_deref(), Some("Windows 11 Pro"));
    assert_eq!(request.workstation.as_deref(), Some("DESKTOP-MO2323B"));
    assert_eq!(request.status, Some(RequestStatus::Notification));
}

#[test]
fn process_line_accepted_and_closed_is_one_probe_and_leaves_no_state() {
    let (events, log) = read(&stamped(&PROBE));
    assert!(matches!(events.as_slice(), [KmsEvent::Probe { .. }]), "{events:?}");
    assert_eq!(log.open_connections(), 0);
}

#[test]
fn process_line_an_activation_block_with_short_padding_is_one_activation_and_leaves_no_state() {
    let (events, log) = read(&stamped(&activation_block("13:00:05")));
    assert_eq!(events.len(), 1, "{events:?}");
    assert_desktop(&events[0]);
    assert_eq!(log.open_connections(), 0);
}

#[test]
fn process_line_the_same_block_without_its_first_line_is_read_too() {
    let lines: Vec<_> = activation_block("13:00:05")
        .into_iter()
        .filter(|(_, text)| !text.starts_with('<'))
        .collect();
    let (events, log) = read(&stamped(&lines));
    assert_eq!(events.len(), 1, "{events:?}");
    assert_desktop(&events[0]);
    assert_eq!(log.open_connections(), 0);
}

#[test]
fn process_line_a_probe_then_an_activation_are_told_apart() {
    let mut lines = PROBE.to_vec();
    lines.extend(activation_block("13:00:05"));
    let (events, _) = read(&stamped(&lines));
    assert!(
        matches!(events.first(), Some(KmsEvent::Probe { .. })) && events.len() == 2,
        "{events:?}"
    );
    assert_desktop(&events[1]);
}

#[test]
fn process_line_kubelet_probes_do_not_wipe_an_activation_that_stays_open() {
    let (events, log) = read(&stamped(&[
        ("13:12:17", "IPv4 connection accepted: 192.168.1.230:53140."),
        ("13:12:17", "<<< Incoming KMS request"),
        ("13:12:17", "Licensing status                : 1 (Licensed)"),
        (
            "13:12:17",
            "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)",
        ),
        (
            "13:12:17",
            "Activation ID (Product)         : 2de67392-b7a7-462a-b1ca-108dd189f588 (Windows 10 Professional)",
        ),
        ("13:12:17", "Workstation name                : WIN10Pro-DS32.viktorbarzin.lan"),
        ("13:12:19", "IPv4 connection accepted: 10.0.20.102:41000."),
        ("13:12:19", "IPv4 connection closed: 10.0.20.102:41000."),
        ("13:12:24", "IPv4 connection accepted: 10.0.20.102:41002."),
        ("13:12:24", "IPv4 connection closed: 10.0.20.102:41002."),
        ("13:12:48", "IPv4 connection closed: 192.168.1.230:53140."),
    ]));
    let [KmsEvent::Probe { .. }, KmsEvent::Probe { .. }, KmsEvent::Request(request)] =
        events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(request.peer.expect("a client").to_string(), "192.168.1.230:53140");
    assert_eq!(request.product.as_deref(), Some("Windows 10 Professional"));
    assert_eq!(request.workstation.as_deref(), Some("WIN10Pro-DS32.viktorbarzin.lan"));
    assert_eq!((request.status, log.open_connections()), (Some(RequestStatus::Licensed), 0));
    let class = classify_source(
        request.peer.expect("a client").address,
        &[],
        &["10.0.20.0/24".parse().expect("a network")],
    );
    assert_eq!(class, ClientSource::External);
}

#[test]
fn process_line_a_close_whose_open_was_never_seen_is_no_event() {
    let (events, _) = read(&stamped(&[("13:00:00", "IPv4 connection closed: 10.0.20.102:41000.")]));
    assert!(
        matches!(events.as_slice(), [KmsEvent::Anomaly { kind: Anomaly::ClosedUnopened, .. }]),
        "{events:?}"
    );
}
