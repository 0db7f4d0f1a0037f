//! A planned change as a value: what it does, what it alters, how it is proven, how it is taken back, what may
//! follow from it, and what was read when it was made. It can be saved, read again and refused when stale. Pure:
//! readings in, plans out; carrying one out is `change`'s work.

mod armed;
mod build;
mod caps;
mod clean;
mod effect;
mod entry;
mod exposure;
mod facts;
mod opening;
mod replan;
mod states;
mod table;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::firewall_identity::FirewallIdentity;
use super::pf::table::TableName;
use super::pfsense::change::{ChangeId, ConfigurationEdit};
use super::pfsense::edit::{EditRefusal, RefusalCode};
use crate::text::{counted, hexadecimal};

pub use armed::{time_words, timer_risk, too_late};
pub use build::plan_apply;
pub use caps::{WantedCaps, caps_of_preset, check_caps, plan_caps, rate_value};
pub use clean::{leftover_facts, plan_cleaning};
pub use entry::{Address, PlannedEntry};
pub use exposure::{ChangeOptions, PlanBasis, plan_revoke};
pub use facts::{configuration_facts, entry_facts, state_facts};
pub use opening::{SavedRecords, plan_restore};
pub use replan::{Ground, LONGEST, Origins, SHORTEST, check_same_change, plan_again};
pub use states::{Live, PlannedState, StatesChoice, plan_kill, rule_labels};
pub use table::{SourceCounts, TableChoice, block, check_blockable, plan_freeing};
pub use undo::{Past, plan_keep, plan_undo};

/// The schema this program writes; it reads this one and no newer.
pub const SCHEMA: &str = "kmsctl/plan/v1";

/// A plan, complete and sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: String,
    /// The change's id; ours are twelve hexadecimal digits.
    pub id: ChangeId,
    /// When it was made, by the clock of the machine that made it.
    pub made_at: Timestamp,
    /// The firewall's name as output shows it.
    pub firewall: String,
    /// The host key that the firewall presented, `ALGORITHM FINGERPRINT`, if the link knows it.
    pub host_key: Option<String>,
    /// What else the firewall is known by: its authority, and the keys of other kinds that known_hosts has for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// Who made it: `user@host`.
    pub who: String,
    /// The command line in words, without the program's name and without secrets.
    pub command: String,
    /// Why, as the operator put it.
    pub reason: Option<String>,
    /// What is to be done.
    pub change: Draft,
    /// SHA-256 over the rest, in hexadecimal: shows that the file was edited.
    pub digest: String,
}

/// What is to be done, before it has an id and an author.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// One sentence: `Free 3 addresses from virusprot.`
    pub what: String,
    /// What differs afterwards, field by field.
    pub differences: Vec<Difference>,
    /// What will be proven, one sentence each.
    pub checks: Vec<String>,
    /// What takes it back.
    pub undo: Undo,
    /// What may follow from it.
    pub risks: Vec<Risk>,
    /// What the operator is asked.
    pub confirm: Confirm,
    /// What was read, to tell a stale plan.
    pub seen: Seen,
    /// The operation itself.
    pub operation: Operation,
    /// Seconds after which the firewall takes it back by itself.
    pub reverts_after: Option<u64>,
    /// The change that this one takes back.
    pub undoes: Option<String>,
}

/// One field that differs afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Its name: `max_src_conn`, `port forward`, `blocked`.
    pub field: String,
    /// What it is now; null is nothing.
    pub before: Value,
    /// What it will be.
    pub after: Value,
}

impl Difference {
    /// Makes a difference.
    pub fn new(field: &str, before: impl Into<Value>, after: impl Into<Value>) -> Self {
        Self { field: field.to_owned(), before: before.into(), after: after.into() }
    }

    /// Returns whether it is of the exposure as a whole, and of no field of a rule.
    pub(super) fn is_of_exposure(&self) -> bool {
        self.field == "exposure"
    }

    /// Returns whether it is of what the alias holds.
    pub fn is_of_alias(&self) -> bool {
        self.field == "alias"
    }
}

