//! `kmsctl notifier manifest`: prints the Kubernetes objects. What they hold is taken from the configuration alone.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::app::Context;
use crate::domain::cluster::manifest;
use crate::domain::cluster::manifest::Wanted as Form;
use crate::domain::cluster::manifest::{ManifestOptions, ManifestPart};
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::settings::keys::KEYS;
use crate::settings::layers::Layers;
use crate::settings::manifest::read_manifest_names;
use crate::terminal::{Mode, View, yaml};

/// Where the webhook's URL is mounted unless notifier.webhook_file says.
const WEBHOOK_FILE: &str = "/etc/kmsctl/slack/url";

/// Keys that the side-car is always given; others only where they are not as built in.
const ALWAYS: [&str; 4] =
    ["notifier.log", "notifier.state", "notifier.webhook_file", "notifier.listen"];

/// Prints the parts; all of them where none is named.
pub fn print_manifest(
    context: &Context,
    only: &[String],
    exec: bool,
    terraform: bool,
    former: [String; 3],
) -> Result<()> {
    let mut warnings = Vec::new();
    let wanted = gather_manifest_options(context, exec, former, &mut warnings)?;
    let parts = ManifestPart::ALL
        .into_iter()
        .filter(|part| only.is_empty() || only.iter().any(|name| name == part.name()));
    if terraform {
        if context.terminal.mode != Mode::Table {
            return Err(Failure::usage("--terraform prints HCL and takes no -o."));
        }
        context.terminal.warn(&warnings);
        let parts: Vec<String> = parts.map(|part| wanted.terraform(part)).collect();
        return context.terminal.write(&parts.join("\n"));
    }
    if context.terminal.mode == Mode::Table {
        context.terminal.warn(&warnings);
        return context.terminal.write(&manifest_text(&wanted, parts));
    }
    let objects: Vec<Value> = parts
        .flat_map(|part| {
            let objects = wanted.objects(part);
            objects.into_iter().map(move |object| json!({"part": part.name(), "object": object}))
        })
        .collect();
    let mut view =
        View::new("notifier.manifest", context.clock.now(), &json!({ "objects": objects }))?;
    view.items = Some((
        "objects",
        &["part", "object.kind", "object.metadata.namespace", "object.metadata.name"],
    ));
    view.warnings = warnings;
    context.terminal.show(&view)
}

/// Prints the parts as a stream of YAML documents, each part under a comment that says what it is.
fn manifest_text(wanted: &ManifestOptions, parts: impl Iterator<Item = ManifestPart>) -> String {
    let mut text = String::new();
    for part in parts {
        for (number, object) in wanted.objects(part).iter().enumerate() {
            text.push_str("---\n");
            if number == 0 {
                wanted.about(part).lines().for_each(|line| text.push_str(&format!("# {line}\n")));
            }
            text.push_str(&yaml::yaml_block(object));
        }
    }
    text
}

