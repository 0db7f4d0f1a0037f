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
use tokio::time::{Instant, sleep, timeout_at};

use super::Task;
use super::probe::PAUSE;
use crate::domain::reachability::external::{ATTEMPTS, Attempt, Control};
use crate::text::shorten_words;

/// Most bytes of an answer.
const LARGEST: u64 = 64 << 10;
const REQUEST: Duration = Duration::from_secs(4);
/// Between two looks at the results.
const POLL: Duration = Duration::from_secs(1);

/// Why a check service is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No connection, TLS trouble.
    #[error("the check service cannot be reached: {0}")]
    Unreachable(String),
    #[error("the check service did not answer in time")]
    Late,
    /// Too many requests.
    #[error("the check service wants us to wait (too many requests)")]
    RateLimited,
    #[error("the check service answered with HTTP status {0}")]
    Status(u16),
    /// Not the documented answer.
    #[error("the check service answered something else than documented: {0}")]
    Garbled(String),
}

impl CheckError {
    /// Of an answer in another form; what serde quotes of it is cut.
    fn unreadable(error: &serde_json::Error) -> Self {
        Self::Garbled(shorten_words(&error.to_string()).into_owned())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckNode {
    pub name: String,
    pub address: Option<IpAddr>,
    /// In order; what was still pending at the deadline is missing.
    pub attempts: Vec<Attempt>,
    pub control: Control,
}

/// Has nodes connect: once, and where one of them does not connect, three times in all, beside a control. The second
/// value says why there were fewer. All of it is over at the task's end, even if the
/// service hangs.
pub async fn check_from_nodes(
    url: &str,
    nodes: usize,
    task: Task<'_>,
) -> Result<(Vec<CheckNode>, Option<String>), CheckError> {
    timeout_at(task.end, talk_to_service(url, nodes, task)).await.unwrap_or(Err(CheckError::Late))
}

async fn talk_to_service(
    url: &str,
    nodes: usize,
    task: Task<'_>,
) -> Result<(Vec<CheckNode>, Option<String>), CheckError> {
    let service = CheckService { url, end: task.end };
    let target = service_place(&task.target.ip().to_string(), task.target.port());
    if let Some(short) = task.permission() {
        return Ok((Vec::new(), Some(short)));
    }
    let first = service.ask(&format!("host={target}&max_nodes={nodes}")).await?;
    // A service that takes more than it was asked for has them ignored: they have no budget here.
    let nodes: Nodes = first.nodes.into_iter().take(nodes).collect();
    let chosen: String = nodes.keys().map(|node| format!("&node={node}")).collect();
    let mut requests = vec![first.request_id];
    let soon = Instant::now() + PAUSE;
    let mut answers = service.poll(&nodes, &requests, soon).await?;
    let (mut short, mut controlled) = (task.only_one.map(str::to_owned), None);
    if !nodes.keys().all(|node| has_connected(answers.get(node))) && short.is_none() {
        for _ in 1..ATTEMPTS {
            short = task.permission();
            if short.is_some() {
                break;
            }
            let again = service.ask(&format!("host={target}{chosen}")).await?;
            requests.push(again.request_id);
            sleep(PAUSE).await;
        }
        if let Some((host, port)) = task.control {
            let query = format!("host={}{chosen}", service_place(host, *port));
            controlled = Some(service.ask(&query).await?.request_id);
        }
        requests.extend(controlled.clone());
        let last = task.end.checked_sub(POLL).unwrap_or(task.end);
        answers = service.poll(&nodes, &requests, last).await?;
    }
    let node = |(name, facts): (&String, &Vec<Value>)| {
        let mut attempts = answers.get(name).cloned().unwrap_or_default();
        let of_control = controlled.as_ref().map(|_| attempts.pop().flatten());
        CheckNode {
            name: name.clone(),
            address: facts.iter().find_map(|fact| fact.as_str()?.parse().ok()),
            attempts: attempts.into_iter().flatten().collect(),
            control: match of_control {
                Some(saw) => control_of(task.control, saw),
                None => Control::OwnPath,
            },
        }
    };
    Ok((nodes.iter().map(node).collect(), short))
}

fn service_place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("%5B{host}%5D:{port}") } else { format!("{host}:{port}") }
}

