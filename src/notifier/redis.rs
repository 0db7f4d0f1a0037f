//! A client of the Redis protocol, version 2 (redis.io, "Redis serialization protocol specification"), as far as a
//! shared window needs it: small replies, several commands at a time, one deadline over all of it. A server may
//! hang, drip or talk nonsense; it gets no more than the deadline and a few kilobytes.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::settings::window::{Password, Server};

/// Deadline of connecting, and of one batch of commands with its replies.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest line or text taken from a server, in bytes.
const LONGEST: usize = 1_024;
/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;

/// What a server answers to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisReply {
    /// A short text, such as `OK`.
    Word(String),
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Nil,
    /// An error; its first word, such as `WRONGPASS`. The rest may repeat what was sent and is thrown away.
    Refused(String),
}

impl RedisReply {
    /// Takes the first reply of what has arrived, with its length; `None` where the rest of it is still on its way.
    pub fn take(fresh: &[u8]) -> Result<Option<(Self, usize)>, RedisTrouble> {
        let Some(end) = memchr::memchr(b'\n', fresh) else {
            return if fresh.len() > LONGEST {
                Err(RedisTrouble::Nonsense)
            } else {
                Ok(None)
            };
        };
        let line = fresh.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        let (kind, rest) = line
            .and_then(<[u8]>::split_first)
            .ok_or(RedisTrouble::Nonsense)?;
        let text = || std::str::from_utf8(rest).map_err(|_| RedisTrouble::Nonsense);
        let number =
            || -> Result<i64, RedisTrouble> { text()?.parse().map_err(|_| RedisTrouble::Nonsense) };
        let after = fresh.get(end + 1..).unwrap_or_default();
        let reply = match kind {
            b'+' => Self::Word(text()?.to_owned()),
            b':' => Self::Number(number()?),
            b'-' => Self::Refused(error_word(rest)),
            b'$' => match number()? {
                -1 => Self::Nil,
                length => {
                    let length = usize::try_from(length).map_err(|_| RedisTrouble::Nonsense)?;
                    let bytes = take_bytes(after, length)?;
                    let whole = end + 1 + length + 2;
                    return Ok(bytes.map(|bytes| (Self::Bytes(bytes), whole)));
                }
            },
            _ => return Err(RedisTrouble::Nonsense),
        };
        Ok(Some((reply, end + 1)))
    }
}

/// Takes so many bytes and the end of the line behind them.
fn take_bytes(fresh: &[u8], length: usize) -> Result<Option<Vec<u8>>, RedisTrouble> {
    if length > LONGEST {
        return Err(RedisTrouble::Nonsense);
    }
    let Some((bytes, rest)) = fresh.split_at_checked(length) else {
        return Ok(None);
    };
    match rest {
        [b'\r', b'\n', ..] => Ok(Some(bytes.to_vec())),
        [_, _, ..] => Err(RedisTrouble::Nonsense),
        _ => Ok(None),
    }
}

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
#[derive(Debug)]
pub struct RedisConnection {
    stream: TcpStream,
    buffer: Vec<u8>,
    used: usize,
    end: Instant,
}

impl RedisConnection {
    /// Connects, logs in and chooses the database.
    pub fn open(server: &Server) -> Result<Self, RedisTrouble> {
        let password = match &server.password {
            Password::None => None,
            Password::Text(text) => Some(text.clone()),
            Password::File(path) => Some(first_line(path).map_err(RedisTrouble::Password)?),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        let end = Instant::now() + DEADLINE;
        let mut stream = None;
        for address in (server.host.as_str(), server.port)
            .to_socket_addrs()?
            .take(MOST_ADDRESSES)
        {
            match TcpStream::connect_timeout(&address, time_left(end)?) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let stream = stream.ok_or(last)?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            buffer: Vec::new(),
            used: 0,
            end,
        };
        let database = server.database.to_string();
        let mut greeting: Vec<Vec<&[u8]>> = Vec::new();
        if let Some(password) = &password {
            let mut login: Vec<&[u8]> = vec![b"AUTH"];
            login.extend(server.user.as_deref().map(str::as_bytes));
            login.push(password.as_bytes());
            greeting.push(login);
        }
        if server.database != 0 {
            greeting.push(vec![b"SELECT", database.as_bytes()]);
        }
        greeting.push(vec![b"PING"]);
        for reply in connection.call(&greeting)? {
            match reply {
                RedisReply::Word(_) => {}
                RedisReply::Refused(word) => return Err(RedisTrouble::Refused(word)),
                _ => return Err(RedisTrouble::Nonsense),
            }
        }
        Ok(connection)
    }

    /// Sends commands and returns as many replies. After an error the connection is of no more use.
    pub fn call(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<RedisReply>, RedisTrouble> {
        self.end = Instant::now() + DEADLINE;
        let mut text = Vec::new();
        for command in commands {
            text.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                text.extend_from_slice(word);
                text.extend_from_slice(b"\r\n");
            }
        }
        let mut sent = 0;
        while sent < text.len() {
            self.stream.set_write_timeout(Some(time_left(self.end)?))?;
            match self.stream.write(text.get(sent..).unwrap_or_default())? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => sent += count,
            }
        }
        let replies: Result<Vec<RedisReply>, RedisTrouble> =
            commands.iter().map(|_| self.reply()).collect();
        // What was not asked for is no answer to what will be.
        if replies.is_ok() && self.used < self.buffer.len() {
            return Err(RedisTrouble::Nonsense);
        }
        replies
    }

