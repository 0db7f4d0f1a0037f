//! OpenSSH's own sshd on a loopback port, configured as pfSense 2.7.2 configures it: its key exchange, ciphers, MACs
//! and host keys. The login shells of pfSense's accounts are stood in for by a forced command that hands the
//! client's command line to the shell in question, so that no account need be made.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{processes, skip};

/// Which login shell the account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// `/bin/sh`, as pfSense's `root`.
    Sh,
    /// `/bin/tcsh`, as other administrators.
    Tcsh,
    /// `/etc/rc.initial`, as `admin`, on a box where it prints a line before anything else.
    RcInitial,
    /// `nologin`, as users without shell access.
    Nologin,
    /// A shell that shows its menu whatever ssh asks for, and takes lines of standard input for choices.
    Menu,
    /// `/bin/sh`, while what a login started in the background goes on printing for a while.
    Chatty,
}

/// How the server shall be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The login shell.
    pub login: Login,
    /// Whether a key is not enough: pfSense's "require both".
    pub password_too: bool,
    /// The host key beside the RSA one, by the name of its file.
    pub host_key: &'static str,
    /// For which names an authority vouches for it, and for which time (`-V` of ssh-keygen); known_hosts then lists the
    /// authority alone.
    pub certified: Option<(&'static str, &'static str)>,
    /// More lines of its configuration.
    pub more: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            login: Login::Sh,
            password_too: false,
            host_key: "host_ed25519",
            certified: None,
            more: "",
        }
    }
}

/// A running sshd; ends with its connections when dropped.
pub struct Sshd {
    process: Child,
    directory: TempDir,
    /// On 127.0.0.1.
    pub port: u16,
    /// The user to log in as: the one who runs the tests.
    pub user: String,
    /// A key that is let in.
    pub client_key: PathBuf,
    /// A key that is not.
    pub other_client_key: PathBuf,
    /// Lists the server's Ed25519 and RSA keys.
    pub known_hosts: PathBuf,
    /// Of the server's Ed25519 key.
    pub fingerprint: String,
}

/// What pfSense 2.7.2 writes into sshd_config.
const PFSENSE: &str = "\
KexAlgorithms curve25519-sha256@libssh.org,diffie-hellman-group-exchange-sha256
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-512,hmac-sha2-256,umac-128@openssh.com
LoginGraceTime 30s
ClientAliveInterval 30
PermitRootLogin yes
";

impl Sshd {
    /// Starts a server; None (said aloud) where sshd is not installed.
    pub fn start(options: Options) -> Option<Self> {
        let sshd =
            skip::program("a test against sshd", &["/usr/sbin/sshd", "/usr/local/sbin/sshd"])?;
        if options.login == Login::Tcsh {
            skip::program("a test with tcsh", &["/bin/tcsh", "/usr/bin/tcsh"])?;
        }
        // Somebody else may take the port between our look and sshd's.
        (0..5)
            .find_map(|_| Self::try_start(&sshd, options))
            .or_else(|| panic!("sshd did not start"))
    }

