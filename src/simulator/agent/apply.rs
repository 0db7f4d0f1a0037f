//! One change from lock to proof, in the order of the agent's `apply.php`, and the rollback of a temporary one.
//! Nothing here can be interrupted, so what the real agent does about that has no counterpart; the scenarios
//! say what goes wrong.

use super::ledger::Stored;
use super::swap::{present_records, swap_records};
use crate::domain::pfsense::change::{
    ChangeEnding, ChangeId, ChangeOutcome, ChangeStep, Placed, Records, Reverted, RunningChange,
    Swap,
};
use crate::pfsense::agent::ApplyRequest;
use crate::simulator::configuration::{Configuration, generate};
use crate::simulator::scenario::Scenario;
use crate::simulator::world::{Cut, World};

/// Which ruleset is loaded, for the scenarios in which one does not load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    New,
    Old,
}

struct Course<'a> {
    request: &'a ApplyRequest,
    before: Records,
    steps: Vec<ChangeStep>,
    lost_update: Option<String>,
}

/// Makes a change. The same id is made once: asked again, it answers what became of it.
pub fn apply_change(world: &mut World, request: &ApplyRequest) -> ChangeOutcome {
    if let Some(stored) = world.ledger.get(&request.id) {
        return stored.outcome.clone();
    }
    let outcome = begin_change(world, request);
    if world.scenario != Scenario::Locked {
        // The holder of the lock writes a name into it, and takes it out again.
        world.ledger.debris.retain(|file| !file.path.ends_with("/lock"));
    }
    world.cut = match world.scenario {
        Scenario::CutAfterApply => Some(Cut::AfterAnswer),
        Scenario::CutBeforeAnswer => Some(Cut::BeforeAnswer),
        _ => None,
    };
    outcome
}

fn begin_change(world: &mut World, request: &ApplyRequest) -> ChangeOutcome {
    let mut course = Course {
        request,
        before: present_records(&world.configuration, &request.swap),
        steps: Vec::new(),
        lost_update: None,
    };
    if let Some((result, why)) = change_obstacle(world, request) {
        match world.scenario {
            Scenario::DiskFull => course.step("room", false, why.as_str()),
            Scenario::HaBackup => course.step("primary", false, why.as_str()),
            _ => {}
        }
        let mut outcome = course.end(result, &why);
        outcome.holder = lock_holder(world).filter(|_| result == ChangeEnding::Locked);
        return outcome;
    }
    match swap_records(&world.configuration, &request.swap) {
        None => course.end(ChangeEnding::Stale, "a record that was shown is not there, or twice"),
        Some(wanted)
            if wanted.tree.0.canonical_json() == world.configuration.tree.0.canonical_json() =>
        {
            course.load(world)
        }
        Some(wanted) => course.make(world, wanted),
    }
}

/// Returns who makes a change in [`Scenario::Locked`].
pub fn lock_holder(world: &World) -> Option<RunningChange> {
    if world.scenario != Scenario::Locked {
        return None;
    }
    Some(RunningChange {
        id: ChangeId::new("another-operators-change")?,
        who: "anna@desk".to_owned(),
        what: "caps per source: max-src-conn 10, max-src-conn-rate 3/60".to_owned(),
        since: world.now.div_euclid(1000) - 40,
    })
}

/// Returns why a change is refused before anything is written.
fn change_obstacle(world: &World, request: &ApplyRequest) -> Option<(ChangeEnding, String)> {
    let refused = |why: &str| Some((ChangeEnding::Refused, why.to_owned()));
    let now = world.now.div_euclid(1000);
    if request.revert_at.is_some_and(|at| at <= now) {
        return refused("the time of the rollback has already passed");
    }
    if world.ledger.is_void(&request.id) {
        return refused("it was called off before it arrived");
    }
    if lock_holder(world).is_some() {
        let why = "another change is being made";
        return Some((ChangeEnding::Locked, why.to_owned()));
    }
    if request.expect != world.configuration.read(&request.service).digest_of_rules() {
        let why = "the rules, the aliases or the separators have changed since they were shown";
        return Some((ChangeEnding::Stale, why.to_owned()));
    }
    let armed = world.ledger.armed_on(&request.service);
    if let (Some(_), Some(id)) = (request.revert_at, armed.first()) {
        return refused(&format!(
            "the temporary change {id} is armed on these rules; keep it or undo it first"
        ));
    }
    let dirty = world.configuration.dirty.join(", ");
    if !dirty.is_empty() && !request.with_pending {
        let why = format!(
            "changes saved in the GUI wait to be applied ({dirty}); loading the ruleset would apply them too"
        );
        return Some((ChangeEnding::Pending, why));
    }
    let interface = &request.service.interface;
    if world.configuration.tree.section("system").has_child("disablefilter") {
        return refused("filtering is switched off on this firewall");
    }
    if !world.configuration.tree.section("interfaces").has_child(interface) {
        return refused(&format!("there is no interface {interface}"));
    }
    if world.scenario == Scenario::HaBackup {
        return refused("this node is a CARP backup; its rules come from the primary");
    }
    if world.scenario == Scenario::DiskFull {
        return refused(
            "20480 bytes are free on the disk of /conf, and a change needs 684210: ten times the configuration",
        );
    }
    None
}

