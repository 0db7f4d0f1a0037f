//! Host keys for the built-in client: which keys known_hosts records for a host, and the verdict on the key it
//! presents. Strict: a key that is not recorded is refused, and nothing is ever added. The format is that of
//! sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". The system's `ssh` does its own checking; for it [`recorded_in_line`] finds
//! the other fingerprint of a changed key, and [`KnownHosts::tied_to`] the other keys of the same box.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use ::russh::keys::ssh_key::certificate::CertType;
use ::russh::keys::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, parse_public_key_base64,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::plain_file;

/// Some hundred thousand hosts; what is behind it is not looked at.
const LARGEST: u64 = 64 << 20;

/// A public host key as people compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub algorithm: String,
    /// `SHA256:` and 43 characters of unpadded base64.
    pub fingerprint: String,
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.fingerprint)
    }
}

impl HostKey {
    /// Names a box by the authority with this key, and by the name in its certificate.
    pub(crate) fn vouching_for(&self, principal: &str) -> String {
        format!("@cert-authority {self} {}", principal.to_ascii_lowercase())
    }
}

impl From<&PublicKey> for HostKey {
    fn from(key: &PublicKey) -> Self {
        Self {
            algorithm: key.algorithm().to_string(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }
}

/// What known_hosts says about a presented key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyVerdict {
    /// Recorded.
    Known,
    /// Not recorded, nor another of its kind.
    Unknown,
    /// Another key of the same kind is recorded.
    Changed {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        line: usize,
        /// The recorded key.
        recorded: HostKey,
    },
    /// Marked `@revoked`.
    Revoked {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug)]
struct KnownHost {
    path: PathBuf,
    line: usize,
    marker: Marker,
    /// It names the host itself, by a plain or hashed name and not by a pattern.
    exact: bool,
    key: PublicKey,
}

/// What a line says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    HostKey,
    Authority,
    Revoked,
}

/// The entries of known_hosts files that concern one host.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<KnownHost>,
}

impl KnownHosts {
    /// Reads the entries for a host; a file that does not exist holds none, and lines that cannot be understood
    /// (other kinds of keys, rubbish) are passed over as `ssh` does.
    pub fn read(paths: &[PathBuf], name: &str) -> Self {
        let mut known = Self::default();
        for path in paths {
            let Ok(bytes) = plain_file::read_plain_file(path, LARGEST) else {
                continue;
            };
            known.add_file(path, &String::from_utf8_lossy(&bytes), name);
        }
        known
    }

    /// Adds the entries of a file's text for a host.
    pub fn add_file(&mut self, path: &Path, text: &str, name: &str) {
        for (number, line) in text.lines().enumerate() {
            let Some((marker, hosts, key)) = known_host_fields(line) else {
                continue;
            };
            // An authority that is trusted for a host is trusted for each of its ports, and a key that is revoked for one is
            // revoked for all, as with `ssh`.
            let bare = portless_name(name);
            let named = names_host(hosts, name)
                .or_else(|| names_host(hosts, bare).filter(|_| marker != Marker::HostKey));
            let Some(exact) = named else {
                continue;
            };
            if let Ok(key) = parse_public_key_base64(key) {
                self.entries.push(KnownHost {
                    path: path.to_owned(),
                    line: number + 1,
                    marker,
                    exact,
                    key,
                });
            }
        }
    }

    fn with_marker(&self, marker: Marker) -> impl Iterator<Item = &KnownHost> + Clone {
        self.entries.iter().filter(move |entry| entry.marker == marker)
    }

