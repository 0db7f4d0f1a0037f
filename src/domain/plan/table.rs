//! Plans that free addresses from the overload table, or block them by hand. Freed are always exactly the entries that were read, also for "all": an
//! address that pf blocks between reading and acting was not looked at, and stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    Address, Confirm, Difference, Draft, Operation, Planned, PlannedEntry, Refusal, RefusalKind,
    Risk, Seen, Undo, counted, named,
};
use crate::domain::address::{canonical_address, canonical_net, embedded_net, touches_special};
use crate::domain::connections::tally_sources;
use crate::domain::pf::rule::Rule;
use crate::domain::pf::state::State;
use crate::domain::pf::table::{Entry, TableName};
use crate::domain::service::Service;
use crate::domain::virusprot::entries::{Flag, Surroundings, entry_age};
use crate::domain::virusprot::expiry::Expiry;
use crate::text::format_span;

#[derive(Clone, Debug)]
pub enum TableChoice {
    /// Those older than so many seconds.
    OlderThan(u64),
    Addresses(Vec<Address>),
    Within(Vec<Address>),
    All,
}

/// So many addresses' counts are forgotten with one change, the youngest entries' first.
const MOST_FORGOTTEN: usize = 1_000;

/// What becomes of what pf counted of the addresses that are freed: their source nodes keep it for the rate's window, in which
/// the next connection would block them again. Measured on FreeBSD 14.
#[derive(Clone, Debug, Default)]
pub enum SourceCounts {
    #[default]
    Kept,
    /// What it would do is not known; why, one sentence.
    Unknown(String),
    /// It goes with the entries that pf made within the window of a rate that fills the table.
    Forgotten {
        /// The longest such window in seconds.
        window: u64,
        now: Timestamp,
        /// Live states of the service by client: with its node gone, they would count against no cap.
        live: BTreeMap<IpAddr, u64>,
    },
}

impl SourceCounts {
    pub fn judge(rules: &[Rule], states: &[State], service: &Service, now: Timestamp) -> Self {
        let windows = rules.iter().filter_map(|rule| {
            let options = &rule.state_options;
            let overload = options.overload.as_ref()?;
            let rate = options.max_src_conn_rate?;
            (overload.table == service.table.as_str()).then_some(u64::from(rate.seconds))
        });
        let Some(window) = windows.max() else {
            return Self::Kept;
        };
        // Without the configuration (it costs a PHP start) what is forwarded to the port counts as the service's.
        // What an overload has flushed is printed as closed on both sides until pf's next purge.
        let alive = states.iter().filter(|state| state.levels != "CLOSED:CLOSED");
        let sources = tally_sources(alive, service, None, &[], |_| false);
        let live = sources.iter().map(|source| (source.address, source.states));
        Self::Forgotten { window, now, live: live.collect() }
    }

    /// Says of the entries whose counts pf forgets, and what follows.
    fn forget(&self, entries: &[PlannedEntry]) -> (Vec<IpAddr>, Vec<Risk>) {
        let (window, now, live) = match self {
            Self::Kept => return (Vec::new(), Vec::new()),
            Self::Unknown(why) => {
                let message = format!(
                    "pf may go on counting where it was, and block again what is freed at its next connection. {why}"
                );
                return (Vec::new(), vec![Risk::new("counts-unknown", message)]);
            }
            Self::Forgotten { window, now, live } => (*window, *now, live),
        };
        let mut young: Vec<&PlannedEntry> = entries
            .iter()
            .filter(|entry| !entry.address.negated && !is_network(&entry.address))
            .filter(|entry| entry_age(entry.since, now).is_none_or(|age| age <= window))
            .collect();
        young.sort_by_key(|entry| std::cmp::Reverse(entry.since));
        let (mut busy, mut forget) = (Vec::new(), Vec::new());
        for address in young.iter().map(|entry| entry.address.net.addr()) {
            if live.contains_key(&canonical_address(address)) {
                busy.push(address.to_string());
            } else {
                forget.push(address);
            }
        }
        let late = forget.split_off(forget.len().min(MOST_FORGOTTEN));
        let mut risks = Vec::new();
        if !forget.is_empty() {
            let names: Vec<String> = forget.iter().map(IpAddr::to_string).collect();
            risks.push(Risk::new(
                "counts-forgotten",
                format!(
                    "{}: blocked within the last {}, so pf also forgets what it counted there, under its other rules too; otherwise the next connection would bring the block back (--keep-count keeps the count).",
                    named(&names),
                    format_span(window)
                ),
            ));
        }
        let mut kept = |names: Vec<String>, why: &str| {
            if !names.is_empty() {
                let message = format!(
                    "{}: {why}, so pf keeps what it counted, and the next connection may block them again.",
                    named(&names)
                );
                risks.push(Risk::new("counts-kept", message));
            }
        };
        let live = format!("connections to the service are live ({})", ending_clause(&busy));
        kept(busy, &live);
        let late: Vec<String> = late.iter().map(IpAddr::to_string).collect();
        kept(late, "too many at once");
        (forget, risks)
    }
}