impl Course<'_> {
    fn step(&mut self, name: &str, ok: bool, detail: impl Into<String>) {
        self.steps.push(ChangeStep { name: name.to_owned(), ok, detail: detail.into() });
    }

    /// Returns the outcome of a change that has left everything as it was.
    fn end(self, result: ChangeEnding, message: &str) -> ChangeOutcome {
        ChangeOutcome {
            id: self.request.id.clone(),
            result,
            message: message.to_owned(),
            fingerprints: (self.before.fingerprint(), self.before.fingerprint()),
            after: self.before.clone(),
            before: self.before,
            steps: self.steps,
            reverts_at: None,
            lost_update: self.lost_update,
            holder: None,
            reverted: None,
        }
    }

    /// Loads what is written already, unless pf runs it and nothing is armed. There is nothing to take back.
    fn load(mut self, world: &mut World) -> ChangeOutcome {
        let runs = generate::generate_ruleset(&world.configuration)
            .is_ok_and(|rules| world.pf.runs(&rules));
        if runs && world.ledger.armed_on(&self.request.service).is_empty() {
            return self.end(ChangeEnding::NothingToDo, "it is so already");
        }
        let (result, message) = match reload_rules(world, Load::New) {
            Ok(()) if world.pf.enabled => (ChangeEnding::Done, "loaded and proven".to_owned()),
            Ok(()) => {
                let why = "but not proven: pf is switched off on this firewall";
                (ChangeEnding::Unproven, why.to_owned())
            }
            Err(why) => (ChangeEnding::Unproven, format!("but not proven: {why}")),
        };
        self.supersede(world);
        let message = format!("the configuration was so already, {message}");
        self.keep(world, result, &message)
    }

    /// Writes, loads and proves; on failure brings the old state back.
    fn make(mut self, world: &mut World, wanted: Configuration) -> ChangeOutcome {
        self.step("arm", true, "");
        if world.scenario == Scenario::WriteFails {
            self.step("write", false, "write_config returned -1");
            return self.keep(
                world,
                ChangeEnding::Failed,
                "pfSense did not write the configuration",
            );
        }
        let old = world.configuration.clone();
        self.write(world, wanted);
        match reload_rules(world, Load::New) {
            Ok(()) => {
                self.step("reload", true, "");
                self.step("prove", true, "");
                self.supersede(world);
                let lost = self.lost_update.as_ref().map(|lost| {
                    format!("; another writer's change was replaced, his version is {lost}")
                });
                let message = format!("written, loaded and proven{}", lost.unwrap_or_default());
                let outcome = self.keep(world, ChangeEnding::Done, &message);
                world.wake_at_minute();
                outcome
            }
            Err(why) => {
                self.step("reload", false, why.clone());
                self.roll_back(world, &old, &why)
            }
        }
    }

    /// Disarms older rollbacks of the same rules: none of them may end a change that was proven since.
    fn supersede(&mut self, world: &mut World) {
        let reverted = Reverted {
            at: world.now.div_euclid(1000),
            result: ChangeEnding::Stale,
            message: format!("superseded by {}", self.request.id),
        };
        for id in world.ledger.armed_on(&self.request.service) {
            world.ledger.end_rollback(&id, reverted.clone());
            self.step("supersede", true, id.as_str());
        }
    }

    fn write(&mut self, world: &mut World, wanted: Configuration) {
        let now = world.now;
        if world.scenario == Scenario::LostUpdate {
            // The other version is in pfSense's backups, and nowhere else from now on.
            let (who, what) =
                ("anna@10.0.10.6 (Local Database)", "Firewall: Aliases - saved/edited an alias.");
            let time = world.configuration.revise(now, what, who);
            let id = &self.request.id;
            self.lost_update = Some(format!("/conf/kmsctl/lost-{id}-{time}.xml"));
        }
        world.configuration.replace(wanted);
        let description = revision_text(self.request);
        let username = format!("kmsctl ({})", self.request.who);
        let revision = world.configuration.revise(now, &description, &username);
        self.step("write", true, format!("revision {revision}"));
    }

    fn roll_back(mut self, world: &mut World, old: &Configuration, why: &str) -> ChangeOutcome {
        let now = world.now;
        world.configuration.replace(old.clone());
        let description = format!("kmsctl {}: taken back, it could not be proven", self.request.id);
        let username = format!("kmsctl ({})", self.request.who);
        let revision = world.configuration.revise(now, &description, &username);
        self.step("roll-back", true, format!("revision {revision}"));
        match reload_rules(world, Load::Old) {
            Ok(()) => {
                self.step("reload", true, "");
                self.step("prove", true, "");
                let message = format!("{why}; the old rules are back in force");
                self.keep(world, ChangeEnding::RolledBack, &message)
            }
            Err(again) => {
                self.step("reload", false, again.clone());
                self.step("roll-back", false, again.clone());
                let message = format!("{why}; it could not be taken back yet: {again}");
                self.keep(world, ChangeEnding::Unproven, &message)
            }
        }
    }

    fn keep(self, world: &mut World, result: ChangeEnding, message: &str) -> ChangeOutcome {
        let request = self.request;
        let mut outcome = self.end(result, message);
        outcome.after = present_records(&world.configuration, &request.swap);
        outcome.fingerprints.1 = outcome.after.fingerprint();
        let changed = outcome.before != outcome.after;
        outcome.reverts_at = request.revert_at.filter(|_| result == ChangeEnding::Done && changed);
        let now = world.now.div_euclid(1000);
        world.ledger.keep(Stored::new(outcome.clone(), request, now), &request.forget);
        outcome
    }
}

