//! PHP on the simulated box: it runs kmsctl's agent script and nothing else. The script is recognised to the byte, so
//! a changed script fails here first. `swap` exchanges records, `apply` makes a change as the real agent does, `ledger` is
//! what it keeps.

mod apply;
pub mod ledger;
mod swap;

use super::pfctl::PfctlOutput;
use super::scenario::Scenario;
use super::world::World;
use crate::domain::pfsense::change::{Kept, OutcomeAnswer};
use crate::domain::pfsense::configured::Configured;
use crate::domain::pfsense::leftovers::{Cleaned, NotRemoved, StoredFile, StoredFiles, StoredLock};
use crate::domain::pfsense::stored::StoredChange;
use crate::pfsense::agent::{
    AgentRequest, CleanRequest, KeepRequest, OutcomeRequest, ReadRequest, encode_reply,
};
pub use apply::{apply_change, revert_change};

/// Runs `php` with these arguments and this script on its standard input.
pub fn run_agent(world: &mut World, arguments: &[String], input: &[u8]) -> PfctlOutput {
    if world.scenario == Scenario::PhpMissing {
        return PfctlOutput::failure(127, "sh: /usr/local/bin/php: not found");
    }
    let request = if arguments.is_empty() { AgentRequest::decode(input) } else { None };
    let Some((request, nonce)) = request else {
        return PfctlOutput::failure(
            255,
            "php: only kmsctl's agent script is supported by the simulated firewall",
        );
    };
    PfctlOutput::data(match request {
        AgentRequest::Read(request) => encode_reply(&read_configured(world, &request), &nonce),
        AgentRequest::Apply(request) => encode_reply(&apply_change(world, &request), &nonce),
        AgentRequest::Outcome(request) => encode_reply(&answer_outcome(world, &request), &nonce),
        AgentRequest::Keep(request) => encode_reply(&keep_change(world, &request), &nonce),
        AgentRequest::Clean(request) => encode_reply(&clean_leftovers(world, &request), &nonce),
    })
}

/// Answers what the configuration says.
pub fn read_configured(world: &World, request: &ReadRequest) -> Configured {
    let mut changes = world.ledger.changes(request);
    changes.extend(apply::lock_holder(world).map(|holder| StoredChange {
        id: holder.id,
        who: holder.who,
        what: holder.what,
        since: holder.since,
        port: request.port,
        interface: request.interface.clone(),
        alias: request.alias.clone(),
        ended: false,
        done: false,
        deletes: false,
        has_job: true,
        revert_at: None,
        reverted: None,
        took: None,
    }));
    let answer =
        Configured { changes, files: list_files(world), ..world.configuration.read(request) };
    answer.shaped_for(request)
}

/// Answers what became of a change.
pub fn answer_outcome(world: &mut World, request: &OutcomeRequest) -> OutcomeAnswer {
    if let Some(stored) = world.ledger.get(&request.id) {
        return OutcomeAnswer::Ended { outcome: Box::new(stored.outcome.clone()) };
    }
    if let Some(running) = apply::lock_holder(world).filter(|holder| holder.id == request.id) {
        return OutcomeAnswer::Running { running };
    }
    if request.settle {
        world.ledger.declare_void(&request.id);
    }
    OutcomeAnswer::Unknown
}

/// Makes a temporary change permanent, or prolongs it.
pub fn keep_change(world: &mut World, request: &KeepRequest) -> Kept {
    if let Some(holder) = apply::lock_holder(world) {
        return Kept::Locked { holder };
    }
    let Some(stored) = world.ledger.get_mut(&request.id) else {
        return Kept::NotArmed;
    };
    if let Some(reverted) = stored.outcome.reverted.clone() {
        return Kept::Reverted { reverted };
    }
    match stored.revert_at {
        Some(reverts_at) => {
            stored.revert_at = request.until.map(|until| until.max(reverts_at));
            stored.outcome.reverts_at = stored.revert_at;
            Kept::Kept { reverts_at }
        }
        None => Kept::NotArmed,
    }
}

/// Lists the files that lie under kmsctl's names.
fn list_files(world: &World) -> StoredFiles {
    let now = world.now.div_euclid(1000);
    let is_lock = |file: &&StoredFile| file.path == LOCK;
    let debris = || world.ledger.debris.iter();
    let dead = debris().find(is_lock).map(|file| (file.since, "anna@desk"));
    let holder = apply::lock_holder(world);
    let living = holder.as_ref().map(|holder| (holder.since, holder.who.as_str()));
    let lock = living.or(dead).map(|(since, who)| StoredLock {
        path: LOCK.to_owned(),
        since,
        who: who.to_owned(),
        held: living.is_some(),
    });
    let mut files: Vec<StoredFile> = debris().filter(|file| !is_lock(file)).cloned().collect();
    for (id, ..) in world.ledger.armed() {
        for path in [format!("/conf/kmsctl/revert-{id}.php"), format!("/etc/cron.d/kmsctl-{id}")] {
            files.push(StoredFile { path, since: now, orphaned: false });
        }
    }
    StoredFiles { now, files, lock }
}

pub fn clean_leftovers(world: &mut World, request: &CleanRequest) -> Cleaned {
    if let Some(holder) = apply::lock_holder(world) {
        return Cleaned::Locked { holder: Some(holder) };
    }
    let present = list_files(world).files;
    let armed: Vec<String> = world.ledger.armed().map(|(id, ..)| id.to_string()).collect();
    let stays = |file: &&StoredFile| {
        let is_another = |other: &StoredFile| other.path == file.path && other.since != file.since;
        present.iter().any(is_another) || armed.iter().any(|id| file.path.contains(id.as_str()))
    };
    let (kept, removed): (Vec<&StoredFile>, Vec<&StoredFile>) =
        request.files.iter().partition(stays);
    let [kept, removed] = [kept, removed]
        .map(|files| files.into_iter().map(|file| file.path.clone()).collect::<Vec<String>>());
    let debris = &mut world.ledger.debris;
    debris.retain(|file| !removed.contains(&file.path));
    Cleaned::Done {
        removed,
        kept: kept
            .into_iter()
            .map(|path| NotRemoved { path, why: "it is not left over any more".to_owned() })
            .collect(),
    }
}

const LOCK: &str = "/conf/kmsctl/lock";

#[cfg(test)]
mod tests;
