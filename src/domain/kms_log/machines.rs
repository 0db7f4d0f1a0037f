//! Which addresses a machine may be at: those that every sighting of it has in common. Bounded.
//!
//! A machine ID is the client's to choose, so this never makes a request certain that another connection could have
//! sent, unless the machine's one address is where it now asks from.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::guid::Guid;

#[derive(Clone, Debug, Default)]
pub struct Machines {
    addresses: HashMap<Guid, Vec<IpAddr>>,
    order: VecDeque<Guid>,
    homes: HashMap<IpAddr, u32>,
}

impl Machines {
    const MOST: usize = 4_096;
    /// Most addresses of one machine; more say nothing.
    pub const WIDEST: usize = 12;

    /// Remembers that a machine was seen at one of these addresses. Where none of them is among those remembered, it
    /// has moved.
    pub fn learn_addresses(&mut self, machine: Guid, mut seen: Vec<IpAddr>) {
        seen.sort_unstable();
        seen.dedup();
        if seen.is_empty() || seen.len() > Self::WIDEST {
            return;
        }
        if let Some(before) = self.addresses.get(&machine) {
            let common: Vec<IpAddr> =
                seen.iter().filter(|address| before.contains(address)).copied().collect();
            if common == *before {
                return;
            }
            if !common.is_empty() {
                seen = common;
            }
        } else {
            self.order.push_back(machine);
        }
        if let [home] = seen.as_slice() {
            *self.homes.entry(*home).or_default() += 1;
        }
        if let Some(before) = self.addresses.insert(machine, seen) {
            self.leave_addresses(&before);
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
            && let Some(before) = self.addresses.remove(&oldest)
        {
            self.leave_addresses(&before);
        }
    }

    /// Returns where a machine may be; empty for an unknown one.
    pub fn addresses_of(&self, machine: Guid) -> &[IpAddr] {
        self.addresses.get(&machine).map_or(&[], Vec::as_slice)
    }

    /// Returns whether this address is the only one of some machine.
    pub fn is_home(&self, address: IpAddr) -> bool {
        self.homes.contains_key(&address)
    }

    /// Walks the machines, longest known first.
    pub fn iter(&self) -> impl Iterator<Item = (Guid, &[IpAddr])> {
        self.order.iter().map(|machine| (*machine, self.addresses_of(*machine)))
    }

    fn leave_addresses(&mut self, before: &[IpAddr]) {
        if let [home] = before
            && let Some(count) = self.homes.get_mut(home)
        {
            *count -= 1;
            if *count == 0 {
                self.homes.remove(home);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sightings_narrow_and_a_move_starts_afresh() {
        let machine = Guid::of_name(b"m");
        let [a, b, c, d] = [1_u8, 2, 3, 4].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut machines = Machines::default();
        machines.learn_addresses(machine, vec![b, a]);
        assert_eq!(machines.addresses_of(machine), [a, b]);
        assert!(!machines.is_home(a));
        machines.learn_addresses(machine, vec![a, c]);
        assert_eq!(machines.addresses_of(machine), [a]);
        assert!(machines.is_home(a));
        machines.learn_addresses(machine, vec![d]);
        assert_eq!(machines.addresses_of(machine), [d]);
        assert!(machines.is_home(d) && !machines.is_home(a));
    }

    #[test]
    fn the_longest_known_is_forgotten_first() {
        let mut machines = Machines::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        for number in 0..=Machines::MOST {
            machines.learn_addresses(Guid::of_name(&number.to_be_bytes()), vec![address]);
        }
        assert_eq!(machines.iter().count(), Machines::MOST);
        assert!(machines.addresses_of(Guid::of_name(&0_usize.to_be_bytes())).is_empty());
        assert!(machines.is_home(address));
    }
}
