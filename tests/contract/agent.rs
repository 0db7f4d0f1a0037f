//! The agent's contract: the same assertions for `agent.php` under real PHP and for whatever stands in for it.

use std::net::IpAddr;

use kmsctl::domain::pf::table::TableName;
use kmsctl::domain::pfsense::config::Sections;
use kmsctl::domain::pfsense::configured::{Configured, Revisions};
use kmsctl::domain::shell_word::ShellWord;
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{AgentError, AgentRequest, ReadRequest};
use kmsctl::ssh::script::{Nonce, ROUND, Script};

pub use crate::support::{boxes, changing, php};
use boxes::{Fixture, Version};
use php::{PhpBox, Run};

/// What the user's firewall is asked.
pub fn request() -> ReadRequest {
    ReadRequest {
        alias: "k8s_kms_lb".into(),
        address: IpAddr::from([10, 0, 20, 202]),
        port: 1688,
        interface: "wan".into(),
        table: TableName::new("virusprot").expect("a table name"),
    }
}

pub fn nonce() -> Nonce {
    Nonce::new([0x5a; 16])
}

fn script(request: &ReadRequest) -> Vec<u8> {
    agent::read_command(request, &ShellWord::fixed("/usr/local/bin/php"), &nonce()).input
}

/// The suite: reads every fixture and compares the whole answer. `read` is what is held to the contract.
pub fn suite(read: impl Fn(&ReadRequest, Fixture) -> Result<Configured, AgentError>) {
    for fixture in Fixture::ALL {
        let mut configured =
            read(&request(), fixture).unwrap_or_else(|error| panic!("{fixture:?}: {error}"));
        configured.system = fixture.expected().system;
        // These are the contract of changes.
        configured.fingerprint.clear();
        configured.history.clear();
        configured.revisions = Revisions::default();
        configured.files.now = 0;
        // The records that the rest is made of are compared by `sections_hold_everything_that_leads_in`.
        configured.sections = Sections::default();
        configured.all_nat.clear();
        configured.all_filter.clear();
        configured.aliases.clear();
        configured.interfaces.clear();
        assert_eq!(configured, fixture.expected(), "{fixture:?}");
    }
}

fn read(set_up: &PhpBox, request: &ReadRequest) -> (Result<Configured, AgentError>, Run) {
    let run = set_up.read(&script(request));
    (agent::parse_agent_answer(&run.stdout, &nonce(), request), run)
}

#[track_caller]
fn refused(set_up: &PhpBox, kind: &str) -> String {
    let (answer, run) = read(set_up, &request());
    match answer {
        Err(AgentError::Refused { kind: named, message }) if named == kind => message,
        other => panic!("{other:?}\n{}{}", String::from_utf8_lossy(&run.stdout), run.stderr),
    }
}

#[test]
fn every_version_of_pfsense_reports_the_same() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        suite(|request, fixture| read(&PhpBox::new(version, fixture), request).0);
    }
}

/// As it travels: framed by the shell script, under the same nonce, asked twice over one shell.
#[test]
fn the_answer_comes_through_the_shells_framing() {
    if !php::available() {
        return;
    }
    let set_up = PhpBox::new(Version::V272, Fixture::Editor).trouble("noise");
    let php = ShellWord::path(&set_up.interpreter()).expect("a plain path");
    let commands = vec![agent::read_command(&request(), &php, &nonce())];
    let mut text = Script { commands }.render(&nonce());
    text.extend_from_slice(ROUND);
    text.extend_from_slice(ROUND);
    let run = set_up.shell(&text);
    let stdout = String::from_utf8(run.stdout).expect("text");
    let end = format!("\n{} e 0 0\n", nonce().as_str());
    let rounds: Vec<&str> = stdout.split(&end).collect();
    assert_eq!(rounds.len(), 3, "two rounds and the end: {stdout}{}", run.stderr);
    for round in rounds.iter().take(2) {
        let configured =
            agent::parse_agent_answer(round.as_bytes(), &nonce(), &request()).expect("an answer");
        assert_eq!(configured.nat, Fixture::Editor.expected().nat);
    }
}

/// The other half of the module: what a stand-in prints of its sections is what the client reads.
#[test]
fn a_stand_in_keeps_the_contract() {
    if !php::available() {
        return;
    }
    suite(|request, fixture| {
        let (configured, _) = read(&PhpBox::new(Version::V272, fixture), request);
        let (heard, nonce) = AgentRequest::decode(&script(request)).expect("our own script");
        assert_eq!(heard, AgentRequest::Read(request.clone()));
        let reply = agent::encode_reply(&configured?, &nonce);
        agent::parse_agent_answer(&reply, &nonce, request)
    });
}

