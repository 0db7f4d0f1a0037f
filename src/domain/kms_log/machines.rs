//! Which addresses a machine may be at: those that every sighting of it has in common. Bounded.
//!
//! A machine ID is the client's to choose, and a cloned disk has another's: what makes a request certain that another
//! connection could have sent is only that its machine was seen at one address again and again, and nowhere else since
//! ([`Machines::is_settled`]).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::guid::Guid;

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    addresses: Vec<IpAddr>,
    /// How many sightings in a row agree on one address.
    agreeing: u32,
    /// How often it was seen elsewhere: each time costs it a sighting until it is trusted to be where it is.
    moves: u32,
    /// The newest connection when it was last seen over one of several: as long as one of that time is open, it may
    /// speak over that again.
    doubtful_until: u64,
    /// The newest connection when it was last seen: one that was open then says nothing new.
    #[serde(default)]
    seen_until: u64,
    /// Other connections over which it may have spoken, as long as they are few.
    #[serde(default)]
    others: Vec<u64>,
    /// Other addresses where it was, or was by the best guess; the last of them.
    #[serde(default)]
    elsewhere: VecDeque<IpAddr>,
    /// How often it was seen at its only address since that is the only one, and how many connections had stayed there before.
    #[serde(default)]
    visits: u32,
    #[serde(default)]
    stays_before: u32,
}

impl Whereabouts {
    /// Returns the only address where it may be, where there is more than a guess for that.
    fn home(&self) -> Option<IpAddr> {
        match self.addresses.as_slice() {
            [home] if self.agreeing > 0 => Some(*home),
            _ => None,
        }
    }
}

/// Over which connections a machine may have spoken when it was seen.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    /// Their addresses, the most likely first, each with the newest connection there; empty where there are too many.
    pub addresses: Vec<(IpAddr, u64)>,
    /// Their numbers.
    pub among: Vec<u64>,
    /// Or over another one, of which the log does not know.
    pub unseen: bool,
    /// The newest connection at that time.
    pub newest: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Machines {
    known: HashMap<Guid, Whereabouts>,
    order: VecDeque<Guid>,
    homes: HashMap<IpAddr, Home>,
}

/// What is known of an address that is some machine's only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Home {
    machines: u32,
    /// How many connections from there stayed for a moment.
    stays: u32,
}

impl Machines {
    const MOST: usize = 4_096;
    /// Most connections that are remembered as a machine's own, perhaps, and most addresses.
    const FEW: usize = 8;

    /// Remembers that a machine was seen at one of these addresses. Where none of them is among those remembered, it
    /// has moved. `is_open` says which connections are.
    pub fn learn_sighting(
        &mut self,
        machine: Guid,
        sighting: Sighting,
        is_open: impl Fn(u64) -> bool,
    ) {
        let Sighting { addresses: seen, among, unseen, newest } = sighting;
        let last = self.known.get(&machine).map_or(0, |known| known.seen_until);
        let mut anew: Vec<IpAddr> =
            seen.iter().filter(|(_, number)| *number > last).map(|(address, _)| *address).collect();
        anew.sort_unstable();
        let mut seen: Vec<IpAddr> = seen.into_iter().map(|(address, _)| address).collect();
        let likely = seen.first().copied();
        seen.sort_unstable();
        seen.dedup();
        let certain = among.len() == 1 && !unseen;
        let seen_nowhere = seen.is_empty();
        let before = self.known.get(&machine).cloned();
        if before.is_none() && seen_nowhere {
            return;
        }
        let known = before.is_some();
        let mut now = before.unwrap_or_default();
        let home = now.home();
        let common: Vec<IpAddr> =
            seen.iter().filter(|address| now.addresses.contains(address)).copied().collect();
        if !known {
            now.addresses = seen;
            self.order.push_back(machine);
        } else if common == now.addresses {
            // Nothing new, and nothing that is against it.
        } else if common.iter().any(|address| certain || anew.contains(address)) {
            now.addresses = common;
        } else {
            // Elsewhere; or still over a connection of the last time, which is no second witness.
            now.moves += u32::from(common.is_empty());
            now.agreeing = 0;
            if !seen_nowhere {
                now.addresses = seen;
            }
        }
        if let [only] = now.addresses.as_slice()
            && !unseen
        {
            if anew.contains(only) {
                now.agreeing = now.agreeing.saturating_add(1);
            } else if certain {
                now.agreeing = now.agreeing.max(1);
            }
        }
        for address in home.into_iter().chain(likely) {
            if now.elsewhere.back() != Some(&address) {
                now.elsewhere.retain(|other| *other != address);
                now.elsewhere.push_back(address);
            }
        }
        if now.elsewhere.len() > Self::FEW {
            now.elsewhere.pop_front();
        }
        now.seen_until = newest;
        if among.len() > Self::FEW || seen_nowhere || unseen {
            now.doubtful_until = newest;
        } else if among.len() > 1 {
            now.others.extend(among);
        }
        now.others.sort_unstable();
        now.others.dedup();
        now.others.retain(|number| is_open(*number));
        if now.others.len() > Self::FEW {
            now.others.clear();
            now.doubtful_until = newest;
        }
        if home.is_some() && now.home() == home {
            now.visits = now.visits.saturating_add(1);
        } else {
            (now.visits, now.stays_before) = (0, now.home().map_or(0, |home| self.stays_at(home)));
        }
        self.put_machine(machine, now);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
            && let Some(before) = self.known.remove(&oldest)
        {
            self.leave_home(&before);
        }
    }