fn has_connected(attempts: Option<&Vec<Option<Attempt>>>) -> bool {
    attempts.is_some_and(|attempts| {
        attempts.iter().any(|attempt| matches!(attempt, Some(Attempt::Connected { .. })))
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
        Some(attempt) => Control::Failed { to, why: super::probe::attempt_text(&attempt) },
        None => Control::Failed { to, why: "no result in time".to_owned() },
    }
}

/// Names of nodes, and what the service reports about each.
type Nodes = BTreeMap<String, Vec<Value>>;

/// Per node, one entry a request: the attempt, or nothing while it is pending.
type NodeAnswers = BTreeMap<String, Vec<Option<Attempt>>>;

/// The answer to a request for a check.
#[derive(Debug, Deserialize)]
pub struct Accepted {
    /// Names the results.
    pub request_id: String,
    pub nodes: Nodes,
}

/// The service, and until when it may answer.
#[derive(Clone, Copy)]
struct CheckService<'a> {
    url: &'a str,
    end: Instant,
}

impl CheckService<'_> {
    async fn ask(self, query: &str) -> Result<Accepted, CheckError> {
        parse_accepted(&self.get(&format!("check-tcp?{query}")).await?)
    }

    /// Looks at the results of the requests in turn, one a second, until none of these nodes is pending, or until `last`.
    async fn poll(
        self,
        nodes: &Nodes,
        requests: &[String],
        last: Instant,
    ) -> Result<NodeAnswers, CheckError> {
        let mut results = vec![BTreeMap::new(); requests.len()];
        let pending = |result: &BTreeMap<String, Option<Attempt>>| {
            nodes.keys().any(|node| !matches!(result.get(node), Some(Some(_))))
        };
        let mut looked = false;
        'looking: while results.iter().any(&pending) {
            for (request, result) in requests.iter().zip(&mut results) {
                if !pending(result) {
                    continue;
                }
                if looked {
                    if Instant::now() + POLL > last {
                        break 'looking;
                    }
                    sleep(POLL).await;
                }
                match self.get(&format!("check-result/{request}")).await {
                    Ok(body) => *result = parse_results(&body)?,
                    // What was seen before is worth more than nothing.
                    Err(CheckError::Late) if looked => break 'looking,
                    Err(error) => return Err(error),
                }
                looked = true;
            }
        }
        let of_node = |node: &String| {
            let attempts = results.iter().map(|result| result.get(node).cloned().flatten());
            (node.clone(), attempts.collect())
        };
        Ok(nodes.keys().map(of_node).collect())
    }

    /// One request, on a thread of its own: the client blocks. It ends with the time that is left at the latest, so that
    /// no thread outlives the run. Redirects are not followed, as they lead elsewhere.
    async fn get(self, path: &str) -> Result<Vec<u8>, CheckError> {
        let url = format!("{}/{path}", self.url);
        let patience = self.end.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(CheckError::Late);
        }
        tokio::task::spawn_blocking(move || fetch_bounded(&url, patience.min(REQUEST)))
            .await
            .unwrap_or_else(|error| Err(CheckError::Unreachable(error.to_string())))
    }
}

/// Reads which nodes try it; their names and the request's go into later addresses, so they are plain words.
pub fn parse_accepted(body: &[u8]) -> Result<Accepted, CheckError> {
    let garbled = |what: &str| CheckError::Garbled(what.to_owned());
    let accepted: Accepted =
        serde_json::from_slice(body).map_err(|error| CheckError::unreadable(&error))?;
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

/// Reads what each node saw.
pub fn parse_results(body: &[u8]) -> Result<BTreeMap<String, Option<Attempt>>, CheckError> {
    let answers: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|error| CheckError::unreadable(&error))?;
    Ok(answers.into_iter().map(|(node, value)| (node, parse_attempt(&value))).collect())
}

/// Reads one node's result; `None` is pending.
fn parse_attempt(value: &Value) -> Option<Attempt> {
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
        _ => Attempt::NotTried { why: "its result is not understood".to_owned() },
    })
}

fn fetch_bounded(url: &str, patience: Duration) -> Result<Vec<u8>, CheckError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("kmsctl/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let failed = |error: ureq::Error| match error {
        ureq::Error::Timeout(_) => CheckError::Late,
        other => CheckError::Unreachable(other.to_string()),
    };
    let mut response =
        agent.get(url).header("Accept", "application/json").call().map_err(failed)?;
    match response.status().as_u16() {
        200 => {}
        429 => return Err(CheckError::RateLimited),
        other => return Err(CheckError::Status(other)),
    }
    response.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(|error| match error {
        ureq::Error::Timeout(_) => CheckError::Late,
        other => CheckError::Garbled(other.to_string()),
    })
}

#[cfg(test)]
mod tests;
