//! `kmsctl virusprot test`: is it blocked? The answer is also the exit code.

use std::net::IpAddr;

use serde::Serialize;

use crate::app::{Context, require_answer};
use crate::domain::pf::table::Found;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::Question;
use crate::terminal::Tone;

#[derive(Serialize)]
struct Tested {
    address: IpAddr,
    blocked: bool,
    /// The entry that decided: the address itself, or a network around it.
    entry: Option<String>,
}

/// Runs `kmsctl virusprot test`.
pub(super) async fn test_addresses(context: &Context, addresses: &[IpAddr]) -> Result<()> {
    let reading = context.read(&[Question::Test(addresses.to_vec())]).await?;
    let marks = require_answer(&reading.tested)?;
    let mut tested = Vec::new();
    for address in addresses {
        let Some(mark) = marks.iter().find(|mark| mark.net.addr() == *address) else {
            return Err(Failure::failed(format!(
                "The firewall's answer does not speak of {address}; nothing is known about it."
            )));
        };
        let entry = match mark.found {
            Some(Found::Entry {
                negated: false,
                net,
            }) => Some(if net.prefix_len() == net.max_prefix_len() {
                net.addr().to_string()
            } else {
                net.to_string()
            }),
            _ => None,
        };
        tested.push(Tested {
            address: *address,
            blocked: mark.mark == crate::domain::pf::table::Mark::Match,
            entry,
        });
    }
    let free = tested.iter().filter(|tested| !tested.blocked).count();
    let data =
        serde_json::json!({ "table": context.settings.service.table.as_str(), "tested": tested });
    let mut view = context.view("virusprot.test", &reading, &data)?;
    view.items = Some(("tested", &["address", "blocked", "entry"]));
    for tested in &tested {
        let (word, tone) = if tested.blocked {
            ("blocked", Tone::Bad)
        } else {
            ("not blocked", Tone::Good)
        };
        let by = tested
            .entry
            .as_deref()
            .filter(|entry| *entry != tested.address.to_string());
        let by = by
            .map(|entry| format!(" (as part of {entry})"))
            .unwrap_or_default();
        view.human
            .field(&tested.address.to_string(), format!("{word}{by}"), tone);
    }
    context.terminal.show(&view)?;
    match free {
        0 => Ok(()),
        _ => Err(Failure::new(
            FailureKind::No,
            format!("{free} of {} not blocked.", tested.len()),
        )),
    }
}
