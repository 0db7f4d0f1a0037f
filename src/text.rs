//! Foreign text made safe to show, moments to the second and spans in words: for a terminal, a log and Slack alike. Holds
//! no layout.

use std::borrow::Cow;

use jiff::Timestamp;

/// Declares an enum whose variants are words: what JSON, tables and messages call each stands once, beside it.
macro_rules! word_enum {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$what:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$what])* #[serde(rename = $word)] $variant,)+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $name {
            pub const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == word)
            }
        }
    };
}
pub(crate) use word_enum;

/// Replaces every character that could act on a terminal or disguise text (C0 and C1 controls, DEL, line and
/// paragraph separators, bidirectional and zero-width formatting) by a visible `\x1b`-style escape.
///
/// Newlines are replaced as well: one value can never look like two lines.
pub fn clean_text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if !acts_on_terminal(character) {
            safe.push(character);
        } else if u32::from(character) < 0x100 {
            safe.push_str(&format!("\\x{:02x}", u32::from(character)));
        } else {
            safe.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
        }
    }
    Cow::Owned(safe)
}

/// Puts foreign text into quotes that it cannot end, with the same escapes as everywhere: a quotation in a sentence.
pub fn quoted(text: &str) -> String {
    let inside = text.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", clean_text(&inside))
}

/// Returns whether a character acts instead of being shown.
pub fn acts_on_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Escapes what `serde_json` leaves raw but a terminal would act on: C1 controls, DEL, bidirectional marks.
pub fn escape_json(text: String) -> String {
    let raw = |character: char| character != '\n' && acts_on_terminal(character);
    if !text.chars().any(raw) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if raw(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Shortens each word that is longer than any that a person reads, so that what was typed or received cannot fill a screen.
pub fn shorten_words(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 400;
    const KEPT: usize = 80;
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let length = word.chars().count();
        if length <= LONGEST {
            return Cow::Borrowed(word);
        }
        let start: String = word.chars().take(KEPT).collect();
        let end: String = word.chars().skip(length - KEPT / 4).collect();
        Cow::Owned(format!("{start}… ({length} characters) …{end}"))
    });
    Cow::Owned(words.collect())
}

/// Returns what is most like a word that was typed, by a score from 0 to 1 for each; `None` where nothing is above `least`.
pub fn nearest_word<T>(
    known: impl IntoIterator<Item = T>,
    least: f64,
    score: impl Fn(&T) -> f64,
) -> Option<T> {
    let scored = known.into_iter().map(|word| (score(&word), word));
    scored
        .filter(|(score, _)| *score > least)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, word)| word)
}

/// Returns how like two words are, from 0 to 1: the share of letters that need no change (Damerau-Levenshtein).
pub fn word_likeness(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(one, other)
}

/// Says `1 address`, `2 addresses`.
pub fn counted<N: std::fmt::Display + Copy + PartialEq + From<u8>>(
    number: N,
    one: &str,
    many: &str,
) -> String {
    let word = if number == N::from(1) { one } else { many };
    format!("{number} {word}")
}

/// Prints bytes in hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns a moment as it is printed: RFC 3339 has no fraction of a second then.
pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Most values in JSON from elsewhere: an empty object takes two bytes of text, and hundreds of memory. A pod or a rule
/// has some hundred.
pub const MOST_VALUES: usize = 300_000;

/// Returns whether JSON may hold more than [`MOST_VALUES`]; what stands in strings is counted along.
pub fn has_too_many_values(json: &[u8]) -> bool {
    count_values(json) > MOST_VALUES
}

/// Counts the values in JSON; what stands in strings is counted along.
pub fn count_values(json: &[u8]) -> usize {
    json.iter().filter(|byte| b"{[,".contains(byte)).count()
}

/// Renders a span of seconds with its two largest units: `45s`, `12m 5s`, `3h 20m`, `2d 4h`; whole ones alone: `1h`.
pub fn format_span(seconds: u64) -> String {
    let (days, hours, minutes, rest) =
        (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes, rest) {
        (0, 0, 0, _) => format!("{rest}s"),
        (0, 0, _, 0) => format!("{minutes}m"),
        (0, 0, _, _) => format!("{minutes}m {rest}s"),
        (0, _, 0, _) => format!("{hours}h"),
        (0, _, _, _) => format!("{hours}h {minutes}m"),
        (_, 0, _, _) => format!("{days}d"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Writes a text as one word of a POSIX shell.
pub fn quoted_for_shell(text: &str) -> Cow<'_, str> {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+,:@%=".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Renders bytes with a binary unit: `512 B`, `1.4 KiB`, `3.0 MiB`.
pub fn format_bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut divisor = 1024_u64;
    while unit + 1 < UNITS.len() && count / divisor >= 1024 {
        divisor *= 1024;
        unit += 1;
    }
    let tenths = u128::from(count) * 10 / u128::from(divisor);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(unit).unwrap_or(&"EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_one_word_of_a_shell() {
        assert_eq!(quoted_for_shell("/a/b.toml"), "/a/b.toml");
        assert_eq!(quoted_for_shell("~/x"), "'~/x'");
        assert_eq!(quoted_for_shell("a'b $(id)"), r"'a'\''b $(id)'");
        assert_eq!(quoted_for_shell(""), "''");
    }

    #[test]
    fn spans_and_bytes_are_short() {
        assert_eq!(
            [
                format_span(5),
                format_span(725),
                format_span(3_600),
                format_span(12_000),
                format_span(190_000)
            ],
            ["5s", "12m 5s", "1h", "3h 20m", "2d 4h"]
        );
        assert_eq!(
            [format_bytes(12), format_bytes(1_434), format_bytes(3 << 20), format_bytes(u64::MAX)],
            ["12 B", "1.4 KiB", "3.0 MiB", "15.9 EiB"]
        );
    }

    #[test]
    fn escapes_are_shown_and_plain_text_is_untouched() {
        assert_eq!(clean_text("KMS public — ok"), "KMS public — ok");
        assert_eq!(clean_text("a\x1b[2Jb\nc\u{9b}d\u{202e}e"), "a\\x1b[2Jb\\x0ac\\x9bd\\u{202e}e");
    }

    #[test]
    fn a_quotation_ends_where_it_should() {
        for (text, shown) in [
            ("KMS", r#""KMS""#),
            ("a\" in force", r#""a\" in force""#),
            ("C:\\x1b", r#""C:\\x1b""#),
            ("\u{1b}[2J\u{202e}\n\u{9b}", r#""\x1b[2J\u{202e}\x0a\x9b""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_acts_survives(text in any::<String>()) {
            prop_assert!(!clean_text(&text).chars().any(acts_on_terminal));
        }
    }
}
