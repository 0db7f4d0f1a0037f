//! The fault campaign on the operator's side: the real tool through OpenSSH's own sshd on a firewall of real PHP, on
//! which something happens at a moment of the change. What its exit code and its report say must be true of the
//! firewall in that moment, and what its history says when all is calm again.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::boxes::{Fixture, Version};
use crate::support::campaign::{Campaign, Kind, Ran, Random, Wrong};
use crate::support::changing::{ChangingBox, TABLE};
use crate::support::environment::Outcome;
use crate::support::php;

#[path = "client_campaign/site.rs"]
mod site;

use site::Site;

/// Thousands take an hour: by `KMSCTL_CAMPAIGN_RUNS`.
const CAMPAIGN: Campaign = Campaign { name: "client", runs: 80, time: Duration::from_secs(35) };

const ADDRESSES: [&str; 4] = ["192.0.2.7", "198.51.100.23", "203.0.113.77", "2001:db8::77"];

/// A command, and those that make the firewall what it begins on. `ID` is the id of the last of these.
const COMMANDS: [(&[&[&str]], &[&str]); 17] = [
    (&[], &["ratelimit", "tighten"]),
    (&[], &["ratelimit", "loosen"]),
    (&[], &["ratelimit", "set", "--max-src-conn", "20", "--rate", "5/60"]),
    (&[&["ratelimit", "tighten"]], &["ratelimit", "default"]),
    (&[], &["ratelimit", "tighten", "--for", "2h"]),
    (&[], &["expose", "revoke"]),
    (&[], &["expose", "revoke", "--for", "2h"]),
    (&[], &["expose", "revoke", "--delete"]),
    (&[&["expose", "revoke"]], &["expose", "restore"]),
    (&[&["expose", "revoke", "--delete"]], &["expose", "restore"]),
    (&[&["expose", "revoke", "--delete"]], &["expose", "apply"]),
    (&[&["ratelimit", "tighten"]], &["undo", "ID"]),
    (&[&["expose", "revoke", "--for", "2h"]], &["keep", "ID"]),
    (&[], &["virusprot", "delete", "192.0.2.7", "203.0.113.77"]),
    (&[], &["virusprot", "expire", "--older-than", "1h"]),
    (&[], &["virusprot", "flush"]),
    (&[&["virusprot", "flush"]], &["undo", "ID"]),
];

const TRANSPORTS: [&str; 2] = ["openssh", "russh"];

/// What happens, at a moment of the change on the firewall.
const FAULTS: [&str; 12] = [
    "kill", "kill", "die", "writer", "full", "cut", "cut", "cut", "down", "down", "power",
    "nothing",
];

/// What goes wrong besides.
const TROUBLES: [&str; 22] = [
    "load-error 1",
    "load-error 2",
    "load-silent 1",
    "load-silent 2",
    "load-busy 1",
    "load-busy 2",
    "rules-unwritable 1",
    "rule-lost 1",
    "rule-lost 2",
    "write-refused 1",
    "write-error 1",
    "write-dies 1",
    "write-throws 1",
    "disk-low 1",
    "disk-full 1",
    "disk-full-4096 1",
    "writer-before-write 1",
    "writer-after-write 1",
    "overwritten 1",
    "pending",
    "locked",
    "write-dies 1\nload-error 1",
];

const TABLE_FAULTS: [&str; 7] =
    ["before cut", "after cut", "before down", "after down", "before fail", "after fail", "never"];

/// A firewall as it is before a command and after it, and the history that belongs to it.
struct Start {
    command: Vec<String>,
    firewall: ChangingBox,
    history: String,
    before: State,
    after: State,
    foreign: String,
    moments: u64,
}

/// Configured, loaded, translated, blocked, armed.
type State = [String; 5];

#[derive(Debug)]
struct Plan {
    fault: &'static str,
    moment: u64,
    trouble: &'static str,
    /// Where the change is one of the table.
    table: &'static str,
}

