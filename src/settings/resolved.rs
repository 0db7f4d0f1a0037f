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
    pub firewall: Firewall,
    pub service: Service,
    /// Named caps; `default`, `tighten` and `loosen` are always there.
    pub presets: Vec<Preset>,
    /// The cluster's networks, and those that must never be blocked.
    pub networks: Networks,
    pub cluster: Cluster,
    pub verify: Verify,
    /// Places outside to try from, by name.
    pub vantages: Vec<Vantage>,
    /// Where kmsctl keeps its state; `None` where the environment names no place.
    pub state_directory: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Cluster {
    pub configured: bool,
    pub kubectl: String,
    /// kubectl's configuration file; `None` leaves it to kubectl.
    pub kubeconfig: Option<PathBuf>,
    /// kubectl's context; `None` is the current one.
    pub context: Option<String>,
    pub namespace: String,
    /// Deadline of one question.
    pub timeout: Duration,
    pub names: ObjectNames,
    pub metallb_namespace: String,
}

/// What verifying the path needs beyond the service itself.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    /// Name servers to ask beside the system's resolver.
    pub resolvers: Vec<SocketAddr>,
    pub public_address: Option<IpAddr>,
}

/// The firewall: how to reach it, and where things are there.
#[derive(Clone, Debug)]
pub struct Firewall {
    pub target: Target,
    /// The context of the other node, where it is one of a pair.
    pub peer: Option<String>,
    pub crontab: ShellWord,
    pub pfctl: ShellWord,
    /// The sudo that pfctl's lists alone go through: the account changes nothing.
    pub pfctl_sudo: Option<ShellWord>,
    pub php: ShellWord,
}

#[derive(Clone, Debug, Default)]
pub struct Networks {
    pub pods: Vec<IpNet>,
    pub nodes: Vec<IpNet>,
    /// Never to be blocked.
    pub protected: Vec<IpNet>,
}

impl Settings {
    /// Gives the layered texts their types. Texts were checked when they were layered, so a failure names a
    /// rule that spans keys.
    pub fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let text = |path: &str| layers.key_text(path).to_owned();
        let networks = |path: &str| {
            let parts = layers.key_parts(path).map(values::parse_network);
            parts.collect::<Result<_, _>>().map_err(Failure::usage)
        };
        Ok(Self {
            output: text("output"),
            color: text("color"),
            timeout: layers.parse_key("timeout", values::parse_duration)?,
            firewall: Firewall::resolve(layers, environment)?,
            service: Service {
                alias: text("service.alias"),
                address: layers.parse_key("service.address", values::parse_address)?,
                port: layers.parse_key("service.port", values::parse_port)?,
                interface: text("service.interface"),
                outside: layers.key_parts("firewall.outside").map(str::to_owned).collect(),
                description: text("service.description"),
                host: text("service.host"),
                table: layers.parse_key("service.table", values::parse_table_name)?,
                speaks_kms: layers.key_text("service.protocol") == "kms",
            },
            presets: resolve_presets(layers)?,
            networks: Networks {
                pods: networks("networks.pods")?,
                nodes: networks("networks.nodes")?,
                protected: networks("networks.protected")?,
            },
            cluster: Cluster::resolve(layers, environment)?,
            verify: Verify {
                resolvers: layers
                    .key_parts("verify.resolvers")
                    .filter_map(|part| values::parse_resolver(part).ok())
                    .collect(),
                public_address: layers.key_text("service.public_address").parse().ok(),
            },
            vantages: vantages::resolve_vantages(layers, environment)?,
            state_directory: environment.state_directory(),
        })
    }
}

impl Firewall {
    fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let text = |path: &str| layers.given_text(path);
        let file = |path: &str| text(path).map(|path| environment.expand(path));
        let program = |path: &str| layers.parse_key(path, values::parse_remote_path);
        let duration = |path: &str| layers.parse_key(path, values::parse_duration);
        let target = Target {
            host: layers.key_text("firewall.host").to_owned(),
            user: text("firewall.user").map(str::to_owned),
            port: layers.key_text("firewall.port").parse().ok().filter(|_| {
                // A Host of ssh_config brings its own port.
                layers.names_key("firewall.port") || !layers.names_key("firewall.host")
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
            peer: layers.peer_context()?.map(str::to_owned),
            crontab: program("firewall.paths.crontab")?,
            pfctl: program("firewall.paths.pfctl")?,
            pfctl_sudo: match layers.key_text("firewall.become") {
                "sudo-pfctl" => Some(program("firewall.paths.sudo")?),
                _ => None,
            },
            php: program("firewall.paths.php")?,
        })
    }
}

impl Cluster {
    fn resolve(layers: &Layers, environment: &Environment) -> Result<Self> {
        let text = |path: &str| layers.given_text(path);
        let name = |path: &str| layers.parse_key(path, values::parse_object_name);
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
            timeout: layers
                .parse_key("cluster.timeout", values::parse_duration)?
                .min(layers.parse_key("timeout", values::parse_duration)?),
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

fn resolve_presets(layers: &Layers) -> Result<Vec<Preset>> {
    let preset = |(name, fields): (&str, BTreeMap<&str, &str>)| {
        let wrong = |problem: &str| Failure::usage(format!("The preset `{name}` {problem}."));
        let connections = fields
            .get("max_src_conn")
            .map(|text| text.parse().map_err(|_| wrong("has a max_src_conn that is no number")));
        let rate = fields
            .get("rate")
            .map(|text| values::parse_rate(text).map_err(|problem| wrong(&problem)));
        Ok(Preset {
            name: name.to_owned(),
            caps: Caps { max_src_conn: connections.transpose()?, rate: rate.transpose()? },
        })
    };
    let presets = layers.named_fields("presets");
    presets.into_iter().map(preset).collect()
}
