//! A TCP connection made by the other end of a link (SSH's `direct-tcpip`): nothing is installed there and no shell
//! is needed. Distinguishes what the server says about a connection it could not make; what travels through is the
//! caller's matter, and so are deadlines.

use std::io;

use ::russh::ChannelOpenFailure;
use ::russh::client::Msg;
use ::russh::{ChannelStream, Error as SshError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// Why the other end made no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// A reset came back to it.
    #[error("connection refused")]
    Refused,
    /// It gave up waiting.
    #[error("no answer")]
    NoAnswer,
    /// Its network knows no way.
    #[error("{0}")]
    Unreachable(String),
    /// Its SSH server does not forward connections, or not there.
    #[error("its SSH server forbids it ({0})")]
    Prohibited(String),
    /// It failed, and the server does not say how.
    #[error("its SSH server says only: {0}")]
    Unclear(String),
    /// The link itself is broken.
    #[error("the connection to it broke: {0}")]
    Broken(String),
}

impl TunnelError {
    /// Reads the words of a server; OpenSSH's are those of strerror(3) after `connect failed: `.
    pub(crate) fn of_words(words: &str) -> Self {
        let has = |text: &str| words.contains(text);
        if has("Connection refused") {
            Self::Refused
        } else if has("timed out") {
            Self::NoAnswer
        } else if has("prohibited") {
            Self::Prohibited(words.to_owned())
        } else if has("o route to host") || has("unreachable") || has("Host is down") {
            Self::Unreachable(words.to_owned())
        } else {
            Self::Unclear(words.to_owned())
        }
    }

    /// Reads a refusal of the built-in client: the reason's number, and the server's words if they came.
    pub(crate) fn of_russh(error: &SshError, words: Option<String>) -> Self {
        let SshError::ChannelOpenFailure(reason) = error else {
            return Self::Broken(error.to_string());
        };
        let words = words.filter(|words| !words.is_empty());
        match reason {
            ChannelOpenFailure::ConnectFailed => {
                Self::of_words(&words.unwrap_or_else(|| "connect failed".to_owned()))
            }
            other => Self::Prohibited(words.unwrap_or_else(|| format!("{other:?}"))),
        }
    }
}

/// An open connection of the other end; ends when dropped.
pub enum Tunnel {
    /// Carried by a process that hands its pipes to the ssh master.
    OpenSsh {
        /// Ends with the tunnel.
        child: Box<Child>,
        /// Towards the other end.
        input: ChildStdin,
        /// From there.
        output: ChildStdout,
    },
    /// A channel of the built-in client.
    Russh(Box<ChannelStream<Msg>>),
}

impl Tunnel {
    /// Writes all bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::OpenSsh { input, .. } => {
                input.write_all(bytes).await?;
                input.flush().await
            }
            Self::Russh(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Reads what is there; 0 is the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::OpenSsh { output, .. } => output.read(buffer).await,
            Self::Russh(stream) => stream.read(buffer).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_servers() {
        for (words, expected) in [
            ("connect failed: Connection refused", TunnelError::Refused),
            ("connect failed: Connection timed out", TunnelError::NoAnswer),
            ("Connection refused", TunnelError::Refused),
        ] {
            assert_eq!(TunnelError::of_words(words), expected, "{words}");
        }
        for words in ["connect failed: No route to host", "connect failed: Network is unreachable"]
        {
            assert!(matches!(TunnelError::of_words(words), TunnelError::Unreachable(_)), "{words}");
        }
        assert!(matches!(
            TunnelError::of_words("administratively prohibited: open failed"),
            TunnelError::Prohibited(_)
        ));
        assert!(matches!(TunnelError::of_words("connect failed"), TunnelError::Unclear(_)));
    }

    #[test]
    fn a_refusal_without_words_is_no_reset() {
        let failed = SshError::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed);
        assert!(matches!(TunnelError::of_russh(&failed, None), TunnelError::Unclear(_)));
        assert_eq!(
            TunnelError::of_russh(&failed, Some("Connection refused".to_owned())),
            TunnelError::Refused
        );
        let forbidden =
            SshError::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited);
        assert!(matches!(
            TunnelError::of_russh(&forbidden, Some("open failed".to_owned())),
            TunnelError::Prohibited(_)
        ));
        assert!(matches!(
            TunnelError::of_russh(&SshError::Disconnect, None),
            TunnelError::Broken(_)
        ));
    }
}