/// Whether and how a change can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Undo {
    /// `kmsctl undo ID` does it; what that means, one sentence.
    Command(String),
    /// Nothing does; why, one sentence.
    Impossible(String),
}

/// Something that may follow, with a stable name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// Kebab-case; scripts may match on it.
    pub code: String,
    /// One or two full sentences.
    pub message: String,
}

impl Risk {
    /// Makes a risk.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// Codes of risks in the order of what they may cost: what leaves the service open or opens it, what else is put in
/// force, whom it cuts off, what is lost.
const RANKED: &[&str] = &[
    "turns-exposure",
    "becomes-permanent",
    "uncovers",
    "other-path",
    "anchor-unread",
    "alias-shared",
    "leads-elsewhere",
    "shared-rule",
    "shadowed",
    "alias-stale",
    "opens-closed",
    "uncapped",
    "caps-off",
    "path-beside",
    "without-forward",
    "activates-pending",
    "takes-over",
    "armed",
    "failover",
    "for-left-out",
    "timer-stays",
    "connections-unread",
    "operator-left-out",
    "shared-table",
    "customer",
    "vantage",
    "every-service",
    "customers-unknown",
    "cut-soon",
    "preview",
    "by-label",
    "ends-inside",
    "connections-live-on",
    "source-limited",
    "built-anew",
    "ha-sync",
    "other-limit",
    "no-overload",
    "not-loaded",
    "age-unknown",
    "counts-kept",
    "counts-unknown",
    "counts-forgotten",
    "comes-back",
    "connections-stay",
    "not-blocked",
    "blocked-already",
    "preview-unknown",
    "stay-blocked",
    "never-bites",
    "revert-activates-pending",
    "reconnects",
    "counters-restart",
    "ages-restart",
    "silent",
];

/// So many risks are shown to people: a longer list is not read.
const SHOWN_RISKS: usize = 3;

impl Draft {
    /// Returns the risks that people are shown, the one that matters most first; JSON has all.
    pub fn shown_risks(&self) -> Vec<&Risk> {
        let mut risks: Vec<&Risk> = Vec::new();
        for risk in &self.risks {
            if risks.iter().all(|shown| shown.message != risk.message) {
                risks.push(risk);
            }
        }
        let rank = |risk: &&Risk| RANKED.iter().position(|code| *code == risk.code);
        risks.sort_by_key(rank);
        risks.truncate(SHOWN_RISKS);
        risks
    }
}

/// What the operator is asked, scaled to what is at stake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Confirm {
    /// y or N.
    YesNo,
    /// This word, typed.
    Word(String),
}

/// What the plan rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// SHA-256 of what was read: of the facts for tables and states, the agent's own for the configuration.
    pub fingerprint: String,
    /// The same for people, so that what moved can be named.
    pub facts: BTreeMap<String, String>,
}

impl Seen {
    /// Makes the record of facts that are their own fingerprint.
    pub fn of(facts: BTreeMap<String, String>) -> Self {
        let text = serde_json::to_vec(&facts).unwrap_or_default();
        Self { fingerprint: hexadecimal(&Sha256::digest(text)), facts }
    }

