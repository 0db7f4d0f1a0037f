//! `kmsctl verify --external`: tries the service from every vantage, in parallel, reads the firewall before and
//! after over one held shell, and has both ends judged. No rules in here.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::report;
use super::vantage::{self, Prepared};
use crate::commands::context::{Context, Opened, interrupted, needed};
use crate::commands::expose;
use crate::domain::blocked::is_private;
use crate::domain::exposure::Exposure;
use crate::domain::reach::{self, End, Expected, Judgement, Names, Resolved, Side};
use crate::domain::warning::Warning;
use crate::error::{Failure, Kind, Result};
use crate::firewall::facts::{Question, Reading};
use crate::outside::all;
use crate::settings::vantages::Vantage;

/// The whole run; what has not begun an attempt by then is inconclusive.
const WHOLE: Duration = Duration::from_secs(15);
/// What is left of it for the last attempt, its answer and the second reading.
const TAIL: Duration = Duration::from_secs(4);
/// How long the system's resolver may take.
const RESOLVE: Duration = Duration::from_secs(2);
/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these vantages.
    pub from: Vec<String>,
    /// What should be true; `None` is what the firewall's rules say.
    pub expect: Option<Expected>,
}

/// What a run proved.
#[derive(Debug)]
pub struct Proof {
    /// The judgement.
    pub judgement: Judgement,
    /// The firewall's end.
    pub end: End,
    /// The public name.
    pub names: Names,
    /// Where was connected to, if that was known.
    pub target: Option<SocketAddr>,
    /// The firewall's second reading.
    pub reading: Reading,
    /// What else should be known.
    pub warnings: Vec<Warning>,
    /// Set when no vantage could be used: why the first could not.
    pub trouble: Option<Failure>,
}

/// Runs `kmsctl verify --external`. Fails with [`Kind::No`] when it is not as expected, with [`Kind::Inconclusive`]
/// when nothing is proven, and as unreachable when no vantage could be used; the report is shown in any case.
pub async fn external(context: &Context, request: &Request) -> Result<()> {
    let proof = Box::pin(prove(context, request)).await?;
    context.terminal.show(&report::view(context, &proof)?)?;
    let Proof {
        judgement, trouble, ..
    } = proof;
    match (trouble, judgement.verdict) {
        (Some(trouble), _) => Err(trouble),
        (None, reach::Verdict::Inconclusive) => {
            Err(Failure::new(Kind::Inconclusive, "Nothing is proven."))
        }
        (None, _) if judgement.as_expected => Ok(()),
        (None, _) => Err(Failure::new(
            Kind::No,
            format!("It is not {} as expected.", judgement.expected.word()),
        )),
    }
}

/// The questions whose answers both readings need.
fn questions() -> Vec<Question> {
    let others = [
        Question::Client,
        Question::Interfaces,
        Question::Gateway,
        Question::Table,
        Question::States(None),
    ];
    expose::QUESTIONS.iter().cloned().chain(others).collect()
}

/// Tries the service from outside and judges.
pub async fn prove(context: &Context, request: &Request) -> Result<Proof> {
    let chosen = choose(&context.settings.vantages, &request.from)?;
    let deadline = Instant::now() + WHOLE - TAIL;
    let preparing = chosen
        .iter()
        .map(|vantage| vantage::prepare(context, vantage));
    let work = async {
        let host = &context.settings.service.host;
        tokio::join!(
            first_reading(context),
            all(preparing.collect()),
            resolve(host, context.demo)
        )
    };
    let (first, prepared, resolved) = Box::pin(uninterrupted(work)).await?;
    let (mut opened, before) = first?;
    let names = names_of(context, &before, resolved, &prepared);
    let target = names
        .target()
        .map(|address| SocketAddr::new(address, context.settings.service.port));
    let spinner = context.terminal.spinner("Trying from outside …");
    let trying = chosen.iter().zip(&prepared).map(|(vantage, prepared)| {
        vantage::try_out(context, vantage, prepared, &before, target, deadline)
    });
    let observations = uninterrupted(all(trying.collect())).await?.concat();
    spinner.finish_and_clear();
    let reading = context.ask(&mut opened).await;
    let closed = opened.close().await;
    let reading = reading?;
    closed?;
    let mut warnings = Vec::new();
    let exposure = expose::assess(context, &before, &mut Vec::new())?;
    let after = expose::assess(context, &reading, &mut warnings)?;
    let end = compare(context, (&before, &exposure), (&reading, &after))?;
    let by_rules = if exposure.state.lets_in() {
        Expected::Open
    } else {
        Expected::Closed
    };
    let expected = request.expect.unwrap_or(by_rules);
    let judgement = reach::judge(&observations, &end, &names, expected);
    let trouble = vantage::all_in_trouble(&chosen, &prepared);
    for prepared in prepared {
        prepared.close().await;
    }
    Ok(Proof {
        judgement,
        end,
        names,
        target,
        reading,
        warnings,
        trouble,
    })
}