/// Plans to free entries. `now` is the firewall's time.
pub fn plan_freeing(
    entries: &[Entry],
    choice: &TableChoice,
    table: &TableName,
    now: Timestamp,
    counts: &SourceCounts,
) -> Result<Planned, Refusal> {
    let name = table.as_str();
    let chosen: Vec<&Entry> = match choice {
        TableChoice::All => entries.iter().collect(),
        TableChoice::OlderThan(limit) => {
            let old = |entry: &&Entry| entry_age(entry.since, now).is_some_and(|age| age > *limit);
            entries.iter().filter(old).collect()
        }
        TableChoice::Addresses(addresses) => addressed_entries(entries, addresses, name)?,
        TableChoice::Within(addresses) => {
            addressed_entries(entries, &within(entries, addresses), name)?
        }
    };
    let ageless = |entry: &&Entry| entry_age(entry.since, now).is_none();
    let ageless = match choice {
        TableChoice::OlderThan(_) => entries.iter().filter(ageless).count(),
        _ => 0,
    };
    if chosen.is_empty() {
        return Ok(Planned::NothingToDo(no_entries_clause(entries.len(), ageless, choice, name)));
    }
    let within_others = find_covered(entries, &chosen);
    let stays_around = within_others.first().copied();
    if let (Some((address, around)), true) =
        (stays_around, matches!(choice, TableChoice::Addresses(_) | TableChoice::Within(_)))
    {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            format!("{address} would not be free: it is blocked as part of {around} as well."),
        )
        .hint(format!("Free both: `kmsctl virusprot delete {address} {around}`")));
    }
    let planned: Vec<PlannedEntry> = chosen.iter().map(|entry| (*entry).into()).collect();
    let (count, all) = (planned.len(), entries.len());
    let confirm = if matches!(choice, TableChoice::All) {
        Confirm::Word("flush".to_owned())
    } else {
        Confirm::YesNo
    };
    let (forget, of_counts) = counts.forget(&planned);
    let mut risks = freeing_risks(name, &missing_entries(choice, &planned));
    risks.extend(of_counts);
    if let Some((address, around)) = stays_around {
        let stay = counted(within_others.len(), "of them stays", "of them stay");
        risks.push(Risk::new(
            "stay-blocked",
            format!(
                "{stay} blocked as part of a network that is not freed ({address} of {around})."
            ),
        ));
    }
    if ageless > 0 {
        let stay = counted(ageless, "address stays", "addresses stay");
        risks.push(Risk::new(
            "age-unknown",
            format!("{stay} blocked whose age is unknown: there is no time in the table, or it lies ahead of the firewall's clock."),
        ));
    }
    Ok(Draft {
        what: freeing_sentence(planned.iter().map(|entry| &entry.address), table),
        differences: vec![Difference::new("blocked", all, all - count)],
        checks: vec![format!("What is freed is not in {name} any more, read back from pf.")],
        undo: Undo::Command(
            "blocks again what was freed; its age restarts, so it stays longer than it would have"
                .to_owned(),
        ),
        risks,
        confirm,
        seen: Seen::of(super::entry_facts(chosen.into_iter())),
        operation: Operation::TableDelete { table: table.clone(), entries: planned, forget },
        reverts_after: None,
        undoes: None,
    }
    .into())
}

/// Returns the chosen entries around which a network stays in the table, each with that.
fn find_covered(entries: &[Entry], chosen: &[&Entry]) -> Vec<(Address, Address)> {
    let chosen = || chosen.iter().map(|entry| Address::from(*entry));
    // Single addresses, of which there may be hundreds of thousands, cover none.
    let gone: HashSet<Address> = chosen().filter(is_network).collect();
    let networks = blocking_networks(entries, |network| !gone.contains(network));
    chosen().filter_map(|address| Some((address, networks.around(address).next()?))).collect()
}

/// Returns the networks of a table that block what they hold, and that are meant.
fn blocking_networks(entries: &[Entry], is_meant: impl Fn(&Address) -> bool) -> AddressSet {
    let blocked = entries.iter().map(Address::from);
    AddressSet::new(blocked.filter(|entry| !entry.negated && is_network(entry) && is_meant(entry)))
}