    /// Returns the keys that known_hosts has for the same host beside one of this algorithm. Where a kind is listed twice,
    /// the name leads to more than one box, and none is returned. Patterns name many boxes and tie none.
    pub fn tied_to(&self, algorithm: &str) -> Vec<HostKey> {
        let mut keys: Vec<HostKey> = Vec::new();
        for entry in self.with_marker(Marker::HostKey).filter(|entry| entry.exact) {
            let key = HostKey::from(&entry.key);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let kinds: BTreeSet<&str> = keys.iter().map(|key| key.algorithm.as_str()).collect();
        if kinds.len() < keys.len() {
            return Vec::new();
        }
        keys.retain(|key| key.algorithm != algorithm);
        keys
    }

    /// Returns whether known_hosts trusts an authority for this host.
    pub fn has_authority(&self) -> bool {
        self.with_marker(Marker::Authority).next().is_some()
    }

    /// Judges a certificate at a time in seconds: returns the authority's key where known_hosts trusts it for this host,
    /// else why it does not count. Stricter than `ssh` in one thing: a certificate must name its hosts.
    pub fn judge_certificate(
        &self,
        certificate: &Certificate,
        name: &str,
        now: u64,
    ) -> Result<HostKey, String> {
        let signer = certificate.signature_key();
        let authority = HostKey::from(&PublicKey::from(signer.clone()));
        let same = |entry: &&KnownHost| entry.key.key_data() == signer;
        let revoked =
            |entry: &&KnownHost| same(entry) || entry.key.key_data() == certificate.public_key();
        if self.with_marker(Marker::Revoked).any(|entry| revoked(&entry)) {
            return Err("known_hosts has its authority or its key as revoked".to_owned());
        }
        if !self.with_marker(Marker::Authority).any(|entry| same(&entry)) {
            return Err(format!("known_hosts does not trust its authority {authority} for {name}"));
        }
        if matches!(signer.algorithm(), Algorithm::Rsa { .. }) {
            return Err("its authority has an RSA key, which the built-in SSH client cannot check (transport = \"openssh\" can)"
                .to_owned());
        }
        if certificate.cert_type() != CertType::Host {
            return Err("it is not a certificate for a host".to_owned());
        }
        let principal = portless_name(name);
        let named = |host: &String| host.eq_ignore_ascii_case(principal);
        if !certificate.valid_principals().iter().any(named) {
            return Err(format!("it does not name {principal}"));
        }
        if certificate.critical_options().iter().next().is_some() {
            return Err("it has critical options, of which hosts have none".to_owned());
        }
        certificate
            .validate_at(now, &[signer.fingerprint(HashAlg::Sha256)])
            .map_err(|_| "its signature is wrong, or this is not its time".to_owned())?;
        Ok(authority)
    }

    /// Judges a presented key.
    pub fn judge_key(&self, presented: &PublicKey) -> HostKeyVerdict {
        let same = |entry: &&KnownHost| entry.key.key_data() == presented.key_data();
        if let Some(entry) = self.with_marker(Marker::Revoked).find(same) {
            return HostKeyVerdict::Revoked { path: entry.path.clone() };
        }
        let mut recorded = self.with_marker(Marker::HostKey);
        if recorded.clone().any(|entry| same(&entry)) {
            return HostKeyVerdict::Known;
        }
        recorded.find(|entry| entry.key.algorithm() == presented.algorithm()).map_or(
            HostKeyVerdict::Unknown,
            |entry| HostKeyVerdict::Changed {
                path: entry.path.clone(),
                line: entry.line,
                recorded: HostKey::from(&entry.key),
            },
        )
    }

    /// Returns the algorithms to ask for, those of recorded keys first, so that a host with several keys shows
    /// the one we know. The built-in client has no RSA.
    pub fn known_algorithms(&self) -> Vec<Algorithm> {
        let all = [
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        ];
        let recorded = |algorithm: &Algorithm| {
            self.with_marker(Marker::HostKey).any(|entry| entry.key.algorithm() == *algorithm)
        };
        let (mut known, other): (Vec<_>, Vec<_>) = all.into_iter().partition(recorded);
        known.extend(other);
        known
    }

    /// Returns the file whose only word on this host is an RSA key, which the built-in client cannot check.
    pub fn only_rsa(&self) -> Option<&Path> {
        let mut keys = self.with_marker(Marker::HostKey);
        let first = keys.clone().next()?;
        let rsa = |entry: &KnownHost| matches!(entry.key.algorithm(), Algorithm::Rsa { .. });
        (keys.all(rsa) && !self.has_authority()).then_some(first.path.as_path())
    }
}

/// Returns a listed name without brackets and port.
pub fn portless_name(name: &str) -> &str {
    name.strip_prefix('[').and_then(|rest| rest.rsplit_once("]:")).map_or(name, |(host, _)| host)
}

/// Returns the name under which known_hosts lists a host.
pub fn listed_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// Reads the key in one line of a known_hosts file, for the message about a changed key.
pub fn recorded_in_line(path: &Path, line: usize) -> Option<HostKey> {
    let text =
        String::from_utf8_lossy(&plain_file::read_plain_file(path, LARGEST).ok()?).into_owned();
    let (_, _, key) = known_host_fields(text.lines().nth(line.checked_sub(1)?)?)?;
    parse_public_key_base64(key).ok().as_ref().map(HostKey::from)
}

/// Splits a line into: marker, host patterns, base64 key.
fn known_host_fields(line: &str) -> Option<(Marker, &str, &str)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    let (marker, hosts) = match first {
        "@revoked" => (Marker::Revoked, words.next()?),
        "@cert-authority" => (Marker::Authority, words.next()?),
        marker if marker.starts_with('@') => return None,
        hosts => (Marker::HostKey, hosts),
    };
    let _algorithm = words.next()?;
    Some((marker, hosts, words.next()?))
}

