//! Which claims cannot become usable, and why?

use jiff::SignedDuration;

use super::drivers::{
    NO_PROVISIONER, class_name, class_of, default_class, is_absent, name_some, users, volume_of,
};
use super::provisioning::failures;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{
    BindingMode, Claim, ClaimPhase, Event, Pod, StorageClass, Time, VolumePhase,
};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static PENDING: Signal = Signal {
    block: "S1.1",
    name: "storage_pvc_pending_abnormal",
    layer: Layer::Storage,
    help: "Claims that cannot become usable, by reason; a claim that waits for its first pod is healthy.",
    unit: Unit::Count,
    labels: &["namespace", "storageclass", "reason"],
    reasons: &[
        "class_missing",
        "no_class",
        "static_unmatched",
        "scheduler_bypassed",
        "driver_absent",
        "provisioning",
        "quota_or_capacity",
        "auth",
        "topology",
        "params",
        "in_use",
        "not_found",
        "timeout",
        "unavailable",
        "other",
    ],
    bound: "namespaces × storage classes × 15 reasons",
    needs: &[Kind::PersistentVolumeClaim],
    uses: &[
        Kind::StorageClass,
        Kind::PersistentVolume,
        Kind::Pod,
        Kind::CsiDriver,
        Kind::CsiNode,
        Kind::Event,
    ],
    profile: Profile::None,
    read: Read::Rule(pending),
};

/// Why a claim is pending that should not be.
struct Why {
    reason: &'static str,
    severity: Severity,
    since: Option<Time>,
    dwell: SignedDuration,
    message: String,
}

/// Something in the claim's surroundings is missing: nothing will happen until somebody acts.
const MISSING_DWELL: SignedDuration = SignedDuration::from_mins(1);

/// Somebody is at work.
const PROVISIONING_DWELL: SignedDuration = SignedDuration::from_mins(5);

/// Clones, restores and populated volumes are copied before they are bound.
const COPY_DWELL: SignedDuration = SignedDuration::from_mins(30);

fn pending(view: &View<'_>, verdicts: &mut Verdicts) {
    for claim in view.world.claims.iter() {
        let meta = &claim.meta;
        let settled = claim.phase != ClaimPhase::Pending || meta.deleting.is_some();
        if settled || view.is_terminating(&meta.namespace) {
            continue;
        }
        let Some(why) = why_pending(view, claim) else { continue };
        let waiting = name_some("pod", users(view, claim).map(|pod| &pod.meta.name));
        let waiting =
            if waiting.is_empty() { waiting } else { format!("; it is needed by {waiting}") };
        verdicts.push(Verdict {
            subject: Subject::new(Kind::PersistentVolumeClaim, &meta.namespace, &meta.name),
            labels: labels![&meta.namespace, &class_name(claim), why.reason],
            reason: why.reason,
            severity: why.severity,
            since: why.since,
            dwell: why.dwell,
            message: format!("claim {}/{} {}{waiting}", meta.namespace, meta.name, why.message),
        });
    }
}

/// The first reason that holds; none for a claim that waits as it should.
fn why_pending(view: &View<'_>, claim: &Claim) -> Option<Why> {
    if !claim.volume.is_empty() {
        return Some(named_volume(view, claim));
    }
    match claim.class.as_deref() {
        Some("") => {
            let message = "asks for a volume without a class and none fits".to_owned();
            Some(missing("static_unmatched", Some(claim.meta.created), message))
        }
        Some(name) => match class_of(view.world, claim) {
            Some(class) => of_class(view, claim, class),
            None => class_missing(view, claim, name).or_else(|| provisioning(view, claim, None)),
        },
        None => no_class(view, claim),
    }
}

/// `since` is no earlier than the lack: an old claim of a class that is just being replaced lacks it since now.
fn missing(reason: &'static str, since: Option<Time>, message: String) -> Why {
    Why { reason, severity: Severity::Warning, since, dwell: MISSING_DWELL, message }
}

