//! The settings with their types: what every command works with. No layer is visible from here on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::environment::Environment;
use super::layers::Layers;
use super::target::{Target, Transport};
use super::values;
use super::vantages::{self, Vantage};
use crate::domain::cluster::objects::ObjectNames;
use crate::domain::pf::table::TableName;
use crate::domain::ratelimit::{Caps, Preset};
use crate::domain::service::Service;
use crate::domain::shell_word::ShellWord;
use crate::error::{Failure, Result};

/// Everything a command needs to know, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How data is printed: a word of `--output`.
    pub output: String,
    /// When colour is used: a word of `--color`.
    pub color: String,
    /// Deadline of one read or change.
    pub timeout: Duration,
    /// The firewall and how to reach it.
    pub firewall: Firewall,
    /// What is exposed.
    pub service: Service,
    /// Named caps; `default`, `tighten` and `loosen` are always there.
    pub presets: Vec<Preset>,
    /// The cluster's networks, and those that must never be blocked.
    pub networks: Networks,
    /// The cluster behind the service.
    pub cluster: Cluster,
    /// What the path is verified with.
    pub verify: Verify,
    /// Places outside to try from, by name.
    pub vantages: Vec<Vantage>,
    /// Where kmsctl keeps its state; `None` where the environment names no place.
    pub state_directory: Option<PathBuf>,
}

/// The cluster and the names of what is looked at in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// There is one to ask.
    pub configured: bool,
    /// The kubectl program.
    pub kubectl: String,
    /// kubectl's configuration file; `None` leaves it to kubectl.
    pub kubeconfig: Option<PathBuf>,
    /// kubectl's context; `None` is the current one.
    pub context: Option<String>,
    /// Namespace of the service.
    pub namespace: String,
    /// Deadline of one question.
    pub timeout: Duration,
    /// The names in it.
    pub names: ObjectNames,
    /// Namespace of MetalLB.
    pub metallb_namespace: String,
}

/// What verifying the path needs beyond the service itself.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    /// Name servers to ask beside the system's resolver.
    pub resolvers: Vec<SocketAddr>,
    /// The address that the public name should have, where the operator said so.
    pub public_address: Option<IpAddr>,
}

/// The firewall: how to reach it, and where things are there.
#[derive(Clone, Debug)]
pub struct Firewall {
    /// How to reach it.
    pub target: Target,
    /// Path of the crontab there.
    pub crontab: ShellWord,
    /// Path of pfctl there.
    pub pfctl: ShellWord,
    /// Path of PHP there.
    pub php: ShellWord,
}

/// Networks the operator named.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Pods of the cluster.
    pub pods: Vec<IpNet>,
    /// Nodes of the cluster.
    pub nodes: Vec<IpNet>,
    /// Never to be blocked.
    pub protected: Vec<IpNet>,
}

impl Settings {
    /// Gives the layered texts their types. Texts were checked when they were layered, so a failure names a
    /// rule that spans keys.
    pub fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let broken = |path: &str, problem: String| {
            Failure::usage(format!("Wrong value for `{path}`: {problem}."))
        };
        let duration = |path: &str| {
            values::parse_duration(layers.key_text(path)).map_err(|problem| broken(path, problem))
        };
        let table = TableName::new(layers.key_text("service.table"))
            .ok_or_else(|| broken("service.table", "it is not a table name".to_owned()))?;
        let port = |path: &str| {
            layers
                .key_text(path)
                .parse::<u16>()
                .map_err(|error| broken(path, error.to_string()))
        };
        Ok(Self {
            output: layers.key_text("output").to_owned(),
            color: layers.key_text("color").to_owned(),
            timeout: duration("timeout")?,
            firewall: Firewall::resolve(layers, environment)?,
            service: Service {
                alias: layers.key_text("service.alias").to_owned(),
                address: values::parse_address(layers.key_text("service.address"))
                    .map_err(|problem| broken("service.address", problem))?,
                port: port("service.port")?,
                interface: layers.key_text("service.interface").to_owned(),
                outside: name_list(layers, "firewall.outside"),
                description: layers.key_text("service.description").to_owned(),
                host: layers.key_text("service.host").to_owned(),
                table,
            },
            presets: resolve_presets(layers)?,
            networks: Networks {
                pods: parse_networks(layers, "networks.pods")?,
                nodes: parse_networks(layers, "networks.nodes")?,
                protected: parse_networks(layers, "networks.protected")?,
            },
            cluster: Cluster::resolve(layers, environment)?,
            verify: Verify::resolve(layers),
            vantages: vantages::resolve_vantages(layers, environment)?,
            state_directory: environment.state_directory(),
        })
    }
}

