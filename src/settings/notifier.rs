//! The notifier's settings. Honours the names the side-car had before kmsctl (see
//! [`super::environment::ALIASES`]) where neither file nor `KMSCTL_*` nor flag says anything.

use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{SettingsReader, key};
use super::values::{
    parse_duration, parse_given, parse_listen_address, parse_number, parse_period, parse_text,
};
use super::window::{Password, Window};
use crate::error::{Failure, Result};

/// Where the URL of the webhook comes from. The URL is a secret and never printed.
#[derive(Clone)]
pub enum Webhook {
    /// This file, read again when it changes.
    File(PathBuf),
    Url(String),
    /// Nowhere: nothing is posted.
    None,
}

/// Returns whether a webhook's URL leads to this machine; plain HTTP may go nowhere else.
///
/// # Errors
///
/// Says what is wrong with it, and never quotes it.
pub fn is_local(url: &str) -> std::result::Result<bool, &'static str> {
    let local = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|start| url.starts_with(start));
    if !local && !url.starts_with("https://") {
        return Err("is no https:// address");
    }
    match url.parse::<ureq::http::Uri>() {
        Ok(_) => Ok(local),
        Err(_) => Err("is no valid address"),
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Url(_) => f.write_str("Url(secret)"),
            Self::None => f.write_str("None"),
        }
    }
}

/// What `notifier run` needs to know.
#[derive(Clone, Debug)]
pub struct Notifier {
    pub log: PathBuf,
    pub state: PathBuf,
    pub webhook: Webhook,
    pub channel: Option<String>,
    pub listen: SocketAddr,
    pub dedup_window: Duration,
    /// With the password from its file or the environment.
    pub dedup: Window,
    pub dedup_lease: Duration,
    pub too_old: Duration,
    pub post_interval: Duration,
    pub digest_from: usize,
}

impl Notifier {
    /// Reads the settings, in the order of the example file.
    pub fn resolve(read: &SettingsReader<'_>) -> Result<Self> {
        let environment = read.environment;
        let former = |name: &str, path: &str| {
            let set = environment.variable(name);
            set.filter(|_| !read.layers.names_key(path)).map(str::to_owned)
        };
        let log = key!(read, "notifier.log" = "/var/log/vlmcsd/vlmcsd.log", parse_text;
            "The KMS server's log, read by `notifier run`. Also: VLMCSD_LOG.");
        let state = key!(read, "notifier.state" = "/var/lib/kmsctl-notifier", parse_text;
            "Directory of the notifier's checkpoint and outbox: a small volume of its own.");
        let webhook_file = read.file(key!(read, "notifier.webhook_file" = "", parse_given;
            "File that holds the URL of Slack's webhook; read again when it changes. Empty takes\nSLACK_WEBHOOK_URL from the environment. Without either nothing is posted."));
        let channel = key!(read, "notifier.channel" = "", parse_given;
            "Slack channel, for legacy webhooks; others ignore it. Also: SLACK_CHANNEL.");
        let listen = key!(read, "notifier.listen" = "[::]:9101", parse_listen_address;
            "Address and port of /metrics, /healthz and /readyz. Also, the port alone: METRICS_PORT.");
        let dedup_window = key!(read, "notifier.dedup_window" = "1h", parse_duration;
            "Each client and product is posted once within this time. Also: DEDUP_WINDOW_SECONDS.");
        let mut dedup = key!(read, "notifier.dedup_store" = "file", Window::parse;
            "Where that is remembered: file (with the checkpoint, so that it survives a restart), memory, or\nredis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE], which several notifiers share; of a Sentinel\nredis-sentinel://[USER[:PASSWORD]@]HOST[:PORT]/MASTER[/DATABASE]. While that server is away messages are sent\nrather than lost. rediss:// and rediss-sentinel:// are with TLS; SSL_CERT_FILE names certificates to trust.");
        let password_file = read.file(key!(read, "notifier.dedup_password_file" = "", parse_given;
            "File that holds that server's password; read again at every connection. Empty takes\nREDIS_PASSWORD from the environment, else what the address says."));
        if let Window::Redis(server) = &mut dedup {
            if let Some(file) = password_file {
                server.password = Password::File(file);
            } else if let Some(password) = environment.variable("REDIS_PASSWORD") {
                server.password = Password::Text(password.to_owned());
            }
        }
        Ok(Self {
            log: environment.expand(&former("VLMCSD_LOG", "notifier.log").unwrap_or(log)),
            state: environment.expand(&state),
            webhook: match (webhook_file, environment.variable("SLACK_WEBHOOK_URL")) {
                (Some(file), _) => Webhook::File(file),
                (None, Some(url)) => Webhook::Url(checked_webhook(url)?),
                (None, None) => Webhook::None,
            },
            channel: former("SLACK_CHANNEL", "notifier.channel").or(channel),
            listen: match former("METRICS_PORT", "notifier.listen") {
                Some(port) => port_alone(&port)?,
                None => listen,
            },
            dedup_window: match former("DEDUP_WINDOW_SECONDS", "notifier.dedup_window") {
                Some(seconds) => whole_seconds(&seconds)?,
                None => dedup_window,
            },
            dedup,
            dedup_lease: key!(read, "notifier.dedup_lease" = "30s", parse_period;
                "How long another notifier waits for one that died with a message in hand. Kept up while it lives."),
            too_old: key!(read, "notifier.too_old" = "10m", parse_duration;
                "A first start, without a checkpoint, counts the whole log and posts nothing older than this."),
            post_interval: key!(read, "notifier.post_interval" = "1s", parse_duration;
                "Least time between two messages. Slack takes about one a second: less than 1s counts only for a\nwebhook on this machine."),
            digest_from: key!(read, "notifier.digest_from" = 4, |text| parse_number(text, 2..=1000);
                "From so many waiting activations on they become one message."),
        })
    }

    /// Returns the Unix second before which a first read at `now` posts nothing.
    pub fn not_before(&self, now: i64) -> i64 {
        now.saturating_sub(i64::try_from(self.too_old.as_secs()).unwrap_or(i64::MAX))
    }
}

fn wrong_key_value(name: &str, problem: &str) -> Failure {
    Failure::usage(format!("Wrong value for `{name}`: {problem}."))
}

/// Looks at the webhook of the environment at once: it cannot change while the notifier runs, unlike a file.
fn checked_webhook(url: &str) -> Result<String> {
    let url = url.trim();
    let wrong = |problem| {
        Failure::usage(format!("The webhook in `SLACK_WEBHOOK_URL` {problem}."))
            .hint("Give the https:// address that Slack shows for the webhook.")
    };
    is_local(url).map_err(wrong)?;
    Ok(url.to_owned())
}

fn whole_seconds(text: &str) -> Result<Duration> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = parse_duration(&format!("{text}s")).ok();
    seconds.filter(|_| digits).ok_or_else(|| {
        let problem = format!("`{text}` is not a number of seconds, such as 3600");
        wrong_key_value("DEDUP_WINDOW_SECONDS", &problem)
    })
}

fn port_alone(text: &str) -> Result<SocketAddr> {
    let port: NonZeroU16 = text.parse().map_err(|_| {
        let problem = format!("`{text}` is not a port from 1 to 65535");
        wrong_key_value("METRICS_PORT", &problem)
    })?;
    Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.get())))
}