fn class_missing(view: &View<'_>, claim: &Claim, name: &str) -> Option<Why> {
    let event = latest(view, claim, "ProvisioningFailed").filter(|e| names_no_class(e));
    let message = format!("names storage class {name}, which does not exist");
    let known = view.sees(Kind::StorageClass) || event.is_some();
    known.then(|| missing("class_missing", event.map(|e| e.first), message))
}

/// The claim names its volume, so the controller tries no other.
fn named_volume(view: &View<'_>, claim: &Claim) -> Why {
    let name = &claim.volume;
    let held = match volume_of(view.world, claim) {
        None if view.sees(Kind::PersistentVolume) => "does not exist".to_owned(),
        None => "it is not bound to".to_owned(),
        Some(volume) => match &volume.claim {
            Some(other)
                if other.name != claim.meta.name || other.namespace != claim.meta.namespace =>
            {
                format!("is bound to claim {}/{}", other.namespace, other.name)
            }
            _ if volume.phase == VolumePhase::Available => {
                "does not fit: compare size, access modes and class".to_owned()
            }
            _ if volume.phase == VolumePhase::Released => {
                "an earlier claim of this name has left: clear its claimRef to use it again"
                    .to_owned()
            }
            _ => "it is not bound to".to_owned(),
        },
    };
    // A provisioned claim names its volume, too, for the moment before it is bound.
    missing("static_unmatched", None, format!("names volume {name}, which {held}"))
}

/// No class and no default: nothing will be provisioned. With a default the controller sets it within seconds.
fn no_class(view: &View<'_>, claim: &Claim) -> Option<Why> {
    let event = latest(view, claim, "FailedBinding");
    let event = event.filter(|e| e.note.contains("no storage class is set"));
    let none = match view.sees(Kind::StorageClass) {
        true => default_class(view.world).is_none(),
        false => event.is_some(),
    };
    let message = "names no storage class, there is no default one and no volume fits".to_owned();
    none.then(|| missing("no_class", event.map(|e| e.first), message))
}

fn of_class(view: &View<'_>, claim: &Claim, class: &StorageClass) -> Option<Why> {
    let waits = class.binding == BindingMode::WaitForFirstConsumer;
    if class.provisioner == NO_PROVISIONER {
        return by_hand(view, claim, class);
    }
    if !waits || !claim.selected_node.is_empty() || failures(view, claim).is_some() {
        return provisioning(view, claim, Some(class));
    }
    // The scheduler chooses the node for the volume before it binds the pod: a bound pod was not seen by it.
    let bypassing = users(view, claim).find(|pod| !pod.node.is_empty())?;
    let bound = bypassing.condition("PodScheduled").and_then(|c| c.since);
    let message = format!(
        "waits for the scheduler to choose a node, but pod {} names node {} itself",
        bypassing.meta.name, bypassing.node
    );
    Some(missing("scheduler_bypassed", Some(bound.unwrap_or(bypassing.meta.created)), message))
}

/// Of a class whose volumes somebody makes by hand. Where it waits for a pod, the scheduler says whether one fits.
fn by_hand(view: &View<'_>, claim: &Claim, class: &StorageClass) -> Option<Why> {
    let none_fits = |pod: &Pod| {
        let scheduled = pod.condition("PodScheduled")?;
        let told = scheduled.message.contains("available persistent volumes to bind");
        told.then_some(scheduled.since)
    };
    let since = match class.binding {
        BindingMode::Immediate => Some(claim.meta.created.max(class.meta.created)),
        BindingMode::WaitForFirstConsumer => users(view, claim).find_map(none_fits)?,
    };
    let name = &class.meta.name;
    let message = format!("is of class {name}, which provisions nothing, and no volume fits");
    Some(missing("static_unmatched", since, message))
}

