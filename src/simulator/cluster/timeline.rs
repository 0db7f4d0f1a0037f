//! What happens to the simulated KMS server: probes and activations at moments that depend on its birth alone, so that
//! its output, its log and its counters tell one story, whenever they are asked, and every new demo the same one.

use std::net::{IpAddr, SocketAddr};

use jiff::{SignedDuration, Timestamp};

use crate::simulator::random::Random;

/// Seconds between two probes of the kubelet; a real one connects each 5 s.
pub const PROBE_EVERY: i64 = 20;
/// Seconds in which one client is activated.
const SLOT: i64 = 1_200;
/// Seconds within which the same client and product is posted once.
const WINDOW: i64 = 3_600;
/// One probe in so many comes from outside.
const SCANNER: i64 = 150;
/// One probe in so many comes from a monitor in the cluster.
const MONITOR: i64 = 5;

/// A client of the simulated server. The third is blocked on the simulated firewall as well.
const CLIENTS: &[(&str, &str, u16)] = &[
    ("198.51.100.68", "OFFICE-PC-4", 0),
    ("192.168.1.230", "WIN10Pro-DS32.viktorbarzin.lan", 0),
    ("203.0.113.65", "LAPTOP-7Q2V", 1),
    ("198.51.100.76", "DESKTOP-MO2323B", 1),
    ("198.51.100.84", "SRV-FILES", 2),
];

/// Products: GUID and name as the server prints them.
pub const PRODUCTS: &[(&str, &str)] = &[
    ("2de67392-b7a7-462a-b1ca-108dd189f588", "Windows 10 Professional"),
    ("73111121-5638-40f6-bc11-f1d7b0d64300", "Windows 10 Enterprise"),
    ("de32eafd-aaee-4662-9444-c1befb41bde2", "Windows Server 2019 Standard"),
];

/// Of these clients, those that open several connections for an activation: caps of `tighten` would cut them.
const HASTY: [usize; 2] = [0, 4];
/// So many, a second apart, before it.
const HASTE: i64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When, Unix seconds.
    pub at: i64,
    pub peer: SocketAddr,
    pub what: TimelineEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimelineEvent {
    /// A connection without a request.
    Probe(&'static str),
    /// An activation: the workstation, the number of the product, and whether the window holds it back.
    Activation(&'static str, u16, bool),
}

/// The birth of which the moments below are, epoch seconds: 2026-03-01T12:21:34Z. Those of another are as far from it.
const BIRTH: i64 = 1_772_367_694;
/// How long before its birth the server's first pod was started, and after how long another takes its place; seconds.
const STARTED_BEFORE: i64 = 54 * 3_600 + 1_294;
const POD_LIVES: i64 = 8 * 86_400;

/// Lists what happens after `from` and not after `until`, in order, at a server that was born at `birth`.
pub fn moments_between(from: i64, until: i64, birth: Timestamp) -> Vec<Moment> {
    let later = birth.as_second() - BIRTH;
    let mut moments = moments_of_story(from - later, until - later);
    moments.iter_mut().for_each(|moment| moment.at += later);
    moments
}

fn moments_of_story(from: i64, until: i64) -> Vec<Moment> {
    let first = from.div_euclid(PROBE_EVERY) + 1;
    let probes = (first..=until.div_euclid(PROBE_EVERY)).map(probe_moment);
    let slots = from.div_euclid(SLOT)..=(until + HASTE).div_euclid(SLOT);
    let activations = slots.filter_map(activation_moment);
    let hasty = activations.flat_map(|moment| hasty_moments(&moment).chain([moment]));
    let mut moments: Vec<Moment> = probes.chain(hasty).collect();
    moments.retain(|moment| moment.at > from && moment.at <= until);
    moments.sort_by_key(|moment| moment.at);
    moments
}

fn probe_moment(number: i64) -> Moment {
    let port = 32_768 + u16::try_from(number.rem_euclid(28_000)).unwrap_or_default();
    let (address, source) = if number.rem_euclid(SCANNER) == 0 {
        let last = u8::try_from(mix_number(number).rem_euclid(200) + 20).unwrap_or(20);
        (IpAddr::from([203, 0, 113, last]), "external")
    } else if number.rem_euclid(MONITOR) == 0 {
        (IpAddr::from([10, 10, 3, 7]), "internal_pod")
    } else {
        (IpAddr::from([10, 0, 20, 103]), "cluster_node")
    };
    Moment {
        at: number * PROBE_EVERY,
        peer: SocketAddr::new(address, port),
        what: TimelineEvent::Probe(source),
    }
}

fn activation_moment(slot: i64) -> Option<Moment> {
    let at = |slot: i64| slot * SLOT + mix_number(slot).rem_euclid(SLOT - 20);
    let client = client_of(slot);
    // The same client again within the hour is held back, unless that one was as well.
    let slots = WINDOW / SLOT;
    let posted_before = (1..=slots)
        .any(|back| client_of(slot - back) == client && at(slot) - at(slot - back) < WINDOW);
    let (address, host, product) = CLIENTS.get(client).copied()?;
    let port = 49_152 + u16::try_from(mix_number(slot).rem_euclid(16_000)).ok()?;
    Some(Moment {
        at: at(slot),
        peer: SocketAddr::new(address.parse().ok()?, port),
        what: TimelineEvent::Activation(host, product, posted_before),
    })
}

/// Returns the connections without a request that some clients open before they are activated.
fn hasty_moments(moment: &Moment) -> impl Iterator<Item = Moment> + use<> {
    let (at, peer) = (moment.at, moment.peer);
    let mut hasty = HASTY.iter().filter_map(|client| CLIENTS.get(*client));
    let haste = hasty.any(|(address, ..)| address.parse() == Ok(peer.ip()));
    (1..=HASTE).filter(move |_| haste).rev().map(move |back| {
        let port = peer.port().wrapping_sub(u16::try_from(back).unwrap_or_default());
        Moment {
            at: at - back,
            peer: SocketAddr::new(peer.ip(), port),
            what: TimelineEvent::Probe("external"),
        }
    })
}

/// Returns whether the address is a client's, and no scanner's.
pub fn is_client(address: &str) -> bool {
    CLIENTS.iter().any(|(client, _, _)| *client == address)
}

fn client_of(slot: i64) -> usize {
    usize::try_from(mix_number(slot ^ 0x5bd1).rem_euclid(5)).unwrap_or_default()
}

/// Mixes the bits of a number, so that neighbours look unrelated; never negative.
fn mix_number(number: i64) -> i64 {
    (Random::new(number.cast_unsigned()).bits() >> 1).cast_signed()
}

/// Returns when the simulated server began to crash, where it does: yesterday evening.
pub fn crashed_at(now: Timestamp, birth: Timestamp) -> Timestamp {
    started_at(now, birth) + SignedDuration::from_hours(36)
}

/// Returns when the simulated pod that runs now was started.
pub fn started_at(now: Timestamp, birth: Timestamp) -> Timestamp {
    let first = birth.as_second() - STARTED_BEFORE;
    let pods = (now.as_second() - first).div_euclid(POD_LIVES);
    Timestamp::from_second(first + pods * POD_LIVES).unwrap_or(now)
}
