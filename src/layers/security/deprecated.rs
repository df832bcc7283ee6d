//! Does somebody still use an API that the next releases no longer serve?

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Scrape;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static USED: Signal = Signal {
    block: "S5.20",
    name: "security_deprecated_api_used",
    layer: Layer::Security,
    help: "Versions of an API that somebody has asked for since the API server started and that a release takes away: a \
           warning where it is the next one, or this. Deprecated APIs that stay do not count. Healthy is none.",
    unit: Unit::Count,
    labels: &["group", "version", "resource", "release", "reason"],
    reasons: &["removed_next", "removed_later"],
    bound: "deprecated APIs",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(used),
};

fn release(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    // Managed clusters write their minor version as `31+`.
    let minor = minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The oldest release among the API servers.
fn current(scrapes: &[&Scrape]) -> Option<(u32, u32)> {
    let builds = scrapes.iter().flat_map(|s| s.of("kubernetes_build_info"));
    let versions = builds.filter_map(|b| {
        release(&format!("{}.{}", b.labels.value("major"), b.labels.value("minor")))
    });
    versions.min()
}

fn used(view: &View<'_>, out: &mut Verdicts) {
    let scrapes = view.scrapes(Kind::ApiServerMetrics);
    let current = current(&scrapes);
    let mut seen: BTreeMap<[&str; 4], (u32, u32)> = BTreeMap::new();
    for sample in scrapes.iter().flat_map(|s| s.of("apiserver_requested_deprecated_apis")) {
        let label = |key| sample.labels.value(key);
        if let Some(removed) = release(label("removed_release")).filter(|_| sample.value > 0.0) {
            let key =
                [label("group"), label("version"), label("resource"), label("removed_release")];
            seen.insert(key, removed);
        }
    }
    for ([group, version, resource, text], removed) in seen {
        let next = current.is_some_and(|(major, minor)| removed <= (major, minor + 1));
        let (reason, severity) = if next {
            ("removed_next", Severity::Warning)
        } else {
            ("removed_later", Severity::Info)
        };
        let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let message = format!(
            "somebody uses {resource} of {api}, which Kubernetes {text} no longer serves: \
             move the client before the upgrade"
        );
        let labels = labels![group, version, resource, text, reason];
        let verdict = Verdict::new(Subject::cluster(), labels, reason, message);
        out.push(verdict.severity(severity).dwell(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{judge, world};
    use crate::layers::security::apiserver::scrape;

    #[test]
    fn an_api_is_told_by_the_release_that_takes_it_away() {
        let cases = [
            ("flowschemas", "1.32", "31", vec!["removed_next"]),
            ("flowschemas", "1.32", "31+", vec!["removed_next"]),
            ("flowschemas", "1.33", "31", vec!["removed_later"]),
            ("flowschemas", "1.32", "", vec!["removed_later"]),
            // The endpoints controller itself asks for them, for ever.
            ("endpoints", "", "31", vec![]),
        ];
        for (resource, removed, minor, expected) in cases {
            let labels = [
                ("group", ""),
                ("version", "v1"),
                ("resource", resource),
                ("removed_release", removed),
            ];
            let build = [("major", "1"), ("minor", minor)];
            let scrape = scrape(
                "a",
                &[
                    ("apiserver_requested_deprecated_apis", &labels, 1.0),
                    ("kubernetes_build_info", &build, 1.0),
                ],
            );
            let told = judge(&USED, &world(&[], [scrape]));
            let reasons: Vec<_> = told.iter().map(|v| v.reason).collect();
            assert_eq!(reasons, expected, "{resource} {removed} on 1.{minor}");
        }
    }
}
