//! What the notifier knows about clients, beside what the firewall knows: for `status`, `states` and `virusprot show`.
//! The firewall's answer never waits long for it, and never fails with it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::notifier::status;
use super::notifier::status::{held_text, probes_text};
use crate::app::Context;
use crate::domain::notifier::event_log::{DAY, EventRecord};
use crate::domain::notifier::health::{LogSide, PodEvidence};
use crate::domain::reachability::path::Known;
use crate::domain::virusprot::entries::age_seconds;
use crate::terminal::{Human, Tone};
use crate::text::{counted, format_span};
use crate::vantage::inside;

/// How long the cluster may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
pub struct KmsActivity {
    /// Totals; `None` where no cluster is configured.
    pub side: Option<LogSide>,
    /// When each client was activated last, in the last 24 hours.
    pub clients: BTreeMap<IpAddr, Timestamp>,
    /// All clients of the last 24 hours are among them.
    pub reaches_day: bool,
}

/// Asks the cluster, where one is configured and the service is KMS. What goes wrong stands in [`LogSide::unknown`].
pub async fn fetch_kms_activity(context: &Context) -> KmsActivity {
    let kubectl = inside::inside_kubectl(context);
    let Some(kubectl) = kubectl.filter(|_| context.settings.service.speaks_kms) else {
        return KmsActivity::default();
    };
    let patience = context.settings.cluster.timeout.min(PATIENCE);
    let asked = tokio::time::timeout(patience, status::gather_pipeline(context, &kubectl, false));
    let pods: Known<Vec<PodEvidence>> = match Box::pin(asked).await {
        Ok(Ok(gathered)) => gathered.pods,
        Ok(Err(error)) => inside::known_answer(Err(error)),
        Err(_) => {
            let span = format_span(patience.as_secs());
            let why = format!("the cluster did not answer within {span}");
            Err(crate::domain::reachability::path::Trouble::new(why))
        }
    };
    let container = &context.settings.cluster.names.notifier;
    KmsActivity::of_pods(&pods, container, context.clock.now())
}

impl KmsActivity {
    /// Takes what the notifiers, containers of this name, have printed.
    pub fn of_pods(pods: &Known<Vec<PodEvidence>>, container: &str, now: Timestamp) -> Self {
        let pods = match pods {
            Ok(pods) if pods.is_empty() => return Self::failed("there is no pod"),
            Ok(pods) => pods,
            Err(trouble) => return Self::failed(&trouble.why),
        };
        let since = |pod: &PodEvidence| pod.pod.as_ref()?.container(container)?.printed_since();
        let is_whole =
            |pod: &PodEvidence| since(pod).is_some_and(|at| now.duration_since(at) >= DAY);
        let records = || pods.iter().filter_map(|pod| pod.log.as_ref().ok()).flatten();
        Self {
            side: Some(LogSide::of(pods, now)),
            clients: activated_clients(records(), now),
            reaches_day: pods.iter().all(is_whole)
                && !records().any(|record| record.is_far_ahead(now)),
        }
    }

    pub fn from_file(clients: BTreeMap<IpAddr, Timestamp>, reaches_day: bool) -> Self {
        Self { side: Some(LogSide::default()), clients, reaches_day }
    }

    fn failed(why: &str) -> Self {
        Self {
            side: Some(LogSide {
                unknown: vec![format!("The notifier: {why}.")],
                ..LogSide::default()
            }),
            ..Self::default()
        }
    }
}

fn activated_clients<'a>(
    records: impl Iterator<Item = &'a EventRecord>,
    now: Timestamp,
) -> BTreeMap<IpAddr, Timestamp> {
    let mut clients = BTreeMap::new();
    for (address, at) in records.filter_map(|record| record.recent_activation(now)) {
        let newest = clients.entry(address).or_insert(at);
        *newest = (*newest).max(at);
    }
    clients
}

/// Adds when a client was activated last.
pub fn activated_line(human: &mut Human, client: Option<(&IpAddr, &Timestamp)>, now: Timestamp) {
    if let Some((address, at)) = client {
        let text = format!("{} ago ({address})", format_span(age_seconds(*at, now)));
        human.field("Activated", text, Tone::Plain);
    }
}

pub fn for_people(human: &mut Human, side: &LogSide, now: Timestamp) {
    if let Some(at) = side.last_activation_at {
        let whose = side.last_activation.as_ref().and_then(|last| last.address);
        let whose = whose.map_or_else(String::new, |address| format!(" ({address})"));
        let text = format!("{} ago{whose}", format_span(age_seconds(at, now)));
        human.field("Activated", text, Tone::Plain);
    }
    if let Some(day) = &side.last_day {
        human.field("Last day", held_text(day), Tone::Plain);
    }
    if let Some(probes) = &side.probes {
        let activations = side.activations.map_or_else(String::new, |times| {
            format!("{}; ", counted(times, "activation", "activations"))
        });
        let text = format!("{activations}{} (since the notifier started)", probes_text(probes));
        human.field("Notifier", text, Tone::Plain);
    }
    for sentence in &side.unknown {
        human.field("Notifier", format!("unknown. {sentence}"), Tone::Warning);
    }
}
