//! A metrics page (Prometheus' text format 0.0.4, or OpenMetrics) → samples. What is not understood is counted, never
//! guessed; what the numbers mean is [`super::health`]'s.

use std::collections::BTreeMap;

/// Most samples kept of a page; the notifier has some fifty, and a product name each.
const MOST: usize = 10_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Only ever grows, but for a restart.
    Counter,
    Gauge,
    /// Anything else, or nothing.
    #[default]
    Other,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name, with `_total`.
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
    pub kind: MetricKind,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Its samples, in order.
    pub samples: Vec<Sample>,
    /// Lines that are no samples, or were too many.
    pub unread: u64,
}

impl Page {
    pub fn parse(text: &str) -> Self {
        let mut kinds: BTreeMap<&str, MetricKind> = BTreeMap::new();
        let mut page = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.split_ascii_whitespace();
                if words.next() == Some("TYPE")
                    && let (Some(name), Some(kind)) = (words.next(), words.next())
                {
                    let kind = match kind {
                        "counter" => MetricKind::Counter,
                        "gauge" => MetricKind::Gauge,
                        _ => MetricKind::Other,
                    };
                    kinds.insert(name, kind);
                }
                continue;
            }
            match parse_sample(line) {
                Some(mut sample) if page.samples.len() < MOST => {
                    // OpenMetrics names a counter's family without the ending that its samples have.
                    let family = sample.name.strip_suffix("_total");
                    let kind = kinds.get(sample.name.as_str());
                    let kind = kind.or_else(|| kinds.get(family?));
                    sample.kind = kind.copied().unwrap_or_default();
                    page.samples.push(sample);
                }
                _ => page.unread += u64::from(!line.is_empty()),
            }
        }
        page
    }

    pub fn samples_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Sums the samples of a name; `None` where there is none.
    pub fn sum_of(&self, name: &str) -> Option<f64> {
        let mut values = self.samples_named(name).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// Returns the value with the same name and labels.
    pub fn value_like(&self, other: &Sample) -> Option<f64> {
        let same = |sample: &&Sample| sample.name == other.name && sample.labels == other.labels;
        self.samples.iter().find(same).map(|sample| sample.value)
    }
}

/// Returns the growth per second of a counter between two values. One that fell was started again from zero.
pub fn growth_per_second(before: f64, now: f64, seconds: f64) -> Option<f64> {
    let grown = if now < before { now } else { now - before };
    (seconds > 0.0 && grown.is_finite()).then(|| grown / seconds)
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(|letter: char| letter == '{' || letter.is_ascii_whitespace())?;
    let (name, rest) = line.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (Vec::new(), rest),
    };
    // Behind the value there may be a time stamp, and in OpenMetrics an exemplar.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value, kind: MetricKind::Other })
}

/// Reads `name="value",…}` and returns what is behind it.
fn parse_labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once('=')?;
        let mut letters = quoted.trim_start().strip_prefix('"')?.chars();
        let mut value = String::new();
        loop {
            match letters.next()? {
                '"' => break,
                '\\' => value.push(match letters.next()? {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        labels.push((name.trim().to_owned(), value));
        rest = letters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = "# HELP a_total Text.\n# TYPE a_total counter\na_total{product=\"W \\\"10\\\"\\\\\\n}\",status=\"x\"} 3\n\
        a_total 1.5e2 1700000000\n# TYPE b gauge\nb{} 1.787212801e+09\n# TYPE c counter\nc_total 7 # {id=\"x\"} 1\n# EOF\n";

    #[test]
    fn both_formats_are_read_with_their_escapes() {
        let page = Page::parse(PAGE);
        assert_eq!(page.unread, 0);
        assert_eq!(page.samples[0].label("product"), Some("W \"10\"\\\n}"));
        assert_eq!(page.samples[0].label("status"), Some("x"));
        assert_eq!(page.sum_of("a_total"), Some(153.0));
        assert_eq!(page.sum_of("nothing"), None);
        let kinds: Vec<MetricKind> = page.samples.iter().map(|sample| sample.kind).collect();
        assert_eq!(
            kinds,
            [MetricKind::Counter, MetricKind::Counter, MetricKind::Gauge, MetricKind::Counter]
        );
        assert_eq!(page.value_like(&page.samples[3]), Some(7.0));
    }

    #[test]
    fn nonsense_is_counted_and_nothing_else() {
        let page = Page::parse("<html>\na{b=\"c} 1\nd\n\ne nonsense\nf NaN\n");
        assert_eq!((page.unread, page.samples.len()), (4, 1));
    }

    #[test]
    fn a_counter_that_fell_was_started_again() {
        assert_eq!(growth_per_second(10.0, 14.0, 2.0), Some(2.0));
        assert_eq!(growth_per_second(10.0, 4.0, 2.0), Some(2.0));
        assert_eq!(growth_per_second(10.0, 14.0, 0.0), None);
        assert_eq!(growth_per_second(f64::NAN, f64::NAN, 1.0), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in any::<String>(), tail in "[a-z{}=\",\\\\ 0-9\n]{0,60}") {
            let _ = Page::parse(&text);
            let _ = Page::parse(&tail);
        }
    }
}
