//! A clean room for the real binary: own HOME, cleared environment, fixed clock and width; and a result that prints
//! stdout, stderr and exit code together, so that one snapshot asserts all three.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// When the demo's clock stands still.
pub const MOMENT: &str = "2026-03-01T12:21:34Z";

/// A home of its own for every test.
pub struct TestEnvironment {
    home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl TestEnvironment {
    /// Makes an empty home. The demo's clock stands still at 2026-03-01T12:21:34Z, and the firewall is this machine, so
    /// that a test which forgets to name one reaches nobody.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("kmsctl").tempdir().expect("a temporary home");
        Self {
            home,
            variables: vec![
                ("KMSCTL_DEMO_NOW".into(), MOMENT.into()),
                ("KMSCTL_FIREWALL_HOST".into(), "127.0.0.1".into()),
            ],
        }
    }

    /// Sets an environment variable for every later run.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Takes a variable away again.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(other, _)| other != name);
        self
    }

    /// Keeps ssh's sockets in this home, so that no run of another test is met.
    pub fn private_runtime(self) -> Self {
        let runtime = self.home().join("r");
        std::fs::create_dir_all(&runtime).expect("a directory");
        let runtime = runtime.display().to_string();
        self.variable("XDG_RUNTIME_DIR", runtime)
    }

    /// Returns the home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns where the configuration is looked for.
    pub fn config_file(&self) -> PathBuf {
        self.home().join(".config/kmsctl/config.toml")
    }

    /// Writes the configuration file.
    pub fn write_config(&self, text: &str) {
        let path = self.config_file();
        std::fs::create_dir_all(path.parent().expect("a directory"))
            .expect("a configuration directory");
        std::fs::write(path, text).expect("a configuration file");
    }

    /// Returns the command with the cleaned environment, for tests that drive it themselves.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsctl"));
        command.args(arguments).env_clear().current_dir(self.home()).stdin(Stdio::null());
        command.env("HOME", self.home()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("USER", "tester").env("TERM", "xterm");
        // Sanitizers and coverage tools talk to their children through these.
        for name in ["LLVM_PROFILE_FILE", "ASAN_OPTIONS"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the binary.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().expect("kmsctl runs");
        Outcome::new(&output, self.home())
    }

    /// Runs the binary on the demo, with these variables for this run.
    pub fn demo_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        let mut command = self.command(&[&["--demo"], arguments].concat());
        command.envs(variables.iter().copied());
        Outcome::new(&command.output().expect("kmsctl runs"), self.home())
    }

    /// Runs the binary on the demo.
    pub fn demo(&self, arguments: &[&str]) -> Outcome {
        self.run(&[&["--demo"], arguments].concat())
    }
}

/// What a run printed and how it ended.
#[must_use]
#[derive(Debug)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Outcome {
    fn new(output: &Output, home: &Path) -> Self {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&home.display().to_string(), "$HOME")
        };
        Self {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            code: output.status.code(),
        }
    }

    /// Asserts success and returns stdout.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }

    /// Asserts success and returns stdout as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
    }

    /// Asserts the exit code and returns stderr.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self}");
        self.stderr
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stdout)?;
        if !self.stderr.is_empty() {
            write!(f, "------- stderr -------\n{}", self.stderr)?;
        }
        match self.code {
            Some(0) => Ok(()),
            Some(code) => writeln!(f, "[exit status: {code}]"),
            None => writeln!(f, "[killed]"),
        }
    }
}
