//! How is the API server? Its own checks, its errors, what it turns away, and how full its store is.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::{Label, Labels, Readings};
use crate::model::record::Scrape;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static CHECK: Signal = Signal {
    block: "S4.9",
    name: "observability_apiserver_check_failed",
    layer: Layer::Observability,
    help: "Checks of the API server's /readyz that fail. Healthy is none.",
    unit: Unit::Count,
    labels: &["check", "reason"],
    reasons: &["failed"],
    bound: "the API server's checks, about 50",
    needs: &[Kind::ApiServerHealth],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(checks),
};

macro_rules! counter {
    ($name:ident, $metric:literal, [$($label:literal),*], $bound:literal, $help:literal) => {
        pub(super) static $name: Signal = Signal {
            block: "S4.9",
            name: $metric,
            layer: Layer::Observability,
            help: $help,
            unit: Unit::Count,
            labels: &[$($label),*],
            reasons: &[],
            bound: $bound,
            needs: &[Kind::ApiServerMetrics],
            uses: &[],
            profile: Profile::Rate,
            read: Read::Counter,
        };
    };
}

counter!(
    ERRORS,
    "observability_apiserver_errors_total",
    ["verb", "resource"],
    "8 verbs × resources",
    "Requests that the API server answered with a 5xx, by verb and resource. Healthy is near none."
);
counter!(
    REJECTED,
    "observability_apiserver_rejected_total",
    ["priority_level", "cause"],
    "priority levels × 4 causes",
    "Requests that API priority and fairness turned away (429). Healthy is none."
);
counter!(
    ETCD_ERRORS,
    "observability_etcd_errors_total",
    ["operation"],
    "etcd's operations",
    "Requests of the API server to etcd that failed. Healthy is none."
);

pub(super) static INFLIGHT: Signal = Signal {
    block: "S4.9",
    name: "observability_apiserver_inflight_requests",
    layer: Layer::Observability,
    help: "Requests that API servers work on at this moment, by kind (mutating or read-only), summed over instances.",
    unit: Unit::Count,
    labels: &["request_kind"],
    reasons: &[],
    bound: "2",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 20.0 },
    read: Read::Gauge(inflight),
};

pub(super) static STORAGE: Signal = Signal {
    block: "S4.9",
    name: "observability_etcd_size_ratio",
    layer: Layer::Observability,
    help: "Size of etcd's database as a share of 8 GiB, the largest that etcd recommends. Writing stops at its quota.",
    unit: Unit::Ratio,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Filling { floor: 0.02 },
    read: Read::Gauge(storage),
};

pub(super) static FULL: Signal = Signal {
    block: "S4.9",
    name: "observability_etcd_nearly_full",
    layer: Layer::Observability,
    help: "Whether etcd's database has more than 80 percent of 8 GiB: at its quota nothing can be written any more. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["nearly_full"],
    bound: "1",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(nearly_full),
};

pub(super) static OBJECTS: Signal = Signal {
    block: "S4.9",
    name: "observability_apiserver_objects",
    layer: Layer::Observability,
    help: "Objects in the API server's store, of the ten resources that have most.",
    unit: Unit::Count,
    labels: &["resource"],
    reasons: &[],
    bound: "10",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(objects),
};

/// What etcd recommends at most (etcd, "System limits").
const ETCD_LIMIT: f64 = 8_589_934_592.0;

fn checks(view: &View<'_>, out: &mut Verdicts) {
    for scrape in view.scrapes(Kind::ApiServerHealth) {
        for sample in scrape.of("check").filter(|s| s.value < 1.0) {
            let check = sample.labels.value("name");
            let told = format!("the API server is not ready: its check {check} fails");
            let labels = labels![check, "failed"];
            let verdict = Verdict::new(Subject::cluster(), labels, "failed", told);
            // A server that is asked to end fails this one while it lets its clients go.
            let dwell = if check == "shutdown" { 300 } else { 30 };
            out.push(verdict.severity(Severity::Critical).dwell(dwell));
        }
    }
}

/// Counts what the API server has counted since it was asked last.
pub(super) fn observe(scrape: &Scrape, tallies: &mut Tallies) {
    if scrape.kind != Kind::ApiServerMetrics {
        return;
    }
    for sample in scrape.samples.iter().filter(|s| s.value.is_finite() && s.value >= 0.0) {
        let label = |name: &str| sample.labels.value(name);
        let (signal, labels) = match sample.name.as_str() {
            "apiserver_request_total" if label("code").starts_with('5') => {
                (&ERRORS, labels![label("verb"), label("resource")])
            }
            "apiserver_flowcontrol_rejected_requests_total" => {
                (&REJECTED, labels![label("priority_level"), label("reason")])
            }
            "etcd_request_errors_total" => (&ETCD_ERRORS, labels![label("operation")]),
            _ => continue,
        };
        let slot: String =
            sample.labels.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>().join("|");
        let slot = format!("{}|{slot}", sample.name);
        let n = tallies.advance(
            scrape.kind,
            scrape.meta.uid,
            &slot,
            sample.value.clamp(0.0, 1e15) as u64,
        );
        tallies.add(signal, labels, n);
    }
}

/// The sum over instances of a metric, by one label.
fn by_label(view: &View<'_>, metric: &str, label: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for scrape in view.scrapes(Kind::ApiServerMetrics) {
        for sample in scrape.of(metric).filter(|s| s.value.is_finite()) {
            *sums.entry(sample.labels.value(label).to_owned()).or_insert(0.0) += sample.value;
        }
    }
    sums
}

fn inflight(view: &View<'_>, out: &mut Readings) {
    for (kind, count) in by_label(view, "apiserver_current_inflight_requests", "request_kind") {
        out.push(labels![kind.as_str()], count);
    }
}

