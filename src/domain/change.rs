//! One change of config.xml as it travels to the firewall and as its outcome comes back: small verbs on the one
//! pair of rules, never a document. What a change means is decided before (`domain::plan`); how it is applied safely
//! is the agent's work. Serialised forms are part of the history: fields are added, never re-used.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pf::rule::Rate;

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Sets the caps of the filter rule. Both rate keys are written together or unset together.
    Caps {
        /// `max-src-conn`; `None` unsets it.
        max_src_conn: Option<u32>,
        /// The rate pair; `None` unsets both keys.
        rate: Option<Rate>,
    },
    /// Disables the port forward and its filter rule in one write.
    Disable,
    /// Enables both.
    Enable,
    /// Removes both records and shifts the separators below them.
    Delete,
    /// Makes the pair exactly these records again: puts back, replaces or removes. Undo, revert and restore are this.
    PutBack {
        /// The records as they were.
        records: Box<Records>,
    },
    /// Makes alias, port forward, filter rule and caps what the request's service says, changing only what differs.
    Build {
        /// Description of new rules.
        description: String,
        /// Caps of the filter rule.
        max_src_conn: Option<u32>,
        /// Rate of the filter rule.
        rate: Option<Rate>,
        /// Also make or correct the alias (`expose apply`); otherwise a missing alias is refused.
        alias: bool,
    },
}

/// The raw records of the exposure, whole, as pfSense's own parser reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// The port forward; `None` if there is none.
    pub nat: Option<Placed>,
    /// The filter rule.
    pub filter: Option<Placed>,
    /// The alias.
    pub alias: Option<Placed>,
    /// `nat/separator` and `filter/separator`, whole.
    pub separators: Separators,
}

/// A record and where it stands in its list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Position from 0. Not an identity.
    pub index: u32,
    /// The record; an object of texts and objects.
    pub record: Value,
}

/// The coloured bars of the rule lists, whose places are counted in rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Separators {
    /// `nat/separator`.
    pub nat: Value,
    /// `filter/separator`.
    pub filter: Value,
}

/// What the agent did with a change, as it also leaves it on the firewall under the change's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The change's id.
    pub id: String,
    /// How it ended.
    pub result: Ending,
    /// One sentence for people: what happened, and for refusals what is in the way.
    pub message: String,
    /// The records before.
    pub before: Records,
    /// The records now; equal to `before` unless the ending is [`Ending::Done`] or [`Ending::Unproven`].
    pub after: Records,
    /// Fingerprint of the records before and now.
    pub fingerprints: (String, String),
    /// What was done, in order, for `history ID` and for reports.
    pub steps: Vec<Step>,
    /// Epoch seconds at which the armed way back fires; `None` when nothing is armed.
    pub reverts_at: Option<i64>,
    /// A backup on the firewall that holds another writer's version which our write has replaced.
    pub lost_update: Option<String>,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Written, loaded and proven.
    Done,
    /// It already was so; nothing was written or reloaded.
    NothingToDo,
    /// It failed; the old records are back, written, loaded and proven.
    RolledBack,
    /// Written, and neither the new nor the old state could be proven in force.
    Unproven,
    /// Refused before anything was written: the records are not those of the plan.
    Stale,
    /// Refused: another operator holds the lock.
    Locked,
    /// Refused: changes saved in the GUI wait to be applied.
    Pending,
    /// Refused for another reason (free space, ambiguous or missing rules, association `pass`, HA secondary, …).
    Refused,
    /// The write failed; the configuration on disk is the old one.
    Failed,
}

/// One step of applying a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Kebab-case: `lock`, `read`, `compare`, `preflight`, `arm`, `write`, `reread`, `reload`, `prove`, `roll-back`, ….
    pub name: String,
    /// It went well.
    pub ok: bool,
    /// Details, without secrets.
    pub detail: String,
}

/// A way back that is armed on the firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    /// The change it takes back.
    pub id: String,
    /// Epoch seconds.
    pub reverts_at: i64,
    /// What it takes back, for people.
    pub what: String,
    /// Who armed it.
    pub who: String,
}
