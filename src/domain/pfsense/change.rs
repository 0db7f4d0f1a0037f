//! One change of config.xml as it travels to the firewall and as its outcome comes back: small verbs on the one
//! pair of rules, never a document. What a change means is decided before (`domain::plan`); how it is applied safely
//! is the agent's work. Serialised forms are part of the history: fields are added, never re-used.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use crate::domain::pfsense::record::Element;

use super::proof::PfProof;
use crate::domain::pf::rule::Rate;
use crate::domain::ratelimit::Caps;
use crate::text::{hexadecimal, quoted};

/// The name of one change, made by the client before anything happens: the agent does the same change once only, and
/// the client asks for its outcome by it. Letters, digits and `-`, 1 to 48 of them: it names files on the firewall.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChangeId(String);

impl ChangeId {
    /// Takes a text for an id, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=48).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// Makes the id of a change out of a hash: its first twelve digits in hexadecimal.
    pub fn from_hash(hash: [u8; 32]) -> Self {
        let mut id = hexadecimal(&hash);
        id.truncate(12);
        Self(id)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ChangeId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("{} is no id of a change", quoted(&text)))
    }
}

impl From<ChangeId> for String {
    fn from(id: ChangeId) -> Self {
        id.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConfigurationEdit {
    /// Sets the caps of the filter rule. Both rate keys are written together or unset together.
    Caps {
        /// `max-src-conn`; `None` unsets it. 1 or more.
        max_src_conn: Option<u32>,
        /// The rate pair; `None` unsets both keys. 1 or more connections within 1 to 255 seconds.
        rate: Option<Rate>,
    },
    /// Disables the port forward and its filter rule in one write.
    Disable,
    /// Disables the port forward alone, where without its filter rule something else would be open.
    DisableForward,
    /// Disables the filter rule alone, where without the port forward something else would be open.
    DisableFilter,
    Enable,
    /// Removes both records and shifts the separators below them.
    Delete,
    /// Makes the pair exactly these records again: puts back, replaces or removes. Undo, revert and restore are this.
    /// A record that is there stays where it stands; one that is gone comes back at its index.
    PutBack {
        records: Box<Records>,
        /// Also make the alias what it was. Undo of [`ConfigurationEdit::Build`] with an alias needs it; restoring rules does not.
        #[serde(default)]
        alias: bool,
    },
    /// Makes alias, port forward, filter rule and caps what the request's service says, changing only what differs.
    Build {
        description: String,
        max_src_conn: Option<u32>,
        rate: Option<Rate>,
        /// Also make or correct the alias, and lead a port forward to elsewhere to the service (`expose apply`);
        /// otherwise a missing alias and such a forward are refused.
        alias: bool,
    },
}

impl ConfigurationEdit {
    /// Returns whether it only closes: what no history stops, whether it cannot be written or is none.
    pub fn only_closes(&self) -> bool {
        match self {
            Self::Disable | Self::DisableForward | Self::DisableFilter | Self::Delete => true,
            Self::PutBack { records, .. } => records.nat.is_none() && records.filter.is_none(),
            Self::Enable | Self::Build { .. } | Self::Caps { .. } => false,
        }
    }

    /// Returns whether it switches off what of the pair can be, and nothing else.
    pub fn disables(&self) -> bool {
        matches!(self, Self::Disable | Self::DisableForward | Self::DisableFilter)
    }

    /// Says what it does, for the lock's holder and for pfSense's configuration history.
    pub fn edit_words(&self) -> String {
        match self {
            Self::Caps { max_src_conn, rate } => {
                format!("{CAPS_WORDS}{}", caps_words(*max_src_conn, *rate))
            }
            Self::Disable => DISABLED_WORDS.to_owned(),
            Self::DisableForward => format!("{DISABLED_WORDS} by its port forward"),
            Self::DisableFilter => format!("{DISABLED_WORDS} by its filter rule"),
            Self::Enable => "exposure enabled".to_owned(),
            Self::Delete => DELETED_WORDS.to_owned(),
            Self::PutBack { .. } => "exposure put back".to_owned(),
            Self::Build { max_src_conn, rate, .. } => {
                format!("exposure built, caps per source: {}", caps_words(*max_src_conn, *rate))
            }
        }
    }
}

/// How [`ConfigurationEdit::edit_words`] begin; the firewall keeps them of an armed change.
const CAPS_WORDS: &str = "caps per source: ";
const DISABLED_WORDS: &str = "exposure disabled";
const DELETED_WORDS: &str = "exposure deleted";

fn caps_words(max_src_conn: Option<u32>, rate: Option<Rate>) -> String {
    match (Caps { max_src_conn, rate }) {
        Caps { max_src_conn: None, rate: None } => "none".to_owned(),
        caps => caps.to_string(),
    }
}

/// The raw records of the exposure, whole, as pfSense's own parser reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// The port forward; `None` if there is none.
    pub nat: Option<Placed>,
    pub filter: Option<Placed>,
    pub alias: Option<Placed>,
    /// `nat/separator` and `filter/separator`, whole.
    pub separators: Separators,
}

/// What a change makes of the records, computed by the client: the firewall finds `before`, puts `after` in its place, and
/// knows nothing else of it. Its rollback is the inverse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The records as they were read. What is in neither is not touched.
    pub before: Records,
    pub after: Records,
    /// It takes the rules away: what it took is kept until they are back.
    pub deletes: bool,
    /// By what the records are known where another writer has changed them.
    pub names: RecordNames,
    pub proof: PfProof,
    pub closes: bool,
    /// It stays where it loads, even if pf shows something else: it lets nothing in by itself.
    pub stays: bool,
}

