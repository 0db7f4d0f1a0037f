//! Connects to the service from this machine and says the first word of its protocol: a DCE/RPC bind. No activation
//! request is ever sent, so none is counted; the server logs a connection that was opened and closed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::domain::reachability::kms_bind::{BIND, BindAnswer, BindEnd, Listener};
use crate::domain::reachability::path::ServiceConnection;

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// Connects, says the bind, and waits for a whole answer.
pub async fn greet_service(address: SocketAddr) -> (ServiceConnection, Option<BindAnswer>) {
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
    let mut listener = Listener::default();
    let answer = match timeout(ANSWER, talk_bind(&mut stream, &mut listener)).await {
        Ok(Ok(Some(answer))) => answer,
        Ok(Ok(None) | Err(_)) => listener.end(BindEnd::Closed),
        Err(_) => listener.end(BindEnd::Deadline),
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
        match listener.hear(bytes) {
            None if length == 0 => return Ok(None),
            None => {}
            certain => return Ok(certain),
        }
    }
}

fn connection_refusal(error: &io::Error) -> ServiceConnection {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ServiceConnection::Refused,
        io::ErrorKind::TimedOut => ServiceConnection::Silent {
            seconds: CONNECT.as_secs(),
        },
        _ => ServiceConnection::NoWay {
            reason: error.to_string(),
        },
    }
}
