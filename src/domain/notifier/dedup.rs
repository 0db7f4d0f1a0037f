//! One post per client and product within a window. A key is reserved when its post is queued and committed
//! when the post succeeded, so that a failed post does not silence the client. Keeps no clock: `now` is handed
//! in, in seconds of a clock that never steps back.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::domain::kms_log::{Guid, KmsRequest, RequestOutcome};

/// What counts as the same activation: who, which product, what became of it, and whether the client is a guess. The
/// GUID is the identity; a product without one goes by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DedupKey {
    pub address: IpAddr,
    /// The product's GUID, or else its name.
    pub product: Product,
    /// What became of the request: a refusal must not silence the activation behind it.
    #[serde(default)]
    pub result: DedupEnding,
    /// The client is a guess: another's request must not silence its own.
    #[serde(default)]
    pub guessed: bool,
    /// What stands for the machine ID and name of a guessed client, in place of its address: neither another client's
    /// message must silence it, nor its own the other's.
    #[serde(default)]
    pub client: Option<Guid>,
}

/// What became of a request.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum DedupEnding {
    #[default]
    Answered,
    Refused,
    Unanswered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Product {
    Id(Guid),
    /// Its name, where the log has no GUID (the short form).
    Name(String),
}

impl DedupKey {
    pub fn from_request(request: &KmsRequest) -> Self {
        let name =
            || request.product.clone().or_else(|| request.application.clone()).unwrap_or_default();
        let client = Some(request).filter(|request| !request.address_sure).and_then(|request| {
            let name = request.workstation.as_deref().unwrap_or_default();
            let machine = request.machine.map(|machine| machine.to_string()).unwrap_or_default();
            let words = format!("{machine} {name}");
            (words.len() > 1).then(|| Guid::of_name(words.as_bytes()))
        });
        Self {
            address: match (client, request.peer) {
                (None, Some(peer)) => peer.address,
                _ => Ipv4Addr::UNSPECIFIED.into(),
            },
            client,
            product: request.product_id.map_or_else(|| Product::Name(name()), Product::Id),
            result: match request.outcome {
                RequestOutcome::Answered => DedupEnding::Answered,
                RequestOutcome::Refused(_) => DedupEnding::Refused,
                RequestOutcome::Unanswered => DedupEnding::Unanswered,
            },
            guessed: !request.address_sure,
        }
    }

    /// Returns the key as one word for stores that share it: `ADDRESS|PRODUCT`, where `,refused` or `,unanswered`, and
    /// `,guessed` with what stands for the client, may follow the address. A name is cut after 100 characters, as a client may have forged it.
    pub fn as_word(&self) -> String {
        let result = match self.result {
            DedupEnding::Answered => "",
            DedupEnding::Refused => ",refused",
            DedupEnding::Unanswered => ",unanswered",
        };
        let guessed = match self.client {
            Some(client) => format!(",guessed:{client}"),
            None if self.guessed => ",guessed".to_owned(),
            None => String::new(),
        };
        let product = match &self.product {
            Product::Id(id) => id.to_string(),
            Product::Name(name) => name.chars().take(100).collect(),
        };
        format!("{}{result}{guessed}|{product}", self.address)
    }
}

/// Remembered keys, at most so many.
#[derive(Clone, Debug)]
pub struct Dedup {
    window: u64,
    most: usize,
    until: HashMap<DedupKey, u64>,
    order: VecDeque<(u64, DedupKey)>,
    /// Keys that were forgotten before their time, as there were too many.
    pub evicted: u64,
}

impl Dedup {
    /// Most keys kept by default: about 0.5 MiB.
    pub const MOST: usize = 4_096;

    /// Makes an empty store with a window in seconds.
    pub fn new(window: u64, most: usize) -> Self {
        Self {
            window,
            most: most.max(1),
            until: HashMap::new(),
            order: VecDeque::new(),
            evicted: 0,
        }
    }

