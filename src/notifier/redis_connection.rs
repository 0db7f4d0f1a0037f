//! A connection to a server that speaks Redis' protocol, as far as a shared window needs it: commands and replies are
//! the `redis` crate's; the connection is our own, as the crate's has no deadline over a whole batch and no bound on what
//! a server sends. A server may hang, drip or talk nonsense; it gets no more than the deadline and the budget.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use redis::Parser;
use redis::{ErrorKind, Pipeline, Value};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::sender::trusted_authorities;
use crate::plain_file;
use crate::settings::window::{Password, Server};

/// Deadline of connecting, and of one batch of commands with its replies.
const DEADLINE: Duration = Duration::from_secs(2);
/// Most bytes that a server may send in reply to one batch.
const BUDGET: usize = 256 * 1_024;
const MOST_ADDRESSES: usize = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RedisTrouble {
    /// The network, or the deadline.
    #[error("{0}")]
    Network(io::Error),
    /// What came is no such protocol.
    #[error("it does not speak Redis' protocol")]
    Nonsense,
    /// It refuses; its own first word.
    #[error("it refuses: {0}")]
    Refused(String),
    /// The password's file is not readable.
    #[error("the password's file cannot be read: {0}")]
    Password(io::Error),
    #[error("{0}")]
    Tls(&'static str),
    #[error("the Sentinel watches no master of that name")]
    UnknownMaster,
}

impl From<io::Error> for RedisTrouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Network(timed_out()),
            io::ErrorKind::UnexpectedEof => Self::Network(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it closed the connection",
            )),
            _ => Self::Network(error),
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time")
}

/// One connection, logged in.
pub struct RedisConnection {
    stream: RedisStream,
    parser: Parser,
    batches: u64,
}

enum RedisStream {
    Plain(BoundedStream),
    Tls(Box<StreamOwned<ClientConnection, BoundedStream>>),
}

/// A TCP connection with a deadline over many reads and writes, and a bound on what is read until then.
struct BoundedStream {
    tcp: TcpStream,
    end: Instant,
    budget: usize,
}

impl RedisConnection {
    /// Connects, logs in and chooses the database; of a Sentinel, with the master that it leads to now.
    pub fn open(server: &Server) -> Result<Self, RedisTrouble> {
        let password = match &server.password {
            Password::None => None,
            Password::Text(text) => Some(text.clone()),
            Password::File(path) => Some(first_line(path).map_err(RedisTrouble::Password)?),
        };
        let master = match &server.watched_as {
            Some(name) => &find_master(server, name, password.as_deref())?,
            None => server,
        };
        let mut connection = Self::over(BoundedStream::connect(master)?, master)?;
        let mut greeting = redis::pipe();
        if let Some(password) = &password {
            let login = greeting.cmd("AUTH");
            if let Some(user) = &server.user {
                login.arg(user);
            }
            login.arg(password);
        }
        if server.database != 0 {
            greeting.cmd("SELECT").arg(server.database);
        }
        expect_accepted(&connection.call(&mut greeting)?)?;
        Ok(connection)
    }

    fn over(stream: BoundedStream, server: &Server) -> Result<Self, RedisTrouble> {
        let stream = if server.tls {
            let name = ServerName::try_from(server.host.clone())
                .map_err(|_| RedisTrouble::Tls("its name is none that a certificate can hold"))?;
            let client = ClientConnection::new(tls_configuration()?, name)
                .map_err(|_| RedisTrouble::Tls("TLS cannot be begun"))?;
            RedisStream::Tls(Box::new(StreamOwned::new(client, stream)))
        } else {
            RedisStream::Plain(stream)
        };
        Ok(Self { stream, parser: Parser::new(), batches: 0 })
    }