/// Gathers what the objects hold; refuses what Kubernetes would.
fn gather_manifest_options(
    context: &Context,
    exec: bool,
    former: [String; 3],
    warnings: &mut Vec<Warning>,
) -> Result<ManifestOptions> {
    let layers = &context.layers;
    let cluster = &context.settings.cluster;
    let own = read_manifest_names(&context.settings_reader())?;
    let named = |path: &str, check: fn(&str) -> std::result::Result<(), Form>| {
        let text = layers.key_text(path);
        check(text).map(|()| text.to_owned()).map_err(|form| wrong_manifest_value(path, text, form))
    };
    let selector = &cluster.names.selector;
    let webhook = match layers.key_text("notifier.webhook_file") {
        "" => WEBHOOK_FILE,
        file => file,
    };
    let (log, _) = split_mount_path("notifier.log", layers.key_text("notifier.log"))?;
    let webhook = split_mount_path("notifier.webhook_file", webhook)?;
    manifest::check_secret_key(&webhook.1)
        .map_err(|form| wrong_manifest_value("notifier.webhook_file", &webhook.1, form))?;
    let state = named("notifier.state", manifest::check_mount_path)?;
    let [volume, mount, config_map] = &former;
    manifest::check_dns_label(volume)
        .map_err(|form| wrong_manifest_value("--former-volume", volume, form))?;
    manifest::check_mount_path(mount)
        .map_err(|form| wrong_manifest_value("--former-mount", mount, form))?;
    manifest::check_dns_subdomain(config_map)
        .map_err(|form| wrong_manifest_value("--former-config-map", config_map, form))?;
    let needed = [&log, &state, &webhook.0].contains(&mount) || *volume == own.log_volume;
    if needed || volume.starts_with("kmsctl-notifier-") {
        return Err(Failure::usage(
            "A former notifier's volume goes, so its name and its mount are none that the side-car needs.",
        ));
    }
    if log == state || state == webhook.0 || log == webhook.0 {
        return Err(Failure::usage(
            "The log, the notifier's state and the webhook's file need directories of their own: each is a volume.",
        ));
    }
    Ok(ManifestOptions {
        namespace: named("cluster.namespace", manifest::check_dns_label)?,
        metallb_namespace: named("cluster.metallb_namespace", manifest::check_dns_label)?,
        deployment: named("cluster.deployment", manifest::check_dns_subdomain)?,
        service: named("cluster.service", manifest::check_service_name)?,
        address: context.settings.service.address,
        port: context.settings.service.port,
        selector: manifest::parse_selector(selector)
            .map_err(|form| wrong_manifest_value("cluster.selector", selector, form))?,
        server: named("cluster.server_container", manifest::check_dns_label)?,
        notifier: named("cluster.notifier_container", manifest::check_dns_label)?,
        former,
        log_directory: log,
        environment: side_car_environment(layers, &webhook, warnings),
        state,
        webhook,
        metrics_port: metrics_port(layers)?,
        own,
        exec,
    })
}

/// Reads the port of the metrics page, which the kubelet and Prometheus must reach.
fn metrics_port(layers: &Layers) -> Result<u16> {
    let text = layers.key_text("notifier.listen");
    let listen = text.parse::<SocketAddr>().ok();
    listen
        .filter(|listen| !listen.ip().is_loopback() && listen.port() != 0)
        .map(|listen| listen.port())
        .ok_or_else(|| {
            wrong_manifest_value(
                "notifier.listen",
                text,
                "an address and a port that the kubelet and Prometheus reach, such as [::]:9101",
            )
        })
}

/// The side-car's settings as environment names. A value that holds a password stays out: the manifest is no secret.
fn side_car_environment(
    layers: &Layers,
    webhook: &(String, String),
    warnings: &mut Vec<Warning>,
) -> Vec<(String, String)> {
    let built_in = Layers::built_in();
    let mut environment = Vec::new();
    for key in KEYS.iter() {
        let relevant = key.path.starts_with("notifier.")
            || ["networks.pods", "networks.nodes"].contains(&key.path);
        let text = match key.path {
            "notifier.webhook_file" => format!("{}/{}", webhook.0, webhook.1),
            path => layers.key_text(path).to_owned(),
        };
        // What is as built in need not be said; an empty name would count as none.
        let differs = text != built_in.key_text(key.path) && !text.is_empty();
        if !relevant || !(differs || ALWAYS.contains(&key.path)) {
            continue;
        }
        if text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
            warnings.push(Warning::new(
                "password-left-out",
                format!(
                    "{} holds a password and is not printed: give {} to the container from a Secret.",
                    key.path,
                    key.environment_name()
                ),
            ));
            continue;
        }
        environment.push((key.environment_name(), text));
    }
    environment
}

/// Splits a file's path into a directory that a volume can be mounted at, and its name.
fn split_mount_path(path: &str, text: &str) -> Result<(String, String)> {
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
    manifest::check_mount_path(directory)
        .and_then(|()| manifest::check_mount_path(text))
        .map_err(|form| wrong_manifest_value(path, text, form))?;
    Ok((directory.to_owned(), name.to_owned()))
}

fn wrong_manifest_value(path: &str, text: &str, form: Form) -> Failure {
    Failure::usage(format!("Wrong value for `{path}`: `{text}` is not {form}."))
}