/// Handed to a provisioner, or about to be.
fn provisioning(view: &View<'_>, claim: &Claim, class: Option<&StorageClass>) -> Option<Why> {
    let provisioner = match class {
        Some(class) => &class.provisioner,
        None if claim.provisioner.is_empty() => return None,
        None => &claim.provisioner,
    };
    if let Some(failures) = failures(view, claim) {
        return Some(Why {
            reason: failures.class,
            severity: Severity::Warning,
            since: Some(failures.first),
            dwell: PROVISIONING_DWELL,
            message: format!(
                "is not provisioned: {provisioner} failed {} times, last with \"{}\"",
                failures.count, failures.last.note
            ),
        });
    }
    let absent = is_absent(view, provisioner);
    let message = if absent {
        format!(
            "waits for {provisioner}, which no CSIDriver and no node knows: is the driver installed?"
        )
    } else {
        format!(
            "waits for {provisioner}, which reports neither success nor failure: look at its controller's pods"
        )
    };
    Some(Why {
        reason: if absent { "driver_absent" } else { "provisioning" },
        severity: if absent { Severity::Critical } else { Severity::Warning },
        since: handed_over(view, claim, class),
        dwell: if claim.from_source { COPY_DWELL } else { PROVISIONING_DWELL },
        message,
    })
}

/// Since when the provisioner has had the claim: the first event that says so; else, for a claim that need not wait
/// for its pod, since claim and class are there.
fn handed_over(view: &View<'_>, claim: &Claim, class: Option<&StorageClass>) -> Option<Time> {
    let told = view
        .recent_events(Kind::PersistentVolumeClaim, &claim.meta, STILL_SPEAKS)
        .filter(|e| matches!(&*e.reason, "ExternalProvisioning" | "Provisioning"))
        .map(|e| e.first)
        .min();
    let created = |class: &StorageClass| claim.meta.created.max(class.meta.created);
    told.or_else(|| class.filter(|c| c.binding == BindingMode::Immediate).map(created))
}

pub(super) fn latest<'v>(view: &'v View<'_>, claim: &Claim, reason: &str) -> Option<&'v Event> {
    let kind = Kind::PersistentVolumeClaim;
    view.recent_events(kind, &claim.meta, STILL_SPEAKS).filter(|e| e.reason == reason).last()
}

