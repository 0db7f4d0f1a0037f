//! Reads a finished log the way `notifier run` would and hands over every decision. Sends nothing, remembers
//! nothing, holds at most one chunk of the file.

use std::io::Read;

use jiff::civil::Date;

use crate::domain::kms_log::line::LogLines;
use crate::domain::kms_log::wrapper::Wrapping;
use crate::domain::kms_log::{KmsEvent, Log};
use crate::domain::notifier::decide::{Decision, DecisionRules, Summary};
use crate::domain::notifier::dedup::Dedup;

const CHUNK: usize = 256 * 1024;

/// Replays a log; `each` is handed every event in the log's order and may stop it with an error. The window runs by
/// the log's own clock; `today` is the day on which it is read, as syslog leaves out the year, `not_before` makes it the first read of a log that was there already.
pub fn replay_log<E: From<std::io::Error>>(
    mut input: impl Read,
    rules: &DecisionRules,
    (today, not_before): (Date, Option<i64>),
    dedup: &mut Dedup,
    mut each: impl FnMut(&KmsEvent, Decision) -> Result<(), E>,
) -> Result<Summary, E> {
    let mut chunk = vec![0; CHUNK];
    let mut lines = LogLines::default();
    let mut log = Log::default();
    log.wrapper.read_on(today);
    let mut events = Vec::new();
    let mut summary = Summary::default();
    loop {
        let count = match input.read(&mut chunk) {
            // Once more, for a last line without its newline.
            Ok(0) if lines.pending_bytes() == 0 => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut read = |line: &[u8]| log.read_line(line, &mut events);
        if count == 0 {
            lines.end_line(read);
        } else {
            lines.feed_chunk(chunk.get(..count).unwrap_or_default(), &mut read);
        }
        for event in events.drain(..) {
            let decision = match &event {
                KmsEvent::Request(request) => {
                    let now = u64::try_from(request.at).unwrap_or_default();
                    rules.decide_request(request, not_before, dedup, now).0
                }
                _ => Decision::Count,
            };
            summary.count_event(&event, decision, rules);
            each(&event, decision)?;
        }
    }
    summary.lines = log.tally.lines + lines.giants;
    summary.unparsed = log.tally.unparsed + lines.giants;
    summary.wrapped = log.wrapper.wrapping.filter(|wrapping| *wrapping != Wrapping::Bare);
    summary.several_sources = log.wrapper.several_sources;
    summary.strange_row = log.wrapper.strange_row;
    summary.seems = log.wrapper.seems_to_be();
    summary.connections = log.tally.connections;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kms_log::connections::LOOKS;

    #[test]
    fn a_last_line_without_newline_is_a_line() {
        let rules = DecisionRules { pods: vec![], nodes: vec![] };
        let mut dedup = Dedup::new(3600, Dedup::MOST);
        let stamp = "2026-05-10 13:00:00: ";
        let log = format!(
            "{stamp}IPv4 connection accepted: 192.0.2.1:7.\n{stamp}KMS v6.0 request from A for B\n{stamp}Sending ePID (x): 1"
        );
        for (log, lines, activations) in [(log.as_str(), 3, 1), ("\0\0\0", 1, 0), ("x\n", 1, 0)] {
            let nothing = |_: &KmsEvent, _| Ok(());
            let read = replay_log::<std::io::Error>(
                log.as_bytes(),
                &rules,
                (jiff::civil::date(2026, 6, 1), None),
                &mut dedup,
                nothing,
            );
            let read = read.expect("memory can be read");
            assert_eq!((read.lines, read.activations), (lines, activations), "{log:?}");
        }
    }

    #[test]
    fn a_replay_counts_every_line_and_posts_each_client_once_a_window() {
        let log: &[u8] = include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/vlmcsd/busy.old.log"
        ));
        let rules = DecisionRules { pods: vec![], nodes: vec![] };
        let mut dedup = Dedup::new(3600, Dedup::MOST);
        let mut posts = 0;
        let summary = replay_log::<std::io::Error>(
            log,
            &rules,
            (jiff::civil::date(2026, 6, 1), None),
            &mut dedup,
            |_, decision| {
                posts += u64::from(decision == Decision::Post);
                Ok(())
            },
        )
        .expect("memory can be read");
        assert_eq!(summary.lines, 6203);
        assert_eq!(summary.activations + summary.refusals, 226);
        assert_eq!(summary.posts + summary.duplicates, 226);
        assert_eq!((summary.posts, summary.probes.external), (posts, 441));
    }

    /// Connections that an attacker holds open, silent or after a request, make no line dear: neither those of honest machines
    /// nor those that the attacker has written.
    #[test]
    fn no_line_costs_more_beside_many_connections() {
        type Lines<'a> = &'a dyn Fn(u32) -> Vec<String>;
        let accepted = |number: u32| {
            let [_, high, middle, low] = number.to_be_bytes();
            vec![format!("IPv4 connection accepted: 203.{high}.{middle}.{low}:5000.")]
        };
        let request = |machine: u32| {
            vec![
                "<<< Incoming KMS request".to_owned(),
                "Application ID: 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)".to_owned(),
                format!("Client machine ID: {machine:08x}-0000-4000-8000-000000000000"),
                format!("Workstation name: PC-{machine}"),
                "N count policy (minimum clients): 25".to_owned(),
                ">>> Sending response, ePID source = x".to_owned(),
            ]
        };
        let malformed = |_| vec!["Fatal: KMSv7.0 unsupported".to_owned()];
        let crash = |_| {
            let crash = ["Warning: Child killed/crashed by SIGSEGV".to_owned()];
            request(1).into_iter().take(4).chain(crash).collect()
        };
        let asking = |number| [accepted(number), request(number)].concat();
        let alike = |number| [accepted(number), request(1)].concat();
        let cases: [(&str, Lines<'_>, Lines<'_>); 4] = [
            ("malformed", &accepted, &malformed),
            ("crash", &accepted, &crash),
            ("asking", &asking, &asking),
            ("alike", &alike, &alike),
        ];
        for (name, held, measured) in cases {
            let read = |log: &mut Log, lines: Vec<String>| {
                let lines: Vec<String> =
                    lines.iter().map(|line| format!("2026-05-10 13:00:00: {line}")).collect();
                let mut events = Vec::new();
                let before = LOOKS.get();
                lines.iter().for_each(|line| log.read_line(line.as_bytes(), &mut events));
                LOOKS.get() - before
            };
            let cost = |open: u32| {
                let mut log = Log::default();
                read(&mut log, (0..open).flat_map(held).collect());
                read(&mut log, (open..open + 50).flat_map(measured).collect())
            };
            let (few, many) = (cost(40), cost(4_000));
            assert!(few > 0 && many < few * 8, "{name}: {few} beside 40, {many} beside 4,000");
        }
    }
}
