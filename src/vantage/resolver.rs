//! Asks for the addresses of the public name: the system's resolver as every program would, and single name servers
//! directly, because the system's may answer something else than the outside's (split horizon).

use super::probe::{ProbeRoute, attempt_text};
use crate::domain::reachability::dns;
use crate::domain::reachability::dns::{DnsError, Family};
use crate::domain::reachability::external::Resolved;
use crate::domain::reachability::path::Resolution;
use crate::text::format_span;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long one try waits; a lost packet costs one of them.
const PATIENCE: Duration = Duration::from_millis(900);

/// How often a name server is asked before it counts as silent.
const TRIES: usize = 2;

/// How long one question may take.
const NAME_PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read.
const LARGEST: usize = 4 << 10;

/// Asks the system's resolver, which may hang for as long as it is configured to: the deadline bounds it.
pub async fn ask_system_resolver(name: &str, deadline: Duration) -> Resolution {
    Resolution::new("the system's resolver", true, look_up(name, deadline).await)
}

/// Returns the addresses that the system's resolver gives, in its order and each once.
pub async fn look_up(name: &str, deadline: Duration) -> Result<Vec<IpAddr>, String> {
    match timeout(deadline, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not answer within {}", format_span(deadline.as_secs()))),
    }
}

pub async fn ask_resolver(name: &str, server: SocketAddr) -> Resolution {
    let (a, aaaa) =
        tokio::join!(ask_family(name, server, Family::A), ask_family(name, server, Family::Aaaa));
    let shown = if server.port() == 53 { server.ip().to_string() } else { server.to_string() };
    let answer = a.and_then(|mut addresses| {
        addresses.extend(aaaa?);
        Ok(addresses)
    });
    Resolution::new(&shown, false, answer)
}

async fn ask_family(name: &str, server: SocketAddr, family: Family) -> Result<Vec<IpAddr>, String> {
    for _ in 0..TRIES {
        if let Ok(answer) = timeout(PATIENCE, exchange_packet(name, server, family)).await {
            return answer;
        }
    }
    Err("it does not answer".to_owned())
}

/// One question, one answer. Foreign packets are passed over: the socket is connected, so they are the server's own
/// late answers to another question, or forgeries without our id.
async fn exchange_packet(
    name: &str,
    server: SocketAddr,
    family: Family,
) -> Result<Vec<IpAddr>, String> {
    let unasked = |error: std::io::Error| format!("it cannot be asked: {error}");
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let question = dns::dns_question(u16::from_be_bytes(id), name, family)
        .map_err(|error| error.to_string())?;
    let socket = UdpSocket::bind(any).await.map_err(unasked)?;
    socket.connect(server).await.map_err(unasked)?;
    socket.send(&question).await.map_err(unasked)?;
    let mut bytes = [0; dns::LARGEST];
    loop {
        let length = socket.recv(&mut bytes).await.map_err(unasked)?;
        match dns::parse_dns_answer(bytes.get(..length).unwrap_or_default(), &question, family) {
            Err(DnsError::NotOurs) => {}
            other => return other.map_err(|error| error.to_string()),
        }
    }
}

/// Asks one name server for A and AAAA; the two questions travel over one connection.
pub async fn ask_name_server(
    way: ProbeRoute<'_>,
    vantage: &str,
    host: &str,
    server: SocketAddr,
) -> Resolved {
    let shown = match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    };
    let answer = match timeout(NAME_PATIENCE, exchange_questions(way, host, server)).await {
        Ok(answer) => answer,
        Err(_) => Err("it does not answer".to_owned()),
    };
    Resolved { by: format!("{shown}, asked from {vantage},"), from_outside: true, answer }
}

async fn exchange_questions(
    way: ProbeRoute<'_>,
    host: &str,
    server: SocketAddr,
) -> Result<Vec<IpAddr>, String> {
    let mut stream = way
        .connect(&server.ip().to_string(), server.port())
        .await
        .map_err(|attempt| format!("it cannot be asked: {}", attempt_text(&attempt)))?;
    let mut addresses = Vec::new();
    for family in [Family::A, Family::Aaaa] {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|error| error.to_string())?;
        let question = dns::dns_question(u16::from_be_bytes(id), host, family)
            .map_err(|error| error.to_string())?;
        // Over TCP each message is preceded by its length (RFC 1035, 4.2.2).
        let length = u16::try_from(question.len()).unwrap_or_default();
        let message = [&length.to_be_bytes()[..], &question].concat();
        let broken = |error: std::io::Error| format!("the connection to it broke: {error}");
        stream.write(&message).await.map_err(broken)?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 512];
        let whole = loop {
            let announced = bytes
                .get(..2)
                .and_then(|length: &[u8]| Some(u16::from_be_bytes(length.try_into().ok()?)));
            let end = announced.map(|length| usize::from(length) + 2);
            if let Some(whole) = end.and_then(|end| bytes.get(2..end)) {
                break whole;
            }
            if end.is_some_and(|end| end > LARGEST) {
                return Err("its answer is too long".to_owned());
            }
            match stream.read(&mut buffer).await.map_err(broken)? {
                0 => return Err("it hung up".to_owned()),
                count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        };
        let answer =
            dns::parse_dns_answer(whole, &question, family).map_err(|error| error.to_string())?;
        addresses.extend(answer);
    }
    Ok(addresses)
}
