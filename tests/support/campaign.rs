//! What the fault campaigns share: runs drawn from a seed, workers on both cores, and the counts that they print.
//!
//! `KMSCTL_CAMPAIGN_SEED` and `KMSCTL_CAMPAIGN_RUNS` choose; each wrong run prints its number, which
//! `KMSCTL_CAMPAIGN_ONLY` repeats alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// In which way a run went wrong. The first four are what is promised never to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Neither the old state nor the new one, or one configured and the other loaded.
    Mixed,
    /// Another writer's change is gone, and nothing says so.
    Lost,
    /// Something else than the exposure was touched.
    Outside,
    /// The outcome, the exit code or the history is not what is true of the firewall.
    Verdict,
    /// Something stays armed, locked or unfinished that should not.
    LeftOver,
}

impl Kind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Mixed, "mixed states"),
        (Self::Lost, "foreign edits lost without a word"),
        (Self::Outside, "changes outside the object"),
        (Self::Verdict, "wrong outcomes or exit codes"),
        (Self::LeftOver, "left over or unfinished"),
    ];
}

/// A run that went wrong.
#[derive(Debug)]
pub struct Wrong(pub Kind, pub String);

/// One run's result: under which words it is counted, and what was wrong.
pub struct Ran {
    pub counts: Vec<String>,
    pub wrong: Option<Wrong>,
    /// What was drawn, for whoever repeats it.
    pub plan: String,
}

/// How many runs, from which seed.
pub struct Campaign {
    pub name: &'static str,
    /// Of the ordinary run, if the time below is enough for them.
    pub runs: usize,
    /// The ordinary run begins no further run so long after the test began, a few excepted.
    pub time: Duration,
}

/// Marsaglia's xorshift64*: the same runs for the same seed, on every machine.
pub struct Random(u64);

impl Random {
    pub fn of_run(seed: u64, run: usize) -> Self {
        let mut random = Self(seed ^ (run as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(2);
        random
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).expect("a place")]
    }
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

impl Campaign {
    /// Carries the runs out on two workers, prints the counts, and fails if one went wrong.
    pub fn carry_out<W>(
        &self,
        begun: Instant,
        worker: impl Fn() -> W + Sync,
        run: impl Fn(&mut W, Random) -> Ran + Sync,
    ) {
        let wanted = number("KMSCTL_CAMPAIGN_RUNS");
        let only = number("KMSCTL_CAMPAIGN_ONLY");
        let seed = number("KMSCTL_CAMPAIGN_SEED").map_or(20_261_122, |seed| seed as u64);
        let runs = wanted.unwrap_or(self.runs);
        let next = AtomicUsize::new(only.unwrap_or(0));
        let end = only.map_or(runs, |run| run + 1);
        let counts = Mutex::new(Counts::default());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut worker = worker();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let late = wanted.is_none()
                            && only.is_none()
                            && number >= 10
                            && begun.elapsed() > self.time;
                        if number >= end || late {
                            break;
                        }
                        let ran = run(&mut worker, Random::of_run(seed, number));
                        counts.lock().unwrap().add(number, ran);
                    }
                });
            }
        });
        let counts = counts.into_inner().unwrap();
        eprintln!("{} campaign, seed {seed}: {counts}", self.name);
        let Counts { failures, runs, .. } = &counts;
        let count: usize = counts.wrong.values().sum();
        assert!(failures.is_empty(), "{count} of {runs} runs went wrong\n{failures}");
    }
}

#[derive(Default)]
struct Counts {
    runs: usize,
    words: BTreeMap<String, usize>,
    wrong: BTreeMap<Kind, usize>,
    failures: String,
}

impl Counts {
    fn add(&mut self, run: usize, ran: Ran) {
        self.runs += 1;
        for word in ran.counts {
            *self.words.entry(word).or_default() += 1;
        }
        if let Some(Wrong(kind, what)) = ran.wrong {
            *self.wrong.entry(kind).or_default() += 1;
            writeln!(self.failures, "run {run}: {kind:?}: {}\n{what}", ran.plan).unwrap();
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} runs", self.runs)?;
        for (kind, words) in Kind::ALL {
            let count = self.wrong.get(&kind).copied().unwrap_or_default();
            write!(f, ", {count} {words}")?;
        }
        for (words, count) in &self.words {
            write!(f, "\n  {count:5} {words}")?;
        }
        Ok(())
    }
}
