//! A whole firewall at the far end of OpenSSH's own sshd: real PHP over the stand-in for pfSense's API, and a pfctl that
//! serves what PHP has loaded. What one of them writes the other reads: one state, as on a box.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::boxes::{Fixture, Version};
use super::changing::ChangingBox;
use super::environment::TestEnvironment;
use super::php;
use super::sshd::{Options, Sshd};

/// The tracker of the exposure's filter rule.
pub const TRACKER: &str = "1763000004";

/// The firewall, and a configuration that leads there.
pub struct LiveBox {
    /// The operator's side.
    pub environment: TestEnvironment,
    /// The server.
    pub sshd: Sshd,
    /// What is behind it.
    pub firewall: ChangingBox,
}

impl LiveBox {
    /// Starts a firewall with the open exposure; None (said aloud) where sshd or PHP is not installed.
    pub fn start(transport: &str) -> Option<Self> {
        Self::of(transport, Version::V272, Fixture::Editor)
    }

    /// Starts a firewall of this version and configuration.
    pub fn of(transport: &str, version: Version, fixture: Fixture) -> Option<Self> {
        Self::behind(Options::default(), transport, version, fixture)
    }

    /// Starts a firewall behind an sshd that is like this.
    pub fn behind(
        options: Options,
        transport: &str,
        version: Version,
        fixture: Fixture,
    ) -> Option<Self> {
        Self::of_xml(options, transport, version, &fixture.xml(version))
    }

    /// Starts a firewall of this config.xml behind an sshd that is like this.
    pub fn of_xml(options: Options, transport: &str, version: Version, xml: &[u8]) -> Option<Self> {
        let sshd = Sshd::start(options)?;
        if !php::available() {
            return None;
        }
        let firewall = ChangingBox::of_xml(version, xml);
        let words = firewall.php().environment().into_iter();
        let words: String = words.map(|(name, value)| format!("{name}='{value}' ")).collect();
        program(
            &firewall.file("php-at-login"),
            &format!("#!/bin/sh\nexec env {words}{} \"$@\"\n", firewall.php().interpreter()),
        );
        firewall.php().write("crontab", CRONTAB);
        let live = Self { environment: TestEnvironment::new().private_runtime(), sshd, firewall };
        live.environment.write_config(&live.settings(transport));
        Some(live)
    }

    /// Has pfctl answer as this script says instead: `$*` is what is asked, `$PFCTL` the stand-in, `$BOX`
    /// its folder.
    pub fn answer_pfctl(&self, transport: &str, cases: &str) {
        let path = self.firewall.file("pfctl-instead");
        let pfctl = self.firewall.file("pfctl");
        program(
            &path,
            &format!(
                "#!/bin/sh\nPFCTL='{}' BOX='{}'\ncase \"$*\" in\n{cases}\n*) exec \"$PFCTL\" \"$@\" ;;\nesac\n",
                pfctl.display(),
                self.firewall.file("").display()
            ),
        );
        let settings = self.settings(transport);
        let named = format!("pfctl = \"{}\"", pfctl.display());
        assert!(settings.contains(&named));
        let instead = format!("pfctl = \"{}\"", path.display());
        self.environment.write_config(&settings.replace(&named, &instead));
    }

