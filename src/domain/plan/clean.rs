//! The plan to remove what kmsctl left behind on the firewall.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Confirm, Difference, Draft, Operation, Planned, Seen, Undo, counted};
use crate::domain::pfsense::leftovers::Leftover;
use crate::text::format_span;

/// Plans to remove every leftover; what still has something to do is left alone, and named.
pub fn plan_cleaning(leftovers: &[Leftover], now: Timestamp) -> Planned {
    let stale: Vec<&Leftover> = leftovers.iter().filter(|file| file.stale).collect();
    let pending = leftovers.len() - stale.len();
    let still = match pending {
        0 => String::new(),
        1 => " 1 file still has something to do, and stays.".to_owned(),
        more => format!(" {more} files still have something to do, and stay."),
    };
    if stale.is_empty() {
        return Planned::NothingToDo(format!(
            "Nothing to do: kmsctl has left nothing behind on the firewall.{still}"
        ));
    }
    let difference = |file: &&Leftover| {
        let age = now.as_second().saturating_sub(file.since).max(0);
        let age = format_span(age.unsigned_abs());
        let words = format!("{age} old: {}", file.why);
        Difference::new(&file.path, words, None::<&str>)
    };
    Draft {
        what: format!(
            "Remove {} of kmsctl that nothing needs any more.",
            counted(stale.len(), "file", "files")
        ),
        differences: stale.iter().map(difference).collect(),
        checks: vec![
            "None of these files is there any more.".to_owned(),
            format!("What is armed stays armed.{still}"),
        ],
        undo: Undo::Impossible("Nothing needs these files.".to_owned()),
        risks: Vec::new(),
        confirm: Confirm::YesNo,
        seen: Seen::of(leftover_facts(stale.iter().copied())),
        operation: Operation::Clean { paths: stale.iter().map(|file| file.path.clone()).collect() },
        reverts_after: None,
        undoes: None,
    }
    .into()
}

pub fn leftover_facts<'a>(files: impl Iterator<Item = &'a Leftover>) -> BTreeMap<String, String> {
    files
        .map(|file| {
            let word = if file.stale { "stale" } else { "pending" };
            (file.path.clone(), format!("{word} since {}", file.since))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, stale: bool) -> Leftover {
        Leftover {
            path: path.to_owned(),
            since: 1_795_000_000,
            stale,
            why: "no change of this name is kept here".to_owned(),
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000 + 3 * 86_400).unwrap()
    }

    #[test]
    fn only_what_is_left_over_is_removed_and_each_with_its_reason() {
        let files =
            [file("/conf/kmsctl/revert-a.php", true), file("/conf/kmsctl/revert-b.php", false)];
        let Planned::Change(draft) = plan_cleaning(&files, now()) else {
            panic!("nothing to do");
        };
        let paths = vec!["/conf/kmsctl/revert-a.php".to_owned()];
        assert_eq!(draft.operation, Operation::Clean { paths });
        let words = draft.differences[0].before.as_str().unwrap();
        assert_eq!(words, "3d old: no change of this name is kept here");
        assert!(draft.checks[1].contains("1 file still"), "{:?}", draft.checks);
    }

    #[test]
    fn pending_files_alone_are_nothing_to_do() {
        let planned = plan_cleaning(&[file("/conf/kmsctl/revert-b.php", false)], now());
        assert!(
            matches!(&planned, Planned::NothingToDo(words) if words.ends_with("and stays.")),
            "{planned:?}"
        );
        assert!(matches!(plan_cleaning(&[], now()), Planned::NothingToDo(_)));
    }
}
