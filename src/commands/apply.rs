//! `kmsctl apply`: applies a plan that was saved with `--plan-out`, if nothing moved since.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::app::Context;
use crate::change;
use crate::change::ChangeFlags;
use crate::domain::history::ChangeBeside;
use crate::error::Result;

/// Arguments of `kmsctl apply`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The plan
    #[arg(value_name = "PLAN", value_hint = clap::ValueHint::FilePath)]
    plan: PathBuf,
    /// Show what would be done, and whether the plan still holds; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// The plan is a part of this run: the history names the command that it was made by
    #[arg(long, hide = true)]
    as_planned: bool,
    /// The context of the pair's other node, and its change of the same run
    #[arg(long, hide = true, value_name = "NAME/ID", value_parser = parse_beside)]
    beside: Option<ChangeBeside>,
}

fn parse_beside(text: &str) -> Result<ChangeBeside, String> {
    let (context, id) = text.split_once('/').ok_or("it wants NAME/ID")?;
    Ok(ChangeBeside { context: context.to_owned(), id: id.to_owned() })
}

/// Runs `kmsctl apply`.
pub async fn run_apply(context: &Context, arguments: &Args) -> Result<()> {
    let flags =
        ChangeFlags { dry_run: arguments.dry_run, yes: arguments.yes, ..ChangeFlags::default() };
    let plan = change::load_plan(&arguments.plan)?;
    let command = if arguments.as_planned {
        plan.command.clone()
    } else {
        format!("apply {}", arguments.plan.display())
    };
    change::apply_saved_plan(context, &flags, &command, arguments.beside.as_ref(), &plan).await
}
