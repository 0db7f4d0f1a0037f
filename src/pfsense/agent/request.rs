//! What the agent can be asked, and the script that carries the question. The simulator reads the question back out
//! of a script that is ours to the byte. Not for answers.
//!
//! The script is put together from parts which are PHP files of their own. A question that only reads travels in a
//! script without the parts that write: such a script cannot change a firewall by any request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::domain::pfsense::change::{ChangeId, Swap};
pub use crate::domain::pfsense::config::ReadRequest;
use crate::domain::pfsense::leftovers::StoredFile;
use crate::domain::shell_word::ShellWord;
use crate::ssh::script::{Nonce, ScriptCommand};

/// The script of questions that read; [`REQUEST`] stands where the question goes.
const READING: &str = concat!(
    include_str!("frame.php"),
    include_str!("read.php"),
    include_str!("records.php"),
    include_str!("store.php"),
    include_str!("leftovers.php"),
    include_str!("main.php"),
);

/// The script of everything else; [`ITSELF`] stands where its own text goes, from which it makes the armed job.
const CHANGING: &str = concat!(
    include_str!("frame.php"),
    include_str!("read.php"),
    include_str!("records.php"),
    include_str!("store.php"),
    include_str!("leftovers.php"),
    include_str!("swap.php"),
    include_str!("job.php"),
    include_str!("proof.php"),
    include_str!("write.php"),
    include_str!("apply.php"),
    include_str!("finish.php"),
    include_str!("clean.php"),
    include_str!("main.php"),
);

/// Replaced by the question: base64 of a JSON object, which cannot end a PHP string.
const REQUEST: &str = "@REQUEST@";

/// Replaced by base64 of the script in which neither placeholder is replaced.
const ITSELF: &str = "@ITSELF@";

/// Make a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Whose rules.
    pub service: ReadRequest,
    /// The change's name. The same one is applied once.
    pub id: ChangeId,
    /// Who asks, such as `viktor@laptop`; stands in pfSense's configuration history.
    pub who: String,
    /// Why, in the operator's words; stands there too.
    pub reason: Option<String>,
    /// Digest of the rules that the change was judged by: [`Configured::digest_of_rules`].
    ///
    /// [`Configured::digest_of_rules`]: crate::domain::pfsense::configured::Configured::digest_of_rules
    pub expect: String,
    /// What it does, for people.
    pub what: String,
    /// The records before and after.
    pub swap: Swap,
    /// Go on although changes saved in the GUI wait to be applied: the reload applies them.
    pub with_pending: bool,
    /// Ended changes whose records it removes at its end.
    pub forget: Vec<ChangeId>,
    /// Epoch seconds, by the firewall's clock, at which the firewall takes the change back by itself.
    pub revert_at: Option<i64>,
}

/// Ask what became of a change. An interrupted one is brought to an end first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRequest {
    /// Whose rules.
    pub service: ReadRequest,
    /// The change's name.
    pub id: ChangeId,
    /// Make the answer final: a request that still travels under this id will be refused when it arrives.
    pub settle: bool,
}

/// Keep a temporary change: disarm its rollback timer, or prolong it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepRequest {
    /// Whose rules.
    pub service: ReadRequest,
    /// The change's name.
    pub id: ChangeId,
    /// Until when at least, epoch seconds; `None` is for good.
    pub until: Option<i64>,
}

/// Remove what was left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanRequest {
    /// Whose rules.
    pub service: ReadRequest,
    /// The name of this change.
    pub id: ChangeId,
    /// Who asks, such as `viktor@laptop`.
    pub who: String,
    /// The files; each is removed only if it is as old as it says here, and nothing has to do with it any more.
    pub files: Vec<StoredFile>,
}

/// Any of the questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum AgentRequest {
    /// Answered by a [`Configured`](crate::domain::pfsense::configured::Configured).
    Read(ReadRequest),
    /// Answered by an [`Outcome`](crate::domain::pfsense::change::ChangeOutcome).
    #[serde(rename = "swap")]
    Apply(Box<ApplyRequest>),
    /// Answered by an [`Answer`](crate::domain::pfsense::change::OutcomeAnswer).
    Outcome(OutcomeRequest),
    /// Answered by a [`Kept`](crate::domain::pfsense::change::Kept).
    Keep(KeepRequest),
    /// Answered by a [`Cleaned`](crate::domain::pfsense::leftovers::Cleaned).
    Clean(CleanRequest),
}

/// A question as it travels.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<Action> {
    nonce: String,
    /// The interpreter, for the armed job.
    php: String,
    action: Action,
}

impl AgentRequest {
    /// Makes the command that asks this; `php` is the interpreter's absolute path.
    pub fn command(&self, php: &ShellWord, nonce: &Nonce) -> ScriptCommand {
        let envelope = Envelope {
            nonce: nonce.as_str().to_owned(),
            php: php.as_str().to_owned(),
            action: self,
        };
        let script = match self {
            Self::Read(_) => READING,
            Self::Apply(_) | Self::Outcome(_) | Self::Keep(_) | Self::Clean(_) => CHANGING,
        };
        let literal = BASE64.encode(serde_json::to_vec(&envelope).unwrap_or_default());
        let input = script
            .replacen(REQUEST, &literal, 1)
            .replacen(ITSELF, &BASE64.encode(script), 1)
            .into_bytes();
        ScriptCommand { input, ..ScriptCommand::new([php.clone()]) }
    }

