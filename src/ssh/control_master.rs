//! The ssh master process: finds one that an earlier run has left, or starts one, and gives it up again. The only
//! place of kmsctl's link that starts a process. One authentication attempt a run: a launch that fails is reported
//! and never tried again.
//!
//! The socket's name is a hash of everything that decides where it leads and how that was checked, so a
//! connection is only taken over by a run that would have made the same. Beside it lie a lock, so that
//! two runs starting at once make one connection, and the host key that was verified, written last: without it
//! a socket is not used.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::agent_key;
use super::error::LinkError;
use super::known_hosts::{HostKey, KnownHosts, portless_name};
use super::log_pipe::LogPipe;
use super::openssh_log;
use super::openssh_log::{LogContext, Recorded};
use super::ssh_arguments::{
    configuration_arguments, forward_arguments, login_by_hand, ssh_arguments,
};
use crate::domain::firewall_identity::FirewallIdentity;
use crate::own_files;
use crate::plain_file;
use crate::settings::target::Target;
use crate::text::{format_bytes, hexadecimal};

/// How long a master may take to answer on its local socket, or ssh to read its configuration.
const ALIVE: Duration = Duration::from_secs(2);

/// More is not what a run has written about a master.
const LARGEST_FACTS: u64 = 64 << 10;

/// How long is waited for another run that connects. One that was stopped keeps its lock for ever.
const OTHER_RUN: Duration = Duration::from_secs(3);

/// How often a waiting run looks whether the other one has connected.
const POLL: Duration = Duration::from_millis(20);

/// The longest socket path in bytes: `sun_path` has 104 on FreeBSD and macOS, and while it binds, ssh appends a
/// dot and 16 characters.
const LONGEST_PATH: usize = 86;

/// How often, a millisecond apart, is looked for what a launched ssh has written last; it is in the pipe already.
const LAST_WORDS: usize = 5;

/// A live master.
pub(crate) struct Master {
    pub session: Arc<Session>,
    pub verified: Verified,
    /// Whether an earlier run has started it.
    pub reused: bool,
    /// Whether it ends with this run.
    transient: bool,
    /// What it goes on logging, while this run is there to read it; a kept one that is left logs nowhere.
    log: Option<LogPipe>,
    /// What the operator should know about how it was made.
    pub notice: Option<String>,
}

/// Which box a master is connected to, and how ssh checked that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub host_key: HostKey,
    /// The address it is connected to, as far as it said.
    pub peer: Option<IpAddr>,
    recorded: Option<Recorded>,
}

impl Verified {
    /// Returns which box it is, by what known_hosts says now.
    pub(crate) fn identity(&self, target: &Target) -> FirewallIdentity {
        let recorded = self.recorded.as_ref();
        let tied = recorded.map_or_else(Vec::new, |recorded| {
            let mut files = target.known_hosts_files();
            if !files.contains(&recorded.file) {
                files.insert(0, recorded.file.clone());
            }
            KnownHosts::read(&files, &recorded.name).tied_to(&self.host_key.algorithm)
        });
        let authority = recorded.and_then(|recorded| {
            let principal = portless_name(&recorded.name);
            Some(recorded.authority.as_ref()?.vouching_for(principal))
        });
        FirewallIdentity {
            host_key: self.host_key.to_string(),
            authority,
            tied: tied.iter().map(ToString::to_string).collect(),
        }
    }

    /// Prints it for the next run, a fact a line.
    fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.host_key);
        if let Some(peer) = self.peer {
            text += &format!("peer {peer}\n");
        }
        if let Some(recorded) = &self.recorded {
            text += &format!("name {}\nfile {}\n", recorded.name, recorded.file.display());
            if let Some(authority) = &recorded.authority {
                text += &format!("authority {authority}\n");
            }
        }
        text
    }

    /// Reads what an earlier run has printed.
    fn of_text(text: &str) -> Option<Self> {
        let key = |words: &str| {
            let (algorithm, fingerprint) = words.split_once(' ')?;
            Some(HostKey { algorithm: algorithm.to_owned(), fingerprint: fingerprint.to_owned() })
        };
        let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let recorded = fact("name ").zip(fact("file "));
        Some(Self {
            host_key: key(text.lines().next()?)?,
            peer: fact("peer ").and_then(|peer| peer.parse().ok()),
            recorded: recorded.map(|(name, file)| Recorded {
                name: name.to_owned(),
                file: PathBuf::from(file),
                authority: fact("authority ").and_then(key),
            }),
        })
    }
}

