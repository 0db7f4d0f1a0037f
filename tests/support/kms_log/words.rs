//! The server's words: stamps, addresses, labels, product names, and the names people and scanners give.

use super::random::Random;

/// Generation of the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// `Activation ID (Product)`; such servers never refuse.
    Old,
    /// `SKU ID (aka Activation ID)`.
    New,
}

/// Length of a request's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Option `-v`: about twenty lines a request.
    Verbose,
    /// Two lines a request.
    Short,
}

/// GUID, printed name, printed application, of products that clients ask for; `Unknown` as a server of 2015 prints it.
pub const PRODUCTS: [(&str, &str, &str); 8] = [
    ("2de67392-b7a7-462a-b1ca-108dd189f588", "Windows 10 Professional", "Windows"),
    ("73111121-5638-40f6-bc11-f1d7b0d64300", "Windows 10 Enterprise", "Windows"),
    ("e0c42288-980c-4788-a014-c080d2e1926e", "Windows 10 Education", "Windows"),
    ("81671aaf-79d1-4eb1-b004-8cbbe173afea", "Windows 8.1 Enterprise", "Windows"),
    ("68531fb9-5511-4989-97be-d11a0f55633f", "Windows Server 2008 R2 Standard", "Windows"),
    ("8c1c5410-9f39-4805-8c9d-63a07706358f", "Unknown", "Windows"),
    ("00000000-0000-4000-8000-00000000cafe", "Windows Server (Volume) (beta)", "Windows"),
    ("85dd8b5f-eaa4-4af3-a628-cce9e77c9a03", "Unknown", "Office2013"),
];

/// The codes of refusals, with their text.
pub const REFUSALS: [(u32, &str); 6] = [
    (0x8007_000D, "Rejecting request with more than 1000 minimum clients"),
    (0xC004_F06C, "Client time differs more than 4 hours from system time"),
    (0xC004_F042, "Refusing retail or beta product"),
    (0xC004_F042, "Refusing unknown product"),
    (0xC004_F042, "Refusing product with incorrect Application ID"),
    (0xC004_D104, "Rejecting more than 671 clients"),
];

/// Status words by number.
pub const STATUSES: [&str; 7] = [
    "Unlicensed",
    "Licensed",
    "OOB grace",
    "OOT grace",
    "Non-Genuine",
    "Notification",
    "Extended grace",
];

/// Returns `YYYY-MM-DD HH:MM:SS: `. Days to date after Howard Hinnant's `civil_from_days`.
pub fn stamp(start: i64, micros: u64) -> String {
    let (time, rest) = (clock(start, micros), ": ");
    format!("{time}{rest}")
}

/// Returns `YYYY-MM-DD HH:MM:SS`.
pub fn clock(start: i64, micros: u64) -> String {
    let seconds = start + i64::try_from(micros / 1_000_000).unwrap_or_default();
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Returns a client's address as the server would print it, without brackets: outside and inside, both families, with
/// scope ids, mapped.
pub fn address(random: &mut Random) -> String {
    let host = random.between(1, 255);
    match random.below(20) {
        0..4 => format!("203.0.113.{host}"),
        4..8 => format!("198.51.100.{host}"),
        8..10 => format!("192.0.2.{host}"),
        10..14 => format!("192.168.1.{host}"),
        14 => format!("10.0.20.{host}"),
        15 => format!("10.10.{}.{host}", random.below(255)),
        16 => format!("::ffff:203.0.113.{host}"),
        17 => format!("fe80::{host:x}%eth0"),
        _ => format!("2001:db8:{:x}::{host:x}", random.between(1, 0xffff)),
    }
}

/// Returns the peer in its one name and as the server prints it, with the family's word.
pub fn peer(address: &str, port: u64) -> (String, String) {
    if !address.contains(':') {
        let plain = format!("{address}:{port}");
        return (plain.clone(), format!("IPv4 connection {{}}: {plain}."));
    }
    let bare = address.split('%').next().unwrap_or(address);
    let name = match bare.strip_prefix("::ffff:") {
        Some(mapped) => format!("{mapped}:{port}"),
        None => format!("[{bare}]:{port}"),
    };
    (name, format!("IPv6 connection {{}}: [{address}]:{port}."))
}

/// Returns an honest workstation name.
pub fn workstation(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => format!("DESKTOP-{:07X}", random.below(1 << 28)),
        1 => format!("LAPTOP-{:06X}", random.below(1 << 24)),
        _ => format!("WIN10Pro-DS{}.viktorbarzin.lan", random.below(400)),
    }
    .into_bytes()
}

/// Returns a name made to deceive, at most 64 characters as the protocol allows.
pub fn deception(random: &mut Random, start: i64, micros: u64, own: &str) -> Vec<u8> {
    let stamp = stamp(start, micros);
    let victim = match random.below(3) {
        0 => own.to_owned(),
        1 => format!("10.0.20.{}:{}", random.between(1, 255), random.between(1, 65_536)),
        _ => format!("8.8.8.8:{}", random.between(1, 65_536)),
    };
    let text = match random.below(18) {
        0 => format!("x\n{stamp}IPv4 connection accepted: {victim}."),
        1 => format!("x\n{stamp}IPv4 connection closed: {victim}."),
        2 => format!("x\n{stamp}<<< Incoming KMS request"),
        3 => format!("x\n{stamp}>>> Sending response, ePID source = x"),
        4 => format!("x\n{stamp}Refusing (0xC004F042)"),
        5 => format!("x\n{stamp}vlmcsd x started successfully"),
        6 => format!("x\n{stamp}KMS v6.0 request from a for b"),
        7 => format!("x\n{stamp}Warning: Child killed/crashed by SIGSEGV"),
        8 => format!("x\n{stamp}Workstation name: forged"),
        9 => "x: IPv4 connection accepted: 8.8.8.8:5.".to_owned(),
        10 => "<!channel> *bold* `code` <https://x|y> @here".to_owned(),
        11 => "a\rb\x1b[2Jc\u{7}d\te\u{85}f\u{2028}g\u{202e}h".to_owned(),
        12 => String::new(),
        13 => "\n\n\n".to_owned(),
        14 => "ж".repeat(64),
        15 => "PC for Windows for Office".to_owned(),
        16 => "\"quoted\",comma;semi\\back".to_owned(),
        _ => return b"bad\xff\xfe\xc0utf8\xed\xa0\x80".to_vec(),
    };
    let kept: String = text.chars().take(64).collect();
    kept.into_bytes()
}

/// Returns a line, or several, that no server writes.
pub fn noise(random: &mut Random) -> Vec<u8> {
    match random.below(7) {
        0 => b"\n".to_vec(),
        1 => b"2026-05-10 11:00:00 IPv4 connection accepted: 1.2.3.4:1.\n".to_vec(),
        2 => b"\xff\xfe\x00binary\xc0\n".to_vec(),
        3 => [vec![b'Z'; 3_000], b"\n".to_vec()].concat(),
        4 => [vec![b'G'; 200_000], b"\n".to_vec()].concat(),
        5 => b"2026-13-45 99:99:99: IPv4 connection accepted: 1.2.3.4:1.\n".to_vec(),
        _ => b"  2026-05-10 11:00:00: IPv4 connection closed: 1.2.3.4:1.\r\n".to_vec(),
    }
}
