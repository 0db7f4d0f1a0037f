//! What guesses leave possible. A request that several connections could have sent is guessed to be one's; that
//! it was *one* of them is certain all the same, and as a connection speaks for one machine only, such knowledge
//! adds up: two machines over two connections leave neither of the two to a third machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::guid::Guid;
use super::request_block::RequestBlock;

/// A machine whose connection is one of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Guess {
    machine: Guid,
    /// What stands for the workstation name it gave.
    #[serde(default)]
    name: Option<Guid>,
    among: Vec<u64>,
}

impl Guess {
    /// Returns whether this is the machine's: its ID, or the name that programs with IDs of their own share.
    fn is_of(&self, machine: Guid, name: Option<Guid>) -> bool {
        self.machine == machine || (name.is_some() && self.name == name)
    }
}

/// Every guess that still bears on an open connection. Bounded: what does not fit is forgotten,
/// which leaves more possible and never less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guesses(Vec<Guess>);

impl Guesses {
    const MOST: usize = 64;
    /// Most connections of one guess; a wider one says too little.
    pub const WIDEST: usize = 24;

    /// Remembers that a machine sent over one of these; returns what there is no room for: the words of a machine of
    /// which it is forgotten that its connection is one of several.
    pub fn add_guess(&mut self, machine: Guid, name: Option<Guid>, among: Vec<u64>) -> Vec<Guid> {
        if among.len() > Self::WIDEST {
            return [Some(machine), name].into_iter().flatten().collect();
        }
        // Over one of fewer than before; where another one is possible, it may be a second connection.
        let narrows = |guess: &&mut Guess| {
            guess.machine == machine && among.iter().all(|number| guess.among.contains(number))
        };
        if let Some(guess) = self.0.iter_mut().find(narrows) {
            guess.among = among;
            return Vec::new();
        }
        let forgotten = if self.0.len() >= Self::MOST {
            let Guess { machine, name, .. } = self.0.remove(0);
            [Some(machine), name].into_iter().flatten().collect()
        } else {
            Vec::new()
        };
        self.0.push(Guess { machine, name, among });
        forgotten
    }

    /// Learns for certain whose a connection is; returns what else is certain by that.
    pub fn settle_machine(&mut self, machine: Guid, number: u64) -> Vec<(Guid, u64)> {
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

    /// Forgets guesses that concern no open connection, now that one is closed.
    pub fn close_connection(&mut self, number: u64, is_open: impl Fn(u64) -> bool) {
        self.0.retain(|guess| {
            !guess.among.contains(&number) || guess.among.iter().any(|other| is_open(*other))
        });
    }
}

/// Machines of which a guess is forgotten: over whichever connection of that time they spoke, they may speak again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The newest connection then.
    words: BTreeMap<Guid, u64>,
    /// The same for every machine, as there were too many.
    all: u64,
}

impl Lost {
    const MOST: usize = 1_024;

    /// Notes the words of a machine; `newest` and `oldest` are connections.
    pub fn add_words(&mut self, words: &[Guid], newest: u64, oldest: Option<u64>) {
        for word in words {
            self.words.insert(*word, newest);
        }
        if self.words.len() > Self::MOST {
            self.words.retain(|_, then| oldest.is_some_and(|oldest| oldest <= *then));
        }
        if self.words.len() > Self::MOST {
            self.words.clear();
            self.all = newest;
        }
    }

    /// Returns whether a machine with one of these words may speak over a connection that has been silent.
    pub fn holds_words(&self, words: [Option<Guid>; 2], oldest: Option<u64>) -> bool {
        let Some(oldest) = oldest else {
            return false;
        };
        let mut known = words.iter().flatten().filter_map(|word| self.words.get(word));
        oldest <= self.all || known.any(|newest| oldest <= *newest)
    }
}

/// What all guesses leave to one machine: each other machine of which there is one needs a connection of its own.
#[derive(Debug)]
pub struct Room<'a> {
    own: Vec<&'a Guess>,
    lost: bool,
    others: Vec<&'a Guess>,
    /// A connection for each of the others; where they do not fit in any way, a machine had two names or a connection
    /// two machines, and nothing is known.
    taken: Option<Vec<(u64, usize)>>,
}

impl<'a> Room<'a> {
    /// Looks what is left to the machine of a request.
    pub fn for_block(guesses: &'a Guesses, lost: bool, block: &RequestBlock) -> Self {
        let (mut own, mut others): (Vec<&Guess>, Vec<&Guess>) = (Vec::new(), Vec::new());
        for guess in &guesses.0 {
            if block.machine.is_some_and(|machine| guess.is_of(machine, block.name)) {
                own.push(guess);
            } else if !others.iter().any(|other| other.is_of(guess.machine, guess.name)) {
                // One of each machine: two of one may be of the same connection.
                others.push(guess);
            }
        }
        let mut taken = Vec::new();
        let fits = (0..others.len())
            .all(|index| place_guess(&others, index, None, &mut taken, &mut Vec::new()));
        Self { own, others, lost, taken: fits.then_some(taken) }
    }