impl Master {
    /// Starts a client that has the master connect to a host and port; its pipes carry the connection, and its
    /// stderr says when that stands.
    pub(crate) fn forward(
        &self,
        target: &Target,
        host: &str,
        port: u16,
    ) -> Result<Child, LinkError> {
        let arguments = forward_arguments(self.session.control_socket(), host, port)?;
        ssh_command(target, arguments, Stdio::piped())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| LinkError::Local { doing: "Starting ssh", source })
    }

    /// Returns the server's words about the last connection it could not make, if they were logged.
    pub(crate) async fn last_refusal(&self) -> Option<String> {
        let log = self.log.as_ref()?;
        // ssh writes them before it refuses; they may still be in the pipe.
        for _ in 0..20 {
            let words = openssh_log::last_refusal(&log.latest_words());
            if words.is_some() {
                return words;
            }
            sleep(Duration::from_millis(1)).await;
        }
        None
    }

    /// Leaves a kept master to the next run; ends one that is not kept.
    pub(crate) async fn close(self) {
        if self.transient
            && let Some(session) = Arc::into_inner(self.session)
        {
            let _ = timeout(ALIVE, session.close()).await;
        }
    }
}

/// Takes over a master or starts one.
pub(crate) async fn connect_master(target: &Target) -> Result<Master, LinkError> {
    if let Some(error) = prepare_directory(&target.runtime_directory)? {
        // A socket of this run alone lies anywhere; no command waits for a disk that can be written.
        let elsewhere = Target { runtime_directory: tempfile::env::temp_dir(), ..target.clone() };
        let mut master = start_transient(&elsewhere).await?;
        master.notice.get_or_insert_with(|| not_kept(&error));
        return Ok(master);
    }
    if target.control_persist.is_zero() {
        return start_transient(target).await;
    }
    let place = ControlDirectory::for_target(target)?;
    if let Some(master) = place.live_master(target).await {
        return Ok(master);
    }
    let Some(_lock) = place.lock().await? else {
        return start_unshared(target).await;
    };
    // The holder of the lock before may have connected.
    match place.live_master(target).await {
        Some(master) => Ok(master),
        None => start_kept(target, &place).await,
    }
}

/// Gives up a master whose connection is dead and starts another.
pub(crate) async fn replace_master(target: &Target) -> Result<Master, LinkError> {
    let place = ControlDirectory::for_target(target)?;
    let Some(_lock) = place.lock().await? else {
        return start_unshared(target).await;
    };
    start_kept(target, &place).await
}

/// Starts a master of this run alone, as another process does not let go of the lock: no command waits for it.
async fn start_unshared(target: &Target) -> Result<Master, LinkError> {
    let mut master = start_transient(target).await?;
    let seconds = OTHER_RUN.as_secs();
    let error = format!("another process has held the socket directory's lock for {seconds}s");
    master.notice.get_or_insert_with(|| not_kept(&error));
    Ok(master)
}

async fn start_kept(target: &Target, place: &ControlDirectory) -> Result<Master, LinkError> {
    place.clear().await;
    let launched = launch_master(target, &place.socket, target.control_persist).await?;
    // Without it no other run uses this master; a full disk must not stop this one.
    let unwritten =
        own_files::replace_private_file(&place.verified, launched.verified.to_text().as_bytes())
            .err();
    let session = Session::resume_mux(place.socket.clone().into_boxed_path(), None);
    Ok(Master {
        session: Arc::new(session),
        verified: launched.verified,
        reused: false,
        transient: unwritten.is_some(),
        log: None,
        notice: launched.notice.or(unwritten.as_ref().map(|error| not_kept(error))),
    })
}

fn not_kept(error: &dyn std::fmt::Display) -> String {
    format!("The connection ends with this command and is not kept for the next: {error}")
}

/// A master of this run alone: its socket lies in a directory of its own, and dropping the session ends it. Should
/// this process be killed, ssh gives up by itself after half a minute.
async fn start_transient(target: &Target) -> Result<Master, LinkError> {
    let directory = tempfile::Builder::new()
        .prefix("k")
        .tempdir_in(&target.runtime_directory)
        .map_err(|error| directory_error(&target.runtime_directory, error.to_string()))?;
    // The name is the one that `openssh` looks for in the directory.
    let socket = directory.path().join("master");
    check_length(&socket)?;
    let launched = launch_master(target, &socket, Duration::from_secs(30)).await?;
    Ok(Master {
        session: Arc::new(Session::new_native_mux(directory)),
        verified: launched.verified,
        reused: false,
        transient: true,
        log: Some(launched.log),
        notice: launched.notice,
    })
}

