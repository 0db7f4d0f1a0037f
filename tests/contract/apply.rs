//! The contract of changes: the same assertions for the agent under real PHP and for whatever stands in for it.
//! Each scenario starts on a firewall of its own, whose exposure is open with the caps 50 and 10 in 60 s.

use kmsctl::domain::pf::rule::Rate;
use kmsctl::domain::pfsense::change::{
    ChangeEnding, ChangeId, ChangeOutcome, ConfigurationEdit, Element, Kept, OutcomeAnswer, Placed,
    Records,
};
use kmsctl::domain::pfsense::configured::Configured;
use kmsctl::domain::pfsense::edit::{EditIds, EditRefusal, make_swap};
use kmsctl::domain::pfsense::leftovers::{Cleaned, StoredFile};
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{
    AgentRequest, ApplyRequest, CleanRequest, KeepRequest, OutcomeRequest, ReadRequest,
};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::{nonce, php, request};
use super::apply_foreign as foreign;
use super::apply_saved as saved;
use super::apply_trackers as trackers;

/// What is held to the contract.
pub trait Firewall {
    /// Runs the request's script under the nonce of [`nonce`] and returns what PHP printed.
    fn ask(&mut self, request: &AgentRequest) -> Vec<u8>;
    /// Lets a minute pass, so that armed jobs look at the clock.
    fn minute(&mut self);
    /// Lets the deadline of a temporary change come, and no minute pass.
    fn deadline(&mut self, id: &ChangeId);
    /// Prints `pfctl -P -sr` and `pfctl -P -sn`.
    fn loaded(&mut self) -> (String, String);
    /// Has noted that the ending of a change was not proven.
    fn unprove(&mut self, id: &ChangeId);
    /// Becomes a firewall on which a crash has left kmsctl's files of [`CRASHED`] and a dead lock.
    fn crash(&mut self);
}

/// The change whose files a crash has left behind.
pub const CRASHED: &str = "5f1e7c0d9a42";

impl Firewall for ChangingBox {
    fn ask(&mut self, request: &AgentRequest) -> Vec<u8> {
        let run = ChangingBox::ask(self, request);
        assert_eq!(run.stderr, "", "PHP complains");
        run.stdout
    }

    fn minute(&mut self) {
        self.tick();
    }

    fn deadline(&mut self, id: &ChangeId) {
        self.make_due(id);
    }

    fn loaded(&mut self) -> (String, String) {
        (self.text("pf/sr"), self.text("pf/sn"))
    }

