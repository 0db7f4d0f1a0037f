//! What the answers of pfctl mean: the exit code alone says little.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::race::Race;
use super::*;
use crate::domain::exposure::tests::walk::run_cases;
use crate::domain::exposure::{self, AliasTable, Loaded, State as Exposed, fixtures};
use crate::domain::shell_word::ShellWord;
use crate::error::FailureKind;
use crate::ssh::shell::FramedStream;

const RULES: &str = include_str!("../../../tests/fixtures/pfsense-2.7.2/vvPsr.txt");
const TRANSLATION: &str = include_str!("../../../tests/fixtures/pfsense-2.7.2/vvPsn.txt");
const BUSY: &str = "pfctl: DIOCGETRULE: Device busy\n";

fn asked(questions: &[Question]) -> AskedQuestions {
    AskedQuestions {
        service: fixtures::service(),
        paths: Paths {
            crontab: ShellWord::fixed("/etc/crontab"),
            pfctl: ShellWord::fixed("/sbin/pfctl"),
            pfctl_sudo: None,
            php: ShellWord::fixed("/usr/local/bin/php"),
        },
        questions: in_order(questions),
        agent_nonce: Nonce::new([7; 16]),
    }
}

fn reply(question: &Question, stdout: &str, stderr: &str, status: i32) -> Gathered {
    let mut reply = Gathered::new(question, &fixtures::service());
    reply.take_bytes(FramedStream::Stdout, stdout.as_bytes(), usize::MAX);
    reply.take_bytes(FramedStream::Stderr, stderr.as_bytes(), usize::MAX);
    reply.status = Some(status);
    reply
}

/// Reads one answer to each question; the clock's is added.
fn answer_or_garbled(answers: &[(Question, &str, &str, i32)]) -> Reading {
    let questions: Vec<Question> = answers.iter().map(|answer| answer.0.clone()).collect();
    let asked = asked(&questions);
    let replies = asked.questions.iter().map(|question| {
        let given = answers.iter().find(|answer| answer.0 == *question);
        given.map_or_else(
            || reply(question, "1764300000 +0000\n", "", 0),
            |(question, stdout, stderr, status)| reply(question, stdout, stderr, *status),
        )
    });
    asked.reading(replies.collect()).unwrap()
}

fn rules(stdout: &str, stderr: &str, status: i32) -> Answer<Vec<Rule>> {
    answer_or_garbled(&[(Question::Rules, stdout, stderr, status)]).rules
}

#[test]
fn a_busy_device_is_not_read() {
    for stderr in [
        BUSY,
        "pfctl: DIOCGETRULENV: Device busy\n",
        "No ALTQ support in kernel\npfctl: DIOCGETADDR: Device busy\n",
    ] {
        for status in [0, 1] {
            for stdout in ["", RULES] {
                let fact = rules(stdout, stderr, status);
                assert!(matches!(fact, Err(FactError::Busy { .. })), "{stderr}");
            }
        }
    }
}

/// What stands before pfctl fails in other words than pfctl does.
#[test]
fn sudo_that_fails_is_named() {
    let meant = |stderr: &str, status| {
        let mut asked = asked(&[Question::Rules]);
        asked.paths.pfctl_sudo = Some(ShellWord::fixed("/usr/local/bin/sudo"));
        let clock = reply(&Question::Clock, "1764300000 +0000\n", "", 0);
        let rules = reply(&Question::Rules, "", stderr, status);
        let reading = asked.reading(vec![clock, rules]).unwrap();
        reading.rules.err().map(|error| error.to_string())
    };
    let sudo = "/usr/local/bin/sudo did not run /sbin/pfctl: ";
    for (stderr, status, message) in [
        ("sudo: a password is required\n", 1, "a password is required"),
        ("sudo: /sbin/pfctl: command not found\n", 1, "/sbin/pfctl: command not found"),
        ("kmsro is not in the sudoers file.\n", 1, "kmsro is not in the sudoers file."),
        ("sh: /usr/local/bin/sudo: not found\n", 127, "it is not on the firewall"),
        ("sh: /usr/local/bin/sudo: Permission denied\n", 126, "it may not be run"),
    ] {
        assert_eq!(meant(stderr, status), Some(format!("{sudo}{message}")), "{stderr}");
    }
    let resolves = "sudo: unable to resolve host fw\n";
    assert_eq!(meant(resolves, 0), None);
    for (stderr, status) in [
        (format!("{resolves}pfctl: /dev/pf: Permission denied\n"), 1),
        ("No ALTQ support in kernel\npfctl: DIOCGETRULE: Device busy\n".to_owned(), 1),
        (String::new(), 1),
    ] {
        let said = meant(&stderr, status).unwrap();
        assert!(!said.contains("sudo"), "{stderr}: {said}");
    }
}

