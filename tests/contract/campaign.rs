//! The fault campaign on the firewall's side: at every moment of every change something happens (the process is
//! killed, pfSense's code gives up, another writer saves, the disk fills, the ruleset does not load, the box restarts),
//! then somebody asks or a minute passes. Afterwards the exposure must be the old one or the new one, configured and
//! loaded alike, nothing else touched, no foreign edit lost without a word, and the outcome the truth.

use std::time::{Duration, Instant};

use kmsctl::domain::pfsense::change::{ChangeEnding, ConfigurationEdit};
use kmsctl::pfsense::agent::{AgentRequest, ApplyRequest};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::php;
use super::apply::{asked, back, build, caps, done};
use crate::support::campaign::{Campaign, Random};

#[path = "campaign/run.rs"]
mod run;

use run::Run;

/// Thousands take many minutes: by `KMSCTL_CAMPAIGN_RUNS`.
const CAMPAIGN: Campaign = Campaign { name: "agent", runs: 250, time: Duration::from_secs(40) };

/// What is begun, on which firewall.
struct Start {
    name: &'static str,
    firewall: ChangingBox,
    request: ApplyRequest,
    /// The exposure before and after: configured, filter rules, translation rules.
    before: [String; 3],
    after: [String; 3],
    foreign: String,
    /// How many moments the undisturbed change has, its rollback included.
    moments: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The process is killed, or the box loses power.
    Kill,
    /// pfSense's code ends the process.
    Die,
    /// An administrator saves something else.
    Writer,
    /// The disk fills.
    Full,
    /// Another operator's change holds the lock.
    Locked,
    /// Changes wait in the GUI.
    Pending,
    /// Nothing but the trouble.
    None,
}

/// What goes wrong besides, with writing and loading.
const TROUBLES: [&str; 24] = [
    "load-error 1",
    "load-error 2",
    "load-silent 1",
    "load-silent 2",
    "load-busy 1",
    "load-busy 2",
    "rules-unwritable 1",
    "rules-unwritable 2",
    "rule-lost 1",
    "rule-lost 2",
    "write-refused 1",
    "write-error 1",
    "write-dies 1",
    "write-throws 1",
    "write-error 2",
    "disk-low 1",
    "disk-full 1",
    "disk-full-4096 1",
    "writer-before-write 1",
    "writer-after-write 1",
    "overwritten 1",
    "write-dies 1\nload-error 1",
    "writer-before-write 1\nload-error 1",
    "disk-full 1\nload-silent 1",
];

#[derive(Clone, Copy, Debug)]
enum Next {
    Ask,
    Again,
    Minute,
    Restart,
}

/// What becomes of a temporary change in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Due,
    /// The box is off while it falls due.
    DueWhileOff,
    Keep,
}

/// One run, all of it decided before.
#[derive(Debug)]
struct Plan {
    start: usize,
    fault: Fault,
    moment: u64,
    trouble: &'static str,
    /// A second kill, this many moments after the fault.
    second: Option<u64>,
    next: Next,
    end: End,
    /// What goes wrong with writing and loading while the change is taken back.
    late_trouble: &'static str,
    /// Something happens this many moments into the rollback, or into `keep`.
    late: Option<(Fault, u64)>,
}

fn plan(mut random: Random, starts: &[Start]) -> Plan {
    let places: Vec<usize> = (0..starts.len()).collect();
    let start = *random.of(&places);
    let faults = [
        [Fault::Kill; 8].as_slice(),
        &[Fault::Die; 3],
        &[Fault::Writer; 4],
        &[Fault::Full; 3],
        &[Fault::Locked, Fault::Pending, Fault::None, Fault::None],
    ]
    .concat();
    let late = [Fault::Kill, Fault::Die, Fault::Writer, Fault::Full];
    let trouble = |random: &mut Random| match random.below(2) {
        0 => "",
        _ => random.of::<&'static str>(&TROUBLES),
    };
    let mut plan = Plan {
        start,
        fault: *random.of(&faults),
        moment: 1 + random.below(starts[start].moments),
        trouble: trouble(&mut random),
        second: (random.below(4) == 0).then(|| 1 + random.below(40)),
        next: *random.of(&[Next::Ask, Next::Again, Next::Minute, Next::Restart]),
        end: *random.of(&[End::Due, End::Due, End::DueWhileOff, End::Keep]),
        late_trouble: trouble(&mut random),
        late: (random.below(3) > 0).then(|| (*random.of(&late), 1 + random.below(90))),
    };
    // Of a temporary change the end is what is worth most.
    if starts[start].request.revert_at.is_some() && random.below(3) > 0 {
        plan = Plan { fault: Fault::None, trouble: "", second: None, ..plan };
    }
    plan
}

