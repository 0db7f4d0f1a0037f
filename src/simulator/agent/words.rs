//! Changes in words, for the lock's holder, the armed ways back and pfSense's configuration history.

use crate::domain::change::Change;
use crate::domain::pf::rule::Rate;
use crate::firewall::agent::ApplyRequest;

/// Returns what a change does.
pub fn of(change: &Change) -> String {
    match change {
        Change::Caps { max_src_conn, rate } => {
            format!("caps per source: {}", caps(*max_src_conn, *rate))
        }
        Change::Disable => "exposure disabled".to_owned(),
        Change::Enable => "exposure enabled".to_owned(),
        Change::Delete => "exposure deleted".to_owned(),
        Change::PutBack { .. } => "exposure put back".to_owned(),
        Change::Build {
            max_src_conn, rate, ..
        } => format!(
            "exposure built, caps per source: {}",
            caps(*max_src_conn, *rate)
        ),
    }
}

/// Returns what stands in pfSense's configuration history.
pub fn description(request: &ApplyRequest) -> String {
    let what = of(&request.change);
    let reason = request
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty());
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    format!("kmsctl {}: {what}{reason}", request.id)
}

fn caps(connections: Option<u32>, rate: Option<Rate>) -> String {
    let connections = connections.map(|connections| format!("{connections} connections"));
    let rate = rate.map(|rate| format!("{} in {} s", rate.connections, rate.seconds));
    let words: Vec<String> = connections.into_iter().chain(rate).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}
