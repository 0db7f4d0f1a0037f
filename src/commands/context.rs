//! What every command is handed, and the one way to the firewall: connect, open one shell, ask.

use std::future::Future;
use std::path::PathBuf;

use crate::clock::Clock;
use crate::domain::blocked::Surroundings;
use crate::domain::warning::Warning;
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Fact, Paths, Question, Reading, Survey};
use crate::firewall::link::{Link, Secret, Target, Transport};
use crate::firewall::script::{Nonce, Word};
use crate::settings::{Become, Environment, Layers, Settings};
use crate::simulator::{self, Scenario, Simulator};
use crate::terminal::{Spinner, Terminal, View, prompt};

/// Everything a command works with; all of it decided before any connection.
pub struct Context {
    /// Where data and talk go.
    pub terminal: Terminal,
    /// The resolved settings.
    pub settings: Settings,
    /// The layers they came from.
    pub layers: Layers,
    /// The environment.
    pub environment: Environment,
    /// What time it is.
    pub clock: Clock,
    /// Use the simulated firewall.
    pub demo: bool,
    /// The file named by `--config`.
    pub config_named: Option<PathBuf>,
}

/// A connection with an open survey.
pub struct Opened {
    survey: Survey,
    link: Link,
    simulator: Option<Simulator>,
}

impl Opened {
    /// Returns the connection, for what it can tell about itself.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Says good-bye; the simulated firewall saves its state.
    pub async fn close(self) -> Result<()> {
        self.survey.close().await;
        self.link.close().await;
        match self.simulator {
            Some(simulator) => simulator.stop().await.map_err(Failure::from),
            None => Ok(()),
        }
    }
}

impl Context {
    /// Asks the questions once and closes the connection.
    pub async fn read(&self, questions: &[Question]) -> Result<Reading> {
        let mut opened = self.open(questions).await?;
        let reading = self.ask(&mut opened).await;
        let closed = opened.close().await;
        let reading = reading?;
        closed.map(|()| reading)
    }

    /// Connects and opens one shell that can answer the questions, within the time-out.
    pub async fn open(&self, questions: &[Question]) -> Result<Opened> {
        let simulator = if self.demo {
            Some(self.start_demo().await?)
        } else {
            None
        };
        let target = simulator
            .as_ref()
            .map_or_else(|| self.target(), |simulator| self.demo_target(simulator));
        let spinner = self
            .terminal
            .spinner(&format!("Connecting to {} …", self.firewall_name()));
        let opened = self
            .within_time(self.open_at(&target, questions, &spinner))
            .await;
        spinner.finish_and_clear();
        let (survey, link) = opened?;
        Ok(Opened {
            survey,
            link,
            simulator,
        })
    }

    /// Asks once more over an open shell, within the time-out.
    pub async fn ask(&self, opened: &mut Opened) -> Result<Reading> {
        self.within_time(opened.survey.read()).await
    }

    /// Returns the name that output gives the firewall.
    pub fn firewall_name(&self) -> &str {
        if self.demo {
            "demo"
        } else {
            &self.settings.firewall.host
        }
    }

    /// Makes a view about the firewall with the reading's time and its parsers' complaints.
    pub fn view(
        &self,
        schema: &'static str,
        reading: &Reading,
        data: &impl serde::Serialize,
    ) -> Result<View> {
        let mut view = View::new(schema, reading.clock.now, data)?;
        view.firewall = Some(self.firewall_name().to_owned());
        if let Some((program, line)) = reading.unread.first() {
            let more = reading.unread.len() - 1;
            let others = if more > 0 {
                format!(" (and {more} more)")
            } else {
                String::new()
            };
            view.warnings.push(Warning::new(
                "unread-output",
                format!("{program} printed a line kmsctl does not understand, which is left out{others}: {}", line.text),
            ));
        }
        Ok(view)
    }

    /// Returns what lies around the firewall, as far as this reading tells.
    pub fn surroundings(&self, reading: &Reading) -> Surroundings {
        Surroundings {
            interfaces: reading.interfaces.clone(),
            gateways: reading.gateway.into_iter().collect(),
            operator: reading.client,
            protected: self.settings.networks.protected.clone(),
        }
    }