#[test]
fn whatever_happens_the_operator_is_told_what_is_true() {
    if !php::available()
        || crate::support::skip::program("a test against sshd", &["/usr/sbin/sshd"]).is_none()
    {
        return;
    }
    let begun = Instant::now();
    let starts = starts();
    let sites = || TRANSPORTS.map(Site::new);
    CAMPAIGN.carry_out(begun, sites, |sites, mut random| {
        let start = &starts[usize::try_from(random.below(starts.len() as u64)).expect("a place")];
        let plan = plan(&mut random, start);
        let transport = usize::from(random.below(2) == 1);
        let mut counts = vec![
            format!("command: {}", start.command.join(" ")),
            format!("link: {}", TRANSPORTS[transport]),
        ];
        let wrong = disturbed(&sites[transport], start, &plan, &mut counts).err();
        Ran { counts, wrong, plan: format!("{:?}: {plan:?}", start.command) }
    });
}

/// The campaign's run 190 of seed 6, by name.
#[test]
fn a_keep_that_breaks_off_behind_what_matters_is_told_as_kept() {
    if !php::available()
        || crate::support::skip::program("a test against sshd", &["/usr/sbin/sshd"]).is_none()
    {
        return;
    }
    let site = Site::new(TRANSPORTS[0]);
    let firewall = ChangingBox::new(Version::V272, Fixture::Editor);
    site.face(&firewall, "");
    let shown = site.change(&["expose", "revoke", "--for", "2h"]).json();
    let id = shown["data"]["id"].as_str().expect("an id");
    firewall.php().write("at", b"kmsctl_disarm kill");
    let kept = site.change(&["keep", id]);
    assert_eq!(kept.code, Some(0), "{kept}");
    assert!(firewall.text("moments.log").contains("kmsctl_disarm"));
    assert_eq!(firewall.left_over(), Vec::<String>::new());
}

