//! The fault campaign: at every moment of every change something happens (the process is killed, pfSense's code gives
//! up, another writer saves, the disk fills, the ruleset does not load, the box restarts), then somebody asks or a
//! minute passes. Afterwards the exposure must be the old one or the new one, configured and loaded alike, nothing
//! else touched, no foreign edit lost without a word, and the outcome the truth.
//!
//! Seeded: `KMSCTL_CAMPAIGN_SEED` and `KMSCTL_CAMPAIGN_RUNS` choose; each failure prints its run, which
//! `KMSCTL_CAMPAIGN_ONLY` repeats alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kmsctl::domain::change::{Answer, Change, Ending, Outcome};
use kmsctl::firewall::agent::{self, ApplyRequest, OutcomeRequest, Request};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::{nonce, php, request};
use super::apply::{asked, back, build, caps, done};

/// In the default run, if the time below is enough for them; thousands take many minutes.
const RUNS: usize = 250;

/// The default run begins no further run after this.
const TIME: Duration = Duration::from_secs(120);

const LOST: &str = "another writer's change was lost without a word";

/// What is begun, on which firewall.
struct Start {
    name: &'static str,
    firewall: ChangingBox,
    request: ApplyRequest,
    /// The exposure before and after: configured, filter rules, translation rules.
    before: [String; 3],
    after: [String; 3],
    foreign: String,
    /// How many moments the undisturbed change has, its way back included.
    moments: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Die,
    Writer,
    Full,
}

/// What goes wrong besides, with loading.
const LOADS: [&str; 7] = [
    "",
    "",
    "load-error 1",
    "load-silent 1",
    "load-busy 1",
    "rules-unwritable 1",
    "rule-lost 1",
];

#[derive(Clone, Copy, Debug)]
enum Next {
    Ask,
    Again,
    Minute,
    Restart,
}

/// One run, all of it decided before.
#[derive(Debug)]
struct Plan {
    start: usize,
    fault: Fault,
    moment: u64,
    load: &'static str,
    /// A second kill, this many moments after the fault.
    second: Option<u64>,
    next: Next,
}

/// Marsaglia's xorshift64*: the same runs for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).expect("a place")]
    }
}

fn plan(run: usize, seed: u64, starts: &[Start]) -> Plan {
    let mut random = Random(seed ^ (run as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random.below(2);
    let places: Vec<usize> = (0..starts.len()).collect();
    let start = *random.of(&places);
    let faults = [
        Fault::Kill,
        Fault::Kill,
        Fault::Kill,
        Fault::Die,
        Fault::Writer,
        Fault::Full,
    ];
    Plan {
        start,
        fault: *random.of(&faults),
        moment: 1 + random.below(starts[start].moments),
        load: random.of::<&'static str>(&LOADS),
        second: (random.below(4) == 0).then(|| 1 + random.below(40)),
        next: *random.of(&[Next::Ask, Next::Again, Next::Minute, Next::Restart]),
    }
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_the_firewall_is_in_the_old_state_or_the_new_one() {
    if !php::available() {
        return;
    }
    let starts = starts();
    let wanted = number("KMSCTL_CAMPAIGN_RUNS");
    let runs = wanted.unwrap_or(RUNS);
    let begun = Instant::now();
    let seed = number("KMSCTL_CAMPAIGN_SEED").map_or(20_261_122, |seed| seed as u64);
    let only = number("KMSCTL_CAMPAIGN_ONLY");
    let next = AtomicUsize::new(only.unwrap_or(0));
    let end = only.map_or(runs, |run| run + 1);
    let endings = Mutex::new(BTreeMap::<String, usize>::new());
    let failures = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= end || (wanted.is_none() && begun.elapsed() > TIME) {
                        break;
                    }
                    let plan = plan(run, seed, &starts);
                    let (ending, wrong) = carry_out(&starts[plan.start], &plan);
                    *endings.lock().unwrap().entry(ending).or_default() += 1;
                    if let Some(wrong) = wrong {
                        let name = starts[plan.start].name;
                        writeln!(
                            failures.lock().unwrap(),
                            "run {run}: {name}: {plan:?}\n{wrong}"
                        )
                        .unwrap();
                    }
                }
            });
        }
    });
    let endings = endings.into_inner().unwrap();
    let moments: u64 = starts.iter().map(|start| start.moments).sum();
    eprintln!(
        "campaign: {} runs over {} changes with {moments} moments, seed {seed}: {endings:?}",
        endings.values().sum::<usize>(),
        starts.len()
    );
    let failures = failures.into_inner().unwrap();
    let count = failures.matches("\nrun ").count() + usize::from(!failures.is_empty());
    assert!(
        failures.is_empty(),
        "{count} of {runs} runs went wrong\n{failures}"
    );
}