    /// Notes that a connection from an address stayed for a moment.
    pub fn note_stay(&mut self, address: IpAddr) {
        if let Some(home) = self.homes.get_mut(&address) {
            home.stays = home.stays.saturating_add(1);
        }
    }

    fn put_machine(&mut self, machine: Guid, now: Whereabouts) {
        if let Some(home) = now.home() {
            self.homes.entry(home).or_default().machines += 1;
        }
        if let Some(before) = self.known.insert(machine, now) {
            self.leave_home(&before);
        }
    }

    /// Walks the connections over which a machine may have spoken before.
    pub fn others_of(&self, machine: Guid) -> impl Iterator<Item = u64> {
        self.known.get(&machine).into_iter().flat_map(|known| known.others.iter().copied())
    }

    /// Walks the addresses where a machine was before, or was by the best guess: its own among them.
    pub fn haunts_of(&self, machine: Guid) -> impl Iterator<Item = IpAddr> {
        self.known.get(&machine).into_iter().flat_map(|known| known.elsewhere.iter().copied())
    }

    /// Makes the memory again from what [`Machines::iter`] and [`Machines::stays`] gave.
    pub fn restore_machines(
        saved: Vec<(Guid, Whereabouts)>,
        stays: impl IntoIterator<Item = (IpAddr, u32)>,
    ) -> Self {
        let mut machines = Self::default();
        for (machine, now) in saved.into_iter().take(Self::MOST) {
            machines.order.push_back(machine);
            machines.put_machine(machine, now);
        }
        for (address, stays) in stays {
            if let Some(home) = machines.homes.get_mut(&address) {
                home.stays = stays;
            }
        }
        machines
    }

    /// Returns whether a machine is surely at an address, of which `oldest` is the oldest open connection.
    pub fn is_settled(&self, machine: Guid, address: IpAddr, oldest: Option<u64>) -> bool {
        self.known.get(&machine).is_some_and(|known| {
            known.addresses == [address]
                && known.agreeing >= known.moves.saturating_add(1)
                && self.is_its_own(known, address)
                && oldest.is_some_and(|oldest| oldest > known.doubtful_until)
        })
    }

    /// Returns whether an address is hardly used by others than a machine, by how often each is there. Of a crowd behind one
    /// address, one is there whenever the machine is seen, wherever that is, and may connect in the moment in which it asks.
    fn is_its_own(&self, known: &Whereabouts, address: IpAddr) -> bool {
        self.stays_at(address).saturating_sub(known.stays_before)
            <= known.visits.saturating_mul(3).saturating_add(3)
    }

    fn stays_at(&self, address: IpAddr) -> u32 {
        self.homes.get(&address).map_or(0, |home| home.stays)
    }

    /// Returns where a machine may be; empty for an unknown one.
    pub fn addresses_of(&self, machine: Guid) -> &[IpAddr] {
        self.known.get(&machine).map_or(&[], |known| known.addresses.as_slice())
    }

    /// Returns whether this address is the only one of some machine.
    pub fn is_home(&self, address: IpAddr) -> bool {
        self.homes.contains_key(&address)
    }

    /// Walks the machines, longest known first.
    pub fn iter(&self) -> impl Iterator<Item = (Guid, &Whereabouts)> {
        self.order.iter().filter_map(|machine| Some((*machine, self.known.get(machine)?)))
    }

