//! Has pfSense's own PHP read and change config.xml: sends the script of `agent/*.php` with a [`AgentRequest`], and reads
//! its answer. The simulator uses the other half: it reads the request and writes an answer. What the answer of
//! a read means is `domain::exposure`'s work; what a change is, `domain::pfsense`'s.
//!
//! The answer is one JSON line between `agent NONCE begin` and `agent NONCE end`. The markers do not start with
//! the nonce, so they cannot be taken for those of [`crate::ssh::script`], which carry the same one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::pfsense::configured::Configured;
use crate::domain::shell_word::ShellWord;
use crate::error::Failure;
use crate::ssh::script::{Nonce, ScriptCommand};
use crate::text::{MOST_VALUES, format_bytes, has_too_many_values};

mod request;

pub use request::{
    AgentRequest, ApplyRequest, CleanRequest, KeepRequest, OutcomeRequest, ReadRequest,
};

/// A longer answer is not one of ours: a hundred rules are about 90 kB.
pub const LONGEST_ANSWER: usize = 8 << 20;

/// Why there is no configuration to judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// Nothing between markers came back: PHP is missing, or ended before our script could say a word.
    #[error("PHP on the firewall did not answer{}", quoted_text(said.as_ref()))]
    NoAnswer {
        /// The last line it printed instead, if any.
        said: Option<String>,
    },
    /// The answer starts and does not end.
    #[error("the answer of PHP on the firewall is cut short after {}", format_bytes(*bytes as u64))]
    Truncated {
        /// Bytes after the first marker.
        bytes: usize,
    },
    /// There is an answer, and it is not what the script prints.
    #[error("the answer of PHP on the firewall is not understood: {why}")]
    Garbled {
        /// What is wrong with it.
        why: String,
    },
    /// The script or pfSense's code said why it could not read the configuration.
    #[error("pfSense's PHP could not read the configuration ({kind}): {message}")]
    Refused {
        /// `no-pfsense`, `no-configuration`, `fatal`, `ended`, `exception`, `request`, `encode`.
        kind: String,
        /// Its own words, first line only.
        message: String,
    },
}

fn quoted_text(said: Option<&String>) -> String {
    said.map(|said| format!("; it printed: {said}")).unwrap_or_default()
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let hint = match &error {
            AgentError::NoAnswer { .. } => {
                "Run /usr/local/bin/php -v on the firewall; the path of PHP can be set in the configuration file."
            }
            AgentError::Truncated { .. } | AgentError::Garbled { .. } => {
                "Run the command again; if it happens twice, run it with --verbose and report what it prints."
            }
            AgentError::Refused { kind, .. } if kind == "no-configuration" => {
                "Restore config.xml on the firewall (Diagnostics > Backup & Restore) before anything else."
            }
            AgentError::Refused { .. } => {
                "Look at Status > System Logs on the firewall; pfSense files its own PHP errors there."
            }
        };
        Self::failed(format!("{error}.")).hint(hint).with_cause(error)
    }
}

#[derive(Debug, Deserialize)]
struct AgentRefusal {
    error: RefusalBody,
}

#[derive(Debug, Deserialize)]
struct RefusalBody {
    kind: String,
    message: String,
}

/// Makes the command that reads the configuration; `php` is the interpreter's absolute path.
pub fn read_command(request: &ReadRequest, php: &ShellWord, nonce: &Nonce) -> ScriptCommand {
    AgentRequest::Read(request.clone()).command(php, nonce)
}

/// Says whether this looks like an answer as the agent prints it: one line between two markers. The markers' nonce, which
/// is compared when the answer is read, is not looked at.
pub fn is_whole(stdout: &[u8]) -> bool {
    let text = stdout.trim_ascii_end();
    let mut lines = text.rsplit(|byte| *byte == b'\n');
    let marker = |line: Option<&[u8]>, word: &[u8]| {
        line.is_some_and(|line| line.starts_with(b"agent ") && line.ends_with(word))
    };
    marker(lines.next(), b" end")
        && lines.next().is_some_and(|line| line.ends_with(b"}"))
        && marker(lines.next(), b" begin")
}

/// Reads the answer to this request out of everything PHP printed.
pub fn parse_agent_answer(
    stdout: &[u8],
    nonce: &Nonce,
    request: &ReadRequest,
) -> Result<Configured, AgentError> {
    let answer: Configured = read_reply(stdout, nonce)?;
    Ok(answer.shaped_for(request))
}

/// Reads the answer to an [`AgentRequest`]; each says which type that has.
pub fn read_reply<T: DeserializeOwned>(stdout: &[u8], nonce: &Nonce) -> Result<T, AgentError> {
    let line = answer_line(stdout, nonce)?;
    if has_too_many_values(line) {
        return Err(AgentError::Garbled {
            why: format!("more than {MOST_VALUES} values are more than it ever prints"),
        });
    }
    if let Ok(AgentRefusal { error }) = serde_json::from_slice::<AgentRefusal>(line) {
        return Err(AgentError::Refused { kind: error.kind, message: error.message });
    }
    serde_json::from_slice(line).map_err(|error| AgentError::Garbled { why: error.to_string() })
}