fn plan(random: &mut Random, start: &Start) -> Plan {
    let of_table = start.moments == 0;
    Plan {
        fault: if of_table { "nothing" } else { random.of::<&'static str>(&FAULTS) },
        moment: 1 + random.below(start.moments.max(1)),
        trouble: if of_table || random.below(2) == 0 {
            ""
        } else {
            random.of::<&'static str>(&TROUBLES)
        },
        table: if of_table { random.of::<&'static str>(&TABLE_FAULTS) } else { "" },
    }
}

fn starts() -> Vec<Start> {
    let site = Site::new(TRANSPORTS[0]);
    let mut starts = Vec::new();
    for (version, (preparing, command)) in
        [Version::V272, Version::Master, Version::V260].into_iter().cycle().zip(COMMANDS)
    {
        let firewall = ChangingBox::new(version, Fixture::Editor);
        let blocked = ADDRESSES.map(|address| format!("{address}\tThu Oct  9 06:06:40 2025\n"));
        firewall.php().write(TABLE, blocked.concat().as_bytes());
        site.face(&firewall, "");
        let mut id = String::new();
        for command in preparing {
            let shown = site.change(command).json();
            shown["data"]["id"].as_str().expect("an id").clone_into(&mut id);
        }
        let history = std::fs::read_to_string(site.journal()).expect("a history");
        let command: Vec<String> = command
            .iter()
            .map(|word| if *word == "ID" { id.clone() } else { (*word).to_owned() })
            .collect();
        let kept = ChangingBox::copy_of(&firewall);
        copy_store(&firewall, &kept);
        let before = state(&firewall);
        firewall.php().write("at", b"0 nothing");
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let shown = site.change(&words);
        assert_eq!(shown.code, Some(0), "{command:?}: {shown}");
        let after = state(&firewall);
        assert_ne!(before, after, "{command:?}");
        starts.push(Start {
            foreign: kept.foreign(),
            firewall: kept,
            history,
            before,
            after,
            moments: firewall.text("moments").trim().parse().unwrap_or(0),
            command,
        });
    }
    starts
}

/// What kmsctl keeps on the firewall: outcomes and armed jobs. They name the path of PHP, which is the same for all.
fn copy_store(from: &ChangingBox, to: &ChangingBox) {
    for directory in ["conf/kmsctl", "etc/cron.d"] {
        for entry in std::fs::read_dir(from.file(directory)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let bytes = std::fs::read(entry.path()).expect("a file");
            let text = String::from_utf8_lossy(&bytes).replace(
                from.php().path().to_str().expect("a path"),
                to.php().path().to_str().expect("a path"),
            );
            to.php().write(&format!("{directory}/{name}"), text.as_bytes());
        }
    }
}

fn state(firewall: &ChangingBox) -> State {
    let [ours, filter, nat] = firewall.exposure();
    // Without their times: what is blocked again is as old as that.
    let table = firewall.text(TABLE);
    let addresses = table.lines().filter_map(|line| line.split('\t').next());
    let mut table: Vec<&str> = addresses.collect();
    table.sort_unstable();
    let armed = firewall.left_over().iter().any(|name| name.starts_with("kmsctl-"));
    [ours, filter, nat, table.join(" "), armed.to_string()]
}

fn disturbed(
    site: &Site,
    start: &Start,
    plan: &Plan,
    counts: &mut Vec<String>,
) -> Result<(), Wrong> {
    let firewall = ChangingBox::copy_of(&start.firewall);
    copy_store(&start.firewall, &firewall);
    site.face(&firewall, &start.history);
    let at = format!("{} {}", plan.moment, plan.fault);
    firewall.php().write("at", at.as_bytes());
    firewall.php().write("table-at", plan.table.as_bytes());
    let lock = hinder(&firewall, plan);
    let words: Vec<&str> = start.command.iter().map(String::as_str).collect();
    let shown = site.change(&words);
    drop(lock);
    let verdict = Verdict { start, plan, firewall: &firewall, shown: &shown };
    counts.push(format!("exit code {}", shown.code.unwrap_or(-1)));
    counts.push(format!("fault: {}{}", plan.fault, plan.table));
    if !plan.trouble.is_empty() {
        counts.push(format!("trouble: {}", plan.trouble.replace('\n', " + ")));
    }
    verdict.told()?;
    // Calm again: a change that went on without its link has ended, link and space are back, the box runs, minutes pass.
    settled(&firewall);
    firewall.php().write("at", b"0 nothing");
    let _ = std::fs::remove_file(firewall.file("down"));
    firewall.trouble("");
    let _ = std::fs::remove_file(firewall.file("run/natconf.dirty"));
    if plan.fault == "power" {
        firewall.boot();
    }
    for _ in 0..4 {
        firewall.tick();
        settled(&firewall);
    }
    verdict.calm(site)
}

/// Waits until no process holds the lock of changes: a change whose link is gone goes on by itself.
fn settled(firewall: &ChangingBox) {
    let Ok(lock) = std::fs::File::open(firewall.file("conf/kmsctl/lock")) else {
        return;
    };
    let begun = Instant::now();
    while lock.try_lock().is_err() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What stands in the way from the beginning; the lock is held as long as the returned file is open.
fn hinder(firewall: &ChangingBox, plan: &Plan) -> Option<std::fs::File> {
    match plan.trouble {
        "pending" => firewall.php().write("run/natconf.dirty", b""),
        "locked" => {
            let held =
                r#"{"id":"other","who":"anna@desk","what":"caps","since":1795350000,"pid":1}"#;
            firewall.php().write("conf/kmsctl/lock", held.as_bytes());
            let lock = std::fs::File::open(firewall.file("conf/kmsctl/lock")).expect("the lock");
            lock.lock().expect("it is free");
            return Some(lock);
        }
        trouble => firewall.trouble(&format!("{trouble}\n")),
    }
    None
}

struct Verdict<'a> {
    start: &'a Start,
    plan: &'a Plan,
    firewall: &'a ChangingBox,
    shown: &'a Outcome,
}

impl Verdict<'_> {
    fn wrong(&self, kind: Kind, what: &str) -> Result<(), Wrong> {
        let moments = self.firewall.text("moments.log");
        let last: Vec<&str> = moments.lines().rev().take(60).collect();
        Err(Wrong(kind, format!("{what}\n{}\n{}", self.shown, last.join("; "))))
    }

    /// The exit code and the report, while the firewall is as the tool has left it.
    fn told(&self) -> Result<(), Wrong> {
        let is = state(self.firewall);
        let (old, new) = (is[..4] == self.start.before[..4], is == self.start.after);
        let report: Value = serde_json::from_str(&self.shown.stdout).unwrap_or_default();
        let outcome = report["data"]["outcome"].as_str().unwrap_or_default();
        // On a full disk the end cannot be noted; the job stays for that alone, and the report says so.
        let unnoted = self.shown.stdout.contains("could not be noted");
        let unnoted = unnoted && is[..4] == self.start.after[..4];
        let true_code = match (self.shown.code, outcome) {
            (Some(0), "done") => new || unnoted,
            (Some(1 | 5 | 6), _) | (Some(7), "rolled-back") => old,
            (Some(7 | 8), "unverified") => true,
            _ => false,
        };
        if !true_code {
            return self.wrong(Kind::Verdict, &format!("old {old}, new {new}: {is:#?}"));
        }
        let calm = self.plan.fault == "nothing" && self.plan.trouble.is_empty();
        let calm =
            calm && !self.plan.table.starts_with("before") && self.plan.table != "after fail";
        // Whoever can ask again knows.
        let link_only = self.plan.fault == "cut" && self.plan.trouble.is_empty();
        let undisturbed = self.plan.fault == "nothing";
        // What waits in the GUI stops no closing.
        let closes = self.start.command.iter().any(|word| word == "revoke" || word == "tighten");
        let goes_on = undisturbed && self.plan.trouble == "pending" && closes;
        let refused = undisturbed && matches!(self.plan.trouble, "pending" | "locked") && !goes_on;
        let expected = match self.shown.code {
            Some(0) => !refused,
            Some(6 | 7) => !calm && !link_only && !goes_on,
            // It is not known where nobody is left to ask, or the firewall has no room to make its answer final.
            Some(8) => {
                matches!(self.plan.fault, "down" | "power")
                    || self.plan.table == "after down"
                    || self.plan.trouble.starts_with("disk")
                    || self.plan.fault == "full"
            }
            _ => !calm && !link_only && !refused,
        };
        if !expected {
            return self.wrong(Kind::Verdict, "another exit code was due");
        }
        let holder = self.plan.trouble != "locked" || self.shown.stderr.contains("anna@desk");
        if self.shown.code == Some(6) && !holder {
            return self.wrong(Kind::Verdict, "the holder is not named");
        }
        Ok(())
    }

    /// The history, asked when all is calm, and the firewall.
    fn calm(&self, site: &Site) -> Result<(), Wrong> {
        let is = state(self.firewall);
        let (old, new) = (is == self.start.before, is == self.start.after);
        if !old && !new && !self.of_some(&is) {
            return self.wrong(Kind::Mixed, &format!("neither old nor new: {is:#?}"));
        }
        let list = site.run(&["history", "--local"]).json();
        let newest = &list["data"]["entries"][0];
        let id = newest["id"].as_str().unwrap_or_default().to_owned();
        let journalled = !id.is_empty() && !self.start.history.contains(&format!("\"{id}\""));
        let mut lost_named = self.shown.stdout.contains("/lost-");
        if journalled {
            let entry = site.run(&["history", &id]);
            lost_named |= entry.stdout.contains("/lost-");
            let told: Value = serde_json::from_str(&entry.stdout).unwrap_or_default();
            let outcome = told["data"]["outcome"].as_str().unwrap_or_default();
            let fits = match outcome {
                "done" => new,
                "rolled-back" | "failed" => old,
                // Nobody keeps on the firewall what became of an address.
                "unverified" => self.start.moments == 0 || self.start.command[0] == "keep",
                _ => false,
            };
            if entry.code != Some(0) || !fits {
                let what = format!("old {old}, new {new}, and the history says: {entry}");
                return self.wrong(Kind::Verdict, &what);
            }
        } else if !old {
            return self.wrong(Kind::Verdict, "it is changed, and not in the history");
        }
        self.foreign(lost_named)
    }

    /// Of several addresses some can be changed; that is told, and no mixed state.
    fn of_some(&self, is: &State) -> bool {
        self.start.moments == 0 && is[..3] == self.start.before[..3] && self.shown.code != Some(0)
    }

    fn foreign(&self, lost_named: bool) -> Result<(), Wrong> {
        let foreign = self.firewall.foreign();
        let before = &self.start.foreign;
        let renamed = before.replace("<hostname>firewall<", "<hostname>renamed<");
        let written = self.firewall.file("written-by-another").exists();
        let gap = self
            .firewall
            .text("moments.log")
            .contains(&format!("{} write_config: backed up\n", self.plan.moment));
        if foreign == if written { renamed } else { before.clone() } || (written && gap) {
            Ok(())
        } else if !written || foreign != *before {
            self.wrong(Kind::Outside, "something else was touched")
        } else if lost_named {
            Ok(())
        } else {
            self.wrong(Kind::Lost, "another writer's change is lost")
        }
    }
}