#[test]
fn the_other_complaints_keep_their_meaning() {
    for status in [0, 1, 255] {
        for words in ["Permission denied", "Operation not permitted"] {
            let fact = rules("", &format!("pfctl: /dev/pf: {words}\n"), status);
            assert!(matches!(fact, Err(FactError::Denied)), "{words} {status}");
        }
        let fact = rules("", "pfctl: Table does not exist.\n", status);
        assert!(matches!(fact, Err(FactError::NoTable { .. })), "{status}");
    }
    let fact = rules(RULES, "pfctl: DIOCGETRULE: Bad address\n", 0);
    let error = fact.unwrap_err().to_string();
    assert!(error.contains("DIOCGETRULE: Bad address"), "{error}");
    for harmless in ["No ALTQ support in kernel\n", "1/2 addresses match.\n", ""] {
        assert!(rules(RULES, harmless, 0).is_ok(), "{harmless}");
    }
}

#[test]
fn a_status_without_counters_is_unknown() {
    let sample = include_str!("../../../tests/fixtures/cases/pfctl-si-unprivileged.15.txt");
    for status in [
        sample,
        "Status: Enabled for 1 days 00:00:00           Debug: Urgent\n",
        "Status: Disabled                              Debug: None\n\nCounters\n",
        "\n",
        "",
    ] {
        let reading = answer_or_garbled(&[
            (Question::Info, status, "", 0),
            (Question::Rules, "", "", 0),
            (Question::Translation, "", "", 0),
            (Question::Table, "", "", 0),
        ]);
        for error in [
            reading.info.as_ref().err(),
            reading.rules.as_ref().err(),
            reading.translation.as_ref().err(),
            reading.table.as_ref().err(),
        ] {
            let failure = Failure::from(error.expect("unknown"));
            assert_eq!(failure.kind, FailureKind::Unreachable, "{status}");
            assert!(failure.hints.concat().contains("root"), "{failure:?}");
        }
    }
    for whole in [
        include_str!("../../../tests/fixtures/pfctl/si-v.14.txt"),
        include_str!("../../../tests/fixtures/pfctl/si-disabled.12.txt"),
    ] {
        let reading =
            answer_or_garbled(&[(Question::Info, whole, "", 0), (Question::Table, "", "", 0)]);
        assert!(reading.info.is_ok() && reading.table.is_ok());
    }
}

#[test]
fn what_exceeds_a_bound_is_unknown() {
    let reading = answer_or_garbled(&[
        (Question::Rules, &"pass\n".repeat(10_001), "", 0),
        (Question::Translation, &"nat all\n".repeat(10_000), "", 0),
        (Question::Table, &"   ::\n".repeat(400_001), "", 0),
    ]);
    assert!(matches!(reading.rules, Err(FactError::TooMany { .. })));
    assert_eq!(reading.translation.unwrap().len(), 10_000);
    assert!(matches!(reading.table, Err(FactError::TooMany { .. })));
    let wide = "x".repeat(9 << 20);
    assert!(matches!(rules(&wide, "", 0), Err(FactError::TooLarge { mebibytes: 8, .. })));
    let state = "all tcp 10.0.20.202:1688 <- 192.0.2.1:50000       ESTABLISHED:ESTABLISHED\n";
    let reading = answer_or_garbled(&[(Question::States(None), &state.repeat(100_001), "", 0)]);
    assert!(matches!(reading.states, Err(FactError::TooMany { .. })));
}

#[test]
fn what_a_login_says_is_no_data() {
    let reading = answer_or_garbled(&[
        (Question::Clock, "Starting 1 2 CRON...\n1764300000 +0000\ndone.\n", "", 0),
        (Question::Client, "10.9.9.9 is up\n10.0.10.5 51022 10.0.20.1 22\n", "", 0),
        (Question::RequestLimit, "done.\n65535\n", "", 0),
    ]);
    assert_eq!(reading.clock.now.as_second(), 1_764_300_000);
    assert_eq!(reading.client, "10.0.10.5".parse().ok());
    assert_eq!(reading.request_limit.unwrap(), 65_535);
}

