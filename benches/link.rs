//! What kmsctl costs on top of plain ssh, measured side by side against OpenSSH's sshd on loopback, also through a
//! delay of 40 ms round trip. Prints the least of many rounds, as another process can only add to it, and ratios; judges
//! nothing.
//!
//! `cargo bench --bench link`
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench touches the world and fails loudly"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/support/boxes.rs"]
#[allow(dead_code)]
mod boxes;
#[path = "../tests/support/delay_proxy.rs"]
#[allow(dead_code)]
mod delay_proxy;
#[path = "../tests/support/php.rs"]
#[allow(dead_code)]
mod php;
#[path = "../tests/support/processes.rs"]
#[allow(dead_code)]
mod processes;
#[path = "../tests/support/skip.rs"]
#[allow(dead_code)]
mod skip;
#[path = "../tests/support/sshd.rs"]
#[allow(dead_code)]
mod sshd;

use boxes::{Fixture, Version};
use delay_proxy::DelayProxy;
use php::PhpBox;
use sshd::{Options, Sshd};

/// Times of one way to ask, in milliseconds.
struct Times(Vec<f64>);

impl Times {
    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// Runs the ways in turn, so that a noisy moment hits all of them, and returns their times.
fn side_by_side(rounds: usize, ways: &mut [&mut dyn FnMut()]) -> Vec<Times> {
    let mut times: Vec<Times> = ways.iter().map(|_| Times(Vec::new())).collect();
    for _ in 0..rounds {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let start = Instant::now();
            way();
            times.0.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times
}

fn run(command: &mut Command) {
    let output =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// One firewall: sshd, a stand-in for pfctl that prints a sample, and both clients' configuration.
struct Lab {
    sshd: Sshd,
    home: tempfile::TempDir,
    pfctl: PathBuf,
    php: PathBuf,
    // Holds the configuration that PHP reads.
    _box: PhpBox,
}

impl Lab {
    fn new() -> Option<Self> {
        let sshd = Sshd::start(Options::default())?;
        let home = tempfile::Builder::new().prefix("b").tempdir_in("/tmp").unwrap();
        let pfctl = home.path().join("pfctl");
        let sample =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pfctl/T-show-v.14.txt");
        let text = format!(
            "#!/bin/sh\ncase \"$*\" in *'-T show'*) exec cat {} ;; esac\n",
            sample.display()
        );
        std::fs::write(&pfctl, text).unwrap();
        let php_box = PhpBox::new(Version::V272, Fixture::Editor);
        let php = home.path().join("php");
        let words: String = php_box
            .environment()
            .iter()
            .map(|(name, value)| format!("{name}='{value}' "))
            .collect();
        std::fs::write(&php, format!("#!/bin/sh\nexec env {words}{}\n", php_box.interpreter()))
            .unwrap();
        let mode = || std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&pfctl, mode()).unwrap();
        std::fs::set_permissions(&php, mode()).unwrap();
        Some(Self { sshd, home, pfctl, php, _box: php_box })
    }

    /// Plain ssh running these questions of pfctl, over a connection of its own, or over a shared one whose socket has this
    /// name.
    fn ssh(&self, port: u16, shared: Option<&str>, questions: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
        ]);
        command.arg(format!("UserKnownHostsFile={}", self.known_hosts(port).display()));
        command.arg("-i").arg(&self.sshd.client_key).args([
            "-p",
            &port.to_string(),
            "-l",
            &self.sshd.user,
        ]);
        if let Some(name) = shared {
            let socket = self.home.path().join(format!("s{name}{port}"));
            command.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=5"]);
            command.arg("-o").arg(format!("ControlPath={}", socket.display()));
        }
        let pfctl = self.pfctl.display();
        let asked: Vec<String> = questions.iter().map(|asked| format!("{pfctl} {asked}")).collect();
        command.arg("127.0.0.1").arg(asked.join("; "));
        command
    }