fn starts() -> Vec<Start> {
    let mut starts = Vec::new();
    for version in [Version::V272, Version::Master, Version::V260] {
        let open = || ChangingBox::new(version, Fixture::Editor).with_moments();
        let mut deleted = open();
        let gone = done(&mut deleted, "d0", Change::Delete);
        let kept = ChangingBox::copy_of(&deleted);
        starts.push(start("caps", open(), caps(Some(20), Some((5, 60))), None));
        starts.push(start(
            "caps for a while",
            open(),
            caps(Some(20), None),
            Some(4_000_000_000),
        ));
        starts.push(start("disable", open(), Change::Disable, None));
        starts.push(start(
            "disable for a while",
            open(),
            Change::Disable,
            Some(4_000_000_000),
        ));
        starts.push(start("delete", open(), Change::Delete, None));
        starts.push(start(
            "put back",
            ChangingBox::copy_of(&kept),
            back(&gone.before),
            None,
        ));
        starts.push(start("build", kept, build(20, (5, 60)), None));
    }
    starts
}

/// Carries the change out undisturbed on a copy, to know its end and its moments.
fn start(
    name: &'static str,
    mut firewall: ChangingBox,
    change: Change,
    revert_at: Option<i64>,
) -> Start {
    let request = ApplyRequest {
        revert_at,
        ..asked(&mut firewall, "c1", change)
    };
    let copy = ChangingBox::copy_of(&firewall);
    copy.php().write("at", b"0 nothing");
    let outcome = copy
        .apply(&Request::Apply(Box::new(request.clone())))
        .expect("an outcome");
    assert_eq!(outcome.result, Ending::Done, "{name}: {outcome:?}");
    let after = state(&copy);
    let before = state(&firewall);
    assert_ne!(before, after);
    if revert_at.is_some() {
        copy.make_due(&request.id);
        copy.tick();
        assert_eq!(state(&copy), before, "{name}");
    }
    let moments = copy.text("moments").trim().parse().expect("moments");
    Start {
        name,
        foreign: firewall.foreign(),
        before,
        after,
        moments,
        firewall,
        request,
    }
}

/// The exposure, without what no two runs share: times, and numbers made of them.
fn state(firewall: &ChangingBox) -> [String; 3] {
    [
        firewall.ours(),
        firewall.text("pf/sr"),
        firewall.text("pf/sn"),
    ]
    .map(|text| {
        let mut masked = String::new();
        let mut digits = String::new();
        for character in text.chars().chain(['\n']) {
            if character.is_ascii_hexdigit() || character == '.' {
                digits.push(character);
                continue;
            }
            let long = digits.len() >= 10 && digits != "1763000004" && digits != "1763000001";
            masked.push_str(if long { "#" } else { &digits });
            digits.clear();
            masked.push(character);
        }
        masked
    })
}

fn carry_out(start: &Start, plan: &Plan) -> (String, Option<String>) {
    let firewall = ChangingBox::copy_of(&start.firewall);
    let word = match plan.fault {
        Fault::Kill => "kill",
        Fault::Die => "die",
        Fault::Writer => "writer",
        Fault::Full => "full",
    };
    firewall.trouble(&format!("{}\n", plan.load));
    firewall
        .php()
        .write("at", format!("{} {word}", plan.moment).as_bytes());
    let apply = Request::Apply(Box::new(start.request.clone()));
    let mut told = firewall.apply(&apply).ok();
    if let Some(second) = plan.second {
        let moment = plan.moment + second;
        firewall
            .php()
            .write("at", format!("{moment} kill").as_bytes());
    }
    match plan.next {
        Next::Ask => {
            let _ = firewall.outcome(&asking(start));
        }
        Next::Again => told = firewall.apply(&apply).ok().or(told),
        Next::Minute => {
            firewall.tick();
        }
        Next::Restart => restart(&firewall),
    }
    // Space comes back before each minute: the fault itself may come in any of them.
    for _ in 0..3 {
        firewall.trouble("");
        firewall.tick();
    }
    let answer = undisturbed(&firewall, || {
        firewall.outcome(&asking(start)).expect("an answer")
    });
    let mut ending = match &answer {
        Answer::Ended { outcome } => format!("{:?}", outcome.result),
        Answer::Running { .. } => "Running".to_owned(),
        Answer::Unknown => "Unknown".to_owned(),
    };
    let mut wrong = judge(start, &firewall, &answer, told.as_ref()).err();
    if wrong.is_none() && start.request.revert_at.is_some() && ending == "Done" {
        ending.push_str(", taken back");
        wrong = judge_way_back(start, plan, &firewall).err();
    }
    // Between pfSense's backup and pfSense's lock nobody outside pfSense can notice another writer; it is counted.
    let log = firewall.text("moments.log");
    let gap = log.contains(&format!("{} write_config: backed up\n", plan.moment));
    if gap && matches!(plan.fault, Fault::Writer) && wrong.as_deref() == Some(LOST) {
        return ("lost in pfSense's own gap".to_owned(), None);
    }
    let wrong = wrong.map(|wrong| explain(&wrong, &firewall, &answer));
    (ending, wrong)
}