/// Returns whether a list of patterns names a host exactly, or nothing where it does not name it: `*` and `?` match, `!`
/// excludes, `|1|salt|hash` is a hashed name.
fn names_host(patterns: &str, name: &str) -> Option<bool> {
    // As with ssh, a field that begins so is one hashed name to its end.
    if let Some(hashed) = patterns.strip_prefix('|') {
        return hash_matches(hashed, name).filter(|matches| *matches);
    }
    let (mut named, mut exact) = (false, false);
    for pattern in patterns.split(',') {
        if let Some(excluded) = pattern.strip_prefix('!') {
            if glob_matches(excluded.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
                return None;
            }
        } else {
            let pattern = pattern.to_ascii_lowercase();
            exact |= pattern == name;
            named |= glob_matches(pattern.as_bytes(), name.as_bytes());
        }
    }
    (named || exact).then_some(exact)
}

fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.strip_prefix("1|")?.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    let hash = STANDARD.decode(hash).ok()?;
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?.chain_update(name);
    Some(mac.verify_slice(&hash).is_ok())
}

/// Matches `*` and `?`, going back to the last star only, so in bounded time.
fn glob_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&byte) if byte == b'?' || name.get(read) == Some(&byte) => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, star_read)) = star else {
                    return false;
                };
                star = Some((star_at, star_read + 1));
                at = star_at + 1;
                read = star_read + 1;
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    /// The name `example.com`, as `ssh-keygen -H` hashes it.
    const HASHED: &str = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=";

    fn key(line: &str) -> PublicKey {
        parse_public_key_base64(line.split(' ').nth(1).unwrap()).unwrap()
    }

    fn judge(text: &str, name: &str, presented: &str) -> HostKeyVerdict {
        let mut known = KnownHosts::default();
        known.add_file(Path::new("known_hosts"), text, name);
        known.judge_key(&key(presented))
    }

    #[test]
    fn names_ports_and_hashes() {
        assert_eq!(
            judge(&format!("fw,10.0.20.1 {ONE} comment"), "10.0.20.1", ONE),
            HostKeyVerdict::Known
        );
        assert_eq!(
            judge(&format!("[fw]:2222 {ONE}"), &listed_name("FW", 2222), ONE),
            HostKeyVerdict::Known
        );
        assert_eq!(
            judge(&format!("fw {ONE}"), &listed_name("fw", 2222), ONE),
            HostKeyVerdict::Unknown
        );
        assert_eq!(judge(&format!("{HASHED} {ONE}"), "example.com", ONE), HostKeyVerdict::Known);
        assert_eq!(judge(&format!("{HASHED} {ONE}"), "example.org", ONE), HostKeyVerdict::Unknown);
        for field in ["|1|abc|def,fw", "|1|,fw", "|2|a|b,fw", "|,fw,*", &format!("{HASHED},fw")] {
            assert_eq!(judge(&format!("{field} {ONE}"), "fw", ONE), HostKeyVerdict::Unknown);
        }
        assert_eq!(judge(&format!("  fw\t{ONE}\r\n"), "fw", ONE), HostKeyVerdict::Known);
        assert_eq!(judge(&format!("# fw {ONE}"), "fw", ONE), HostKeyVerdict::Unknown);
        assert_eq!(judge(&format!("10.0.*.? {ONE}"), "10.0.20.1", ONE), HostKeyVerdict::Known);
        assert_eq!(
            judge(&format!("10.0.*,!10.0.20.1 {ONE}"), "10.0.20.1", ONE),
            HostKeyVerdict::Unknown
        );
    }

    #[test]
    fn a_changed_key_tells_the_line_and_the_recorded_key() {
        let HostKeyVerdict::Changed { line, recorded, .. } =
            judge(&format!("# x\n\nfw {ONE}"), "fw", TWO)
        else {
            panic!("not changed");
        };
        assert_eq!((line, recorded), (3, HostKey::from(&key(ONE))));
    }

    #[test]
    fn one_of_several_recorded_keys_is_enough() {
        assert_eq!(judge(&format!("fw {ONE}\nfw {TWO}"), "fw", TWO), HostKeyVerdict::Known);
    }

    #[test]
    fn a_revoked_key_is_refused_even_if_recorded_too() {
        let text = format!("fw {ONE}\n@revoked * {ONE}");
        assert!(matches!(judge(&text, "fw", ONE), HostKeyVerdict::Revoked { .. }));
        assert_eq!(
            judge(&format!("@revoked fw {ONE}\nfw {TWO}"), "fw", TWO),
            HostKeyVerdict::Known
        );
        assert_eq!(judge(&format!("@revoked fw {TWO}"), "fw", ONE), HostKeyVerdict::Unknown);
        // What is revoked for a host is revoked for each of its ports.
        for revoked in ["fw", "*", "[fw]:2222", "other,fw"] {
            let text = format!("[fw]:2222 {ONE}\n@revoked {revoked} {ONE}");
            let verdict = judge(&text, "[fw]:2222", ONE);
            assert!(matches!(verdict, HostKeyVerdict::Revoked { .. }), "{revoked}: {verdict:?}");
        }
    }

    #[test]
    fn an_authority_is_not_a_host_key() {
        assert_eq!(judge(&format!("@cert-authority fw {ONE}"), "fw", ONE), HostKeyVerdict::Unknown);
    }

    #[test]
    fn keys_of_one_name_are_tied() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
        let tied = |text: String, algorithm: &str| {
            let mut known = KnownHosts::default();
            known.add_file(Path::new("known_hosts"), &text, "fw");
            let keys = known.tied_to(algorithm);
            keys.into_iter().map(|key| key.algorithm).collect::<Vec<_>>()
        };
        assert_eq!(tied(format!("fw {ecdsa}\nfw {ONE}"), "ssh-ed25519"), ["ecdsa-sha2-nistp256"]);
        assert_eq!(tied(format!("x,fw {ecdsa}\nfw {ONE}"), "ecdsa-sha2-nistp256"), ["ssh-ed25519"]);
        assert!(tied(format!("fw {ONE}\nfw {TWO}\nfw {ecdsa}"), "ssh-ed25519").is_empty());
        for nothing in [
            format!("* {ONE}\nfw {ecdsa}"),
            format!("fw {ONE}\nfw {TWO}\nfw {ecdsa}"),
            format!("@revoked fw {ONE}\nfw {ecdsa}"),
            format!("@cert-authority fw {ONE}\nfw {ecdsa}"),
            format!("other {ONE}\nfw {ecdsa}"),
        ] {
            let found = tied(nothing.clone(), "ecdsa-sha2-nistp256");
            assert!(found.is_empty(), "{nothing}");
        }
    }

    #[test]
    fn rubbish_is_passed_over() {
        let text = format!(
            "fw\nfw ssh-ed25519\nfw ssh-ed25519 %%%\n|1|x {ONE}\n@odd fw {ONE}\n\u{0}\nfw {ONE}"
        );
        assert_eq!(judge(&text, "fw", ONE), HostKeyVerdict::Known);
    }

    #[test]
    fn recorded_algorithms_are_asked_first() {
        let mut known = KnownHosts::default();
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
        known.add_file(Path::new("known_hosts"), &format!("fw {ecdsa}"), "fw");
        assert_eq!(known.known_algorithms()[0], Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
        assert_eq!(known.known_algorithms().len(), 4);
        assert_eq!(KnownHosts::default().known_algorithms()[0], Algorithm::Ed25519);
        assert!(known.only_rsa().is_none());
    }

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[fw]:22", "[fw]:22", true),
        ] {
            assert_eq!(
                glob_matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(!glob_matches("*a".repeat(40).as_bytes(), "a".repeat(39).as_bytes()));
    }
}
