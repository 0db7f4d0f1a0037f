//! The notifier's settings. Honours the names the side-car had before kmsctl (see
//! [`super::environment::ALIASES`]) where neither file nor `KMSCTL_*` nor flag says anything.

use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::layers::{Layers, Origin, wrong_value};
use super::values;
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
    /// Directory of checkpoint and outbox.
    pub state: PathBuf,
    pub webhook: Webhook,
    /// Slack channel for legacy webhooks.
    pub channel: Option<String>,
    pub listen: SocketAddr,
    /// Each client and product is posted once within this time.
    pub dedup_window: Duration,
    pub dedup: Window,
    /// How long another notifier waits for one that died with a message in hand.
    pub dedup_lease: Duration,
    /// Least time between two messages.
    pub post_interval: Duration,
    /// From so many waiting activations on they become one message.
    pub digest_from: usize,
    /// A first start posts nothing older than this of what the log holds already.
    pub too_old: Duration,
}

impl Notifier {
    /// Gives the layered texts their types.
    pub fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let alias = |path: &str, name: &str| {
            let set = environment.variable(name);
            set.filter(|_| !layers.names_key(path)).map(str::to_owned)
        };
        let text = |path: &str, name: &str| {
            alias(path, name).unwrap_or_else(|| layers.key_text(path).to_owned())
        };
        let duration = |path: &str| layers.parse_key(path, values::parse_duration);
        let dedup_window = match alias("notifier.dedup_window", "DEDUP_WINDOW_SECONDS") {
            Some(seconds) => whole_seconds(&seconds)?,
            None => duration("notifier.dedup_window")?,
        };
        let listen = match alias("notifier.listen", "METRICS_PORT") {
            Some(port) => port_alone(&port)?,
            None => listen_address(layers, "notifier.listen")?,
        };
        let file = layers.given_text("notifier.webhook_file");
        Ok(Self {
            log: environment.expand(&text("notifier.log", "VLMCSD_LOG")),
            state: environment.expand(layers.key_text("notifier.state")),
            webhook: match (file, environment.variable("SLACK_WEBHOOK_URL")) {
                (Some(file), _) => Webhook::File(environment.expand(file)),
                (None, Some(url)) => Webhook::Url(checked_webhook(url)?),
                (None, None) => Webhook::None,
            },
            channel: Some(text("notifier.channel", "SLACK_CHANNEL"))
                .filter(|channel| !channel.is_empty()),
            listen,
            dedup_window,
            dedup: dedup_store(layers, environment)?,
            dedup_lease: duration("notifier.dedup_lease")?,
            post_interval: duration("notifier.post_interval")?,
            digest_from: layers.key_text("notifier.digest_from").parse().unwrap_or(4),
            too_old: duration("notifier.too_old")?,
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
    let seconds = values::parse_duration(&format!("{text}s")).ok();
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

pub(super) fn listen_address(layers: &Layers, path: &str) -> Result<SocketAddr> {
    let text = layers.key_text(path);
    text.parse().map_err(|_| {
        let problem = format!("`{text}` is not an address and a port, such as [::]:9101");
        let origin = layers.values.get(path).map(|value| &value.origin);
        wrong_value(path, origin.unwrap_or(&Origin::Default), &problem)
    })
}

/// Reads where the window is remembered, with the password from its file or the environment.
fn dedup_store(layers: &Layers, environment: &Environment) -> Result<Window> {
    let mut window = layers.parse_key("notifier.dedup_store", Window::parse)?;
    if let Window::Redis(server) = &mut window {
        if let Some(file) = layers.given_text("notifier.dedup_password_file") {
            server.password = Password::File(environment.expand(file));
        } else if let Some(password) = environment.variable("REDIS_PASSWORD") {
            server.password = Password::Text(password.to_owned());
        }
    }
    Ok(window)
}
