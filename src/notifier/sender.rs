//! The one sender: a thread that posts what waits in the outbox, at most one message a second, and never exits for
//! what Slack or the network do. Decides when to try again; what a message says is `domain::notifier::slack`'s work.

use super::backoff::backoff_after;
use super::metrics::Metrics;
use super::outbox::{Claim, Message, PostEnding, SharedOutbox, WaitingPost};
use crate::domain::notifier::slack;
use crate::own_files;
use crate::plain_file;
use crate::settings::notifier::{Webhook, is_local};
use crate::text::format_span;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Least time between two messages to anywhere but this machine (Slack allows about one a second).
const PACE: Duration = Duration::from_secs(1);

/// Deadline of one try.
const DEADLINE: Duration = Duration::from_secs(15);

/// Longest wait that Slack did not ask for.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// How often a waiting sender looks whether the webhook's file is another.
const LOOK: Duration = Duration::from_secs(1);

/// Longest file of a webhook, in bytes.
const LONGEST_URL: u64 = 4_096;

/// Most bytes read of an answer.
const LONGEST_ANSWER: u64 = 4_096;

/// Statuses below 500 that pass by themselves.
const PASSING: [u16; 3] = [408, 425, 429];

/// Most kinds remembered: a trouble that alternates is reported once for each.
const KINDS: usize = 8;

/// Longest wait that is taken from `Retry-After`: a typing error or a hostile proxy must not silence the notifier for
/// good.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// From here on a wait asked for is news of its own.
const LONG: Duration = Duration::from_secs(600);

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

enum SendAttempt {
    Sent,
    /// Not before this long, and why.
    Later(&'static str, Option<Duration>, Cause),
    /// Never: Slack's own words.
    Refused(u16, &'static str),
}

/// Most certificates of the system's store that are read.
const MOST_ROOTS: usize = 10_000;

/// Returns the authorities to trust: the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
pub(super) fn trusted_authorities() -> impl Iterator<Item = CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    found.into_iter().take(MOST_ROOTS)
}

/// Returns the same for Slack, or Mozilla's where a system has none.
fn slack_roots() -> RootCerts {
    let found: Vec<_> = trusted_authorities()
        .map(|authority| Certificate::from_der(&authority).to_owned())
        .collect();
    if found.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&found) }
}

pub struct Sender {
    agent: ureq::Agent,
    settings: SenderSettings,
    outbox: SharedOutbox,
    metrics: Arc<Metrics>,
    say: Box<dyn Fn(&str) + Send>,
    seed: u64,
    failures: u32,
    /// The next try waits for this; Slack, or a back-off, asks for it.
    not_before: Instant,
    /// No renewed webhook shortens the wait below this.
    pace: Instant,
    /// What was reported since the first of the failures.
    trouble: SenderTrouble,
    since: Instant,
    /// The webhook's file as it was when it was last read.
    read: Option<Stamp>,
    /// The address at which Slack refused the last message for good, as long as no other is in the webhook's file.
    refused_at: Option<String>,
}

/// By what a file is known to be another, or to be written again: device, inode, time of change, size.
type Stamp = (u64, u64, i64, i64, u64);

#[derive(Clone, Debug)]
pub struct SenderSettings {
    pub webhook: Webhook,
    /// Slack channel, for legacy webhooks.
    pub channel: Option<String>,
    /// Least time between two messages.
    pub interval: Duration,
    /// From so many posts on, they become one message.
    pub digest_from: usize,
}

