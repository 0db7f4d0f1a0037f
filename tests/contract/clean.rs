//! Leftovers under real PHP: each kind told from what has something to do, a lock that lives, and files that are not
//! ours. What every firewall must do about leftovers is in the contract of changes.

use std::os::unix::fs::PermissionsExt as _;
use std::time::UNIX_EPOCH;

use kmsctl::domain::pfsense::leftovers::{Cleaned, Leftover, StoredFile};
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{AgentRequest, CleanRequest};

use super::agent::boxes::{Fixture, Version};
use super::agent::changing::ChangingBox;
use super::agent::{nonce, php, request};
use super::apply::{caps, done, id, reading};

/// Has these files removed, as old as they are now.
fn clean(firewall: &ChangingBox, paths: &[String]) -> Cleaned {
    let since = |path: &String| {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let modified = modified.expect("a file").duration_since(UNIX_EPOCH);
        i64::try_from(modified.expect("a time").as_secs()).expect("of today")
    };
    let files = paths.iter().map(|path| StoredFile {
        path: path.clone(),
        since: since(path),
        orphaned: false,
    });
    clean_files(firewall, files.collect())
}

fn clean_files(firewall: &ChangingBox, files: Vec<StoredFile>) -> Cleaned {
    let asked =
        CleanRequest { service: request(), id: id("clean-1"), who: "viktor@laptop".into(), files };
    let run = firewall.ask(&AgentRequest::Clean(asked));
    assert_eq!(run.stderr, "", "PHP complains");
    agent::read_reply(&run.stdout, &nonce()).expect("an answer")
}

fn of<'a>(files: &'a [Leftover], name: &str) -> Option<&'a Leftover> {
    files.iter().find(|file| file.path.ends_with(name))
}

fn path(firewall: &ChangingBox, name: &str) -> String {
    firewall.file(name).display().to_string()
}

#[test]
fn each_kind_of_leftover_is_told_with_its_reason() {
    if !php::available() {
        return;
    }
    for version in [Version::V260, Version::V272] {
        let mut firewall = ChangingBox::new(version, Fixture::Editor);
        done(&mut firewall, "c1", caps(Some(20), None));
        let ended = firewall.text("conf/kmsctl/change-c1.json");
        let write = |name: &str, text: &str| firewall.php().write(name, text.as_bytes());
        // An outcome of today is kept, to be asked about; so is another writer's version that belongs to it.
        write("conf/kmsctl/lost-c1-1795350619.xml", "<pfsense/>");
        // Its job should have gone with its end.
        write("conf/kmsctl/revert-c1.php", "#");
        write("etc/cron.d/kmsctl-c1", "#");
        let long_ago = ended.replace("\"c1\"", "\"c0\"").replace("\"since\":", "\"since\":-");
        write("conf/kmsctl/change-c0.json", &long_ago);
        write("conf/kmsctl/lost-c0-1795350619.xml", "<pfsense/>");
        write("conf/kmsctl/lost-c0-damaged.xml", "<pfsense/>");
        for name in ["conf/.kmsctl-mend.xml", "conf/.kmsctl-c0.xml"] {
            write(name, "<pfsense/>");
            firewall.make_old(name);
        }
        write("conf/kmsctl/change-c2.json", "{\"id\":");
        write("conf/kmsctl/revert-c2.php", "#");
        write("conf/kmsctl/.change-c3.json.new", "half");
        write("conf/kmsctl/.change-c4.json.new", "half");
        firewall.make_old("conf/kmsctl/.change-c3.json.new");
        write("etc/cron.d/ntp", "# not ours");
        let files = reading(&mut firewall).leftovers;
        for (name, why) in [
            ("revert-c1.php", "has ended"),
            ("cron.d/kmsctl-c1", "has ended"),
            ("change-c0.json", "more than a week ago"),
            ("lost-c0-1795350619.xml", "more than a week ago"),
            ("lost-c0-damaged.xml", "more than a week ago"),
            ("conf/.kmsctl-mend.xml", "never finished"),
            ("conf/.kmsctl-c0.xml", "never finished"),
            ("change-c2.json", "cannot be read"),
            ("revert-c2.php", "record of its change cannot be read"),
            (".change-c3.json.new", "never finished"),
        ] {
            let file = of(&files, name).unwrap_or_else(|| panic!("{name}: {files:#?}"));
            assert!(file.stale && file.why.contains(why), "{file:?}");
        }
        assert_eq!(files.len(), 10, "{files:#?}");
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let Cleaned::Done { removed, kept } = clean(&firewall, &paths) else {
            panic!("locked");
        };
        assert_eq!((removed.len(), kept.len()), (10, 0), "{kept:?}");
        assert_eq!(reading(&mut firewall).leftovers, []);
        for name in [
            "conf/kmsctl/change-c1.json",
            "conf/kmsctl/lost-c1-1795350619.xml",
            "conf/kmsctl/.change-c4.json.new",
            "etc/cron.d/ntp",
        ] {
            assert!(firewall.file(name).exists(), "{name}");
        }
    }
}

