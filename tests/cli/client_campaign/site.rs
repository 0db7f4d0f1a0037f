//! The place of the client's campaign: an sshd of its own, and an operator's machine that reaches firewalls through it.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::changing::ChangingBox;
use crate::support::environment::{Outcome, TestEnvironment};
use crate::support::sshd::{Login, Options, Sshd};

/// An sshd, and an operator's machine that knows it; the firewall behind it is changed from run to run.
pub struct Site {
    environment: TestEnvironment,
    sshd: Sshd,
}

impl Site {
    pub fn new(transport: &str) -> Self {
        let sshd =
            Sshd::start(Options { login: Login::Sh, ..Options::default() }).expect("sshd is here");
        let environment = TestEnvironment::new();
        let at = |name: &str| environment.home().join("current").join(name);
        std::fs::write(environment.home().join("crontab"), CRONTAB).expect("a crontab");
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\ntransport = \"{transport}\"\nidentity = \"{}\"\n\
             known_hosts = \"{}\"\nssh_config = \"/dev/null\"\nfingerprint = \"{}\"\ncontrol_persist = \"60s\"\n\
             [firewall.paths]\npfctl = \"{}\"\nphp = \"{}\"\ncrontab = \"{}\"\n",
            sshd.port,
            sshd.user,
            sshd.client_key.display(),
            sshd.known_hosts.display(),
            sshd.fingerprint,
            at("pfctl").display(),
            at("php").display(),
            environment.home().join("crontab").display(),
        ));
        sshd.set_login(&format!(
            "#!/bin/sh\n[ ! -e '{}' ] || '{}'\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
            at("down").display(),
            at("cut").display(),
        ));
        let environment = environment.private_runtime();
        Self { environment, sshd }
    }

    /// Puts another firewall behind the sshd, and the history of its operator in place.
    pub fn face(&self, firewall: &ChangingBox, history: &str) {
        firewall.serve(self.sshd.listener());
        let current = self.environment.home().join("current");
        let _ = std::fs::remove_file(&current);
        symlink(firewall.php().path(), &current).expect("a link");
        let state = self.journal();
        std::fs::create_dir_all(state.parent().expect("a directory")).expect("a state directory");
        std::fs::write(&state, history).expect("a history");
    }

    pub fn journal(&self) -> std::path::PathBuf {
        let home: &Path = self.environment.home();
        home.join(".local/state/kmsctl/journal.jsonl")
    }

    pub fn run(&self, command: &[&str]) -> Outcome {
        self.environment.run(&[command, &["-o", "json"]].concat())
    }

    pub fn change(&self, command: &[&str]) -> Outcome {
        self.run(&[command, &["--yes"]].concat())
    }
}

const CRONTAB: &str =
    "*/60\t*\t*\t*\t*\troot\t/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot\n";
