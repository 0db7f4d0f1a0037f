//! Small servers on loopback: a name server that says what it is told to, and a service that answers a bind in every
//! right and wrong way.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A name server that answers every question alike.
pub struct NameServer {
    pub address: SocketAddr,
    end: Arc<AtomicBool>,
}

impl NameServer {
    /// Answers with these addresses; with `None` it stays silent.
    pub fn start(addresses: Option<&[&str]>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let address = socket.local_addr().expect("an address");
        let end = Arc::new(AtomicBool::new(false));
        let addresses: Option<Vec<IpAddr>> = addresses.map(|texts| {
            let parse = |text: &&str| text.parse().expect("an address");
            texts.iter().map(parse).collect()
        });
        let ended = Arc::clone(&end);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else {
                    continue;
                };
                if let Some(addresses) = &addresses {
                    let reply = reply(&question[..length], addresses);
                    // A stranger's answer comes first, as a forger would send it.
                    let mut forged = reply.clone();
                    forged[0] ^= 0xff;
                    let _ = socket.send_to(&forged, from);
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Self { address, end }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

fn reply(question: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let kind = question[question.len() - 3];
    let mut bytes = question.to_vec();
    bytes[2] = 0x81;
    bytes[3] = 0x80;
    let mut count = 0;
    for address in addresses {
        let data = match address {
            IpAddr::V4(v4) if kind == 1 => v4.octets().to_vec(),
            IpAddr::V6(v6) if kind == 28 => v6.octets().to_vec(),
            _ => continue,
        };
        count += 1;
        bytes.extend([0xc0, 0x0c, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
        bytes.push(u8::try_from(data.len()).expect("4 or 16"));
        bytes.extend(data);
    }
    bytes[7] = count;
    bytes
}

/// How the service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It accepts the bind.
    Ack,
    /// It refuses the bind.
    Nak,
    /// It sends back what it is sent.
    Echo,
    /// It speaks HTTP.
    Rubbish,
    /// It ends the connection.
    Hangup,
    /// It says nothing.
    Silent,
}

/// A service on loopback.
pub struct Service {
    pub port: u16,
}

impl Service {
    /// Starts one; its thread ends with the test.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let mut bind = [0; 72];
                if stream.read_exact(&mut bind).is_err() {
                    continue;
                }
                let answer: &[u8] = match manner {
                    Manner::Ack => ACK,
                    Manner::Nak => NAK,
                    Manner::Echo => &bind.clone(),
                    Manner::Rubbish => b"HTTP/1.1 400 Bad Request\r\n\r\n",
                    Manner::Hangup => b"",
                    Manner::Silent => {
                        let _ = stream.read(&mut bind);
                        b""
                    }
                };
                let _ = stream.write_all(answer);
            }
        });
        Self { port }
    }
}

/// Returns a port where nobody listens.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

const ACK: &[u8] = b"\x05\x00\x0c\x03\x10\x00\x00\x00\x3c\x00\x00\x00\x01\x00\x00\x00\
    \xd0\x16\xd0\x16\xc5\x1b\x00\x00\x05\x001688\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\
    \x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60\x02\x00\x00\x00";
const NAK: &[u8] =
    b"\x05\x00\x0d\x03\x10\x00\x00\x00\x15\x00\x00\x00\x01\x00\x00\x00\x04\x00\x01\x05\x00";
