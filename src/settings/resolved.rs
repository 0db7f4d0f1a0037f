//! The settings with their types: what every command works with. No layer is visible from here on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::keys::{COLORS, OUTPUTS, SettingsReader, key};
use super::target::{Target, Transport};
use super::values::{
    parse_account, parse_address, parse_connections, parse_duration, parse_fingerprint,
    parse_given, parse_host, parse_list, parse_name, parse_networks, parse_object_name,
    parse_optional, parse_period, parse_port, parse_rate, parse_remote_path, parse_resolver,
    parse_table_name, parse_text, parse_word,
};
use super::vantages::Vantage;
use crate::domain::cluster::objects::ObjectNames;
use crate::domain::notifier::decide::DecisionRules;
use crate::domain::pf::rule::Rate;
use crate::domain::ratelimit::{Caps, Preset};
use crate::domain::service::Service;
use crate::domain::shell_word::ShellWord;
use crate::error::Result;

/// Everything a command needs to know, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    pub output: &'static str,
    pub color: &'static str,
    pub timeout: Duration,
    pub firewall: Firewall,
    pub service: Service,
    /// Named caps; `default`, `tighten` and `loosen` are always there.
    pub presets: Vec<Preset>,
    pub networks: Networks,
    pub cluster: Cluster,
    /// Name servers to ask beside the system's resolver.
    pub resolvers: Vec<SocketAddr>,
    /// The address that the public name should have.
    pub public_address: Option<IpAddr>,
    pub vantages: Vec<Vantage>,
    /// Where kmsctl keeps its state; `None` where the environment names no place.
    pub state_directory: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Cluster {
    pub configured: bool,
    pub kubectl: String,
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub namespace: String,
    pub timeout: Duration,
    pub names: ObjectNames,
    pub metallb_namespace: String,
}

/// The firewall: how to reach it, and where things are there.
#[derive(Clone, Debug)]
pub struct Firewall {
    pub target: Target,
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
    pub protected: Vec<IpNet>,
}

impl Networks {
    pub fn decision_rules(&self) -> DecisionRules {
        DecisionRules { pods: self.pods.clone(), nodes: self.nodes.clone() }
    }
}

impl Settings {
    /// Reads the settings of every command, in the order of the example file.
    pub fn resolve(read: &SettingsReader<'_>) -> Result<Self> {
        let output = key!(read, "output" = "table", |text| parse_word(text, OUTPUTS);
            "How data is printed. Flag: --output.");
        let color = key!(read, "color" = "auto", |text| parse_word(text, COLORS);
            "Colour on a terminal. NO_COLOR counts as never. Flag: --color.");
        let timeout = key!(read, "timeout" = "30s", parse_period;
            "Deadline of one read or change, connecting included. Flag: --timeout.");
        // It was chosen when the layers were read.
        key!(read, "context" = "", parse_text;
            "The context to use where none is named: one of [contexts.NAME] below. Flag: --context.");
        let (firewall, outside) = read_firewall(read)?;
        let (service, public_address) = read_service(read, outside)?;
        Ok(Self {
            output,
            color,
            timeout,
            firewall,
            service,
            presets: read_presets(read)?,
            networks: Networks {
                pods: key!(read, "networks.pods" = ["10.10.0.0/16"], parse_networks;
                    "Networks of the cluster's pods."),
                nodes: key!(read, "networks.nodes" = ["10.0.20.0/24"], parse_networks;
                    "Networks of the cluster's nodes."),
                protected: key!(read, "networks.protected" = [], parse_networks;
                    "Networks that must never be blocked: you are warned when one is."),
            },
            cluster: read_cluster(read, timeout)?,
            resolvers: key!(read, "verify.resolvers" = [], |text| parse_list(text, parse_resolver);
                "Name servers to ask for service.host beside the system's resolver, such as [\"9.9.9.9\"]:\nthey give the answer that clients outside get. They learn that you asked."),
            public_address,
            vantages: Vantage::resolve_all(read)?,
            state_directory: read.environment.state_directory(),
        })
    }
}

