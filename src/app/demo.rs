//! The simulated firewall of `--demo`, and what lies outside it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{Context, Session};
use crate::domain::virusprot::block_log::BlockEvent;
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::settings::target::{Target, Transport};
use crate::settings::vantages::{Ssh, Vantage, VantageKind};
use crate::simulator;
use crate::simulator::{Scenario, SimulatedOutside, Simulator};

impl Context {
    /// Starts the simulated firewall on a free loopback port.
    pub async fn start_demo(&self) -> Result<Simulator> {
        self.start_demo_on(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_demo_on(&self, listen: std::net::SocketAddr) -> Result<Simulator> {
        let scenario = self.demo_scenario()?;
        let options = simulator::SimulatorOptions {
            directory: self.demo_directory(),
            listen,
            clock: self.clock,
            scenario,
        };
        let simulator = Simulator::start(options).await.map_err(Failure::from)?;
        if !simulator.keeps_state() {
            self.terminal.warn(&[Warning::new(
                "demo-shared",
                "Another kmsctl uses the simulated firewall; what happens here is not kept.",
            )]);
        }
        Ok(simulator)
    }

    /// On the demo, forgets the history of a simulated firewall that does not exist any more.
    pub fn forget_stale_history(&self) -> Result<()> {
        if !self.demo {
            return Ok(());
        }
        let scenario = self.demo_scenario()?;
        simulator::forget_stale_history(&self.demo_directory(), scenario, self.clock)?;
        Ok(())
    }

    fn demo_scenario(&self) -> Result<Option<Scenario>> {
        let Some(name) = self.environment.variable("KMSCTL_DEMO_SCENARIO") else {
            return Ok(None);
        };
        let names = || Scenario::ALL.map(Scenario::name).join(", ");
        let unknown = || {
            Failure::usage(format!("KMSCTL_DEMO_SCENARIO: there is no scenario `{name}`."))
                .hint(format!("There are: {}.", names()))
        };
        Scenario::named(name).map(Some).ok_or_else(unknown)
    }

    /// Returns the condition that the simulated firewall is in, or will be once it is started.
    pub fn demo_condition(&self) -> Scenario {
        let named = self.demo_scenario().ok().flatten();
        named.unwrap_or_else(|| simulator::saved_scenario(&self.demo_directory()))
    }

    /// Returns when the simulated firewall came to be, or now where it has not yet: what happens around it goes by that.
    pub fn demo_birth(&self) -> Timestamp {
        let scenario = self.demo_scenario().ok().flatten();
        simulator::birth(&self.demo_directory(), scenario, self.clock)
    }

    /// Returns what an exporter beside the simulated firewall would have recorded, with what one has `recorded` indeed.
    pub fn demo_block_events(&self, recorded: Vec<BlockEvent>) -> Vec<BlockEvent> {
        let scenario = self.demo_scenario().ok().flatten();
        simulator::block_events(&self.demo_directory(), scenario, self.clock, recorded)
    }

    pub fn public_address(&self) -> Option<IpAddr> {
        if self.demo {
            return Some(simulator::inside::public_address());
        }
        self.settings.public_address
    }

    /// Returns where the simulated firewall keeps its state.
    pub fn demo_directory(&self) -> PathBuf {
        self.environment.demo_directory(&self.demo_name)
    }

    /// Returns the vantages: those that are configured, or the simulated firewall's own. On the demo no other is used,
    /// as it would really connect.
    pub fn vantages(&self) -> Vec<Vantage> {
        if !self.demo {
            return self.settings.vantages.clone();
        }
        let (control, port) = simulator::outside::CONTROL;
        vec![Vantage {
            name: "vps".to_owned(),
            kind: VantageKind::Ssh(Ssh {
                host: simulator::outside::ADDRESS.to_string(),
                user: None,
                port: None,
                identity: None,
                known_hosts: None,
            }),
            address: Some(simulator::outside::ADDRESS),
            control: Some((control.to_owned(), port)),
        }]
    }

    /// Returns where the simulated vantage is logged in to; `None` but on the demo.
    pub async fn outside(&self, session: &Session) -> Result<Option<(Target, SimulatedOutside)>> {
        let Some(simulator) = &session.simulator else {
            return Ok(None);
        };
        let outside = simulator.outside().await.map_err(Failure::from)?;
        let target = Target {
            host: outside.address.ip().to_string(),
            port: Some(outside.address.port()),
            known_hosts: Some(outside.known_hosts.clone()),
            control_persist: Duration::ZERO,
            ..self.demo_target(simulator)
        };
        Ok(Some((target, outside)))
    }

    /// The demo is reached like a firewall: over SSH, with a checked host key and a key file; only in-process.
    pub(super) fn demo_target(&self, simulator: &Simulator) -> Target {
        Target {
            host: simulator.address().ip().to_string(),
            port: Some(simulator.address().port()),
            user: Some("admin".to_owned()),
            transport: Transport::Russh,
            identity: Some(simulator.client_key().to_owned()),
            known_hosts: Some(simulator.known_hosts().to_owned()),
            fingerprint: Some(simulator.host_key_fingerprint()),
            ssh_config: None,
            sudo: None,
            agent_socket: None,
            ..self.settings.firewall.target.clone()
        }
    }
}
