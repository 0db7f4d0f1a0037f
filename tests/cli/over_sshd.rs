//! Every read command over OpenSSH's own sshd and both links, in every form. pfctl is stood in for by a script
//! that prints real pfctl output; the configuration is read by real PHP.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::boxes::{Fixture, Version};
use crate::support::environment::{Outcome, TestEnvironment};
use crate::support::php::{self, PhpBox};
use crate::support::sshd::{Login, Options, Sshd};

/// A firewall made of sshd, the stand-in for pfctl and PHP, and a configuration that leads there.
pub struct Firewall {
    pub environment: TestEnvironment,
    sshd: Sshd,
    // Holds the files that PHP reads.
    php_box: PhpBox,
}

impl Firewall {
    pub fn start(transport: &str, login: Login) -> Option<Self> {
        let sshd = Sshd::start(Options { login, ..Options::default() })?;
        if !php::available() {
            return None;
        }
        let php_box = PhpBox::new(Version::V272, Fixture::Editor);
        let environment = TestEnvironment::new();
        let pfctl = environment.home().join("pfctl");
        write_program(&pfctl, PFCTL);
        let crontab = environment.home().join("crontab");
        std::fs::write(&crontab, CRONTAB).expect("a crontab");
        let php = environment.home().join("php");
        let words = php_box
            .environment()
            .iter()
            .map(|(name, value)| format!("{name}='{value}' "))
            .collect::<String>();
        write_program(&php, &format!("#!/bin/sh\nexec env {words}{}\n", php_box.interpreter()));
        environment.write_config(&format!(
            "[firewall]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\ntransport = \"{transport}\"\nidentity = \"{}\"\n\
             known_hosts = \"{}\"\nssh_config = \"/dev/null\"\nfingerprint = \"{}\"\ncontrol_persist = \"20s\"\n\
             [firewall.paths]\npfctl = \"{}\"\nphp = \"{}\"\ncrontab = \"{}\"\n",
            sshd.port,
            sshd.user,
            sshd.client_key.display(),
            sshd.known_hosts.display(),
            sshd.fingerprint,
            pfctl.display(),
            php.display(),
            crontab.display(),
        ));
        // Sockets stay in this test's home.
        let environment = environment.private_runtime();
        Some(Self { environment, sshd, php_box })
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.environment.run(arguments)
    }

    /// Moves the service to a port of this machine, in pf's rules and in config.xml, so that it can be connected to.
    pub fn move_service(&self, port: u16) {
        let pfctl = self.environment.home().join("pfctl");
        let real = self.environment.home().join("pfctl.real");
        if !real.exists() {
            std::fs::rename(&pfctl, &real).expect("pfctl moves");
        }
        let real = real.display();
        write_program(
            &pfctl,
            &format!(
                "#!/bin/sh\n'{real}' \"$@\" | sed 's/= 1688/= {port}/; s/10[.]0[.]20[.]202/127.0.0.1/'\n"
            ),
        );
        let xml = Fixture::Editor.xml(Version::V272);
        let xml = String::from_utf8_lossy(&xml)
            .replace(">1688<", &format!(">{port}<"))
            .replace("10.0.20.202", "127.0.0.1");
        self.php_box.write("conf/config.xml", xml.as_bytes());
    }
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a program");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("an executable");
}

