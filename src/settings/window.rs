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
    /// Where it is a Sentinel that is named, the name under which that one watches the master, which it leads to.
    pub watched_as: Option<String>,
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
            "it wants file, memory, redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE], or of a Sentinel \
             redis[s]-sentinel://[USER[:PASSWORD]@]HOST[:PORT]/MASTER[/DATABASE]"
                .to_owned()
        })
    }
}

/// The schemes of an address, whether they mean TLS, and the port of what they name. Valkey's own are the same protocol.
const SCHEMES: [(&str, bool, u16); 6] = [
    ("redis://", false, 6379),
    ("rediss://", true, 6379),
    ("valkey://", false, 6379),
    ("valkeys://", true, 6379),
    ("redis-sentinel://", false, SENTINEL_PORT),
    ("rediss-sentinel://", true, SENTINEL_PORT),
];
const SENTINEL_PORT: u16 = 26379;

fn parse_redis_server(text: &str) -> Option<Server> {
    let scheme = |(scheme, tls, port)| text.strip_prefix(scheme).map(|rest| (rest, tls, port));
    let (rest, tls, usual_port) = SCHEMES.into_iter().find_map(scheme)?;
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (place, path) = place.split_once('/').unwrap_or((place, ""));
    let (watched_as, database) = if usual_port == SENTINEL_PORT {
        let (name, database) = path.split_once('/').unwrap_or((path, ""));
        (Some(percent_decoded(name)?), database)
    } else {
        (None, path)
    };
    if watched_as.as_ref().is_some_and(String::is_empty) {
        return None;
    }
    let database = if database.is_empty() { 0 } else { database.parse().ok()? };
    let named = place.ends_with(']') || !place.contains(':');
    let place = if named { format!("{place}:{usual_port}") } else { place.to_owned() };
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
        watched_as,
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
            let known = SCHEMES.iter().find(|(scheme, ..)| text.starts_with(scheme));
            format!("{}…@{place}", known.map_or("redis://", |(scheme, ..)| scheme))
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
        for (address, host, port, tls, name, database) in [
            ("redis-sentinel://h/kms", "h", 26379, false, "kms", 0),
            ("redis-sentinel://:secret@[::1]:7/my%20master/3", "::1", 7, false, "my master", 3),
            ("rediss-sentinel://u:secret@h/kms/", "h", 26379, true, "kms", 0),
        ] {
            let Ok(Window::Redis(server)) = Window::parse(address) else {
                panic!("an address");
            };
            let found = (server.host.as_str(), server.port, server.tls, server.database);
            assert_eq!(found, (host, port, tls, database), "{address}");
            assert_eq!(server.watched_as.as_deref(), Some(name), "{address}");
            assert!(!shown_window(address).contains("secret"));
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
            "redis-sentinel://h",
            "redis-sentinel://h/",
            "redis-sentinel://h/kms/x",
            "redis-sentinel://h//3",
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
