//! Every parser of text that comes from outside: the firewall, the cluster, DNS, the service, the log, services on the
//! way, files that others may have edited. None may panic. Used by the fuzzer, and by a test that keeps the list in step.

use std::ops::ControlFlow;
use std::path::Path;

use kmsctl::domain::cluster::objects;
use kmsctl::domain::history::{Folder, UndoSearch};
use kmsctl::domain::kms_log;
use kmsctl::domain::notifier::event_log::{self, EventRecord};
use kmsctl::domain::notifier::prometheus;
use kmsctl::domain::pf::state::StateParser;
use kmsctl::domain::pf::table::TableName;
use kmsctl::domain::pf::{info, rule, source, state, table};
use kmsctl::domain::pfsense::change::{ChangeOutcome, Kept, OutcomeAnswer};
use kmsctl::domain::pfsense::config::ReadRequest;
use kmsctl::domain::pfsense::freebsd;
use kmsctl::domain::pfsense::leftovers::Cleaned;
use kmsctl::domain::plan::Plan;
use kmsctl::domain::reachability::{dns, kms_bind};
use kmsctl::domain::virusprot::cron::Schedule;
use kmsctl::domain::virusprot::expiry;
use kmsctl::journal::JournalLine;
use kmsctl::kubectl::KubectlError;
use kmsctl::notifier::redis_connection;
use kmsctl::pfsense::agent;
use kmsctl::settings::Layers;
use kmsctl::ssh::framing::{Demux, FramedStream};
use kmsctl::ssh::known_hosts::{KnownHosts, listed_name};
use kmsctl::ssh::openssh_log::{self, LogContext};
use kmsctl::ssh::script::Nonce;
use kmsctl::text::clean_text;
use kmsctl::vantage::check_host;
use serde::de::DeserializeOwned;

/// A name, and what takes the bytes.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them; the fuzzer tries one after the other by its name.
pub const PARSERS: &[Parser] = &[
    ("rules", |bytes| {
        let _ = rule::parse_pf_rules(bytes);
        let _ = rule::parse_one(&String::from_utf8_lossy(bytes));
    }),
    ("states", states),
    ("tables", |bytes| {
        let _ = table::parse_table_entries(bytes);
        let _ = table::parse_test(bytes);
        let _ = table::parse_changes(bytes);
    }),
    ("info", |bytes| {
        let _ = info::parse_pf_info(bytes);
        let _ = info::parse_limits(bytes);
    }),
    ("sources", |bytes| drop(source::parse_source_nodes(bytes))),
    ("cron", cron),
    ("base-tools", |bytes| {
        let _ = freebsd::interface_addresses(bytes);
        let _ = freebsd::default_gateway(bytes);
        let _ = freebsd::parse_firewall_clock(bytes);
        let _ = freebsd::ssh_client(bytes);
        let _ = freebsd::parse_carp(bytes);
        let _ = freebsd::free_space(bytes);
        let _ = freebsd::parse_sysctl(bytes);
        let _ = freebsd::parse_armed_names(bytes);
    }),
    ("agent", agent_answers),
    ("framing", framing),
    ("ssh-log", ssh_log),
    ("known-hosts", known_hosts),
    ("plan", |bytes| {
        let _ = Plan::read(&String::from_utf8_lossy(bytes));
    }),
    ("history", history),
    ("configuration", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = Layers::built_in().add_text(&text, Path::new("config.toml"));
    }),
    ("kms-log", |bytes| {
        let (mut log, mut events) = (kms_log::Log::default(), Vec::new());
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.for_each(|line| log.read_line(line, &mut events));
    }),
    ("event-log", |bytes| {
        for line in String::from_utf8_lossy(bytes).lines() {
            let (printed, line) = event_log::split_kubectl_stamp(line);
            let _ = EventRecord::read_line(line, printed);
        }
    }),
    ("metrics", |bytes| {
        let _ = prometheus::Page::parse(&String::from_utf8_lossy(bytes));
    }),
    ("kubectl", kubectl),
    ("check-host", |bytes| {
        let _ = check_host::parse_accepted(bytes);
        let _ = check_host::parse_results(bytes);
    }),
    ("redis", redis),
    ("dns", |bytes| {
        for family in [dns::Family::A, dns::Family::Aaaa] {
            if let Ok(question) = dns::dns_question(7, "kms.example.net", family) {
                let _ = dns::parse_dns_answer(bytes, &question, family);
                // The fuzzer need not guess the question that every answer repeats.
                let answer = [&question[..2], &[0x81, 0x80], &question[4..], bytes].concat();
                let _ = dns::parse_dns_answer(&answer, &question, family);
            }
        }
    }),
    ("kms-bind", |bytes| {
        let _ = kms_bind::read_bind_answer(bytes);
    }),
    ("terminal", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let clean = clean_text(&text);
        assert!(!clean.chars().any(kmsctl::text::acts_on_terminal));
    }),
];

/// Feeds all of them.
pub fn feed(bytes: &[u8]) {
    PARSERS.iter().for_each(|(_, parse)| parse(bytes));
}

