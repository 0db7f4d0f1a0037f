//! The exposure's rules as assumptions: found once, joined, capped, in nobody's way. The judgement itself is
//! [`crate::domain::exposure`]'s; this sorts its findings into checks.

use super::Facts;
use crate::domain::exposure::pair::Pair;
use crate::domain::reachability::finding::Finding;
use crate::domain::reachability::path::gate;

/// Judges everything about the rules.
pub(super) fn rule_findings(facts: &Facts<'_>) -> Vec<Finding> {
    let paths = facts.exposure.as_ref().ok();
    let paths = paths.and_then(|exposure| gate::other_paths(exposure));
    let findings = vec![
        states_finding(facts),
        pair_finding(facts),
        rules_finding(facts),
        association_finding(facts),
        loadable_finding(facts),
        capped_finding(facts),
        reflection_finding(facts),
    ];
    findings.into_iter().chain(paths).collect()
}

fn states_finding(facts: &Facts<'_>) -> Finding {
    let check = "state-policy";
    let text = match &facts.exposure {
        Ok(exposure) => exposure.filter.text.as_deref(),
        Err(trouble) => return trouble.finding(check),
    };
    match text {
        None => Finding::skipped(check, "The filter rule is not loaded."),
        Some(text) if text.contains("if-bound") => {
            Finding::ok(check, "States are bound to their interface (if-bound).")
        }
        Some(_) => Finding::ok(
            check,
            "States are not bound to an interface (floating), as pfSense up to 2.7.2 makes them.",
        ),
    }
}

/// Makes one finding of those sentences of the exposure that carry one of the codes.
fn of_codes(
    facts: &Facts<'_>,
    check: &'static str,
    codes: &[&str],
    fine: &str,
    fix: &str,
) -> Finding {
    let exposure = match &facts.exposure {
        Ok(exposure) => exposure,
        Err(trouble) => return trouble.finding(check),
    };
    let told: Vec<&str> = exposure
        .why
        .iter()
        .filter(|finding| codes.contains(&finding.code))
        .map(|finding| finding.message.as_str())
        .collect();
    if told.is_empty() {
        return Finding::ok(check, fine);
    }
    Finding::wrong(check, told.join(" "), fix)
}

fn pair_finding(facts: &Facts<'_>) -> Finding {
    let found = match &facts.exposure {
        Ok(exposure) => (exposure.nat.configured, exposure.filter.configured),
        Err(trouble) => return trouble.finding("pair"),
    };
    let mut codes = vec![
        "duplicate-nat",
        "duplicate-filter",
        "duplicate-association",
        "tracker-shared",
        "no-tracker",
        "not-linked",
        "linked-rule-missing",
        "interface-missing",
    ];
    if found == (None, None) {
        return Finding::unknown("pair", "Unknown: config.xml was not read.");
    }
    if found == (Some(false), Some(false)) {
        return Finding::skipped(
            "pair",
            "There is no port forward to the service, and no filter rule.",
        );
    }
    // Both off is a closed exposure; one alone is a change that somebody did not finish.
    let halves = facts
        .exposure
        .as_ref()
        .map(|exposure| (exposure.nat.enabled, exposure.filter.enabled));
    match halves {
        Ok((Some(false), Some(true))) => codes.push("nat-disabled"),
        Ok((Some(true), Some(false))) => codes.push("filter-rule-disabled"),
        _ => {}
    }
    of_codes(
        facts,
        "pair",
        &codes,
        "The port forward and its filter rule are there once each, and joined.",
        "Look at `kmsctl expose show`, then at Firewall > NAT in pfSense.",
    )
}

fn rules_finding(facts: &Facts<'_>) -> Finding {
    let codes = [
        "earlier-block",
        "earlier-pass",
        "other-inside-port",
        "other-target",
        "no-rdr-exception",
        "source-limited",
        "other-pass",
        "shadowed",
        "group-pass",
    ];
    of_codes(
        facts,
        "other-rules",
        &codes,
        "No other rule stands in the way, and none lets others in.",
        "Look at `kmsctl expose show`, then at Firewall > Rules in pfSense.",
    )
}

fn association_finding(facts: &Facts<'_>) -> Finding {
    let check = "association";
    let configured = match &facts.configured {
        Ok(configured) => configured,
        Err(trouble) => return trouble.finding(check),
    };
    let pair = Pair::find(configured, facts.service);
    if let Some(foreign) = &pair.foreign {
        return Finding::wrong(
            check,
            format!(
                "No filter rule is the exposure's own: {}.",
                foreign.clause()
            ),
            "Give the port forward a filter rule of its own (Firewall > NAT).",
        );
    }
    let fix = "Give the port forward an associated filter rule (Firewall > NAT), then set the caps with `kmsctl ratelimit default`.";
    match pair
        .nat
        .map(|nat| nat.association.as_deref().unwrap_or_default())
    {
        None => Finding::skipped(check, "There is no port forward to the service."),
        Some("pass") => Finding::wrong(
            check,
            "The association is \"Pass\": open, without a filter rule, and no caps are possible.",
            fix,
        ),
        Some("") => Finding::wrong(
            check,
            "The port forward is not associated with a filter rule: pfSense will not toggle them together.",
            fix,
        ),
        Some(_) => Finding::ok(
            check,
            "The port forward is associated with its filter rule.",
        ),
    }
}

fn loadable_finding(facts: &Facts<'_>) -> Finding {
    let codes = [
        "half-rate",
        "cap-not-a-number",
        "caps-ignored",
        "no-overload",
        "never-overloads",
        "other-table",
    ];
    of_codes(
        facts,
        "caps-loadable",
        &codes,
        "pfSense can load the caps as they are configured.",
        "Set them whole with `kmsctl ratelimit default`.",
    )
}

fn capped_finding(facts: &Facts<'_>) -> Finding {
    match &facts.exposure {
        Ok(exposure) => gate::caps_hop(exposure),
        Err(trouble) => trouble.finding("caps"),
    }
}

fn reflection_finding(facts: &Facts<'_>) -> Finding {
    let check = "reflection";
    let configured = match &facts.configured {
        Ok(configured) => configured,
        Err(trouble) => return trouble.finding(check),
    };
    let Some(nat) = Pair::find(configured, facts.service).nat else {
        return Finding::skipped(check, "There is no port forward to the service.");
    };
    let reflected = facts.exposure.as_ref().ok().and_then(|exposure| {
        let mut why = exposure.why.iter();
        why.find(|finding| finding.code == "reflection")
    });
    if let Some(finding) = reflected {
        return Finding::ok(check, finding.message.clone());
    }
    Finding::ok(
        check,
        match nat.natreflection.as_deref() {
            None | Some("") => {
                "The system's default (off, unless System > Advanced says otherwise)."
            }
            Some("disable") => "Off: inside, the public address does not lead to the service.",
            Some("purenat") => {
                "Pure NAT: inside clients may use the public address; the caps of WAN do not apply to them."
            }
            Some(_) => {
                "NAT and proxy: inside clients arrive from the firewall's own address; the caps of WAN do not apply to them."
            }
        },
    )
}
