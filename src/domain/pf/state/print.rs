//! States → text, as pfctl of FreeBSD 14 prints them.

use std::fmt;
use std::net::IpAddr;

use super::super::Verbosity;
use super::super::rule::Direction;
use super::super::text::ClockTime;
use super::{Detail, Host, Identity, State};

/// Prints a [`State`]; see [`State::display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplayState<'a> {
    state: &'a State,
    verbosity: Verbosity,
}

impl<'a> DisplayState<'a> {
    pub(super) fn new(state: &'a State, verbosity: Verbosity) -> Self {
        Self { state, verbosity }
    }
}

impl fmt::Display for DisplayState<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state;
        write!(formatter, "{} {} {}", state.interface, state.protocol, state.left)?;
        print_inside_host(formatter, state.left_inside.as_ref())?;
        formatter.write_str(match state.direction {
            Direction::In => " <- ",
            Direction::Out => " -> ",
        })?;
        write!(formatter, "{}", state.right)?;
        print_inside_host(formatter, state.right_inside.as_ref())?;
        write!(formatter, "       {}", state.levels)?;
        if let (Some(detail), Verbosity::Verbose | Verbosity::VeryVerbose) =
            (&state.detail, self.verbosity)
        {
            write!(formatter, "\n{detail}")?;
        }
        if let (Some(identity), Verbosity::VeryVerbose) = (&state.identity, self.verbosity) {
            write!(formatter, "\n{identity}")?;
        }
        Ok(())
    }
}

fn print_inside_host(formatter: &mut fmt::Formatter<'_>, host: Option<&Host>) -> fmt::Result {
    match host {
        Some(host) => write!(formatter, " ({host})"),
        None => Ok(()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.address)?;
        if let Some(scope) = &self.scope {
            write!(formatter, "%{scope}")?;
        }
        match (self.port, self.address) {
            (0, _) => Ok(()),
            (port, IpAddr::V4(_)) => write!(formatter, ":{port}"),
            (port, IpAddr::V6(_)) => write!(formatter, "[{port}]"),
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(windows) = &self.windows {
            writeln!(formatter, "   {windows}")?;
        }
        let (age, expires) = (ClockTime(self.age_seconds), ClockTime(self.expires_seconds));
        write!(formatter, "   age {age}, expires in {expires}")?;
        write!(formatter, ", {}:{} pkts", self.packets.0, self.packets.1)?;
        write!(formatter, ", {}:{} bytes", self.bytes.0, self.bytes.1)?;
        let is_anchor = |extra: &&String| extra.starts_with("anchor ");
        for anchor in self.extras.iter().filter(is_anchor) {
            write!(formatter, ", {anchor}")?;
        }
        if let Some(rule) = self.rule {
            write!(formatter, ", rule {rule}")?;
        }
        for extra in self.extras.iter().filter(|extra| !is_anchor(extra)) {
            write!(formatter, ", {extra}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "   id: {:016x} creatorid: {:08x}", self.id, self.creator)?;
        for extra in &self.extras {
            write!(formatter, " {extra}")?;
        }
        if let Some(interface) = &self.original_interface {
            write!(formatter, "\n   origif: {interface}")?;
        }
        Ok(())
    }
}
