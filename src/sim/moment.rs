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
}