/// Reads the firewall, and its interfaces that lead outside as well.
fn read_firewall(read: &SettingsReader<'_>) -> Result<(Firewall, Vec<String>)> {
    let host = key!(read, "firewall.host" = "10.0.20.1", parse_host;
        "Address or name of the pfSense box, or a Host of your ssh_config.");
    let user = key!(read, "firewall.user" = "admin", parse_account;
        "Account to log in as. admin and root can do everything; others need sudo.\nEmpty leaves it to ssh_config.");
    let port = key!(read, "firewall.port" = 22, parse_port; "Port of its SSH server.");
    // A Host of ssh_config brings its own port.
    let is_port_meant =
        read.layers.names_key("firewall.port") || !read.layers.names_key("firewall.host");
    let transport = key!(read, "firewall.transport" = "auto", |text| parse_word(text, &["auto", "openssh", "russh"]);
        "openssh runs the system's ssh and honours its configuration, agent and jump hosts;\nrussh is built in; auto takes openssh where an ssh program is installed.");
    let mut target = Target {
        host,
        user,
        port: Some(port).filter(|_| is_port_meant),
        transport: match transport {
            "openssh" => Transport::OpenSsh,
            "russh" => Transport::Russh,
            _ => Transport::Auto,
        },
        identity: read.file(key!(read, "firewall.identity" = "", parse_given;
            "Private key file. Empty leaves it to ssh_config, the agent and the usual names.")),
        ssh_config: read.file(key!(read, "firewall.ssh_config" = "", parse_given;
            "Configuration file for ssh. Empty is ~/.ssh/config. Not read by russh.")),
        known_hosts: read.file(key!(read, "firewall.known_hosts" = "", parse_given;
            "File of known host keys. Empty is ~/.ssh/known_hosts. Keys are always checked.")),
        fingerprint: key!(read, "firewall.fingerprint" = "", |text| parse_optional(text, parse_fingerprint);
            "Fingerprint of the host key (SHA256:…), checked in addition to known_hosts."),
        connect_timeout: key!(read, "firewall.connect_timeout" = "10s", parse_period;
            "Deadline of connecting and logging in."),
        control_persist: key!(read, "firewall.control_persist" = "10m", parse_duration;
            "How long an OpenSSH connection stays up for the next command. 0s closes it at once."),
        runtime_directory: read.environment.runtime_directory(),
        sudo: None,
        home: read.environment.home.clone(),
        agent_socket: read.environment.agent_socket.clone(),
        ssh_program: PathBuf::from("ssh"),
    };
    let through = key!(read, "firewall.become" = "", |text| parse_word(text, &["", "sudo", "sudo-pfctl"]);
        "sudo runs everything on the firewall through `sudo -n`; needs pfSense's sudo package.\nsudo-pfctl runs pfctl's lists alone through it: enough for looks and the exporter; changes are refused.");
    key!(read, "firewall.peer" = "", parse_text;
        "The context of the other node of a CARP pair: looks show both, virusprot changes the table of both, and rules are\nchanged on the primary and proven on both. Empty where this firewall is alone.");
    let outside = key!(read, "firewall.outside" = [], |text| parse_list(text, parse_name);
        "pfSense's names of VPN interfaces that lead outside as well, such as [\"opt3\"]. Interfaces with a gateway\nare outside anyway: what leads from one of them to the service is a path.");
    let crontab = key!(read, "firewall.paths.crontab" = "/etc/crontab", parse_remote_path;
        "Path of the system's crontab on the firewall: it says when entries of the table expire.");
    let pfctl = key!(read, "firewall.paths.pfctl" = "/sbin/pfctl", parse_remote_path;
        "Path of pfctl on the firewall.");
    let php = key!(read, "firewall.paths.php" = "/usr/local/bin/php", parse_remote_path;
        "Path of PHP on the firewall.");
    let sudo = key!(read, "firewall.paths.sudo" = "/usr/local/bin/sudo", parse_remote_path;
        "Path of sudo on the firewall.");
    target.sudo = Some(sudo.clone()).filter(|_| through == "sudo");
    let pfctl_sudo = Some(sudo).filter(|_| through == "sudo-pfctl");
    let peer = read.layers.peer_context()?.map(str::to_owned);
    Ok((Firewall { target, peer, crontab, pfctl, pfctl_sudo, php }, outside))
}