    fn unprove(&mut self, id: &ChangeId) {
        let name = format!("conf/kmsctl/change-{id}.json");
        let noted = self.text(&name);
        let unproven = noted.replacen(r#""result":"done""#, r#""result":"unproven""#, 1);
        assert_ne!(unproven, noted);
        self.php().write(&name, unproven.as_bytes());
    }

    fn crash(&mut self) {
        for name in [
            format!("conf/kmsctl/config-{CRASHED}.xml"),
            format!("conf/kmsctl/revert-{CRASHED}.php"),
            format!("etc/cron.d/kmsctl-{CRASHED}"),
            format!("conf/kmsctl/lost-{CRASHED}-damaged.xml"),
            format!("conf/.kmsctl-{CRASHED}.xml"),
        ] {
            self.php().write(&name, b"#\n");
            self.make_old(&name);
        }
        let lock = br#"{"id":"x1","who":"anna@desk","what":"caps","since":1,"pid":1}"#;
        self.php().write("conf/kmsctl/lock", lock);
    }
}

/// A name, and what is done to a firewall.
type Case<F> = (&'static str, fn(&mut F));

/// Runs every scenario.
pub fn suite<F: Firewall>(open: impl Fn() -> F) {
    let scenarios: [Case<F>; 28] = [
        ("caps are set, loaded and told", caps_are_set),
        ("caps are removed by halves and whole", caps_are_removed),
        ("what is so already costs no revision", nothing_to_do),
        ("what has moved since is refused", stale),
        ("an id is applied once", applied_once),
        ("both rules are disabled and enabled", disabled_and_enabled),
        ("deleted rules come back whole", deleted_and_put_back),
        ("the pair is built from nothing", built_from_nothing),
        ("a half is completed", half_is_completed),
        ("an unknown id can be called off", called_off),
        ("a temporary change is taken back", taken_back),
        ("a temporary change is kept", kept),
        ("a later change disarms an older rollback", superseded),
        ("a rule without a tracker is closed and opened", trackers::untracked),
        ("a rule that shares its tracker is closed", trackers::shared_tracker),
        ("a rule that pf cannot tell from others is left alone", trackers::indistinguishable),
        ("nor is one to anywhere touched", trackers::to_anywhere),
        ("what cannot work is refused", refused),
        ("leftovers are told and removed, and nothing else", cleaned),
        ("who may connect is left alone", foreign::sources_stay),
        ("the port of another address is somebody else's", foreign::another_address_is_not_ours),
        ("a forward to elsewhere is for apply alone", foreign::only_apply_retargets),
        ("filter rules to elsewhere are left alone", foreign::filter_rules_to_elsewhere_stay),
        ("what another alias had is another service's", saved::another_alias_is_another_service),
        (
            "saved rules to elsewhere come where they were, and nowhere else",
            saved::to_elsewhere_only_in_the_place_of_ours,
        ),
        ("a forward that passes by itself is closed and opened", saved::passing_by_itself),
        ("a deletion that was not proven is found", saved::an_unproven_deletion_is_found),
        (
            "another service's rollback is shown as such and stays armed",
            foreign::another_services_rollback,
        ),
    ];
    for (name, scenario) in scenarios {
        eprintln!("{name}");
        scenario(&mut open());
    }
}

#[test]
fn the_agent_keeps_the_contract() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        eprintln!("{version:?}");
        suite(|| ChangingBox::new(version, Fixture::Editor));
    }
}

pub fn id(text: &str) -> ChangeId {
    ChangeId::new(text).expect("an id")
}

pub fn caps(conn: Option<u32>, rate: Option<(u32, u32)>) -> ConfigurationEdit {
    ConfigurationEdit::Caps {
        max_src_conn: conn,
        rate: rate.map(|(connections, seconds)| Rate { connections, seconds }),
    }
}

pub fn build(conn: u32, rate: (u32, u32)) -> ConfigurationEdit {
    ConfigurationEdit::Build {
        description: "KMS public — kms.viktorbarzin.me".into(),
        max_src_conn: Some(conn),
        rate: Some(Rate { connections: rate.0, seconds: rate.1 }),
        alias: false,
    }
}

pub fn back(records: &Records) -> ConfigurationEdit {
    ConfigurationEdit::PutBack { records: Box::new(records.clone()), alias: false }
}

/// Records as they stand: nothing says what is beside them.
pub fn standing(records: &Records) -> Records {
    let mut records = records.clone();
    for placed in [&mut records.nat, &mut records.filter].into_iter().flatten() {
        placed.beside = None;
    }
    records
}

pub fn reading(firewall: &mut impl Firewall) -> Configured {
    let stdout = firewall.ask(&AgentRequest::Read(request()));
    agent::parse_agent_answer(&stdout, &nonce(), &request()).expect("a reading")
}

/// A request for what a change makes of the records of now.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a change is named where it is made")]
pub fn asked(firewall: &mut impl Firewall, name: &str, change: ConfigurationEdit) -> ApplyRequest {
    let configured = reading(firewall);
    asked_of(&configured, request(), name, &change)
        .unwrap_or_else(|refusal| panic!("{change:?}: {refusal:?}"))
}

