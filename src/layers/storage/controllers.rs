//! Do the controllers of CSI drivers still lead? Their leases say so before any claim suffers.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static LEASE: Signal = Signal {
    block: "S1.10",
    name: "storage_csi_controller_lease_stale",
    layer: Layer::Storage,
    help: "Leases of CSI sidecars and of the snapshot controller that their holder no longer renews, although it was \
           there within the last week: the provisioner, attacher, resizer or snapshotter of a driver is dead. Healthy \
           is none.",
    unit: Unit::Count,
    labels: &["namespace", "driver", "reason"],
    reasons: &[
        "provisioner",
        "attacher",
        "resizer",
        "snapshotter",
        "health_monitor",
        "snapshot_controller",
    ],
    bound: "drivers × 6 roles",
    needs: &[Kind::Lease, Kind::CsiDriver],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(stale),
};

/// A lease that nobody has renewed for this long is litter of software that is gone.
const LITTER: i64 = 7 * 86_400;

/// Seconds within which a renewal is read.
const READ_EVERY: i64 = 30;

/// Names that sidecars give their leases, before or instead of the driver's own (sources of the sidecars).
const PREFIXES: &[(&str, &str)] = &[
    ("external-attacher-leader-", "attacher"),
    ("external-resizer-", "resizer"),
    ("external-snapshotter-leader-", "snapshotter"),
    ("external-health-monitor-leader-", "health_monitor"),
];

/// The one lease that is no driver's.
const SNAPSHOT_CONTROLLER: &str = "snapshot-controller-leader";

/// A lease of a controller.
struct Held<'a> {
    lease: &'a Resource,
    driver: String,
    role: &'static str,
    renewed: Time,
    age: i64,
    lasts: i64,
}

fn stale(view: &View<'_>, out: &mut Verdicts) {
    let leases: Vec<Held<'_>> = (view.resources(Kind::Lease))
        .filter_map(|lease| {
            let (driver, role) = role(view, lease)?;
            let renewed = lease.body.time("spec.renewTime")?;
            let lasts = lease.body.number("spec.leaseDurationSeconds").unwrap_or(15.0);
            let lasts = lasts.clamp(0.0, 86_400.0) as i64;
            let age = view.lease_silence(lease, READ_EVERY)?;
            Some(Held { lease, driver, role, renewed, age, lasts })
        })
        .collect();
    let renewed_by_another = |held: &Held<'_>| {
        let same = |o: &&Held<'_>| o.driver == held.driver && o.role == held.role;
        leases.iter().filter(same).any(|o| o.age <= 3 * o.lasts)
    };
    for held in &leases {
        let Held { lease, driver, role, renewed, age, lasts } = held;
        let late = *age > 3 * lasts && *age <= LITTER;
        if !late || renewed_by_another(held) || is_holder_ready(view, lease) {
            continue;
        }
        let whose = if driver.is_empty() { String::new() } else { format!(" of {driver}") };
        let message = format!(
            "the {}{whose} has not renewed its lease for {age} s; it was held by {}",
            role.replace('_', " "),
            lease.body.text("spec.holderIdentity")
        );
        let labels = labels![&lease.meta.namespace, driver.as_str(), *role];
        let verdict = Verdict::new(Subject::of(lease), labels, role, message);
        out.push(verdict.severity(Severity::Critical).since(*renewed).dwell(3 * lasts + 60));
    }
}

/// Whether the pod that held the lease is ready: then it leads no election any more rather than being dead. A holder
/// is called after its pod, some with an identity of their own behind.
fn is_holder_ready(view: &View<'_>, lease: &Resource) -> bool {
    let holder = lease.body.text("spec.holderIdentity");
    let name = holder.split('_').next().unwrap_or_default();
    let pod = view.world.pods.get(&lease.meta.namespace, name);
    pod.and_then(|p| p.condition("Ready")).is_some_and(|c| c.status == Status::True)
}

/// The driver that a lease is for, and the sidecar that holds it.
fn role(view: &View<'_>, lease: &Resource) -> Option<(String, &'static str)> {
    let drivers = || view.world.csi_drivers.iter().map(|d| d.meta.name.as_str());
    let name = lease.meta.name.as_str();
    if name == SNAPSHOT_CONTROLLER {
        return Some((String::new(), "snapshot_controller"));
    }
    for (prefix, role) in PREFIXES {
        if let Some(rest) = name.strip_prefix(prefix) {
            let driver = drivers().find(|d| *d == rest || d.replace(['.', '/'], "-") == rest);
            return driver.map(|d| (d.to_owned(), *role));
        }
    }
    // The provisioner's is called after the driver itself, with slashes and dots made dashes.
    let provisioner = drivers().find(|d| *d == name || d.replace(['.', '/'], "-") == name);
    provisioner.map(|d| (d.to_owned(), "provisioner"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ago, condition, csi_driver, judge, objects, pod, world};
    use super::*;
    use crate::layers::fixtures::resource;
    use crate::model::record::{Object, Pod};

    fn lease(name: &str, age: i64) -> Resource {
        resource(
            Kind::Lease,
            name,
            json!({"spec": {"renewTime": ago(age).to_string(), "leaseDurationSeconds": 15, "holderIdentity": "p-0_x"}}),
        )
    }

    fn told_of(mut objects: Vec<Object>) -> Vec<&'static str> {
        objects.push(csi_driver("csi.example").into());
        judge(&LEASE, &world(&[], objects)).into_iter().map(|v| v.reason).collect()
    }

    fn told(name: &str, age: i64) -> Vec<&'static str> {
        told_of(objects![lease(name, age)])
    }

    #[test]
    fn a_lease_that_is_not_renewed_tells_the_sidecar_and_litter_does_not() {
        assert_eq!(told("external-attacher-leader-csi.example", 60), ["attacher"]);
        assert_eq!(told("csi-example", 60), ["provisioner"]);
        assert!(told("csi-example", 20).is_empty(), "renewed in time");
        assert_eq!(told("snapshot-controller-leader", 60), ["snapshot_controller"]);
        assert!(told("csi-example", 2_000_000).is_empty(), "litter");
        assert!(told("kube-scheduler", 60).is_empty(), "nobody's driver");
        assert!(told("external-attacher-leader-gone.example", 60).is_empty());
    }

    #[test]
    fn a_lease_that_nobody_needs_any_more_is_litter_too() {
        let stale = || lease("external-attacher-leader-csi.example", 60);
        let holder = |ready| {
            let conditions = [condition("Ready", ready, 60)].into();
            Pod { conditions, ..pod("p-0", "n1", &[]) }
        };
        assert_eq!(told_of(objects![stale(), holder(Status::False)]), ["attacher"]);
        assert!(told_of(objects![stale(), holder(Status::True)]).is_empty(), "it does not elect");
        let other = lease("external-attacher-leader-csi-example", 5);
        assert!(told_of(objects![stale(), other]).is_empty(), "renamed");
    }
}
