//! Did a reload of the ruleset race with what was read? `pfctl -f` cuts a list that is being printed anywhere, also
//! before its first rule, and pfctl exits with 0 all the same; or it falls between two lists, which are then of two
//! rulesets. Source: pf on FreeBSD 14, measured.

use super::Question;
use super::error::is_busy;
use super::gather::Gathered;
use crate::domain::pf::rule::{Loader, parse_loader};
use crate::domain::pfsense::freebsd;
use crate::pfsense::agent;

/// What was seen of the lists when they were asked last.
#[derive(Debug, Default)]
pub(super) struct Race {
    seen: Option<[Option<Loader>; 2]>,
    /// What held foreign lines was asked again.
    settled: bool,
}

impl Race {
    /// Returns the positions of the answers that are to be asked again.
    pub(super) fn lost_answers(
        &mut self,
        questions: &[Question],
        replies: &[Gathered],
    ) -> Vec<usize> {
        let answers = || questions.iter().zip(replies).enumerate();
        let mut lost: Vec<usize> =
            answers().filter(|(_, (_, reply))| is_busy(reply)).map(|(place, _)| place).collect();
        let lists = |wanted: &Question| {
            answers()
                .find(|(_, (question, reply))| *question == wanted && reply.status == Some(0))
                .map(|(place, (_, reply))| (place, parse_loader(&reply.stdout)))
        };
        let (filter, nat) = (lists(&Question::Rules), lists(&Question::Translation));
        let of = |list: &Option<(usize, Loader)>| list.as_ref().map(|(_, loader)| *loader);
        let now = [of(&filter), of(&nat)];
        // Seen twice in a row, it is so: nothing was loaded in between.
        if lost.is_empty() && is_doubtful(now) && self.seen != Some(now) {
            lost.extend(filter.iter().chain(&nat).map(|(place, _)| *place));
        }
        self.seen = Some(now);
        if !self.settled {
            self.settled = true;
            let foreign = answers().filter(|(_, (question, reply))| holds_foreign(question, reply));
            lost.extend(foreign.map(|(place, _)| place));
            lost.sort_unstable();
            lost.dedup();
        }
        lost
    }
}

/// Says whether the lists can hardly be those of one ruleset: a process loads both, and neither is empty on pfSense.
fn is_doubtful([filter, nat]: [Option<Loader>; 2]) -> bool {
    match (filter, nat) {
        (Some(Loader::Process(one)), Some(Loader::Process(other))) => one != other,
        _ => [filter, nat].contains(&Some(Loader::NoRule)),
    }
}

/// Says whether another program's line stands in the answer. What pfSense starts at an administrator's login
/// (/etc/rc.local) can still print when our first commands run; it does so once.
fn holds_foreign(question: &Question, reply: &Gathered) -> bool {
    let any_line = |fits: fn(&[u8]) -> bool| {
        let mut rest = reply.stdout.as_slice();
        std::iter::from_fn(|| {
            let end = memchr::memchr(b'\n', rest);
            let (line, after) = rest.split_at_checked(end?)?;
            rest = after.get(1..)?;
            Some(line)
        })
        .any(|line| !line.is_empty() && !fits(line))
    };
    match question.itself() {
        Question::Clock => freebsd::parse_firewall_clock(&reply.stdout).is_none(),
        Question::Rules
        | Question::Translation
        | Question::UpnpRules
        | Question::UpnpTranslation => {
            any_line(|line| line.starts_with(b"@") || line.starts_with(b" ") || line == b"}")
        }
        Question::Table | Question::AliasTable => {
            any_line(|line| line.starts_with(b" ") || line.starts_with(b"\t"))
        }
        Question::Sources => {
            any_line(|line| line.starts_with(b" ") || memchr::memmem::find(line, b" -> ").is_some())
        }
        Question::Configured => reply.status == Some(0) && !agent::is_whole(&reply.stdout),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures::service;
    use crate::ssh::shell::FramedStream;

    const NONE: [usize; 0] = [];
    const QUESTIONS: [Question; 3] = [Question::Clock, Question::Rules, Question::Translation];

    fn rule(pid: u32) -> String {
        format!(
            "@0 pass all\n  [ Evaluations: 1  Packets: 1  Bytes: 1  States: 0 ]\n  [ Inserted: uid 0 pid {pid} State Creations: 0 ]\n"
        )
    }

    fn replies(filter: (&str, &str), nat: (&str, &str)) -> Vec<Gathered> {
        let texts = [("1 +0000\n", ""), filter, nat];
        let reply = |(question, (stdout, stderr)): (&Question, (&str, &str))| {
            let mut reply = Gathered::new(question, &service());
            reply.take_bytes(FramedStream::Stdout, stdout.as_bytes(), usize::MAX);
            reply.take_bytes(FramedStream::Stderr, stderr.as_bytes(), usize::MAX);
            reply.status = Some(0);
            reply
        };
        QUESTIONS.iter().zip(texts).map(reply).collect()
    }

    fn lost(race: &mut Race, filter: (&str, &str), nat: (&str, &str)) -> Vec<usize> {
        race.lost_answers(&QUESTIONS, &replies(filter, nat))
    }

    #[test]
    fn lists_of_two_loads_are_asked_again() {
        let (old, new) = (rule(7), rule(8));
        let mut race = Race::default();
        assert_eq!(lost(&mut race, (&old, ""), (&new, "")), [1, 2]);
        assert_eq!(lost(&mut race, (&new, ""), (&new, "")), NONE);
        assert_eq!(lost(&mut race, (&new, ""), (&old, "")), [1, 2]);
        // Two commands loaded them, one after the other, and nothing since.
        assert_eq!(lost(&mut race, (&new, ""), (&old, "")), NONE);
    }

    #[test]
    fn an_empty_list_is_believed_the_second_time() {
        let new = rule(8);
        for pair in [("", new.as_str()), (new.as_str(), ""), ("", "")] {
            let mut race = Race::default();
            assert_eq!(lost(&mut race, (pair.0, ""), (pair.1, "")), [1, 2]);
            assert_eq!(lost(&mut race, (pair.0, ""), (pair.1, "")), NONE);
        }
    }

    #[test]
    fn a_foreign_line_is_asked_away_once() {
        let new = rule(8);
        for noise in [format!("starting up\n{new}"), format!("{new}done.\n")] {
            let mut race = Race::default();
            assert_eq!(lost(&mut race, (&noise, ""), (&new, "")), [1]);
            assert_eq!(lost(&mut race, (&noise, ""), (&new, "")), NONE);
        }
    }

    #[test]
    fn what_was_busy_is_asked_again() {
        let new = rule(8);
        let mut race = Race::default();
        for word in [
            "pfctl: DIOCGETRULE: Device busy\n",
            "pfctl: DIOCGETRULENV: Device busy\n",
            "No ALTQ support in kernel\npfctl: DIOCGETADDR: Device busy\n",
        ] {
            assert_eq!(lost(&mut race, (&new, ""), (&new, word)), [2], "{word}");
            assert_eq!(lost(&mut race, ("", word), (&new, "")), [1], "{word}");
        }
        assert_eq!(lost(&mut race, (&new, ""), (&new, "")), NONE);
    }
}
