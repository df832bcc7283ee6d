//! What does an exposition say? The samples of the metrics that are asked for, read line by line as they come: an API
//! server's is tens of megabytes, of which a thousandth is of use.

use std::collections::BTreeSet;

use crate::model::record::Sample;
use crate::model::text::Interner;

/// Samples that are kept of one answer; what is beyond is counted.
const SAMPLES: usize = 50_000;

/// The longest line that is read; a longer one is skipped and counted.
const LINE: usize = 64 * 1024;

/// Labels of one sample that are kept.
const LABELS: usize = 64;

/// Reads the Prometheus text format 0.0.4 (and what OpenMetrics has in common with it) in pieces of any size.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    wanted: &'a BTreeSet<&'static str>,
    texts: &'a mut Interner,
    /// The begin of a line whose end has not come yet.
    rest: Vec<u8>,
    skipping: bool,
    samples: Vec<Sample>,
    /// Lines that are no sample, and samples beyond the limit.
    left_out: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(wanted: &'a BTreeSet<&'static str>, texts: &'a mut Interner) -> Self {
        let (rest, samples) = (Vec::new(), Vec::new());
        Self { wanted, texts, rest, skipping: false, samples, left_out: 0 }
    }

    /// Takes a piece of the answer.
    pub(super) fn feed(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|b| *b == b'\n') {
            let (line, after) = (&piece[..end], &piece[end + 1..]);
            piece = after;
            if self.skipping {
                self.skipping = false;
            } else if self.rest.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole);
            }
        }
        if self.skipping {
            return;
        }
        if self.rest.len() + piece.len() > LINE {
            self.rest.clear();
            self.skipping = true;
            self.left_out += 1;
        } else {
            self.rest.extend_from_slice(piece);
        }
    }

    /// The samples, and how many lines were left out.
    pub(super) fn finish(mut self) -> (Vec<Sample>, usize) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest);
        }
        (self.samples, self.left_out)
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            return;
        }
        // Nearly all lines end here: their metric is not asked for.
        let end = line.iter().position(|b| matches!(b, b'{' | b' ' | b'\t')).unwrap_or(line.len());
        let name = str::from_utf8(&line[..end]).ok().and_then(|name| self.wanted.get(name));
        let Some(name) = name else { return };
        match sample(&line[end..]) {
            Some((labels, value)) if self.samples.len() < SAMPLES => {
                let name = self.texts.text(name);
                let pairs = labels.iter().map(|(k, v)| (*k, v.as_str()));
                let labels = self.texts.labels(pairs);
                self.samples.push(Sample { name, labels, value });
            }
            _ => self.left_out += 1,
        }
    }
}

type Pairs<'a> = Vec<(&'a str, String)>;

/// `{name="value",…} number [timestamp]`, or the number alone.
fn sample(text: &[u8]) -> Option<(Pairs<'_>, f64)> {
    let text = str::from_utf8(text).ok()?.trim_start();
    let (labels, rest) = match text.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), text),
    };
    let number = rest.split_ascii_whitespace().next()?;
    let value = match number {
        "+Inf" | "Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().ok()?,
    };
    Some((labels, value))
}

fn labels(mut text: &str) -> Option<(Pairs<'_>, &str)> {
    let mut pairs = Vec::new();
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix('}') {
            return Some((pairs, rest));
        }
        if pairs.len() == LABELS {
            return None;
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = quoted(rest.trim_start().strip_prefix('"')?)?;
        pairs.push((name.trim(), value));
        text = rest.trim_start();
        text = text.strip_prefix(',').unwrap_or(text);
    }
}

/// The text up to the closing quote, unescaped, and what comes after.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<(String, String, f64)>, usize) {
        let wanted = BTreeSet::from(["up", "etcd_errors_total"]);
        let mut texts = Interner::default();
        let mut reader = Reader::new(&wanted, &mut texts);
        pieces.iter().for_each(|piece| reader.feed(piece));
        let (samples, left_out) = reader.finish();
        let labels = |s: &Sample| {
            s.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
        };
        (samples.iter().map(|s| (s.name.to_string(), labels(s), s.value)).collect(), left_out)
    }

    const TEXT: &str = "# HELP up Is it?\n# TYPE up gauge\nup 1\nup{a=\"x\",b=\"q\\\"\\n\\\\\"} 2.5 1700000000\n\
        other{a=\"x\"} 3\nup_more 4\netcd_errors_total{le=\"+Inf\",} +Inf\n\nup{broken 1\nup{a=\"1\"} x\nup NaN";

    #[test]
    fn only_wanted_samples_are_kept_whatever_the_pieces() {
        let (samples, left_out) = read(&[TEXT.as_bytes()]);
        assert_eq!(samples.len(), 4);
        assert_eq!(samples[1], ("up".to_owned(), "a=x,b=q\"\n\\".to_owned(), 2.5));
        assert_eq!(
            samples[2],
            ("etcd_errors_total".to_owned(), "le=+Inf".to_owned(), f64::INFINITY)
        );
        assert!(samples[3].2.is_nan());
        assert_eq!(left_out, 2, "the two broken lines");
        for size in [1, 2, 7, 64] {
            let pieces: Vec<&[u8]> = TEXT.as_bytes().chunks(size).collect();
            assert_eq!(read(&pieces).0.len(), 4, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_skipped() {
        let long = vec![b'u'; 3 * LINE];
        let (samples, left_out) = read(&[&long, b"\nup 1\n"]);
        assert_eq!((samples.len(), left_out), (1, 1));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
            let cut = cut.min(bytes.len());
            read(&[b"up{", &bytes[..cut], &bytes[cut..]]);
        }
    }
}
