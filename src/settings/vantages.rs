//! The vantages with their types: places outside from where the service is tried. There is none unless the operator
//! names one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::environment::Environment;
use super::keys::VANTAGE_KEYS;
use super::layers::Layers;
use super::values;
use crate::error::{Failure, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vantage {
    pub name: String,
    pub kind: VantageKind,
    /// The address that the firewall sees it come from, where the operator said so.
    pub address: Option<IpAddr>,
    /// Host and port that are known to be open.
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
    /// Address, name or Host of ssh_config.
    pub host: String,
    /// Account; `None` leaves it to ssh_config.
    pub user: Option<String>,
    /// Port; `None` leaves it to ssh_config.
    pub port: Option<u16>,
    /// Private key file.
    pub identity: Option<PathBuf>,
    /// Known host keys, where they differ from the firewall's.
    pub known_hosts: Option<PathBuf>,
}

pub(super) fn resolve_vantages(layers: &Layers, environment: &Environment) -> Result<Vec<Vantage>> {
    layers
        .named_fields("vantages")
        .into_iter()
        .map(|(name, fields)| resolve_vantage(name, &fields, environment))
        .collect()
}

fn resolve_vantage(
    name: &str,
    fields: &BTreeMap<&str, &str>,
    environment: &Environment,
) -> Result<Vantage> {
    let wrong = |problem: String| Failure::usage(format!("The vantage `{name}` {problem}."));
    let text = |field: &str| fields.get(field).copied().filter(|text| !text.is_empty());
    let file = |field: &str| text(field).map(|path| environment.expand(path));
    let kind = match text("kind") {
        Some("check-host") => VantageKind::CheckHost {
            url: text("url").unwrap_or(default_of("url")).trim_end_matches('/').to_owned(),
            nodes: text("nodes").and_then(|nodes| nodes.parse().ok()).unwrap_or(3),
        },
        Some("local") => VantageKind::Local,
        _ => VantageKind::Ssh(Ssh {
            host: text("host").ok_or_else(|| wrong("has no host".to_owned()))?.to_owned(),
            user: text("user").map(str::to_owned),
            port: text("port").and_then(|port| port.parse().ok()),
            identity: file("identity"),
            known_hosts: file("known_hosts"),
        }),
    };
    let address = text("address").map(values::parse_address).transpose();
    let control = text("control").map(values::parse_endpoint).transpose();
    Ok(Vantage {
        name: name.to_owned(),
        kind,
        address: address.map_err(|problem| wrong(format!("has a wrong address: {problem}")))?,
        control: control.map_err(|problem| wrong(format!("has a wrong control: {problem}")))?,
    })
}

/// Returns what an absent key means, without the quotes of TOML.
fn default_of(field: &str) -> &'static str {
    VANTAGE_KEYS
        .iter()
        .find(|key| key.split_path().1 == field)
        .map_or("", |key| key.default.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

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
        Settings::resolve(&layers, &environment)
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