/// By what records are known: each of these has all that one alternative says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordNames {
    pub nat: Vec<Element>,
    pub filter: Vec<Element>,
    pub alias: Vec<Element>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Position from 0. Not an identity.
    pub index: u32,
    pub record: Element,
    /// Of a rule that goes, what stands beside it, the one above first: by that its place is found again. None of what stays,
    /// and in what older versions kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Vec<Neighbour>>,
}

/// What stands beside a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// By what it is known: it has all of this.
    pub record: Element,
    /// The rule stands behind it.
    pub behind: bool,
}

/// The coloured bars of the rule lists, whose places are counted in rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Separators {
    /// `nat/separator`.
    pub nat: Element,
    /// `filter/separator`, by interface.
    pub filter: Element,
}

impl Records {
    /// Returns the fingerprint: SHA-256 in hexadecimal over the canonical JSON of records and separators. Positions do
    /// not count: pfSense sorts the filter rules when it saves.
    pub fn fingerprint(&self) -> String {
        let list = |placed: &Option<Placed>| {
            Element::List(placed.iter().map(|placed| placed.record.clone()).collect())
        };
        let separators = Element::Map(vec![
            ("filter".to_owned(), self.separators.filter.clone()),
            ("nat".to_owned(), self.separators.nat.clone()),
        ]);
        let whole = Element::Map(vec![
            ("alias".to_owned(), list(&self.alias)),
            ("filter".to_owned(), list(&self.filter)),
            ("nat".to_owned(), list(&self.nat)),
            ("separators".to_owned(), separators),
        ]);
        hexadecimal(&Sha256::digest(whole.canonical_json()))
    }
}

/// What the agent did with a change, as it also leaves it on the firewall under the change's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeOutcome {
    pub id: ChangeId,
    pub result: ChangeEnding,
    /// One sentence for people: what happened, and for refusals what is in the way.
    pub message: String,
    pub before: Records,
    /// The records now; equal to `before` unless the ending is [`ChangeEnding::Done`] or [`ChangeEnding::Unproven`].
    pub after: Records,
    /// Of `before` and `after`; the firewall leaves them out, see [`ChangeOutcome::with_fingerprints`].
    #[serde(default)]
    pub fingerprints: (String, String),
    /// What was done, in order, for `history ID` and for reports.
    pub steps: Vec<ChangeStep>,
    /// Epoch seconds at which the armed rollback fires; `None` when nothing is armed.
    pub reverts_at: Option<i64>,
    /// A file on the firewall that holds another writer's version, which our write has replaced.
    #[serde(default)]
    pub lost_update: Option<String>,
    /// Who holds the lock, with [`ChangeEnding::Locked`].
    #[serde(default)]
    pub holder: Option<RunningChange>,
    /// How the armed rollback ended, once it has fired.
    #[serde(default)]
    pub reverted: Option<Reverted>,
}

