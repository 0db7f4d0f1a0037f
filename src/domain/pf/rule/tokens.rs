//! A rule's text → words; what stands in quotes, brackets or braces is one word.

/// The words of a rule, consumed from the front.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.trim_matches(' ') }
    }

    fn split(&self) -> Option<(&'a str, &'a str)> {
        let mut depth = 0_u32;
        let mut quoted = false;
        let end = self.rest.bytes().position(|byte| {
            match byte {
                b'"' => quoted = !quoted,
                b'(' | b'{' if !quoted => depth += 1,
                b')' | b'}' if !quoted => depth = depth.saturating_sub(1),
                b' ' => return depth == 0 && !quoted,
                _ => {}
            }
            false
        });
        let (word, rest) = self.rest.split_at_checked(end.unwrap_or(self.rest.len()))?;
        (!word.is_empty()).then_some((word, rest.trim_start_matches(' ')))
    }

    /// Returns the next word without consuming it.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.split().map(|(word, _)| word)
    }

    /// Consumes the next word if it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        self.take_if(|next| next == word).is_some()
    }

    /// Consumes the next word if it pleases.
    pub(super) fn take_if(&mut self, pleases: impl FnOnce(&str) -> bool) -> Option<&'a str> {
        let (word, rest) = self.split()?;
        if !pleases(word) {
            return None;
        }
        self.rest = rest;
        Some(word)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.take_if(|_| true)
    }
}

/// How far from its opening bracket a table's or interface's count can stand.
const LONGEST_NAME: usize = 64;

/// Removes the counts that `-vv` puts after tables and dynamic addresses: `<virusprot:3>`, `(igb0:*)`.
///
/// `(igb0:0)` stays: there the 0 is the modifier "without aliases", since `-vv` prints `*` for a count of zero.
pub(super) fn without_counts(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['<', '(']) {
        let Some((before, bracket)) = rest.split_at_checked(start) else {
            break;
        };
        plain.push_str(before);
        let name = name_with_count(bracket);
        let kept = name.map_or(1, |(name, _)| name);
        let (kept, after) = bracket.split_at_checked(kept).unwrap_or((bracket, ""));
        plain.push_str(kept);
        rest = after.get(name.map_or(0, |(_, count)| count)..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

/// Measures `<NAME` and `:COUNT` at the front, if that is what stands there.
fn name_with_count(text: &str) -> Option<(usize, usize)> {
    let table = text.starts_with('<');
    let end =
        text.bytes().take(LONGEST_NAME).position(|byte| matches!(byte, b'>' | b')' | b' '))?;
    let name = text.get(..end)?;
    let closed = text.get(end..)?.starts_with(if table { '>' } else { ')' });
    let (before, count) = name.rsplit_once(':')?;
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let counts = count == "*" || (digits && (table || count != "0"));
    (closed && counts).then_some((before.len(), end - before.len()))
}
