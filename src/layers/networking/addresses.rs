//! Are there addresses and ports left for Services and nodes?

use std::collections::BTreeMap;

use super::reports::{LASTING, about_services};
use crate::labels;
use crate::layers::conditions::{Polarity, bad, one_line, words};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Event, Sample, Scrape};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static CLUSTER_IPS: Signal = Signal {
    block: "S3.14",
    name: "networking_clusterip_used_ratio",
    layer: Layer::Networking,
    help: "Share of the addresses for Services that are in use, by range. Healthy is below 0.8.",
    unit: Unit::Ratio,
    labels: &["cidr"],
    reasons: &[],
    bound: "ranges for Services",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Filling { floor: 0.05 },
    read: Read::Gauge(cluster_ips),
};

pub(super) static NODE_PORTS: Signal = Signal {
    block: "S3.14",
    name: "networking_nodeport_used_ratio",
    layer: Layer::Networking,
    help: "Share of the node ports for Services that are in use. Healthy is below 0.8.",
    unit: Unit::Ratio,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Filling { floor: 0.05 },
    read: Read::Gauge(node_ports),
};

pub(super) static LOW: Signal = Signal {
    block: "S3.14",
    name: "networking_addresses_low",
    layer: Layer::Networking,
    help: "Ranges of addresses or ports for Services that are used to more than 80 percent. Healthy is none.",
    unit: Unit::Count,
    labels: &["cidr", "reason"],
    reasons: &["cluster_ips", "node_ports"],
    bound: "ranges for Services + 1",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(low),
};