#[test]
fn jobs_of_the_cron_folder_are_seen() {
    let job = "0 * * * * root /sbin/pfctl -t virusprot -T expire 3600\n";
    let crontab = "1 * * * * root /usr/bin/nice -n20 adjkerntz -a\n";
    let of = |folder: &str, stderr: &str, status: i32| {
        let asked = asked(&[Question::Crontab]);
        let texts = [("1 +0000\n", "", 0), (crontab, "", 0), (folder, stderr, status)];
        let replies = asked.questions.iter().zip(texts);
        let replies = replies
            .map(|(question, (stdout, stderr, status))| reply(question, stdout, stderr, status));
        asked.reading(replies.collect()).unwrap().crontab
    };
    assert_eq!(of(job, "", 0).unwrap().len(), 2);
    let missing = "find: /etc/cron.d: No such file or directory\n";
    assert_eq!(of("", missing, 1).unwrap().len(), 1);
    assert!(of("", "find: /etc/cron.d: Permission denied\n", 1).is_err());
}

#[test]
fn the_rules_of_the_anchor_stand_behind_it() {
    let counted = |number: usize, rule: &str| {
        format!("@{number} {rule}\n  [ Evaluations: 1  Packets: 1  Bytes: 1  States: 0 ]\n")
    };
    let nat = format!("{TRANSLATION}{}", counted(5, "rdr-anchor \"miniupnpd\" all"));
    let rdr = "rdr on vtnet0 inet proto tcp from any to any port = 31688 -> 10.0.20.202 port 1688";
    let rdr = [counted(0, rdr), counted(1, rdr)].concat();
    let (_, gap) = rdr.split_once("\n@").unwrap();
    let gap = format!("@{gap}");
    let (cut, _) = rdr.rsplit_once("  [").unwrap();
    let unread = rdr.replacen("rdr on", "frob", 1);
    for (stdout, stderr, inside) in [
        (rdr.as_str(), "", Some(2)),
        (&unread, "", Some(2)),
        (&counted(0, "frob all"), "", Some(1)),
        ("frob\n", "", None),
        ("", "", Some(0)),
        ("", "pfctl: DIOCGETRULES: Invalid argument\n", Some(0)),
        ("", "pfctl: Anchor does not exist.\n", Some(0)),
        ("", BUSY, None),
        (&rdr, BUSY, None),
        (cut, "", None),
        (&gap, "", None),
        ("", "pfctl: DIOCGETRULES: Bad address\n", None),
    ] {
        let reading = answer_or_garbled(&[
            (Question::Rules, RULES, "", 0),
            (Question::Translation, &nat, "", 0),
            (Question::UpnpRules, "", "", 0),
            (Question::UpnpTranslation, stdout, stderr, 0),
        ]);
        let rules = reading.translation.unwrap();
        let anchor = rules.iter().position(|rule| rule.text.contains("miniupnpd"));
        let behind = &rules[anchor.unwrap() + 1..];
        let read = rules[anchor.unwrap()].block.then_some(behind.len());
        assert_eq!(read, inside, "{stdout} {stderr}");
        assert!(behind.iter().all(|rule| rule.depth == 1 && rule.number.is_none()));
    }
}

/// Says whether a rule of the fixtures is kept for the moments: the marks at both ends, those about the service, and a few.
fn is_kept(rule: &str, place: usize) -> bool {
    let words = ["1688", "anchor", "carp", "<virusprot>", "Default deny", "let out anything"];
    place.is_multiple_of(12) || words.iter().any(|word| rule.contains(word))
}

/// A moment of a firewall that reloads: the texts of both lists, all of one process.
fn moment(open: bool, cap: u32, pid: u32) -> [String; 2] {
    let of = |text: &str, ours: &str| -> String {
        let mut numbers = std::collections::BTreeMap::new();
        let mut out = String::new();
        let mut skipping = false;
        for (place, line) in text.split_inclusive('\n').enumerate() {
            if let Some((_, rule)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
                skipping = (!open && rule.contains(ours)) || !is_kept(rule, place);
                if skipping {
                    continue;
                }
                let first = rule.split(' ').find(|word| *word != "no").unwrap_or_default();
                let kind = match first.trim_end_matches("-anchor") {
                    kind @ ("nat" | "rdr" | "binat" | "scrub") => kind,
                    _ => "filter",
                };
                let number: &mut u32 = numbers.entry(kind).or_default();
                let rule = rule.replace("max-src-conn 50", &format!("max-src-conn {cap}"));
                out.push_str(&format!("@{number} {rule}"));
                *number += 1;
            } else if !skipping {
                match line.split_once(" pid ") {
                    Some((before, after)) => {
                        let (_, rest) = after.split_once(' ').unwrap();
                        out.push_str(&format!("{before} pid {pid} {rest}"));
                    }
                    None => out.push_str(line),
                }
            }
        }
        out
    };
    [of(RULES, "ridentifier 1763000004"), of(TRANSLATION, "port = 1688")]
}

