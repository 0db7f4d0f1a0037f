//! The side-car of the simulated cluster: its output, its metrics page, and the server's log beside it.

use jiff::Timestamp;

use super::timeline::{Moment, PRODUCTS, TimelineEvent, moments_between, started_at};
use crate::domain::notifier::source::ClientSource;
use crate::notifier::http::Pages as _;
use crate::notifier::metrics::Metrics;

/// Lines of a request and its answer.
const BLOCK: usize = 11;

/// Renders what the notifier printed after `from`, each line behind its stamp. Nothing happens after `until`.
pub fn notifier_output(
    from: Timestamp,
    now: Timestamp,
    until: Timestamp,
    birth: Timestamp,
) -> String {
    let from = from.max(started_at(now, birth));
    let lines = moments_between(from.as_second(), until.as_second(), birth);
    lines.iter().map(moment_line).collect()
}

fn moment_line(moment: &Moment) -> String {
    let at = timestamp_at(moment.at);
    let (address, port) = (moment.peer.ip(), moment.peer.port());
    let event = match moment.what {
        TimelineEvent::Probe(source) => serde_json::json!({
            "event": "probe", "address": address, "port": port, "source": source, "product": null, "product_id": null,
            "workstation": null, "status": null, "at": at, "decision": "count", "attribution": null, "kind": null,
        }),
        TimelineEvent::Activation(host, product, again) => {
            let (id, name) = product_of(product);
            serde_json::json!({
                "event": "activation", "address": address, "port": port, "source": "external", "product": name,
                "product_id": id, "workstation": host, "status": "Licensed", "at": at,
                "decision": if again { "duplicate" } else { "post" }, "attribution": "certain", "kind": null,
            })
        }
    };
    format!("{}.250000000Z {event}\n", at.to_string().trim_end_matches('Z'))
}

fn timestamp_at(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn product_of(number: u16) -> (&'static str, &'static str) {
    PRODUCTS.get(usize::from(number)).copied().unwrap_or_default()
}

/// Renders the metrics page, by the notifier's own code.
pub fn metrics_page(now: Timestamp, until: Timestamp, birth: Timestamp) -> String {
    let metrics = Metrics::default();
    metrics.configured.set(1);
    let moments = moments_between(started_at(now, birth).as_second(), until.as_second(), birth);
    let mut lines = 2 * moments.len();
    for moment in &moments {
        match moment.what {
            TimelineEvent::Probe(class) => {
                let source = ClientSource::named(class);
                metrics.count_probe(source.unwrap_or(ClientSource::External));
            }
            TimelineEvent::Activation(_, product, again) => {
                let name = product_of(product).1;
                lines += BLOCK;
                metrics.count_request("answered");
                if again {
                    metrics.count_skipped(name);
                } else {
                    metrics.count_activation(name, "Licensed");
                    metrics.count_post("ok");
                    metrics.note_ending(true, moment.at + 1);
                }
                metrics.last_activation.set(moment.at);
            }
        }
        metrics.last_line.set(moment.at);
    }
    metrics.lines.inc_by(lines as u64);
    metrics.note_beat(now.as_second(), true, true);
    metrics.print_page(false)
}

/// Renders the last lines of the server's own log.
pub fn server_log(lines: usize, now: Timestamp, birth: Timestamp) -> String {
    let from = now.as_second() - 24 * 3_600;
    let mut all = Vec::new();
    for moment in moments_between(from, now.as_second(), birth) {
        let peer = moment.peer.to_string();
        let block = match moment.what {
            TimelineEvent::Probe(_) => vec![
                format!("IPv4 connection accepted: {peer}."),
                format!("IPv4 connection closed: {peer}."),
            ],
            TimelineEvent::Activation(host, product, _) => {
                let mut block = server_block(host, product).to_vec();
                block.insert(0, format!("IPv4 connection accepted: {peer}."));
                block.push(format!("IPv4 connection closed: {peer}."));
                block
            }
        };
        let at = timestamp_at(moment.at).strftime("%Y-%m-%d %H:%M:%S").to_string();
        all.extend(block.into_iter().map(|text| format!("{at}: {text}\n")));
    }
    let skipped = all.len().saturating_sub(lines);
    all.into_iter().skip(skipped).collect()
}

fn server_block(host: &str, product: u16) -> [String; BLOCK] {
    let (id, name) = product_of(product);
    [
        "<<< Incoming KMS request".to_owned(),
        "Protocol version                : 6.0".to_owned(),
        "Client is a virtual machine     : No".to_owned(),
        "Licensing status                : 1 (Licensed)".to_owned(),
        "Remaining time (0 = forever)    : 259200 minutes".to_owned(),
        "Application ID                  : 55c92734-d682-4d71-983e-d6ec3f16059f (Windows)"
            .to_owned(),
        format!("Activation ID (Product)         : {id} ({name})"),
        format!("Workstation name                : {host}"),
        "N count policy (minimum clients): 25".to_owned(),
        ">>> Sending response, ePID source = randomized at program start".to_owned(),
        "Protocol version                : 6.0".to_owned(),
    ]
}
