//! pfctl's stderr: counts, errors, rubbish, properties.

use proptest::prelude::*;

use super::*;

fn only(line: &str) -> Message {
    let parsed = parse(line.as_bytes());
    assert_eq!(parsed.unread, [], "{line}");
    assert_eq!(parsed.value[0].to_string(), line);
    parsed.value[0].clone()
}

#[test]
fn counts_are_read() {
    let deleted = |done, of, dry_run| Message::Addresses {
        done,
        of,
        verb: Verb::Deleted,
        dry_run,
    };
    assert_eq!(only("0/1 addresses deleted."), deleted(0, Some(1), false));
    assert_eq!(only("3 addresses deleted."), deleted(3, None, false));
    assert_eq!(
        only("1/1 addresses deleted (dummy)."),
        deleted(1, Some(1), true)
    );
    assert_eq!(
        parse(b"1/1 addresses deleted (syntax only).").value,
        [deleted(1, Some(1), true)]
    );
    assert_eq!(
        only("1 table created."),
        Message::Tables {
            count: 1,
            verb: Verb::Created,
            dry_run: false
        }
    );
    assert_eq!(
        only("killed 4 states from 1 sources and 0 destinations"),
        Message::Killed {
            what: Killed::States,
            count: 4,
            among: Some((1, 0))
        }
    );
    assert_eq!(
        only("killed 1 src nodes from 1 sources and 0 destinations"),
        Message::Killed {
            what: Killed::SourceNodes,
            count: 1,
            among: Some((1, 0))
        }
    );
    assert_eq!(
        only("killed 9 states"),
        Message::Killed {
            what: Killed::States,
            count: 9,
            among: None
        }
    );
    assert_eq!(only("27 states cleared"), Message::StatesCleared(27));
}

#[test]
fn errors_are_read() {
    assert_eq!(
        only("pfctl: Table does not exist."),
        Message::Error("Table does not exist.".to_owned())
    );
    assert_eq!(
        only("stdin:1: syntax error"),
        Message::RulesetError("stdin:1: syntax error".to_owned())
    );
    assert_eq!(
        only("no IP address found for not-an-address"),
        Message::NotAnAddress("not-an-address".to_owned())
    );
}

#[test]
fn warnings_are_no_errors() {
    let text = "table <x> already defined in anchor \"/\"";
    assert_eq!(
        only(&format!("pfctl: warning: {text}")),
        Message::Warning(text.to_owned())
    );
    for line in [
        "cannot get astats from virusprot: too many elements.",
        "Consider increasing net.pf.request_maxcount.",
    ] {
        assert_eq!(only(line), Message::TooMany(line.to_owned()));
    }
}

#[test]
fn rubbish_is_reported() {
    let text = "\tnot usage\n3/ addresses deleted.\n3 addresses eaten.\nkilled 3\nkilled 3 states from\nsh: pfctl: not found\n";
    assert_eq!(parse(text.as_bytes()).unread.len(), 6);
}

proptest! {
    #[test]
    fn what_is_understood_prints_back(line in "([0-9]{1,3}(/[0-9]{1,3})?|no|killed) ?[ -~]{0,30}") {
        let line = line.trim_end();
        for message in parse(line.as_bytes()).value {
            let printed = message.to_string().replace("(dummy)", "(syntax only)");
            prop_assert_eq!(parse(printed.as_bytes()).value, [message]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        parse(&text);
    }
}
