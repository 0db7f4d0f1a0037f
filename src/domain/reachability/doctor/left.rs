//! What kmsctl itself keeps: the history on this machine, and its files on the firewall.

use super::Facts;
use crate::domain::reachability::finding::Finding;

/// The history on this machine.
#[derive(Clone, Copy, Debug)]
pub struct LeftoverChain<'a> {
    /// Records.
    pub events: usize,
    /// The first line at which the chain does not hold, and what is wrong there.
    pub broken: Option<(u64, &'a str)>,
    /// Bytes of a torn last line.
    pub torn: usize,
}

/// Judges the history on this machine.
pub fn journal_chain_finding(chain: &LeftoverChain<'_>) -> Finding {
    let check = "journal";
    if let Some((line, what)) = chain.broken {
        return Finding::wrong(
            check,
            format!("The history's chain is broken at line {line}: {what}."),
            "Somebody or something wrote into it. See `kmsctl history --verify`; keep the file, and compare it with a backup.",
        );
    }
    if chain.torn > 0 {
        return Finding::unknown(
            check,
            format!(
                "The history ends in a torn record of {} bytes, from a machine that went down while writing.",
                chain.torn
            ),
        )
        .fix("The next change takes it out and notes it. `kmsctl history` tells how the last change ended.");
    }
    Finding::ok(
        check,
        match chain.events {
            0 => "The history is empty.".to_owned(),
            1 => "The history has 1 record, and its chain is whole.".to_owned(),
            more => format!("The history has {more} records, and its chain is whole."),
        },
    )
}

/// Tells what has something to do from what was left behind. Without PHP only the names in /etc/cron.d are known.
pub(super) fn leftover_findings(facts: &Facts<'_>) -> Finding {
    let check = "leftovers";
    let Ok(configured) = &facts.configured else {
        return armed_finding(facts);
    };
    let told = |stale: bool| -> Vec<String> {
        let files = configured.leftovers.iter();
        files
            .filter(|file| file.stale == stale)
            .map(|file| format!("{} ({})", file.path, file.why))
            .collect()
    };
    let (stale, pending) = (told(true), told(false));
    let waits = match pending.as_slice() {
        [] => String::new(),
        files => format!(" Pending: {}.", files.join("; ")),
    };
    if stale.is_empty() {
        let nothing = "kmsctl has left nothing behind on the firewall";
        return Finding::ok(
            check,
            if pending.is_empty() {
                format!("{nothing}, and nothing is armed.")
            } else {
                format!("{nothing}.{waits}")
            },
        );
    }
    Finding::wrong(
        check,
        format!("Left behind: {}.{waits}", stale.join("; ")),
        "Remove them with `kmsctl doctor --clean`; what is pending stays.",
    )
}

fn armed_finding(facts: &Facts<'_>) -> Finding {
    match &facts.armed {
        Err(trouble) => trouble.finding("leftovers"),
        Ok([]) => Finding::ok("leftovers", "kmsctl has nothing armed on the firewall."),
        Ok(files) => Finding::unknown(
            "leftovers",
            format!(
                "Armed in /etc/cron.d: {}. Temporary changes have their way back there.",
                files.join(", ")
            ),
        )
        .fix("`kmsctl history` tells which are pending; any other is a leftover."),
    }
}
