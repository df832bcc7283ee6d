//! How is a metric written? As in the Prometheus text format 0.0.4.

use std::fmt::Write;

/// Writes a family of a type, with its samples: labels, in braces or empty, and value. Nothing for none.
pub(crate) fn family(
    out: &mut String,
    name: &str,
    kind: &str,
    samples: impl IntoIterator<Item = (String, f64)>,
) {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}