/// The size of the store as a share of what etcd recommends at most.
fn store(view: &View<'_>) -> Option<f64> {
    // The name has changed twice; all instances see the same store.
    let names = ["apiserver_storage_size_bytes", "apiserver_storage_db_total_size_in_bytes"];
    let scrapes = view.scrapes(Kind::ApiServerMetrics);
    let sizes =
        scrapes.iter().flat_map(|s| s.samples.iter()).filter(|s| names.contains(&s.name.as_str()));
    let largest = sizes.map(|s| s.value).filter(|v| v.is_finite()).reduce(f64::max);
    largest.map(|size| size / ETCD_LIMIT)
}

fn storage(view: &View<'_>, out: &mut Readings) {
    if let Some(share) = store(view) {
        out.push(Labels::default(), share);
    }
}

fn nearly_full(view: &View<'_>, out: &mut Verdicts) {
    let Some(share) = store(view).filter(|share| *share > 0.8) else { return };
    let told = format!(
        "etcd holds {:.1} GiB of 8: at its quota nothing can be written any more",
        share * 8.0
    );
    let severity = if share > 0.95 { Severity::Critical } else { Severity::Warning };
    let verdict = Verdict::new(Subject::cluster(), labels!["nearly_full"], "nearly_full", told);
    out.push(verdict.severity(severity));
}

fn objects(view: &View<'_>, out: &mut Readings) {
    let mut most: BTreeMap<String, f64> = BTreeMap::new();
    for scrape in view.scrapes(Kind::ApiServerMetrics) {
        for sample in &scrape.samples {
            let named = matches!(
                sample.name.as_str(),
                "apiserver_resource_objects" | "apiserver_storage_objects"
            );
            if !named || !sample.value.is_finite() {
                continue;
            }
            let (resource, group) = (sample.labels.value("resource"), sample.labels.value("group"));
            let full = match group {
                "" => resource.to_owned(),
                group => format!("{resource}.{group}"),
            };
            let held = most.entry(full).or_default();
            *held = held.max(sample.value);
        }
    }
    let mut most: Vec<_> = most.into_iter().collect();
    most.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (resource, count) in most.into_iter().take(10) {
        out.push(Labels::new([Label::from(resource.as_str())]), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, ago, judge, meta, objects, readings, reasons, world};
    use crate::layers::observability::LAYER;
    use crate::model::record::{Labelled, Sample};

    /// A metric, its labels and its value.
    type Told<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

    fn scrape(kind: Kind, samples: &[Told<'_>]) -> Scrape {
        let sample = |(name, labels, value): &Told<'_>| Sample {
            name: (*name).into(),
            labels: labels.iter().copied().collect::<Labelled>(),
            value: *value,
        };
        let samples = samples.iter().map(sample).collect();
        Scrape { kind, meta: meta("", "one", 60), at: ago(0), samples }
    }

    #[test]
    fn a_failing_check_is_told_by_name() {
        let health = scrape(
            Kind::ApiServerHealth,
            &[("check", &[("name", "etcd")], 0.0), ("check", &[("name", "ping")], 1.0)],
        );
        assert_eq!(reasons(&CHECK, objects![health]), ["failed"]);
        let dwell = |check: &str| {
            let samples: &[Told<'_>] = &[("check", &[("name", check)], 0.0)];
            let all = objects![scrape(Kind::ApiServerHealth, samples)];
            judge(&CHECK, &world(&[], all))[0].dwell.as_secs()
        };
        assert_eq!((dwell("etcd"), dwell("shutdown")), (30, 300));
    }

    #[test]
    fn errors_are_counted_by_what_grew() {
        let errors = |count: f64| {
            let labels: &[(&str, &str)] = &[("verb", "GET"), ("resource", "pods"), ("code", "503")];
            let fine: &[(&str, &str)] = &[("verb", "GET"), ("resource", "pods"), ("code", "200")];
            scrape(
                Kind::ApiServerMetrics,
                &[
                    ("apiserver_request_total", labels, count),
                    ("apiserver_request_total", fine, 99.0),
                    ("etcd_request_errors_total", &[("operation", "get")], f64::NAN),
                ],
            )
        };
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(errors(5.0), 60).see(errors(7.0), 30);
        assert_eq!(counted.totals(&ERRORS), [("GET pods".to_owned(), 7)]);
        assert!(counted.totals(&ETCD_ERRORS).is_empty());
    }

    #[test]
    fn a_store_that_is_nearly_full_is_told() {
        let look = |share: f64| {
            let samples = [("apiserver_storage_size_bytes", &[][..], share * ETCD_LIMIT)];
            let all = objects![scrape(Kind::ApiServerMetrics, &samples)];
            judge(&FULL, &world(&[], all)).first().map(|v| v.severity)
        };
        assert_eq!(look(0.79), None);
        assert_eq!(look(0.85), Some(Severity::Warning));
        assert_eq!(look(0.97), Some(Severity::Critical));
        assert_eq!(look(f64::NAN), None);
    }

    #[test]
    fn the_store_is_a_share_of_what_etcd_recommends() {
        let size = scrape(
            Kind::ApiServerMetrics,
            &[
                ("apiserver_storage_size_bytes", &[], 2_147_483_648.0),
                ("apiserver_resource_objects", &[("resource", "pods")], 7.0),
                ("apiserver_current_inflight_requests", &[("request_kind", "mutating")], 3.0),
            ],
        );
        let all = || objects![size.clone()];
        assert_eq!(readings(&STORAGE, all())[0].value, 0.25);
        assert_eq!(readings(&OBJECTS, all())[0].value, 7.0);
        assert_eq!(readings(&INFLIGHT, all())[0].value, 3.0);
    }
}