pub(super) static ERRORS: Signal = Signal {
    block: "S3.14",
    name: "networking_clusterip_allocation_errors_total",
    layer: Layer::Networking,
    help: "Times that the API server could not give a Service an address of a range. Healthy is none.",
    unit: Unit::Count,
    labels: &["cidr"],
    reasons: &[],
    bound: "ranges for Services",
    needs: &[Kind::ApiServerMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static BROKEN: Signal = Signal {
    block: "S3.14",
    name: "networking_service_allocation_broken",
    layer: Layer::Networking,
    help: "Services whose address or port the API server's repair loop finds wrong: not allocated, taken twice, or out \
           of range. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: &[
        "ip_invalid",
        "ip_out_of_range",
        "ip_not_allocated",
        "ip_taken",
        "port_not_allocated",
        "port_taken",
        "port_out_of_range",
        "port_range_full",
    ],
    bound: "services × 8 reasons",
    needs: &[Kind::Service, Kind::Event],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(broken),
};

pub(super) static NODE_RANGE: Signal = Signal {
    block: "S3.14",
    name: "networking_node_cidr_missing",
    layer: Layer::Networking,
    help: "Nodes that get no range of addresses for their pods. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "zone", "reason"],
    reasons: &["none_available", "assignment_failed"],
    bound: "nodes × 2 reasons",
    needs: &[Kind::Node, Kind::Event],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(node_range),
};

pub(super) static SERVICE_CIDR: Signal = Signal {
    block: "S3.14",
    name: "networking_servicecidr_not_ready",
    layer: Layer::Networking,
    help: "ServiceCIDRs from which no address is given. Healthy is none.",
    unit: Unit::Count,
    labels: &["servicecidr", "reason"],
    reasons: &["not_ready"],
    bound: "ServiceCIDRs",
    needs: &[Kind::ServiceCidr],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(service_cidr),
};

const REPAIRS: &[(&str, &str)] = &[
    ("ClusterIPNotValid", "ip_invalid"),
    ("ClusterIPOutOfRange", "ip_out_of_range"),
    ("ClusterIPNotAllocated", "ip_not_allocated"),
    ("ClusterIPAlreadyAllocated", "ip_taken"),
    ("PortNotAllocated", "port_not_allocated"),
    ("PortAlreadyAllocated", "port_taken"),
    ("PortOutOfRange", "port_out_of_range"),
    ("PortRangeFull", "port_range_full"),
];

/// What the loop puts right when it reports it: only a fault that comes back is one.
const REPAIRED: &[&str] = &["ip_not_allocated", "port_not_allocated"];

const NODE_REPORTS: &[(&str, &str)] =
    &[("CIDRNotAvailable", "none_available"), ("CIDRAssignmentFailed", "assignment_failed")];

static SERVICE_CIDR_TABLE: &[Polarity] = &[Polarity::good(&[Kind::ServiceCidr], "Ready", 120)];

/// Shares in use above which a range is low, and almost full.
const SHORT: f64 = 0.8;
const FULL: f64 = 0.95;

/// Used and all of something, by its `cidr`. Each API server tells all of the cluster, as of its last look: the
/// fullest picture is the newest.
fn used(view: &View<'_>, allocated: &str, available: &str) -> BTreeMap<Text, (u64, u64)> {
    let mut found: BTreeMap<Text, (u64, u64)> = BTreeMap::new();
    for scrape in view.scrapes(Kind::ApiServerMetrics) {
        for taken in scrape.of(allocated) {
            let cidr = taken.labels.value("cidr");
            let mut free = scrape.of(available).filter(|s| s.labels.value("cidr") == cidr);
            let Some(free) = free.next() else { continue };
            let (taken, free) = (whole(taken), whole(free));
            let entry = found.entry(cidr.into()).or_default();
            *entry = (*entry).max((taken, taken + free));
        }
    }
    found
}

/// A sample as a whole number; what is none counts as nothing.
fn whole(sample: &Sample) -> u64 {
    sample.value.clamp(0.0, 1e15) as u64
}

fn used_ips(view: &View<'_>) -> BTreeMap<Text, (u64, u64)> {
    used(
        view,
        "kube_apiserver_clusterip_allocator_allocated_ips",
        "kube_apiserver_clusterip_allocator_available_ips",
    )
}

fn used_ports(view: &View<'_>) -> BTreeMap<Text, (u64, u64)> {
    used(
        view,
        "kube_apiserver_nodeport_allocator_allocated_ports",
        "kube_apiserver_nodeport_allocator_available_ports",
    )
}

fn cluster_ips(view: &View<'_>, out: &mut Readings) {
    for (cidr, (taken, all)) in used_ips(view) {
        out.push_ratio(labels![&cidr], taken, all);
    }
}

fn node_ports(view: &View<'_>, out: &mut Readings) {
    for (taken, all) in used_ports(view).into_values() {
        out.push_ratio(labels![], taken, all);
    }
}

fn low(view: &View<'_>, out: &mut Verdicts) {
    let both = [("cluster_ips", used_ips(view)), ("node_ports", used_ports(view))];
    for (reason, ranges) in both {
        for (cidr, (taken, all)) in ranges {
            let share = taken as f64 / all.max(1) as f64;
            if share <= SHORT {
                continue;
            }
            let what = if cidr.is_empty() { "the node ports" } else { cidr.as_str() };
            let message = format!("{taken} of {all} of {what} are in use");
            let severity = if share > FULL { Severity::Critical } else { Severity::Warning };
            let verdict = Verdict::new(Subject::cluster(), labels![&cidr, reason], reason, message);
            out.push(verdict.severity(severity).dwell(300));
        }
    }
}

/// Counts what the API server's own counter has grown by.
pub(super) fn observe(scrape: &Scrape, tallies: &mut Tallies) {
    let errors = "kube_apiserver_clusterip_allocator_allocation_errors_total";
    for sample in scrape.of(errors) {
        let cidr = sample.labels.value("cidr");
        let slot = format!("{cidr} {}", sample.labels.value("scope"));
        let fresh = tallies.advance(scrape.kind, scrape.meta.uid, &slot, whole(sample));
        tallies.add(&ERRORS, labels![cidr], fresh);
    }
}

fn broken(view: &View<'_>, out: &mut Verdicts) {
    for ((service, reason), event) in about_services(view, REPAIRS) {
        let Some(found) = view.resource(Kind::Service, &service.0, &service.1) else { continue };
        let lasted = event.last.as_second() - event.first.as_second();
        if REPAIRED.contains(&reason) && lasted < LASTING {
            continue;
        }
        let labels = labels![&service.0, &service.1, reason];
        let message = one_line(&format!("the API server says: {}", event.note));
        let verdict = Verdict::new(Subject::of(found), labels, reason, message);
        out.push(verdict.since(event.first).dwell(120));
    }
}

fn node_range(view: &View<'_>, out: &mut Verdicts) {
    for node in view.world.nodes.iter().filter(|n| view.node_context(n).is_none()) {
        let mut told: BTreeMap<&'static str, &Event> = BTreeMap::new();
        for event in view.recent_events(Kind::Node, &node.meta, STILL_SPEAKS) {
            let report = NODE_REPORTS.iter().find(|(name, _)| event.reason == *name);
            if let Some((_, reason)) = report {
                told.insert(reason, event);
            }
        }
        for (reason, event) in told {
            let subject = Subject::new(Kind::Node, &Text::default(), &node.meta.name);
            let labels = labels![&node.meta.name, &node.zone, reason];
            let message = one_line(&format!("it gets no range for its pods: {}", event.note));
            out.push(Verdict::new(subject, labels, reason, message).since(event.first));
        }
    }
}

fn service_cidr(view: &View<'_>, out: &mut Verdicts) {
    for range in view.resources(Kind::ServiceCidr).filter(|r| r.meta.deleting.is_none()) {
        for (_, condition, dwell) in bad(range, SERVICE_CIDR_TABLE) {
            let labels = labels![&range.meta.name, "not_ready"];
            let message = format!("no address is given from it: {}", words(condition));
            let verdict = Verdict::new(Subject::of(range), labels, "not_ready", message);
            out.push(verdict.since(condition.since).dwell(dwell));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        Counted, ago, event, judge, meta, objects, readings, reasons, resource, service, world,
    };
    use crate::layers::networking::LAYER;
    use crate::model::record::{Labelled, Node};

    const IPS: &str = "kube_apiserver_clusterip_allocator";

    fn sample(name: &str, cidr: &str, value: f64) -> Sample {
        let labels =
            if cidr.is_empty() { Labelled::default() } else { Labelled::from([("cidr", cidr)]) };
        Sample { name: name.into(), labels, value }
    }

    fn scrape(instance: &str, samples: Vec<Sample>) -> Scrape {
        let meta = meta("", instance, 0);
        Scrape { kind: Kind::ApiServerMetrics, meta, at: ago(0), samples: samples.into() }
    }

    fn ips(instance: &str, taken: f64, free: f64) -> Scrape {
        let samples = vec![
            sample(&format!("{IPS}_allocated_ips"), "10.0.0.0/24", taken),
            sample(&format!("{IPS}_available_ips"), "10.0.0.0/24", free),
        ];
        scrape(instance, samples)
    }

    fn ports(taken: f64, free: f64) -> Scrape {
        let name = "kube_apiserver_nodeport_allocator";
        let samples = vec![
            sample(&format!("{name}_allocated_ports"), "", taken),
            sample(&format!("{name}_available_ports"), "", free),
        ];
        scrape("a", samples)
    }

    #[test]
    fn ranges_are_told_when_they_run_low_once_for_all_servers() {
        let all = objects![ips("a", 200.0, 54.0), ips("b", 210.0, 44.0)];
        let found = readings(&CLUSTER_IPS, all.clone());
        assert_eq!((found.len(), found[0].value), (1, 210.0 / 254.0));
        let found = judge(&LOW, &world(&[], all));
        assert_eq!((found[0].reason, found[0].severity), ("cluster_ips", Severity::Warning));
        let found = judge(&LOW, &world(&[], objects![ports(2700.0, 68.0)]));
        assert_eq!((found[0].reason, found[0].severity), ("node_ports", Severity::Critical));
        assert_eq!(readings(&NODE_PORTS, objects![ports(692.0, 2076.0)])[0].value, 0.25);
        let silent = [ips("a", 203.0, 51.0), ips("a", 0.0, 0.0), scrape("a", vec![])];
        for scrape in silent {
            assert!(reasons(&LOW, objects![scrape]).is_empty());
        }
        let odd = scrape("a", vec![sample(&format!("{IPS}_allocated_ips"), "x", f64::NAN)]);
        assert!(readings(&CLUSTER_IPS, objects![odd]).is_empty());
    }

    #[test]
    fn errors_count_over_restarts_of_the_server() {
        let failed = |uid: &str, value: f64| {
            scrape(uid, vec![sample(&format!("{IPS}_allocation_errors_total"), "r", value)])
        };
        let mut seen = Counted::new(&LAYER, objects![failed("a", 0.0)]);
        seen.see(failed("a", 2.0), 60).see(failed("a", 2.0), 50).see(failed("b", 1.0), 40);
        assert_eq!(seen.totals(&ERRORS), [("r".to_owned(), 3)]);
    }

    #[test]
    fn repairs_and_missing_ranges_are_told_while_they_are_reported() {
        for (name, expected) in REPAIRS {
            let report = event((Kind::Service, "web"), name, "Cluster IP is wrong", 300, 60);
            assert_eq!(reasons(&BROKEN, objects![service("web"), report]), [*expected]);
        }
        let repaired = event((Kind::Service, "web"), "ClusterIPNotAllocated", "x", 300, 300);
        assert!(reasons(&BROKEN, objects![service("web"), repaired]).is_empty());
        let old = event((Kind::Service, "web"), "PortNotAllocated", "x", 3000, 2000);
        let other = event((Kind::Service, "web"), "Something", "x", 300, 60);
        let gone = event((Kind::Service, "gone"), "PortNotAllocated", "x", 300, 60);
        assert!(reasons(&BROKEN, objects![service("web"), old, other, gone]).is_empty());
        let node = Node { meta: meta("", "n1", 600), ..Node::default() };
        let report = event((Kind::Node, "n1"), "CIDRNotAvailable", "Node n1: none", 300, 60);
        let found = judge(&NODE_RANGE, &world(&[], objects![node.clone(), report.clone()]));
        assert_eq!((found[0].reason, found[0].since), ("none_available", Some(ago(300))));
        let cordoned = Node { unschedulable: true, ..node };
        assert!(reasons(&NODE_RANGE, objects![cordoned, report]).is_empty());
    }

    #[test]
    fn a_range_that_is_not_ready_gives_nothing() {
        let range = |status: &str| {
            let conditions = json!([{"type": "Ready", "status": status}]);
            let manifest = json!({"status": {"conditions": conditions}});
            reasons(&SERVICE_CIDR, objects![resource(Kind::ServiceCidr, "kubernetes", manifest)])
        };
        assert_eq!(range("False"), ["not_ready"]);
        assert!(range("True").is_empty() && range("Unknown").is_empty());
    }
}