    fn reply(&mut self) -> Result<RedisReply, RedisTrouble> {
        loop {
            let fresh = self.buffer.get(self.used..).unwrap_or_default();
            if let Some((reply, length)) = RedisReply::take(fresh)? {
                self.used += length;
                return Ok(reply);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), RedisTrouble> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut piece = [0; 4_096];
        self.stream.set_read_timeout(Some(time_left(self.end)?))?;
        match self.stream.read(&mut piece)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => {
                self.buffer
                    .extend_from_slice(piece.get(..count).unwrap_or_default());
                Ok(())
            }
        }
    }
}

fn time_left(end: Instant) -> Result<Duration, RedisTrouble> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(RedisTrouble::Network(timed_out()));
    }
    Ok(left)
}

/// Returns the first word of an error, if it looks like one: capitals only.
fn error_word(text: &[u8]) -> String {
    let word: String = text
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .take(20)
        .map(|byte| char::from(*byte))
        .collect();
    if word.is_empty() {
        "ERR".to_owned()
    } else {
        word
    }
}

fn first_line(path: &std::path::Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(4_096)
        .read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers anything with these bytes and leaves.
    fn answered(bytes: &'static [u8]) -> Result<Vec<RedisReply>, RedisTrouble> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut asked = [0; 512];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(bytes);
        });
        let mut connection = RedisConnection {
            stream: TcpStream::connect(address).expect("a connection"),
            buffer: Vec::new(),
            used: 0,
            end: Instant::now(),
        };
        connection.call(&[vec![b"SET", b"k"], vec![b"GET", b"k"]])
    }

    #[test]
    fn replies_are_read_and_nonsense_is_told_from_them() {
        let replies = answered(b"+OK\r\n$3\r\na\nb\r\n").expect("replies");
        assert_eq!(
            replies,
            [
                RedisReply::Word("OK".into()),
                RedisReply::Bytes(b"a\nb".to_vec())
            ]
        );
        let replies = answered(b"$-1\r\n:-2\r\n").expect("replies");
        assert_eq!(replies, [RedisReply::Nil, RedisReply::Number(-2)]);
        let replies = answered(b"-ERR unknown 'AUTH' 'secret'\r\n-secret\r\n").expect("replies");
        assert_eq!(
            replies,
            [
                RedisReply::Refused("ERR".into()),
                RedisReply::Refused("ERR".into())
            ]
        );
        for nonsense in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"+OK\r\n*1\r\n",
            b"+OK\n+OK\n",
            b"+OK\r\n$99999999999\r\n",
            b"+OK\r\n$-7\r\n",
            b"+OK\r\n:x\r\n",
            b"+OK\r\n+OK\r\n+OK\r\n",
            b"\r\n\r\n",
            b"+OK\r\n$1\r\nabc",
            &[0xff; 5_000],
        ] {
            assert!(
                matches!(answered(nonsense), Err(RedisTrouble::Nonsense)),
                "{nonsense:?}"
            );
        }
        assert!(matches!(
            answered(b"+OK\r\n$5\r\nab"),
            Err(RedisTrouble::Network(_))
        ));
    }
}
