//! GUIDs as the server prints them: `55c92734-d682-4d71-983e-d6ec3f16059f`. Identity of products and machines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A GUID, kept as the 16 bytes of its digits in printed order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Guid([u8; 16]);

impl Guid {
    /// Reads the 36 characters of a GUID; anything else is `None`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        const DASHES: [usize; 4] = [8, 13, 18, 23];
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0_u8; 16];
        let mut digits = 0_usize;
        for (position, &character) in text.iter().enumerate() {
            if DASHES.contains(&position) {
                if character != b'-' {
                    return None;
                }
                continue;
            }
            let digit = match character {
                b'0'..=b'9' => character - b'0',
                b'a'..=b'f' => character - b'a' + 10,
                b'A'..=b'F' => character - b'A' + 10,
                _ => return None,
            };
            let byte = bytes.get_mut(digits / 2)?;
            *byte = (*byte << 4) | digit;
            digits += 1;
        }
        Some(Self(bytes))
    }

    /// Makes one out of a name (FNV-1a of 128 bits), for machines of which only the name is known. No GUID that the
    /// server prints is likely to be the same.
    pub fn of_name(name: &[u8]) -> Self {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let hash =
            name.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
        Self(hash.to_be_bytes())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> Self {
        guid.to_string()
    }
}

impl TryFrom<String> for Guid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text.as_bytes()).ok_or("not a GUID")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_reads_what_it_prints_and_nothing_else() {
        let text = "55c92734-d682-4d71-983e-d6ec3f16059f";
        assert_eq!(
            Guid::parse(text.as_bytes()).map(|guid| guid.to_string()).as_deref(),
            Some(text)
        );
        assert_eq!(Guid::parse(text.to_uppercase().as_bytes()), Guid::parse(text.as_bytes()));
        for wrong in [
            "",
            "55c92734",
            "55c92734-d682-4d71-983e-d6ec3f16059g",
            "55c92734xd682-4d71-983e-d6ec3f16059f",
        ] {
            assert!(Guid::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