impl Sender {
    /// Makes the sender; `say` gets what an operator should read.
    pub fn new(
        settings: SenderSettings,
        outbox: SharedOutbox,
        metrics: Arc<Metrics>,
        say: Box<dyn Fn(&str) + Send>,
        seed: u64,
    ) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(TlsConfig::builder().root_certs(slack_roots()).build())
            .build();
        Self {
            agent: config.into(),
            settings,
            outbox,
            metrics,
            say,
            seed,
            failures: 0,
            not_before: Instant::now(),
            pace: Instant::now(),
            trouble: SenderTrouble::default(),
            since: Instant::now(),
            read: None,
            refused_at: None,
        }
    }

    pub fn send_until_stopped(mut self) {
        // Said before there is anything to post.
        if let Webhook::File(_) = self.settings.webhook
            && let Err(why) = self.read_webhook()
        {
            self.report_trouble(&Cause::new(why), "; messages wait and are tried again.");
        }
        while let Some(message) = self.next() {
            let (tried, pace) = self.post_message(&message);
            self.pace = Instant::now() + pace;
            self.not_before = self.pace;
            let ended =
                |sent| PostEnding { posts: message.posts.clone(), dropped: message.dropped, sent };
            let (result, end) = match tried {
                SendAttempt::Sent => {
                    self.failures = 0;
                    self.refused_at = None;
                    self.report_recovery(message.posts.len());
                    ("ok", Some(ended(true)))
                }
                SendAttempt::Refused(status, words) => {
                    let words = format!("Slack refuses messages for good: {status} {words}");
                    self.report_trouble(
                        &Cause::new(words),
                        "; they are counted and not sent again.",
                    );
                    ("rejected", Some(ended(false)))
                }
                SendAttempt::Later(result, wait, cause) => {
                    self.failures = self.failures.saturating_add(1);
                    let wait = wait.unwrap_or_else(|| {
                        backoff_after(self.failures, LONGEST_BACKOFF, 50, &mut self.seed)
                            .max(PACE / 2)
                    });
                    self.not_before = self.pace.max(Instant::now() + wait);
                    self.report_trouble(&cause, "; messages wait and are tried again.");
                    (result, None)
                }
            };
            self.metrics.count_post(result);
            self.end_posts(end);
        }
    }

    fn report_trouble(&mut self, cause: &Cause, rest: &str) {
        let first = self.trouble.is_over();
        if self.trouble.is_news(&cause.kind) {
            (self.say)(&format!("{}{rest}", cause.words));
        }
        if first {
            self.since = Instant::now();
        }
    }

    /// Reports that Slack takes messages again, if it did not; `sent` posts were in the message it took.
    fn report_recovery(&mut self, sent: usize) {
        if !self.trouble.end_trouble() {
            return;
        }
        let away = format_span(self.since.elapsed().as_secs());
        let follows = |waiting: &&WaitingPost| {
            let elsewhere = matches!(waiting.claim, Claim::Busy(_));
            !waiting.flying && !elsewhere
        };
        let rest = self.outbox.lock().waiting.iter().filter(follows).count();
        let waited = match sent + rest {
            1 => "1 post that waited goes".to_owned(),
            more => format!("{more} posts that waited go"),
        };
        (self.say)(&format!("Slack answers again after {away}; {waited} out now."));
    }

    /// Hands the end of a message to the loop; without one its posts wait on.
    fn end_posts(&self, end: Option<PostEnding>) {
        let mut outbox = self.outbox.lock();
        if end.is_none() {
            for waiting in &mut outbox.waiting {
                waiting.flying = false;
            }
        }
        outbox.ended = end;
        drop(outbox);
        self.outbox.wake();
    }

    /// Waits for the next message's turn and takes its posts; `None` says that there will be no more.
    fn next(&mut self) -> Option<Message> {
        let shared = self.outbox.clone();
        let mut outbox = shared.lock();
        loop {
            if outbox.stop {
                return None;
            }
            let now = Instant::now();
            let early = self.not_before.saturating_duration_since(now);
            if early.is_zero() {
                if outbox.ended.is_none()
                    && let Some(message) = outbox.take_message(self.settings.digest_from, now)
                {
                    for waiting in outbox.waiting.iter_mut().filter(|waiting| waiting.flying) {
                        self.count_unchecked(waiting);
                    }
                    return Some(message);
                }
                let settled = outbox.ended.is_none();
                outbox = shared.wait(outbox, LOOK);
                if settled && self.refused_at.is_some() {
                    drop(outbox);
                    self.note_renewed_webhook();
                    outbox = shared.lock();
                }
                continue;
            }
            // No thread waits for a disk with the outbox in hand.
            drop(outbox);
            if self.pace < self.not_before && self.webhook_stamp() != self.read {
                self.not_before = self.pace;
                self.failures = 0;
            }
            outbox = shared.lock();
            let early = self.not_before.saturating_duration_since(Instant::now());
            if !early.is_zero() && !outbox.stop {
                outbox = shared.wait(outbox, early.min(LOOK));
            }
        }
    }

    /// Takes the refusal back once another address is in the webhook's file: on a quiet day the message that would
    /// prove it may be hours away, and there is nothing more for anyone to do.
    fn note_renewed_webhook(&mut self) {
        let stamp = self.webhook_stamp();
        if stamp == self.read {
            return;
        }
        let Ok((url, _)) = self.read_webhook() else {
            return;
        };
        self.read = stamp;
        if self.refused_at.as_ref() != Some(&url) {
            self.refused_at = None;
            self.metrics.last_rejected.set(0);
            (self.say)(
                "There is another address in the webhook's file; the next message goes there.",
            );
        }
    }

    /// Returns by what the webhook's file is known now, if it is in one.
    fn webhook_stamp(&self) -> Option<Stamp> {
        let Webhook::File(path) = &self.settings.webhook else {
            return None;
        };
        let metadata = std::fs::metadata(path).ok()?;
        Some((
            metadata.dev(),
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.len(),
        ))
    }

    /// Counts a post that goes without the shared window's answer.
    fn count_unchecked(&self, waiting: &mut WaitingPost) {
        if !matches!(waiting.claim, Claim::Asked(_)) {
            return;
        }
        waiting.claim = Claim::Unchecked;
        self.metrics.window_unchecked.inc();
        if !waiting.counted {
            waiting.counted = true;
            let notice = &waiting.post.notice;
            if notice.refused.is_none() {
                self.metrics.count_activation(&notice.product, &notice.status);
            }
        }
    }

    /// Tries once; returns what came of it, and how long to wait before the next message.
    fn post_message(&mut self, message: &Message) -> (SendAttempt, Duration) {
        // Before it is read: what is written in between is found to be another.
        self.read = self.webhook_stamp();
        let channel = self.settings.channel.as_deref();
        let payload = slack::message_payload(&message.notices, message.dropped, channel);
        match self.read_webhook() {
            Ok((url, local)) => {
                let tried = self.send_payload(&url, &payload);
                if matches!(tried, SendAttempt::Refused(..)) {
                    self.refused_at = Some(url);
                }
                let pace = self.settings.interval;
                (tried, if local { pace } else { pace.max(PACE) })
            }
            Err(why) => (SendAttempt::Later("error", None, Cause::new(why)), PACE),
        }
    }

    fn send_payload(&self, url: &str, payload: &serde_json::Value) -> SendAttempt {
        let request = self.agent.post(url).header("Content-Type", "application/json");
        let mut response = match request.send(payload.to_string()) {
            Ok(response) => response,
            Err(error) => return SendAttempt::Later("error", None, Cause::from_error(&error)),
        };
        let status = response.status().as_u16();
        let asked = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let wait = asked.map(|asked| honoured_wait(asked).max(PACE));
        let mut body = Vec::new();
        let _ = response.body_mut().as_reader().take(LONGEST_ANSWER).read_to_end(&mut body);
        let body = String::from_utf8_lossy(&body);
        let cause = Cause::from_answer(status, asked);
        match status {
            200..=299 if body.trim() == "ok" => SendAttempt::Sent,
            // Slack redirects no message: where it is sent elsewhere, a portal wants a login.
            200..=399 => SendAttempt::Later("error", wait, Cause::from_foreign(status, &body)),
            429 => SendAttempt::Later("rate_limited", Some(wait.unwrap_or(PACE * 30)), cause),
            400..=499 if !PASSING.contains(&status) => match final_word(&body) {
                Some(word) => SendAttempt::Refused(status, word),
                None => SendAttempt::Later("error", wait, Cause::from_foreign(status, &body)),
            },
            _ => SendAttempt::Later("error", wait, cause),
        }
    }

    /// Reads the URL anew for every message: a rotated secret needs no restart. Plain HTTP goes nowhere but to this
    /// machine; the flag says so. The error never quotes what was read.
    fn read_webhook(&self) -> Result<(String, bool), String> {
        let url = match &self.settings.webhook {
            Webhook::File(path) => {
                let mut text = String::new();
                let name = path.display();
                let read = |file: File| {
                    let problem = own_files::configuration_problem(&file.metadata()?);
                    file.take(LONGEST_URL).read_to_string(&mut text)?;
                    Ok(problem)
                };
                let problem = plain_file::open_plain_file(path, OpenOptions::new().read(true))
                    .and_then(read)
                    .map_err(|error| match error.kind() {
                        ErrorKind::NotFound => format!("The webhook's file {name} does not exist"),
                        ErrorKind::PermissionDenied => {
                            format!("The webhook's file {name} may not be read by this account")
                        }
                        ErrorKind::InvalidData => format!("The webhook's file {name} is no text"),
                        _ => format!("The webhook's file {name} cannot be read: {error}"),
                    })?;
                if let Some(problem) = problem {
                    return Err(format!("The webhook's file {name} is not used: {problem}"));
                }
                if text.trim().is_empty() {
                    return Err(format!("The webhook's file {name} is empty"));
                }
                text
            }
            Webhook::Url(url) => url.clone(),
            Webhook::None => return Err("There is no webhook".to_owned()),
        };
        let url = url.trim();
        match is_local(url) {
            Ok(local) => Ok((url.to_owned(), local)),
            Err(problem) => Err(format!("The webhook {problem}")),
        }
    }
}

