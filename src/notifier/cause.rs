//! Why a try to reach Slack failed, in words for an operator. The webhook's address is a secret, and errors and
//! answers may repeat it: no text of theirs is ever shown, only what kind they are of.

use std::io::ErrorKind;
use std::time::Duration;

use crate::terminal::human::format_span;

/// Longest wait that is taken from `Retry-After`: a typing error or a hostile proxy must not silence the notifier for
/// good.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// From here on a wait asked for is news of its own.
const LONG: Duration = Duration::from_secs(600);

/// Returns how much of a wait that was asked for is honoured.
pub fn honoured_wait(asked: Duration) -> Duration {
    asked.min(LONGEST_WAIT)
}

/// A cause: what is told, and the kind that tells a new one from the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The same for each repetition.
    pub kind: String,
    /// A sentence without its full stop.
    pub words: String,
}

impl Cause {
    /// Makes a cause whose words tell it from all others.
    pub fn new(words: String) -> Self {
        Self {
            kind: words.clone(),
            words,
        }
    }

    /// Names a failure to reach Slack at all.
    pub fn unreached(error: &ureq::Error) -> Self {
        Self::new(format!(
            "Slack cannot be reached: {}",
            error_category(error)
        ))
    }

    /// Names an answer that is not Slack's, but a portal's or a proxy's.
    pub fn foreign(status: u16, body: &str) -> Self {
        let what = if body.trim_start().starts_with('<') {
            "A web page"
        } else if (200..300).contains(&status) {
            "Something that does not say `ok`"
        } else {
            "Something that is not Slack"
        };
        Self::new(format!(
            "{what} answers in Slack's place with HTTP {status}"
        ))
    }

    /// Names an answer that takes no message now; `asked` is how long it asks to wait.
    pub fn answered(status: u16, asked: Option<Duration>) -> Self {
        let (long, words) = match asked {
            Some(asked) if asked > honoured_wait(asked) => {
                let (most, asked) = (
                    format_span(honoured_wait(asked).as_secs()),
                    format_span(asked.as_secs()),
                );
                let words = format!(
                    "Slack answers with HTTP {status} and asks to wait {asked}, which is cut to {most}"
                );
                (true, words)
            }
            Some(asked) => {
                let words = format!(
                    "Slack answers with HTTP {status} and asks to wait {}",
                    format_span(asked.as_secs())
                );
                (asked > LONG, words)
            }
            None => (false, format!("Slack answers with HTTP {status}")),
        };
        Self {
            kind: format!("HTTP {status}{}", if long { ", long" } else { "" }),
            words,
        }
    }
}

/// Returns what kind of failure it was.
fn error_category(error: &ureq::Error) -> &'static str {
    use ureq::{Error, Timeout};
    match error {
        Error::Timeout(Timeout::Resolve) => "its name is not resolved in time",
        Error::Timeout(Timeout::Connect) => "no connection comes about in time",
        Error::Timeout(_) => "no answer comes in time",
        Error::HostNotFound => "its name does not resolve",
        Error::Io(error) => io_category(error),
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => "TLS fails",
        Error::InvalidProxyUrl | Error::ConnectProxyFailed(_) => "the proxy lets nothing through",
        Error::Protocol(_) | Error::LargeResponseHeader(..) => "the answer is no HTTP",
        Error::BadUri(_) | Error::Http(_) => "the webhook is no valid address",
        _ => "the connection fails",
    }
}

fn io_category(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "the connection is refused",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => "the connection is cut",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer comes in time",
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => "there is no way to it",
        // What rustls has against the other side arrives like this.
        ErrorKind::InvalidData => {
            if error.to_string().starts_with("invalid peer certificate") {
                "TLS fails, as its certificate is not valid here"
            } else {
                "TLS fails"
            }
        }
        // The standard library has no kind for it.
        _ if error.to_string().starts_with("failed to lookup address") => {
            "its name does not resolve"
        }
        _ => "the connection fails",
    }
}

/// Words with which Slack refuses a message for good (Slack's "Error handling for incoming webhooks", and what its
/// webhooks were seen to answer beyond that). Nothing else is final: a portal or a proxy may answer with any status.
const FINAL: [&str; 17] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_payload",
    "invalid_token",
    "missing_text_or_fallback_or_attachments",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "no_text",
    "posting_to_general_channel_denied",
    "team_disabled",
    "too_many_attachments",
    "user_not_found",
];

/// Returns the word with which Slack refuses a message for good, if that is what the answer is.
pub fn final_word(body: &str) -> Option<&'static str> {
    FINAL.into_iter().find(|word| *word == body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn only_slacks_own_words_are_final() {
        assert_eq!(final_word("no_service\n"), Some("no_service"));
        assert_eq!(
            final_word("channel_is_archived"),
            Some("channel_is_archived")
        );
        for other in [
            "",
            "ok",
            "not found",
            "access_denied",
            "<html>no_service</html>",
            "no_service SECRET",
        ] {
            assert_eq!(final_word(other), None, "{other}");
        }
    }

    #[test]
    fn errors_become_categories_and_never_their_own_text() {
        const SECRET: &str = "https://hooks.slack.com/services/SECRET";
        let io = |kind, text: &str| ureq::Error::Io(io::Error::new(kind, text.to_owned()));
        for (error, wanted) in [
            (ureq::Error::BadUri(SECRET.to_owned()), "no valid address"),
            (ureq::Error::Timeout(ureq::Timeout::Global), "in time"),
            (ureq::Error::Timeout(ureq::Timeout::Resolve), "not resolved"),
            (io(ErrorKind::ConnectionRefused, SECRET), "is refused"),
            (io(ErrorKind::ConnectionReset, SECRET), "is cut"),
            (io(ErrorKind::NetworkUnreachable, SECRET), "no way"),
            (
                io(
                    ErrorKind::InvalidData,
                    "invalid peer certificate: UnknownIssuer SECRET",
                ),
                "certificate",
            ),
            (
                io(
                    ErrorKind::Other,
                    "failed to lookup address information: SECRET",
                ),
                "does not resolve",
            ),
            (ureq::Error::ConnectProxyFailed(SECRET.to_owned()), "proxy"),
            (ureq::Error::RequireHttpsOnly(SECRET.to_owned()), "fails"),
        ] {
            let cause = Cause::unreached(&error);
            assert!(cause.words.contains(wanted), "{error:?}: {}", cause.words);
            assert!(!cause.words.contains("SECRET") && !cause.kind.contains("SECRET"));
        }
    }

    #[test]
    fn a_wait_is_told_and_a_longer_one_is_news() {
        let told = |seconds| Cause::answered(429, Some(Duration::from_secs(seconds)));
        assert_eq!(
            told(2_400).words,
            "Slack answers with HTTP 429 and asks to wait 40m"
        );
        assert!(told(10_800).words.ends_with("wait 3h, which is cut to 1h"));
        for (asked, wanted) in [(30, 30), (1_800, 1_800), (3_600, 3_600), (u64::MAX, 3_600)] {
            let honoured = honoured_wait(Duration::from_secs(asked));
            assert_eq!(honoured.as_secs(), wanted);
        }
        assert_eq!(told(30).kind, told(31).kind);
        assert_ne!(told(30).kind, told(601).kind);
        assert_ne!(told(30).kind, Cause::answered(503, None).kind);
    }
}
