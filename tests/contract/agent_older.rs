//! A firewall that an older kmsctl has changed, whose agent knew for itself what a change does: what that has stored is
//! read, listed and taken over, and what it has armed runs by its own script. The script is a fixture.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kmsctl::domain::pfsense::change::{ChangeEnding, ConfigurationEdit, Kept, OutcomeAnswer};
use serde_json::{Value, json};

use super::agent::request;
use super::apply::{answer, caps, done, id, reading};
use crate::support::boxes::{Fixture, Version};
use crate::support::changing::ChangingBox;
use crate::support::php;
use kmsctl::pfsense::agent::{AgentRequest, KeepRequest};

const OLDER: &str = include_str!("../fixtures/agent-0.1.0/changing.php");

/// Has the older agent make a change; it ends with `done`.
fn changed_by_older(firewall: &mut ChangingBox, name: &str, change: &Value, lasts: Option<i64>) {
    let service = request();
    let expect = reading(firewall).fingerprint;
    let now: i64 = firewall.text("clock").trim().parse().expect("a clock");
    let asked = json!({
        "nonce": "older",
        "php": firewall.file("php"),
        "service": {
            "alias": service.alias, "address": service.address, "port": service.port,
            "interface": service.interface, "table": service.table.as_str(),
        },
        "action": {
            "name": "apply", "id": name, "who": "anna@desk", "reason": null, "expect": expect,
            "change": change, "with_pending": false, "revert_at": lasts.map(|lasts| now + lasts),
        },
    });
    let script = OLDER.replacen("@REQUEST@", &BASE64.encode(asked.to_string()), 1).replacen(
        "@ITSELF@",
        &BASE64.encode(OLDER),
        1,
    );
    let run = firewall.php().run(script.as_bytes());
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("\"result\":\"done\""), "{name}: {said} {}", run.stderr);
}

fn tighter() -> Value {
    json!({ "kind": "caps", "max_src_conn": 10, "rate": { "connections": 3, "seconds": 60 } })
}

#[test]
fn what_an_older_kmsctl_armed_still_runs() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let mut firewall = ChangingBox::new(version, Fixture::Editor);
        let at_first = firewall.ours();
        changed_by_older(&mut firewall, "older", &tighter(), Some(3600));
        let armed = reading(&mut firewall).armed;
        assert_eq!(armed.len(), 1, "{version:?}");
        assert_eq!((armed[0].id.as_str(), armed[0].who.as_str()), ("older", "anna@desk"));
        firewall.make_due(&id("older"));
        assert_eq!(firewall.tick(), 1);
        assert_eq!(firewall.ours(), at_first, "{version:?}");
        let read = reading(&mut firewall);
        assert_eq!((read.armed.len(), read.expired.len()), (0, 1));
        assert_eq!(read.expired[0].reverted.result, ChangeEnding::Done);
        let OutcomeAnswer::Ended { outcome } = answer(&mut firewall, "older", false) else {
            panic!("it is known");
        };
        assert_eq!(outcome.result, ChangeEnding::Done);
        assert!(outcome.before.filter.is_some() && outcome.before != outcome.after);
    }
}

#[test]
fn what_an_older_kmsctl_armed_is_kept_or_superseded() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Editor);
    changed_by_older(&mut firewall, "older1", &tighter(), Some(3600));
    let keep =
        AgentRequest::Keep(KeepRequest { service: request(), id: id("older1"), until: None });
    let kept = firewall.keep(&keep).expect("an answer");
    assert!(matches!(kept, Kept::Kept { .. }), "{kept:?}");
    let looser = json!({ "kind": "caps", "max_src_conn": 99, "rate": null });
    changed_by_older(&mut firewall, "older2", &looser, Some(3600));
    done(&mut firewall, "newer", caps(Some(20), None));
    let read = reading(&mut firewall);
    assert_eq!(read.armed, []);
    assert_eq!(read.expired[0].id.as_str(), "older2");
    assert_eq!(firewall.tick(), 0, "nothing of it is left to run");
}

#[test]
fn what_an_older_kmsctl_deleted_comes_back() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Editor);
    let at_first = firewall.ours();
    changed_by_older(&mut firewall, "older", &json!({ "kind": "delete" }), None);
    let deleted = reading(&mut firewall).deleted.expect("what was deleted");
    assert_eq!((deleted.id.as_str(), deleted.who.as_str()), ("older", "anna@desk"));
    let back = ConfigurationEdit::PutBack { records: Box::new(deleted.records), alias: false };
    done(&mut firewall, "newer", back);
    assert_eq!(firewall.ours(), at_first);
}