    /// Names what is different now, one `NAME: was A, is B` each; empty when nothing that matters moved.
    pub fn moved(&self, now: &BTreeMap<String, String>) -> Vec<String> {
        let nothing = "nothing".to_owned();
        let mut names: Vec<&String> = self.facts.keys().chain(now.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let said = names.into_iter().filter_map(|name| {
            let was = self.facts.get(name).unwrap_or(&nothing);
            let is = now.get(name).unwrap_or(&nothing);
            (was != is).then(|| format!("{name}: was {was}, is {is}"))
        });
        said.collect()
    }
}

/// The operation, exact: nothing is decided any more when it is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Deletes exactly these entries.
    TableDelete {
        /// The table.
        table: TableName,
        /// The entries.
        entries: Vec<PlannedEntry>,
        /// Of these, the addresses whose counts pf forgets, under every rule.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        forget: Vec<std::net::IpAddr>,
    },
    /// Adds exactly these entries to a table that exists.
    TableAdd {
        /// The table.
        table: TableName,
        /// The entries, with the time they had before.
        entries: Vec<PlannedEntry>,
    },
    /// Ends states of the service.
    StatesKill {
        /// Labels of the exposure's loaded rule, whose states are ended first.
        labels: Vec<String>,
        /// The states, both halves.
        states: Vec<PlannedState>,
        /// Only these clients' states; empty means every client.
        clients: Vec<std::net::IpAddr>,
    },
    /// Changes the configuration and loads it.
    Configuration {
        /// The change.
        change: ConfigurationEdit,
        /// Also where other changes wait to be applied.
        with_pending: bool,
        /// Ends the service's connections afterwards.
        end_connections: bool,
    },
    /// Makes a temporary change permanent, or prolongs it.
    Keep {
        /// The change's id.
        id: ChangeId,
        /// Until when at least, epoch seconds; `None` is for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<i64>,
    },
    /// Removes files that kmsctl left behind on the firewall.
    Clean {
        /// Where they are.
        paths: Vec<String>,
    },
}

impl Operation {
    /// Returns whether it only closes; see [`ConfigurationEdit::only_closes`].
    pub fn only_closes(&self) -> bool {
        matches!(self, Self::Configuration { change, .. } if change.only_closes())
    }
}

/// What planning came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    /// There is something to do.
    Change(Box<Draft>),
    /// There is not; one sentence.
    NothingToDo(String),
}

impl From<Draft> for Planned {
    fn from(draft: Draft) -> Self {
        Self::Change(Box::new(draft))
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// What was asked for makes no sense or is not allowed.
    Usage,
    /// The firewall is not in a condition in which it can work.
    Impossible,
    /// Another operator's work is in the way.
    Conflict,
}

/// A refusal: what is in the way and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Its kind.
    pub kind: RefusalKind,
    /// One sentence.
    pub message: String,
    /// What to do next, one sentence each.
    pub hints: Vec<String>,
}

impl Refusal {
    /// Makes a refusal without hints.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }

    /// Adds a hint that it does not have.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }
}

impl From<EditRefusal> for Refusal {
    fn from(refusal: EditRefusal) -> Self {
        let kind = match refusal.code {
            RefusalCode::Ambiguous
            | RefusalCode::Elsewhere
            | RefusalCode::FloatingDecides
            | RefusalCode::OtherInsidePort
            | RefusalCode::PortTaken
            | RefusalCode::SharedRule
            | RefusalCode::TrackerTaken
            | RefusalCode::Untellable
            | RefusalCode::WiderPort => RefusalKind::Conflict,
            RefusalCode::BadCaps
            | RefusalCode::HalfMissing
            | RefusalCode::NoAlias
            | RefusalCode::NoRuleForCaps
            | RefusalCode::NoRules
            | RefusalCode::NotOfService => RefusalKind::Impossible,
        };
        let wider = refusal.code == RefusalCode::WiderPort;
        let sentence = as_sentence(&refusal.clause);
        let refused = Self::new(kind, format!("Nothing was changed. {sentence}"))
            .hint("See what is there: `kmsctl expose show`");
        if wider {
            return refused.hint("Its other ports open and close with it: in the GUI, limit it to the service's port and give them a forward of their own.");
        }
        refused
    }
}

/// Who makes a plan, where and how: everything of a [`Plan`] that its [`Draft`] does not hold.
#[derive(Clone, Debug)]
pub struct Author {
    /// By the operator's machine.
    pub made_at: Timestamp,
    /// The firewall's name.
    pub firewall: String,
    /// Which box it is.
    pub identity: FirewallIdentity,
    /// `user@host`.
    pub who: String,
    /// The command line.
    pub command: String,
    /// Why.
    pub reason: Option<String>,
}

