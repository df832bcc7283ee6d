//! How is an anomaly told? In one sentence, with numbers that a human reads.

use std::fmt::Write;

use jiff::SignedDuration;

use crate::model::contributors::Contribution;
use crate::model::expectation::Expectation;
use crate::model::reading::Labels;
use crate::model::record::Time;
use crate::model::signal::{Family, Signal, Unit};

/// Labels that name the subject where they are part of it.
const NAMING: [&str; 8] = [
    "namespace",
    "workload_kind",
    "workload",
    "persistentvolumeclaim",
    "cronjob",
    "node",
    "storageclass",
    "driver",
];

/// Chances below this are beyond what any model of the past can tell.
const LEAST_CHANCE: f64 = 1e-15;

/// Observed, expected, band, since when, how rare, and what that rests on.
pub(super) fn explain(signal: &Signal, labels: &Labels, e: &Expectation, since: Time) -> String {
    let number = |value: f64| amount(signal.unit, value);
    if let Some(left) = e.runs_out.filter(|_| e.baseline == "trend") {
        return format!(
            "{} of {}: {} and rising, full in {} at this pace, since {}; {} under a trend that leaves a day, by \
             the past {} ({} looks)",
            signal.name,
            about(signal, labels),
            number(e.observed),
            duration(left),
            minute(since),
            chance(e.p_value),
            duration(e.history),
            e.samples,
        );
    }
    if signal.profile.family() == Some(Family::Duration) {
        let (signal, about) = (signal.name, about(signal, labels));
        let (observed, expected) = (number(e.observed), number(e.expected));
        let late = duration(e.window.unwrap_or_default());
        let seen = match e.baseline {
            "log_normal" => format!(
                "about {observed} each in the last {late} where {expected} was expected (99 % up to {})",
                number(e.upper)
            ),
            _ => format!(
                "more took {observed} or longer in the last {late} than before, when half took up to {expected} and 99 % \
                 up to {}",
                number(e.upper)
            ),
        };
        return format!(
            "{signal} of {about}: {seen}, since {}; {} under the durations of the past {} ({} of them)",
            minute(since),
            chance(e.p_value),
            duration(e.history),
            e.samples,
        );
    }
    let (window, model, counted) = match e.window {
        Some(window) => (format!(" in {}", duration(window)), "rate", "events"),
        None => (String::new(), "level", "samples"),
    };
    format!(
        "{} of {}: {}{window} where {} was expected{} ({} to {}), since {}; {} under the {model} of the past {} ({} \
         {counted})",
        signal.name,
        about(signal, labels),
        number(e.observed),
        number(e.expected),
        if e.baseline.ends_with("_seasonal") { " at this hour" } else { "" },
        number(e.lower),
        number(e.upper),
        minute(since),
        chance(e.p_value),
        duration(e.history),
        e.samples,
    )
}

/// What is added when the anomaly closes.
pub(super) fn closed(why: &str, since: Time) -> String {
    format!("; {why} since {}", minute(since))
}

/// What is added when it has opened before, and for how long it must be calm, where that is longer than usual.
pub(super) fn again(times: u32, first: Time, hold: Option<SignedDuration>) -> String {
    let since = minute(first);
    match hold {
        None => format!("; {times} times since {since}"),
        Some(hold) => format!(
            "; {times} times since {since}: flapping, it closes only after {} of calm",
            duration(hold)
        ),
    }
}

/// What is added of those who contributed most.
pub(super) fn most(contributors: &[Contribution], unit: Unit) -> String {
    let one = |c: &Contribution| format!("{} ({})", c.subject, amount(unit, c.amount));
    let all: Vec<String> = contributors.iter().map(one).collect();
    format!("; most by {}", all.join(", "))
}

/// The subject, and the labels that it does not tell.
fn about(signal: &Signal, labels: &Labels) -> String {
    let subject = signal.subject(labels);
    let told = [subject.namespace.as_str(), subject.kind.as_str(), subject.name.as_str()];
    let mut text = subject.to_string();
    for (name, value) in signal.labels.iter().zip(labels.iter()) {
        let of_subject = NAMING.contains(name) && told.contains(&value);
        if !value.is_empty() && !of_subject {
            let _ = write!(text, ", {name} {value}");
        }
    }
    text
}

fn minute(time: Time) -> String {
    time.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

fn chance(p: f64) -> String {
    if p < LEAST_CHANCE {
        format!("chance below {LEAST_CHANCE:.0e}")
    } else {
        format!("chance {p:.0e}")
    }
}

fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Count => short(value),
        Unit::Ratio => format!("{} %", short(value * 100.0)),
        Unit::Seconds => seconds(value),
        Unit::Bytes => bytes(value),
    }
}

/// Two decimals below a tenth, one below a hundred, none above, and an exponent from a billion on.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 1e9 => return format!("{value:.1e}"),
        size if size >= 100.0 => 0,
        size if size >= 0.1 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(value), units[unit])
}

