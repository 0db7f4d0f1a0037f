//! Asks name servers from a vantage, over TCP and so through any SSH server: what the outside is told may differ
//! from what this machine is told (split horizon).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use super::probe::{ProbeRoute, attempt_text};
use crate::domain::reachability::dns;
use crate::domain::reachability::dns::Family;
use crate::domain::reachability::external::Resolved;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of an answer that are read.
const LARGEST: usize = 4 << 10;

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
    let answer = match timeout(PATIENCE, exchange_questions(way, host, server)).await {
        Ok(answer) => answer,
        Err(_) => Err("it does not answer".to_owned()),
    };
    Resolved {
        by: format!("{shown}, asked from {vantage},"),
        from_outside: true,
        answer,
    }
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