/// Whether a `ProvisioningFailed` says that the class does not exist: the controller's, not a provisioner's.
pub(super) fn names_no_class(event: &Event) -> bool {
    event.note.contains("storageclass") && event.note.contains("not found")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        ago, bound, claim, class, condition, csi_driver, csi_node, event, judge, meta, objects,
        pod, reasons, uid, volume, waiting_class, world,
    };
    use super::*;
    use crate::model::record::{Condition, Meta, Namespace, Object, Phase, Status};

    const DRIVER: &str = "csi.example";
    const FULL: &str = "rpc error: code = ResourceExhausted desc = out of disk";

    fn waiting() -> Claim {
        claim("data", ClaimPhase::Pending)
    }

    fn without_class() -> Claim {
        Claim { class: None, ..waiting() }
    }

    /// A claim whose node is chosen and that was handed to its provisioner.
    fn chosen() -> Claim {
        Claim { selected_node: "n1".into(), provisioner: DRIVER.into(), ..waiting() }
    }

    fn late() -> StorageClass {
        waiting_class("fast", DRIVER)
    }

    fn unschedulable(message: &str) -> Pod {
        let (kind, message) = ("PodScheduled".into(), message.into());
        let condition = Condition { kind, message, status: Status::False, ..Condition::default() };
        Pod { conditions: [condition].into(), ..pod("db-0", "", &["data"]) }
    }

    fn told(reason: &str, note: &str) -> Event {
        event((Kind::PersistentVolumeClaim, "data"), reason, note, 600, 60)
    }

    fn check(cases: Vec<(&str, Vec<Object>, &str)>) {
        for (name, objects, expected) in cases {
            assert_eq!(reasons(&PENDING, objects).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_claim_without_what_it_asks_for_says_so() {
        let by_name = || Claim { volume: "pv-other".into(), ..waiting() };
        let by_hand = || waiting_class("fast", NO_PROVISIONER);
        let default = StorageClass { default: true, ..class("fast", DRIVER) };
        let empty = Claim { class: Some("".into()), ..waiting() };
        let none_fits =
            "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.";
        check(vec![
            ("class not there", objects![waiting()], "class_missing"),
            ("no class, no default", objects![without_class(), late()], "no_class"),
            ("no class, a default", objects![without_class(), default], ""),
            ("empty class", objects![empty], "static_unmatched"),
            ("volume not there", objects![by_name(), late()], "static_unmatched"),
            ("volume of another", objects![by_name(), volume("other")], "static_unmatched"),
            (
                "by hand, at once",
                objects![waiting(), class("fast", NO_PROVISIONER)],
                "static_unmatched",
            ),
            ("by hand, no pod yet", objects![waiting(), by_hand()], ""),
            (
                "by hand, none fits",
                objects![waiting(), by_hand(), unschedulable(none_fits)],
                "static_unmatched",
            ),
        ]);
    }

    #[test]
    fn a_claim_that_waits_for_its_pod_is_healthy_unless_the_scheduler_was_bypassed() {
        let ended = Pod { phase: Phase::Succeeded, ..pod("job", "n1", &["data"]) };
        let no_cpu = unschedulable("0/3 nodes are available: 3 Insufficient cpu.");
        let unused =
            Claim { conditions: [condition("Unused", Status::True, 60)].into(), ..waiting() };
        let leaving = Meta { deleting: Some(ago(5)), ..meta("shop", "data", 60) };
        let namespace = Namespace { meta: meta("", "shop", 60), terminating: true };
        check(vec![
            ("idle", objects![waiting(), late()], ""),
            ("idle and marked as unused", objects![unused, late()], ""),
            ("idle, its pod has ended", objects![waiting(), late(), ended], ""),
            ("its pod is unschedulable", objects![waiting(), late(), no_cpu], ""),
            (
                "its pod names its node",
                objects![waiting(), late(), pod("db-0", "n1", &["data"])],
                "scheduler_bypassed",
            ),
            ("bound", objects![bound("data"), class("fast", DRIVER)], ""),
            ("being deleted", objects![Claim { meta: leaving, ..waiting() }], ""),
            ("namespace being deleted", vec![waiting().into(), Object::Namespace(namespace)], ""),
        ]);
    }

    #[test]
    fn a_claim_in_a_provisioners_hands_says_what_is_heard_of_it() {
        let installed = || csi_driver(DRIVER);
        let failed = |note| told("ProvisioningFailed", note);
        let once = Event { count: 1, ..failed("rpc error: code = DeadlineExceeded") };
        let foreign = class("fast", "rancher.io/local-path");
        let on_node = csi_node("n1", &[(DRIVER, None)]);
        let mut earlier = failed(FULL);
        earlier.regarding.uid = uid("shop", "earlier");
        check(vec![
            ("driver not installed", objects![waiting(), class("fast", DRIVER)], "driver_absent"),
            ("no CSI driver", objects![waiting(), foreign], "provisioning"),
            (
                "known by a node only",
                objects![waiting(), class("fast", DRIVER), on_node],
                "provisioning",
            ),
            ("node chosen", objects![chosen(), late(), installed()], "provisioning"),
            ("full", objects![chosen(), late(), installed(), failed(FULL)], "quota_or_capacity"),
            (
                "full, looking for a node",
                objects![waiting(), late(), failed(FULL)],
                "quota_or_capacity",
            ),
            ("stumbled once", objects![chosen(), late(), installed(), once], "provisioning"),
            (
                "an earlier claim failed",
                objects![chosen(), late(), installed(), earlier],
                "provisioning",
            ),
        ]);
    }

    #[test]
    fn the_most_frequent_failure_is_the_reason() {
        let other = Event { count: 2, ..told("ProvisioningFailed", "context deadline exceeded") };
        let full = Event { last: ago(200), ..told("ProvisioningFailed", FULL) };
        check(vec![("two", objects![chosen(), late(), other, full], "quota_or_capacity")]);
    }

    #[test]
    fn the_clock_starts_when_the_provisioner_has_the_claim() {
        let handed =
            event((Kind::PersistentVolumeClaim, "data"), "ExternalProvisioning", "", 90, 5);
        let newer = StorageClass { meta: meta("", "fast", 30), ..class("fast", DRIVER) };
        let cases: Vec<(&str, Vec<Object>, Option<i64>)> = vec![
            ("told by an event", objects![chosen(), late(), handed], Some(90)),
            ("not told", objects![chosen(), late()], None),
            ("at once", objects![waiting(), class("fast", DRIVER)], Some(3600)),
            ("the class came later", objects![waiting(), newer], Some(30)),
        ];
        for (name, mut objects, since) in cases {
            objects.push(csi_driver(DRIVER).into());
            let verdict = &judge(&PENDING, &world(&[], objects))[0];
            assert_eq!(
                (verdict.since, verdict.dwell),
                (since.map(ago), PROVISIONING_DWELL),
                "{name}"
            );
        }
        let copy = Claim { from_source: true, ..chosen() };
        assert_eq!(judge(&PENDING, &world(&[], objects![copy, late()]))[0].dwell, COPY_DWELL);
    }

    #[test]
    fn a_lack_is_no_older_than_what_tells_it() {
        let not_found = told("ProvisioningFailed", "storageclass \"fast\" not found");
        let no_default = told("FailedBinding", "no storage class is set");
        let scheduled = condition("PodScheduled", Status::True, 20);
        let bypassing = Pod { conditions: [scheduled].into(), ..pod("db-0", "n1", &["data"]) };
        let cases = [
            ("class, told", objects![waiting(), not_found], Some(600)),
            ("class, being replaced", objects![waiting()], None),
            ("default, told", objects![without_class(), no_default], Some(600)),
            ("default, being replaced", objects![without_class()], None),
            ("about to be bound", objects![Claim { volume: "pv-new".into(), ..chosen() }], None),
            ("pod just bound", objects![waiting(), late(), bypassing], Some(20)),
            ("nothing fits", objects![waiting(), class("fast", NO_PROVISIONER)], Some(3600)),
        ];
        for (name, objects, since) in cases {
            let verdict = &judge(&PENDING, &world(&[], objects))[0];
            assert_eq!((verdict.since, verdict.dwell), (since.map(ago), MISSING_DWELL), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_missing() {
        let classes = Kind::StorageClass;
        let not_found = told("ProvisioningFailed", "storageclass \"fast\" not found");
        let no_default = told("FailedBinding", "no volumes and no storage class is set");
        let cases = [
            ("class", classes, objects![waiting()], ""),
            ("class told missing", classes, objects![waiting(), not_found], "class_missing"),
            ("default", classes, objects![without_class()], ""),
            ("default told missing", classes, objects![without_class(), no_default], "no_class"),
            (
                "class of a claim handed over",
                classes,
                objects![chosen(), csi_driver(DRIVER)],
                "provisioning",
            ),
            ("driver", Kind::CsiNode, objects![waiting(), class("fast", DRIVER)], "provisioning"),
        ];
        for (name, forbidden, objects, expected) in cases {
            let verdicts = judge(&PENDING, &world(&[forbidden], objects));
            let reasons: Vec<_> = verdicts.iter().map(|v| v.reason).collect();
            assert_eq!(reasons.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_message_names_the_claim_its_pod_and_what_was_said() {
        let full = told("ProvisioningFailed", FULL);
        let objects = objects![chosen(), late(), pod("db-0", "", &["data"]), full];
        let verdict = &judge(&PENDING, &world(&[], objects))[0];
        for words in ["claim shop/data", "csi.example failed 5 times", FULL, "needed by pod db-0"] {
            assert!(verdict.message.contains(words), "{}", verdict.message);
        }
        let labels: Vec<_> = verdict.labels.iter().collect();
        assert_eq!(labels, ["shop", "fast", "quota_or_capacity"]);
    }
}