/// The same of this reading; or why the change cannot be made of it.
pub fn asked_of(
    configured: &Configured,
    service: ReadRequest,
    name: &str,
    change: &ConfigurationEdit,
) -> Result<ApplyRequest, EditRefusal> {
    let ids = EditIds {
        who: "viktor@laptop",
        now: 1_795_400_000,
        association: "nat_65f0c0de1a2b3.12345678",
    };
    Ok(ApplyRequest {
        id: id(name),
        who: "viktor@laptop".into(),
        reason: Some("too many, says the log".into()),
        expect: configured.digest_of_rules(),
        what: change.edit_words(),
        swap: make_swap(configured, change, &service, &ids)?,
        with_pending: false,
        forget: configured.forgotten_changes(),
        revert_at: None,
        service,
    })
}

/// What the client says of a change that it does not even send.
pub fn unsent(name: &str, refusal: EditRefusal) -> ChangeOutcome {
    ChangeOutcome {
        id: id(name),
        result: ChangeEnding::Refused,
        message: refusal.clause,
        before: Records::default(),
        after: Records::default(),
        fingerprints: (String::new(), String::new()),
        steps: Vec::new(),
        reverts_at: None,
        lost_update: None,
        holder: None,
        reverted: None,
    }
}

#[track_caller]
pub fn send(firewall: &mut impl Firewall, asked: ApplyRequest) -> ChangeOutcome {
    let stdout = firewall.ask(&AgentRequest::Apply(Box::new(asked)));
    agent::read_reply(&stdout, &nonce())
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stdout)))
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a change is named where it is made")]
pub fn apply(firewall: &mut impl Firewall, name: &str, change: ConfigurationEdit) -> ChangeOutcome {
    let configured = reading(firewall);
    match asked_of(&configured, request(), name, &change) {
        Ok(asked) => send(firewall, asked),
        Err(refusal) => unsent(name, refusal),
    }
}

#[track_caller]
pub fn done(firewall: &mut impl Firewall, name: &str, change: ConfigurationEdit) -> ChangeOutcome {
    let outcome = apply(firewall, name, change);
    assert_eq!(outcome.result, ChangeEnding::Done, "{outcome:#?}");
    outcome
}

#[track_caller]
pub fn answer(firewall: &mut impl Firewall, name: &str, settle: bool) -> OutcomeAnswer {
    let asked = OutcomeRequest { service: request(), id: id(name), settle };
    let stdout = firewall.ask(&AgentRequest::Outcome(asked));
    agent::read_reply(&stdout, &nonce()).expect("an answer")
}

#[track_caller]
fn keep(firewall: &mut impl Firewall, name: &str) -> Kept {
    prolong(firewall, name, None)
}

fn prolong(firewall: &mut impl Firewall, name: &str, until: Option<i64>) -> Kept {
    let asked = KeepRequest { service: request(), id: id(name), until };
    agent::read_reply(&firewall.ask(&AgentRequest::Keep(asked)), &nonce()).expect("an answer")
}

#[track_caller]
fn clean(firewall: &mut impl Firewall, paths: Vec<String>) -> Cleaned {
    let found = reading(firewall).leftovers;
    let since = |path: &String| found.iter().find(|file| file.path == *path);
    let files = paths.into_iter().map(|path| StoredFile {
        since: since(&path).map_or(0, |file| file.since),
        path,
        orphaned: false,
    });
    let asked = CleanRequest {
        service: request(),
        id: id("clean-1"),
        who: "viktor@laptop".into(),
        files: files.collect(),
    };
    agent::read_reply(&firewall.ask(&AgentRequest::Clean(asked)), &nonce()).expect("an answer")
}

/// Names of files by whether they are stale.
fn leftovers(firewall: &mut impl Firewall, stale: bool) -> Vec<String> {
    let files = reading(firewall).leftovers.into_iter();
    let files = files.filter(|file| file.stale == stale);
    let mut names: Vec<String> = files
        .map(|file| {
            assert!(!file.why.is_empty() && file.since > 0, "{file:?}");
            file.path.rsplit('/').next().expect("a name").to_owned()
        })
        .collect();
    names.sort();
    names
}

