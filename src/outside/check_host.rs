//! The vantage `check-host`: a public check service, spoken by check-host.net's documented interface. It learns the
//! address and port, so it is used only where the operator has configured it; it connects but cannot speak the bind.
//!
//! `GET /check-tcp?host=H:P&max_nodes=N` (or `&node=…`) answers `{ok, request_id, nodes: {id: [cc, country, city, ip,
//! asn]}}`; `GET /check-result/ID` answers a map node → `null` (pending) or `[{time, address}]` or `[{error}]`.
//! Nothing of the answers is trusted: bodies are bounded, ids are checked before they become part of a URL.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::Task;
use super::probe::PAUSE;
use crate::domain::reach::{ATTEMPTS, Attempt, Control};

/// Most bytes of an answer.
const LARGEST: u64 = 64 << 10;
/// One request.
const REQUEST: Duration = Duration::from_secs(4);
/// Between two looks at the results.
const POLL: Duration = Duration::from_millis(400);

/// Why a check service is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No connection, no answer in time, TLS trouble.
    #[error("the check service cannot be reached: {0}")]
    Unreachable(String),
    /// Too many requests.
    #[error("the check service wants us to wait (too many requests)")]
    RateLimited,
    /// Another HTTP status.
    #[error("the check service answered with HTTP status {0}")]
    Status(u16),
    /// Not the documented answer.
    #[error("the check service answered something else than documented: {0}")]
    Garbled(String),
}

/// What one node saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address, as the service says.
    pub address: Option<IpAddr>,
    /// In order; what was still pending at the deadline is missing.
    pub attempts: Vec<Attempt>,
    /// The positive control.
    pub control: Control,
}

/// Has nodes connect: once, and where one of them does not connect, three times in all, beside a control. The second
/// value tells why there were fewer.
pub async fn check(
    url: &str,
    nodes: usize,
    task: Task<'_>,
) -> Result<(Vec<Node>, Option<String>), CheckError> {
    let place = |host: &str, port: u16| {
        if host.contains(':') {
            format!("%5B{host}%5D:{port}")
        } else {
            format!("{host}:{port}")
        }
    };
    let target = place(&task.target.ip().to_string(), task.target.port());
    if let Some(short) = task.permission() {
        return Ok((Vec::new(), Some(short)));
    }
    let mut first = ask(url, &format!("host={target}&max_nodes={nodes}")).await?;
    // A service that takes more than it was asked for has them ignored: they have no budget of ours.
    first.nodes = first.nodes.into_iter().take(nodes).collect();
    let chosen: String = first
        .nodes
        .keys()
        .map(|node| format!("&node={node}"))
        .collect();
    let mut requests = vec![first.request_id.clone()];
    let mut answers = poll(url, &requests, task.deadline.min(Instant::now() + PAUSE)).await?;
    let (mut short, mut controlled) = (task.only_one.map(str::to_owned), None);
    if !first.nodes.keys().all(|node| connected(answers.get(node))) && short.is_none() {
        for _ in 1..ATTEMPTS {
            short = task.permission();
            if short.is_some() {
                break;
            }
            let again = ask(url, &format!("host={target}{chosen}")).await?;
            requests.push(again.request_id);
            sleep(PAUSE).await;
        }
        if let Some((host, port)) = task.control {
            let query = format!("host={}{chosen}", place(host, *port));
            controlled = Some(ask(url, &query).await?.request_id);
        }
        let all: Vec<String> = requests.iter().chain(&controlled).cloned().collect();
        answers = poll(url, &all, task.deadline).await?;
    }
    let node = |(name, facts): (&String, &Vec<Value>)| {
        let mut attempts = answers.get(name).cloned().unwrap_or_default();
        let of_control = controlled.as_ref().map(|_| attempts.pop().flatten());
        Node {
            name: name.clone(),
            address: facts.iter().find_map(|fact| fact.as_str()?.parse().ok()),
            attempts: attempts.into_iter().flatten().collect(),
            control: match of_control {
                Some(saw) => control_of(task.control, saw),
                None => Control::OwnPath,
            },
        }
    };
    Ok((first.nodes.iter().map(node).collect(), short))
}

fn connected(attempts: Option<&Vec<Option<Attempt>>>) -> bool {
    attempts.is_some_and(|attempts| {
        attempts
            .iter()
            .any(|attempt| matches!(attempt, Some(Attempt::Connected { .. })))
    })
}

