//! `kmsctl notifier …`: the side-car that reports activations to Slack and Prometheus, and its replay of a saved log.

pub mod logs;
mod manifest;
mod metrics;
pub mod replay;
pub mod status;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::app::Context;
use crate::domain::cluster::manifest::ManifestPart;
use crate::error::{Failure, Result};
use crate::notifier::{self, engine::Echo};
use crate::settings::notifier::Notifier;

const MANIFEST_HELP: &str = "\
Apply the objects and the patch apart; the patch is no whole Deployment:
  kmsctl notifier manifest --only service,rbac,secret | kubectl apply --server-side -f -
  kmsctl notifier manifest --only patch >patch.yaml
  kubectl -n kms patch deployment kms --patch-file patch.yaml
Where Terraform owns the Deployment, its resource takes the side-car's blocks instead:
  kmsctl notifier manifest --only patch --terraform";

/// Arguments of `kmsctl notifier`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the Kubernetes objects around your KMS server; applies nothing
    #[command(after_help = MANIFEST_HELP)]
    Manifest {
        /// Print these parts only: service, rbac, secret, patch
        #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = ManifestPart::ALL.map(ManifestPart::name))]
        only: Vec<String>,
        /// Grant pods/exec too, which `notifier logs --server` needs; it allows any program in the pods
        #[arg(long)]
        exec: bool,
        /// Print Terraform's HCL for the kubernetes provider instead of YAML
        #[arg(long)]
        terraform: bool,
        /// Volume of a former notifier's script, which the patch takes out
        #[arg(long, value_name = "NAME", default_value = "slack-notifier-script")]
        former_volume: String,
        /// Where the former notifier has that volume
        #[arg(long, value_name = "PATH", default_value = "/scripts")]
        former_mount: String,
        /// ConfigMap of the former notifier's script
        #[arg(long, value_name = "NAME", default_value = "kms-slack-notifier")]
        former_config_map: String,
    },
    /// Show what the notifier saw, or the server's own log, now or as it grows
    Logs(logs::Args),
    /// Show the notifier's numbers and how fast they grow, without a Prometheus
    Metrics(metrics::Args),
    /// Show what `run` would have done with a saved log; sends nothing
    Replay {
        /// The server's log; - reads it from stdin
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// Print the totals only
        #[arg(long)]
        summary: bool,
        /// Show probes in the table as well; other forms always hold them
        #[arg(long)]
        probes: bool,
        /// Judge the log as one that was there before the notifier first looked: what is older than notifier.too_old is counted only
        #[arg(long)]
        as_first_read: bool,
    },
    /// Read the server's log as it grows, post to Slack, serve metrics; until SIGTERM
    Run {
        /// Print events as JSON to stdout: requests (the default) leaves probes out, all does not
        #[arg(long, value_name = "WHAT", value_parser = ["requests", "all"], num_args = 0..=1, default_missing_value = "requests", require_equals = true)]
        echo: Option<String>,
    },
    /// Show whether the notifier is alive, whether it is behind, and what the last hour held
    Status,
}

/// Runs `kmsctl notifier …`.
pub async fn run_notifier_group(context: &Context, arguments: &Args) -> Result<()> {
    if !context.settings.service.speaks_kms {
        return Err(Failure::usage(
            "The notifier reads a KMS server's log, and service.protocol is tcp.",
        ));
    }
    match &arguments.command {
        Command::Manifest {
            only,
            exec,
            terraform,
            former_volume,
            former_mount,
            former_config_map,
        } => {
            let former = [former_volume, former_mount, former_config_map].map(String::clone);
            manifest::print_manifest(context, only, *exec, *terraform, former)
        }
        Command::Logs(arguments) => logs::run_logs(context, arguments).await,
        Command::Metrics(arguments) => metrics::run_metrics(context, arguments).await,
        Command::Status => status::run_notifier_status(context).await,
        Command::Replay {
            file,
            summary,
            probes,
            as_first_read,
        } => {
            let choice = replay::Choice {
                summary_only: *summary,
                probes: *probes,
                as_first_read: *as_first_read,
            };
            replay::run_replay(context, file, choice)
        }
        Command::Run { .. } if context.demo => Err(Failure::usage(
            "`notifier run` has no demo: it follows a real log and posts to a real Slack.",
        )
        .hint("See `kmsctl notifier replay FILE`, which sends nothing, or `kmsctl --demo notifier status`.")),
        Command::Run { echo } => {
            let settings = Notifier::resolve(&context.settings_reader())?;
            let rules = context.settings.networks.decision_rules();
            let echo = match echo.as_deref() {
                None => Echo::No,
                Some("all") => Echo::All,
                Some(_) => Echo::Requests,
            };
            notifier::run_notifier(&settings, rules, echo, context.clock).await
        }
    }
}
