//! Do the controllers of CSI drivers still lead? Their leases say so before any claim suffers.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static LEASE: Signal = Signal {
    block: "S1.10",
    name: "storage_csi_controller_lease_stale",
    layer: Layer::Storage,
    help: "Leases of CSI sidecars that their holder no longer renews, although it was there within the last day: the \
           provisioner, attacher, resizer or snapshotter of a driver is dead. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "driver", "reason"],
    reasons: &["provisioner", "attacher", "resizer", "snapshotter", "health_monitor"],
    bound: "drivers × 5 roles",
    needs: &[Kind::Lease, Kind::CsiDriver],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(stale),
};

/// A lease that nobody has renewed for this long is litter of software that is gone.
const LITTER: i64 = 86_400;

/// Names that sidecars give their leases, before or instead of the driver's own (sources of the sidecars).
const PREFIXES: &[(&str, &str)] = &[
    ("external-attacher-leader-", "attacher"),
    ("external-resizer-", "resizer"),
    ("external-snapshotter-leader-", "snapshotter"),
    ("external-health-monitor-leader-", "health_monitor"),
];

fn stale(view: &View<'_>, out: &mut Verdicts) {
    for lease in view.resources(Kind::Lease) {
        let Some((driver, role)) = role(view, lease) else { continue };
        let Some(renewed) = lease.body.time("spec.renewTime") else { continue };
        let lasts = lease.body.number("spec.leaseDurationSeconds").unwrap_or(15.0) as i64;
        let age = view.age_seconds(renewed);
        if age <= 3 * lasts || age > LITTER {
            continue;
        }
        let holder = lease.body.text("spec.holderIdentity");
        let message = format!(
            "the {role} of {driver} has not renewed its lease for {age} s; it was held by {holder}"
        );
        let labels = labels![&lease.meta.namespace, driver.as_str(), role];
        let verdict = Verdict::new(Subject::of(lease), labels, role, message);
        out.push(verdict.severity(Severity::Critical).since(renewed).dwell(3 * lasts + 60));
    }
}

/// The driver that a lease is for, and the sidecar that holds it.
fn role(view: &View<'_>, lease: &Resource) -> Option<(String, &'static str)> {
    let drivers = || view.world.csi_drivers.iter().map(|d| d.meta.name.as_str());
    let name = lease.meta.name.as_str();
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

    use super::super::fixtures::{ago, csi_driver, judge, objects, world};
    use super::*;
    use crate::layers::fixtures::resource;

    fn told(name: &str, age: i64) -> Vec<&'static str> {
        let lease = resource(
            Kind::Lease,
            name,
            json!({"spec": {"renewTime": ago(age).to_string(), "leaseDurationSeconds": 15, "holderIdentity": "p-0"}}),
        );
        let world = world(&[], objects![lease, csi_driver("csi.example")]);
        judge(&LEASE, &world).into_iter().map(|v| v.reason).collect()
    }

    #[test]
    fn a_lease_that_is_not_renewed_tells_the_sidecar_and_litter_does_not() {
        assert_eq!(told("external-attacher-leader-csi.example", 60), ["attacher"]);
        assert_eq!(told("csi-example", 60), ["provisioner"]);
        assert!(told("csi-example", 20).is_empty(), "renewed in time");
        assert!(told("csi-example", 200_000).is_empty(), "litter");
        assert!(told("kube-scheduler", 60).is_empty(), "nobody's driver");
        assert!(told("external-attacher-leader-gone.example", 60).is_empty());
    }
}