fn cleaned(firewall: &mut impl Firewall) {
    assert_eq!(reading(firewall).leftovers, []);
    firewall.crash();
    let lock = |firewall: &mut _| {
        let files = reading(firewall).leftovers.into_iter();
        let mut locks = files.filter(|file| file.path.ends_with("/lock"));
        locks.next()
    };
    let dead = lock(firewall).expect("the lock of a process that ended");
    assert!(dead.stale && dead.why.contains("anna@desk"), "{dead:?}");
    assert!(matches!(
        clean(firewall, vec![dead.path]),
        Cleaned::Done { removed, .. } if removed.len() == 1
    ));
    assert_eq!(lock(firewall), None);
    firewall.crash();
    // A dead lock and dead files are in nobody's way.
    let (outcome, _) = temporary(firewall, "t1", caps(Some(20), None));
    assert_eq!(outcome.result, ChangeEnding::Done);
    assert_eq!(lock(firewall), None, "the next change has taken it");
    let armed = reading(firewall).armed;
    assert_eq!(armed.len(), 1);
    let crashed = [
        format!(".kmsctl-{CRASHED}.xml"),
        format!("config-{CRASHED}.xml"),
        format!("kmsctl-{CRASHED}"),
        format!("lost-{CRASHED}-damaged.xml"),
        format!("revert-{CRASHED}.php"),
    ];
    let told = leftovers(firewall, true);
    assert!(crashed.iter().all(|name| told.contains(name)), "{told:?}");
    let pending = leftovers(firewall, false);
    for name in ["kmsctl-t1", "revert-t1.php"] {
        assert!(pending.iter().any(|other| other == name), "{pending:?}");
    }

    // Everything is named, and what is not ours as well: only leftovers go.
    let mut paths: Vec<String> =
        reading(firewall).leftovers.into_iter().map(|file| file.path).collect();
    paths.push("/conf/config.xml".to_owned());
    let all = paths.len();
    let Cleaned::Done { removed, kept } = clean(firewall, paths) else {
        panic!("locked");
    };
    let gone = removed.iter().filter(|path| path.contains(CRASHED)).count();
    assert_eq!(gone, crashed.len(), "{removed:?} {kept:?}");
    assert_eq!(removed.len() + kept.len(), all);
    assert!(kept.iter().filter(|file| file.path.contains("t1")).count() >= 2, "{kept:?}");
    reading(firewall);
    assert!(!leftovers(firewall, true).iter().any(|name| crashed.contains(name)), "gone");
    assert_eq!(leftovers(firewall, false), pending, "what is armed stays");
    assert_eq!(reading(firewall).armed, armed);
    // Asked again, it says the same.
    let again = clean(firewall, removed.clone());
    assert_eq!(again, Cleaned::Done { removed, kept: Vec::new() });
    firewall.deadline(&id("t1"));
    firewall.minute();
    assert_eq!(reading(firewall).armed, [], "the rollback works");
    open_with(firewall, CAPS);
}

/// The loaded rules of the exposure: filter rule, redirection.
#[track_caller]
pub fn exposure(firewall: &mut impl Firewall) -> (Option<String>, Option<String>) {
    let (filter, nat) = firewall.loaded();
    let only = |text: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("<k8s_kms_lb>")).collect();
        assert!(lines.len() < 2, "{lines:?}");
        lines.first().map(|line| (*line).to_owned())
    };
    (only(&filter), only(&nat))
}

/// The exposure is open, with the filter rule's options as pfctl prints them, to the letter.
#[track_caller]
pub fn open_with(firewall: &mut impl Firewall, caps: (Option<u32>, Option<(u32, u32)>)) {
    let (filter, nat) = exposure(firewall);
    let filter = filter.expect("the filter rule is not loaded");
    let mut options = Vec::new();
    if let Some(most) = caps.0 {
        options.push(format!("max-src-conn {most}"));
    }
    if let Some((count, seconds)) = caps.1 {
        options.push(format!(
            "max-src-conn-rate {count}/{seconds}, overload <virusprot> flush global, src.track {seconds}"
        ));
    }
    let options = if options.is_empty() {
        String::new()
    } else {
        format!("(source-track rule, {}) ", options.join(", "))
    };
    let wanted = format!(" flags S/SA keep state {options}label ");
    assert!(filter.contains(&wanted), "{wanted}: {filter}");
    assert!(nat.is_some(), "the redirection is not loaded");
}

