//! Finding a rule's labels. pfctl prints them raw: a label may hold quotes, brackets, and words that look like
//! rule syntax. So the first ` label "` opens them and the last quote of the line closes them; between, only
//! `" label "` divides.

/// A rule's text in three parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Before the labels; everything, if there are none.
    pub(super) head: &'a str,
    pub(super) labels: Vec<&'a str>,
    /// After the labels.
    pub(super) tail: &'a str,
}

pub(super) fn split_labels(text: &str) -> Parts<'_> {
    let without = Parts { head: text, labels: Vec::new(), tail: "" };
    let Some((head, rest)) = text.split_once(" label \"") else {
        return without;
    };
    let Some((labels, tail)) = rest.rsplit_once('"') else {
        return without;
    };
    Parts { head, labels: labels.split("\" label \"").collect(), tail }
}
