//! The contract of changes, kept by the simulated firewall over its SSH; and what only it can do: break the link at
//! a change, and be blocked and freed by thousands.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kmsctl::clock::Clock;
use kmsctl::domain::pf::table::TableName;
use kmsctl::domain::pfsense::change::{
    ChangeEnding, ChangeId, ChangeOutcome, ConfigurationEdit, Element, OutcomeAnswer,
};
use kmsctl::domain::shell_word::ShellWord;
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::AgentRequest;
use kmsctl::settings::target::{Target, Transport};
use kmsctl::simulator::{Scenario, Simulator, SimulatorOptions};
use kmsctl::ssh::error::LinkError;
use kmsctl::ssh::script::{Script, ScriptCommand};
use kmsctl::ssh::target::Link;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::agent::boxes::Version;
use super::agent::changing::ChangingBox;
use super::agent::{nonce, php};
use super::apply::{self, Firewall};
use super::link::{Reply, collected, nobody_asks};

/// A simulated firewall whose clock stands still until it is told to move.
struct DemoBox {
    runtime: Runtime,
    directory: TempDir,
    simulator: Option<Simulator>,
    scenario: Scenario,
    /// Epoch seconds.
    now: i64,
}

impl DemoBox {
    fn new(scenario: Scenario) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut demo = Self {
            runtime,
            directory: TempDir::new().unwrap(),
            simulator: None,
            scenario,
            now: 1_795_354_620,
        };
        demo.restart();
        demo
    }

    /// Ends this run and begins another at the present moment: all that happens between is caught up with.
    fn restart(&mut self) {
        let options = SimulatorOptions {
            directory: self.directory.path().join("demo"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: Clock::Fixed(Timestamp::from_second(self.now).unwrap()),
            scenario: Some(self.scenario),
        };
        let before = self.simulator.take();
        self.simulator = Some(self.runtime.block_on(async {
            if let Some(before) = before {
                before.stop().await.unwrap();
            }
            Simulator::start(options).await.unwrap()
        }));
    }

    fn target(&self) -> Target {
        let simulator = self.simulator.as_ref().unwrap();
        Target {
            host: simulator.address().ip().to_string(),
            port: Some(simulator.address().port()),
            user: Some("admin".to_owned()),
            transport: Transport::Russh,
            identity: Some(simulator.client_key().to_owned()),
            ssh_config: None,
            known_hosts: Some(simulator.known_hosts().to_owned()),
            fingerprint: None,
            connect_timeout: Duration::from_secs(10),
            control_persist: Duration::ZERO,
            runtime_directory: self.directory.path().join("run"),
            sudo: None,
            home: Some(self.directory.path().to_owned()),
            agent_socket: None,
            ssh_program: "ssh".into(),
        }
    }

    /// Runs commands in one round of one connection.
    fn run(&self, commands: Vec<ScriptCommand>) -> Result<Vec<Reply>, LinkError> {
        let target = self.target();
        let asked = async {
            let mut link = Link::connect(&target, &nobody_asks).await?;
            let mut shell = link.shell(&Script { commands }).await?;
            let replies = collected(&mut shell).await;
            link.close().await;
            replies
        };
        let limit = Duration::from_secs(20);
        self.runtime.block_on(async { tokio::time::timeout(limit, asked).await.unwrap() })
    }

    fn try_ask(&self, request: &AgentRequest) -> Result<Vec<u8>, LinkError> {
        let php = ShellWord::fixed("/usr/local/bin/php");
        let mut replies = self.run(vec![request.command(&php, &nonce())])?;
        Ok(replies.remove(0).stdout)
    }
}

impl Firewall for DemoBox {
    fn ask(&mut self, request: &AgentRequest) -> Vec<u8> {
        self.try_ask(request).unwrap()
    }

    fn minute(&mut self) {
        self.now += 60;
        self.restart();
    }

    fn deadline(&mut self, id: &ChangeId) {
        let armed = apply::reading(self).armed;
        self.now = armed.iter().find(|armed| armed.id == *id).unwrap().reverts_at;
        self.restart();
    }

    fn loaded(&mut self) -> (String, String) {
        let rules = |what| ScriptCommand::new(["/sbin/pfctl", "-P", what].map(ShellWord::fixed));
        let replies = self.run(vec![rules("-sr"), rules("-sn")]).unwrap();
        let text = |reply: &Reply| String::from_utf8(reply.stdout.clone()).unwrap();
        (text(&replies[0]), text(&replies[1]))
    }

