//! A trouble that an operator is told when it begins, when it changes, and when it is over, never at each try.
//! Decides what is news; the words are those of whoever meets the trouble.

/// Most kinds remembered: a trouble that alternates is told once for each.
const KINDS: usize = 8;

/// What was told about one thing that can go wrong.
#[derive(Debug, Default)]
pub struct SenderTrouble {
    told: Vec<String>,
}

impl SenderTrouble {
    /// Notes trouble of a kind; tells whether it is news, which it is once until the trouble is over.
    pub fn is_news(&mut self, kind: &str) -> bool {
        let news = self.told.len() < KINDS && !self.told.iter().any(|told| told == kind);
        if news {
            self.told.push(kind.to_owned());
        }
        news
    }

    /// Returns whether nothing is wrong.
    pub fn is_over(&self) -> bool {
        self.told.is_empty()
    }

    /// Notes that all is well; tells whether that is news.
    pub fn ends(&mut self) -> bool {
        !std::mem::take(&mut self.told).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_and_so_is_the_end() {
        let mut trouble = SenderTrouble::default();
        assert!(!trouble.ends(), "there was none");
        let told = ["refused", "refused", "timeout", "refused", "timeout"];
        let news = told.map(|kind| trouble.is_news(kind));
        assert_eq!(news, [true, false, true, false, false]);
        assert!(trouble.ends() && !trouble.ends());
        assert!(trouble.is_news("refused"), "a new outage");
        let endless = (0..1_000).filter(|number| trouble.is_news(&number.to_string()));
        assert_eq!(endless.count(), KINDS - 1);
    }
}
