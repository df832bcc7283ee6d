//! How is an anomaly told? In one sentence, with numbers a human reads.

use std::fmt::Write;

use jiff::SignedDuration;

use crate::model::expectation::Expectation;
use crate::model::reading::Labels;
use crate::model::record::Time;
use crate::model::signal::{Signal, Unit};

/// Observed, expected, band, since when, how rare, and what that rests on.
pub(super) fn explain(signal: &Signal, labels: &Labels, e: &Expectation, since: Time) -> String {
    let number = |value: f64| amount(signal.unit, value);
    let mut text = format!("{} of {}", signal.name, signal.subject(labels));
    let own = signal.labels.iter().zip(labels.iter());
    let own = own.filter(|(name, value)| !SUBJECT_LABELS.contains(name) && !value.is_empty());
    for (name, value) in own {
        let _ = write!(text, ", {name} {value}");
    }
    let _ = write!(text, ": {}", number(e.observed));
    if let Some(window) = e.window {
        let _ = write!(text, " in {}", duration(window));
    }
    let _ = write!(
        text,
        " where {} was expected ({} to {}), since {}; {} by the past {} ({} {})",
        number(e.expected),
        number(e.lower),
        number(e.upper),
        since.strftime("%Y-%m-%dT%H:%MZ"),
        chance(e.p_value),
        duration(e.history),
        e.samples,
        if e.window.is_some() { "events" } else { "samples" },
    );
    text
}

/// Labels that the subject already tells.
const SUBJECT_LABELS: [&str; 5] = ["namespace", "workload_kind", "workload", "node", "cronjob"];

fn chance(p: f64) -> String {
    if p < 1e-15 { "chance below 1e-15".to_owned() } else { format!("chance {p:.0e}") }
}

fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Count => short(value),
        Unit::Ratio => format!("{} %", short(value * 100.0)),
        Unit::Seconds => duration(SignedDuration::from_secs(value.round() as i64)),
        Unit::Bytes => bytes(value),
    }
}

/// At most one digit after the point, none where it is zero.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(value), units[unit])
}

/// `9000` → `2h30m`; the two largest units are enough.
fn duration(duration: SignedDuration) -> String {
    let mut rest = duration.as_secs().unsigned_abs();
    let mut text = String::new();
    let mut written = 0;
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= seconds && written < 2 {
            let _ = write!(text, "{}{unit}", rest / seconds);
            rest %= seconds;
            written += 1;
        } else if written > 0 {
            break;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::layer::Layer;
    use crate::model::signal::{Profile, Read};

    #[test]
    fn an_anomaly_is_one_sentence() {
        static SIGNAL: Signal = Signal {
            block: "S2.4",
            name: "compute_container_restarts_total",
            layer: Layer::Compute,
            help: "A test.",
            unit: Unit::Count,
            labels: &["namespace", "workload_kind", "workload", "reason"],
            reasons: &[],
            bound: "1",
            needs: &[],
            uses: &[],
            profile: Profile::Rate,
            read: Read::Counter,
        };
        let expectation = Expectation {
            observed: 14.0,
            expected: 0.25,
            lower: 0.0,
            upper: 2.0,
            p_value: 3e-12,
            samples: 9,
            history: SignedDuration::from_hours(6),
            window: Some(SignedDuration::from_mins(10)),
            mature: true,
            baseline: "gamma_poisson",
        };
        let labels = labels!["shop", "Deployment", "web", "OOMKilled"];
        let since = "2026-11-24T03:10:15Z".parse().unwrap();
        assert_eq!(
            explain(&SIGNAL, &labels, &expectation, since),
            "compute_container_restarts_total of Deployment shop/web, reason OOMKilled: 14 in 10m where 0.2 was \
             expected (0 to 2), since 2026-11-24T03:10Z; chance 3e-12 by the past 6h (9 events)"
        );
    }

    #[test]
    fn amounts_have_their_units() {
        let cases = [
            (Unit::Count, 3.0, "3"),
            (Unit::Ratio, 0.125, "12.5 %"),
            (Unit::Seconds, 9_000.0, "2h30m"),
            (Unit::Seconds, 0.2, "0s"),
            (Unit::Seconds, 90_061.0, "1d1h"),
            (Unit::Bytes, 1_572_864.0, "1.5 MiB"),
        ];
        for (unit, value, expected) in cases {
            assert_eq!(amount(unit, value), expected);
        }
    }
}