/// What a master that has just started said.
struct Launched {
    verified: Verified,
    log: LogPipe,
    notice: Option<String>,
}

/// Runs ssh until it has authenticated and gone to the background, and checks the pin. Its log and its talk come through
/// pipes, of which a bounded part is kept: a server can make both endless. When the log's pipe is closed, ssh goes on
/// without a log.
async fn launch_master(
    target: &Target,
    socket: &Path,
    persist: Duration,
) -> Result<Launched, LinkError> {
    let chosen = agent_key::choose_key(target).await?;
    let arguments = ssh_arguments(target, socket, persist, &chosen)?;
    let local = |source| LinkError::Local { doing: "Starting ssh", source };
    let mut child = ssh_command(target, arguments, Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LinkError::SshMissing { program: target.ssh_program.clone() },
        _ => local(source),
    })?;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (log, talk) = pipes.ok_or_else(|| local(io::Error::other("it has no pipes")))?;
    let (log, talk) = (LogPipe::drain_pipe(log), LogPipe::drain_pipe(talk));
    let status = child.wait().await.map_err(local)?;
    let mut said = String::new();
    for _ in 0..LAST_WORDS {
        sleep(Duration::from_millis(1)).await;
        said = log.first_words();
        if said.contains("\nAuthenticated to ") {
            break;
        }
    }
    if !status.success() {
        return Err(openssh_log::explain_ssh_failure(
            &log.whole_text(),
            &talk.whole_text(),
            &log_context(target).await,
        )
        .with_notice(chosen.into_notice()));
    }
    let checked = match (openssh_log::presented_host_key(&said), &target.fingerprint) {
        (None, _) => Err(LinkError::SshFailed { said: "it did not show the host key".to_owned() }),
        (Some(key), Some(pin)) if key.fingerprint != *pin => Err(LinkError::PinMismatch {
            host: target.host.clone(),
            presented: key,
            pinned: pin.clone(),
        }),
        (Some(key), _) => Ok(key),
    };
    if checked.is_err() {
        stop_master(socket).await;
    }
    checked.map(|host_key| Launched {
        verified: Verified {
            host_key,
            peer: openssh_log::connected_peer(&said),
            recorded: openssh_log::recorded_key(&said),
        },
        log,
        notice: chosen.into_notice(),
    })
}

fn ssh_command(target: &Target, arguments: Vec<OsString>, stderr: Stdio) -> Command {
    let mut command = Command::new(&target.ssh_program);
    command
        .args(arguments)
        // The log is read for its texts.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .kill_on_drop(true);
    match &target.agent_socket {
        Some(agent) => command.env("SSH_AUTH_SOCK", agent),
        None => command.env_remove("SSH_AUTH_SOCK"),
    };
    command
}

/// Has ssh print what its own configuration says about a target (`-G`), which is given a key file or none: nothing, where it
/// cannot or takes too long.
pub(crate) async fn printed_configuration(target: &Target, identity: Option<&Path>) -> String {
    let arguments = configuration_arguments(target, identity);
    let output = arguments.map(|arguments| {
        ssh_command(target, arguments, Stdio::null()).stdout(Stdio::piped()).output()
    });
    let Ok(output) = output else { return String::new() };
    let output = timeout(ALIVE, output).await;
    let printed = output.ok().and_then(Result::ok).map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&printed).into_owned()
}

async fn log_context(target: &Target) -> LogContext<'_> {
    // ssh asks the user database for the home, not HOME, and its configuration may name other files.
    let printed = printed_configuration(target, None).await;
    let mut lines = printed.lines();
    let read = lines
        .find_map(|line| line.strip_prefix("userknownhostsfile "))
        .and_then(|files| files.split(' ').next());
    LogContext {
        host: &target.host,
        port: target.port,
        user: target.user.as_deref(),
        connect_seconds: target.connect_timeout.as_secs(),
        known_hosts: target
            .known_hosts
            .clone()
            .unwrap_or_else(|| read.unwrap_or("~/.ssh/known_hosts").into()),
        login: login_by_hand(target, target.user.as_deref(), target.known_hosts.as_deref()),
    }
}

/// Asks a master to end, and removes its socket.
async fn stop_master(socket: &Path) {
    if socket.exists() {
        let session = Session::resume_mux(socket.to_owned().into_boxed_path(), None);
        let _ = timeout(ALIVE, session.close()).await;
        let _ = fs::remove_file(socket);
    }
}