/// Why a saved plan is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not JSON, or not a plan.
    #[error("this is not a plan of kmsctl")]
    NotAPlan(String),
    /// Of a newer program.
    #[error("the plan has the schema {0}; this kmsctl reads {SCHEMA}")]
    NewerSchema(String),
    /// The digest does not fit.
    #[error("the plan was edited after it was made: its digest does not fit")]
    Edited,
}

impl Plan {
    /// Seals a draft. `salt` distinguishes two plans of the same moment: how long the history is.
    pub fn seal(draft: Draft, author: Author, salt: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(salt)
            .chain_update(author.made_at.to_string())
            .chain_update(format!("{}\n{}\n{}\n", author.who, author.firewall, author.command))
            // Both nodes of a pair may be reached by one name, as through tunnels.
            .chain_update(&author.identity.host_key)
            .chain_update(serde_json::to_vec(&draft).unwrap_or_default())
            .finalize();
        Self::seal_as(ChangeId::from_hash(hash.into()), draft, author)
    }

    /// Seals a draft of the demo, where the same commands in the same order have the same ids, whenever they are run.
    pub fn seal_for_demo(draft: Draft, author: Author, salt: &str) -> Self {
        let hash = Sha256::digest(format!("{salt}\n{}", author.command));
        Self::seal_as(ChangeId::from_hash(hash.into()), draft, author)
    }

    fn seal_as(id: ChangeId, draft: Draft, author: Author) -> Self {
        let mut plan = Self {
            schema: SCHEMA.to_owned(),
            id,
            made_at: author.made_at,
            firewall: author.firewall,
            host_keys: author.identity.other_keys(),
            host_key: Some(author.identity.host_key),
            who: author.who,
            command: author.command,
            reason: author.reason,
            change: draft,
            digest: String::new(),
        };
        plan.digest = plan.computed_digest();
        plan
    }

    /// Reads a saved plan and checks that it is whole, ours and unedited.
    pub fn read(text: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            schema: String,
        }
        let not_a_plan = |error: serde_json::Error| PlanError::NotAPlan(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(not_a_plan)?;
        match head.schema.as_str() {
            SCHEMA => {}
            other if other.starts_with("kmsctl/plan/") => {
                return Err(PlanError::NewerSchema(other.to_owned()));
            }
            _ => {
                return Err(PlanError::NotAPlan(format!("it does not name the schema {SCHEMA}")));
            }
        }
        // From the text and not from a general JSON value, which would lose the order of the records' elements.
        let mut plan: Self = serde_json::from_str(text).map_err(not_a_plan)?;
        let sealed = std::mem::take(&mut plan.digest);
        plan.digest = plan.computed_digest();
        if plan.digest == sealed { Ok(plan) } else { Err(PlanError::Edited) }
    }

    /// Returns the same plan with its change planned once more, the firewall's name there and the command that carries it
    /// out; sealed again.
    #[must_use]
    pub fn replanned(&self, change: Draft, firewall: &str, command: &str) -> Self {
        let mut plan = Self {
            change,
            firewall: firewall.to_owned(),
            command: command.to_owned(),
            digest: String::new(),
            ..self.clone()
        };
        plan.digest = plan.computed_digest();
        plan
    }

    /// Returns the keys that say which firewall it is of.
    pub fn recorded_keys(&self) -> Vec<&str> {
        let keys = self.host_key.iter().chain(&self.host_keys);
        keys.map(String::as_str).collect()
    }

    /// Returns the digest of a plan that is not sealed yet.
    fn computed_digest(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hexadecimal(&Sha256::digest(text))
    }
}

/// Names up to three, and how many more there are.
pub(crate) fn named(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Makes a sentence of the agent's clause; pf and pfSense are written small everywhere, and names as they are.
pub fn as_sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let word = clause.split([' ', ',']).next().unwrap_or_default();
    let named = !word.bytes().all(|byte| byte.is_ascii_lowercase());
    let sentence = if named || clause.starts_with("pf") {
        clause.to_owned()
    } else {
        first.unwrap_or_default() + letters.as_str()
    };
    if sentence.ends_with(['.', '!', '?']) { sentence } else { sentence + "." }
}
