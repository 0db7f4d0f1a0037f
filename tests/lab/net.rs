//! Four namespaces and what is in them:
//!
//! ```text
//! operator ── outside ── router ── inside
//!  kmsctl      sshd       nft       KMS stub
//! ```
//!
//! The firewall's end is an sshd in the operator's namespace whose pfctl prints the router's own counters and
//! connections in pf's words. Everything that was started ends with the lab.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::serve;
use crate::support::environment::TestEnvironment;
use crate::support::{processes, skip, sshd};

/// The vantage.
pub const OUTSIDE: &str = "198.51.100.10";
/// The router's outside address.
pub const WAN: &str = "198.51.100.1";

/// What the router does.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The port forward.
    pub nat: bool,
    /// The rule that lets it in.
    pub filter: bool,
    /// The vantage is in the table of blocked addresses.
    pub blocked: bool,
    /// What nobody lets in is rejected with a reset.
    pub reject: bool,
}

/// Both halves in force.
pub const FORWARDING: Rules = Rules { nat: true, filter: true, blocked: false, reject: false };
/// Neither.
pub const CLOSED: Rules = Rules { nat: false, filter: false, ..FORWARDING };

/// The namespaces, and all that runs in them.
pub struct Lab {
    name: String,
    /// Where kmsctl lives.
    pub environment: TestEnvironment,
    children: Vec<Child>,
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn must(program: &str, arguments: &[&str]) {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Tells whether namespaces can be made here; says aloud why not. Found out once for all tests.
pub fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(probe)
}

/// Lets one test at a time use the lab: more at once would make the machine, not the network, the clock.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn probe() -> bool {
    let what = "the lab of network namespaces";
    for paths in
        [&["/usr/sbin/ip", "/sbin/ip"][..], &["/usr/sbin/nft", "/sbin/nft"], &["/usr/sbin/sshd"]]
    {
        if skip::program(what, paths).is_none() {
            return false;
        }
    }
    let probe = format!("kl{}probe", std::process::id());
    let made = run("ip", &["netns", "add", &probe]);
    let usable = made.status.success()
        && run("ip", &["netns", "exec", &probe, "nft", "add", "table", "ip", "x"]).status.success();
    run("ip", &["netns", "del", &probe]);
    if !usable {
        skip::skip(what, "this user may not make network namespaces here");
    }
    usable
}

impl Lab {
    /// Makes the namespaces and links, the router's rules, and the firewall's and the vantage's sshd.
    pub fn new(rules: Rules) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut lab = Self {
            name: format!("kl{}x{count}", std::process::id()),
            environment: TestEnvironment::new().without("KMSCTL_DEMO_NOW").private_runtime(),
            children: Vec::new(),
        };
        for place in ["op", "out", "rtr", "inn"] {
            must("ip", &["netns", "add", &lab.at(place)]);
            lab.inside(place, "ip", &["link", "set", "lo", "up"]);
        }
        lab.link(("op", "10.99.0.1/30"), ("out", "10.99.0.2/30"), "a");
        lab.link(("out", "198.51.100.10/24"), ("rtr", "198.51.100.1/24"), "b");
        lab.link(("rtr", "10.0.20.1/24"), ("inn", "10.0.20.202/24"), "c");
        lab.link(("op", "10.99.1.1/30"), ("inn", "10.99.1.2/30"), "d");
        lab.inside("op", "ip", &["route", "add", "198.51.100.10/32", "via", "10.99.0.2"]);
        // What the vantage's machine itself sends to the operator comes from its outside address.
        lab.inside("out", "ip", &["route", "replace", "10.99.0.1/32", "dev", "a2", "src", OUTSIDE]);
        lab.inside("out", "ip", &["route", "add", "default", "via", WAN]);
        lab.inside("inn", "ip", &["route", "add", "default", "via", "10.0.20.1"]);
        for place in ["rtr", "out"] {
            lab.inside(place, "sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
        }
        lab.rules(rules);
        lab.firewall();
        lab.sshd("out", "2222", "ForceCommand /bin/false\n");
        lab
    }

    /// Returns a namespace's name.
    pub fn at(&self, place: &str) -> String {
        format!("{}{place}", self.name)
    }

    /// Runs a program in a namespace; it must succeed.
    pub fn inside(&self, place: &str, program: &str, arguments: &[&str]) {
        let at = self.at(place);
        must("ip", &[&["netns", "exec", &at, program], arguments].concat());
    }