#[derive(Debug, Default)]
pub struct SenderTrouble {
    reported: Vec<String>,
}

impl SenderTrouble {
    /// Notes trouble of a kind; returns whether it is news, which it is once until the trouble is over.
    pub fn is_news(&mut self, kind: &str) -> bool {
        let news = self.reported.len() < KINDS && !self.reported.iter().any(|one| one == kind);
        if news {
            self.reported.push(kind.to_owned());
        }
        news
    }

    pub fn is_over(&self) -> bool {
        self.reported.is_empty()
    }

    /// Notes that all is well; returns whether that is news.
    pub fn end_trouble(&mut self) -> bool {
        !std::mem::take(&mut self.reported).is_empty()
    }
}

pub fn honoured_wait(asked: Duration) -> Duration {
    asked.min(LONGEST_WAIT)
}

/// A cause: its words, and its kind, by which a new one differs from the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub kind: String,
    /// A sentence without its full stop.
    pub words: String,
}

impl Cause {
    pub fn new(words: String) -> Self {
        Self { kind: words.clone(), words }
    }

    /// Names a failure to reach Slack at all.
    pub fn from_error(error: &ureq::Error) -> Self {
        Self::new(format!("Slack cannot be reached: {}", error_category(error)))
    }

    /// Names an answer that is not Slack's, but a portal's or a proxy's.
    pub fn from_foreign(status: u16, body: &str) -> Self {
        let what = if body.trim_start().starts_with('<') {
            "A web page"
        } else if (200..300).contains(&status) {
            "Something that does not say `ok`"
        } else {
            "Something that is not Slack"
        };
        Self::new(format!("{what} answers in Slack's place with HTTP {status}"))
    }