/// Returns what the configuration is asked for.
pub fn request() -> Option<ReadRequest> {
    Some(ReadRequest {
        alias: "k8s_kms_lb".to_owned(),
        address: [10, 0, 20, 202].into(),
        port: 1688,
        interface: "wan".to_owned(),
        table: TableName::new("virusprot")?,
    })
}

fn nonce() -> Nonce {
    Nonce::new([7; 16])
}

/// Cuts bytes where the first of them says.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(bytes.first().map_or(1, |first| usize::from(*first) + 1))
}

fn states(bytes: &[u8]) {
    let whole = state::parse(bytes);
    let (mut states, mut kept) = (StateParser::new(), Vec::new());
    for piece in pieces(bytes) {
        states.push(piece, &mut |state| kept.push(state));
    }
    let _ = states.finish_table(&mut |state| kept.push(state));
    assert_eq!(whole.value, kept, "pieces make no difference");
}

fn cron(bytes: &[u8]) {
    let items = expiry::crontab_items(bytes);
    if let Some(name) = TableName::new("virusprot") {
        let _ = expiry::Expiry::find(&items, &name);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.split_whitespace();
    let fields = std::array::from_fn(|_| words.next().unwrap_or("*"));
    if let Some(schedule) = Schedule::new(fields) {
        let _ = schedule.next(jiff::Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC);
    }
}

fn agent_answers(bytes: &[u8]) {
    let nonce = nonce();
    // What stands between the agent's own marks is the JSON; the fuzzer need not guess them.
    let value = serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
    for answer in [bytes.to_vec(), agent::encode_reply(&value, &nonce)] {
        if let Some(request) = request() {
            let _ = agent::parse_agent_answer(&answer, &nonce, &request);
        }
        let _ = agent::read_reply::<ChangeOutcome>(&answer, &nonce);
        let _ = agent::read_reply::<OutcomeAnswer>(&answer, &nonce);
        let _ = agent::read_reply::<Kept>(&answer, &nonce);
        let _ = agent::read_reply::<Cleaned>(&answer, &nonce);
    }
}

/// Both streams; `@` stands for the nonce.
fn framing(bytes: &[u8]) {
    let nonce = nonce();
    let mut marked = Vec::new();
    for byte in bytes {
        match byte {
            b'@' => marked.extend_from_slice(nonce.as_str().as_bytes()),
            other => marked.push(*other),
        }
    }
    let mut framing = Demux::new(&nonce);
    framing.begin_round(&[0, 1]);
    let mut sink = |index: usize, _: FramedStream, _: &[u8]| {
        assert!(index < 2);
        ControlFlow::Continue(())
    };
    for (place, piece) in pieces(&marked).enumerate() {
        let stream = if place % 3 == 0 { FramedStream::Stderr } else { FramedStream::Stdout };
        if framing.feed_bytes(stream, piece, &mut sink).is_err() {
            break;
        }
    }
    let _ = (framing.is_complete(), framing.noise_outside(), framing.last_noise());
    assert!(framing.statuses().len() <= 2);
}

fn ssh_log(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let context = LogContext {
        host: "fw",
        port: Some(22),
        user: None,
        connect_seconds: 5,
        known_hosts: "/dev/null".into(),
        login: String::new(),
    };
    let _ = openssh_log::presented_host_key(&text);
    // The file that the log names would be read.
    if !text.contains("debug1: Found ") {
        let _ = openssh_log::explain_ssh_failure(&text, &text, &context);
    }
    let _ = openssh_log::recorded_key(&text);
    let _ = openssh_log::connected_peer(&text);
    let _ = openssh_log::last_refusal(&text);
}

fn known_hosts(bytes: &[u8]) {
    let mut known = KnownHosts::default();
    let name = listed_name("10.0.20.1", 22);
    known.add_file(Path::new("known_hosts"), &String::from_utf8_lossy(bytes), &name);
    let _ = known.tied_to("ssh-ed25519");
    let _ = (known.has_authority(), known.known_algorithms(), known.only_rsa().is_some());
}

fn history(bytes: &[u8]) {
    let mut folder = Folder::of_wanted(10, |plan| plan.change.undoes.is_none());
    let mut search = UndoSearch::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(line) = JournalLine::parse(line) {
            search.push(&line.event, |_| true);
            folder.push(line.at, line.event, Some(line.seq));
        }
    }
    for entry in folder.into_entries() {
        let _ = (entry.ending_word(), entry.is_unsettled(), entry.may_be_reverted());
    }
    let _ = search.found();
}

fn kubectl(bytes: &[u8]) {
    fn list<T: DeserializeOwned>(bytes: &[u8]) {
        let _ = serde_json::from_slice::<objects::ObjectList<T>>(bytes);
    }
    if let Ok(service) = serde_json::from_slice::<objects::KubernetesService>(bytes) {
        let _ = (service.wanted(), service.given(), service.has_port(1688));
    }
    list::<objects::EndpointSlice>(bytes);
    list::<objects::KubernetesEvent>(bytes);
    list::<objects::Announcement>(bytes);
    let error = KubectlError::of_words(1, &String::from_utf8_lossy(bytes));
    let _ = (error.fix(), error.to_string());
}

fn redis(bytes: &[u8]) {
    let (mut parser, mut rest) = (redis_connection::Parser::new(), bytes);
    while parser.parse_value(&mut rest).is_ok() {}
}