/// A record that is no change of kmsctl's, or half of one, is a leftover; whatever it holds, the rest is read.
#[test]
fn a_record_that_lacks_something_is_a_leftover() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Editor);
    done(&mut firewall, "c1", caps(Some(20), None));
    let whole: serde_json::Value =
        serde_json::from_str(&firewall.text("conf/kmsctl/change-c1.json")).expect("a record");
    let odd = |key: &str, value: serde_json::Value| {
        let mut odd = whole.clone();
        odd["id"] = "odd".into();
        odd[key] = value;
        odd.to_string()
    };
    for record in [
        r#"{"id":"odd","phase":"ended"}"#.to_owned(),
        r#"{"id":"odd","phase":"started","service":{}}"#.to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
        odd("service", serde_json::Value::Null),
        odd("service", "wan".into()),
        odd("who", serde_json::Value::Null),
        odd("what", 7.into()),
        odd("since", "yesterday".into()),
        odd("outcome", serde_json::json!({ "result": "done" })),
        odd("outcome", "done".into()),
        odd("revert_at", "tomorrow".into()),
        odd("id", "../other".into()),
        odd("id", "c1".into()),
    ] {
        let name = "conf/kmsctl/change-odd.json";
        firewall.php().write(name, record.as_bytes());
        let read = reading(&mut firewall);
        let file = of(&read.leftovers, "change-odd.json").unwrap_or_else(|| panic!("{record}"));
        assert!(file.stale && file.why == "it cannot be read", "{record}: {file:?}");
        let path = file.path.clone();
        assert!(
            matches!(clean(&firewall, &[path]), Cleaned::Done { removed, .. } if removed.len() == 1)
        );
    }
}

#[test]
fn what_is_not_a_leftover_is_never_removed() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Editor);
    done(&mut firewall, "c1", caps(Some(20), None));
    let names = ["conf/config.xml", "conf/kmsctl/../config.xml", "etc/version"];
    let paths = names.map(|name| path(&firewall, name));
    let Cleaned::Done { removed, kept } = clean(&firewall, &paths) else {
        panic!("locked");
    };
    assert_eq!((removed.len(), kept.len()), (0, 3), "{removed:?}");
    // What was written since it was looked at.
    let name = "conf/kmsctl/change-c1.json";
    let older = StoredFile { path: path(&firewall, name), since: 1_795_000_000, orphaned: false };
    let Cleaned::Done { removed, kept } = clean_files(&firewall, vec![older]) else {
        panic!("locked");
    };
    assert_eq!((removed.len(), kept.len()), (0, 1), "{removed:?}");
    assert!(names.iter().all(|name| firewall.file(name).exists()));
    assert!(firewall.file(name).exists());
}

#[test]
fn while_a_change_is_made_nothing_is_removed() {
    if !php::available() {
        return;
    }
    let mut firewall = ChangingBox::new(Version::V272, Fixture::Editor);
    done(&mut firewall, "c1", caps(Some(20), None));
    let held = br#"{"id":"x1","who":"anna@desk","what":"caps","since":1795350619,"pid":1}"#;
    firewall.php().write("conf/kmsctl/lock", held);
    firewall.php().write("conf/kmsctl/revert-gone.php", b"#");
    let lock = std::fs::File::open(firewall.file("conf/kmsctl/lock")).expect("the lock");
    lock.lock().expect("held");
    let files = reading(&mut firewall).leftovers;
    let told = of(&files, "/lock").expect("the lock");
    assert!(!told.stale && told.why == "anna@desk holds it", "{told:?}");
    let job = path(&firewall, "conf/kmsctl/revert-gone.php");
    let Cleaned::Locked { holder } = clean(&firewall, std::slice::from_ref(&job)) else {
        panic!("not locked");
    };
    assert_eq!(holder.expect("by whom").who, "anna@desk");
    assert!(firewall.file("conf/kmsctl/revert-gone.php").exists());
    lock.unlock().expect("let go");
    let files = reading(&mut firewall).leftovers;
    assert!(of(&files, "/lock").expect("the lock").stale, "{files:?}");
    assert!(
        matches!(clean(&firewall, &[job]), Cleaned::Done { removed, .. } if removed.len() == 1)
    );
    assert_eq!(reading(&mut firewall).leftovers, [], "with the lock's own");
    let mode = std::fs::metadata(firewall.file("conf/kmsctl/lock"))
        .expect("the lock")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