    /// Reads the question back out of a script, if the script is ours to the byte. For the simulator.
    pub fn decode(script_input: &[u8]) -> Option<(Self, Nonce)> {
        let literal = literal_in(script_input, READING)
            .map(|literal| (literal, true))
            .or_else(|| literal_in(script_input, CHANGING).map(|literal| (literal, false)));
        let (literal, reads) = literal?;
        let envelope: Envelope<Self> =
            serde_json::from_slice(&BASE64.decode(literal).ok()?).ok()?;
        let (request, nonce) = (envelope.action, read_nonce(&envelope.nonce)?);
        (matches!(request, Self::Read(_)) == reads).then_some((request, nonce))
    }
}

fn literal_in<'a>(input: &'a [u8], script: &str) -> Option<&'a [u8]> {
    let (before, after) = script.split_once(REQUEST)?;
    let after = after.replacen(ITSELF, &BASE64.encode(script), 1);
    input.strip_prefix(before.as_bytes())?.strip_suffix(after.as_bytes())
}

fn read_nonce(text: &str) -> Option<Nonce> {
    let digits = text.strip_prefix("kmsctl")?;
    let number = u128::from_str_radix(digits, 16).ok()?;
    let nonce = Nonce::new(number.to_be_bytes());
    (nonce.as_str() == text).then_some(nonce)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::domain::pf::table::TableName;
    use crate::domain::pfsense::change::{Element, Placed};

    fn service() -> ReadRequest {
        ReadRequest {
            alias: "k8s_kms_lb".into(),
            address: IpAddr::from([10, 0, 20, 202]),
            port: 1688,
            interface: "wan".into(),
            table: TableName::new("virusprot").unwrap(),
        }
    }

    fn apply(swap: Swap) -> AgentRequest {
        AgentRequest::Apply(Box::new(ApplyRequest {
            service: service(),
            id: ChangeId::new("20261122-1").unwrap(),
            who: "viktor@laptop".into(),
            reason: Some("'); system('id'); ('".into()),
            expect: "ab".into(),
            what: "exposure disabled".into(),
            swap,
            with_pending: false,
            forget: Vec::new(),
            revert_at: Some(1_795_350_619),
        }))
    }

    fn hostile_swap() -> Swap {
        let record = Element::of_texts([("descr", "'); system('id'); ('")]);
        let mut swap = Swap::default();
        swap.after.nat = Some(Placed { index: 1, record, beside: None });
        swap
    }

    fn requests() -> Vec<AgentRequest> {
        let id = ChangeId::new("20261122-1").unwrap();
        vec![
            AgentRequest::Read(service()),
            apply(hostile_swap()),
            AgentRequest::Outcome(OutcomeRequest {
                service: service(),
                id: id.clone(),
                settle: true,
            }),
            AgentRequest::Keep(KeepRequest {
                service: service(),
                id: id.clone(),
                until: Some(1_795_350_619),
            }),
            AgentRequest::Clean(CleanRequest {
                service: service(),
                id,
                who: "viktor@laptop".into(),
                files: ["/conf/kmsctl/revert-x.php", "'); system('id'); ('"]
                    .map(|path| StoredFile { path: path.into(), ..StoredFile::default() })
                    .into(),
            }),
        ]
    }

    fn nonce() -> Nonce {
        Nonce::new(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
    }

    fn input(request: &AgentRequest) -> Vec<u8> {
        request.command(&ShellWord::fixed("/usr/local/bin/php"), &nonce()).input
    }

    #[test]
    fn the_simulator_reads_the_request_that_the_client_writes() {
        for request in requests() {
            assert_eq!(
                AgentRequest::decode(&input(&request)),
                Some((request.clone(), nonce())),
                "{request:?}"
            );
        }
    }

    #[test]
    fn a_script_that_differs_in_one_byte_is_not_ours() {
        for request in requests() {
            let mut changed = input(&request);
            let place = memchr::memmem::find(&changed, b"kmsctl_has").unwrap();
            changed[place] = b'x';
            assert_eq!(AgentRequest::decode(&changed), None);
            let mut longer = input(&request);
            longer.extend_from_slice(b"phpinfo();\n");
            assert_eq!(AgentRequest::decode(&longer), None);
        }
    }

    #[test]
    fn values_cannot_leave_the_literal() {
        let hostile = ReadRequest { alias: "'); system('id'); ('".into(), ..service() };
        for request in [AgentRequest::Read(hostile), apply(hostile_swap())] {
            let input = input(&request);
            assert_eq!(memchr::memmem::find(&input, b"system('id')"), None);
            assert_eq!(AgentRequest::decode(&input), Some((request, nonce())));
        }
    }

    #[test]
    fn no_line_of_the_script_can_be_taken_for_a_marker() {
        let nonce = nonce();
        for request in requests() {
            assert!(
                input(&request)
                    .split(|byte| *byte == b'\n')
                    .all(|line| !line.starts_with(nonce.as_str().as_bytes()))
            );
        }
    }

    #[test]
    fn a_script_that_reads_cannot_write() {
        for name in [
            "write_config(",
            "filter_configure(",
            "filter_configure_sync(",
            "file_put_contents(",
            "rename(",
            "unlink(",
            "fwrite(",
            "exec(",
        ] {
            assert!(!READING.contains(name), "{name}");
        }
        assert!(CHANGING.contains("write_config("));
    }

    #[test]
    fn each_placeholder_stands_once_and_the_last_line_ends() {
        for (script, itself) in [(READING, 0), (CHANGING, 1)] {
            assert_eq!(script.matches(REQUEST).count(), 1);
            assert_eq!(script.matches(ITSELF).count(), itself);
            assert!(script.ends_with('\n'));
        }
    }

    proptest::proptest! {
        #[test]
        fn decode_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = AgentRequest::decode(&bytes);
        }
    }
}