/// What to look at when a run went wrong.
fn explain(wrong: &str, firewall: &ChangingBox, answer: &Answer) -> String {
    let said = match answer {
        Answer::Ended { outcome } => format!(
            "{:?}: {}\n{:#?}",
            outcome.result, outcome.message, outcome.steps
        ),
        other => format!("{other:?}"),
    };
    let moments = firewall.text("moments.log");
    let last: Vec<&str> = moments.lines().rev().take(60).collect();
    format!("{wrong}\n{}\n{said}", last.join("; "))
}

fn asking(start: &Start) -> Request {
    Request::Outcome(OutcomeRequest {
        service: request(),
        id: start.request.id.clone(),
        settle: true,
    })
}

/// The last question is not part of the campaign: nothing happens while it is asked.
fn undisturbed<T>(firewall: &ChangingBox, question: impl FnOnce() -> T) -> T {
    let at = firewall.text("at");
    let _ = std::fs::remove_file(firewall.file("at"));
    let answer = question();
    firewall.php().write("at", at.as_bytes());
    answer
}

/// A restart loads what the configuration says; nothing may happen while pfSense itself starts.
fn restart(firewall: &ChangingBox) {
    firewall.trouble("");
    undisturbed(firewall, || firewall.boot());
}

fn judge(
    start: &Start,
    firewall: &ChangingBox,
    answer: &Answer,
    told: Option<&Outcome>,
) -> Result<(), String> {
    let is = state(firewall);
    let (old, new) = (is == start.before, is == start.after);
    if !old && !new {
        return Err(format!("neither the old state nor the new one: {is:#?}"));
    }
    let ended = match answer {
        Answer::Ended { outcome } => Some(outcome.as_ref()),
        Answer::Running { .. } => return Err("it does not end".into()),
        Answer::Unknown => None,
    };
    let says_new = match ended.map(|outcome| outcome.result) {
        Some(Ending::Done) => true,
        Some(Ending::Failed | Ending::RolledBack) | None => false,
        Some(other) => return Err(format!("it ended as {other:?}")),
    };
    if says_new != new {
        return Err(format!(
            "the outcome is not the truth: new {new}, said {says_new}"
        ));
    }
    let told_new = told.map(|outcome| outcome.result == Ending::Done);
    if told_new == Some(true) && !new {
        return Err("the client was told that it is done".into());
    }
    let armed = start.request.revert_at.is_some() && new;
    if !armed && !firewall.left_over().is_empty() {
        return Err(format!("left over: {:?}", firewall.left_over()));
    }
    judge_foreign(start, firewall, ended.or(told))
}

fn judge_foreign(
    start: &Start,
    firewall: &ChangingBox,
    outcome: Option<&Outcome>,
) -> Result<(), String> {
    let foreign = firewall.foreign();
    let renamed = start
        .foreign
        .replace("<hostname>firewall<", "<hostname>renamed<");
    if !firewall.file("written-by-another").exists() {
        return if foreign == start.foreign {
            Ok(())
        } else {
            Err("something else was touched".into())
        };
    }
    if foreign == renamed {
        return Ok(());
    }
    if foreign != start.foreign {
        return Err("something else was touched".into());
    }
    let lost = outcome.and_then(|outcome| outcome.lost_update.as_ref());
    let kept = lost.and_then(|path| std::fs::read_to_string(path).ok());
    if kept.is_some_and(|text| text.contains("<hostname>renamed<")) {
        Ok(())
    } else {
        Err(LOST.into())
    }
}

fn judge_way_back(start: &Start, plan: &Plan, firewall: &ChangingBox) -> Result<(), String> {
    firewall.trouble(&format!("{}\n", plan.load));
    firewall.make_due(&start.request.id);
    firewall.tick();
    if matches!(plan.next, Next::Restart) {
        restart(firewall);
    }
    for _ in 0..3 {
        firewall.trouble("");
        firewall.tick();
    }
    let is = state(firewall);
    if is != start.before {
        return Err(format!("it was not taken back: {is:#?}"));
    }
    if !firewall.left_over().is_empty() {
        return Err(format!("left over: {:?}", firewall.left_over()));
    }
    let stdout = undisturbed(firewall, || firewall.ask(&asking(start)).stdout);
    let answer = agent::parse_answer(&stdout, &nonce()).map_err(|error| error.to_string())?;
    let Answer::Ended { outcome } = answer else {
        return Err("its outcome is forgotten".into());
    };
    let reverted = outcome.reverted.as_ref().map(|reverted| reverted.result);
    if reverted != Some(Ending::Done) {
        return Err(format!("the way back says {reverted:?}"));
    }
    judge_foreign(start, firewall, Some(&outcome))
}