/// Reads the service, and the address that its public name should have.
fn read_service(
    read: &SettingsReader<'_>,
    outside: Vec<String>,
) -> Result<(Service, Option<IpAddr>)> {
    let alias = key!(read, "service.alias" = "k8s_kms_lb", parse_name;
        "pfSense alias that the port forward and the filter rule point to.");
    let address = key!(read, "service.address" = "10.0.20.202", parse_address;
        "Address the alias should hold.");
    let port = key!(read, "service.port" = 1688, parse_port; "TCP port, outside and inside.");
    let interface = key!(read, "service.interface" = "wan", parse_name;
        "pfSense's name of the outside interface.");
    let description = key!(read, "service.description" = "KMS public — kms.viktorbarzin.me", parse_text;
        "Description of the rules, for people. Rules are never matched by it.");
    let host = key!(read, "service.host" = "kms.viktorbarzin.me", |text| parse_optional(text, parse_host);
        "Public name of the service. Empty looks at no name.");
    let public_address = key!(read, "service.public_address" = "", |text| parse_optional(text, parse_address);
        "Address the public name should have. Empty takes the firewall's own, where that is a public one.");
    let protocol = key!(read, "service.protocol" = "kms", |text| parse_word(text, &["kms", "tcp"]);
        "What its server speaks. tcp is any other service: verify proves the connection and asks nothing of the\nserver, and the notifier's side is left out.");
    let table = key!(read, "service.table" = "virusprot", parse_table_name;
        "pf's overload table. pfSense knows only virusprot.");
    let (host, speaks_kms) = (host.unwrap_or_default(), protocol == "kms");
    let service =
        Service { alias, address, port, interface, outside, description, host, table, speaks_kms };
    Ok((service, public_address))
}

fn read_presets(read: &SettingsReader<'_>) -> Result<Vec<Preset>> {
    let preset = |name: &str, max_src_conn: Option<u32>, rate: Option<Rate>| Preset {
        name: name.to_owned(),
        caps: Caps { max_src_conn, rate },
    };
    let mut presets = vec![
        preset(
            "default",
            Some(key!(read, "presets.default.max_src_conn" = 50, parse_connections;
                "Connections that one source may hold at a time.")),
            Some(key!(read, "presets.default.rate" = "10/60", parse_rate;
                "New connections of one source within seconds.")),
        ),
        preset(
            "tighten",
            Some(key!(read, "presets.tighten.max_src_conn" = 10, parse_connections;
                "The same, for suspected abuse.")),
            Some(key!(read, "presets.tighten.rate" = "3/60", parse_rate;
                "The same, for suspected abuse.")),
        ),
        preset(
            "loosen",
            Some(key!(read, "presets.loosen.max_src_conn" = 50, parse_connections;
                "The same, when legitimate users are blocked.")),
            Some(key!(read, "presets.loosen.rate" = "30/60", parse_rate;
                "The same, when legitimate users are blocked.")),
        ),
    ];
    for name in read.layers.names_below("presets") {
        if presets.iter().all(|preset| preset.name != name) {
            let connections =
                read.find(&format!("presets.{name}.max_src_conn"), parse_connections)?;
            presets.push(preset(
                name,
                connections,
                read.find(&format!("presets.{name}.rate"), parse_rate)?,
            ));
        }
    }
    presets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(presets)
}

fn read_cluster(read: &SettingsReader<'_>, longest: Duration) -> Result<Cluster> {
    let kubectl =
        key!(read, "cluster.kubectl" = "kubectl", parse_object_name; "The kubectl program.");
    let context = key!(read, "cluster.context" = "", parse_given; "kubectl context. Empty is the current one.");
    let namespace =
        key!(read, "cluster.namespace" = "kms", parse_object_name; "Namespace of the service.");
    let enabled = key!(read, "cluster.enabled" = "auto", |text| parse_word(text, &["auto", "yes", "no"]);
        "Whether there is a cluster to ask. auto: where cluster.context or cluster.kubeconfig is set.");
    let kubeconfig = read.file(key!(read, "cluster.kubeconfig" = "", parse_given;
        "kubectl's configuration file. Empty leaves it to KUBECONFIG and ~/.kube/config."));
    let timeout = key!(read, "cluster.timeout" = "8s", parse_duration;
        "Deadline of one question to the cluster; timeout, where that is less.");
    Ok(Cluster {
        configured: enabled == "yes"
            || (enabled == "auto" && (context.is_some() || kubeconfig.is_some())),
        kubectl,
        kubeconfig,
        context,
        namespace,
        timeout: timeout.min(longest),
        names: ObjectNames {
            service: key!(read, "cluster.service" = "windows-kms", parse_object_name;
                "Name of the Service that is exposed."),
            deployment: key!(read, "cluster.deployment" = "kms", parse_object_name;
                "Name of the Deployment behind it."),
            selector: key!(read, "cluster.selector" = "app=kms-service", parse_object_name;
                "Label selector of its pods."),
            server: key!(read, "cluster.server_container" = "windows-kms", parse_object_name;
                "Container of the KMS server in those pods."),
            notifier: key!(read, "cluster.notifier_container" = "slack-notifier", parse_object_name;
                "Container of the notifier in those pods."),
        },
        metallb_namespace: key!(read, "cluster.metallb_namespace" = "metallb-system", parse_object_name;
            "Namespace where MetalLB says which node announces an address."),
    })
}
