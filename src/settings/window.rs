//! Where the dedup window is remembered: `file`, `memory`, or a server that speaks Redis' protocol, named as
//! `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]` (the provisional registration of the `redis` URI scheme), `rediss://`
//! with TLS. The password is a secret: nothing here prints it.

use std::fmt;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// In memory only.
    Memory,
    File,
    /// With the checkpoint, and shared with other notifiers through a server.
    Redis(Server),
}

/// A server that speaks Redis' protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// The connection is encrypted, and the server shows a certificate.
    pub tls: bool,
    /// Account; none is the default one.
    pub user: Option<String>,
    pub password: Password,
    pub database: u32,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    None,
    Text(String),
    /// This file's first line, read anew for every connection.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(secret)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Window {
    /// Reads `file`, `memory` or an address. The error never quotes the text, as it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "memory" => return Ok(Self::Memory),
            "file" => return Ok(Self::File),
            _ => {}
        }
        parse_redis_server(text).map(Self::Redis).ok_or_else(|| {
            "it wants file, memory or redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]"
                .to_owned()
        })
    }
}

/// The schemes of an address, and whether they mean TLS. Valkey's own are the same protocol.
const SCHEMES: [(&str, bool); 4] =
    [("redis://", false), ("rediss://", true), ("valkey://", false), ("valkeys://", true)];

fn parse_redis_server(text: &str) -> Option<Server> {
    let scheme = |(scheme, tls)| text.strip_prefix(scheme).map(|rest| (rest, tls));
    let (rest, tls) = SCHEMES.into_iter().find_map(scheme)?;
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (place, database) = match place.split_once('/') {
        Some((place, "")) => (place, 0),
        Some((place, number)) => (place, number.parse().ok()?),
        None => (place, 0),
    };
    let named = place.ends_with(']') || !place.contains(':');
    let place = if named { format!("{place}:6379") } else { place.to_owned() };
    let (host, port) = super::values::parse_endpoint(&place).ok()?;
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        Some((user, password)) => (percent_decoded(user)?, percent_decoded(password)?),
        None => (String::new(), String::new()),
    };
    Some(Server {
        host,
        port,
        tls,
        user: Some(user).filter(|user| !user.is_empty()),
        password: if password.is_empty() { Password::None } else { Password::Text(password) },
        database,
    })
}

/// Decodes `%XX`; no controls, as they belong to no name and no password.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// Returns the value as it may be shown: without what stands before the last `@`.
pub fn shown_window(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, place)) => {
            let known = SCHEMES.iter().find(|(scheme, _)| text.starts_with(scheme));
            format!("{}…@{place}", known.map_or("redis://", |(scheme, _)| scheme))
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_whole() {
        let Ok(Window::Redis(server)) =
            Window::parse("redis://kms:p%40s%3As@redis.redis.svc:6380/3")
        else {
            panic!("an address");
        };
        assert_eq!(
            (server.host.as_str(), server.port, server.database),
            ("redis.redis.svc", 6380, 3)
        );
        assert_eq!(server.user.as_deref(), Some("kms"));
        assert!(server.password == Password::Text("p@s:s".to_owned()));
        let Ok(Window::Redis(server)) = Window::parse("redis://[::1]") else {
            panic!("an address");
        };
        assert_eq!((server.host.as_str(), server.port), ("::1", 6379));
        let Ok(Window::Redis(server)) = Window::parse("redis://:secret@127.0.0.1:7") else {
            panic!("an address");
        };
        assert_eq!((server.user, server.port, server.tls), (None, 7, false));
        for address in ["rediss://u:secret@h", "valkeys://u:secret@h"] {
            let Ok(Window::Redis(server)) = Window::parse(address) else {
                panic!("an address");
            };
            assert_eq!((server.host.as_str(), server.tls), ("h", true));
        }
        assert_eq!(Window::parse("file"), Ok(Window::File));
        for wrong in [
            "",
            "files",
            "http://x",
            "redis://",
            "redis://h:0",
            "redis://h/x",
            "redis://u:p@",
            "redis://u:%4@h",
            "redis://u:%0a@h",
            "redisx://h",
            "rediss:/h",
        ] {
            assert!(Window::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "redis://u:hunter2@h:1/2",
            "redis://:hunter2@h",
            "redis://u:hunter2@@h",
            "rediss://u:hunter2@h",
            "hunter2@h",
            "redis://u:hunter2@h:0",
        ] {
            assert!(!shown_window(text).contains("hunter2"), "{text}");
            let parsed = Window::parse(text);
            assert!(!format!("{parsed:?}").contains("hunter2"), "{parsed:?}");
        }
        assert_eq!(shown_window("file"), "file");
        assert_eq!(shown_window("rediss://u:p@h:1"), "rediss://…@h:1");
    }
}