impl Firewall {
    fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let text = |path: &str| Some(layers.key_text(path)).filter(|text| !text.is_empty());
        let file = |path: &str| text(path).map(|path| environment.expand(path));
        let broken = |path: &str, problem: &str| {
            Failure::usage(format!("Wrong value for `{path}`: {problem}."))
        };
        let program = |path: &str| {
            ShellWord::path(layers.key_text(path))
                .ok_or_else(|| broken(path, "it is not a plain path"))
        };
        let duration = |path: &str| {
            values::parse_duration(layers.key_text(path)).map_err(|problem| broken(path, &problem))
        };
        let target =
            Target {
                host: layers.key_text("firewall.host").to_owned(),
                user: text("firewall.user").map(str::to_owned),
                port: layers.key_text("firewall.port").parse().ok().filter(|_| {
                    is_set(layers, "firewall.port") || !is_set(layers, "firewall.host")
                }),
                transport: match layers.key_text("firewall.transport") {
                    "openssh" => Transport::OpenSsh,
                    "russh" => Transport::Russh,
                    _ => Transport::Auto,
                },
                identity: file("firewall.identity"),
                ssh_config: file("firewall.ssh_config"),
                known_hosts: file("firewall.known_hosts"),
                fingerprint: text("firewall.fingerprint").map(str::to_owned),
                connect_timeout: duration("firewall.connect_timeout")?,
                control_persist: duration("firewall.control_persist")?,
                runtime_directory: environment.runtime_directory(),
                sudo: match layers.key_text("firewall.become") {
                    "sudo" => Some(program("firewall.paths.sudo")?),
                    _ => None,
                },
                home: environment.home.clone(),
                agent_socket: environment.agent_socket.clone(),
                ssh_program: PathBuf::from("ssh"),
            };
        Ok(Self {
            target,
            crontab: program("firewall.paths.crontab")?,
            pfctl: program("firewall.paths.pfctl")?,
            php: program("firewall.paths.php")?,
        })
    }
}

impl Cluster {
    fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let text = |path: &str| Some(layers.key_text(path)).filter(|text| !text.is_empty());
        // These become arguments of kubectl: one that looks like a flag would be taken for one.
        let name = |path: &str| match layers.key_text(path) {
            text if text.is_empty() || text.starts_with('-') => Err(Failure::usage(format!(
                "Wrong value for `{path}`: `{text}` is not a name."
            ))),
            text => Ok(text.to_owned()),
        };
        let named = text("cluster.context").is_some() || text("cluster.kubeconfig").is_some();
        Ok(Self {
            configured: match layers.key_text("cluster.enabled") {
                "yes" => true,
                "no" => false,
                _ => named,
            },
            kubectl: name("cluster.kubectl")?,
            kubeconfig: text("cluster.kubeconfig").map(|path| environment.expand(path)),
            context: text("cluster.context").map(str::to_owned),
            namespace: name("cluster.namespace")?,
            timeout: values::parse_duration(layers.key_text("cluster.timeout")).map_err(
                |problem| Failure::usage(format!("Wrong value for `cluster.timeout`: {problem}.")),
            )?,
            names: ObjectNames {
                service: name("cluster.service")?,
                deployment: name("cluster.deployment")?,
                selector: name("cluster.selector")?,
                server: name("cluster.server_container")?,
                notifier: name("cluster.notifier_container")?,
            },
            metallb_namespace: name("cluster.metallb_namespace")?,
        })
    }
}

impl Verify {
    fn resolve(layers: &Layers) -> Self {
        let resolvers = layers
            .key_text("verify.resolvers")
            .split(',')
            .map(str::trim);
        Self {
            resolvers: resolvers
                .filter_map(|text| values::parse_resolver(text).ok())
                .collect(),
            public_address: layers.key_text("service.public_address").parse().ok(),
        }
    }
}

/// Returns whether any layer above the built-in one gave the key; a Host of ssh_config brings its own port.
fn is_set(layers: &Layers, path: &str) -> bool {
    layers
        .values
        .get(path)
        .is_some_and(|value| value.origin != super::layers::Origin::Default)
}

fn name_list(layers: &Layers, path: &str) -> Vec<String> {
    let parts = layers.key_text(path).split(',').map(str::trim);
    let names = parts.filter(|part| !part.is_empty());
    names.map(str::to_owned).collect()
}

fn parse_networks(layers: &Layers, path: &str) -> Result<Vec<IpNet>> {
    let parts = layers
        .key_text(path)
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| values::parse_network(part).map_err(Failure::usage))
        .collect()
}

fn resolve_presets(layers: &Layers) -> Result<Vec<Preset>> {
    let mut fields: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for (path, value) in &layers.values {
        let Some((name, field)) = path
            .strip_prefix("presets.")
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let entry = fields.entry(name).or_default();
        match field {
            "max_src_conn" => entry.0 = Some(&value.text),
            _ => entry.1 = Some(&value.text),
        }
    }
    let preset = |(name, (connections, rate)): (&str, (Option<&str>, Option<&str>))| {
        let wrong = |problem: &str| Failure::usage(format!("The preset `{name}` {problem}."));
        Ok(Preset {
            name: name.to_owned(),
            caps: Caps {
                max_src_conn: connections
                    .map(|text| {
                        text.parse()
                            .map_err(|_| wrong("has a max_src_conn that is no number"))
                    })
                    .transpose()?,
                rate: rate
                    .map(|text| values::parse_rate(text).map_err(|problem| wrong(&problem)))
                    .transpose()?,
            },
        })
    };
    fields.into_iter().map(preset).collect()
}