    fn kmsctl(&self, port: u16, transport: &str, persist: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsctl"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin");
        let set = [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("USER", self.sshd.user.clone()),
            ("TRANSPORT", transport.to_owned()),
            ("IDENTITY", self.sshd.client_key.display().to_string()),
            ("KNOWN_HOSTS", self.known_hosts(port).display().to_string()),
            ("SSH_CONFIG", "/dev/null".to_owned()),
            ("CONTROL_PERSIST", persist.to_owned()),
            ("PATHS_PFCTL", self.pfctl.display().to_string()),
            ("PATHS_PHP", self.php.display().to_string()),
        ];
        command
            .envs(set.into_iter().map(|(name, value)| (format!("KMSCTL_FIREWALL_{name}"), value)));
        command.env("XDG_RUNTIME_DIR", self.home.path());
        command
    }

    /// The server's keys under the port that is asked, which may be the proxy's.
    fn known_hosts(&self, port: u16) -> PathBuf {
        let path = self.home.path().join(format!("known_hosts{port}"));
        if !path.exists() {
            let text = std::fs::read_to_string(&self.sshd.known_hosts).unwrap();
            std::fs::write(
                &path,
                text.replace(&format!(":{}", self.sshd.port), &format!(":{port}")),
            )
            .unwrap();
        }
        path
    }
}

/// What `virusprot show` asks of pfctl, and what `status` does; it asks PHP and base tools too.
const TABLE: &[&str] = &["-t virusprot -T show -v"];
const ALL: &[&str] =
    &["-vsi", "-sm", "-vvPsr", "-vvPsn", "-t virusprot -T show -v", "-vsS", "-vvss"];
const SHOW: &[&str] = &["virusprot", "show", "-o", "json"];
const STATUS: &[&str] = &["status", "-o", "json"];

fn compare(lab: &Lab, port: u16, rounds: usize, title: &str) {
    println!("\n{title} (the least of {rounds} rounds, ms)");
    let warm = side_by_side(
        rounds,
        &mut [
            &mut || run(&mut lab.ssh(port, Some("w"), TABLE)),
            &mut || run(&mut lab.ssh(port, Some("w"), ALL)),
            &mut || run(&mut lab.kmsctl(port, "openssh", "60s", SHOW)),
            &mut || run(&mut lab.kmsctl(port, "openssh", "60s", STATUS)),
        ],
    );
    let mut round = 0;
    let cold = side_by_side(
        rounds,
        &mut [
            &mut || run(&mut lab.ssh(port, None, TABLE)),
            // A master of its own each time, which ends by itself.
            &mut || {
                round += 1;
                run(&mut lab.ssh(port, Some(&format!("c{round}-")), TABLE));
            },
            &mut || run(&mut lab.kmsctl(port, "openssh", "0s", SHOW)),
            &mut || run(&mut lab.kmsctl(port, "russh", "0s", SHOW)),
        ],
    );
    let [ssh_warm, ssh_all, show_warm, status_warm] =
        [0, 1, 2, 3].map(|index| warm.get(index).map_or(f64::NAN, Times::least));
    let [ssh_cold, ssh_kept, openssh_cold, russh_cold] =
        [0, 1, 2, 3].map(|index| cold.get(index).map_or(f64::NAN, Times::least));
    println!("  warm  ssh host pfctl …        {ssh_warm:8.1}");
    println!("  warm  ssh host, all of status {ssh_all:8.1}");
    println!("  warm  kmsctl virusprot show   {show_warm:8.1}   {:+.1} ms", show_warm - ssh_warm);
    println!("  warm  kmsctl status           {status_warm:8.1}   {:.2} ×", status_warm / ssh_all);
    println!("  cold  ssh host pfctl …        {ssh_cold:8.1}");
    println!("  cold  the same, ControlPersist{ssh_kept:8.1}");
    println!(
        "  cold  kmsctl, openssh         {openssh_cold:8.1}   {:.2} ×",
        openssh_cold / ssh_cold
    );
    println!("  cold  kmsctl, russh           {russh_cold:8.1}   {:.2} ×", russh_cold / ssh_cold);
}

fn main() {
    let Some(lab) = Lab::new() else { return };
    compare(&lab, lab.sshd.port, 40, "loopback");
    let proxy = DelayProxy::start(lab.sshd.port, Duration::from_millis(20));
    compare(&lab, proxy.port, 15, "through 40 ms round trip");
    let help = side_by_side(
        50,
        &mut [&mut || run(Command::new(env!("CARGO_BIN_EXE_kmsctl")).arg("--help"))],
    );
    let true_ = side_by_side(50, &mut [&mut || run(&mut Command::new("/bin/true"))]);
    let least = |times: &[Times]| times.first().map_or(f64::NAN, Times::least);
    println!("\nkmsctl --help {:.1} ms; /bin/true {:.1} ms", least(&help), least(&true_));
    let size =
        std::fs::metadata(env!("CARGO_BIN_EXE_kmsctl")).map(|file| file.len()).unwrap_or_default();
    println!("binary {:.1} MiB", f64::from(u32::try_from(size >> 10).unwrap_or(u32::MAX)) / 1024.0);
}