impl ChangeOutcome {
    /// Computes the fingerprints of the records, unless an older kmsctl's agent has.
    #[must_use]
    pub fn with_fingerprints(mut self) -> Self {
        if self.fingerprints == Default::default() {
            self.fingerprints = (self.before.fingerprint(), self.after.fingerprint());
        }
        self
    }

    /// Returns the sentence with each cause once: a version that was replaced is in [`ChangeOutcome::lost_update`], and a way
    /// back that failed for the change's own cause says it again.
    pub fn brief_message(&self) -> String {
        let lost = self.lost_update.as_deref();
        let clauses = self.message.split("; ");
        let clauses = clauses.filter(|clause| lost.is_none_or(|lost| !clause.contains(lost)));
        let message = clauses.collect::<Vec<_>>().join("; ");
        let cause = self.steps.last().filter(|step| step.name == "roll-back" && !step.ok);
        let before = cause.and_then(|step| message.strip_suffix(&format!(": {}", step.detail)));
        let is_repeated =
            |before: &&str| cause.is_some_and(|step| before.starts_with(&step.detail));
        before.filter(is_repeated).map_or_else(|| message.clone(), str::to_owned)
    }
}

/// What the armed rollback did when its time had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reverted {
    /// Epoch seconds.
    pub at: i64,
    /// [`ChangeEnding::Done`]: the records before are back in force. [`ChangeEnding::NothingToDo`]: they were so already.
    /// [`ChangeEnding::Stale`]: the rules are not what the change made of them, so they were left alone.
    /// [`ChangeEnding::Unproven`]: written, and not proven.
    pub result: ChangeEnding,
    pub message: String,
}

impl Reverted {
    /// Returns whether the rules before the change were in force again.
    pub fn is_back(&self) -> bool {
        matches!(self.result, ChangeEnding::Done | ChangeEnding::NothingToDo)
    }
}

/// A change that is being made, or whose making was interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningChange {
    pub id: ChangeId,
    pub who: String,
    pub what: String,
    /// Epoch seconds at which it began.
    pub since: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "known", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OutcomeAnswer {
    /// It has ended; an interrupted one has been brought to an end by asking.
    Ended { outcome: Box<ChangeOutcome> },
    /// It is being made now; ask again.
    Running { running: RunningChange },
    /// No change of this id was begun, or it was refused before anything was written. Where the question settled it,
    /// none will be: a request that still travels under this id is refused when it arrives.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeEnding {
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeStep {
    /// Kebab-case, one of `store`, `lock`, `read`, `compare`, `preflight`, `arm`, `write`, `reread`, `reload`, `prove`, `roll-back`, ….
    pub name: String,
    pub ok: bool,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    pub id: ChangeId,
    /// Epoch seconds.
    pub reverts_at: i64,
    pub what: String,
    pub who: String,
    pub port: u16,
    /// pfSense's name of the interface whose rules it is about.
    pub interface: String,
}

/// What a temporary change has altered for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmedKind {
    Caps,
    Closing,
    Opening,
}

impl ArmedKind {
    pub const ALL: [Self; 3] = [Self::Caps, Self::Closing, Self::Opening];
}

impl Armed {
    /// Returns what it has altered. What another version calls by other words counts as what may not last.
    pub fn kind(&self) -> ArmedKind {
        if self.what.starts_with(CAPS_WORDS) {
            ArmedKind::Caps
        } else if self.what.starts_with(DISABLED_WORDS) || self.what == DELETED_WORDS {
            ArmedKind::Closing
        } else {
            ArmedKind::Opening
        }
    }
}

/// A rollback that is armed no more, without having been kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expired {
    pub id: ChangeId,
    pub reverted: Reverted,
}

/// What the last [`ConfigurationEdit::Delete`] took away, as the firewall keeps it: the one who opens again may be another operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    pub id: ChangeId,
    pub who: String,
    /// Epoch seconds at which it began.
    #[serde(default)]
    pub since: Option<i64>,
    pub records: Records,
}

/// What became of the wish to keep a temporary change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kept {
    /// It was armed, and is no more, or is prolonged.
    Kept {
        /// When it would have fired before, epoch seconds.
        reverts_at: i64,
    },
    /// Nothing was armed under this id: it was kept before, was never temporary, or is unknown.
    NotArmed,
    /// Too late: it has fired.
    Reverted { reverted: Reverted },
    /// A change is being made; ask again.
    Locked { holder: RunningChange },
}
