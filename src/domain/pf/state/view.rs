//! States as slices of the text they were read from.

use std::net::IpAddr;

use super::super::rule::Direction;
use super::super::text;
use super::{Detail, Host, Identity, State};

/// A [`State`] that borrows the text it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateView<'a> {
    /// See [`State::interface`].
    pub interface: &'a str,
    /// See [`State::protocol`].
    pub protocol: &'a str,
    /// See [`State::direction`].
    pub direction: Direction,
    /// See [`State::left`].
    pub left: HostView<'a>,
    /// See [`State::left_inside`].
    pub left_inside: Option<HostView<'a>>,
    /// See [`State::right`].
    pub right: HostView<'a>,
    /// See [`State::right_inside`].
    pub right_inside: Option<HostView<'a>>,
    /// See [`State::levels`].
    pub levels: &'a str,
    /// See [`State::detail`].
    pub detail: Option<DetailView<'a>>,
    /// See [`State::identity`].
    pub identity: Option<IdentityView<'a>>,
}

/// A [`Host`] that borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostView<'a> {
    /// See [`Host::address`].
    pub address: IpAddr,
    /// See [`Host::scope`].
    pub scope: Option<&'a str>,
    /// See [`Host::port`].
    pub port: u16,
}

/// A [`Detail`] that borrows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetailView<'a> {
    /// See [`Detail::windows`].
    pub windows: Option<&'a str>,
    /// See [`Detail::age_seconds`].
    pub age_seconds: u64,
    /// See [`Detail::expires_seconds`].
    pub expires_seconds: u64,
    /// See [`Detail::packets`].
    pub packets: (u64, u64),
    /// See [`Detail::bytes`].
    pub bytes: (u64, u64),
    /// See [`Detail::rule`].
    pub rule: Option<u32>,
    /// Everything after the bytes, `rule` included, as printed.
    pub(super) options: &'a str,
}

/// An [`Identity`] that borrows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityView<'a> {
    /// See [`Identity::id`].
    pub id: u64,
    /// See [`Identity::creator`].
    pub creator: u32,
    /// Everything after the creator, as printed.
    pub(super) options: &'a str,
    /// `rlabel: TEXT` on a line of its own (OPNsense).
    pub(super) label: Option<&'a str>,
    /// See [`Identity::original_interface`].
    pub original_interface: Option<&'a str>,
}

impl StateView<'_> {
    /// Copies the state out of its text.
    pub fn to_owned(&self) -> State {
        State {
            interface: self.interface.to_owned(),
            protocol: self.protocol.to_owned(),
            direction: self.direction,
            left: self.left.to_owned(),
            left_inside: self.left_inside.map(|host| host.to_owned()),
            right: self.right.to_owned(),
            right_inside: self.right_inside.map(|host| host.to_owned()),
            levels: self.levels.to_owned(),
            detail: self.detail.map(|detail| detail.to_owned()),
            identity: self.identity.map(|identity| identity.to_owned()),
        }
    }
}

impl HostView<'_> {
    /// Copies the host out of its text.
    pub fn to_owned(&self) -> Host {
        Host {
            address: self.address,
            scope: self.scope.map(str::to_owned),
            port: self.port,
        }
    }
}

impl<'a> DetailView<'a> {
    /// Iterates over [`Detail::extras`].
    pub fn extras(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rule_seen = false;
        self.options
            .split(", ")
            .filter(move |option| match rule_number(option) {
                Some(_) if !rule_seen => {
                    rule_seen = true;
                    false
                }
                _ => !option.is_empty(),
            })
    }

    /// Copies the detail out of its text.
    pub fn to_owned(&self) -> Detail {
        Detail {
            windows: self.windows.map(str::to_owned),
            age_seconds: self.age_seconds,
            expires_seconds: self.expires_seconds,
            packets: self.packets,
            bytes: self.bytes,
            rule: self.rule,
            extras: self.extras().map(str::to_owned).collect(),
        }
    }
}

/// Reads `rule N`.
pub(super) fn rule_number(option: &str) -> Option<u32> {
    text::whole_number(option.strip_prefix("rule ")?)
}

impl IdentityView<'_> {
    /// Collects [`Identity::extras`]: each begins with a word in small letters and a colon.
    pub fn extras(&self) -> Vec<String> {
        let mut extras: Vec<String> = Vec::new();
        for word in self.options.split(' ').filter(|word| !word.is_empty()) {
            match extras.last_mut() {
                Some(last) if !is_key(word) => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => extras.push(word.to_owned()),
            }
        }
        extras.extend(self.label.map(str::to_owned));
        extras
    }

    /// Copies the identity out of its text.
    pub fn to_owned(&self) -> Identity {
        Identity {
            id: self.id,
            creator: self.creator,
            extras: self.extras(),
            original_interface: self.original_interface.map(str::to_owned),
        }
    }
}

/// Tells `reply-to:` from an address that ends in a colon, such as `2001:db8::`.
fn is_key(word: &str) -> bool {
    let name = word.strip_suffix(':').unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    !name.is_empty() && name.bytes().all(plain)
}
