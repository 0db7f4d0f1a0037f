//! The simulated firewall behind an SSH port of its own, so that kmsctl meets it as it meets a real one.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::environment::TestEnvironment;

/// A running `kmsctl demo serve`; ends when dropped.
pub struct Served {
    child: Child,
    home: TestEnvironment,
    port: u16,
}

impl Served {
    /// Starts it in the given scenario.
    pub fn start(scenario: &str) -> Self {
        let home = TestEnvironment::new()
            .without("KMSCTL_DEMO_NOW")
            .variable("KMSCTL_DEMO_SCENARIO", scenario);
        let mut command =
            home.command(&["demo", "serve", "--listen", "127.0.0.1:0", "-o", "ndjson"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kmsctl serves");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        let serving: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let address = serving["address"].as_str().expect("an address");
        let port = address.parse::<std::net::SocketAddr>().expect("an address").port();
        Self { child, home, port }
    }

    /// Writes the table of a context that leads to it, by a name of this machine, with more lines.
    pub fn context(&self, name: &str, host: &str, more: &str) -> String {
        let demo = self.home.home().join(".local/state/kmsctl/demo");
        let known = demo.join(format!("known_hosts-{}", self.port));
        let text = std::fs::read_to_string(&known).expect("known hosts");
        let own = known.with_extension(host);
        std::fs::write(&own, text.replace("127.0.0.1", host)).expect("known hosts");
        format!(
            "[contexts.{name}.firewall]\nhost = \"{host}\"\nport = {}\nuser = \"admin\"\ntransport = \"russh\"\n\
             identity = \"{}\"\nknown_hosts = \"{}\"\n{more}\n",
            self.port,
            demo.join("client_key").display(),
            own.display(),
        )
    }

    /// Leads a home to it.
    pub fn reached_from(&self, environment: TestEnvironment) -> TestEnvironment {
        let demo = self.home.home().join(".local/state/kmsctl/demo");
        let file = |name: &str| demo.join(name).display().to_string();
        environment
            .variable("KMSCTL_FIREWALL_PORT", self.port.to_string())
            .variable("KMSCTL_FIREWALL_USER", "admin")
            .variable("KMSCTL_FIREWALL_TRANSPORT", "russh")
            .variable("KMSCTL_FIREWALL_IDENTITY", file("client_key"))
            .variable("KMSCTL_FIREWALL_KNOWN_HOSTS", file(&format!("known_hosts-{}", self.port)))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