    /// Takes a key for a post; `false` says that it was taken within the window already.
    pub fn reserve_key(&mut self, key: &DedupKey, now: u64) -> bool {
        self.forget_old(now);
        // Keys that were restored or held are not in order: one may be over while an older one is not.
        if self.until.get(key).is_some_and(|until| *until > now) {
            return false;
        }
        self.put_key(key.clone(), now.saturating_add(self.window));
        true
    }

    /// Starts the window of a key anew: its post has just succeeded. Also where the key was forgotten meanwhile.
    pub fn commit_key(&mut self, key: &DedupKey, now: u64) {
        self.put_key(key.clone(), now.saturating_add(self.window));
    }

    /// Holds a key for so many seconds: another notifier has posted it.
    pub fn hold_key(&mut self, key: &DedupKey, left: u64, now: u64) {
        self.put_key(key.clone(), now.saturating_add(left.min(self.window)));
    }

    /// Gives a key back: its post failed for good, so the next activation may try again.
    pub fn release_key(&mut self, key: &DedupKey) {
        self.until.remove(key);
    }

    /// Returns the window's length in seconds.
    pub fn window_seconds(&self) -> u64 {
        self.window
    }

    /// Returns every key with the seconds it has left, for the checkpoint.
    pub fn remaining_keys(&self, now: u64) -> Vec<(DedupKey, u64)> {
        let mut left: Vec<_> = self
            .until
            .iter()
            .map(|(key, until)| (key.clone(), until.saturating_sub(now)))
            .filter(|(_, left)| *left > 0)
            .collect();
        left.sort_by(|one, other| one.1.cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
        left
    }

    /// Takes over what [`Dedup::remaining_keys`] gave, less the seconds that have gone by since.
    pub fn restore_keys(
        &mut self,
        keys: impl IntoIterator<Item = (DedupKey, u64)>,
        gone: u64,
        now: u64,
    ) {
        for (key, left) in keys {
            let left = left.min(self.window).saturating_sub(gone);
            if left > 0 {
                self.put_key(key, now.saturating_add(left));
            }
        }
    }

    fn put_key(&mut self, key: DedupKey, until: u64) {
        self.until.insert(key.clone(), until);
        self.order.push_back((until, key));
        while self.until.len() > self.most {
            let Some((until, key)) = self.order.pop_front() else {
                break;
            };
            if self.until.get(&key) == Some(&until) {
                self.until.remove(&key);
                self.evicted += 1;
            }
        }
        // Renewed and released keys leave entries behind; never more than the keys themselves and some.
        if self.order.len() > self.most * 2 {
            let kept = &self.until;
            self.order.retain(|(until, key)| kept.get(key) == Some(until));
        }
    }

    fn forget_old(&mut self, now: u64) {
        while let Some((until, key)) = self.order.front() {
            let current = self.until.get(key) == Some(until);
            if current && *until > now {
                break;
            }
            if current {
                self.until.remove(key);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kms_log::{Attribution, Peer};

    fn key(last: u8, product: &str) -> DedupKey {
        DedupKey {
            address: IpAddr::from([192, 0, 2, last]),
            product: Product::Name(product.to_owned()),
            result: DedupEnding::Answered,
            guessed: false,
            client: None,
        }
    }

    #[test]
    fn only_its_own_post_silences_an_activation() {
        let mut dedup = Dedup::new(3600, 10);
        let plain = key(1, "a");
        let of = |result, guessed| DedupKey { result, guessed, ..plain.clone() };
        let all = [
            of(DedupEnding::Refused, true),
            of(DedupEnding::Refused, false),
            of(DedupEnding::Unanswered, false),
            of(DedupEnding::Answered, true),
            plain.clone(),
        ];
        for key in &all {
            assert!(dedup.reserve_key(key, 0), "{key:?}");
            assert!(!dedup.reserve_key(key, 1), "{key:?}");
        }
        let words: std::collections::BTreeSet<String> = all.iter().map(DedupKey::as_word).collect();
        assert_eq!(words.len(), all.len());
        assert!(words.contains("192.0.2.1|a"), "{words:?}");
    }

    /// Two clients, the address of both guessed to be one: neither is held back by the other, nor by that address.
    #[test]
    fn a_guessed_address_holds_no_client_back() {
        let request = |name: &str, machine: &[u8], sure| KmsRequest {
            at: 0,
            peer: Peer::parse(b"192.0.2.1:7"),
            attribution: Attribution::Ambiguous,
            address_sure: sure,
            outcome: RequestOutcome::Answered,
            protocol: None,
            status: None,
            application: None,
            product_id: None,
            product: Some("a".to_owned()),
            machine: Some(Guid::of_name(machine)),
            workstation: Some(name.to_owned()),
        };
        let mut dedup = Dedup::new(3600, 10);
        for (request, free) in [
            (request("PC-1", b"1", true), true),
            (request("PC-2", b"1", false), true),
            (request("PC-2", b"1", false), false),
            (request("PC-2", b"2", false), true),
            (request("PC-3", b"3", true), false),
        ] {
            let key = DedupKey::from_request(&request);
            assert_eq!(dedup.reserve_key(&key, 1), free, "{}", key.as_word());
        }
    }

    #[test]
    fn a_key_of_an_older_checkpoint_is_an_activations() {
        let old = r#"{"address":"192.0.2.1","product":"a"}"#;
        assert_eq!(serde_json::from_str::<DedupKey>(old).unwrap(), key(1, "a"));
    }

    #[test]
    fn a_key_is_taken_for_the_window_and_free_after_it() {
        let mut dedup = Dedup::new(3600, 10);
        assert!(dedup.reserve_key(&key(1, "a"), 100));
        assert!(!dedup.reserve_key(&key(1, "a"), 3699));
        assert!(dedup.reserve_key(&key(1, "b"), 3699) && dedup.reserve_key(&key(2, "a"), 3699));
        assert!(dedup.reserve_key(&key(1, "a"), 3700));
    }

    #[test]
    fn a_failed_post_frees_its_key() {
        let mut dedup = Dedup::new(3600, 10);
        assert!(dedup.reserve_key(&key(1, "a"), 0));
        dedup.release_key(&key(1, "a"));
        assert!(dedup.reserve_key(&key(1, "a"), 1));
        dedup.commit_key(&key(1, "a"), 1000);
        assert!(!dedup.reserve_key(&key(1, "a"), 4000) && dedup.reserve_key(&key(1, "a"), 4600));
    }

    #[test]
    fn a_key_posted_elsewhere_is_held() {
        let mut dedup = Dedup::new(3600, 10);
        assert!(dedup.reserve_key(&key(1, "a"), 0) && dedup.reserve_key(&key(2, "a"), 0));
        dedup.hold_key(&key(2, "a"), 100, 0);
        assert!(!dedup.reserve_key(&key(2, "a"), 99), "held");
        assert!(dedup.reserve_key(&key(2, "a"), 100), "over, though key 1 is not");
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_counted() {
        let mut dedup = Dedup::new(3600, 100);
        for round in 0..1000_u32 {
            assert!(dedup.reserve_key(&key(1, &round.to_string()), 0));
        }
        assert_eq!((dedup.until.len(), dedup.evicted), (100, 900));
        assert!(dedup.order.len() <= 200);
    }

    #[test]
    fn keys_survive_a_restart_with_another_clock() {
        let mut dedup = Dedup::new(3600, 10);
        assert!(dedup.reserve_key(&key(1, "a"), 50_000) && dedup.reserve_key(&key(2, "a"), 50_100));
        let saved = dedup.remaining_keys(50_200);
        let mut again = Dedup::new(3600, 10);
        again.restore_keys(saved, 3_450, 5);
        assert!(again.reserve_key(&key(1, "a"), 5), "3,400 s left, 3,450 s gone");
        assert!(!again.reserve_key(&key(2, "a"), 5), "50 s are left");
        assert!(again.reserve_key(&key(2, "a"), 56));
    }
}
