//! The process environment and the directories that follow from it, read once. Holds no settings.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::own_files::{belongs_to_another, own_user};

/// Names the side-car had before kmsctl, and where secrets of its pod come from; `notifier run` honours them where
/// nothing else is set.
pub const ALIASES: [&str; 6] = [
    "VLMCSD_LOG",
    "SLACK_WEBHOOK_URL",
    "SLACK_CHANNEL",
    "DEDUP_WINDOW_SECONDS",
    "METRICS_PORT",
    "REDIS_PASSWORD",
];

#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Every variable whose name starts with `KMSCTL_`, and the [`ALIASES`], with a non-empty UTF-8 value.
    pub variables: BTreeMap<String, String>,
    /// `HOME`, if set and absolute.
    pub home: Option<PathBuf>,
    /// `SSH_AUTH_SOCK`.
    pub agent_socket: Option<PathBuf>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM=dumb`.
    pub dumb_terminal: bool,
    /// `PAGER`.
    pub pager: Option<String>,
    /// `LESS` is set: the operator has options of their own.
    pub has_less_options: bool,
    /// Who runs kmsctl (`USER` or `LOGNAME`).
    pub user: Option<String>,
    pub host: Option<String>,
    /// `SHELL`, if set and absolute.
    pub login_shell: Option<PathBuf>,
    config_home: Option<PathBuf>,
    data_home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    runtime: Option<PathBuf>,
    /// It is the demo's: see [`Environment::without_configuration`].
    pub is_demo: bool,
    /// The first `KMSCTL_` variable that is no text.
    pub not_text: Option<String>,
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "this is the edge that reads the environment")]
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let ours = |name: &OsStr| name.as_encoded_bytes().starts_with(b"KMSCTL_");
        let is_text = |name: &OsStr, value: &OsStr| name.to_str().and(value.to_str()).is_some();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(|(name, value)| {
                    (name.starts_with("KMSCTL_") || ALIASES.contains(&name.as_str()))
                        && !value.is_empty()
                })
                .collect(),
            home: path("HOME"),
            agent_socket: path("SSH_AUTH_SOCK"),
            no_color: text("NO_COLOR").is_some(),
            dumb_terminal: text("TERM").as_deref() == Some("dumb"),
            pager: text("PAGER"),
            has_less_options: text("LESS").is_some(),
            user: text("USER")
                .or_else(|| text("LOGNAME"))
                .or_else(|| (own_user() == 0).then(|| "root".to_owned())),
            host: host_name().or_else(|| text("HOSTNAME")).or_else(|| text("HOST")),
            login_shell: path("SHELL"),
            config_home: path("XDG_CONFIG_HOME"),
            data_home: path("XDG_DATA_HOME"),
            state_home: path("XDG_STATE_HOME"),
            // That of the user who became root is none of root's: what lies in it can be replaced at any moment.
            runtime: path("XDG_RUNTIME_DIR").filter(|path| !belongs_to_another(path)),
            is_demo: false,
            not_text: std::env::vars_os()
                .find(|(name, value)| ours(name) && !is_text(name, value))
                .map(|(name, _)| name.to_string_lossy().into_owned()),
        }
    }

    /// Returns a `KMSCTL_*` variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns where the configuration file is looked for, or `None` without a home.
    pub fn config_file(&self) -> Option<PathBuf> {
        Some(self.config_directory()?.join("kmsctl/config.toml"))
    }

    /// Returns the directory of every program's configuration, or `None` without a home.
    pub fn config_directory(&self) -> Option<PathBuf> {
        self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))
    }

    /// Returns the directory of the operator's own data, such as completions of shells, or `None` without a home.
    pub fn data_directory(&self) -> Option<PathBuf> {
        self.data_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/share")))
    }

    /// Returns the environment without the operator's configuration file: the demo stands alone.
    #[must_use]
    pub fn without_configuration(&self) -> Self {
        let mut environment = self.clone();
        environment.variables.remove("KMSCTL_CONFIG");
        environment.config_home = None;
        environment.home = None;
        environment.is_demo = true;
        environment
    }

    /// Returns the directory of what kmsctl remembers: the history and the vantages' budgets; `None` without a home, as
    /// in a directory that all users share they could be planted.
    pub fn state_directory(&self) -> Option<PathBuf> {
        let base =
            self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")));
        base.map(|base| base.join("kmsctl"))
    }

    /// Returns the directory of the state of a simulated firewall: `demo`, or that of another context.
    pub fn demo_directory(&self, name: &str) -> PathBuf {
        let base = self.state_directory().unwrap_or_else(Self::scratch);
        base.join(name)
    }

    /// Returns the directory of sockets: `$XDG_RUNTIME_DIR/kmsctl`, or one in /tmp when that is unset or too
    /// long for a socket's path (about 100 bytes in all).
    pub fn runtime_directory(&self) -> PathBuf {
        const LONGEST: usize = 50;
        let short = |path: &PathBuf| path.as_os_str().len() <= LONGEST;
        self.runtime
            .as_ref()
            .map(|runtime| runtime.join("kmsctl"))
            .filter(short)
            .unwrap_or_else(Self::scratch)
    }

    /// Replaces a leading `~/` by the home directory.
    pub fn expand(&self, path: &str) -> PathBuf {
        at_home(path, self.home.as_deref())
    }

    fn scratch() -> PathBuf {
        PathBuf::from(format!("/tmp/kmsctl-{}", own_user()))
    }
}

/// Puts the home directory in the place of a leading `~`.
pub fn at_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Linux keeps the name in a file; elsewhere the shell's variables must do.
fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()?;
    let name = text.lines().next()?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