/// Addresses and networks, in which those around another are found without comparing each with each: both the table and a list
/// may have hundreds of thousands.
struct AddressSet {
    all: HashSet<Address>,
    lengths: BTreeSet<u8>,
}

impl AddressSet {
    fn new(addresses: impl IntoIterator<Item = Address>) -> Self {
        let all: HashSet<Address> = addresses.into_iter().collect();
        let lengths = all.iter().map(|address| address.net.prefix_len());
        let lengths = lengths.collect();
        Self { all, lengths }
    }

    /// Returns those that are this one, or a network around it.
    fn around(&self, inner: Address) -> impl Iterator<Item = Address> + '_ {
        let exact = self.all.get(&inner).copied();
        let most = inner.net.prefix_len();
        let shorter = self.lengths.iter().filter(move |length| **length < most);
        let networks = shorter.filter_map(move |length| {
            let net = IpNet::new(inner.net.addr(), *length).ok()?;
            self.all.get(&Address::new(net)).copied()
        });
        exact.into_iter().chain(networks.filter(move |_| !inner.negated))
    }
}

/// Returns the entries within the networks in their place; a network without any stays as it is.
fn within(entries: &[Entry], wanted: &[Address]) -> Vec<Address> {
    let set = AddressSet::new(wanted.iter().copied());
    let (mut exact, mut met) = (Vec::new(), HashSet::new());
    for entry in entries.iter().map(Address::from) {
        let around: Vec<Address> = set.around(entry).collect();
        if !around.is_empty() {
            exact.push(entry);
        }
        met.extend(around);
    }
    exact.extend(wanted.iter().filter(|address| !met.contains(address)));
    exact
}

/// Finds the entries that are exactly these addresses. pf deletes exact entries only, so an address that is blocked
/// as part of a network must differ from one that is not blocked.
fn addressed_entries<'a>(
    entries: &'a [Entry],
    addresses: &[Address],
    table: &str,
) -> Result<Vec<&'a Entry>, Refusal> {
    let mut wanted: Vec<Address> = addresses.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let exact: HashMap<Address, &Entry> =
        entries.iter().map(|entry| (Address::from(entry), entry)).collect();
    let networks = blocking_networks(entries, |_| true);
    let mut chosen = Vec::new();
    for address in wanted {
        if let Some(entry) = exact.get(&address) {
            chosen.push(*entry);
            continue;
        }
        if let Some(around) = networks.around(address).next() {
            return Err(Refusal::new(
                RefusalKind::Impossible,
                format!("{address} is not an entry of {table} of its own: it is blocked as part of {around}."),
            )
            .hint(format!("Free the whole network: `kmsctl virusprot delete {around}`")));
        }
    }
    Ok(chosen)
}

fn no_entries_clause(all: usize, ageless: usize, choice: &TableChoice, table: &str) -> String {
    match choice {
        _ if all == 0 => format!("Nothing to do: {table} is empty."),
        TableChoice::All => format!("Nothing to do: {table} is empty."),
        TableChoice::OlderThan(_) if ageless > 0 => format!(
            "Nothing to do: none of the {all} entries of {table} is known to be that old, and the age of {ageless} is unknown."
        ),
        TableChoice::OlderThan(_) => {
            format!("Nothing to do: none of the {all} entries of {table} is that old.")
        }
        TableChoice::Within(addresses) if addresses.iter().all(is_network) => {
            let names: Vec<String> = addresses.iter().map(Address::to_string).collect();
            format!("Nothing to do: no entry of {table} is within {}.", named(&names))
        }
        TableChoice::Addresses(addresses) | TableChoice::Within(addresses) => {
            let names: Vec<String> = addresses.iter().map(Address::to_string).collect();
            let verb = if names.len() == 1 { "is" } else { "are" };
            format!("Nothing to do: {} {verb} not in {table}.", named(&names))
        }
    }
}

/// Returns those that were asked for and are not there.
fn missing_entries(choice: &TableChoice, planned: &[PlannedEntry]) -> Vec<String> {
    let (TableChoice::Addresses(addresses) | TableChoice::Within(addresses)) = choice else {
        return Vec::new();
    };
    let wanted = AddressSet::new(addresses.iter().copied());
    let is_inside = matches!(choice, TableChoice::Within(_));
    let there: HashSet<Address> = planned
        .iter()
        .flat_map(|entry| {
            let around = wanted.around(entry.address);
            around.filter(move |found| is_inside || *found == entry.address)
        })
        .collect();
    let missing = addresses.iter().filter(|address| !there.contains(address));
    missing.map(Address::to_string).collect()
}

