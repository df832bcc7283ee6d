//! Is there room left? In the pools that volumes are made from, and in the volumes themselves.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::quantity;
use crate::model::reading::Readings;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static POOL: Signal = Signal {
    block: "S1.18",
    name: "storage_capacity_bytes",
    layer: Layer::Storage,
    help: "Capacity that a driver still offers for a storage class, summed over topology segments.",
    unit: Unit::Bytes,
    labels: &["storageclass"],
    reasons: &[],
    bound: "storage classes",
    needs: &[Kind::CsiStorageCapacity],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 1_073_741_824.0 },
    read: Read::Gauge(pool),
};

pub(super) static POOL_LOW: Signal = Signal {
    block: "S1.18",
    name: "storage_capacity_low",
    layer: Layer::Storage,
    help: "Storage classes no segment of which has room for a volume of the median size that its claims ask for. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["storageclass", "reason"],
    reasons: &["no_room"],
    bound: "storage classes",
    needs: &[Kind::CsiStorageCapacity, Kind::PersistentVolumeClaim],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(pool_low),
};

pub(super) static FILL: Signal = Signal {
    block: "S1.16",
    name: "storage_volume_used_ratio",
    layer: Layer::Storage,
    help: "Share of a mounted volume's bytes or inodes that is used, whichever is fuller, as its kubelet says.",
    unit: Unit::Ratio,
    labels: &["namespace", "persistentvolumeclaim"],
    reasons: &[],
    bound: "mounted claims",
    needs: &[Kind::KubeletMetrics],
    uses: &[],
    profile: Profile::Filling { floor: 0.05 },
    read: Read::Gauge(fill),
};

pub(super) static FULL: Signal = Signal {
    block: "S1.16",
    name: "storage_volume_full",
    layer: Layer::Storage,
    help: "Mounted volumes with less than 3 % of their bytes or inodes free. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "persistentvolumeclaim", "reason"],
    reasons: &["bytes", "inodes"],
    bound: "mounted claims × 2 reasons",
    needs: &[Kind::KubeletMetrics],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(full),
};

/// Less than this share free is full: what cleans up needs room to work.
const FREE: f64 = 0.03;

/// The sum and the largest of what is offered for each class.
fn offered<'a>(view: &'a View<'_>) -> BTreeMap<&'a Text, (u64, u64)> {
    let mut classes: BTreeMap<&Text, (u64, u64)> = BTreeMap::new();
    for segment in view.resources(Kind::CsiStorageCapacity) {
        let class = segment.body.text("storageClassName");
        // Absent means that the driver does not know, as opposed to zero.
        let amount = [segment.body.text("maximumVolumeSize"), segment.body.text("capacity")];
        let Some(capacity) = quantity::bytes(amount[1]) else { continue };
        let largest = quantity::bytes(amount[0]).unwrap_or(capacity).min(capacity);
        let held = classes.entry(class).or_default();
        *held = (held.0.saturating_add(capacity), held.1.max(largest));
    }
    classes
}

fn pool(view: &View<'_>, out: &mut Readings) {
    for (class, (sum, _)) in offered(view) {
        out.push(labels![class], sum as f64);
    }
}

fn pool_low(view: &View<'_>, out: &mut Verdicts) {
    for (class, (_, largest)) in offered(view) {
        let of_class = |c: &&crate::model::record::Claim| c.class.as_ref() == Some(class);
        let mut sizes: Vec<u64> =
            view.world.claims.iter().filter(of_class).map(|c| c.requested).collect();
        sizes.sort_unstable();
        let Some(median) = sizes.get(sizes.len() / 2).copied() else { continue };
        if largest >= median {
            continue;
        }
        let message = format!(
            "no segment has room for {median} bytes, the median of its {} claims; the largest has {largest}",
            sizes.len()
        );
        let subject = Subject::new(Kind::StorageClass, &Text::default(), class);
        let verdict = Verdict::new(subject, labels![class, "no_room"], "no_room", message);
        out.push(verdict.dwell(180));
    }
}

/// How much older than the newest a kubelet's answer may be before it speaks only for claims that no other speaks for:
/// what a node that fell silent had mounted may have moved on.
const OUTDATED: SignedDuration = SignedDuration::from_mins(3);

