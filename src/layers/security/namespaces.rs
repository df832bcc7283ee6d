//! Under which Pod Security level do namespaces run, and which has been let down?

use std::collections::BTreeMap;

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Labelled, Namespace};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static COVERAGE: Signal = Signal {
    block: "S5.6",
    name: "security_pod_security_coverage_ratio",
    layer: Layer::Security,
    help: "Share of the namespaces with pods that stand at a Pod Security level, by mode; `none` has no label. Context.",
    unit: Unit::Ratio,
    labels: &["level", "mode"],
    reasons: &[],
    bound: "4 levels × 3 modes",
    needs: &[Kind::Namespace, Kind::Pod],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(coverage),
};

pub(super) static DOWNGRADES: Signal = Signal {
    block: "S5.6",
    name: "security_pod_security_downgrades_total",
    layer: Layer::Security,
    help: "Namespaces whose enforced Pod Security level was lowered or taken away. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "reason"],
    reasons: &["lowered", "removed"],
    bound: "namespaces × 2 reasons",
    needs: &[Kind::Namespace],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

const MODES: [&str; 3] = ["enforce", "audit", "warn"];

/// Levels from the loosest; the admission plug-in takes a namespace without label as privileged unless its own
/// configuration says otherwise, which nobody can see.
const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];

fn level(labels: &Labelled, mode: &str) -> Option<usize> {
    let value = labels.value(&format!("pod-security.kubernetes.io/{mode}"));
    LEVELS.iter().position(|level| *level == value)
}

fn coverage(view: &View<'_>, out: &mut Readings) {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut all = 0;
    for namespace in view.world.namespaces.iter().filter(|n| !n.terminating) {
        if view.pods_in(&namespace.meta.name).next().is_none() {
            continue;
        }
        all += 1;
        for mode in MODES {
            let level = level(&namespace.meta.labels, mode).map_or("none", |i| LEVELS[i]);
            *counts.entry((level, mode)).or_default() += 1;
        }
    }
    for ((level, mode), n) in counts {
        out.push_ratio(labels![level, mode], n, all);
    }
}

/// Counts a level that was let down.
pub(super) fn observe(o: &Observation<'_>, namespace: &Namespace, tallies: &mut Tallies) {
    let before = o.world.namespaces.get("", &namespace.meta.name);
    let Some(before) = before.filter(|b| b.meta.uid == namespace.meta.uid) else { return };
    let enforced = |n: &Namespace| level(&n.meta.labels, "enforce");
    let reason = match (enforced(before), enforced(namespace)) {
        (Some(was), Some(is)) if is < was => "lowered",
        // Without a label it stands at privileged, as before.
        (Some(was), None) if was > 0 => "removed",
        _ => return,
    };
    tallies.add(&DOWNGRADES, labels![&namespace.meta.name, reason], 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, meta, objects, pod_of, readings};
    use crate::layers::security::LAYER;
    use crate::model::record::Meta;

    fn namespace(name: &str, enforce: &str) -> Namespace {
        let labels = match enforce {
            "" => Labelled::default(),
            level => Labelled::from([("pod-security.kubernetes.io/enforce", level)]),
        };
        Namespace { meta: Meta { labels, ..meta("", name, 86_400) }, terminating: false }
    }

    #[test]
    fn shares_are_of_namespaces_with_pods() {
        let objects = objects![
            namespace("shop", "restricted"),
            namespace("empty", "privileged"),
            pod_of("web", "web-1"),
        ];
        let told: Vec<_> = readings(&COVERAGE, objects)
            .iter()
            .map(|r| (r.labels.iter().collect::<Vec<_>>().join(" "), r.value))
            .collect();
        let expected = [("none audit", 1.0), ("none warn", 1.0), ("restricted enforce", 1.0)];
        assert_eq!(told, expected.map(|(l, v)| (l.to_owned(), v)));
    }

    #[test]
    fn a_level_let_down_counts_and_one_raised_does_not() {
        let cases = [
            ("restricted", "baseline", Some("shop lowered")),
            ("baseline", "", Some("shop removed")),
            ("privileged", "", None),
            ("baseline", "restricted", None),
            ("", "privileged", None),
            ("baseline", "odd", Some("shop removed")),
        ];
        for (before, after, expected) in cases {
            let mut counted = Counted::new(&LAYER, objects![namespace("shop", before)]);
            counted.see(namespace("shop", after), 0);
            let expected: Vec<_> =
                expected.map(|labels| (labels.to_owned(), 1)).into_iter().collect();
            assert_eq!(counted.totals(&DOWNGRADES), expected, "{before} to {after}");
        }
    }
}
