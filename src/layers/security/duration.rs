//! How long is `24h0m0s`? Durations as Go writes them, which Kubernetes' objects carry.

/// The whole seconds of a duration; `None` where the text is none, or negative.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
        parts += 1;
    }
    // Beyond ten thousand years nothing is meant.
    (parts > 0 && total < 3.2e11).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let cases = [
            ("24h0m0s", Some(86_400)),
            ("1h", Some(3600)),
            ("1.5h", Some(5400)),
            ("90s", Some(90)),
            ("1500ms", Some(1)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("1d", None),
            ("-1h", None),
            ("h", None),
            ("10", None),
            ("1.2.3s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
