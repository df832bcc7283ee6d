//! How does OpenMetrics become Prometheus text 0.0.4? Counters are named by their sample, units and the end go.

use std::fmt::Write;

/// Rewrites an OpenMetrics exposition of ours as text 0.0.4.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The name in HELP depends on the type, which comes after it.
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { continue };
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                let _ = writeln!(out, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_their_type_and_the_rest_its_name() {
        let text = "# HELP a Help a.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP b_seconds Help b.\n\
            # TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 0.5\n# EOF\n";
        let expected = "# HELP a_total Help a.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n\
            # HELP b_seconds Help b.\n# TYPE b_seconds gauge\nb_seconds 0.5\n";
        assert_eq!(from_open_metrics(text), expected);
    }
}