    /// Sends commands and returns as many replies; a refusal is a reply. After an error the connection is of no more
    /// use.
    pub fn call(&mut self, commands: &mut Pipeline) -> Result<Vec<Value>, RedisTrouble> {
        let count = commands.cmd_iter().count();
        // The last reply repeats the number of the batch: a server that sends more, or less, than was asked for is found.
        self.batches += 1;
        let number = self.batches.to_string();
        commands.cmd("PING").arg(&number);
        self.stream.start_batch();
        let text = commands.get_packed_pipeline();
        self.stream.write_all(&text)?;
        self.stream.flush()?;
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(self.next_reply()?);
        }
        match self.next_reply()? {
            Value::BulkString(bytes) if bytes == number.as_bytes() => Ok(replies),
            // A login that was refused says why; what follows it is refused for the lack of a login.
            Value::ServerError(error) => {
                expect_accepted(&replies)?;
                Err(refusal(&error))
            }
            _ => Err(RedisTrouble::Nonsense),
        }
    }

    fn next_reply(&mut self) -> Result<Value, RedisTrouble> {
        self.parser.parse_value(&mut self.stream).map_err(|error| {
            if error.is_timeout() {
                RedisTrouble::Network(timed_out())
            } else if error.kind() != ErrorKind::Io || self.stream.bounded().budget == 0 {
                RedisTrouble::Nonsense
            } else if error.is_connection_dropped() {
                io::Error::from(io::ErrorKind::UnexpectedEof).into()
            } else {
                // Words of the system or of TLS, which hold nothing that the server chose.
                io::Error::other(error.to_string()).into()
            }
        })
    }
}

/// Asks a Sentinel where its master is.
fn find_master(
    sentinel: &Server,
    name: &str,
    password: Option<&str>,
) -> Result<Server, RedisTrouble> {
    let mut connection = RedisConnection::over(BoundedStream::connect(sentinel)?, sentinel)?;
    let mut question = redis::pipe();
    // One that wants no password refuses it, and answers all the same.
    if let Some(password) = password {
        question.cmd("AUTH").arg(password);
    }
    question.cmd("SENTINEL").arg("get-master-addr-by-name").arg(name);
    let answer = connection.call(&mut question)?.pop();
    let place = match answer {
        Some(Value::Array(place)) => place,
        Some(Value::Nil) => return Err(RedisTrouble::UnknownMaster),
        Some(Value::ServerError(error)) => return Err(refusal(&error)),
        _ => return Err(RedisTrouble::Nonsense),
    };
    let [Value::BulkString(host), Value::BulkString(port)] = place.as_slice() else {
        return Err(RedisTrouble::Nonsense);
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).ok();
    let host = text(host).ok_or(RedisTrouble::Nonsense)?;
    let port = text(port).and_then(|port| port.parse().ok()).ok_or(RedisTrouble::Nonsense)?;
    Ok(Server { host, port, watched_as: None, ..sentinel.clone() })
}

impl RedisStream {
    fn bounded(&mut self) -> &mut BoundedStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    fn start_batch(&mut self) {
        let stream = self.bounded();
        stream.end = Instant::now() + DEADLINE;
        stream.budget = BUDGET;
    }
}

impl Read for RedisStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for RedisStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl BoundedStream {
    fn connect(server: &Server) -> Result<Self, RedisTrouble> {
        let end = Instant::now() + DEADLINE;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        let addresses = (server.host.as_str(), server.port).to_socket_addrs()?;
        for address in addresses.take(MOST_ADDRESSES) {
            match TcpStream::connect_timeout(&address, time_left(end)?) {
                Ok(tcp) => {
                    tcp.set_nodelay(true)?;
                    return Ok(Self { tcp, end, budget: BUDGET });
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }
}

impl Read for BoundedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.budget == 0 {
            return Err(io::Error::other("it sends too much"));
        }
        let most = buffer.len().min(self.budget);
        self.tcp.set_read_timeout(Some(time_left(self.end)?))?;
        let count = self.tcp.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.budget -= count;
        Ok(count)
    }
}

impl Write for BoundedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(time_left(self.end)?))?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

fn time_left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(timed_out());
    }
    Ok(left)
}

