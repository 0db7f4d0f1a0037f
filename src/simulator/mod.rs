//! The embedded firewall: pf's tables, rules, states and overload in memory, the answers of pfctl and of
//! the agent, served over real SSH on loopback. It is `--demo`, `demo serve`, and the tests' firewall.
//!
//! [`Simulator`] is the whole of it for the rest of the program. Inside: `world` lives (events in order of
//! time, `traffic` lists who acts, `warm` what counted unwatched), `pf` is the packet filter, `scenario` the
//! box it is loaded for, `shell`, `pfctl` and `agent` answer, `server` carries, `store` keeps. [`cluster`], [`inside`]
//! and [`outside`] are what lies behind the box, beside it and before it.

mod agent;
mod block_history;
pub mod cluster;
mod configuration;
pub mod inside;
pub mod outside;
mod pf;
mod pfctl;
mod random;
mod scenario;
mod server;
mod shell;
mod store;
mod traffic;
mod warm;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::domain::virusprot::block_log::BlockEvent;
use crate::error::{Failure, FailureKind};
use crate::text::whole_second;
pub use scenario::Scenario;
use server::SharedWorld;
use store::{CLIENT_KEY, HOST_KEY, SavedBirth, WorldStore};
use world::World;

/// The seed of every box, so that equal moments show equal boxes.
const SEED: u64 = 0x6b6d_7363_746c;
/// How often a long run saves.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// A saved world this much ahead of the clock (milliseconds) belongs to another time and is not taken up.
const AHEAD: i64 = 60_000;

/// How to run the box.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Where it keeps its state and keys (0700).
    pub directory: PathBuf,
    /// Where it listens; loopback only, port 0 for any free one.
    pub listen: SocketAddr,
    /// Its time. A clock that stands still makes everything reproducible, to the byte.
    pub clock: Clock,
    /// The box's condition; `None` takes up the saved one, or [`Scenario::Open`].
    pub scenario: Option<Scenario>,
}

/// Why the box does not run.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address to listen on is not loopback.
    #[error("the simulated firewall listens on loopback only, not on {address}")]
    NotLoopback { address: SocketAddr },
    #[error("the simulated firewall cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// A file or the directory cannot be used.
    #[error("the simulated firewall cannot use {}: {source}", path.display())]
    Files { path: PathBuf, source: std::io::Error },
    /// A file of an earlier run makes no sense.
    #[error("the simulated firewall cannot read {}: {why}", path.display())]
    Corrupt { path: PathBuf, why: String },
    /// Another run uses the directory, and what is asked for cannot be shared.
    #[error("another kmsctl is running the simulated firewall in {}", path.display())]
    Busy { path: PathBuf },
}

impl From<SimulatorError> for Failure {
    fn from(error: SimulatorError) -> Self {
        let (kind, hint) = match &error {
            SimulatorError::NotLoopback { .. } => (
                FailureKind::Usage,
                "Listen on 127.0.0.1:PORT; reach it from elsewhere through an SSH tunnel.",
            ),
            SimulatorError::Listen { .. } => {
                (FailureKind::Failed, "Choose another port, or port 0 for any free one.")
            }
            SimulatorError::Files { .. } => {
                (FailureKind::Failed, "Check the owner and the free space of that directory.")
            }
            SimulatorError::Corrupt { .. } => {
                (FailureKind::Failed, "Run `kmsctl demo reset` to start with a new one.")
            }
            SimulatorError::Busy { .. } => {
                (FailureKind::Failed, "End the other run and try again.")
            }
        };
        Self::new(kind, format!("{error}.")).hint(hint).with_cause(error)
    }
}

#[derive(Debug)]
pub struct SimulatedOutside {
    /// Where it listens: loopback.
    pub address: SocketAddr,
    pub known_hosts: PathBuf,
}

impl Drop for SimulatedOutside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.known_hosts);
    }
}