fn record(placed: Option<&Placed>) -> &Element {
    &placed.expect("a record").record
}

pub const CAPS: (Option<u32>, Option<(u32, u32)>) = (Some(50), Some((10, 60)));

fn caps_are_set(firewall: &mut impl Firewall) {
    open_with(firewall, CAPS);
    let before = reading(firewall);
    let outcome = done(firewall, "c1", caps(Some(20), Some((5, 30))));
    open_with(firewall, (Some(20), Some((5, 30))));
    let after = reading(firewall);
    assert_eq!(
        outcome.clone().with_fingerprints().fingerprints,
        (before.fingerprint, after.fingerprint.clone())
    );
    let rule = record(outcome.after.filter.as_ref());
    for (key, value) in [
        ("max-src-conn", "20"),
        ("max-src-conn-rate", "5"),
        ("max-src-conn-rates", "30"),
        ("tracker", "1763000004"),
    ] {
        assert_eq!(rule.child_text(key), Some(value), "{key}");
    }
    assert_eq!(outcome.before.nat, outcome.after.nat);
    assert!(outcome.steps.iter().all(|step| step.ok), "{:?}", outcome.steps);
    assert_eq!((outcome.reverts_at, outcome.reverted), (None, None));
    let newest = after.history.first().expect("the revision in force");
    let description = newest.description.as_deref().unwrap_or_default();
    for words in ["kmsctl (viktor@laptop)", "kmsctl c1: ", "too many, says the log"] {
        assert!(description.contains(words), "{description}");
    }
    assert_eq!(after.revision.username.as_deref(), Some("kmsctl (viktor@laptop)"));
    assert!((2..=30).contains(&after.history.len()));
}

fn caps_are_removed(firewall: &mut impl Firewall) {
    let first = done(firewall, "c1", caps(Some(50), None));
    let rule = record(first.after.filter.as_ref());
    assert!(!rule.has_child("max-src-conn-rate") && !rule.has_child("max-src-conn-rates"));
    open_with(firewall, (Some(50), None));
    done(firewall, "c2", caps(None, Some((10, 60))));
    open_with(firewall, (None, Some((10, 60))));
    done(firewall, "c3", caps(None, None));
    open_with(firewall, (None, None));
    let third = apply(firewall, "c4", caps(None, None));
    assert_eq!(third.result, ChangeEnding::NothingToDo);
}

fn nothing_to_do(firewall: &mut impl Firewall) {
    let before = reading(firewall);
    for (name, change) in [
        ("n1", caps(Some(50), Some((10, 60)))),
        ("n2", ConfigurationEdit::Enable),
        ("n3", build(50, (10, 60))),
    ] {
        let outcome = apply(firewall, name, change);
        assert_eq!(outcome.result, ChangeEnding::NothingToDo, "{name}: {outcome:#?}");
        assert_eq!(outcome.before, outcome.after);
    }
    assert_eq!(reading(firewall).revision, before.revision);
}

fn stale(firewall: &mut impl Firewall) {
    let old = asked(firewall, "s1", caps(Some(20), None));
    done(firewall, "s0", caps(Some(30), None));
    let revision = reading(firewall).revision;
    let outcome = send(firewall, old.clone());
    assert_eq!(outcome.result, ChangeEnding::Stale);
    assert_eq!(reading(firewall).revision, revision);
    assert_eq!(answer(firewall, "s1", false), OutcomeAnswer::Unknown, "a refusal is no change");
    let unseen = ApplyRequest { expect: reading(firewall).digest_of_rules(), ..old };
    let outcome = send(firewall, unseen);
    assert_eq!(outcome.result, ChangeEnding::Stale, "its records are not there");
    done(firewall, "s1", caps(Some(20), None));
}

