//! Every parser of text that comes from outside: the firewall, the cluster, DNS, the service, the log, files that others
//! may have edited. None may panic. Used by the fuzzer, and by a test that keeps the list in step.

use std::ops::ControlFlow;

use kmsctl::domain::kms_log;
use kmsctl::domain::notifier::prometheus;
use kmsctl::domain::pf::state::StateParser;
use kmsctl::domain::pf::table::TableName;
use kmsctl::domain::pf::{info, rule, source, state, table};
use kmsctl::domain::pfsense::config::ReadRequest;
use kmsctl::domain::plan::Plan;
use kmsctl::domain::reachability::{dns, kms_bind};
use kmsctl::domain::virusprot::expiry;
use kmsctl::pfsense::agent;
use kmsctl::ssh::framing::{Demux, FramedStream};
use kmsctl::ssh::script::Nonce;
use kmsctl::terminal::clean_text;

/// Feeds all of them.
pub fn feed(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = rule::parse_pf_rules(bytes);
    let _ = rule::parse_one(&text);
    let _ = state::parse(bytes);
    let _ = table::parse_table_entries(bytes);
    let _ = table::parse_test(bytes);
    let _ = table::parse_changes(bytes);
    let _ = table::parse_list(bytes);
    let _ = info::parse_pf_info(bytes);
    let _ = info::parse_limits(bytes);
    let _ = source::parse_source_nodes(bytes);
    in_pieces(bytes);
    let items = expiry::crontab_items(bytes);
    if let Some(name) = TableName::new("virusprot") {
        let _ = expiry::Expiry::find(&items, &name);
    }
    let nonce = Nonce::new([7; 16]);
    if let Some(request) = request() {
        let _ = agent::parse_agent_answer(bytes, &nonce, &request);
    }
    let _ = agent::parse_outcome(bytes, &nonce);
    let _ = agent::parse_answer(bytes, &nonce);
    let _ = agent::parse_kept(bytes, &nonce);
    let _ = agent::parse_cleaned(bytes, &nonce);
    let _ = Plan::read(&text);
    let _ = kms_bind::read_bind_answer(bytes);
    let _ = prometheus::Page::parse(&text);
    let (mut log, mut events) = (kms_log::Log::default(), Vec::new());
    bytes
        .split(|byte| *byte == b'\n')
        .for_each(|line| log.line(line, &mut events));
    if let Ok(question) = dns::dns_question(7, "kms.example.net", dns::Family::A) {
        let _ = dns::parse_dns_answer(bytes, &question, dns::Family::A);
    }
    assert!(
        !clean_text(&text)
            .chars()
            .any(kmsctl::terminal::acts_on_terminal)
    );
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

/// What arrives piece by piece, cut where the first byte says.
fn in_pieces(bytes: &[u8]) {
    let size = bytes.first().map_or(1, |first| usize::from(*first) + 1);
    let mut states = StateParser::new();
    let mut framing = Demux::new(&Nonce::new([7; 16]));
    framing.begin(&[0, 1]);
    for chunk in bytes.chunks(size) {
        states.push(chunk, &mut |_| {});
        let mut sink = |_: usize, _: FramedStream, _: &[u8]| ControlFlow::Continue(());
        let _ = framing.feed(FramedStream::Stdout, chunk, &mut sink);
    }
    let _ = states.finish(&mut |_| {});
}