    fn unprove(&mut self, id: &ChangeId) {
        if let Some(before) = self.simulator.take() {
            self.runtime.block_on(before.stop()).unwrap();
        }
        let path = self.directory.path().join("demo/state.json");
        let noted = std::fs::read_to_string(&path).unwrap();
        let of = |result: &str| format!(r#""id":"{id}","result":"{result}""#);
        let unproven = noted.replacen(&of("done"), &of("unproven"), 1);
        assert_ne!(unproven, noted);
        std::fs::write(&path, unproven).unwrap();
        self.restart();
    }

    fn crash(&mut self) {
        if self.scenario == Scenario::Leftovers {
            // Another box, and the same again.
            self.scenario = Scenario::Open;
            self.restart();
        }
        self.scenario = Scenario::Leftovers;
        self.restart();
    }
}

#[test]
fn the_simulated_firewall_keeps_the_contract() {
    apply::suite(|| DemoBox::new(Scenario::Open));
}

/// The scenarios with another path into the service, or another shape of the pair.
const PATHS: [Scenario; 12] = [
    Scenario::Floating,
    Scenario::Group,
    Scenario::GroupForward,
    Scenario::NestedAlias,
    Scenario::OneToOne,
    Scenario::OtherPort,
    Scenario::PortAlias,
    Scenario::Routed,
    Scenario::SecondWan,
    Scenario::Shadowed,
    Scenario::SharedAssociation,
    Scenario::Upnp,
];

/// Writes an element of config.xml: a list is its name again and again.
fn xml_of(name: &str, element: &Element) -> String {
    let inside = match element {
        Element::Text(text) => format!("<![CDATA[{text}]]>"),
        Element::Map(pairs) => pairs.iter().map(|(name, child)| xml_of(name, child)).collect(),
        Element::List(items) => return items.iter().map(|item| xml_of(name, item)).collect(),
    };
    format!("<{name}>{inside}</{name}>")
}

/// The same configuration under the stand-in for pfSense's PHP.
fn php_box_of(demo: &mut DemoBox) -> ChangingBox {
    let sections = apply::reading(demo).sections;
    let section = |name: &str| xml_of(name, sections.section(name));
    let text = include_str!("../support/pfsense/box.xml");
    let (before, rest) = text.split_once("<interfaces>").expect("a section");
    let (_, after) = rest.split_once("</interfaces>").expect("a section");
    let own = ["nat", "filter", "aliases"].map(section).concat();
    let text = [before, &section("interfaces"), &section("ifgroups"), after].concat();
    let package = "<installedpackages><miniupnpd><config><enable>on</enable></config></miniupnpd></installedpackages></pfsense>";
    let text = match demo.scenario {
        Scenario::Upnp => text.replace("</pfsense>", package),
        _ => text,
    };
    let text = text
        .replace("@VERSION@", "23.3")
        .replace("@SYSTEM@", "")
        .replace("@PEER@", "")
        .replace("@SECTIONS@", &own);
    ChangingBox::of_xml(Version::V272, text.as_bytes())
}

/// The loaded rules that have to do with the service, in their order. The stand-in for PHP writes no `reply-to`.
fn rules_of_service(firewall: &mut impl Firewall) -> Vec<String> {
    let (filter, nat) = firewall.loaded();
    let words = ["k8s_kms_lb", "10.0.20.202", "10.0.20.50", "miniupnpd"];
    let lines = filter.lines().chain(nat.lines());
    let lines = lines.filter(|line| words.iter().any(|word| line.contains(word)));
    lines
        .map(|line| match line.split_once("reply-to (") {
            Some((before, rest)) => {
                let (_, after) = rest.split_once(") ").expect("a gateway");
                format!("{before}{after}")
            }
            None => line.to_owned(),
        })
        .collect()
}

#[test]
fn both_stand_ins_load_the_same_paths() {
    if !php::available() {
        return;
    }
    let edits = [ConfigurationEdit::Disable, ConfigurationEdit::Enable];
    for scenario in PATHS {
        let mut demo = DemoBox::new(scenario);
        let mut real = php_box_of(&mut demo);
        let loaded = rules_of_service(&mut demo);
        assert!(loaded.len() > 1, "{scenario:?}: {loaded:#?}");
        assert_eq!(loaded, rules_of_service(&mut real), "{scenario:?}");
        for (number, edit) in edits.iter().enumerate() {
            let name = format!("path-{number}");
            let simulated = apply::apply(&mut demo, &name, edit.clone());
            let outcome = apply::apply(&mut real, &name, edit.clone());
            assert_eq!(simulated.result, outcome.result, "{scenario:?} {edit:?}");
            assert_eq!(
                rules_of_service(&mut demo),
                rules_of_service(&mut real),
                "{scenario:?} {edit:?}"
            );
        }
        if scenario != Scenario::SharedAssociation {
            assert_eq!(rules_of_service(&mut demo), loaded, "{scenario:?}");
        }
    }
}

#[test]
fn a_link_that_breaks_at_a_change_leaves_the_change_to_be_asked_about() {
    for scenario in [Scenario::CutBeforeAnswer, Scenario::CutAfterApply] {
        let mut demo = DemoBox::new(scenario);
        let request = AgentRequest::Apply(Box::new(apply::asked(
            &mut demo,
            "cut-1",
            ConfigurationEdit::Disable,
        )));
        let answer = demo.try_ask(&request);
        if scenario == Scenario::CutBeforeAnswer {
            assert!(answer.is_err(), "{answer:?}");
        } else {
            let outcome: ChangeOutcome = agent::read_reply(&answer.unwrap(), &nonce()).unwrap();
            assert_eq!(outcome.result, ChangeEnding::Done);
        }
        let OutcomeAnswer::Ended { outcome } = apply::answer(&mut demo, "cut-1", true) else {
            panic!("it has ended");
        };
        assert_eq!(outcome.result, ChangeEnding::Done);
        let again: ChangeOutcome = agent::read_reply(&demo.ask(&request), &nonce()).unwrap();
        assert_eq!(again, *outcome, "asked to do it again it tells what it did");
        demo.minute();
        assert!(matches!(apply::answer(&mut demo, "cut-1", true), OutcomeAnswer::Ended { .. }));
    }
}

fn table(words: &[&'static str], input: Vec<u8>) -> ScriptCommand {
    let mut command = ScriptCommand::new(["/sbin/pfctl", "-t"].map(ShellWord::fixed));
    command.words.push(ShellWord::table(&TableName::new("virusprot").unwrap()));
    command.words.extend(words.iter().copied().map(ShellWord::fixed));
    ScriptCommand { input, ..command }
}

#[test]
fn thousands_of_addresses_go_in_one_round() {
    let mut demo = DemoBox::new(Scenario::Open);
    let addresses: String = (0..10_000_u32)
        .map(|number| format!("100.64.{}.{}\n", number / 250, number % 250 + 1))
        .collect();
    let added = demo.run(vec![table(&["-T", "add", "-f", "-"], addresses.clone().into())]);
    assert_eq!(added.unwrap()[0].stderr, b"10000/10000 addresses added.\n");
    demo.minute();
    let begun = Instant::now();
    let replies = demo.run(vec![
        table(&["-T", "delete", "-v", "-f", "-"], addresses.into()),
        table(&["-T", "show"], Vec::new()),
    ]);
    let taken = begun.elapsed();
    let replies = replies.unwrap();
    assert_eq!(replies[0].stderr, b"10000/10000 addresses deleted.\n");
    assert_eq!(memchr::memmem::find_iter(&replies[0].stdout, b"D  100.64.").count(), 10_000);
    assert_eq!(memchr::memmem::find(&replies[1].stdout, b"100.64."), None);
    // Unoptimised, on a busy machine; it is a hundredth of a second otherwise.
    assert!(taken < Duration::from_secs(5), "{taken:?}");
}

#[test]
fn a_freed_source_that_goes_on_is_back() {
    let mut demo = DemoBox::new(Scenario::NoCron);
    let blocked = |demo: &DemoBox| {
        let shown = demo.run(vec![table(&["-T", "show"], Vec::new())]).unwrap();
        String::from_utf8(shown[0].stdout.clone()).unwrap()
    };
    let before = blocked(&demo);
    assert!(before.lines().count() > 3, "{before}");
    let delete = table(&["-T", "delete", "-f", "-"], before.clone().into_bytes());
    let deleted = demo.run(vec![delete]).unwrap();
    let count = before.lines().count();
    assert_eq!(deleted[0].stderr, format!("{count}/{count} addresses deleted.\n").into_bytes());
    assert_eq!(blocked(&demo), "");
    demo.now += 2 * 3600;
    demo.restart();
    assert!(blocked(&demo).lines().count() >= 3, "{}", blocked(&demo));
}