/// Below ten seconds with the digits that tell latencies apart.
fn seconds(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    match value.abs() {
        0.0 => "0s".to_owned(),
        size if size < 1.0 => format!("{}ms", short(value * 1000.0)),
        size if size < 10.0 => format!("{}s", short(value)),
        size => format!("{sign}{}", duration(SignedDuration::from_secs(size.round() as i64))),
    }
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

    const fn signal(name: &'static str, unit: Unit, labels: &'static [&'static str]) -> Signal {
        Signal {
            block: "S0.0",
            name,
            layer: Layer::Compute,
            help: "A test.",
            unit,
            labels,
            reasons: &[],
            bound: "1",
            needs: &[],
            uses: &[],
            profile: Profile::Rate,
            read: Read::Counter,
        }
    }

    const OF_CONTAINERS: [&str; 4] = ["namespace", "workload_kind", "workload", "reason"];
    static RESTARTS: Signal =
        signal("compute_container_restarts_total", Unit::Count, &OF_CONTAINERS);
    static COVERAGE: Signal =
        signal("storage_csi_node_coverage_ratio", Unit::Ratio, &["driver", "zone"]);
    static RETAINED: Signal =
        signal("storage_pv_retained_bytes", Unit::Bytes, &["storageclass", "driver"]);
    static DEGRADED: Signal = signal("compute_workloads_degraded", Unit::Count, &[]);

    fn expectation(observed: f64, expected: f64, upper: f64) -> Expectation {
        Expectation {
            observed,
            expected,
            lower: 0.0,
            upper,
            p_value: 3e-12,
            tail: 1e-9,
            samples: 9,
            history: SignedDuration::from_hours(6),
            window: None,
            runs_out: None,
            mature: true,
            baseline: "median_mad",
        }
    }

    #[test]
    fn an_anomaly_is_one_sentence() {
        let restarts = Expectation {
            window: Some(SignedDuration::from_mins(10)),
            ..expectation(14.0, 0.25, 2.0)
        };
        let retained = Expectation { p_value: 0.0, ..expectation(1.5e12, 0.0, 4.3e9) };
        let cases = [
            (
                &RESTARTS,
                labels!["shop", "Deployment", "web", "OOMKilled"],
                restarts,
                "compute_container_restarts_total of Deployment shop/web, reason OOMKilled: 14 in 10m where 0.2 was \
                 expected (0 to 2), since 2026-11-24T03:10Z; chance 3e-12 under the rate of the past 6h (9 events)",
            ),
            (
                &COVERAGE,
                labels!["ebs.csi.aws.com", "a"],
                Expectation { lower: 0.92, ..expectation(0.605, 1.0, 1.0) },
                "storage_csi_node_coverage_ratio of CSIDriver ebs.csi.aws.com, zone a: 60.5 % where 100 % was expected \
                 (92 % to 100 %), since 2026-11-24T03:10Z; chance 3e-12 under the level of the past 6h (9 samples)",
            ),
            (
                &RETAINED,
                labels!["fast", "ebs.csi.aws.com"],
                retained,
                "storage_pv_retained_bytes of StorageClass fast, driver ebs.csi.aws.com: 1.4 TiB where 0 B was \
                 expected (0 B to 4 GiB), since 2026-11-24T03:10Z; chance below 1e-15 under the level of the past 6h \
                 (9 samples)",
            ),
            (
                &DEGRADED,
                labels![],
                expectation(40.0, 2.0, 6.0),
                "compute_workloads_degraded of Cluster: 40 where 2 was expected (0 to 6), since 2026-11-24T03:10Z; \
                 chance 3e-12 under the level of the past 6h (9 samples)",
            ),
        ];
        let since = "2026-11-24T03:10:15Z".parse().unwrap();
        for (signal, labels, expectation, expected) in cases {
            assert_eq!(explain(signal, &labels, &expectation, since), expected);
        }
        assert_eq!(closed("not seen", since), "; not seen since 2026-11-24T03:10Z");
    }

    #[test]
    fn amounts_have_their_units() {
        let cases = [
            (Unit::Count, 3.0, "3"),
            (Unit::Count, 0.021, "0.02"),
            (Unit::Count, 0.25, "0.2"),
            (Unit::Count, 1_234.5, "1234"),
            (Unit::Count, 1e300, "1.0e300"),
            (Unit::Count, -0.001, "0"),
            (Unit::Ratio, 0.125, "12.5 %"),
            (Unit::Ratio, 1.0, "100 %"),
            (Unit::Seconds, 150.0, "2m30s"),
            (Unit::Seconds, 9_000.0, "2h30m"),
            (Unit::Seconds, 0.2, "200ms"),
            (Unit::Seconds, 0.0, "0s"),
            (Unit::Seconds, 2.54, "2.5s"),
            (Unit::Seconds, -90.0, "-1m30s"),
            (Unit::Seconds, 90_061.0, "1d1h"),
            (Unit::Bytes, 512.0, "512 B"),
            (Unit::Bytes, 1_572_864.0, "1.5 MiB"),
        ];
        for (unit, value, expected) in cases {
            assert_eq!(amount(unit, value), expected);
        }
    }
}
