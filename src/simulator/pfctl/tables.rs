//! `pfctl -t TABLE -T …`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::PfctlOutput;
use super::options::PfctlOptions;
use crate::domain::pf::Verbosity;
use crate::domain::pf::table::Entry;
use crate::simulator::pf::SimulatedPf;
use crate::simulator::pf::table::{SimulatedTable, table_net};

const MISSING: &str = "pfctl: Table does not exist.";

/// Runs a table command.
pub fn run_table_command(
    pf: &mut SimulatedPf,
    options: &PfctlOptions,
    input: &[u8],
    now: i64,
) -> PfctlOutput {
    let word = options.table_command.unwrap_or_default();
    if word == "expire" && options.addresses.len() != 1 {
        return PfctlOutput::usage(None);
    }
    if word == "expire" {
        return expire_table(pf, options, now);
    }
    let addresses = match read_addresses(options, input) {
        Ok(addresses) => addresses,
        Err(output) => return output,
    };
    match word {
        "add" => add_to_table(pf, options, &addresses, now),
        "replace" => replace_table(pf, options, &addresses, now),
        "show" | "delete" | "flush" | "test" | "zero" => {
            let Some(table) = pf.table_mut(&options.table) else {
                return PfctlOutput::failure(255, MISSING);
            };
            if word != "show" && word != "test" && is_constant(table) {
                return PfctlOutput::failure(255, "pfctl: Operation not permitted.");
            }
            match word {
                "show" => PfctlOutput::data(show_table(table, options)),
                "test" => test_table(table, options, &addresses),
                "flush" => flush_table(table, options),
                "zero" => zero_table(table, options, &addresses, now),
                _ => delete_from_table(table, options, &addresses),
            }
        }
        other => PfctlOutput::failure(
            1,
            &format!("pfctl: -T {other} is not supported by the simulated firewall"),
        ),
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
            let lines = text
                .lines()
                .map(|line| line.split(['#', ';']).next().unwrap_or_default());
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

/// Prints a net as pfctl does: a host without its length.
fn net_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

fn show_table(table: &SimulatedTable, options: &PfctlOptions) -> String {
    let verbosity = if options.verbose == 0 {
        Verbosity::Plain
    } else {
        Verbosity::Verbose
    };
    let mut lines = String::new();
    for (net, since) in &table.entries {
        let since = Timestamp::from_second(since.div_euclid(1000)).ok();
        let entry = Entry {
            negated: false,
            net: *net,
            since,
            counters: None,
        };
        let _ = writeln!(lines, "{}", entry.display(verbosity));
    }
    lines
}

fn test_table(table: &SimulatedTable, options: &PfctlOptions, addresses: &[IpNet]) -> PfctlOutput {
    let host = |net: &&IpNet| net.prefix_len() < net.max_prefix_len();
    if let Some(network) = addresses.iter().find(host) {
        return PfctlOutput::failure(
            255,
            &format!(
                "pfctl: cannot decode {}: Invalid argument",
                net_text(network)
            ),
        );
    }
    let found: Vec<(IpAddr, Option<IpNet>)> = addresses
        .iter()
        .map(|net| (net.addr(), table.find(net.addr())))
        .collect();
    let matched = found.iter().filter(|(_, entry)| entry.is_some()).count();
    let mut output = PfctlOutput::talk(
        &format!("{matched}/{} addresses match.", addresses.len()),
        options.quiet,
    );
    let mut lines = String::new();
    for (address, entry) in &found {
        match (entry, options.verbose) {
            (_, 0) | (None, 1) => {}
            (Some(_), 1) => drop(writeln!(lines, "M  {address}")),
            (Some(entry), _) => drop(writeln!(lines, "M  {address}\t {}", net_text(entry))),
            (None, _) => drop(writeln!(lines, "   {address}\t nomatch")),
        }
    }
    output.stdout = lines.into_bytes();
    output.status = if matched < found.len() { 2 } else { 0 };
    output
}

fn expire_table(pf: &mut SimulatedPf, options: &PfctlOptions, now: i64) -> PfctlOutput {
    let given = options
        .addresses
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    // strtonum(3)'s words for what it refuses.
    let trouble = match given.parse::<i128>() {
        Err(_) => Some("invalid"),
        Ok(number) if number < 0 => Some("too small"),
        Ok(number) if number > i128::from(u32::MAX) => Some("too large"),
        Ok(_) => None,
    };
    if let Some(trouble) = trouble {
        return PfctlOutput::failure(1, &format!("pfctl: expiry time: {trouble}"));
    }
    let seconds = given.parse().unwrap_or(i64::MAX);
    let Some(table) = pf.table_mut(&options.table) else {
        return PfctlOutput::failure(255, MISSING);
    };
    let gone = if options.dry_run {
        table.clone().expire(seconds, now)
    } else {
        table.expire(seconds, now)
    };
    let number = gone.len();
    print_changed(
        options,
        'D',
        gone.iter().map(|net| (net, true)),
        format!("{number}/{number} addresses expired"),
    )
}

/// Prints what a command changed (`-v`), or all it was asked to (`-vv`), and its result.
fn print_changed<'a>(
    options: &PfctlOptions,
    mark: char,
    nets: impl Iterator<Item = (&'a IpNet, bool)>,
    result: String,
) -> PfctlOutput {
    let end = if options.dry_run { " (dummy)." } else { "." };
    let mut output = PfctlOutput::talk(&(result + end), options.quiet);
    for (net, done) in nets {
        if options.verbose > 1 || (options.verbose == 1 && done) {
            let mark = if done { mark } else { ' ' };
            output
                .stdout
                .extend(format!("{mark}  {}\n", net_text(net)).into_bytes());
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
        made = PfctlOutput::talk("1 table created.", options.quiet);
        if !options.dry_run {
            pf.tables
                .push(SimulatedTable::new(&options.table, "-pa----", &[], now));
        }
    }
    let present = pf
        .table(&options.table)
        .map(|table| (is_constant(table), table.entries.clone()));
    let Some((constant, present)) =
        present.or_else(|| Some((false, std::collections::BTreeMap::new())))
    else {
        return made;
    };
    if constant {
        return PfctlOutput::failure(255, "pfctl: Operation not permitted.");
    }
    let mut seen: BTreeSet<IpNet> = present.into_keys().collect();
    let done: Vec<(IpNet, bool)> = addresses
        .iter()
        .map(|net| (*net, seen.insert(*net)))
        .collect();
    if !options.dry_run
        && let Some(table) = pf.table_mut(&options.table)
    {
        // An address that is there keeps its time.
        table.entries.extend(
            done.iter()
                .filter(|(_, new)| *new)
                .map(|(net, _)| (*net, now)),
        );
    }
    let number = done.iter().filter(|(_, new)| *new).count();
    let result = format!("{number}/{} addresses added", addresses.len());
    made.then(print_changed(
        options,
        'A',
        done.iter().map(|(net, new)| (net, *new)),
        result,
    ))
}

fn replace_table(
    pf: &mut SimulatedPf,
    options: &PfctlOptions,
    addresses: &[IpNet],
    now: i64,
) -> PfctlOutput {
    if pf.table(&options.table).is_none() {
        return add_to_table(pf, options, addresses, now);
    }
    let Some(table) = pf.table_mut(&options.table) else {
        return PfctlOutput::default();
    };
    let wanted: BTreeSet<IpNet> = addresses.iter().copied().collect();
    let added: Vec<IpNet> = wanted
        .iter()
        .filter(|net| !table.entries.contains_key(net))
        .copied()
        .collect();
    let deleted = table
        .entries
        .keys()
        .filter(|net| !wanted.contains(net))
        .count();
    if !options.dry_run {
        table.entries.retain(|net, _| wanted.contains(net));
        table.entries.extend(added.iter().map(|net| (*net, now)));
    }
    let parts = [(added.len(), "added"), (deleted, "deleted")];
    let said: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} addresses {what}"))
        .collect();
    let result = if said.is_empty() {
        "no changes".to_owned()
    } else {
        said.join(".\n")
    };
    print_changed(options, 'A', added.iter().map(|net| (net, true)), result)
}

fn delete_from_table(
    table: &mut SimulatedTable,
    options: &PfctlOptions,
    addresses: &[IpNet],
) -> PfctlOutput {
    let mut left: BTreeSet<IpNet> = table.entries.keys().copied().collect();
    let done: Vec<(IpNet, bool)> = addresses
        .iter()
        .map(|net| (*net, left.remove(net)))
        .collect();
    if !options.dry_run {
        table.entries.retain(|net, _| left.contains(net));
    }
    let number = done.iter().filter(|(_, gone)| *gone).count();
    let result = format!("{number}/{} addresses deleted", addresses.len());
    print_changed(
        options,
        'D',
        done.iter().map(|(net, gone)| (net, *gone)),
        result,
    )
}

fn flush_table(table: &mut SimulatedTable, options: &PfctlOptions) -> PfctlOutput {
    let gone: Vec<IpNet> = table.entries.keys().copied().collect();
    if !options.dry_run {
        table.entries.clear();
    }
    print_changed(
        options,
        'D',
        gone.iter().map(|net| (net, true)).filter(|_| false),
        format!("{} addresses deleted", gone.len()),
    )
}

/// Zeroing sets the time of entries to now: of all, or of those named.
fn zero_table(
    table: &mut SimulatedTable,
    options: &PfctlOptions,
    addresses: &[IpNet],
    now: i64,
) -> PfctlOutput {
    let mut cleared = 0;
    for (net, since) in &mut table.entries {
        if addresses.is_empty() || addresses.contains(net) {
            cleared += 1;
            if !options.dry_run {
                *since = now;
            }
        }
    }
    if addresses.is_empty() {
        return print_changed(
            options,
            'Z',
            std::iter::empty(),
            "1 table/stats cleared".to_owned(),
        );
    }
    print_changed(
        options,
        'Z',
        std::iter::empty(),
        format!("{cleared}/{} addresses cleared", addresses.len()),
    )
}