fn applied_once(firewall: &mut impl Firewall) {
    let request = asked(firewall, "o1", caps(Some(20), None));
    let first = send(firewall, request.clone());
    done(firewall, "o2", caps(Some(30), None));
    let revision = reading(firewall).revision;
    let second = send(firewall, request);
    assert_eq!(first, second);
    assert_eq!(reading(firewall).revision, revision);
    assert_eq!(answer(firewall, "o1", true), OutcomeAnswer::Ended { outcome: Box::new(first) });
}

fn disabled_and_enabled(firewall: &mut impl Firewall) {
    let closed = done(firewall, "d1", ConfigurationEdit::Disable);
    assert_eq!(exposure(firewall), (None, None));
    for placed in [&closed.after.nat, &closed.after.filter] {
        assert!(record(placed.as_ref()).has_child("disabled"));
    }
    let opened = done(firewall, "d2", ConfigurationEdit::Enable);
    open_with(firewall, CAPS);
    assert_eq!(opened.after, closed.before, "toggling leaves no trace");
}

fn deleted_and_put_back(firewall: &mut impl Firewall) {
    let before = reading(firewall);
    assert_eq!(before.deleted, None);
    let deleted = done(firewall, "d1", ConfigurationEdit::Delete);
    assert_eq!(exposure(firewall), (None, None));
    assert_eq!((&deleted.after.nat, &deleted.after.filter), (&None, &None));
    let told = reading(firewall).deleted.expect("what was deleted");
    assert_eq!((told.id.as_str(), told.who.as_str()), ("d1", "viktor@laptop"));
    assert!(told.since.is_some_and(|since| since > 1_700_000_000));
    assert_eq!(told.records, deleted.before, "whole, for whoever asks");
    assert!(reading(firewall).alias.is_some(), "the alias is not the pair's");
    let restored = done(firewall, "d2", back(&deleted.before));
    open_with(firewall, CAPS);
    assert_eq!(restored.after, standing(&deleted.before), "verbatim, in their places");
    let after = reading(firewall);
    assert_eq!(after.fingerprint, before.fingerprint);
    assert_eq!((after.nat, after.filter), (before.nat, before.filter));
    assert_eq!(after.deleted, None, "they are there again");
    let twice = apply(firewall, "d3", back(&deleted.before));
    assert_eq!(twice.result, ChangeEnding::NothingToDo);
}

fn built_from_nothing(firewall: &mut impl Firewall) {
    done(firewall, "b0", ConfigurationEdit::Delete);
    let outcome = done(firewall, "b1", build(40, (8, 60)));
    open_with(firewall, (Some(40), Some((8, 60))));
    let (nat, filter) = (record(outcome.after.nat.as_ref()), record(outcome.after.filter.as_ref()));
    let association = nat.child_text("associated-rule-id").expect("an association");
    assert!(association.starts_with("nat_"));
    assert_eq!(filter.child_text("associated-rule-id"), Some(association));
    assert_eq!(filter.child_text("descr"), Some("NAT KMS public — kms.viktorbarzin.me"));
    assert_eq!(nat.child_text("target"), Some("k8s_kms_lb"));
    assert!(filter.child_text("tracker").is_some_and(|tracker| tracker.len() == 10));
    let gone = done(firewall, "b2", back(&outcome.before));
    assert_eq!((gone.after.nat, gone.after.filter), (None, None));
    assert_eq!(gone.after.separators, outcome.before.separators);
}

fn half_is_completed(firewall: &mut impl Firewall) {
    let deleted = done(firewall, "h0", ConfigurationEdit::Delete);
    let mut half = deleted.before.clone();
    half.filter = None;
    done(firewall, "h1", back(&half));
    let outcome = done(firewall, "h2", build(50, (10, 60)));
    open_with(firewall, CAPS);
    assert_eq!(outcome.after.nat, outcome.before.nat, "the half that was there is right");
    let association = record(outcome.after.nat.as_ref()).child_text("associated-rule-id");
    let filter = record(outcome.after.filter.as_ref());
    assert_eq!(filter.child_text("associated-rule-id"), association);
}