/// A running box.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    fingerprint: String,
    known_hosts: PathBuf,
    client_key: PathBuf,
    store: WorldStore,
    host_key: PrivateKey,
    shared: Arc<SharedWorld>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Starts the box: takes up where the last run ended, catches up with the clock, listens.
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        let address = options.listen;
        if !address.ip().is_loopback() {
            return Err(SimulatorError::NotLoopback { address });
        }
        let store = WorldStore::open(&options.directory).await?;
        let host_key = store.key(HOST_KEY)?;
        store.key(CLIENT_KEY)?;
        let shared = Arc::new(SharedWorld::new(take_up(&store, &options)?, options.clock));
        let fail = |source| SimulatorError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let known_hosts =
            store.known_hosts(address.port(), &known_hosts_line(address, host_key.public_key()))?;
        let fingerprint = host_key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let (stop, stopped) = watch::channel(false);
        let config = Arc::new(server::server_config(host_key.clone()));
        let task = tokio::spawn(server::serve_ssh(
            listener,
            config,
            Arc::clone(&shared),
            stopped,
            server::ServedClient::new,
        ));
        let client_key = store.path(CLIENT_KEY);
        Ok(Self {
            address,
            fingerprint,
            known_hosts,
            client_key,
            store,
            host_key,
            shared,
            stop,
            task,
        })
    }

    /// Lets a host outside be logged in to as well (see [`outside`]), until this box stops.
    pub async fn outside(&self) -> Result<SimulatedOutside, SimulatorError> {
        let address = SocketAddr::new(self.address.ip(), 0);
        let fail = |source| SimulatorError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let line = known_hosts_line(address, self.host_key.public_key());
        let known_hosts = self.store.known_hosts(address.port(), &line)?;
        tokio::spawn(server::serve_ssh(
            listener,
            Arc::new(server::server_config(self.host_key.clone())),
            Arc::clone(&self.shared),
            self.stop.subscribe(),
            outside::OutsideClient::new,
        ));
        Ok(SimulatedOutside { address, known_hosts })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the fingerprint of its host key, as `SHA256:…`.
    pub fn host_key_fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// Returns a known_hosts file that names exactly its address, port and key.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    /// Returns the file of an ed25519 key to log in with; any other key will do, too.
    pub fn client_key(&self) -> &Path {
        &self.client_key
    }

    /// Returns whether this run keeps its state; if not, another run uses the directory, and the caller warns.
    pub fn keeps_state(&self) -> bool {
        self.store.writable()
    }

    /// Serves until the future is dropped, saving now and then. The caller waits for ctrl-C beside it, and
    /// calls [`Simulator::stop`].
    pub async fn wait(&mut self) -> Result<(), SimulatorError> {
        loop {
            tokio::select! {
                _ = &mut self.task => return Ok(()),
                () = tokio::time::sleep(SAVE_EVERY) => self.save()?,
            }
        }
    }

    /// Ends all connections and saves the box.
    pub async fn stop(mut self) -> Result<(), SimulatorError> {
        let _ = self.stop.send(true);
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
        self.save()
    }

    fn save(&self) -> Result<(), SimulatorError> {
        self.store.save(&self.shared.world())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
        let _ = self.stop.send(true);
        let _ = std::fs::remove_file(&self.known_hosts);
    }
}

/// Forgets the box in this directory and its history; says whether there was one.
pub fn reset_simulator(directory: &Path) -> Result<bool, SimulatorError> {
    store::reset_store(directory)
}

/// Returns the condition of the saved box, or that of a new one.
pub fn saved_scenario(directory: &Path) -> Scenario {
    store::saved_world(directory).map_or_else(Scenario::default, |saved: SavedBirth| saved.scenario)
}

/// Returns when the saved box came to be, in whole seconds; now where none would be taken up.
pub fn birth(directory: &Path, scenario: Option<Scenario>, clock: Clock) -> Timestamp {
    let now = clock.now();
    let saved: Option<SavedBirth> = store::saved_world(directory);
    let saved = saved.filter(|saved| {
        let is_asked = scenario.is_none_or(|scenario| scenario == saved.scenario);
        is_asked && saved.born > 0 && saved.now <= now.as_millisecond() + AHEAD
    });
    let born = saved.and_then(|saved| Timestamp::from_millisecond(saved.born).ok());
    whole_second(born.unwrap_or(now))
}

/// Returns what an exporter beside the box would have recorded, oldest first: the day before it came to be, who is blocked
/// now, where there is a box already, and what one has `recorded` indeed.
pub fn block_events(
    directory: &Path,
    scenario: Option<Scenario>,
    clock: Clock,
    recorded: Vec<BlockEvent>,
) -> Vec<BlockEvent> {
    let now = clock.now().as_millisecond();
    let mut events = block_history::past_block_events(birth(directory, scenario, clock));
    // An exporter finds at its first look who is blocked already.
    let of = |event: &BlockEvent| (event.event, event.address.clone(), event.since);
    let known: Vec<_> = recorded.iter().map(of).collect();
    events.extend(recorded);
    if let Ok(mut world) = usable_world(store::saved_world(directory), scenario, now) {
        world.advance_to(now);
        let present = block_history::present_block_events(&world).into_iter();
        events.extend(present.filter(|event| !known.contains(&of(event))));
    }
    events
}

/// Forgets a history of another box than the one that would be started now: nothing in it ever happened to
/// that one. Not while another run uses the directory.
pub fn forget_stale_history(
    directory: &Path,
    scenario: Option<Scenario>,
    clock: Clock,
) -> Result<(), SimulatorError> {
    let Some(store) = WorldStore::open_now(directory)? else {
        return Ok(());
    };
    let now = clock.now().as_millisecond();
    if usable_world(store.load()?, scenario, now).is_err() {
        store.forget_history()?;
    }
    Ok(())
}

/// Returns the saved world, or the scenario of a new one if there is none, if it is of another scenario, or of a time to come.
fn usable_world(
    saved: Option<World>,
    scenario: Option<Scenario>,
    now: i64,
) -> Result<World, Scenario> {
    let scenario = scenario.or(saved.as_ref().map(|world| world.scenario)).unwrap_or_default();
    saved.filter(|world| world.scenario == scenario && world.now <= now + AHEAD).ok_or(scenario)
}

/// Takes up the saved world, or makes a new one, which has no history.
fn take_up(store: &WorldStore, options: &SimulatorOptions) -> Result<World, SimulatorError> {
    let now = options.clock.now().as_millisecond();
    let mut world = match usable_world(store.load()?, options.scenario, now) {
        Ok(world) => world,
        Err(scenario) => {
            store.forget_history()?;
            World::fresh_world(scenario, SEED, now)
        }
    };
    world.advance_to(now);
    Ok(world)
}

fn known_hosts_line(address: SocketAddr, key: &PublicKey) -> String {
    let host = match address.port() {
        22 => address.ip().to_string(),
        port => format!("[{}]:{port}", address.ip()),
    };
    format!("{host} {}\n", key.to_openssh().unwrap_or_default())
}