    /// A configuration that leads to this firewall.
    pub fn settings(&self, transport: &str) -> String {
        let at = |name: &str| self.firewall.file(name).display().to_string();
        format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\ntransport = \"{transport}\"\nidentity = \"{}\"\n\
             known_hosts = \"{}\"\nssh_config = \"/dev/null\"\nfingerprint = \"{}\"\ncontrol_persist = \"20s\"\n\
             [firewall.paths]\npfctl = \"{}\"\nphp = \"{}\"\ncrontab = \"{}\"\n",
            self.sshd.port,
            self.sshd.user,
            self.sshd.client_key.display(),
            self.sshd.known_hosts.display(),
            self.sshd.fingerprint,
            at("pfctl"),
            at("php-at-login"),
            at("crontab"),
        )
    }

    /// Starts kmsctl and leaves it running, in a process group of its own, as a shell would.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        use std::os::unix::process::CommandExt as _;
        let mut command = self.environment.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        command.spawn().expect("kmsctl starts")
    }

    /// Holds the next load of the ruleset, or lets it go on.
    pub fn hold(&self, held: bool) {
        if held {
            self.firewall.php().write("hold", b"");
        } else {
            std::fs::remove_file(self.firewall.file("hold")).expect("it was held");
        }
    }

    /// Waits until the firewall has come to where it is held, and returns the process that is.
    pub fn wait_until_held(&self) -> Option<u32> {
        until("the firewall is at work", || self.firewall.file("held").exists());
        let process = self.firewall.text("held").trim().parse().ok();
        std::fs::remove_file(self.firewall.file("held")).expect("a mark");
        process
    }

    /// Puts addresses into the overload table, blocked since the times that pfctl prints.
    pub fn block(&self, entries: &[(&str, &str)]) {
        let mut text = self.firewall.text("pf/virusprot");
        for (address, since) in entries {
            text.push_str(&format!("{address}\t{since}\n"));
        }
        self.firewall.php().write("pf/virusprot", text.as_bytes());
    }

    /// Returns the addresses in the overload table.
    pub fn blocked(&self) -> Vec<String> {
        let text = self.firewall.text("pf/virusprot");
        let addresses = text.lines().filter_map(|line| line.split('\t').next());
        let mut addresses: Vec<String> = addresses.map(str::to_owned).collect();
        addresses.sort();
        addresses
    }

    /// Connects clients to a server behind the port forward: both halves of each connection, the outside one made by
    /// the exposure's rule.
    pub fn connect(&self, server: &str, clients: &[&str]) {
        self.connect_as(&format!("id:{TRACKER}"), server, clients);
    }

    /// The same, made by a rule with this label.
    pub fn connect_as(&self, label: &str, server: &str, clients: &[&str]) {
        let mut text = self.firewall.text("pf/states");
        let first = text.lines().count();
        for (place, client) in clients.iter().enumerate() {
            let (id, port) = (first + 2 * place, 40_000 + first + place);
            text.push_str(&format!(
                "6500000000{id:06x}|{label}|vtnet0 tcp {server}:1688 (192.168.1.2:1688) <- {client}:{port}       ESTABLISHED:ESTABLISHED\n\
                 6500000000{:06x}|id:1|vtnet2 tcp {client}:{port} -> {server}:1688       ESTABLISHED:ESTABLISHED\n",
                id + 1
            ));
        }
        self.firewall.php().write("pf/states", text.as_bytes());
    }

    /// Adds a state of something else, which no command may end.
    pub fn connect_other(&self) {
        let text = self.firewall.text("pf/states")
            + "7700000000000001|id:2|vtnet1 tcp 10.0.20.50:443 <- 198.51.100.7:50001       ESTABLISHED:ESTABLISHED\n";
        self.firewall.php().write("pf/states", text.as_bytes());
    }

    /// Counts the states.
    pub fn states(&self) -> usize {
        self.firewall.text("pf/states").lines().count()
    }

    /// Returns the caps that pf runs for the exposure's rule, as pfctl prints them; `None` if the rule is not loaded.
    pub fn loaded_caps(&self) -> Option<String> {
        let rules = self.firewall.text("pf/sr");
        let line = rules.lines().find(|line| line.contains(&format!("ridentifier {TRACKER}")))?;
        let from = line.find("max-src-conn ");
        let caps = from.map(|from| {
            let caps = line[from..].split(')').next().unwrap_or_default();
            let caps = caps.split(", src.track").next().unwrap_or_default();
            caps.split(", overload").next().unwrap_or_default()
        });
        Some(caps.unwrap_or("none").to_owned())
    }

    /// Returns whether pf redirects the service's port.
    pub fn redirected(&self) -> bool {
        self.firewall.text("pf/sn").contains("port = 1688 ->")
    }
}

/// Writes a program.
pub fn program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a program");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("an executable");
}

/// Waits for something, not for ever.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As pfSense 2.7.2 writes it, shortened.
const CRONTAB: &[u8] = b"# pfSense specific crontab entries\nSHELL=/bin/sh\nPATH = /etc:/bin\n\n\
    */60\t*\t*\t*\t*\troot\t/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot\n";