fn called_off(firewall: &mut impl Firewall) {
    assert_eq!(answer(firewall, "u1", false), OutcomeAnswer::Unknown);
    assert_eq!(answer(firewall, "u1", true), OutcomeAnswer::Unknown);
    let before = reading(firewall);
    let outcome = apply(firewall, "u1", caps(Some(20), None));
    assert_eq!(outcome.result, ChangeEnding::Refused, "it must not arrive after that answer");
    assert_eq!(reading(firewall).revision, before.revision);
    assert_eq!(answer(firewall, "u1", true), OutcomeAnswer::Unknown);
}

/// A temporary change, an hour long by any clock that a test may have.
fn temporary(
    firewall: &mut impl Firewall,
    name: &str,
    change: ConfigurationEdit,
) -> (ChangeOutcome, i64) {
    let deadline = 4_000_000_000;
    let request = ApplyRequest { revert_at: Some(deadline), ..asked(firewall, name, change) };
    (send(firewall, request), deadline)
}

fn taken_back(firewall: &mut impl Firewall) {
    let before = reading(firewall);
    let (outcome, deadline) = temporary(firewall, "t1", caps(Some(5), Some((2, 60))));
    assert_eq!((outcome.result, outcome.reverts_at), (ChangeEnding::Done, Some(deadline)));
    let armed = reading(firewall).armed;
    assert_eq!(armed.len(), 1);
    assert_eq!((armed[0].id.as_str(), armed[0].reverts_at), ("t1", deadline));
    assert_eq!(armed[0].who, "viktor@laptop");
    assert_eq!((armed[0].port, armed[0].interface.as_str()), (1688, "wan"));
    firewall.minute();
    open_with(firewall, (Some(5), Some((2, 60))));
    firewall.deadline(&id("t1"));
    firewall.minute();
    open_with(firewall, CAPS);
    let after = reading(firewall);
    assert_eq!(after.fingerprint, before.fingerprint);
    assert_eq!((after.armed, after.unfinished), (vec![], vec![]));
    let OutcomeAnswer::Ended { outcome } = answer(firewall, "t1", false) else {
        panic!("it has ended")
    };
    assert_eq!(outcome.result, ChangeEnding::Done);
    assert_eq!(outcome.reverted.map(|reverted| reverted.result), Some(ChangeEnding::Done));
    firewall.minute();
    assert_eq!(reading(firewall).revision, after.revision, "once is enough");
    assert_eq!(expired(firewall), [("t1".to_owned(), ChangeEnding::Done)]);
}

/// What the firewall reports of rollbacks that are armed no more.
fn expired(firewall: &mut impl Firewall) -> Vec<(String, ChangeEnding)> {
    let expired = reading(firewall).expired.into_iter();
    expired.map(|expired| (expired.id.to_string(), expired.reverted.result)).collect()
}

fn kept(firewall: &mut impl Firewall) {
    assert_eq!(keep(firewall, "k1"), Kept::NotArmed);
    let (_, deadline) = temporary(firewall, "k1", ConfigurationEdit::Disable);
    // The second wish is shorter than the first.
    for (until, before, now) in [
        (deadline + 7200, deadline, deadline + 7200),
        (deadline + 60, deadline + 7200, deadline + 7200),
    ] {
        let told = Kept::Kept { reverts_at: before };
        assert_eq!(prolong(firewall, "k1", Some(until)), told);
        assert_eq!(reading(firewall).armed[0].reverts_at, now);
    }
    firewall.minute();
    assert_eq!(exposure(firewall), (None, None), "not yet");
    let deadline = deadline + 7200;
    assert_eq!(keep(firewall, "k1"), Kept::Kept { reverts_at: deadline });
    assert_eq!(keep(firewall, "k1"), Kept::NotArmed);
    assert_eq!(reading(firewall).armed, vec![]);
    firewall.minute();
    assert_eq!(expired(firewall), [], "kept is not taken back");
    assert_eq!(exposure(firewall), (None, None));
    let (_, _) = temporary(firewall, "k2", ConfigurationEdit::Enable);
    firewall.deadline(&id("k2"));
    firewall.minute();
    assert_eq!(exposure(firewall), (None, None));
    assert!(matches!(keep(firewall, "k2"), Kept::Reverted { .. }));
}

