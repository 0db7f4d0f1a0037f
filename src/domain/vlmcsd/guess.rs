//! What guesses leave possible. A request that several connections could have sent is guessed to be one's; that
//! it was *one* of them is certain all the same, and as a connection speaks for one machine only, such knowledge
//! adds up: two machines over two connections leave neither of the two to a third machine.

use serde::{Deserialize, Serialize};

use super::guid::Guid;

/// A machine whose connection is one of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Guess {
    machine: Guid,
    among: Vec<u64>,
}

/// Every guess that still tells something about an open connection. Bounded: what does not fit is forgotten,
/// which leaves more possible and never less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guesses(Vec<Guess>);

impl Guesses {
    /// Most guesses kept.
    const MOST: usize = 32;
    /// Most connections of one guess; a wider one says too little.
    pub const WIDEST: usize = 12;

    /// Tells whether a machine may have sent over a connection, given that every other one had a connection too.
    pub fn allow(&self, machine: Guid, number: u64) -> bool {
        let others: Vec<&Guess> = self
            .0
            .iter()
            .filter(|guess| guess.machine != machine)
            .collect();
        let named = others.iter().any(|guess| guess.among.contains(&number));
        // Where they do not fit in any way, a machine had two names or a connection two machines: nothing is known.
        !named || all_fit(&others, Some(number)) || !all_fit(&others, None)
    }

    /// Remembers that a machine sent over one of these.
    pub fn add(&mut self, machine: Guid, among: Vec<u64>) {
        if among.len() > Self::WIDEST {
            return;
        }
        if let Some(guess) = self.0.iter_mut().find(|guess| guess.machine == machine) {
            // Over one of fewer; or, where another one is possible, over a second connection: that tells nothing.
            if among.iter().all(|number| guess.among.contains(number)) {
                guess.among = among;
            }
            return;
        }
        if self.0.len() >= Self::MOST {
            self.0.remove(0);
        }
        self.0.push(Guess { machine, among });
    }

    /// Learns for certain whose a connection is; returns what else is certain by that.
    pub fn settle(&mut self, machine: Guid, number: u64) -> Vec<(Guid, u64)> {
        let mut settled = vec![(machine, number)];
        let mut done = 0;
        while let Some((machine, number)) = settled.get(done).copied() {
            done += 1;
            self.0.retain(|guess| guess.machine != machine);
            for guess in &mut self.0 {
                guess.among.retain(|other| *other != number);
                if let [only] = guess.among.as_slice() {
                    settled.push((guess.machine, *only));
                }
            }
            self.0.retain(|guess| guess.among.len() > 1);
        }
        settled.remove(0);
        settled
    }

    /// Forgets guesses that concern no open connection.
    pub fn retain(&mut self, is_open: impl Fn(u64) -> bool) {
        self.0
            .retain(|guess| guess.among.iter().any(|number| is_open(*number)));
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tells whether every guess can have a connection of its own, none of them the `reserved` one: a maximum matching by
/// augmenting paths.
fn all_fit(guesses: &[&Guess], reserved: Option<u64>) -> bool {
    let mut taken: Vec<(u64, usize)> = Vec::new();
    (0..guesses.len()).all(|index| place(guesses, index, reserved, &mut taken, &mut Vec::new()))
}

fn place(
    guesses: &[&Guess],
    index: usize,
    reserved: Option<u64>,
    taken: &mut Vec<(u64, usize)>,
    tried: &mut Vec<u64>,
) -> bool {
    let Some(guess) = guesses.get(index) else {
        return false;
    };
    for &number in &guess.among {
        if Some(number) == reserved || tried.contains(&number) {
            continue;
        }
        tried.push(number);
        let holder = taken.iter().position(|(held, _)| *held == number);
        let Some(position) = holder else {
            taken.push((number, index));
            return true;
        };
        let before = taken.get(position).map_or(index, |(_, holder)| *holder);
        if place(guesses, before, reserved, taken, tried) {
            if let Some(entry) = taken.iter_mut().find(|(held, _)| *held == number) {
                entry.1 = index;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(digit: u8) -> Guid {
        let text = format!("{digit:08x}-0000-4000-8000-000000000000");
        Guid::parse(text.as_bytes()).expect("a GUID")
    }

    #[test]
    fn two_machines_over_two_connections_leave_none_to_a_third() {
        let mut guesses = Guesses::default();
        guesses.add(machine(1), vec![10, 11]);
        assert!(guesses.allow(machine(3), 10));
        guesses.add(machine(2), vec![10, 11]);
        assert!(!guesses.allow(machine(3), 10) && !guesses.allow(machine(3), 11));
        assert!(guesses.allow(machine(3), 12) && guesses.allow(machine(1), 11));
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let mut guesses = Guesses::default();
        guesses.add(machine(1), vec![10, 11]);
        guesses.add(machine(2), vec![11, 12]);
        guesses.add(machine(3), vec![12, 13]);
        assert!(guesses.allow(machine(4), 10));
        assert_eq!(
            guesses.settle(machine(4), 10),
            [(machine(1), 11), (machine(2), 12), (machine(3), 13)]
        );
        assert!(guesses.is_empty());
    }

    #[test]
    fn a_narrower_guess_replaces_and_contradictions_leave_all_possible() {
        let mut guesses = Guesses::default();
        guesses.add(machine(1), vec![10, 11, 12]);
        guesses.add(machine(1), vec![10, 11]);
        guesses.add(machine(1), vec![10, 19]);
        guesses.add(machine(2), vec![10, 11]);
        assert!(!guesses.allow(machine(3), 10));
        guesses.add(machine(4), vec![10, 11]);
        assert!(guesses.allow(machine(3), 10));
        guesses.retain(|number| number == 99);
        assert!(guesses.is_empty());
    }
}
