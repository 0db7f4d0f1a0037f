//! A cron item's command line: does it age out the table, and at what age? Read are pfSense's own job and pfctl's `expire`,
//! each alone in its item; anything else that names the table is not understood, and says so.

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::pf::table::TableName;
use crate::text::quoted;

/// What a command line does with the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Age {
    NotOurs,
    /// It names the table, and is not understood: a sentence without full stop.
    Unread(String),
    /// It frees entries older than this.
    Seconds(u64),
}

/// `expiretable` takes seconds, or numbers with `d`, `h`, `m`, `s`; pfctl takes seconds.
static JOB: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x)^(?:(?:/usr/bin/)?nice\ (?:-n\ ?)?-?\d+\ )?
        (?:(?:/usr/local/sbin/)?expiretable\ (?:-v\ )?-v?t\ ?
            (?:(?P<plain>\d+)|(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?)
            \ (?P<of_expiretable>[\w.-]+)
        |(?:/sbin/)?pfctl\ (?:-q\ )?-t\ (?P<of_pfctl>[\w.-]+)\ -T\ expire\ (?P<seconds>\d+))
        (?:\ *>\ ?/dev/null(?:\ 2>&1)?)?$",
    )
    .ok()
});

/// Returns the age at which a cron command line frees entries of the table.
pub(super) fn age_of(command: &str, table: &TableName) -> Age {
    let inside = |letter: char| letter.is_alphanumeric() || "_-./".contains(letter);
    if !command.split(|letter| !inside(letter)).any(|word| word == table.as_str()) {
        return Age::NotOurs;
    }
    job_age(command, table).map_or_else(
        || {
            let shown: String = command.chars().take(120).collect();
            Age::Unread(format!("the cron item {} is not understood", quoted(&shown)))
        },
        Age::Seconds,
    )
}

fn job_age(command: &str, table: &TableName) -> Option<u64> {
    const UNITS: [(&str, u64); 6] =
        [("plain", 1), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1), ("seconds", 1)];
    let words: Vec<&str> = command.split_whitespace().collect();
    let words = words.join(" ");
    let job = JOB.as_ref()?.captures(&words)?;
    let named = job.name("of_expiretable").or(job.name("of_pfctl"))?;
    let mut age: u64 = 0;
    for (group, length) in UNITS {
        let number = job.name(group).map_or(Ok(0), |digits| digits.as_str().parse::<u64>());
        age = age.checked_add(number.ok()?.checked_mul(length)?)?;
    }
    // expiretable takes less than 100 million seconds.
    let fits = (1..100_000_000).contains(&age) || job.name("seconds").is_some();
    (fits && named.as_str() == table.as_str()).then_some(age)
}
