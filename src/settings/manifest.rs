//! What only `notifier manifest` needs to know.

use super::keys::{SettingsReader, key};
use super::values::parse_text;
use crate::domain::cluster::manifest::{
    ManifestNames, Operator, Wanted, check_dns_label, check_dns_subdomain, check_image_reference,
    parse_secret_store,
};
use crate::error::Result;

pub fn read_manifest_names(read: &SettingsReader<'_>) -> Result<ManifestNames> {
    const IMAGE: &str = concat!("\"ghcr.io/viktorbarzin/kmsctl:", env!("CARGO_PKG_VERSION"), "\"");
    const IMAGE_MEANING: &str = "Image of the side-car, as `notifier manifest` prints it: build it from deploy/Containerfile and push it\nthere yourself.";
    Ok(ManifestNames {
        image: read.read_key(
            "manifest.image",
            IMAGE,
            |text| named(text, check_image_reference),
            IMAGE_MEANING,
        )?,
        log_volume: key!(read, "manifest.log_volume" = "vlmcsd-log", |text| named(text, check_dns_label);
            "Volume of the pod that holds the server's log."),
        operator: key!(read, "manifest.operator" = "ServiceAccount:kmsctl-operator", |text| of_form(text, Operator::parse);
            "Who may look: ServiceAccount:NAME (made by the manifest), User:NAME or Group:NAME."),
        secret: key!(read, "manifest.secret" = "kms-slack-webhook", |text| named(text, check_dns_subdomain);
            "Name of the Secret with the webhook's URL, and of the ExternalSecret that fetches it."),
        secret_store: key!(read, "manifest.secret_store" = "vault-kv", |text| of_form(text, parse_secret_store);
            "Store of External Secrets: the name of a ClusterSecretStore, or SecretStore/NAME."),
        secret_key: key!(read, "manifest.secret_key" = "kms", parse_text; "Key in that store."),
        secret_property: key!(read, "manifest.secret_property" = "slack_webhook_url", parse_text;
            "Property of that key."),
    })
}

fn named(text: &str, check: fn(&str) -> Result<(), Wanted>) -> Result<String, String> {
    of_form(text, check).map(|()| text.to_owned())
}

fn of_form<T>(text: &str, read: fn(&str) -> Result<T, Wanted>) -> Result<T, String> {
    read(text).map_err(|form| format!("`{text}` is not {form}"))
}