fn is_network(address: &Address) -> bool {
    address.net.prefix_len() < address.net.max_prefix_len()
}

/// Refuses addresses that must not be blocked by hand, as far as it is known what lies around.
pub fn check_blockable(wanted: &[Address], around: &Surroundings) -> Result<(), Refusal> {
    for address in wanted {
        if let Some(why) = keeps_out(address, around) {
            return Err(Refusal::new(
                RefusalKind::Impossible,
                format!("{address} is not blocked: {why}."),
            )
            .hint("An entry blocks on every interface and for every service. A rule in pfSense can block one service alone."));
        }
    }
    Ok(())
}

/// Plans to block addresses by hand. What would lock out the operator, the firewall's neighbours or clients behind a router is
/// refused, and so is everything where the firewall's own networks are not known.
pub fn block(
    entries: &[Entry],
    wanted: &[Address],
    table: &TableName,
    around: &Surroundings,
) -> Result<Planned, Refusal> {
    let name = table.as_str();
    if around.interfaces.is_empty() || around.operator.is_none() {
        return Err(Refusal::new(
            RefusalKind::Impossible,
            "The firewall's own networks, or where you work from, could not be read, so nothing is blocked by hand.",
        )
        .hint("See what cannot be read: `kmsctl doctor --problems`"));
    }
    check_blockable(wanted, around)?;
    let mut wanted: Vec<Address> = wanted.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let table_now = AddressSet::new(entries.iter().map(Address::from));
    let is_blocked = |address: &Address| table_now.around(*address).next().is_some();
    let (there, new): (Vec<Address>, Vec<Address>) = wanted.into_iter().partition(is_blocked);
    let there: Vec<String> = there.iter().map(Address::to_string).collect();
    let verb = if there.len() == 1 { "is" } else { "are" };
    let already = format!("{} {verb} in {name} already.", named(&there));
    if new.is_empty() {
        return Ok(Planned::NothingToDo(format!("Nothing to do: {already}")));
    }
    let blocked: Vec<String> = new.iter().map(ToString::to_string).collect();
    let mut risks = vec![
        Risk::new(
            "every-service",
            match around.expiry {
                Some(Expiry::None) => {
                    "The block holds on every interface and for every service, until `kmsctl undo` or a hand ends it: no cron job does."
                }
                _ => {
                    "The block holds on every interface and for every service, until expiry or `kmsctl undo` ends it."
                }
            },
        ),
        Risk::new(
            "connections-stay",
            format!("Connections that stand go on: {}.", ending_clause(&blocked)),
        ),
    ];
    if !there.is_empty() {
        risks.push(Risk::new("blocked-already", already));
    }
    risks.extend(people_kept_out(&new, around));
    let what = blocking_sentence(&new, "", table);
    let new = new.into_iter().map(|address| PlannedEntry { address, since: None }).collect();
    Ok(draft_blocking(what, new, entries.len(), risks, table).into())
}

/// Drafts the adding of entries to the table, which holds `count` of them now.
pub(super) fn draft_blocking(
    what: String,
    new: Vec<PlannedEntry>,
    count: usize,
    risks: Vec<Risk>,
    table: &TableName,
) -> Draft {
    let facts = new.iter().map(|entry| (entry.address.to_string(), "nothing".to_owned()));
    Draft {
        what,
        differences: vec![Difference::new("blocked", count, count + new.len())],
        checks: vec![format!(
            "{} exists before anything is added, and holds it afterwards, read back from pf.",
            table.as_str()
        )],
        undo: Undo::Command("frees again what was blocked".to_owned()),
        risks,
        confirm: Confirm::YesNo,
        seen: Seen::of(facts.collect()),
        operation: Operation::TableAdd { table: table.clone(), entries: new },
        reverts_after: None,
        undoes: None,
    }
}

