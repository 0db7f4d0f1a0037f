//! Removes what kmsctl left behind on the firewall, and proves that it is gone. The firewall looks again at each file,
//! under its lock: what got something to do meanwhile stays.

use super::Execution;
use super::carry::ask_again;
use super::config::PROOF;
use crate::app::{Context, Session};
use crate::domain::history::{EndedAs, Finish};
use crate::domain::pfsense::leftovers::{Cleaned, StoredFile};
use crate::domain::plan::Plan;
use crate::error::{Failure, FailureKind};
use crate::pfsense::actions::{Done, FirewallAction};
use crate::pfsense::agent::CleanRequest;
use crate::pfsense::questions::Reading;

pub(super) async fn clean_leftovers(
    context: &Context,
    session: &mut Session,
    plan: &Plan,
    paths: &[String],
    before: &Reading,
) -> Execution {
    let found = before.configured.iter().flat_map(|configured| &configured.leftovers);
    let planned = found.filter(|file| paths.contains(&file.path));
    let files = planned.map(|file| StoredFile {
        path: file.path.clone(),
        since: file.since,
        orphaned: false,
    });
    let request = CleanRequest {
        service: (&context.settings.service).into(),
        id: plan.id.clone(),
        who: context.who(),
        files: files.collect(),
    };
    // Removing twice is the same as once, so a lost answer may simply be asked for again.
    let said = ask_again(context, session, vec![FirewallAction::Clean(request)], PROOF).await;
    let (mut said, reading) = match said {
        Ok(said) => said,
        Err(failure) => {
            return Execution::not_verified(
                &format!("It is not known what was removed: {}", failure.message),
                None,
            );
        }
    };
    let mut carried = match said.pop() {
        Some(Ok(Done::Cleaned(cleaned))) => of_cleaned(cleaned, paths, &reading),
        Some(Err(error)) => Execution::from_failure(Failure::from(&error)),
        _ => Execution::not_verified("The firewall did not say what it did.", None),
    };
    carried.reading = Some(reading);
    carried
}

fn of_cleaned(cleaned: Cleaned, paths: &[String], reading: &Reading) -> Execution {
    let (removed, kept) = match cleaned {
        Cleaned::Done { removed, kept } => (removed, kept),
        Cleaned::Locked { holder } => {
            let who = holder
                .map_or_else(String::new, |holder| format!(": {} by {}", holder.what, holder.who));
            return Execution::from_failure(
                Failure::new(
                    FailureKind::Conflict,
                    format!("Another change is being made{who}; nothing was removed."),
                )
                .hint("Try again in a minute."),
            );
        }
    };
    if let Some(first) = kept.first() {
        return Execution::not_verified(
            &format!(
                "{} of {} files were removed. {} is still there: {}.",
                removed.len(),
                paths.len(),
                first.path,
                first.why
            ),
            None,
        );
    }
    let Ok(configured) = &reading.configured else {
        return Execution::not_verified("It could not be read back what is left.", None);
    };
    let there = configured.leftovers.iter().find(|file| file.stale && paths.contains(&file.path));
    if let Some(file) = there {
        return Execution::not_verified(&format!("{} is still there.", file.path), None);
    }
    let count = removed.len();
    let files = if count == 1 { "file" } else { "files" };
    Execution {
        finish: Finish::new(EndedAs::Done, format!("{count} {files} removed.")),
        reading: None,
        failure: None,
    }
}
