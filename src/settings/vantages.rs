//! The vantages with their types: places outside from where the service is tried. There is none unless the operator
//! names one.

use std::net::IpAddr;
use std::path::PathBuf;

use super::keys::{SettingsReader, key};
use super::values::{
    parse_account, parse_address, parse_endpoint, parse_given, parse_host, parse_number,
    parse_optional, parse_port, parse_url, parse_word,
};
use crate::error::{Failure, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vantage {
    pub name: String,
    pub kind: VantageKind,
    pub address: Option<IpAddr>,
    pub control: Option<(String, u16)>,
}

impl Vantage {
    /// Returns the address that it connects from, where the configuration says so.
    pub fn known_address(&self) -> Option<IpAddr> {
        self.address.or_else(|| match &self.kind {
            VantageKind::Ssh(ssh) => ssh.host.parse().ok(),
            VantageKind::CheckHost { .. } | VantageKind::Local => None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VantageKind {
    Ssh(Ssh),
    /// Through a public check service that speaks check-host.net's interface.
    CheckHost {
        /// Base URL without a slash at the end.
        url: String,
        nodes: usize,
    },
    Local,
}

/// An SSH server outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    pub host: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity: Option<PathBuf>,
    pub known_hosts: Option<PathBuf>,
}

impl Vantage {
    /// Reads every vantage that a layer names.
    pub(super) fn resolve_all(read: &SettingsReader<'_>) -> Result<Vec<Self>> {
        let names = read.layers.names_below("vantages");
        names.into_iter().map(|name| Self::resolve(&read.of_name(name))).collect()
    }

    pub(super) fn resolve(read: &SettingsReader<'_>) -> Result<Self> {
        let kind = key!(read, "vantages.NAME.kind" = "ssh", |text| parse_word(text, &["ssh", "check-host", "local"]);
            "ssh: a host outside that you can log in to; nothing is installed there.\ncheck-host: a public check service (it learns your address and port).\nlocal: this machine; counts only where it is proven to be outside.");
        let host = key!(read, "vantages.NAME.host" = "", |text| parse_optional(text, parse_host);
            "ssh: address, name, or a Host of your ssh_config.");
        let user = key!(read, "vantages.NAME.user" = "", parse_account;
            "ssh: account. Empty leaves it to ssh_config.");
        let port = key!(read, "vantages.NAME.port" = 22, parse_port;
            "ssh: port of its SSH server. Without it, ssh_config decides.");
        let is_port_meant = read.layers.names_key(&format!("vantages.{}.port", read.name));
        let identity = read.file(key!(read, "vantages.NAME.identity" = "", parse_given;
            "ssh: private key file."));
        let known_hosts = read.file(key!(read, "vantages.NAME.known_hosts" = "", parse_given;
            "ssh: file of known host keys. Empty takes firewall.known_hosts."));
        let address = key!(read, "vantages.NAME.address" = "", |text| parse_optional(text, parse_address);
            "Address that the firewall sees it come from. Empty takes the one that ssh connects to.");
        let control = key!(read, "vantages.NAME.control" = "", |text| parse_optional(text, parse_endpoint);
            "HOST:PORT that is known to be open: if it is not reached either, a failure proves nothing.\nBest is another open port of the very address that is tried.");
        let url = key!(read, "vantages.NAME.url" = "https://check-host.net", parse_url;
            "check-host: base URL of the service.");
        let nodes = key!(read, "vantages.NAME.nodes" = 3, |text| parse_number(text, 1..=10);
            "check-host: how many of its nodes try; more than half must agree.");
        let name = read.name.to_owned();
        let no_host = || Failure::usage(format!("The vantage `{name}` has no host."));
        let kind = match kind {
            "check-host" => {
                VantageKind::CheckHost { url: url.trim_end_matches('/').to_owned(), nodes }
            }
            "local" => VantageKind::Local,
            _ => VantageKind::Ssh(Ssh {
                host: host.ok_or_else(no_host)?,
                user,
                port: is_port_meant.then_some(port),
                identity,
                known_hosts,
            }),
        };
        Ok(Self { name, kind, address, control })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Layers, Settings};

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let mut environment = Environment::default();
        environment.variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (layers, problem) = Layers::read(&environment, None, &[]);
        if let Some(problem) = problem {
            return Err(problem);
        }
        assert!(layers.warnings.is_empty(), "{:?}", layers.warnings);
        Settings::resolve(&SettingsReader::new(&layers, &environment))
    }

    #[test]
    fn there_is_none_unless_named() {
        assert!(settings(&[]).unwrap().vantages.is_empty());
    }

    #[test]
    fn names_come_from_the_environment_too_and_kinds_have_their_defaults() {
        let settings = settings(&[
            ("KMSCTL_VANTAGES_MY_VPS_HOST", "vps.example.net"),
            ("KMSCTL_VANTAGES_MY_VPS_KNOWN_HOSTS", "/k"),
            ("KMSCTL_VANTAGES_MY_VPS_CONTROL", "192.0.2.1:443"),
            ("KMSCTL_VANTAGES_PUBLIC_KIND", "check-host"),
            ("KMSCTL_VANTAGES_TETHER_KIND", "local"),
        ])
        .unwrap();
        let [vps, public, tether] = settings.vantages.as_slice() else {
            panic!("three");
        };
        assert_eq!(vps.name, "my_vps");
        assert_eq!(vps.control, Some(("192.0.2.1".to_owned(), 443)));
        assert!(
            matches!(&vps.kind, VantageKind::Ssh(ssh) if ssh.host == "vps.example.net" && ssh.known_hosts == Some("/k".into()) && ssh.port.is_none())
        );
        assert_eq!(
            public.kind,
            VantageKind::CheckHost { url: "https://check-host.net".to_owned(), nodes: 3 }
        );
        assert_eq!(tether.kind, VantageKind::Local);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for variables in [
            &[("KMSCTL_VANTAGES_VPS_USER", "op")][..],
            &[("KMSCTL_VANTAGES_VPS_HOST", "h"), ("KMSCTL_VANTAGES_VPS_PORT", "0")],
            &[("KMSCTL_VANTAGES_VPS_HOST", "h"), ("KMSCTL_VANTAGES_VPS_CONTROL", "h:0")],
            &[("KMSCTL_VANTAGES_VPS_HOST", "h"), ("KMSCTL_VANTAGES_VPS_ADDRESS", "name")],
            &[("KMSCTL_VANTAGES_VPS_KIND", "telnet")],
            &[("KMSCTL_VANTAGES_X_KIND", "check-host"), ("KMSCTL_VANTAGES_X_NODES", "0")],
            &[("KMSCTL_VANTAGES_X_KIND", "check-host"), ("KMSCTL_VANTAGES_X_URL", "x")],
        ] {
            let failure = settings(variables).unwrap_err();
            assert_eq!(failure.kind.exit_code(), 2, "{variables:?} {failure}");
        }
    }
}