/// Names customers and vantages among what is blocked: each may be meant, and is seldom known to the one who types.
fn people_kept_out(new: &[Address], around: &Surroundings) -> Vec<Risk> {
    let is_held = |address: &IpAddr| {
        let address = canonical_address(*address);
        new.iter().any(|held| canonical_net(held.net).contains(&address))
    };
    let customers = around.customers.iter();
    let customers: Vec<String> = customers
        .filter(|(address, _)| is_held(address))
        .map(|(address, at)| format!("{address} (activated at {at})"))
        .collect();
    let vantages = around.vantages.iter();
    let vantages: Vec<String> = vantages
        .filter(|(_, address)| is_held(address))
        .map(|(name, address)| format!("{name} ({address})"))
        .collect();
    let mut risks = Vec::new();
    if !customers.is_empty() {
        let verb = if customers.len() == 1 {
            "is a customer of the last day and no scanner"
        } else {
            "are customers of the last day and no scanners"
        };
        let message = format!("{} {verb}.", named(&customers));
        risks.push(Risk::new("customer", message));
    } else if let Some(why) = &around.customers_unknown {
        let message = format!("Whether a customer is blocked by this is not known in full. {why}");
        risks.push(Risk::new("customers-unknown", message));
    }
    if !vantages.is_empty() {
        let message = format!(
            "You prove from there what is open: vantage {}. Blocked, it sees the service closed.",
            named(&vantages)
        );
        risks.push(Risk::new("vantage", message));
    }
    risks
}

/// What freeing does, in one sentence: a plan bears it, and a record is held against it.
pub(super) fn freeing_sentence<'a>(
    addresses: impl IntoIterator<Item = &'a Address>,
    table: &TableName,
) -> String {
    format!("Free {} from {}.", address_words(addresses), table.as_str())
}

/// What blocking does, likewise; `again` is empty, or a word with a space before it.
pub(super) fn blocking_sentence<'a>(
    addresses: impl IntoIterator<Item = &'a Address>,
    again: &str,
    table: &TableName,
) -> String {
    format!("Block {}{again} in {}.", address_words(addresses), table.as_str())
}

/// Counts single addresses, and names networks with how many addresses each holds.
fn address_words<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> String {
    let is_counted = |address: &&Address| address.negated || !is_network(address);
    let (single, networks): (Vec<&Address>, Vec<&Address>) =
        addresses.into_iter().partition(is_counted);
    let networks = networks.iter().map(|network| {
        let bits = network.net.max_prefix_len() - network.net.prefix_len();
        match 1_u64.checked_shl(bits.into()).filter(|_| bits <= 32) {
            Some(size) => format!("{network} ({size} addresses)"),
            None => format!("{network} (2^{bits} addresses)"),
        }
    });
    let networks: Vec<String> = networks.collect();
    let single = counted(single.len(), "address", "addresses");
    match (single.as_str(), networks.as_slice()) {
        (_, []) => single,
        ("0 addresses", networks) => named(networks),
        (_, networks) => format!("{single} and {}", named(networks)),
    }
}

/// Says how connections of these addresses to the service are ended.
fn ending_clause(addresses: &[String]) -> String {
    const NAMED: usize = 3;
    if addresses.len() > NAMED {
        return "`kmsctl states` shows which those of the service are".to_owned();
    }
    format!("`kmsctl states kill {}` ends those of the service", addresses.join(" "))
}

/// Says why an address or network must not be blocked by hand, by itself or by the IPv4 addresses that it stands for.
fn keeps_out(address: &Address, around: &Surroundings) -> Option<&'static str> {
    let own = canonical_net(address.net);
    let mut stands_for = [Some(own), embedded_net(&own)].into_iter().flatten();
    stands_for.find_map(|net| net_keeps_out(&net, around))
}

fn net_keeps_out(net: &IpNet, around: &Surroundings) -> Option<&'static str> {
    let flags = around.flags_of(net);
    let reasons = [
        (Flag::Operator, "you work from there"),
        (Flag::Gateway, "a gateway of the firewall is there"),
        (Flag::OwnSubnet, "it touches the firewall's own networks"),
        (Flag::Protected, "it touches a network that you protect"),
        (Flag::Private, "it is a private address"),
    ];
    let reason = reasons.iter().find(|(flag, _)| flags.contains(flag));
    let is_ours = |public: &IpAddr| net.contains(&canonical_address(*public));
    let ours = around.public.as_ref().is_some_and(is_ours);
    let public = ours.then_some("clients reach the service at that address");
    let special = touches_special(net).then_some("it touches addresses that are not public");
    reason.map(|(_, why)| *why).or(public).or(special)
}

fn freeing_risks(table: &str, missing: &[String]) -> Vec<Risk> {
    let mut risks = vec![
        Risk::new(
            "comes-back",
            "A source that goes on as before will be blocked again by the caps, within a minute.",
        ),
        Risk::new(
            "shared-table",
            format!(
                "{table} is shared by every rule with a rate cap: an entry need not come from this service, and freeing it opens every port to it."
            ),
        ),
    ];
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        risks.push(Risk::new("not-blocked", format!("{} {verb} not in {table}.", named(missing))));
    }
    risks
}
