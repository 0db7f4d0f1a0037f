//! Runs scripts under Debian's PHP against the stand-in for pfSense's API, as the firewall's shell would: on
//! standard input. Every run proves that nothing secret came out and nothing was written.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::boxes::{Fixture, Version};

/// A firewall's file system, as far as the stand-in looks at it.
pub struct PhpBox {
    directory: tempfile::TempDir,
    version: Version,
    trouble: &'static str,
    include_path: PathBuf,
}

/// What PHP did.
pub struct Run {
    /// The exit status; `None` after a signal.
    pub status: Option<i32>,
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error.
    pub stderr: String,
}

/// Returns whether PHP is here; says loudly what is skipped, or fails where nothing may be skipped.
#[expect(clippy::disallowed_methods, reason = "whether tests may skip is the caller's to say")]
pub fn available() -> bool {
    if interpreter().is_some() {
        return true;
    }
    let must_run = std::env::var_os("KMSCTL_TESTS_MUST_RUN").is_some_and(|value| value == "1");
    assert!(!must_run, "php is not installed (package php-cli)");
    eprintln!("SKIPPED: agent.php under PHP because php is not installed (package php-cli)");
    false
}

fn interpreter() -> Option<&'static str> {
    ["/usr/bin/php", "/usr/local/bin/php"].into_iter().find(|path| Path::new(path).exists())
}

impl PhpBox {
    /// Sets up a firewall of this version and configuration.
    pub fn new(version: Version, fixture: Fixture) -> Self {
        let directory =
            tempfile::Builder::new().prefix("kmsctl").tempdir().expect("a temporary directory");
        let set_up = Self {
            directory,
            version,
            trouble: "",
            include_path: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/support/pfsense/etc/inc"),
        };
        set_up.write("conf/config.xml", &fixture.xml(version));
        set_up.write("etc/version", format!("{}\n", version.etc_version()).as_bytes());
        set_up.write("tmp/.keep", b"");
        for subsystem in fixture.dirty() {
            set_up.write(&format!("run/{subsystem}.dirty"), b"");
        }
        set_up
    }

    /// Lets something go wrong while pfSense's code is loaded; the names are in the stand-in's `config.inc`.
    pub fn trouble(mut self, trouble: &'static str) -> Self {
        self.trouble = trouble;
        self
    }

    /// Takes pfSense's code off the include path.
    pub fn without_pfsense(mut self) -> Self {
        self.include_path = self.directory.path().to_owned();
        self
    }

    /// Writes a file of the box.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory"))
            .expect("the box's directories");
        std::fs::write(path, bytes).expect("a file of the box");
    }

    /// Runs a script and holds it to what every read must keep to.
    pub fn read(&self, script: &[u8]) -> Run {
        let config = self.directory.path().join("conf/config.xml");
        let before = std::fs::read(&config).expect("config.xml");
        assert!(
            before.windows(6).filter(|window| window == b"SECRET").count() > 5,
            "the fixture holds no secrets"
        );
        let run = self.run(script);
        assert!(!run.stdout.windows(6).any(|window| window == b"SECRET"), "a secret came out");
        assert_eq!(
            before,
            std::fs::read(&config).expect("config.xml"),
            "the configuration was written"
        );
        assert!(
            !self.directory.path().join("forbidden").exists(),
            "a read must not write: {}",
            run.stderr
        );
        run
    }

    /// Runs a script of PHP.
    pub fn run(&self, script: &[u8]) -> Run {
        self.start(interpreter().expect("php"), &self.arguments(), script)
    }

    /// Runs a script of sh, in which the returned path of [`Self::interpreter`] is PHP on this box.
    pub fn shell(&self, script: &[u8]) -> Run {
        self.start("/bin/sh", &["-s".into()], script)
    }

    /// Returns what tells the stand-in which box it is.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KMSCTL_SHIM_BOX", self.directory.path().display().to_string()),
            ("KMSCTL_SHIM_VERSION", self.version.name().to_owned()),
            ("KMSCTL_SHIM_TROUBLE", self.trouble.to_owned()),
        ]
    }

    /// Writes a program that stands where PHP is on a firewall, and returns its path.
    pub fn interpreter(&self) -> String {
        let words: Vec<String> = self.arguments().iter().map(|word| format!("'{word}'")).collect();
        let text =
            format!("#!/bin/sh\nexec {} {} \"$@\"\n", interpreter().expect("php"), words.join(" "));
        self.write("php", text.as_bytes());
        let path = self.directory.path().join("php");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("an executable");
        path.to_str().expect("a plain path").to_owned()
    }

    /// The same for whoever does not set the box's environment; the script passes through sed on its way.
    pub fn interpreter_for_all(&self, sed: &str) {
        self.write("marks.sed", sed.as_bytes());
        let mut text = String::from("#!/bin/sh\n");
        for (name, value) in self.environment() {
            text.push_str(&format!("export {name}='{value}'\n"));
        }
        let words: Vec<String> = self.arguments().iter().map(|word| format!("'{word}'")).collect();
        let php = format!("{} {}", interpreter().expect("php"), words.join(" "));
        let marks = self.directory.path().join("marks.sed");
        text.push_str(&format!(
            "marks='{}'\nif [ \"$1\" = -f ]; then\n\tmarked=$(dirname \"$2\")/.marked-$$\n\
             \tsed -E -f \"$marks\" \"$2\" >\"$marked\"\n\t{php} -f \"$marked\"\n\tcode=$?\n\trm -f \"$marked\"\n\texit $code\nfi\n\
             sed -E -f \"$marks\" | {php} \"$@\"\n",
            marks.display()
        ));
        self.write("php", text.as_bytes());
    }

    /// Without php.ini, so that every machine has the same PHP; errors as pfSense's releases have them.
    fn arguments(&self) -> Vec<String> {
        let prepend = concat!(
            "auto_prepend_file=",
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/pfsense/prepend.inc"
        );
        let include_path = format!("include_path={}", self.include_path.display());
        [
            "-n",
            "-d",
            "error_reporting=5",
            "-d",
            "display_errors=1",
            "-d",
            "html_errors=0",
            // pfSense's PHP has it built in; Debian's loads it by php.ini.
            "-d",
            "extension=posix",
            // The stand-in brings its own.
            "-d",
            "disable_functions=disk_free_space,time,usleep",
            "-d",
            prepend,
            "-d",
            &include_path,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The box's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a script of PHP whose streams the caller has.
    pub fn spawn(&self) -> std::process::Child {
        self.begin(interpreter().expect("php"), &self.arguments())
    }

    #[expect(clippy::disallowed_methods, reason = "tests start the real PHP")]
    fn begin(&self, program: &str, arguments: &[String]) -> std::process::Child {
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    fn start(&self, program: &str, arguments: &[String], script: &[u8]) -> Run {
        let mut child = self.begin(program, arguments);
        child.stdin.take().expect("stdin").write_all(script).expect("it reads its script");
        let output = child.wait_with_output().expect("it ends");
        Run {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