    /// Starts the simulated firewall on a free loopback port.
    pub async fn start_demo(&self) -> Result<Simulator> {
        self.start_demo_on(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
    }

    /// Starts the simulated firewall on an address.
    pub async fn start_demo_on(&self, listen: std::net::SocketAddr) -> Result<Simulator> {
        let scenario = self.demo_scenario()?;
        let options = simulator::Options {
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

    fn demo_scenario(&self) -> Result<Option<Scenario>> {
        let Some(name) = self.environment.variable("KMSCTL_DEMO_SCENARIO") else {
            return Ok(None);
        };
        let names = || Scenario::ALL.map(Scenario::name).join(", ");
        let unknown = || {
            Failure::usage(format!(
                "KMSCTL_DEMO_SCENARIO: there is no scenario `{name}`."
            ))
            .hint(format!("There are: {}.", names()))
        };
        Scenario::parse(name).map(Some).ok_or_else(unknown)
    }

    /// Returns where the simulated firewall keeps its state.
    pub fn demo_directory(&self) -> PathBuf {
        self.settings.state_directory.join("demo")
    }

    async fn open_at(
        &self,
        target: &Target,
        questions: &[Question],
        spinner: &Spinner,
    ) -> Result<(Survey, Link)> {
        let ask = |question: &str| {
            spinner.finish_and_clear();
            prompt::secret(self.terminal, question).map(Secret::new)
        };
        let nonce = random_nonce()?;
        let paths = self.paths();
        let script = Survey::script(questions, &self.settings.service, &paths, &nonce);
        let mut link = Link::connect(target, &ask).await?;
        let shell = link.shell(&script).await?;
        let survey = Survey::new(
            shell,
            questions,
            self.settings.service.clone(),
            paths,
            nonce,
        );
        Ok((survey, link))
    }

    /// The simulated firewall has pfSense's own paths, whatever is configured for the real one.
    fn paths(&self) -> Paths {
        if self.demo {
            return Paths {
                crontab: Word::fixed("/etc/crontab"),
                pfctl: Word::fixed("/sbin/pfctl"),
                php: Word::fixed("/usr/local/bin/php"),
            };
        }
        let firewall = &self.settings.firewall;
        Paths {
            crontab: firewall.crontab.clone(),
            pfctl: firewall.pfctl.clone(),
            php: firewall.php.clone(),
        }
    }

    async fn within_time<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        let seconds = self.settings.timeout.as_secs();
        let answered = tokio::select! {
            answered = tokio::time::timeout(self.settings.timeout, work) => answered,
            () = interrupted() => return Err(Failure::new(Kind::Interrupted, "Interrupted.")),
        };
        match answered {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Failure::unreachable(format!(
                "{} did not answer within {seconds} s.",
                self.firewall_name()
            ))
            .hint("Give it more time with --timeout, or look whether the firewall is busy.")),
        }
    }

    fn target(&self) -> Target {
        let firewall = &self.settings.firewall;
        Target {
            host: firewall.host.clone(),
            port: firewall.port,
            user: firewall.user.clone(),
            transport: firewall.transport,
            identity: firewall.identity.clone(),
            ssh_config: firewall.ssh_config.clone(),
            known_hosts: firewall.known_hosts.clone(),
            fingerprint: firewall.fingerprint.clone(),
            connect_timeout: firewall.connect_timeout,
            control_persist: firewall.control_persist,
            runtime_directory: firewall.runtime_directory.clone(),
            sudo: match &firewall.r#become {
                Become::Sudo(sudo) => Some(sudo.clone()),
                Become::No => None,
            },
            home: self.environment.home.clone(),
            agent_socket: self.environment.agent_socket.clone(),
            ssh_program: PathBuf::from("ssh"),
        }
    }

    /// The demo is reached like a firewall: over SSH, with a checked host key and a key file; only in-process.
    fn demo_target(&self, simulator: &Simulator) -> Target {
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
            ..self.target()
        }
    }
}

/// Returns the fact, or fails the command with the reason: for facts a command is nothing without.
pub fn needed<T>(fact: &Fact<T>) -> Result<&T> {
    fact.as_ref().map_err(Failure::from)
}

/// Returns the fact, or `None` and a warning that names what is missing from the answer.
pub fn wanted<'a, T>(fact: &'a Fact<T>, what: &str, warnings: &mut Vec<Warning>) -> Option<&'a T> {
    match fact {
        Ok(value) => Some(value),
        Err(error) => {
            warnings.push(Warning::new(
                "fact-missing",
                format!("{what}: unknown, as {error}."),
            ));
            None
        }
    }
}

/// Returns a fresh random nonce.
fn random_nonce() -> Result<Nonce> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::failed(format!("This machine gives no random numbers: {error}."))
    })?;
    Ok(Nonce::new(bytes))
}

/// Waits for Ctrl-C; for ever, where signals cannot be waited for.
pub async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