fn control_of(control: Option<&(String, u16)>, saw: Option<Attempt>) -> Control {
    let Some((host, port)) = control else {
        return Control::OwnPath;
    };
    let to = format!("{host}:{port}");
    match saw {
        Some(Attempt::Connected { .. }) => Control::Passed {
            to,
            // The nodes are the service's: what they reach elsewhere on that address is taken as no proof.
            same_address: false,
        },
        Some(attempt) => Control::Failed {
            to,
            why: super::probe::told(&attempt),
        },
        None => Control::Failed {
            to,
            why: "no result in time".to_owned(),
        },
    }
}

/// Per node, one entry a request: the attempt, or nothing while it is pending.
type Answers = BTreeMap<String, Vec<Option<Attempt>>>;

/// Looks at the results until none is pending, or the deadline.
async fn poll(url: &str, requests: &[String], deadline: Instant) -> Result<Answers, CheckError> {
    loop {
        let mut answers = Answers::new();
        for (index, request) in requests.iter().enumerate() {
            let body = get(format!("{url}/check-result/{request}")).await?;
            for (node, attempt) in results(&body)? {
                let entry = answers.entry(node).or_default();
                entry.resize(index, None);
                entry.push(attempt);
            }
        }
        for entry in answers.values_mut() {
            entry.resize(requests.len(), None);
        }
        let pending = answers.is_empty() || answers.values().flatten().any(Option::is_none);
        if !pending || Instant::now() + POLL > deadline {
            return Ok(answers);
        }
        sleep_until(deadline.min(Instant::now() + POLL)).await;
    }
}

/// The answer to a request for a check.
#[derive(Debug, Deserialize)]
struct Accepted {
    request_id: String,
    nodes: BTreeMap<String, Vec<Value>>,
}

async fn ask(url: &str, query: &str) -> Result<Accepted, CheckError> {
    let body = get(format!("{url}/check-tcp?{query}")).await?;
    accepted(&body)
}

fn accepted(body: &[u8]) -> Result<Accepted, CheckError> {
    let garbled = |what: &str| CheckError::Garbled(what.to_owned());
    let accepted: Accepted =
        serde_json::from_slice(body).map_err(|error| CheckError::Garbled(error.to_string()))?;
    let plain = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=100).contains(&text.len()) && text.bytes().all(fits)
    };
    if !plain(&accepted.request_id) {
        return Err(garbled("the request id"));
    }
    if accepted.nodes.is_empty() || !accepted.nodes.keys().all(|node| plain(node)) {
        return Err(garbled("the nodes"));
    }
    Ok(accepted)
}

fn results(body: &[u8]) -> Result<BTreeMap<String, Option<Attempt>>, CheckError> {
    let answers: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|error| CheckError::Garbled(error.to_string()))?;
    Ok(answers
        .into_iter()
        .map(|(node, value)| (node, attempt(&value)))
        .collect())
}

/// Reads one node's result; `None` is pending.
fn attempt(value: &Value) -> Option<Attempt> {
    let one = match value {
        Value::Null => return None,
        Value::Array(items) => items.first().unwrap_or(&Value::Null),
        other => other,
    };
    let error = one.get("error").and_then(Value::as_str);
    Some(match (one.get("time").and_then(Value::as_f64), error) {
        (_, Some(error)) => {
            let why: String = error.chars().take(200).collect();
            let lower = why.to_lowercase();
            if lower.contains("refused") {
                Attempt::Refused
            } else if lower.contains("timed out") || lower.contains("timeout") {
                Attempt::NoAnswer
            } else if lower.contains("unreachable") || lower.contains("no route") {
                Attempt::Unreachable { why }
            } else {
                Attempt::NotTried { why }
            }
        }
        (Some(seconds), None) if seconds.is_finite() && seconds >= 0.0 => Attempt::Connected {
            answer: None,
            milliseconds: Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|took| u64::try_from(took.as_millis()).ok())
                .unwrap_or_default(),
        },
        _ => Attempt::NotTried {
            why: "its result is not understood".to_owned(),
        },
    })
}

/// One request, on a thread of its own: the client blocks. Redirects are not followed, as they lead elsewhere.
async fn get(url: String) -> Result<Vec<u8>, CheckError> {
    let work = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("kmsctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let unreachable = |error: ureq::Error| CheckError::Unreachable(error.to_string());
        let mut response = agent
            .get(&url)
            .header("Accept", "application/json")
            .call()
            .map_err(unreachable)?;
        match response.status().as_u16() {
            200 => {}
            429 => return Err(CheckError::RateLimited),
            other => return Err(CheckError::Status(other)),
        }
        response
            .body_mut()
            .with_config()
            .limit(LARGEST)
            .read_to_vec()
            .map_err(|error| CheckError::Garbled(error.to_string()))
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CheckError::Unreachable(error.to_string())))
}

#[cfg(test)]
mod tests;
