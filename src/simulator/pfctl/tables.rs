//! `pfctl -t TABLE -T …`.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::options::PfctlOptions;
use super::{PfctlOutput, printed_time};
use crate::domain::address::network_text;
use crate::simulator::pf::SimulatedPf;
use crate::simulator::pf::table::{SimulatedTable, table_net};

const MISSING: &str = "pfctl: Table does not exist.";

pub fn run_table_command(
    pf: &mut SimulatedPf,
    options: &PfctlOptions,
    input: &[u8],
    now: i64,
) -> PfctlOutput {
    let word = options.table_command.unwrap_or_default();
    let addresses = match read_addresses(options, input) {
        Ok(addresses) => addresses,
        Err(output) => return output,
    };
    if word == "add" {
        return add_to_table(pf, options, &addresses, now);
    }
    let Some(table) = pf.table_mut(&options.table) else {
        return PfctlOutput::failure(255, MISSING);
    };
    match word {
        "show" => PfctlOutput::data(show_table(table, options)),
        "test" => test_table(table, options, &addresses),
        _ if is_constant(table) => PfctlOutput::failure(255, "pfctl: Operation not permitted."),
        _ => delete_from_table(table, options, &addresses),
    }
}

fn is_constant(table: &SimulatedTable) -> bool {
    table.flags.starts_with('c')
}

/// Reads the addresses of the command line and of `-f -`: words, comments after `#`.
fn read_addresses(options: &PfctlOptions, input: &[u8]) -> Result<Vec<IpNet>, PfctlOutput> {
    let mut words = options.addresses.clone();
    match options.file.as_deref() {
        None => {}
        Some("-") => {
            let text = String::from_utf8_lossy(input);
            let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
            words.extend(lines.flat_map(str::split_whitespace).map(str::to_owned));
        }
        Some(file) => {
            return Err(PfctlOutput::failure(
                255,
                &format!("pfctl: cannot load {file}: No such file or directory"),
            ));
        }
    }
    let read = |word: &String| {
        table_net(word)
            .map(|net| net.trunc())
            .ok_or_else(|| PfctlOutput::failure(255, &format!("no IP address found for {word}")))
    };
    words.iter().map(read).collect()
}

fn show_table(table: &SimulatedTable, options: &PfctlOptions) -> String {
    let mut lines = String::new();
    for (net, since) in &table.entries {
        let _ = writeln!(lines, "   {}", network_text(net));
        if options.verbose > 0 {
            let _ = writeln!(lines, "\tCleared:     {}", printed_time(*since));
        }
    }
    lines
}

fn test_table(table: &SimulatedTable, options: &PfctlOptions, addresses: &[IpNet]) -> PfctlOutput {
    let host = |net: &&IpNet| net.prefix_len() < net.max_prefix_len();
    if let Some(network) = addresses.iter().find(host) {
        return PfctlOutput::failure(
            255,
            &format!("pfctl: cannot decode {}: Invalid argument", network_text(network)),
        );
    }
    let found: Vec<(IpAddr, Option<IpNet>)> =
        addresses.iter().map(|net| (net.addr(), table.find(net.addr()))).collect();
    let matched = found.iter().filter(|(_, entry)| entry.is_some()).count();
    let mut output = PfctlOutput::talk(&format!("{matched}/{} addresses match.", addresses.len()));
    let mut lines = String::new();
    for (address, entry) in &found {
        match (entry, options.verbose) {
            (_, 0) | (None, 1) => {}
            (Some(_), 1) => drop(writeln!(lines, "M  {address}")),
            (Some(entry), _) => drop(writeln!(lines, "M  {address}\t {}", network_text(entry))),
            (None, _) => drop(writeln!(lines, "   {address}\t nomatch")),
        }
    }
    output.stdout = lines.into_bytes();
    output.status = if matched < found.len() { 2 } else { 0 };
    output
}

/// Prints what a command changed (`-v`), or all it was asked to (`-vv`), and its result.
fn print_changed(
    options: &PfctlOptions,
    (mark, what): (char, &str),
    nets: &[(IpNet, bool)],
) -> PfctlOutput {
    let number = nets.iter().filter(|(_, done)| *done).count();
    let mut output = PfctlOutput::talk(&format!("{number}/{} addresses {what}.", nets.len()));
    for (net, done) in nets {
        if options.verbose > 1 || (options.verbose == 1 && *done) {
            let mark = if *done { mark } else { ' ' };
            output.stdout.extend(format!("{mark}  {}\n", network_text(net)).into_bytes());
        }
    }
    output
}

/// Adding to a table that does not exist makes it, which is why a typing error goes unnoticed.
fn add_to_table(
    pf: &mut SimulatedPf,
    options: &PfctlOptions,
    addresses: &[IpNet],
    now: i64,
) -> PfctlOutput {
    let mut made = PfctlOutput::default();
    if pf.table(&options.table).is_none() {
        made = PfctlOutput::talk("1 table created.");
        pf.tables.push(SimulatedTable::new(&options.table, "-pa----", &[], now));
    }
    let Some(table) = pf.table_mut(&options.table) else {
        return made;
    };
    if is_constant(table) {
        return PfctlOutput::failure(255, "pfctl: Operation not permitted.");
    }
    let add = |net: &IpNet| {
        // An address that is there keeps its time.
        let new = !table.entries.contains_key(net);
        table.entries.entry(*net).or_insert(now);
        (*net, new)
    };
    let done: Vec<_> = addresses.iter().map(add).collect();
    made.then(print_changed(options, ('A', "added"), &done))
}

fn delete_from_table(
    table: &mut SimulatedTable,
    options: &PfctlOptions,
    addresses: &[IpNet],
) -> PfctlOutput {
    let delete = |net: &IpNet| (*net, table.entries.remove(net).is_some());
    let done: Vec<_> = addresses.iter().map(delete).collect();
    print_changed(options, ('D', "deleted"), &done)
}