/// What is said of two lists: nothing, or the exposure and the cap of connections.
fn word(reading: &Reading) -> Option<(Exposed, Option<u32>)> {
    let (filter, nat) = (reading.rules.as_ref().ok()?, reading.translation.as_ref().ok()?);
    if !exposure::looks_complete(filter) || !exposure::looks_complete_translation(nat) {
        return None;
    }
    let loaded = Loaded { filter, nat, enabled: true, alias_table: AliasTable::Unasked };
    let judged = exposure::judge(None, loaded, &fixtures::service());
    Some((judged.state, judged.caps.loaded.and_then(|caps| caps.max_src_conn)))
}

/// Reads as [`round::ask`] does, of a firewall whose moments pass as `chances` say, and returns what is said of it
/// besides the moments that there were.
fn reload_while_read(
    chances: &[(u8, u16)],
    moments: &[[String; 2]],
) -> (Option<(Exposed, Option<u32>)>, usize) {
    let asked = asked(&[Question::Rules, Question::Translation]);
    let mut chances = chances.iter().copied();
    let mut now = 0;
    let mut list = |question: &Question| {
        let which = match question {
            Question::Rules => 0,
            Question::Translation => 1,
            _ => return reply(question, "1764300000 +0000\n", "", 0),
        };
        let (chance, cut) = chances.next().unwrap_or((255, 0));
        let text = &moments[now][which];
        let passes = chance < 120 && now + 1 < moments.len();
        if passes && chance < 80 {
            // The load falls into the list.
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let kept = usize::from(cut) % lines.len();
            now += 1;
            return reply(question, &lines[..kept].concat(), BUSY, 0);
        }
        let whole = reply(question, text, "", 0);
        now += usize::from(passes);
        whole
    };
    let mut replies: Vec<Gathered> = asked.questions.iter().map(&mut list).collect();
    let mut race = Race::default();
    for turn in 0.. {
        let lost = race.lost_answers(&asked.questions, &replies);
        for place in &lost {
            if turn < 8 {
                replies[*place] = list(&asked.questions[*place]);
            } else {
                replies[*place].raced = true;
            }
        }
        if lost.is_empty() || turn == 8 {
            break;
        }
    }
    (word(&asked.reading(replies).unwrap()), now)
}

#[test]
fn a_reload_while_reading_makes_no_wrong_word() {
    let moments: Vec<[String; 2]> =
        [(true, 50), (false, 50), (true, 10), (false, 10), (true, 7), (false, 50), (true, 50)]
            .into_iter()
            .zip(101..)
            .map(|((open, cap), pid)| moment(open, cap, pid))
            .collect();
    let truth: Vec<_> = moments
        .iter()
        .map(|[filter, nat]| {
            let reading = answer_or_garbled(&[
                (Question::Rules, filter, "", 0),
                (Question::Translation, nat, "", 0),
            ]);
            word(&reading).expect("a whole one")
        })
        .collect();
    assert_eq!((truth[0], truth[1].0), ((Exposed::Open, Some(50)), Exposed::Closed));
    let said = std::cell::RefCell::new(BTreeSet::new());
    let chances = proptest::collection::vec(any::<(u8, u16)>(), 0..30);
    run_cases(chances, |chances| {
        let (word, last) = reload_while_read(&chances, &moments);
        if let Some(word) = word {
            let known = &truth[..=last];
            prop_assert!(known.contains(&word), "{word:?} of {known:?}");
        }
        said.borrow_mut().insert(format!("{word:?}"));
        Ok(())
    });
    assert!(said.borrow().len() > 2, "{said:?}");
}

#[test]
fn a_list_cut_without_a_word_is_not_judged() {
    let [filter, nat] = moment(true, 50, 7);
    let lines: Vec<&str> = filter.split_inclusive('\n').collect();
    for kept in 1..lines.len() {
        let cut = lines[..kept].concat();
        let reading = answer_or_garbled(&[
            (Question::Rules, &cut, "", 0),
            (Question::Translation, &nat, "", 0),
        ]);
        // All rules are there where only the counters of the last one are missing.
        let tail = lines.len() - kept <= 3;
        assert_eq!(word(&reading).is_none(), !tail, "{kept} lines");
    }
}