    /// Names an answer that takes no message now; `asked` is how long it asks to wait.
    pub fn from_answer(status: u16, asked: Option<Duration>) -> Self {
        let (long, words) = match asked {
            Some(asked) if asked > honoured_wait(asked) => {
                let (most, asked) =
                    (format_span(honoured_wait(asked).as_secs()), format_span(asked.as_secs()));
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
        Self { kind: format!("HTTP {status}{}", if long { ", long" } else { "" }), words }
    }
}

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

/// Returns the word with which Slack refuses a message for good, if that is what the answer is.
pub fn final_word(body: &str) -> Option<&'static str> {
    FINAL.into_iter().find(|word| *word == body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_the_end_are_reported_once() {
        let mut trouble = SenderTrouble::default();
        assert!(!trouble.end_trouble(), "there was none");
        let kinds = ["refused", "refused", "timeout", "refused", "timeout"];
        let news = kinds.map(|kind| trouble.is_news(kind));
        assert_eq!(news, [true, false, true, false, false]);
        assert!(trouble.end_trouble() && !trouble.end_trouble());
        assert!(trouble.is_news("refused"), "a new outage");
        let endless = (0..1_000).filter(|number| trouble.is_news(&number.to_string()));
        assert_eq!(endless.count(), KINDS - 1);
    }
}

#[cfg(test)]
mod cause_tests {
    use super::*;
    use std::io;

    #[test]
    fn only_slacks_own_words_are_final() {
        assert_eq!(final_word("no_service\n"), Some("no_service"));
        assert_eq!(final_word("channel_is_archived"), Some("channel_is_archived"));
        for other in
            ["", "ok", "not found", "access_denied", "<html>no_service</html>", "no_service SECRET"]
        {
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
                io(ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer SECRET"),
                "certificate",
            ),
            (
                io(ErrorKind::Other, "failed to lookup address information: SECRET"),
                "does not resolve",
            ),
            (ureq::Error::ConnectProxyFailed(SECRET.to_owned()), "proxy"),
            (ureq::Error::RequireHttpsOnly(SECRET.to_owned()), "fails"),
        ] {
            let cause = Cause::from_error(&error);
            assert!(cause.words.contains(wanted), "{error:?}: {}", cause.words);
            assert!(!cause.words.contains("SECRET") && !cause.kind.contains("SECRET"));
        }
    }

    #[test]
    fn a_longer_wait_is_news() {
        let cause = |seconds| Cause::from_answer(429, Some(Duration::from_secs(seconds)));
        assert_eq!(cause(2_400).words, "Slack answers with HTTP 429 and asks to wait 40m");
        assert!(cause(10_800).words.ends_with("wait 3h, which is cut to 1h"));
        for (asked, wanted) in [(30, 30), (1_800, 1_800), (3_600, 3_600), (u64::MAX, 3_600)] {
            let honoured = honoured_wait(Duration::from_secs(asked));
            assert_eq!(honoured.as_secs(), wanted);
        }
        assert_eq!(cause(30).kind, cause(31).kind);
        assert_ne!(cause(30).kind, cause(601).kind);
        assert_ne!(cause(30).kind, Cause::from_answer(503, None).kind);
    }
}