/// Prints the samples by the arguments that kmsctl uses; anything else is refused, as pfctl would.
const PFCTL: &str = concat!(
    "#!/bin/sh\n",
    "cd ",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures || exit 1\n",
    "case \"$*\" in\n",
    "'-t virusprot -T show -v') cat pfctl/T-show-v.14.txt ;;\n",
    "'-t virusprot -T test -vv -f -') while read -r a; do printf 'M  %s\\t %s\\n' \"$a\" \"$a\"; done; echo '1/1 addresses match.' >&2 ;;\n",
    "'-t k8s_kms_lb -T show') echo '   10.0.20.202' ;;\n",
    // The rule's own states are those of its source nodes below.
    "-vvPsr) awk '/^@75 / { own = 1 } own && sub(/States: 0 /, \"States: 25\") { own = 0 } { print }' pfsense-2.7.2/vvPsr.txt ;;\n",
    "-vvPsn) cat pfsense-2.7.2/vvPsn.txt ;;\n",
    "-vvss) sed 's/192[.]168[.]1[.]20:1688/10.0.20.202:1688/' pfctl/ss-vv-floating.14.txt ;;\n",
    "-vsS) cat pfctl/sn-v.14.txt >/dev/null; sed 's/rule 25/rule 75/' pfctl/sS-v.14.txt ;;\n",
    "-vsi) cat pfctl/si-v.14.txt ;;\n",
    "-sm) cat pfctl/sm.14.txt ;;\n",
    "*) echo \"pfctl: unexpected: $*\" >&2; exit 1 ;;\n",
    "esac\n",
);

/// As pfSense 2.7.2 writes it, shortened.
const CRONTAB: &str = "# pfSense specific crontab entries\nSHELL=/bin/sh\nPATH = /etc:/bin\n\n\
    1,31\t0-5\t*\t*\t*\troot\t/usr/bin/nice -n20 adjkerntz -a\n\
    */60\t*\t*\t*\t*\troot\t/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot\n";

const READS: &[&[&str]] = &[
    &["status"],
    &["virusprot", "show"],
    &["virusprot", "test", "192.0.2.200"],
    &["rule", "show"],
    &["states"],
    &["states", "--all"],
    &["ratelimit", "show"],
    &["expose", "show"],
];

fn every_command_in_every_form(transport: &str, login: Login) {
    let Some(firewall) = Firewall::start(transport, login) else {
        return;
    };
    for command in READS {
        for form in ["table", "json", "ndjson", "csv"] {
            let outcome = firewall.run(&[command, &["-o", form][..]].concat());
            assert_eq!(outcome.code, Some(0), "{transport} {command:?} {form}: {outcome}");
            assert!(!outcome.stdout.is_empty(), "{transport} {command:?} {form}: {outcome}");
        }
    }
    let status = firewall.run(&["status", "-o", "json"]).json();
    assert_eq!(status["firewall"], "127.0.0.1");
    assert_eq!(status["data"]["expose"]["state"], "open", "{status:#}");
    assert_eq!(status["data"]["expose"]["nat"]["configured"], true, "{status:#}");
    assert_eq!(status["data"]["virusprot"]["expiry"]["kind"], "cron", "{status:#}");
    assert_eq!(
        status["data"]["virusprot"]["entries"].as_array().map(Vec::len),
        Some(5),
        "{status:#}"
    );
    assert!(
        status["data"]["states"]["sources"].as_array().is_some_and(|sources| sources.len() >= 3),
        "{status:#}"
    );
    assert_eq!(status["data"]["states"]["sources"][0]["counted"], 2, "{status:#}");
}

#[test]
fn openssh_answers_everything_through_sh() {
    every_command_in_every_form("openssh", Login::Sh);
}

#[test]
fn openssh_answers_everything_through_rc_initial() {
    every_command_in_every_form("openssh", Login::RcInitial);
}

#[test]
fn russh_answers_everything_through_tcsh() {
    every_command_in_every_form("russh", Login::Tcsh);
}

#[test]
fn one_read_command_is_one_connection_one_login_one_session() {
    for transport in ["openssh", "russh"] {
        let Some(firewall) = Firewall::start(transport, Login::Sh) else {
            return;
        };
        firewall.run(&["status"]).success();
        let counts =
            (firewall.sshd.connections(), firewall.sshd.logins(), firewall.sshd.sessions());
        assert_eq!(counts, (1, 1, 1), "{transport}: {}", firewall.sshd.log());
        firewall.run(&["status"]).success();
        let wanted = if transport == "openssh" { (1, 1, 2) } else { (2, 2, 2) };
        let counts =
            (firewall.sshd.connections(), firewall.sshd.logins(), firewall.sshd.sessions());
        assert_eq!(
            counts, wanted,
            "{transport}: the second run reuses the master where there is one"
        );
    }
}