/// Where the socket of a target lies.
struct ControlDirectory {
    socket: PathBuf,
    lock: PathBuf,
    verified: PathBuf,
}

impl ControlDirectory {
    fn for_target(target: &Target) -> Result<Self, LinkError> {
        // A change of the configuration file may lead the same alias elsewhere.
        let stamp = target
            .ssh_config_file()
            .and_then(|path| fs::metadata(path).ok())
            .map(|found| (found.len(), found.mtime(), found.mtime_nsec()));
        let identity = format!(
            "{:?}",
            (
                (&target.host, target.port, &target.user, &target.identity, &target.known_hosts),
                (&target.fingerprint, &target.ssh_config, stamp, &target.ssh_program),
            )
        );
        let mut name = hexadecimal(&Sha256::digest(identity));
        name.truncate(16);
        let at = |suffix: &str| target.runtime_directory.join(format!("{name}{suffix}"));
        let place = Self { socket: at(""), lock: at(".lock"), verified: at(".key") };
        check_length(&place.socket)?;
        Ok(place)
    }

    /// Returns the master behind the socket, if it answers and its host key was verified.
    async fn live_master(&self, target: &Target) -> Option<Master> {
        // Another user may have put either there while the directory was open to others.
        own_files::check_not_foreign(&fs::symlink_metadata(&self.socket).ok()?).ok()?;
        let facts = plain_file::read_own_file(&self.verified, LARGEST_FACTS).ok()?;
        let verified = Verified::of_text(&String::from_utf8(facts).ok()?)?;
        if target.fingerprint.as_ref().is_some_and(|pin| verified.host_key.fingerprint != *pin) {
            return None;
        }
        let session = Session::resume_mux(self.socket.clone().into_boxed_path(), None);
        timeout(ALIVE, session.check()).await.ok()?.ok()?;
        Some(Master {
            session: Arc::new(session),
            verified,
            reused: true,
            transient: false,
            log: None,
            notice: None,
        })
    }

    /// Waits a moment for the right to start a master, which lasts as long as the file is open; the kernel takes it from a
    /// run that dies. Where files cannot be locked everybody has it, and the last socket wins. `None`: another process
    /// keeps it.
    async fn lock(&self) -> Result<Option<File>, LinkError> {
        let local = |source| LinkError::Local { doing: "Locking the socket directory", source };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = plain_file::open_own_file(&self.lock, &mut options).map_err(local)?;
        let deadline = Instant::now() + OTHER_RUN;
        while Instant::now() < deadline {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => sleep(POLL).await,
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Some(file));
                }
                Err(TryLockError::Error(error)) => return Err(local(error)),
            }
        }
        Ok(None)
    }

    /// Removes what a dead or unverified master has left; ends it if it still answers.
    async fn clear(&self) {
        let _ = fs::remove_file(&self.verified);
        // Another user's is not spoken to.
        let found = fs::symlink_metadata(&self.socket);
        if found.is_ok_and(|found| own_files::check_not_foreign(&found).is_err()) {
            let _ = fs::remove_file(&self.socket);
        }
        stop_master(&self.socket).await;
    }
}

/// Makes the directory of the sockets and refuses what is not this user's alone; returns why nothing can be written into it.
fn prepare_directory(path: &Path) -> Result<Option<io::Error>, LinkError> {
    let bad = |reason: String| directory_error(path, reason);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    if let Err(error) = made {
        return match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull => Ok(Some(error)),
            _ => Err(bad(error.to_string())),
        };
    }
    let found = fs::symlink_metadata(path).map_err(|error| bad(error.to_string()))?;
    if !found.is_dir() {
        return Err(bad("it is not a directory".to_owned()));
    }
    // Its owner owns the sockets in it; root too would use what another user has planted.
    own_files::check_own_directory(path).map_err(|error| bad(error.to_string()))?;
    if found.mode() & 0o077 != 0 {
        return Err(bad(format!(
            "others have access to it (mode {:o}) and may have put something into it; remove it, and kmsctl makes it anew",
            found.mode() & 0o777
        )));
    }
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::access(path, wanted).err().map(io::Error::from))
}

fn directory_error(path: &Path, reason: String) -> LinkError {
    LinkError::Directory { path: path.to_owned(), reason }
}

fn check_length(socket: &Path) -> Result<(), LinkError> {
    let directory = socket.parent().unwrap_or(socket);
    match socket.as_os_str().len() {
        length if length > LONGEST_PATH => Err(directory_error(
            directory,
            format!("its name is too long for a socket ({})", format_bytes(length as u64)),
        )),
        _ => Ok(()),
    }
}