    fn link(&self, (one, address): (&str, &str), (two, other): (&str, &str), name: &str) {
        let (left, right) = (format!("{name}1"), format!("{name}2"));
        let (one, two) = (self.at(one), self.at(two));
        must(
            "ip",
            &[
                "link", "add", &left, "netns", &one, "type", "veth", "peer", "name", &right,
                "netns", &two,
            ],
        );
        for (place, device, address) in [(&one, &left, address), (&two, &right, other)] {
            must("ip", &["-n", place, "address", "add", address, "dev", device]);
            must("ip", &["-n", place, "link", "set", device, "up"]);
        }
    }

    /// Loads the router's rules; pf's words for them are written beside.
    fn rules(&self, rules: Rules) {
        let path = self.file("rules.nft");
        std::fs::write(&path, Self::ruleset(rules)).unwrap();
        self.inside("rtr", "nft", &["-f", &path.display().to_string()]);
        let mut pf = String::new();
        for (name, on) in [("nat", rules.nat), ("filter", rules.filter), ("blocked", rules.blocked)]
        {
            let _ = writeln!(pf, "{name}={}", u8::from(on));
        }
        std::fs::write(self.file("pf"), pf).unwrap();
    }

    /// Writes the router's rules in nft's language.
    pub fn ruleset(rules: Rules) -> String {
        let Rules { nat, filter, blocked, reject } = rules;
        let when = |on: bool, text: &'static str| if on { text } else { "" };
        format!(
            "table ip lab {{\n\
             set bad {{ type ipv4_addr; {} }}\n\
             set seen {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 90s; }}\n\
             set answered {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 90s; }}\n\
             set denied {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 90s; }}\n\
             counter c_rdr {{ }}\ncounter c_pass {{ }}\ncounter c_deny {{ }}\ncounter c_block {{ }}\n\
             chain c_raw {{ type filter hook prerouting priority -310; policy accept;\nip saddr @bad counter name c_block drop\n}}\n\
             chain c_nat {{ type nat hook prerouting priority -100; policy accept;\n{}\n}}\n\
             chain c_forward {{ type filter hook forward priority 0; policy drop;\n\
             iifname c1 tcp sport 1688 tcp flags & (syn | ack) == syn | ack add @answered {{ ip daddr . tcp dport }}\n\
             iifname c1 tcp sport 1688 tcp flags & rst == rst add @denied {{ ip daddr . tcp dport }}\n\
             ct state established,related accept\n{}\n\
             iifname c1 accept\ncounter name c_deny drop\n}}\n\
             chain c_input {{ type filter hook input priority 0; policy accept;\niifname {{ b2, e2 }} tcp dport 1688 counter name c_deny {}\n}}\n}}\n",
            when(blocked, "elements = { 198.51.100.10 }"),
            when(
                nat,
                "ip daddr 198.51.100.1 tcp dport 1688 counter name c_rdr dnat to 10.0.20.202:1688"
            ),
            when(
                filter,
                "ct state new tcp dport 1688 ct status dnat add @seen { ip saddr . tcp sport } counter name c_pass accept"
            ),
            if reject { "reject with tcp reset" } else { "drop" },
        )
    }

    /// Returns the path of a file in the home of this lab's kmsctl.
    pub fn file(&self, name: &str) -> PathBuf {
        self.environment.home().join(name)
    }