    /// Walks the addresses that are some machine's only one and where connections stayed.
    pub fn stays(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        let stays = self.homes.iter().map(|(address, home)| (*address, home.stays));
        stays.filter(|(_, stays)| *stays > 0)
    }

    fn leave_home(&mut self, before: &Whereabouts) {
        if let Some(home) = before.home()
            && let Some(left) = self.homes.get_mut(&home)
        {
            left.machines -= 1;
            if left.machines == 0 {
                self.homes.remove(&home);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses<const N: usize>(last: [u8; N]) -> [IpAddr; N] {
        last.map(|last| IpAddr::from([192, 0, 2, last]))
    }

    fn learn(machines: &mut Machines, machine: Guid, addresses: Vec<IpAddr>, newest: u64) {
        let among = if newest > 0 { vec![newest; 9] } else { vec![1] };
        let addresses = addresses.into_iter().map(|address| (address, 9)).collect();
        machines.learn_sighting(
            machine,
            Sighting { addresses, among, newest, ..Sighting::default() },
            |_| true,
        );
    }

    #[test]
    fn sightings_narrow_and_a_move_starts_afresh() {
        let machine = Guid::of_name(b"m");
        let [a, b, c, d] = addresses([1, 2, 3, 4]);
        let mut machines = Machines::default();
        learn(&mut machines, machine, vec![b, a], 2);
        assert_eq!(machines.addresses_of(machine), [a, b]);
        assert!(!machines.is_home(a));
        learn(&mut machines, machine, vec![a, c], 4);
        assert_eq!(machines.addresses_of(machine), [a]);
        assert!(machines.is_home(a));
        learn(&mut machines, machine, vec![d], 0);
        assert_eq!(machines.addresses_of(machine), [d]);
        assert!(machines.is_home(d) && !machines.is_home(a));
    }

    #[test]
    fn a_machine_is_settled_where_it_is_seen_again_and_a_move_costs_trust() {
        let machine = Guid::of_name(b"m");
        let [a, b] = addresses([1, 2]);
        let mut machines = Machines::default();
        let settled = |machines: &Machines, address| machines.is_settled(machine, address, Some(9));
        learn(&mut machines, machine, vec![a], 0);
        assert!(settled(&machines, a));
        learn(&mut machines, machine, vec![a, b], 8);
        assert!(settled(&machines, a) && !settled(&machines, b));
        // It may speak over the other one of that time again.
        assert!(
            !machines.is_settled(machine, a, Some(8)) && !machines.is_settled(machine, a, None)
        );
        for sightings in 1..=2 {
            learn(&mut machines, machine, vec![b], 0);
            assert_eq!(settled(&machines, b), sightings == 2);
        }
        // Somewhere, with too many to list.
        learn(&mut machines, machine, Vec::new(), 8);
        assert!(!settled(&machines, b));
    }

    /// Another machine's connection that stays open is there in each sighting, and no second witness.
    #[test]
    fn a_connection_that_was_open_before_settles_nothing() {
        let machine = Guid::of_name(b"m");
        let [a, b, c] = addresses([1, 2, 3]);
        let mut machines = Machines::default();
        for (seen, newest) in [([(a, 1), (b, 2)], 2), ([(b, 2), (c, 3)], 3)] {
            let among = seen.iter().map(|(_, number)| *number).collect();
            let sighting =
                Sighting { addresses: seen.to_vec(), among, newest, ..Sighting::default() };
            machines.learn_sighting(machine, sighting, |_| true);
            assert!(!machines.is_settled(machine, b, Some(9)) && !machines.is_home(b));
        }
        assert_eq!(machines.addresses_of(machine), [b, c]);
    }

    #[test]
    fn the_longest_known_is_forgotten_first() {
        let mut machines = Machines::default();
        let [address] = addresses([1]);
        for number in 0..=Machines::MOST {
            learn(&mut machines, Guid::of_name(&number.to_be_bytes()), vec![address], 0);
        }
        assert_eq!(machines.iter().count(), Machines::MOST);
        assert!(machines.addresses_of(Guid::of_name(&0_usize.to_be_bytes())).is_empty());
        assert!(machines.is_home(address));
        let saved = machines.iter().map(|(machine, now)| (machine, now.clone())).collect();
        let again = Machines::restore_machines(saved, []);
        assert_eq!((again.iter().count(), again.homes.len()), (Machines::MOST, 1));
    }
}
