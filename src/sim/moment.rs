//! How is a point of virtual time counted and written?

use jiff::Timestamp;

/// Milliseconds since the Unix epoch, virtual.
pub(crate) type Moment = i64;

/// One second as a difference of moments.
pub(crate) const SECOND: Moment = 1000;
/// One minute as a difference of moments.
pub(crate) const MINUTE: Moment = 60 * SECOND;
/// One hour as a difference of moments.
pub(crate) const HOUR: Moment = 60 * MINUTE;
/// One day as a difference of moments.
pub(crate) const DAY: Moment = 24 * HOUR;

/// `metav1.Time`: RFC 3339, whole seconds, as the API writes almost every time.
pub(crate) fn stamp(at: Moment) -> String {
    Timestamp::from_second(at.div_euclid(SECOND)).unwrap_or_default().to_string()
}

/// `metav1.MicroTime`: RFC 3339 with six digits, as `eventTime` is written.
pub(crate) fn micro_stamp(at: Moment) -> String {
    format!("{:.6}", Timestamp::from_millisecond(at).unwrap_or_default())
}

/// Reads a time that [`stamp`] or [`micro_stamp`] wrote; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<Moment> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Reads a Go duration such as `1h30m0s`; what is none counts as zero.
pub(crate) fn span(text: &str) -> Moment {
    let (mut total, mut number) = (0, 0);
    for c in text.chars() {
        match c {
            '0'..='9' => number = number * 10 + Moment::from(c as u32 - '0' as u32),
            'h' => total += std::mem::take(&mut number) * HOUR,
            'm' => total += std::mem::take(&mut number) * MINUTE,
            's' => total += std::mem::take(&mut number) * SECOND,
            _ => return 0,
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_api_writes_them() {
        assert_eq!(stamp(1_500), "1970-01-01T00:00:01Z");
        assert_eq!(micro_stamp(1_500), "1970-01-01T00:00:01.500000Z");
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(span("1h30m5s"), HOUR + 30 * MINUTE + 5 * SECOND);
        assert_eq!((span("10m"), span(""), span("x")), (10 * MINUTE, 0, 0));
    }
}
