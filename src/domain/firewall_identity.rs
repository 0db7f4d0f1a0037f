//! Which firewall it is: a box is known by its host keys, and by the authority that vouches for them, never by the name
//! or address that leads to it. Decides whether a change recorded under some keys was made on the box that shows
//! others; which keys a box showed, and what known_hosts says of them, is the link's work.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallIdentity {
    /// The key that it showed, `ALGORITHM FINGERPRINT`.
    pub host_key: String,
    /// `@cert-authority ALGORITHM FINGERPRINT PRINCIPAL`, where a certificate vouched for the key.
    pub authority: Option<String>,
    /// Keys of other kinds that known_hosts has for the same name, one of a kind: these are the same box's.
    pub tied: Vec<String>,
}

impl FirewallIdentity {
    /// Returns what is recorded beside the key that was shown.
    pub fn other_keys(&self) -> Vec<String> {
        self.authority.iter().chain(&self.tied).cloned().collect()
    }

    /// Returns whether these recorded keys are this box's. A key of a kind that is recorded must be the recorded one; one
    /// of a new kind counts only where known_hosts has it beside a recorded one.
    pub fn is_recorded_in(&self, recorded: &[&str]) -> bool {
        let has = |key: &String| recorded.contains(&key.as_str());
        if has(&self.host_key) || self.authority.as_ref().is_some_and(has) {
            return true;
        }
        let kind = |key: &str| key.split(' ').next().unwrap_or_default().to_owned();
        let shown = kind(&self.host_key);
        !recorded.iter().any(|key| kind(key) == shown) && self.tied.iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(host_key: &str, tied: &[&str]) -> FirewallIdentity {
        FirewallIdentity {
            host_key: host_key.to_owned(),
            authority: None,
            tied: tied.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_box_is_its_recorded_keys() {
        for (shown, tied, recorded, same) in [
            ("ed A", &[][..], &["ed A"][..], true),
            ("ed B", &[], &["ed A"], false),
            ("ec B", &[], &["ed A"], false),
            ("ec B", &["ed A"], &["ed A"], true),
            ("ec B", &["ed C"], &["ed A"], false),
            ("ec B", &[], &["ed A", "ec B"], true),
            // Another key of a recorded kind is another box, also where known_hosts lists the recorded one beside it.
            ("ec C", &["ed A"], &["ed A", "ec B"], false),
            ("ed A", &[], &[], false),
        ] {
            assert_eq!(
                shows(shown, tied).is_recorded_in(recorded),
                same,
                "{shown} {tied:?} {recorded:?}"
            );
        }
    }

    #[test]
    fn an_authority_vouches_for_one_principal() {
        let vouched = |key: &str, principal: &str| FirewallIdentity {
            authority: Some(format!("@cert-authority ed CA {principal}")),
            ..shows(key, &[])
        };
        let recorded = vouched("ed A", "fw1");
        let other = recorded.other_keys();
        let mut recorded: Vec<&str> = other.iter().map(String::as_str).collect();
        recorded.push("ed A");
        assert!(vouched("ed B", "fw1").is_recorded_in(&recorded));
        assert!(!vouched("ed B", "fw2").is_recorded_in(&recorded));
        assert!(!vouched("ec B", "fw2").is_recorded_in(&recorded));
        assert!(shows("ed A", &[]).is_recorded_in(&recorded));
    }
}