fn answer_line<'a>(stdout: &'a [u8], nonce: &Nonce) -> Result<&'a [u8], AgentError> {
    let nonce = nonce.as_str();
    let begin = format!("agent {nonce} begin\n");
    let end = format!("\nagent {nonce} end\n");
    let Some(start) = memchr::memmem::find(stdout, begin.as_bytes()) else {
        return Err(AgentError::NoAnswer { said: last_line(stdout) });
    };
    let rest = stdout.get(start + begin.len()..).unwrap_or_default();
    match memchr::memmem::find(rest, end.as_bytes()) {
        None => Err(AgentError::Truncated { bytes: rest.len() }),
        Some(length) if length > LONGEST_ANSWER => {
            let size = format_bytes(length as u64);
            Err(AgentError::Garbled { why: format!("{size} are more than it ever prints") })
        }
        Some(length) => Ok(rest.get(..length).unwrap_or_default()),
    }
}

/// The last non-empty line, for the sentence; bounded, and escaped where it is printed.
fn last_line(stdout: &[u8]) -> Option<String> {
    let line = stdout.rsplit(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    Some(String::from_utf8_lossy(line.trim_ascii()).chars().take(200).collect())
}

/// Prints an answer as the script does: a [`Configured`], an outcome, or what was kept or cleaned. For the simulator.
pub fn encode_reply(answer: &impl Serialize, nonce: &Nonce) -> Vec<u8> {
    frame_answer(&serde_json::to_vec(answer).unwrap_or_default(), nonce)
}

fn frame_answer(json: &[u8], nonce: &Nonce) -> Vec<u8> {
    let nonce = nonce.as_str();
    let mut reply = format!("\nagent {nonce} begin\n").into_bytes();
    reply.extend_from_slice(json);
    reply.extend_from_slice(format!("\nagent {nonce} end\n").as_bytes());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce() -> Nonce {
        Nonce::new(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
    }

    fn request() -> ReadRequest {
        ReadRequest {
            alias: "k8s_kms_lb".into(),
            address: std::net::IpAddr::from([10, 0, 20, 202]),
            port: 1688,
            interface: "wan".into(),
            table: crate::domain::pf::table::TableName::new("virusprot").unwrap(),
        }
    }

    #[test]
    fn no_line_of_an_answer_can_be_taken_for_a_marker() {
        let reply = encode_reply(&Configured::default(), &nonce());
        assert!(
            reply
                .split(|byte| *byte == b'\n')
                .all(|line| !line.starts_with(nonce().as_str().as_bytes()))
        );
    }

    #[test]
    fn noise_around_the_answer_is_ignored() {
        let configured =
            Configured { ha_peer: true, ..Configured::default() }.shaped_for(&request());
        let mut stdout = b">>> Launching rc.local in background...\nPHP Warning: x".to_vec();
        stdout.extend(encode_reply(&configured, &nonce()));
        stdout.extend_from_slice(b"goodbye");
        assert_eq!(parse_agent_answer(&stdout, &nonce(), &request()), Ok(configured));
    }

    #[test]
    fn every_way_to_fail_has_its_name() {
        let nonce = nonce();
        assert_eq!(
            parse_agent_answer(b"", &nonce, &request()),
            Err(AgentError::NoAnswer { said: None })
        );
        let said = Some("/usr/local/bin/php: not found".to_owned());
        assert_eq!(
            parse_agent_answer(b"/usr/local/bin/php: not found\n\n", &nonce, &request()),
            Err(AgentError::NoAnswer { said })
        );
        let whole = encode_reply(&Configured::default(), &nonce);
        let cut = parse_agent_answer(&whole[..whole.len() - 10], &nonce, &request());
        assert!(matches!(cut, Err(AgentError::Truncated { .. })), "{cut:?}");
        let garbled =
            parse_agent_answer(&frame_answer(b"{\"sections\": true}", &nonce), &nonce, &request());
        assert!(matches!(garbled, Err(AgentError::Garbled { .. })), "{garbled:?}");
        let refused = parse_agent_answer(
            &frame_answer(br#"{"error":{"kind":"fatal","message":"Out of memory"}}"#, &nonce),
            &nonce,
            &request(),
        );
        assert_eq!(
            refused,
            Err(AgentError::Refused { kind: "fatal".into(), message: "Out of memory".into() })
        );
        let another = parse_agent_answer(&whole, &Nonce::new([7; 16]), &request());
        assert!(
            matches!(another, Err(AgentError::NoAnswer { .. })),
            "another run's answer: {another:?}"
        );
    }

    #[test]
    fn failures_end_in_one_full_stop_and_say_what_to_do() {
        let failure = Failure::from(AgentError::Truncated { bytes: 3 });
        assert_eq!(failure.message, "the answer of PHP on the firewall is cut short after 3 B.");
        assert_eq!(failure.hints.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn parse_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse_agent_answer(&bytes, &nonce(), &request());
            let _ = parse_agent_answer(&frame_answer(&bytes, &nonce()), &nonce(), &request());
            let answer = frame_answer(&bytes, &nonce());
            let _ = read_reply::<crate::domain::pfsense::change::ChangeOutcome>(&answer, &nonce());
        }
    }
}
