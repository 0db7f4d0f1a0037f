//! Gathers what this machine and the cluster know, all at once: name servers, a connection to the service, kubectl.
//! On the demo nothing is sent anywhere. Shared by `verify` and `doctor`.

use super::resolver;
use crate::app::Context;
use crate::domain::reachability::kms_bind::{BIND, BindAnswer, BindEnd, Listener};
use crate::domain::reachability::path::{Cluster, Known, Resolution, ServiceConnection, Trouble};
use crate::kubectl::{Kubectl, KubectlError, SimulatedCluster};
use crate::simulator;
use crate::simulator::Scenario;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long the system's resolver may take: with two dead name servers it tries for many times that.
const SYSTEM_RESOLVER: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Everything that is seen from inside.
pub struct InsideEvidence {
    pub resolutions: Vec<Resolution>,
    pub connection: ServiceConnection,
    pub answer: Option<BindAnswer>,
    pub cluster: Option<Cluster>,
}

pub async fn gather_inside(context: &Context) -> InsideEvidence {
    let kubectl = inside_kubectl(context);
    let (resolutions, (connection, answer), cluster) = tokio::join!(
        resolve_everywhere(context),
        greet_from_inside(context),
        ask_cluster(context, kubectl.as_ref()),
    );
    InsideEvidence { resolutions, connection, answer, cluster }
}

/// Returns the way to the cluster, where one is configured; the demo has its own.
pub fn inside_kubectl(context: &Context) -> Option<Kubectl> {
    let cluster = &context.settings.cluster;
    if context.demo {
        let answers = match context.demo_condition() {
            Scenario::BackendDead => simulator::cluster::answers_without_server,
            _ => simulator::cluster::kubectl_answers,
        };
        let (clock, birth) = (context.clock, context.demo_birth());
        return Some(Kubectl::Simulated(SimulatedCluster { answers, clock, birth }));
    }
    cluster.configured.then(|| Kubectl::new(cluster))
}

pub async fn resolve_everywhere(context: &Context) -> Vec<Resolution> {
    let (settings, host) = (&context.settings, context.settings.service.host.as_str());
    if context.demo {
        return simulator::inside::simulated_resolutions(settings.service.address);
    }
    if host.is_empty() {
        return Vec::new();
    }
    let mut asked = tokio::task::JoinSet::new();
    let servers = std::iter::once(None).chain(settings.resolvers.iter().copied().map(Some));
    for (place, server) in servers.enumerate() {
        let (host, deadline) = (host.to_owned(), settings.timeout.min(SYSTEM_RESOLVER));
        asked.spawn(async move {
            let resolution = match server {
                None => resolver::ask_system_resolver(&host, deadline).await,
                Some(server) => resolver::ask_resolver(&host, server).await,
            };
            (place, resolution)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, resolution)| resolution).collect()
}

async fn greet_from_inside(context: &Context) -> (ServiceConnection, Option<BindAnswer>) {
    let target = &context.settings.service;
    if context.demo {
        let (connection, answer) = simulator::inside::simulated_greeting(context.demo_condition());
        return (connection, answer.filter(|_| target.speaks_kms));
    }
    // The built-in address beside a firewall of the operator's is that of another network.
    if !context.names_service_address() {
        return (ServiceConnection::NotNamed, None);
    }
    greet_service((target.address, target.port).into(), target.speaks_kms).await
}

/// Asks the cluster everything at once; each answer may be missing alone.
pub async fn ask_cluster(context: &Context, kubectl: Option<&Kubectl>) -> Option<Cluster> {
    let kubectl = kubectl?;
    let cluster = &context.settings.cluster;
    let (namespace, names) = (cluster.namespace.as_str(), &cluster.names);
    let (service, endpoints, announcements, pods) = tokio::join!(
        kubectl.service(namespace, names),
        kubectl.endpoints(namespace, names),
        kubectl.announcements(&cluster.metallb_namespace, namespace, names),
        kubectl.pods(namespace, names),
    );
    Some(Cluster {
        service: known_answer(service),
        endpoints: known_answer(endpoints),
        announcements: known_answer(announcements),
        pods: known_answer(pods),
    })
}

/// Turns kubectl's error into the reason of a finding.
pub fn known_answer<T>(answer: Result<T, KubectlError>) -> Known<T> {
    answer.map_err(|error| Trouble {
        why: error.to_string(),
        fix: Some(error.fix().to_owned()),
        fault: false,
        follows: error.is_of_program().then_some("kubectl"),
    })
}

/// Connects; to a server of KMS it says the bind, and waits for a whole answer.
async fn greet_service(
    address: SocketAddr,
    speaks_kms: bool,
) -> (ServiceConnection, Option<BindAnswer>) {
    let started = Instant::now();
    let mut stream = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return (connection_refusal(&error), None),
        Err(_) => {
            let seconds = CONNECT.as_secs();
            return (ServiceConnection::Silent { seconds }, None);
        }
    };
    let took = started.elapsed();
    if !speaks_kms {
        return (ServiceConnection::Open { took }, None);
    }
    let mut listener = Listener::default();
    let answer = match timeout(ANSWER, talk_bind(&mut stream, &mut listener)).await {
        Ok(Ok(Some(answer))) => answer,
        Ok(Ok(None) | Err(_)) => listener.judge_end(BindEnd::Closed),
        Err(_) => listener.judge_end(BindEnd::Deadline),
    };
    // A polite end: without it the server would log a reset.
    let _ = stream.shutdown().await;
    (ServiceConnection::Open { took }, Some(answer))
}

async fn talk_bind(
    stream: &mut TcpStream,
    listener: &mut Listener,
) -> io::Result<Option<BindAnswer>> {
    stream.write_all(&BIND).await?;
    let mut piece = [0; 256];
    loop {
        let length = stream.read(&mut piece).await?;
        let bytes = piece.get(..length).unwrap_or_default();
        match listener.hear_bytes(bytes) {
            None if length == 0 => return Ok(None),
            None => {}
            certain => return Ok(certain),
        }
    }
}

fn connection_refusal(error: &io::Error) -> ServiceConnection {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ServiceConnection::Refused,
        io::ErrorKind::TimedOut => ServiceConnection::Silent { seconds: CONNECT.as_secs() },
        _ => ServiceConnection::NoWay { reason: error.to_string() },
    }
}