/// Used shares of bytes and inodes of each claim. One that is mounted on several nodes counts with its fullest view.
fn shares(view: &View<'_>) -> BTreeMap<(Text, Text), [Option<f64>; 2]> {
    let mut claims: BTreeMap<(Text, Text), [Option<f64>; 2]> = BTreeMap::new();
    let mut answers = view.scrapes(Kind::KubeletMetrics);
    answers.sort_by_key(|scrape| std::cmp::Reverse(scrape.at));
    let newest = answers.first().map(|scrape| scrape.at);
    for scrape in answers {
        let outdated = newest.is_some_and(|newest| newest.duration_since(scrape.at) > OUTDATED);
        let mut found: BTreeMap<(Text, Text), [Option<f64>; 4]> = BTreeMap::new();
        for sample in &scrape.samples {
            let at = match sample.name.as_str() {
                "kubelet_volume_stats_available_bytes" => 0,
                "kubelet_volume_stats_capacity_bytes" => 1,
                "kubelet_volume_stats_inodes_free" => 2,
                "kubelet_volume_stats_inodes" => 3,
                _ => continue,
            };
            let label = |name: &str| sample.labels.get(name).cloned().unwrap_or_default();
            let claim = (label("namespace"), label("persistentvolumeclaim"));
            found.entry(claim).or_default()[at] = Some(sample.value).filter(|v| v.is_finite());
        }
        for (claim, [free, all, inodes_free, inodes]) in found {
            let used = |free: Option<f64>, all: Option<f64>| {
                let all = all.filter(|all| *all > 0.0)?;
                Some((1.0 - free? / all).clamp(0.0, 1.0))
            };
            if outdated && claims.contains_key(&claim) {
                continue;
            }
            let held = claims.entry(claim).or_default();
            for (at, share) in [used(free, all), used(inodes_free, inodes)].into_iter().enumerate()
            {
                held[at] = match (held[at], share) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    claims
}

fn fill(view: &View<'_>, out: &mut Readings) {
    for ((namespace, claim), shares) in shares(view) {
        if let Some(fullest) = shares.into_iter().flatten().reduce(f64::max) {
            out.push(labels![&namespace, &claim], fullest);
        }
    }
}

fn full(view: &View<'_>, out: &mut Verdicts) {
    for ((namespace, claim), shares) in shares(view) {
        for (reason, share) in ["bytes", "inodes"].into_iter().zip(shares) {
            let Some(share) = share.filter(|s| *s > 1.0 - FREE) else { continue };
            let subject = Subject::new(Kind::PersistentVolumeClaim, &namespace, &claim);
            let message = format!("{:.1} % of its {reason} are used", share * 100.0);
            let labels = labels![&namespace, &claim, reason];
            let verdict = Verdict::new(subject, labels, reason, message);
            out.push(verdict.severity(Severity::Critical));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ago, claim, meta, objects, readings, reasons};
    use super::*;
    use crate::layers::fixtures::resource;
    use crate::model::record::{Claim, ClaimPhase, Labelled, Sample, Scrape};

    fn segment(name: &str, capacity: &str, largest: &str) -> crate::model::record::Resource {
        resource(
            Kind::CsiStorageCapacity,
            name,
            json!({"storageClassName": "fast", "capacity": capacity, "maximumVolumeSize": largest}),
        )
    }

    #[test]
    fn a_class_without_room_for_its_usual_claim_is_told() {
        let asked = |bytes| Claim { requested: bytes, ..claim("a", ClaimPhase::Bound) };
        let segments = || [segment("a", "4Gi", ""), segment("b", "2Gi", "1Gi")];
        let [a, b] = segments();
        assert_eq!(reasons(&POOL_LOW, objects![a, b, asked(5 << 30)]), ["no_room"]);
        let [a, b] = segments();
        assert!(reasons(&POOL_LOW, objects![a, b, asked(4 << 30)]).is_empty());
        let [a, b] = segments();
        assert_eq!(readings(&POOL, objects![a, b])[0].value, (6_u64 << 30) as f64);
        assert!(
            readings(&POOL, objects![segment("a", "", "")]).is_empty(),
            "the driver does not know"
        );
    }

    #[test]
    fn the_fullest_view_of_a_volume_counts() {
        let scrape = |node: &str, free: f64, age: i64| {
            let labels = Labelled::from([("namespace", "shop"), ("persistentvolumeclaim", "data")]);
            let sample =
                |name: &str, value| Sample { name: name.into(), labels: labels.clone(), value };
            Scrape {
                kind: Kind::KubeletMetrics,
                meta: meta("", node, 60),
                at: ago(age),
                samples: [
                    sample("kubelet_volume_stats_available_bytes", free),
                    sample("kubelet_volume_stats_capacity_bytes", 100.0),
                    sample("kubelet_volume_stats_inodes", 0.0),
                ]
                .into(),
            }
        };
        let two = || objects![scrape("n1", 50.0, 0), scrape("n2", 2.0, 0)];
        assert_eq!(readings(&FILL, two())[0].value, 0.98);
        assert_eq!(reasons(&FULL, two()), ["bytes"]);
        assert!(reasons(&FULL, objects![scrape("n1", 12.0, 0)]).is_empty());
        let moved = objects![scrape("n1", 50.0, 0), scrape("n2", 2.0, 200)];
        assert!(reasons(&FULL, moved).is_empty(), "n2 is silent, and n1 has the volume now");
        let kept = objects![scrape("n2", 2.0, 200)];
        assert_eq!(reasons(&FULL, kept), ["bytes"], "nobody knows better");
    }
}