#[test]
fn sections_hold_everything_that_leads_in() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let set_up = PhpBox::new(version, Fixture::Elsewhere);
        let xml = String::from_utf8(Fixture::Elsewhere.xml(version)).expect("text");
        let more = "<onetoone><external>192.168.1.5</external><source><address>10.0.20.202</address></source>\
            <destination><any/></destination><interface>wan</interface></onetoone></nat>";
        let groups = "<ifgroups><ifgroupentry><ifname>outside</ifname><members>wan lan</members></ifgroupentry></ifgroups>\
            <gateways><gateway_item><interface>wan</interface><gateway>192.168.1.1</gateway><name>WANGW</name>\
            <monitor>SECRETmonitor</monitor></gateway_item></gateways>\
            <virtualip><vip><mode>carp</mode><interface>wan</interface><password>SECRETcarp</password>\
            <subnet>192.168.1.9</subnet></vip></virtualip></pfsense>";
        let url = "<alias><name>blocklist</name><type>url</type><url>https://user:SECRET@lists.example/x</url>\
            <address>203.0.113.0/24</address></alias></aliases>";
        let xml =
            xml.replace("</nat>", more).replace("</pfsense>", groups).replace("</aliases>", url);
        set_up.write("conf/config.xml", xml.as_bytes());
        let configured = read(&set_up, &request()).0.expect("an answer");
        assert_eq!((configured.all_nat.len(), configured.nat.len()), (4, 3));
        assert_eq!((configured.all_filter.len(), configured.filter.len()), (5, 2));
        let pairs = configured.sections.list("nat", "onetoone");
        assert_eq!(pairs[0].child_text("external"), Some("192.168.1.5"));
        let names: Vec<&str> = configured.aliases.iter().map(|alias| alias.name.as_str()).collect();
        assert_eq!(names, ["k8s_shared_lb", "k8s_kms_lb", "kms_ports", "blocklist"]);
        let wan = configured.interface.expect("wan");
        assert!(wan.has_gateway() && wan.enabled && !configured.interfaces[1].has_gateway());
        assert_eq!(configured.interface_groups[0].members, ["wan", "lan"]);
        let list = |section, tag| configured.sections.list(section, tag);
        assert_eq!(list("gateways", "gateway_item")[0].child_text("monitor"), None);
        assert_eq!(list("virtualip", "vip")[0].child_text("subnet"), Some("192.168.1.9"));
    }
}

#[test]
fn the_versions_are_told() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let (answer, run) = read(&PhpBox::new(version, Fixture::Editor), &request());
        let mut system = answer.expect("an answer").system;
        assert!(system.php.starts_with(|digit: char| digit.is_ascii_digit()), "{}", system.php);
        system.php.clear();
        assert_eq!(system, version.system());
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_stale_cache_is_not_believed() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let set_up = PhpBox::new(version, Fixture::Disabled);
        assert_eq!(
            read(&set_up, &request()).0.expect("an answer").nat,
            Fixture::Disabled.expected().nat
        );
        // A hand edit, which does not touch the cache that the first read left behind.
        set_up.write("conf/config.xml", &Fixture::Editor.xml(version));
        let stale = set_up.run(b"<?php require 'config.inc'; echo isset($config['nat']['rule'][1]['disabled']) ? 'stale' : 'fresh';");
        assert_eq!(stale.stdout, b"stale", "{version:?}: the stand-in must believe its cache");
        assert_eq!(
            read(&set_up, &request()).0.expect("an answer").nat,
            Fixture::Editor.expected().nat,
            "{version:?}"
        );
    }
}

#[test]
fn what_is_printed_around_the_answer_does_not_matter() {
    if !php::available() {
        return;
    }
    for trouble in ["noise", "buffer"] {
        let (answer, run) =
            read(&PhpBox::new(Version::V272, Fixture::Editor).trouble(trouble), &request());
        assert_eq!(answer.expect(trouble).nat, Fixture::Editor.expected().nat);
        assert_eq!(run.status, Some(0), "{trouble}");
        assert!(!run.stdout.starts_with(b"\nagent "), "{trouble}: something was printed first");
    }
}

#[test]
fn what_goes_wrong_inside_pfsense_is_told() {
    if !php::available() {
        return;
    }
    let cases = [
        ("missing-part", "exception", "missing_part.inc"),
        ("memory", "fatal", "Allowed memory size"),
        ("undefined", "exception", "undefined function"),
        ("exception", "exception", "XML error: broken at line 7"),
        ("user-error", "fatal", "pfSense gave up"),
        ("die", "ended", "was read: Config.xml is corrupted and is 0 bytes."),
        ("exit-255", "ended", "ended before the configuration was read"),
    ];
    for (trouble, kind, words) in cases {
        let message = refused(&PhpBox::new(Version::V272, Fixture::Editor).trouble(trouble), kind);
        assert!(message.contains(words), "{trouble}: {message}");
        assert!(!message.contains("Stack trace"), "{trouble}: {message}");
    }
}

