//! What does an exposition say? Its samples, read from Prometheus text or OpenMetrics, ready to be asked for.

use std::collections::BTreeMap;
use std::fmt;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name, with its suffix (`_total`, `_bucket`).
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty when there is none, as in PromQL.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == *value)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} {}", self.name, self.labels, self.value)
    }
}

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The scrape as it was.
    pub text: String,
    /// Its samples in their order.
    pub samples: Vec<Sample>,
    /// The type of each family.
    pub types: BTreeMap<String, String>,
}

impl Metrics {
    /// Reads an exposition; panics at a line that is none.
    pub fn parse(text: &str) -> Self {
        let (mut samples, mut types) = (Vec::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (family, kind) = declared.split_once(' ').unwrap_or((declared, ""));
                types.insert(family.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                samples.push(sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}")));
            }
        }
        Self { text: text.to_owned(), samples, types }
    }

    /// The value of the one series that has these labels, others besides; `None` when there is none.
    /// Panics when several have them: the question is then not precise enough.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.matching(name, labels);
        assert!(found.len() <= 1, "{name}{labels:?} is {} series: {found:#?}", found.len());
        found.first().map(|sample| sample.value)
    }

    /// The sum over all series that have these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).iter().map(|sample| sample.value).sum()
    }

    /// The series of a name.
    pub fn series(&self, name: &str) -> Vec<&Sample> {
        self.matching(name, &[])
    }

    /// The series of a name that have these labels.
    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name && sample.has(labels)).collect()
    }
}

/// `name{label="value",…} value [timestamp] [# exemplar]`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_owned(), value);
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?;
    Some(Sample { name: name.to_owned(), labels, value: number(value)? })
}

/// A label value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}
