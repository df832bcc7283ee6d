//! Which recording rules draw about the same bands without kubestrata? Those of `alerts/bands.rules.yaml`.

use std::fmt::Write;

use crate::layers;
use crate::model::layer::Layer;
use crate::model::signal::{Signal, Unit};

/// `alerts/bands.rules.yaml`: for each judged gauge and counter expected value, lower and upper end, under the label
/// `signal` beside those of the series.
///
/// PromQL has no population of a share, no dispersion of a count and no past that stands still while an anomaly is
/// open, so these bands are narrower where few objects make a share or events come in clusters, and learn outages.
#[must_use]
pub fn band_rules_yaml() -> String {
    let mut page = String::from(
        "# Generated from the declarations in src/layers by tests/generated.rs. Do not edit.\n\
         # The bands of docs/detection.md over a day, in PromQL. Gauges: median, and four times the larger of 1.4826 MAD and\n\
         # Q95 / 1.96. Counters: the increase in ten minutes that a Poisson rate exceeds once in a thousand times.\n\
         groups:\n",
    );
    for layer in Layer::ALL {
        let rules: String =
            layers::signals().filter(|s| s.layer == layer).filter_map(rules).collect();
        if !rules.is_empty() {
            let name = layer.name();
            let _ =
                write!(page, "- name: kubestrata-bands-{name}\n  interval: 1m\n  rules:\n{rules}");
        }
    }
    page
}

/// The rules of a signal; `None` where it is not judged, or by its durations.
fn rules(signal: &'static Signal) -> Option<String> {
    let (name, metric) = (signal.name, format!("kubestrata_{}", signal.name));
    let mut out = String::new();
    let mut rule = |record: &str, expr: &str| {
        let _ = write!(
            out,
            "  - record: kubestrata:baseline_{record}:1d\n    expr: {expr}\n    labels: {{signal: {name}}}\n"
        );
    };
    let of = |record: &str| format!("kubestrata:baseline_{record}:1d{{signal=\"{name}\"}}");
    let expected = of("expected");
    if let Some((_, floor)) = signal.profile.level() {
        let (distance, scale) = (of("distance"), of("scale"));
        let larger = |a: &str, b: &str| format!("({a} > {b} or {b})");
        let quantile = |q: f64| format!("quantile_over_time({q}, {distance}[1d])");
        let spread =
            larger(&format!("1.4826 * {}", quantile(0.5)), &format!("{} / 1.96", quantile(0.95)));
        let hundredth = format!("0.01 * abs({expected})");
        rule("expected", &format!("quantile_over_time(0.5, {metric}[1d])"));
        rule("distance", &format!("abs({metric} - ignoring(signal) {expected})"));
        rule("scale", &format!("clamp_min({}, {floor})", larger(&spread, &hundredth)));
        let lower = format!("{expected} - 4 * {scale}");
        // There is no share below none.
        let lower =
            if signal.unit == Unit::Ratio { format!("clamp_min({lower}, 0)") } else { lower };
        rule("lower", &lower);
        rule("upper", &format!("{expected} + 4 * {scale}"));
    } else if signal.profile.is_rate() {
        rule("expected", &format!("increase({metric}[1d] offset 10m) / 144"));
        rule("upper", &format!("{expected} + 3.09 * sqrt({expected}) + 1.5"));
    } else {
        return None;
    }
    Some(out)
}