#[test]
fn whatever_happens_the_firewall_is_in_the_old_state_or_the_new_one() {
    if !php::available() {
        return;
    }
    let begun = Instant::now();
    let starts = starts();
    CAMPAIGN.carry_out(
        begun,
        || (),
        |(), random| {
            let plan = plan(random, &starts);
            let start = &starts[plan.start];
            let mut ran = Run::new(start, &plan).carry_out();
            ran.plan = format!("{}: {plan:?}", start.name);
            ran
        },
    );
}

/// The disk cuts config.xml where the parser does not see it, the process is killed over mending it, and the box starts
/// with what is there: it has loaded the rules of the damaged file.
#[test]
fn a_box_that_started_with_a_cut_configuration_comes_back_whole() {
    if !php::available() {
        return;
    }
    let mut disabled = ChangingBox::new(Version::V272, Fixture::Editor).with_moments();
    done(&mut disabled, "d0", ConfigurationEdit::Disable);
    let start = start("enabled", disabled, ConfigurationEdit::Enable, None);
    for moment in 45..=55 {
        let plan = Plan {
            start: 0,
            fault: Fault::Kill,
            moment,
            trouble: "disk-full-4096 1",
            second: None,
            next: Next::Restart,
            end: End::Due,
            late_trouble: "",
            late: None,
        };
        let ran = Run::new(&start, &plan).carry_out();
        assert!(ran.wrong.is_none(), "moment {moment}: {:?}", ran.wrong);
    }
}

fn starts() -> Vec<Start> {
    let versions = [Version::V272, Version::Master, Version::V260];
    std::thread::scope(|scope| {
        let workers = versions.map(|version| scope.spawn(move || starts_of(version)));
        let starts = workers.map(|worker| worker.join().expect("starts"));
        starts.into_iter().flatten().collect()
    })
}

fn starts_of(version: Version) -> Vec<Start> {
    let mut starts = Vec::new();
    let later = Some(4_000_000_000);
    let open = || ChangingBox::new(version, Fixture::Editor).with_moments();
    let mut add = |name, firewall: &ChangingBox, change: ConfigurationEdit, revert_at| {
        starts.push(start(name, ChangingBox::copy_of(firewall), change, revert_at));
    };
    let whole = open();
    let mut deleted = open();
    let gone = done(&mut deleted, "d0", ConfigurationEdit::Delete);
    let mut disabled = open();
    done(&mut disabled, "d0", ConfigurationEdit::Disable);
    let mut capped = open();
    let caps_before = done(&mut capped, "d0", caps(Some(10), Some((3, 60)))).before;
    let tight = || caps(Some(20), Some((5, 60)));
    add("caps tightened", &whole, tight(), None);
    add("caps loosened", &whole, caps(Some(200), Some((30, 60))), None);
    add("rate removed", &whole, caps(Some(50), None), None);
    add("caps removed", &whole, caps(None, None), None);
    add("caps for a while", &whole, caps(Some(20), None), later);
    add("caps undone", &capped, back(&caps_before), None);
    add("disabled", &whole, ConfigurationEdit::Disable, None);
    add("disabled for a while", &whole, ConfigurationEdit::Disable, later);
    add("enabled", &disabled, ConfigurationEdit::Enable, None);
    add("enabled for a while", &disabled, ConfigurationEdit::Enable, later);
    add("deleted", &whole, ConfigurationEdit::Delete, None);
    add("deleted for a while", &whole, ConfigurationEdit::Delete, later);
    add("put back", &deleted, back(&gone.before), None);
    add("put back for a while", &deleted, back(&gone.before), later);
    add("built", &deleted, build(20, (5, 60)), None);
    add("built for a while", &deleted, build(20, (5, 60)), later);
    add("corrected", &capped, build(20, (5, 60)), None);
    starts
}

/// Carries the change out undisturbed on a copy, to know its end and its moments.
fn start(
    name: &'static str,
    mut firewall: ChangingBox,
    change: ConfigurationEdit,
    revert_at: Option<i64>,
) -> Start {
    let request = ApplyRequest { revert_at, ..asked(&mut firewall, "c1", change) };
    let copy = ChangingBox::copy_of(&firewall);
    copy.php().write("at", b"0 nothing");
    let outcome = copy.apply(&AgentRequest::Apply(Box::new(request.clone()))).expect("an outcome");
    assert_eq!(outcome.result, ChangeEnding::Done, "{name}: {outcome:?}");
    let after = copy.exposure();
    let before = firewall.exposure();
    assert_ne!(before, after);
    if revert_at.is_some() {
        copy.make_due(&request.id);
        copy.tick();
        assert_eq!(copy.exposure(), before, "{name}");
    }
    let moments = copy.text("moments").trim().parse().expect("moments");
    Start { name, foreign: firewall.foreign(), before, after, moments, firewall, request }
}