    fn try_start(sshd: &Path, options: Options) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (ed25519, rsa, client_key) = (key(options.host_key), key("host_rsa"), key("client"));
        let at = |name: &str| directory.path().join(name);
        // As root, sshd wants this directory for the part of it that has no privileges.
        let _ = fs::create_dir_all("/run/sshd");
        fs::copy(public(&client_key), at("authorized_keys")).unwrap();
        let login = at("login");
        fs::write(&login, login_script(options.login)).unwrap();
        fs::set_permissions(&login, fs::Permissions::from_mode(0o755)).unwrap();
        // The forced command runs below the account's own shell; bash below sshd would read its ~/.bashrc, except from the
        // second level on.
        let mut config = String::from(PFSENSE);
        write!(
            config,
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nHostKey {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nUseDNS no\nAuthorizedKeysFile {}\nForceCommand {}\nLogLevel VERBOSE\n\
             PasswordAuthentication yes\nKbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\n\
             MaxStartups 100\nSetEnv SHLVL=2\n",
            rsa.display(),
            ed25519.display(),
            at("authorized_keys").display(),
            login.display(),
        )
        .unwrap();
        if options.password_too {
            config.push_str("AuthenticationMethods publickey,password\n");
        }
        config.push_str(options.more);
        if let Some((names, time)) = options.certified {
            let certificate = certify(&ed25519, &at("host_key.pub"), names, time);
            writeln!(config, "HostCertificate {}", certificate.display()).unwrap();
        }
        fs::write(at("config"), config).unwrap();
        let known_hosts = at("known_hosts");
        let line = |path: &Path| {
            format!("[127.0.0.1]:{port} {}", fs::read_to_string(public(path)).unwrap())
        };
        let text = if options.certified.is_some() {
            format!("@cert-authority {}", line(&key("authority_ed25519")))
        } else {
            line(&rsa) + &line(&ed25519)
        };
        fs::write(&known_hosts, text).unwrap();
        let process = Command::new(sshd)
            .args(["-D", "-E"])
            .arg(at("log"))
            .arg("-f")
            .arg(at("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            process,
            port,
            user: user(),
            client_key,
            other_client_key: key("other_client"),
            known_hosts,
            fingerprint: fingerprint(&ed25519),
            directory,
        };
        server.listens().then_some(server)
    }

    /// Waits for the line in the log; a connection would count as one.
    fn listens(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if self.log().contains("Server listening on") {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Replaces what is run in the place of a login shell; the client's command line is in `SSH_ORIGINAL_COMMAND`.
    pub fn set_login(&self, script: &str) {
        fs::write(self.directory.path().join("login"), script).unwrap();
    }

    /// Returns the number of the process that listens.
    pub fn listener(&self) -> u32 {
        self.process.id()
    }

    /// Lets another key in.
    pub fn authorize(&self, key: &Path) {
        let path = self.directory.path().join("authorized_keys");
        let text = fs::read_to_string(&path).unwrap() + &fs::read_to_string(public(key)).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Returns what sshd has logged.
    pub fn log(&self) -> String {
        fs::read(self.directory.path().join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Counts the TCP connections so far.
    pub fn connections(&self) -> usize {
        self.count("Connection from ")
    }

    /// Counts the successful logins so far.
    pub fn logins(&self) -> usize {
        self.count("Accepted publickey")
    }

    /// Counts the sessions (channels with a command) so far.
    pub fn sessions(&self) -> usize {
        self.count("Starting session: ")
    }

    /// Lists the processes that serve connections. For all users but root each connection has two: one with
    /// sshd's privileges and one without, which holds the line. Newer versions are called `sshd-session`.
    pub fn serving(&self) -> Vec<u32> {
        let listener = self.process.id();
        ["sshd", "sshd-session"].map(|name| processes::below(listener, name)).concat()
    }

    /// Sends a signal to the processes that serve connections.
    pub fn signal_connections(&self, name: &str) {
        for pid in self.serving() {
            processes::signal(pid, name);
        }
    }
}

impl Sshd {
    /// Ends the server: no new connection, then none at all; whoever holds one, a kept master too, ends with it.
    pub fn end(&mut self) {
        let serving = self.serving();
        let _ = self.process.kill();
        let _ = self.process.wait();
        for pid in serving {
            processes::signal(pid, "KILL");
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}

fn login_script(login: Login) -> String {
    let run = match login {
        Login::Sh => "exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"",
        Login::Tcsh => "PATH=/bin:/usr/bin exec tcsh -c \"$SSH_ORIGINAL_COMMAND\"",
        Login::RcInitial => {
            "echo '>>> Launching rc.local in background...'\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""
        }
        Login::Nologin => "echo 'This account is currently not available.'\nexit 1",
        Login::Menu => {
            "printf '\\n*** Welcome to pfSense 2.7.2-RELEASE (amd64) on fw ***\\n\\n 0) Logout (SSH only)\\n 5) Reboot system\\n 8) Shell\\n\\nEnter an option: '\n\
             while IFS= read -r choice; do\ncase $choice in 0) exit 0;; [0-9]|1[0-6]) exit 9;; *) printf 'Invalid option\\n\\nEnter an option: ';; esac\ndone"
        }
        Login::Chatty => {
            "(for line in 1 2 3 4 5 6 7 8; do echo \"rc.local: started service $line\"; sleep 0.01; done) &\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""
        }
    };
    format!("#!/bin/sh\n{run}\n")
}

/// Returns a key of the test suite, made when it is first asked for; they are no secret, but a repository with
/// private keys in it frightens people.
pub fn key(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ssh-keys");
    let path = directory.join(name);
    if path.exists() {
        return path;
    }
    fs::create_dir_all(&directory).unwrap();
    // Made aside and moved: several tests may want it at once. The public half comes first, so that whoever sees
    // the private one finds it.
    let aside = TempDir::new_in(&directory).unwrap();
    let made = aside.path().join(name);
    let (kind, bits) = match name {
        _ if name.contains("ecdsa") => ("ecdsa", "256"),
        _ if name.contains("rsa") => ("rsa", "2048"),
        _ => ("ed25519", "256"),
    };
    let passphrase = if name.contains("encrypted") { PASSPHRASE } else { "" };
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", bits, "-C", "kmsctl test", "-N", passphrase, "-f"])
        .arg(&made)
        .output()
        .expect("ssh-keygen comes with ssh");
    assert!(output.status.success(), "{output:?}");
    if !public(&path).exists() && fs::hard_link(public(&made), public(&path)).is_ok() {
        fs::rename(&made, &path).unwrap();
    }
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} was not made", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    path
}

/// Opens the keys whose name says `encrypted`.
pub const PASSPHRASE: &str = "correct horse";

/// Has the authority of the tests vouch for a host key; returns the certificate's file.
fn certify(host_key: &Path, copy: &Path, principals: &str, time: &str) -> PathBuf {
    fs::copy(public(host_key), copy).unwrap();
    let names = ["-n", principals];
    let output = Command::new("ssh-keygen")
        .arg("-q")
        .arg("-s")
        .arg(key("authority_ed25519"))
        .args(["-I", "a box\" CA ssh-ed25519 SHA256:forged", "-h", "-V", time])
        .args(if principals.is_empty() { &[][..] } else { &names })
        .arg(copy)
        .output()
        .expect("ssh-keygen comes with ssh");
    assert!(output.status.success(), "{output:?}");
    let text = copy.to_str().unwrap().trim_end_matches(".pub");
    PathBuf::from(format!("{text}-cert.pub"))
}

/// Returns the file with the public half.
pub fn public(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

/// Returns a key's fingerprint in ssh-keygen's words.
pub fn fingerprint(key: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(public(key)).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').nth(1).unwrap().to_owned()
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