/// Whatever its time and whatever the rules are then: a change that was proven since is not taken back by an older one.
fn superseded(firewall: &mut impl Firewall) {
    temporary(firewall, "s1", ConfigurationEdit::Disable);
    done(firewall, "s2", ConfigurationEdit::Enable);
    assert_eq!(reading(firewall).armed, vec![], "s2 stands in its place");
    assert_eq!(expired(firewall), [("s1".to_owned(), ChangeEnding::Stale)]);
    // What the rules are now is what the first had made of them.
    done(firewall, "s3", ConfigurationEdit::Disable);
    let OutcomeAnswer::Ended { outcome } = answer(firewall, "s1", false) else {
        panic!("it has ended")
    };
    let reverted = outcome.reverted.expect("why it did not fire");
    assert_eq!(
        (reverted.result, reverted.message.as_str()),
        (ChangeEnding::Stale, "superseded by s2")
    );
    for _ in 0..3 {
        firewall.minute();
    }
    assert_eq!(exposure(firewall), (None, None), "it stays closed");

    // One over the other would lead back to what was temporary.
    temporary(firewall, "s4", ConfigurationEdit::Enable);
    let (second, _) = temporary(firewall, "s5", caps(Some(5), None));
    assert_eq!(second.result, ChangeEnding::Refused, "{second:#?}");
    assert!(second.message.contains("s4"), "{}", second.message);
    let undone = done(firewall, "s6", ConfigurationEdit::Disable);
    let step = undone.steps.iter().find(|step| step.name == "supersede");
    assert_eq!(step.map(|step| step.detail.as_str()), Some("s4"));
    assert_eq!(reading(firewall).armed, vec![]);

    // The same again for good: nothing is to be written, and it stays.
    temporary(firewall, "s7", ConfigurationEdit::Enable);
    done(firewall, "s8", ConfigurationEdit::Enable);
    assert_eq!(reading(firewall).armed, vec![]);
}

fn refused(firewall: &mut impl Firewall) {
    let before = reading(firewall);
    for (name, change) in [
        ("r1", caps(Some(0), None)),
        ("r2", caps(None, Some((0, 60)))),
        ("r3", caps(None, Some((10, 0)))),
        ("r4", caps(None, Some((10, 256)))),
        ("r5", caps(None, Some((4_294_967, 60)))),
    ] {
        let outcome = apply(firewall, name, change);
        assert_eq!(outcome.result, ChangeEnding::Refused, "{name}: {outcome:?}");
    }
    let past =
        ApplyRequest { revert_at: Some(1), ..asked(firewall, "r6", ConfigurationEdit::Disable) };
    assert_eq!(send(firewall, past).result, ChangeEnding::Refused);
    done(firewall, "r7", ConfigurationEdit::Delete);
    for (name, change) in [
        ("r8", caps(Some(1), None)),
        ("r9", ConfigurationEdit::Disable),
        ("r10", ConfigurationEdit::Enable),
        ("r11", ConfigurationEdit::Delete),
    ] {
        let outcome = apply(firewall, name, change);
        assert_eq!(outcome.result, ChangeEnding::Refused, "{name}: {outcome:?}");
    }
    assert_ne!(reading(firewall).revision, before.revision);
    let nothing = apply(firewall, "r12", back(&Records::default()));
    assert_eq!(nothing.result, ChangeEnding::NothingToDo);
}