/// Trusts what [`trusted_authorities`] names: a server in a cluster seldom has a public certificate.
fn tls_configuration() -> Result<Arc<ClientConfig>, RedisTrouble> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted_authorities());
    if roots.is_empty() {
        return Err(RedisTrouble::Tls(
            "no certificate to trust was found; name a file of them in SSL_CERT_FILE",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| RedisTrouble::Tls("TLS cannot be begun"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(configuration))
}

/// Returns the first refusal among replies.
pub fn expect_accepted(replies: &[Value]) -> Result<(), RedisTrouble> {
    let refused = replies.iter().find_map(|reply| match reply {
        Value::ServerError(error) => Some(refusal(error)),
        _ => None,
    });
    refused.map_or(Ok(()), Err)
}

/// Takes the first word of an error, such as `WRONGPASS`, if it looks like one: capitals only. The rest may repeat what
/// was sent and is thrown away.
pub fn refusal(error: &redis::ServerError) -> RedisTrouble {
    let word: String = error.code().chars().take_while(char::is_ascii_uppercase).take(20).collect();
    RedisTrouble::Refused(if word.is_empty() { "ERR".to_owned() } else { word })
}

fn first_line(path: &std::path::Path) -> io::Result<String> {
    let mut text = String::new();
    plain_file::open_plain_file(path, OpenOptions::new().read(true))?
        .take(4_096)
        .read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Sends these bytes to any client and closes the connection.
    fn call_impostor(bytes: Vec<u8>) -> Result<Vec<Value>, RedisTrouble> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut asked = [0; 512];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(&bytes);
        });
        let server = Server {
            host: "127.0.0.1".to_owned(),
            port,
            tls: false,
            watched_as: None,
            user: None,
            password: Password::None,
            database: 0,
        };
        let stream = BoundedStream::connect(&server)?;
        let mut commands = redis::pipe();
        commands.cmd("SET").arg("k").cmd("GET").arg("k");
        RedisConnection::over(stream, &server)?.call(&mut commands)
    }

    #[test]
    fn replies_are_read_and_their_end_checked() {
        let replies = call_impostor(b"+OK\r\n$3\r\na\nb\r\n$1\r\n1\r\n".into()).expect("replies");
        assert_eq!(replies, [Value::Okay, Value::BulkString(b"a\nb".to_vec())]);
        let replies = call_impostor(b"$-1\r\n:-2\r\n$1\r\n1\r\n".into()).expect("replies");
        assert_eq!(replies, [Value::Nil, Value::Int(-2)]);
        let refused = b"-ERR unknown 'AUTH' 'secret'\r\n-secret x\r\n$1\r\n1\r\n";
        for reply in call_impostor(refused.into()).expect("replies") {
            let trouble = expect_accepted(&[reply]).expect_err("a refusal");
            assert_eq!(trouble.to_string(), "it refuses: ERR");
        }
        let late = call_impostor(b"+OK\r\n+OK\r\n-NOPERM secret\r\n".into());
        assert_eq!(late.expect_err("no").to_string(), "it refuses: NOPERM");
    }

    #[test]
    fn nonsense_is_refused_within_the_budget() {
        let deep = "*1\r\n".repeat(1_000);
        let mut flood = vec![b'$'];
        flood.resize(BUDGET * 2, b'1');
        for nonsense in [
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            b"+OK\r\n:x\r\n".to_vec(),
            b"+OK\r\n+OK\r\n+OK\r\n".to_vec(),
            b"+OK\r\n+OK\r\n$1\r\n2\r\n".to_vec(),
            b"+OK\r\n$1\r\nabc".to_vec(),
            b"\r\n\r\n".to_vec(),
            deep.into_bytes(),
            flood,
        ] {
            let start: Vec<u8> = nonsense.iter().copied().take(20).collect();
            assert!(matches!(call_impostor(nonsense), Err(RedisTrouble::Nonsense)), "{start:?}");
        }
        // What is promised and never comes costs no memory.
        for cut in ["+OK\r\n$5\r\nab", "+OK\r\n*2000000000\r\n:1\r\n", "+OK\r\n$2000000000\r\nx"] {
            assert!(matches!(call_impostor(cut.into()), Err(RedisTrouble::Network(_))), "{cut}");
        }
    }
}
