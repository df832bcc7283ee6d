//! How is a duration written? As Go and Prometheus write it: `30s`, `5m`, `1h30m`, `14d`.

use std::fmt::Write;
use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
    ("y", 31_536_000_000),
];

/// Reads a duration such as `30s`, `1h30m` or `14d` (Prometheus' syntax, units `ms s m h d w y`, largest first).
/// `0` needs no unit. The error says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a duration such as 30s, 5m, 2h or 14d, found {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut millis, mut smallest) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let number: u64 = rest[..digits].parse().map_err(|_| expected())?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = UNITS.iter().find(|(name, _)| *name == &rest[..length]);
        let (_, factor) = unit.filter(|(_, f)| *f < smallest).ok_or_else(expected)?;
        let part = number.checked_mul(*factor).ok_or_else(expected)?;
        millis = millis.checked_add(part).ok_or_else(expected)?;
        smallest = *factor;
        rest = &rest[length..];
    }
    if smallest == u64::MAX { Err(expected()) } else { Ok(Duration::from_millis(millis)) }
}

/// Writes a duration as [`parse_duration`] reads it, in whole milliseconds.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    // Weeks and years are read, but days are what people compare.
    for (unit, factor) in UNITS[..5].iter().rev() {
        if rest >= *factor {
            let _ = write!(text, "{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_writes_them() {
        for (text, millis) in
            [("0", 0), ("30s", 30_000), ("1h30m", 5_400_000), ("14d", 1_209_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected() {
        for text in
            ["", "5", "s", "5 m", "-5m", "1.5h", "5m1h", "5m5m", "5x", "99999999999999y", "é"]
        {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains("expected a duration"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0_u64..100_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }
    }
}