/// Waits for work, or for Ctrl-C.
async fn uninterrupted<T>(work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        done = work => Ok(done),
        () = interrupted() => Err(Failure::new(Kind::Interrupted, "Interrupted.")),
    }
}

/// Collects what is known about the public name.
fn names_of(
    context: &Context,
    before: &Reading,
    resolved: Resolved,
    prepared: &[Prepared],
) -> Names {
    let told = prepared.iter().flat_map(Prepared::told).cloned();
    Names {
        host: context.settings.service.host.clone(),
        expected: context
            .settings
            .verify
            .public_address
            .or_else(|| outside_address(before)),
        resolved: [resolved].into_iter().chain(told).collect(),
    }
}

async fn first_reading(context: &Context) -> Result<(Opened, Reading)> {
    let mut opened = context.open(&questions()).await?;
    match context.ask(&mut opened).await {
        Ok(reading) => Ok((opened, reading)),
        Err(failure) => {
            opened.close().await?;
            Err(failure)
        }
    }
}

fn compare(
    context: &Context,
    (before, exposure_before): (&Reading, &Exposure),
    (after, exposure_after): (&Reading, &Exposure),
) -> Result<End> {
    fn side<'a>(reading: &'a Reading, exposure: &'a Exposure) -> Result<Side<'a>> {
        Ok(Side {
            exposure,
            filter: needed(&reading.rules)?,
            states: needed(&reading.states)?,
            table: needed(&reading.table)?,
        })
    }
    let before = side(before, exposure_before)?;
    let after = side(after, exposure_after)?;
    Ok(End::between(before, after, &context.settings.service))
}

/// Returns the vantages to use, or says how to get one.
fn choose<'a>(vantages: &'a [Vantage], from: &[String]) -> Result<Vec<&'a Vantage>> {
    if vantages.is_empty() {
        return Err(Failure::usage("No vantage is configured: there is no place outside to try from.")
            .hint("Any SSH login outside will do: [vantages.vps] with host = \"vps.example.net\"; nothing is installed there.")
            .hint("A public check service: [vantages.public] with kind = \"check-host\"; it learns the address and port.")
            .hint("This machine on another line, such as a phone's: [vantages.tether] with kind = \"local\"."));
    }
    if from.is_empty() {
        return Ok(vantages.iter().collect());
    }
    from.iter()
        .map(|name| {
            vantages
                .iter()
                .find(|vantage| vantage.name == *name)
                .ok_or_else(|| {
                    let names: Vec<&str> = vantages
                        .iter()
                        .map(|vantage| vantage.name.as_str())
                        .collect();
                    Failure::usage(format!("There is no vantage `{name}`."))
                        .hint(format!("There are: {}.", names.join(", ")))
                })
        })
        .collect()
}

/// Returns the firewall's own outside address, where it is a public one.
fn outside_address(reading: &Reading) -> Option<IpAddr> {
    let gateway = reading.gateway?;
    reading
        .interfaces
        .iter()
        .find(|own| own.net.contains(&gateway))
        .map(|own| own.net.addr())
        .filter(|address| !is_private(address))
}

/// Asks the system's resolver; the demo asks nobody.
async fn resolve(host: &str, demo: bool) -> Resolved {
    let literal = host.parse::<IpAddr>().ok();
    let asked = async {
        if demo && literal.is_none() {
            return Err(std::io::Error::other("the demo asks nobody"));
        }
        tokio::net::lookup_host((host, 0))
            .await
            .map(Iterator::collect::<Vec<SocketAddr>>)
    };
    let answer = match timeout(RESOLVE, asked).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.iter().map(SocketAddr::ip) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", RESOLVE.as_secs())),
    };
    Resolved {
        by: "this machine's resolver".to_owned(),
        from_outside: false,
        answer,
    }
}
