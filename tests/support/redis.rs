//! A real redis-server, or valkey-server, of the test's own: no data on disk, killed when dropped. With TLS it has a second
//! port, with a certificate for `localhost` that an authority made for this test signs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::pods::{eventually, free_port};
use super::skip::program;

/// The server, running or not.
pub struct Redis {
    binary: PathBuf,
    /// The port of the server that it follows.
    follows: Option<u16>,
    password: Option<String>,
    child: Option<Child>,
    /// What a replica is sent goes through a file, which the next server here would read.
    folder: tempfile::TempDir,
    pub port: u16,
    tls: Option<(tempfile::TempDir, u16)>,
}

impl Redis {
    /// Starts one; `None` where none is installed, which is printed then.
    pub fn start(password: Option<&str>) -> Option<Self> {
        Self::start_with(password, None)
    }

    /// Starts one that speaks TLS as well.
    pub fn start_with_tls() -> Option<Self> {
        let openssl = program("a window shared over TLS", &["/usr/bin/openssl"])?;
        let folder = tempfile::tempdir().expect("a folder");
        make_certificates(&openssl, folder.path());
        Self::start_with(None, Some((folder, free_port())))
    }

    fn start_with(password: Option<&str>, tls: Option<(tempfile::TempDir, u16)>) -> Option<Self> {
        let binary = program(
            "a window shared through a server",
            &["/usr/bin/valkey-server", "/usr/bin/redis-server"],
        )?;
        let mut redis = Self {
            binary,
            follows: None,
            password: password.map(str::to_owned),
            child: None,
            folder: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            tls,
        };
        redis.up();
        Some(redis)
    }

    /// Starts another one that follows it.
    pub fn start_replica(&self) -> Self {
        let mut replica = Self {
            binary: self.binary.clone(),
            follows: Some(self.port),
            password: None,
            child: None,
            folder: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            tls: None,
        };
        replica.up();
        replica
    }

    /// Starts a Sentinel that watches it as `kms`, and takes it for dead after half a second without an answer.
    pub fn start_sentinel(&self) -> Sentinel {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, watched) = (free_port(), self.port);
        let file = folder.path().join("sentinel.conf");
        let lines = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor kms 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds kms 500\nsentinel failover-timeout kms 3000\n",
            folder.path().display()
        );
        std::fs::write(&file, lines).expect("a file");
        let mut command = Command::new(&self.binary);
        command.arg(&file).arg("--sentinel").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("a Sentinel runs");
        Sentinel { child, port, _folder: folder }
    }

    /// Starts it again, empty.
    pub fn up(&mut self) {
        self.folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(&self.binary);
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(port) = self.follows {
            command.args(["--replicaof", "127.0.0.1", &port.to_string()]);
        }
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        if let Some((folder, port)) = &self.tls {
            let file = |name: &str| folder.path().join(name);
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(file("server.pem"));
            command.arg("--tls-key-file").arg(file("server.key"));
            command.arg("--tls-ca-cert-file").arg(file("authority.pem"));
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

    /// Returns the address with TLS under a host name, and the file of the authority that signed for `localhost`.
    pub fn tls_address(&self, host: &str) -> (String, PathBuf) {
        let (folder, port) = self.tls.as_ref().expect("a server with TLS");
        let authority = folder.path().join("authority.pem");
        (format!("rediss://{host}:{port}"), authority)
    }

    /// Sends one command and returns the raw answer.
    pub fn ask(&self, words: &[&str]) -> Option<String> {
        let login = self.password.as_ref().map(|password| format!("AUTH {password}\r\n"));
        ask_port(self.port, &login.unwrap_or_default(), words)
    }
}

fn ask_port(port: u16, login: &str, words: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
    let mut text = format!("{login}*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.push_str("QUIT\r\n");
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // A Sentinel knows no QUIT: its answer has come when it is silent.
    let read = stream.read_to_end(&mut answer);
    (read.is_ok() || !answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}

/// A Sentinel, killed when dropped.
pub struct Sentinel {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    /// Returns where it says that the master is, as it answers.
    pub fn named_master(&self) -> Option<String> {
        ask_port(self.port, "", &["SENTINEL", "get-master-addr-by-name", "kms"])
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes an authority and a certificate for `localhost` that it signs.
pub fn make_certificates(openssl: &Path, folder: &Path) {
    let run = |line: &str| {
        let output = Command::new(openssl)
            .args(line.split_whitespace())
            .current_dir(folder)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{output:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!(
        "req -x509 {key} -keyout authority.key -out authority.pem -days 2 -subj /CN=authority"
    ));
    run(&format!(
        "req -x509 {key} -keyout server.key -out server.pem -days 2 -subj /CN=localhost -CA authority.pem \
         -CAkey authority.key -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
    ));
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.down();
    }
}
