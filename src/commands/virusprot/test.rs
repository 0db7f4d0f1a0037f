//! `kmsctl virusprot test`: is it blocked? The answer is also the exit code.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::app::{Context, require_answer};
use crate::domain::pf::table::{Entry, Found, Marked};
use crate::domain::plan::Address;
use crate::error::{Failure, FailureKind, Result};
use crate::pfsense::questions::Question;
use crate::settings::values::TypedNetwork;
use crate::terminal::Tone;

#[derive(Serialize)]
struct Tested {
    address: String,
    blocked: bool,
    /// The entry that decided: the address itself, a network around it, or the first within.
    entry: Option<String>,
    /// How many entries are within a network; null for an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<usize>,
}

/// Runs `kmsctl virusprot test`.
pub(super) async fn test_addresses(context: &Context, typed: &[TypedNetwork]) -> Result<()> {
    context.say_dropped_ports(typed);
    let (networks, addresses): (Vec<IpNet>, Vec<IpNet>) = typed
        .iter()
        .map(|typed| typed.net)
        .partition(|net| net.prefix_len() < net.max_prefix_len());
    let mut questions = Vec::new();
    if !addresses.is_empty() {
        let addresses = addresses.iter().map(IpNet::addr).collect();
        questions.push(Question::Test(addresses));
    }
    // pf tests single addresses; what is within a network is in its list.
    if !networks.is_empty() {
        questions.push(Question::Table);
    }
    let reading = context.read(&questions).await?;
    let tested: Result<Vec<Tested>> = typed
        .iter()
        .map(|TypedNetwork { net, .. }| {
            if net.prefix_len() < net.max_prefix_len() {
                Ok(test_network(*net, require_answer(&reading.table)?))
            } else {
                test_address(net.addr(), require_answer(&reading.tested)?)
            }
        })
        .collect();
    let tested = tested?;
    let free = tested.iter().filter(|tested| !tested.blocked).count();
    let data =
        serde_json::json!({ "table": context.settings.service.table.as_str(), "tested": tested });
    let mut view = context.view("virusprot.test", &reading, &data)?;
    view.items = Some(("tested", &["address", "blocked", "entry"]));
    for tested in &tested {
        let (word, tone) =
            if tested.blocked { ("blocked", Tone::Bad) } else { ("not blocked", Tone::Good) };
        let by = tested.entry.as_deref().filter(|entry| *entry != tested.address);
        let by = match (tested.within, by) {
            (Some(0), None) => format!(" (none within {})", tested.address),
            (Some(1), _) => " (1 entry within)".to_owned(),
            (Some(count @ 2..), _) => format!(" ({count} entries within)"),
            (_, Some(entry)) => format!(" (as part of {entry})"),
            (_, None) => String::new(),
        };
        view.human.field(&tested.address, format!("{word}{by}"), tone);
    }
    context.terminal.show(&view)?;
    if free == 0 {
        return Ok(());
    }
    Err(Failure::new(FailureKind::No, format!("{free} of {} not blocked.", tested.len())))
}

fn test_address(address: IpAddr, marks: &[Marked]) -> Result<Tested> {
    let Some(mark) = marks.iter().find(|mark| mark.net.addr() == address) else {
        return Err(Failure::failed(format!(
            "The firewall's answer does not speak of {address}; nothing is known about it."
        )));
    };
    let entry = match mark.found {
        Some(Found::Entry { negated: false, net }) => Some(Address::new(net).to_string()),
        _ => None,
    };
    Ok(Tested {
        address: address.to_string(),
        blocked: mark.mark == crate::domain::pf::table::Mark::Match,
        entry,
        within: None,
    })
}

fn test_network(net: IpNet, entries: &[Entry]) -> Tested {
    let entries = || entries.iter().filter(|entry| !entry.negated);
    let mut within = entries().filter(|entry| net.contains(&entry.net));
    let first = within.next();
    let around = || entries().find(|entry| entry.net.contains(&net));
    let decides = first.or_else(around);
    Tested {
        address: net.to_string(),
        blocked: decides.is_some(),
        entry: decides.map(|entry| Address::from(entry).to_string()),
        within: Some(within.count() + usize::from(first.is_some())),
    }
}
