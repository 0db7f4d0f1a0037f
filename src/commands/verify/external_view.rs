//! What `kmsctl verify --external` shows. No judgement in here.

use serde::Serialize;

use crate::app::Context;
use crate::domain::reachability::external::{
    Expected, FirewallEvidence, PortState, PublicNames, Quorum, Seen, Verdict,
};
use crate::domain::reachability::finding::Finding;
use crate::error::Result;
use crate::terminal::human::text_column;
use crate::terminal::{Tone, View};
use crate::vantage::prove::Proof;

/// `data` of the schema `verify`.
#[derive(Serialize)]
struct Data<'a> {
    verdict: Verdict,
    expected: Option<Expected>,
    as_expected: Option<bool>,
    summary: &'a str,
    hops: [&'a Finding; 1],
    vantages: &'a [Seen],
    quorum: Quorum,
    target: Option<String>,
    firewall: &'a FirewallEvidence,
    name: &'a PublicNames,
}

const COLUMNS: &[&str] =
    &["vantage", "kind", "node", "address", "verdict", "port", "reason", "row", "why"];

pub fn external_view(context: &Context, proof: &Proof) -> Result<View> {
    let judgement = &proof.judgement;
    let target = proof.target.map(|target| target.to_string());
    let data = Data {
        verdict: judgement.verdict,
        expected: judgement.expected,
        as_expected: judgement.as_expected,
        summary: &judgement.summary,
        hops: [&proof.whole],
        vantages: &judgement.vantages,
        quorum: judgement.quorum,
        target: target.clone(),
        firewall: &proof.end,
        name: &proof.names,
    };
    let mut view = context.view("verify", &proof.reading, &data)?;
    view.items = Some(("vantages", COLUMNS));
    view.warnings.extend(proof.warnings.iter().cloned());
    view.warnings.extend(judgement.findings.iter().cloned());
    let tone = match (judgement.verdict, judgement.as_expected) {
        (Verdict::Inconclusive, _) | (_, None) => Tone::Warning,
        (_, Some(true)) => Tone::Good,
        (_, Some(false)) => Tone::Bad,
    };
    let human = &mut view.human;
    human.field("Verdict", &judgement.summary, tone);
    if let Some(fix) = proof.whole.fix.as_ref().filter(|_| judgement.as_expected != Some(true)) {
        human.field("Fix", fix, Tone::Plain);
    }
    let unknown = || "unknown".to_owned();
    let tried = format!("{} ({})", target.unwrap_or_else(unknown), proof.names.host);
    human.field("Tried", tried, Tone::Plain);
    human.field("Firewall", proof.end.to_string(), Tone::Plain);
    let quorum = judgement.quorum;
    human.field(
        "Vantages",
        format!(
            "{} open, {} closed, {} inconclusive",
            quorum.open, quorum.closed, quorum.inconclusive
        ),
        Tone::Plain,
    );
    human.gap();
    let columns = ["VANTAGE", "FROM", "VERDICT", "PORT", "WHY"].map(text_column).into();
    human.table(columns, judgement.vantages.iter().map(external_row).collect());
    Ok(view)
}

fn external_row(seen: &Seen) -> Vec<String> {
    let name = match &seen.node {
        Some(node) => format!("{}/{node}", seen.vantage),
        None => seen.vantage.clone(),
    };
    let from = seen.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let port = seen.port.map_or("-", PortState::name);
    let reason = seen.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    vec![name, from, seen.verdict.name().to_owned(), format!("{port}{reason}"), seen.why.clone()]
}