    /// Starts the sshd that stands for the firewall's, with a pfctl that tells the router's counters.
    fn firewall(&mut self) {
        let pfctl = self.file("pfctl");
        let text = PFCTL
            .replace("ROUTER", &self.at("rtr"))
            .replace("RULES", &self.file("pf").display().to_string())
            .replace("FIXTURES", &format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR")));
        std::fs::write(&pfctl, text).unwrap();
        std::fs::set_permissions(&pfctl, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(self.file("crontab"), "").unwrap();
        self.sshd("op", "2200", "");
    }

    /// Starts an sshd on every address of a namespace.
    pub fn sshd(&mut self, place: &str, port: &str, more: &str) {
        let host_key = sshd::key("host_ed25519");
        let client_key = sshd::key("client");
        let config = self.file(&format!("sshd_{place}"));
        let log = self.file(&format!("sshd_{place}.log"));
        let keys = self.file("authorized_keys");
        std::fs::copy(sshd::public(&client_key), &keys).unwrap();
        let _ = std::fs::create_dir_all("/run/sshd");
        std::fs::write(
            &config,
            format!(
                "Port {port}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\nUseDNS no\nPermitRootLogin yes\n\
                 AuthorizedKeysFile {}\nPrintMotd no\nMaxStartups 100\n{more}",
                host_key.display(),
                keys.display()
            ),
        )
        .unwrap();
        let program = ["/usr/sbin/sshd", "-D", "-E"];
        let child = self.command(place, &program).arg(&log).arg("-f").arg(&config).spawn().unwrap();
        self.children.push(child);
        let start = Instant::now();
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("Server listening") {
            assert!(start.elapsed() < Duration::from_secs(20), "sshd did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn command(&self, place: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.at(place)])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Makes one more namespace outside, in which another client connects to the service all the while.
    pub fn crowd(&mut self) {
        let at = self.at("oth");
        must("ip", &["netns", "add", &at]);
        self.link(("oth", "203.0.113.77/24"), ("rtr", "203.0.113.1/24"), "e");
        self.inside("oth", "ip", &["route", "add", "default", "via", "203.0.113.1"]);
        let itself = std::env::current_exe().unwrap();
        let child = self
            .command("oth", &[])
            .arg(itself)
            .args(["serve::serve", "--exact", "--nocapture"])
            .env(serve::VARIABLE, format!("client {WAN}:1688"))
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    /// Starts this binary in a namespace as a server, and waits until it listens.
    pub fn serve(&mut self, place: &str, role: &str, address: &str, more: &str) {
        let itself = std::env::current_exe().unwrap();
        let child = self
            .command(place, &[])
            .arg(itself)
            .args(["serve::serve", "--exact", "--nocapture"])
            .env(serve::VARIABLE, format!("{role} {address} {more}").trim())
            .spawn()
            .unwrap();
        self.children.push(child);
        let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let wanted = format!(":{port:04X} 00000000:0000 0A");
        let start = Instant::now();
        loop {
            let at = self.at(place);
            let output = run("ip", &["netns", "exec", &at, "cat", "/proc/net/tcp"]);
            if String::from_utf8_lossy(&output.stdout).contains(&wanted) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{role} did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes the configuration; `more` holds the vantages.
    pub fn configure(&self, transport: &str, more: &str) {
        let known_hosts = self.file("known_hosts");
        let php = self.file("php");
        let key = std::fs::read_to_string(sshd::public(&sshd::key("host_ed25519"))).unwrap();
        let hosts = ["10.99.0.1]:2200", "198.51.100.10]:2222", "10.99.1.2]:2222"];
        let lines: String = hosts.iter().map(|host| format!("[{host} {key}")).collect();
        std::fs::write(&known_hosts, lines).unwrap();
        self.environment.write_config(&format!(
            "[firewall]\nhost = \"10.99.0.1\"\nport = 2200\nuser = \"root\"\ntransport = \"{transport}\"\nidentity = \"{}\"\n\
             known_hosts = \"{}\"\nssh_config = \"/dev/null\"\ncontrol_persist = \"0s\"\n\
             [firewall.paths]\npfctl = \"{}\"\nphp = \"{}\"\ncrontab = \"{}\"\n\
             [service]\nhost = \"kms.lab.invalid\"\n{more}",
            sshd::key("client").display(),
            known_hosts.display(),
            self.file("pfctl").display(),
            if php.exists() { php } else { "/bin/false".into() }.display(),
            self.file("crontab").display(),
        ));
    }

    /// Runs kmsctl in a namespace.
    pub fn kmsctl(&self, place: &str, arguments: &[&str]) -> (Output, Duration) {
        let home = self.environment.home();
        let start = Instant::now();
        let output = Command::new("ip")
            .args(["netns", "exec", &self.at(place), env!("CARGO_BIN_EXE_kmsctl")])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home.join("r"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output, start.elapsed())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for place in ["op", "out", "rtr", "inn", "oth"] {
            let at = self.at(place);
            // What sshd started for a connection outlives it.
            let left = run("ip", &["netns", "pids", &at]);
            for pid in String::from_utf8_lossy(&left.stdout).split_whitespace() {
                if let Ok(pid) = pid.parse() {
                    processes::signal(pid, "KILL");
                }
            }
            run("ip", &["netns", "del", &at]);
        }
    }
}

/// Returns the part of a vantage's configuration that every SSH vantage of the lab has.
pub fn ssh_vantage(host: &str, more: &str) -> String {
    format!(
        "[vantages.vps]\nhost = \"{host}\"\nport = 2222\nuser = \"root\"\nidentity = \"{}\"\n{more}\n",
        sshd::key("client").display()
    )
}

/// pf's words for nft's counters and for the connections that were forwarded. As pfctl of pfSense 2.7.2 prints them, shortened.
const PFCTL: &str = r#"#!/bin/sh
. RULES
router() { ip netns exec ROUTER "$@"; }
counters() { # sets c_rdr c_pass c_deny c_block to the packets
    eval "$(router nft list counters table ip lab | awk '$1 == "counter" { n = $2 } $1 == "packets" { print n "=" $2 }')"
}
rule() { # rule NUMBER TEXT PACKETS CREATIONS
    echo "@$1 $2"
    echo "  [ Evaluations: 1000      Packets: $3         Bytes: $3           States: 0     ]"
    echo "  [ Inserted: uid 0 pid 20042 State Creations: $4     ]"
    echo "  [ Last Active Time: N/A ]"
}
case "$*" in
-vvPsr)
    counters
    rule 0 'block drop in log inet all label "Default deny rule IPv4" ridentifier 1000000103' "$c_deny" 0
    rule 1 "block drop in log quick from <virusprot:$blocked> to any label \"virusprot overload table\" ridentifier 1000000400" "$c_block" 0
    [ "$filter" = 0 ] || rule 2 'pass in quick on vtnet0 reply-to (vtnet0 192.168.1.1) inet proto tcp from any to <k8s_kms_lb:1> port = 1688 flags S/SA keep state (source-track rule, max-src-conn 50, max-src-conn-rate 10/60, overload <virusprot> flush global, src.track 60) label "USER_RULE: NAT KMS" label "id:1763000004" ridentifier 1763000004' "$c_pass" "$c_pass"
    # What stands behind every rule of pfSense's, and so tells that the list is whole.
    tail=2; [ "$filter" = 0 ] || tail=3
    rule "$tail" 'anchor "tftp-proxy/*" all' 0 0
    ;;
-vvPsn)
    counters
    [ "$nat" = 0 ] || rule 0 'rdr on vtnet0 inet proto tcp from any to 198.51.100.1 port = 1688 -> <k8s_kms_lb> round-robin' "$c_rdr" "$c_rdr"
    ;;
-vvss)
    # The kernel forgets a connection that was reset at once; pf keeps its state for 90 s (tcp.closed).
    for set in denied answered seen; do router nft list set ip lab "$set"; done | tr ',{}' '\n\n\n' | awk '
        $1 == "set" { set = $2 }
        $2 == "." && $3 ~ /^[0-9]+$/ && set != "seen" { if (!(($1, $3) in level)) level[$1, $3] = set }
        $2 == "." && $3 ~ /^[0-9]+$/ && set == "seen" {
            levels = "CLOSED:SYN_SENT"
            if (level[$1, $3] == "denied") levels = "TIME_WAIT:TIME_WAIT"
            if (level[$1, $3] == "answered") levels = "ESTABLISHED:ESTABLISHED"
            printf "vtnet0 tcp 10.0.20.202:1688 (198.51.100.1:1688) <- %s:%s       %s\n", $1, $3, levels
            printf "   age 00:00:01, expires in 00:01:00, 1:1 pkts, 40:40 bytes, rule 2\n"
        }'
    ;;
'-t virusprot -T show -v')
    [ "$blocked" = 0 ] || printf '   198.51.100.10\n\tCleared:     Sat Sep 27 19:06:40 2025\n'
    ;;
# The alias is a table as long as a rule names it.
'-t k8s_kms_lb -T show')
    if [ "$nat$filter" = 00 ]; then echo 'pfctl: Unknown error: -1.' >&2; exit 255; fi
    printf '   10.0.20.202\n'
    ;;
-vsi) cat FIXTURES/pfctl/si-v.14.txt ;;
'-k label '* | '-k id '*) echo 'killed 0 states' >&2 ;;
*) echo "pfctl: unexpected: $*" >&2; exit 1 ;;
esac
"#;
