//! A firewall whose every answer is meant to hurt: kmsctl stays small, ends at once where it is interrupted, and says
//! nothing that acts on a terminal.

use std::time::Duration;

use crate::support::hostile::{CASES, Hostile};

const MOST_MEBIBYTES: u64 = 256;
/// One second is promised and measured by the bench; a machine that is busy with other tests is given more.
const MOST_PATIENCE: Duration = Duration::from_secs(10);

fn acts_on_terminal(text: &str) -> bool {
    text.chars()
        .any(|one| one != '\n' && kmsctl::text::acts_on_terminal(one))
}

#[test]
fn no_answer_fills_the_memory() {
    let Some(hostile) = Hostile::start("russh") else {
        return;
    };
    let mut wrong = Vec::new();
    for case in CASES {
        let run = hostile.measure(case);
        eprintln!(
            "{}: {:?}, {} MiB, {:?}",
            case.0, run.code, run.peak, run.took
        );
        if run.peak > MOST_MEBIBYTES || run.code.is_none_or(|code| code > 8) {
            wrong.push((case.0, run.code, run.peak));
        }
        let said = run.stdout + &run.stderr;
        if acts_on_terminal(&said) || said.len() > 64 << 10 {
            let beginning: String = said.chars().take(500).collect();
            panic!("{}: {} bytes: {beginning:?}", case.0, said.len());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn an_interrupt_ends_every_answer() {
    let Some(hostile) = Hostile::start("russh") else {
        return;
    };
    for case in CASES {
        for after in [700, 1500, 3000] {
            let took = hostile.interrupt(case, Duration::from_millis(after));
            eprintln!("{}: interrupted after {after} ms: {took:?}", case.0);
            assert!(took <= MOST_PATIENCE, "{}: {took:?}", case.0);
        }
    }
}
