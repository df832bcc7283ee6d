//! How much is `250m` or `64Mi`? Kubernetes quantities (apimachinery `resource.Quantity`), as whole numbers.

/// The quantity in thousandths, rounded up as Kubernetes does; `None` where it is none. Negative amounts are 0.
fn milli(text: &str) -> Option<u128> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // Digits beyond a trillionth cannot matter, and must not overflow.
    let fraction = &fraction[..fraction.len().min(12)];
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = factor(suffix)?;
    let scale = 10_u128.pow(fraction.len() as u32) * denominator;
    let milli = digits.checked_mul(numerator)?.checked_mul(1000)?.div_ceil(scale);
    Some(if negative { 0 } else { milli })
}

fn factor(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power =
                10_u128.checked_pow(exponent.unsigned_abs()).filter(|p| *p <= 10_u128.pow(18))?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

/// CPU in millicores; 0 where it is no quantity.
#[must_use]
pub fn cpu_milli(text: &str) -> u64 {
    milli(text).and_then(|m| u64::try_from(m).ok()).unwrap_or(0)
}

/// A whole amount (bytes, pods), rounded up; 0 where it is no quantity.
#[must_use]
pub fn whole(text: &str) -> u64 {
    milli(text).and_then(|m| u64::try_from(m.div_ceil(1000)).ok()).unwrap_or(0)
}

/// The quantity as a number, in its own unit; `None` where it is none: 0 and nothing are not the same.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    milli(text).map(|m| m as f64 / 1000.0)
}

/// An amount of bytes, rounded up; `None` where it is no quantity.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    milli(text).and_then(|m| u64::try_from(m.div_ceil(1000)).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("250m", 250),
            ("2", 2_000),
            ("0.5", 500),
            (".5", 500),
            ("1e3", 1_000_000),
            ("1E-3", 1),
            ("100u", 1),
            ("1n", 1),
            ("1k", 1_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu_milli(text), expected, "{text}");
        }
        for (text, expected) in
            [("64Mi", 64 << 20), ("1G", 1_000_000_000), ("1500m", 2), ("8Ei", 8 << 60)]
        {
            assert_eq!(whole(text), expected, "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "5x", "Mi", "1e99", "-5"] {
            assert_eq!(whole(text), 0, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_whole_numbers_are_kept(text in "\\PC*", number in any::<u32>()) {
            let _ = (cpu_milli(&text), whole(&text));
            prop_assert_eq!(whole(&number.to_string()), u64::from(number));
        }
    }
}
