//! What does a file of samples say? CSV with the columns `timestamp` and `value`, and an error that names the place.

use std::io::Read;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use thiserror::Error;

use super::Sample;

/// Why a file of samples can't be read. The file's name is added by whoever opened it.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The heading is not what it should be.
    #[error("line 1: expected the columns timestamp,value, found {found}{}", extra(.unknown))]
    Columns {
        /// The heading as it is.
        found: String,
        /// Columns that nothing is known of.
        unknown: Vec<String>,
    },
    /// A field can't be read.
    #[error("line {line}: {field}: expected {expected}, found {found:?}")]
    Field {
        /// Counted from 1.
        line: u64,
        /// `timestamp` or `value`.
        field: &'static str,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It is no CSV.
    #[error("{0}")]
    Csv(String),
}

fn extra(unknown: &[String]) -> String {
    match unknown {
        [] => String::new(),
        some => format!("; not known: {}", some.join(", ")),
    }
}

/// How a time may be written.
pub const TIMES: &str =
    "RFC 3339 (2026-03-01T12:00:00Z), YYYY-MM-DD HH:MM:SS in UTC, or Unix seconds";

/// Reads all samples in the order of the file. A value may be empty or NaN: nothing is known of it.
pub fn read(input: impl Read) -> Result<Vec<Sample>, ReadError> {
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let heading = rows.headers().map_err(|e| ReadError::Csv(e.to_string()))?.clone();
    let place = |name: &str| heading.iter().position(|column| column == name);
    let (Some(at_time), Some(at_value), 2) = (place("timestamp"), place("value"), heading.len())
    else {
        let unknown = heading.iter().filter(|c| !matches!(*c, "timestamp" | "value"));
        return Err(ReadError::Columns {
            found: heading.iter().collect::<Vec<_>>().join(","),
            unknown: unknown.map(str::to_owned).collect(),
        });
    };
    let mut samples = Vec::new();
    let mut row = csv::StringRecord::new();
    while rows.read_record(&mut row).map_err(|e| ReadError::Csv(e.to_string()))? {
        let line = row.position().map_or(0, csv::Position::line);
        let wrong = |field, expected, found: &str| ReadError::Field {
            line,
            field,
            expected,
            found: found.to_owned(),
        };
        let (stamp, text) = (&row[at_time], &row[at_value]);
        let time = parse_time(stamp).ok_or_else(|| wrong("timestamp", TIMES, stamp))?;
        let value = if text.is_empty() { Some(f64::NAN) } else { text.parse().ok() };
        let value = value.ok_or_else(|| wrong("value", "a number", text))?;
        samples.push(Sample { time, value, stamp: stamp.to_owned() });
    }
    Ok(samples)
}

/// A time, written as [`TIMES`] says, in seconds since the epoch.
#[must_use]
pub fn parse_time(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds).filter(|s| s.is_finite());
    }
    let stamp = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })?;
    Some(stamp.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_time_is_read_and_columns_may_change_places() {
        let text = "value,timestamp\n1,2026-03-01T12:00:00+01:00\n2, 2026-03-01 11:00:01\n-3e2,1772362802.5\n,1772362803\nNaN,1772362804\n";
        let samples = read(text.as_bytes()).expect("samples");
        let times: Vec<f64> = samples.iter().map(|s| s.time - 1_772_362_800.0).collect();
        assert_eq!(times, [0.0, 1.0, 2.5, 3.0, 4.0]);
        assert_eq!(samples[2].value, -300.0);
        assert!(samples[3].value.is_nan() && samples[4].value.is_nan());
    }

    #[test]
    fn an_error_names_the_line_the_field_and_what_was_expected() {
        let table = [
            ("timestamp,value\n1,x\n", "line 2: value: expected a number, found \"x\""),
            ("timestamp,value\n1,1\nnoon,2\n", "line 3: timestamp: expected RFC 3339"),
            (
                "time,value\n1,1\n",
                "expected the columns timestamp,value, found time,value; not known: time",
            ),
            ("timestamp,value,host\n1,1,a\n", "not known: host"),
            ("", "line 1: expected the columns timestamp,value"),
            ("timestamp,value\n1,2,3\n", "line: 2"),
            ("timestamp,value\ninf,2\n", "line 2: timestamp"),
        ];
        for (text, words) in table {
            let error = read(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes[..]);
            let _ = read([b"timestamp,value\n", &bytes[..]].concat().as_slice());
        }
    }
}