#[test]
fn the_exit_status_of_a_failure_is_kept() {
    if !php::available() {
        return;
    }
    for (trouble, status) in
        [("exit-255", Some(255)), ("exception", Some(1)), ("user-error", Some(255))]
    {
        let (_, run) =
            read(&PhpBox::new(Version::V272, Fixture::Editor).trouble(trouble), &request());
        assert_eq!(run.status, status, "{trouble}");
    }
}

#[test]
fn a_php_that_is_killed_leaves_no_answer() {
    if !php::available() {
        return;
    }
    let (answer, _) =
        read(&PhpBox::new(Version::V272, Fixture::Editor).trouble("hard-exit"), &request());
    assert_eq!(answer, Err(AgentError::NoAnswer { said: None }));
}

#[test]
fn a_box_without_pfsense_is_named() {
    if !php::available() {
        return;
    }
    let message =
        refused(&PhpBox::new(Version::V272, Fixture::Editor).without_pfsense(), "no-pfsense");
    assert!(message.contains("is this pfSense"), "{message}");
}

#[test]
fn a_broken_configuration_file_is_told() {
    if !php::available() {
        return;
    }
    for version in Version::ALL {
        let set_up = PhpBox::new(version, Fixture::Editor);
        let mut xml = Fixture::Editor.xml(version);
        xml.truncate(xml.len() - 20);
        set_up.write("conf/config.xml", &xml);
        assert!(refused(&set_up, "exception").starts_with("XML error"), "{version:?}");
        let twice = String::from_utf8(Fixture::Editor.xml(version))
            .expect("text")
            .replace("<lastchange/>", "<lastchange/><lastchange/>");
        set_up.write("conf/config.xml", twice.as_bytes());
        assert!(refused(&set_up, "exception").contains("occurs twice"), "{version:?}");
    }
}

#[test]
fn hostile_values_stay_values() {
    if !php::available() {
        return;
    }
    let hostile = ReadRequest {
        alias: "'); echo 'x".into(),
        interface: "../wan".into(),
        address: "2001:db8::1".parse().expect("an address"),
        ..request()
    };
    let (answer, _) = read(&PhpBox::new(Version::V272, Fixture::Editor), &hostile);
    let configured = answer.expect("an answer");
    assert_eq!((configured.alias, configured.interface), (None, None));
    assert_eq!(configured.nat.len(), 1, "the port still leads to it");
}

#[test]
fn a_request_that_is_no_request_is_refused() {
    if !php::available() {
        return;
    }
    let set_up = PhpBox::new(Version::V272, Fixture::Editor);
    let text = String::from_utf8(script(&request())).expect("text");
    let start = text.find("base64_decode('").expect("the literal") + "base64_decode('".len();
    let end = start + text[start..].find('\'').expect("its end");
    let rubbish = [&text[..start], "AAAA", &text[end..]].concat();
    let run = set_up.read(rubbish.as_bytes());
    let stdout = String::from_utf8(run.stdout).expect("text");
    assert!(stdout.contains("\"kind\":\"request\""), "{stdout}");
}

/// The stand-in is worth something only if it can fail.
#[test]
fn the_stand_in_is_strict() {
    if !php::available() {
        return;
    }
    let set_up = PhpBox::new(Version::V272, Fixture::Editor);
    for call in [
        "write_config('x')",
        "filter_configure()",
        "filter_configure_sync()",
        "send_event('filter reload')",
    ] {
        let run =
            set_up.run(format!("<?php require 'config.inc'; {call}; echo 'went on';").as_bytes());
        assert_eq!((run.status, run.stdout.as_slice()), (None, b"".as_slice()), "{call}");
        assert!(run.stderr.starts_with("SHIM: "), "{call}: {}", run.stderr);
    }
    let unknown = set_up.run(b"<?php require 'config.inc'; config_get_path('nat/rule');");
    assert_eq!(unknown.status, Some(255), "a function that the stand-in does not know must fail");
    let dump = set_up.run(b"<?php require 'config.inc'; print_r($config);");
    let secrets = String::from_utf8(dump.stdout).expect("text").matches("SECRET").count();
    assert!(secrets > 5, "the secrets must be within reach: {secrets}");
}
