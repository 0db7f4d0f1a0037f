//! The flags of every command that changes something.

use std::path::PathBuf;

use clap::Args;

use super::external_proof::ExternalProof;
use crate::domain::plan::{self, ChangeOptions};
use crate::domain::reachability::external::Expected;
use crate::error::{Failure, FailureKind, Result};
use crate::settings::values;
use crate::terminal::Terminal;
use crate::text::acts_on_terminal;

/// The longest reason, in bytes: it stands in pfSense's configuration history.
const LONGEST_REASON: usize = 200;

/// Flags of every changing command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Changing")]
pub struct ChangeFlags {
    /// Show what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Save the plan for `kmsctl apply` instead of doing it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub plan_out: Option<PathBuf>,
    /// Why; goes into the history and into pfSense's own
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub reason: Option<String>,
}

// `--for` on its way: the plan holds the seconds (`Draft::reverts_after`); `change::config` makes them a time of the
// firewall's clock; the agent arms a job for it in /etc/cron.d (`apply.php`), which puts the old records back at that time
// (`job.php`, `finish.php`) and is disarmed by `keep` and by any later change of the same rules.
/// Flags of commands that change the configuration.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Changing")]
pub struct Temporary {
    /// The firewall takes it back by itself after this long, such as 2h
    #[arg(long = "for", value_name = "DURATION")]
    for_: Option<String>,
    /// Go on although changes saved in the GUI wait to be applied; they are activated too
    #[arg(long)]
    with_pending: bool,
}

/// Flags of commands that close or open the service.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Changing")]
pub struct FromOutside {
    /// Prove it from outside as well, from every configured vantage, before it is called done
    #[arg(long, conflicts_with = "plan_out")]
    verify: bool,
    /// Prove it from this vantage only; may be given more than once
    #[arg(long, value_name = "VANTAGE", requires = "verify")]
    from: Vec<String>,
}

impl FromOutside {
    /// Returns what is to be proven, if it is wanted.
    pub fn wanted_proof(&self, expected: Expected) -> Option<ExternalProof> {
        self.verify.then(|| ExternalProof::new(&self.from, expected))
    }

    pub fn add_flags(&self, command: &str) -> String {
        let verify = if self.verify { " --verify" } else { "" };
        let from: String = self.from.iter().map(|name| format!(" --from {name}")).collect();
        format!("{command}{verify}{from}")
    }
}

impl ChangeFlags {
    /// Refuses, before any connection, where there is no terminal to ask a question at.
    pub fn someone_can_confirm(&self, terminal: Terminal) -> Result<()> {
        if self.yes || self.shows_only() || terminal.interactive {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::NotConfirmed,
            "This changes the firewall, and there is no terminal to confirm it on; nothing was changed.",
        )
        .hint("Look first with --dry-run; then run it with --yes."))
    }

    pub fn any_set(&self) -> bool {
        self.shows_only() || self.yes || self.reason.is_some()
    }

    /// Returns whether the plan is only shown or saved.
    pub fn shows_only(&self) -> bool {
        self.dry_run || self.plan_out.is_some()
    }
}

impl Temporary {
    pub fn add_flags(&self, command: &str) -> String {
        let mut command = command.to_owned();
        if let Some(duration) = &self.for_ {
            command.push_str(&format!(" --for {duration}"));
        }
        if self.with_pending {
            command.push_str(" --with-pending");
        }
        command
    }

    pub fn to_terms(&self) -> Result<ChangeOptions> {
        Ok(ChangeOptions {
            with_pending: self.with_pending,
            urgent: false,
            reverts_after: self.for_.as_deref().map(parse_timer).transpose()?,
        })
    }
}

/// Reads the value of `--for`, in seconds.
pub fn parse_timer(text: &str) -> Result<u64> {
    let seconds =
        values::parse_span(text).map_err(|problem| Failure::usage(format!("--for: {problem}.")))?;
    let side = match seconds {
        plan::SHORTEST..=plan::LONGEST => return Ok(seconds),
        ..plan::SHORTEST => "short",
        _ => "long",
    };
    Err(Failure::usage(format!(
        "--for: `{text}` is too {side}: the shortest time is 1m, as the firewall looks at its clock once a minute; the longest is 30d."
    )))
}

pub(super) fn parse_reason(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_REASON {
        return Err(format!("it has more than {LONGEST_REASON} bytes"));
    }
    if text.chars().any(acts_on_terminal) {
        return Err(
            "it holds a control character, or one that changes the direction of text".to_owned()
        );
    }
    Ok(text.to_owned())
}