    /// Walks the connections over which the machine may have sent before.
    pub fn own_connections(&self) -> impl Iterator<Item = u64> {
        self.own.iter().flat_map(|guess| guess.among.iter().copied())
    }

    /// Returns whether the machine may have sent before over a connection that says nothing any more.
    pub fn may_hold(&self, number: u64) -> bool {
        self.lost || self.own_connections().any(|own| own == number)
    }

    /// Returns whether a guess of the machine is forgotten.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Returns whether the machine may have sent over a connection: the others fit without it.
    pub fn allows_connection(&self, number: u64) -> bool {
        let Some(taken) = &self.taken else {
            return true;
        };
        let Some((_, holder)) = taken.iter().find(|(held, _)| *held == number) else {
            return true;
        };
        let mut rest: Vec<_> = taken.iter().filter(|(held, _)| *held != number).copied().collect();
        place_guess(&self.others, *holder, Some(number), &mut rest, &mut Vec::new())
    }
}

fn place_guess(
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
        if place_guess(guesses, before, reserved, taken, tried) {
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

    fn allows(guesses: &Guesses, digit: u8, number: u64) -> bool {
        let block = RequestBlock { machine: Some(machine(digit)), ..RequestBlock::default() };
        Room::for_block(guesses, false, &block).allows_connection(number)
    }

    fn add(guesses: &mut Guesses, digit: u8, among: &[u64]) {
        let forgotten = guesses.add_guess(machine(digit), None, among.to_vec());
        assert!(forgotten.is_empty());
    }

    #[test]
    fn two_machines_over_two_connections_leave_none_to_a_third() {
        let mut guesses = Guesses::default();
        add(&mut guesses, 1, &[10, 11]);
        assert!(allows(&guesses, 3, 10));
        add(&mut guesses, 2, &[10, 11]);
        assert!(!allows(&guesses, 3, 10) && !allows(&guesses, 3, 11));
        assert!(allows(&guesses, 3, 12) && allows(&guesses, 1, 11));
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let mut guesses = Guesses::default();
        add(&mut guesses, 1, &[10, 11]);
        add(&mut guesses, 2, &[11, 12]);
        add(&mut guesses, 3, &[12, 13]);
        assert!(allows(&guesses, 4, 10));
        assert_eq!(
            guesses.settle_machine(machine(4), 10),
            [(machine(1), 11), (machine(2), 12), (machine(3), 13)]
        );
        assert!(guesses.0.is_empty());
    }

    #[test]
    fn a_narrower_guess_replaces_and_contradictions_leave_all_possible() {
        let mut guesses = Guesses::default();
        add(&mut guesses, 1, &[10, 11, 12]);
        add(&mut guesses, 1, &[10, 11]);
        add(&mut guesses, 1, &[10, 19]);
        add(&mut guesses, 2, &[10, 11]);
        assert!(!allows(&guesses, 3, 10));
        add(&mut guesses, 4, &[10, 11]);
        assert!(allows(&guesses, 3, 10));
        for number in [10, 11, 19] {
            guesses.close_connection(number, |other| other > number);
        }
        assert!(guesses.0.is_empty());
    }

    #[test]
    fn what_is_forgotten_may_be_any_connection_of_that_time() {
        let mut lost = Lost::default();
        let holds = |lost: &Lost, oldest| lost.holds_words([Some(machine(1)), None], Some(oldest));
        lost.add_words(&[machine(1)], 20, Some(5));
        assert!(holds(&lost, 20) && !holds(&lost, 21));
        assert!(!lost.holds_words([Some(machine(2)), None], Some(5)));
        for number in 0..=Lost::MOST {
            lost.add_words(&[Guid::of_name(&number.to_be_bytes())], 30, Some(5));
        }
        assert!(lost.holds_words([Some(machine(2)), None], Some(30)), "too many to distinguish");
        assert!(!lost.holds_words([Some(machine(2)), None], Some(31)));
    }

    #[test]
    fn what_does_not_fit_is_named_as_forgotten() {
        let mut guesses = Guesses::default();
        let wide: Vec<u64> = (0..=Guesses::WIDEST as u64).collect();
        assert_eq!(guesses.add_guess(machine(1), None, wide), [machine(1)]);
        for digit in 0..Guesses::MOST {
            let digit = u8::try_from(digit).expect("few");
            add(&mut guesses, digit, &[u64::from(digit), 300]);
        }
        assert_eq!(guesses.add_guess(machine(200), None, vec![1, 2]), [machine(0)]);
    }
}
