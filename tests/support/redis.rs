//! A real redis-server, or valkey-server, of the test's own: nothing on disk, one port, killed when dropped.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::pods::{eventually, free_port};
use super::skip::program;

/// The server, running or not.
pub struct Redis {
    binary: PathBuf,
    password: Option<String>,
    child: Option<Child>,
    pub port: u16,
}

impl Redis {
    /// Starts one; `None` where none is installed, which was told then.
    pub fn start(password: Option<&str>) -> Option<Self> {
        let binary = program(
            "a window shared through a server",
            &["/usr/bin/valkey-server", "/usr/bin/redis-server"],
        )?;
        let mut redis = Self {
            binary,
            password: password.map(str::to_owned),
            child: None,
            port: free_port(),
        };
        redis.up();
        Some(redis)
    }

    /// Starts it again, empty.
    pub fn up(&mut self) {
        let mut command = Command::new(&self.binary);
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir", "/tmp"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        self.child = Some(command.spawn().expect("the server runs"));
        assert!(eventually(|| self.ask(&["PING"]).is_some()), "no server");
    }

    /// Kills it; what it knew is gone.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a kill");
            child.wait().expect("an end");
        }
    }

    /// Stops it from running, so that it hangs with its connections open, or lets it go on.
    pub fn freeze(&self, freeze: bool) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let signal = if freeze { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// Returns its address for notifier.dedup_store.
    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends one command and returns the raw answer.
    pub fn ask(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .ok()?;
        let mut text = String::new();
        if let Some(password) = &self.password {
            text.push_str(&format!("AUTH {password}\r\n"));
        }
        text.push_str(&format!("*{}\r\n", words.len()));
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        text.push_str("QUIT\r\n");
        stream.write_all(text.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.down();
    }
}