/// Returns what stands in pfSense's configuration history.
fn revision_text(request: &ApplyRequest) -> String {
    let reason = request.reason.as_deref();
    let reason = reason.filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {reason}"));
    let (id, what) = (&request.id, &request.what);
    format!("kmsctl {id}: {what}{}", reason.unwrap_or_default())
}

/// Loads what the configuration says, or says why pf goes on with the rules it has.
fn reload_rules(world: &mut World, load: Load) -> Result<(), String> {
    let fails = match world.scenario {
        Scenario::LoadFails => load == Load::New,
        Scenario::Unproven => true,
        _ => false,
    };
    let words = "pfSense did not load its ruleset: There were error(s) loading the rules";
    if fails {
        return Err(format!("{words}: /tmp/rules.debug:212: syntax error"));
    }
    let ruleset = generate::generate_ruleset(&world.configuration)
        .map_err(|why| format!("{words}: {why}"))?;
    world.pf.load(&ruleset, world.now);
    world.configuration.dirty.clear();
    Ok(())
}

/// Takes a temporary change back, if the rules still are what it made of them.
pub fn revert_change(world: &mut World, id: &ChangeId) {
    let Some(stored) = world.ledger.get(id).cloned() else {
        return;
    };
    let (result, message) = take_back(world, &stored);
    let at = world.now.div_euclid(1000);
    let reverted = Reverted { at, result, message };
    world.ledger.end_rollback(id, reverted);
}

fn take_back(world: &mut World, stored: &Stored) -> (ChangeEnding, String) {
    let outcome = &stored.outcome;
    let present = present_records(&world.configuration, &stored.swap());
    let with_alias = outcome.before.alias != outcome.after.alias;
    let is = |records: &Records| {
        revert_objects(records, with_alias) == revert_objects(&present, with_alias)
    };
    let alone = "the rules have been changed by somebody else since, so they were left alone";
    if !is(&outcome.after) {
        return if is(&outcome.before) {
            let why = "the old rules were back already";
            (ChangeEnding::NothingToDo, why.to_owned())
        } else {
            (ChangeEnding::Stale, alone.to_owned())
        };
    }
    let made = stored.swap();
    let back = Swap { before: made.after, after: made.before, ..Swap::default() };
    let Some(wanted) = swap_records(&world.configuration, &back) else {
        let why = "a record that it has made is not there, or twice, or what stood beside one that comes back is not";
        return (ChangeEnding::Unproven, why.to_owned());
    };
    world.configuration.replace(wanted);
    let description = format!("kmsctl {}: taken back, its time is over", outcome.id);
    let username = format!("kmsctl ({})", stored.who);
    world.configuration.revise(world.now, &description, &username);
    let dirty = world.configuration.dirty.join(", ");
    let activated = if dirty.is_empty() {
        String::new()
    } else {
        format!("; this also activated changes saved in the GUI and not applied ({dirty})")
    };
    match reload_rules(world, Load::Old) {
        Ok(()) => (
            ChangeEnding::Done,
            format!("its time was over; the old rules are back in force{activated}"),
        ),
        Err(why) => (ChangeEnding::Unproven, why),
    }
}

/// Returns what of the exposure a rollback relies on. Not the separators: an administrator who moves a coloured bar
/// has not touched the exposure.
fn revert_objects(records: &Records, with_alias: bool) -> [Option<String>; 3] {
    let of = |placed: &Option<Placed>| placed.as_ref().map(|placed| placed.record.canonical_json());
    let alias = of(&records.alias).filter(|_| with_alias);
    [of(&records.nat), of(&records.filter), alias]
}