#[test]
fn trouble_on_the_way_is_5_and_names_the_next_step() {
    for transport in ["openssh", "russh"] {
        let Some(firewall) = Firewall::start(transport, Login::Sh) else {
            return;
        };
        let known_hosts = firewall.environment.home().join("empty");
        std::fs::write(&known_hosts, "").expect("a file");
        let environment = &firewall.environment;
        let with = |name: &str, value: &str| {
            let mut command = environment.command(&["virusprot", "show"]);
            let output = command.env(name, value).output().expect("kmsctl runs");
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
                output.stdout,
            )
        };
        let (code, told, data) =
            with("KMSCTL_FIREWALL_KNOWN_HOSTS", known_hosts.to_str().expect("a path"));
        assert_eq!((code, data.len()), (Some(5), 0), "{transport}: {told}");
        assert!(
            told.contains(&firewall.sshd.fingerprint) && told.contains("hint:"),
            "{transport}: {told}"
        );
        let (code, told, _) = with(
            "KMSCTL_FIREWALL_FINGERPRINT",
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        );
        assert_eq!(code, Some(5), "{transport}: {told}");
        assert!(
            told.contains("SHA256:AAAA") && told.contains(&firewall.sshd.fingerprint),
            "{transport}: {told}"
        );
        let (code, told, _) = with(
            "KMSCTL_FIREWALL_IDENTITY",
            firewall.sshd.other_client_key.to_str().expect("a path"),
        );
        assert_eq!(code, Some(5), "{transport}: {told}");
        let (code, told, _) = with("KMSCTL_FIREWALL_PORT", "1");
        assert_eq!(code, Some(5), "{transport}: {told}");
        let (code, told, _) = with("KMSCTL_FIREWALL_HOST", "nowhere.invalid");
        assert_eq!(code, Some(5), "{transport}: {told}");
    }
}

#[test]
fn bad_replies_are_told_and_never_shown_as_data() {
    let Some(firewall) = Firewall::start("russh", Login::Sh) else {
        return;
    };
    let pfctl = firewall.environment.home().join("pfctl");
    let show = |text: &str, arguments: &[&str]| {
        write_program(&pfctl, text);
        firewall.run(arguments)
    };
    let denied = show(
        "#!/bin/sh\necho 'pfctl: /dev/pf: Permission denied' >&2\nexit 1\n",
        &["virusprot", "show"],
    );
    assert!(denied.fails_with(5).contains("/dev/pf"));
    let missing = show(
        "#!/bin/sh\necho 'pfctl: Table does not exist.' >&2\nexit 255\n",
        &["virusprot", "show"],
    );
    assert!(missing.fails_with(1).contains("the table virusprot does not exist"));
    let rubbish = show("#!/bin/sh\necho 'This is \x1b[2Jnot a table'\n", &["virusprot", "show"]);
    assert_eq!((rubbish.stdout.as_str(), rubbish.code), ("", Some(1)), "{rubbish}");
    assert!(rubbish.stderr.contains("a form kmsctl does not know"), "{rubbish}");
    let partly = show(
        "#!/bin/sh\nprintf '   192.0.2.1\\n\\tCleared:     Thu Jan  1 00:00:00 2026\\n   \\033[2Jrubbish\\n'\n",
        &["virusprot", "show"],
    );
    assert!(partly.stdout.contains("192.0.2.1"), "{partly}");
    assert!(
        partly.stderr.contains("does not understand") && !partly.stderr.contains('\u{1b}'),
        "{partly}"
    );
    let giant =
        show("#!/bin/sh\nhead -c 2000000 /dev/zero | tr '\\0' x\necho\n", &["virusprot", "show"]);
    assert_eq!((giant.stdout.as_str(), giant.code), ("", Some(1)), "{giant}");
    assert!(giant.stderr.len() < 5_000, "a megabyte-long line is not repeated");
    std::fs::remove_file(&pfctl).expect("pfctl goes");
    let gone = firewall.run(&["virusprot", "show"]);
    assert!(gone.fails_with(1).contains("is not on the firewall"));
}
