//! Which pods cannot start because their volumes cannot be mounted?

use jiff::SignedDuration;

use super::provisioning::first_this_minute;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{ContainerState, Event, Pod, Status, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::source::Availability;
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};
use crate::model::world::World;

pub(super) static FAILING: Signal = Signal {
    block: "S1.7",
    name: "storage_mount_failing",
    layer: Layer::Storage,
    help: "Pods that wait on their node because a volume cannot be mounted; a missing ConfigMap or Secret is no fault \
           of storage. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "driver", "reason"],
    reasons: REASONS,
    bound: "workloads with volumes × 6 reasons",
    needs: &[Kind::Pod, Kind::Event],
    uses: &[
        Kind::PersistentVolumeClaim,
        Kind::PersistentVolume,
        Kind::ReplicaSet,
        Kind::Job,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
    ],
    profile: Profile::None,
    read: Read::Rule(failing),
};

pub(super) static FAILURES: Signal = Signal {
    block: "S1.7",
    name: "storage_mount_failures_total",
    layer: Layer::Storage,
    help: "Pods about which a failed mount of storage was reported, each at most once a minute, for reports are \
           rationed; a single one while a pod starts is normal.",
    unit: Unit::Count,
    labels: &["namespace", "driver", "reason"],
    reasons: REASONS,
    bound: "namespaces × drivers × 6 reasons",
    needs: &[Kind::Pod, Kind::Event],
    uses: &[Kind::PersistentVolumeClaim, Kind::PersistentVolume],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// The least telling last: kubelet's timeout accompanies every other one.
const REASONS: &[&str] =
    &["driver_not_registered", "permission", "file_system", "attach", "other", "timeout"];

/// The reason of what is somebody else's: a ConfigMap or a Secret that is not there.
const ELSEWHERE: &str = "";

/// Words of the kubelet and of drivers and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("not found in the list of registered csi drivers", "driver_not_registered"),
    ("configmap \"", ELSEWHERE),
    ("secret \"", ELSEWHERE),
    ("secrets \"", ELSEWHERE),
    ("failed to sync configmap cache", ELSEWHERE),
    ("failed to sync secret cache", ELSEWHERE),
    ("references non-existent config key", ELSEWHERE),
    ("references non-existent secret key", ELSEWHERE),
    ("permission denied", "permission"),
    ("operation not permitted", "permission"),
    ("access denied", "permission"),
    ("permissiondenied", "permission"),
    ("wrong fs type", "file_system"),
    ("superblock", "file_system"),
    ("fsck", "file_system"),
    ("structure needs cleaning", "file_system"),
    ("timed out", "timeout"),
    ("deadline exceeded", "timeout"),
    ("deadlineexceeded", "timeout"),
    ("mount failed", "file_system"),
];

/// A report that a pod's storage cannot be mounted.
struct Report {
    reason: &'static str,
    driver: Text,
}

/// What a report says, if it is about storage.
fn report(world: &World, pod: &Pod, event: &Event) -> Option<Report> {
    let reason = match &*event.reason {
        // A volume that is still elsewhere is told by `storage_detach_blocked`.
        "FailedAttachVolume" if is_held_elsewhere(event) => return None,
        "FailedAttachVolume" => "attach",
        "FailedMountOnFilesystemMismatch" => "file_system",
        "VolumePermissionChangeInProgress" => "permission",
        "FailedMount" | "FailedMapVolume" => reason_of(&event.note),
        _ => return None,
    };
    let words_of_csi =
        || event.note.contains("rpc error") || event.note.contains("kubernetes.io/csi");
    let sees_volumes =
        world.availability(Kind::PersistentVolume).is_some_and(|a| a == Availability::Served);
    if reason == ELSEWHERE {
        return None;
    }
    if let Some(name) = between(&event.note, "driver name ", " ") {
        return Some(Report { reason, driver: name.into() });
    }
    // For a claim the kubelet names the volume behind it, for all else the entry of the pod's spec.
    if let Some(name) = between(&event.note, "for volume \"", "\"") {
        if let Some(volume) = world.volumes.get("", name) {
            return Some(Report { reason, driver: volume.driver.clone() });
        }
        if sees_volumes && !words_of_csi() {
            return None;
        }
    }
    let of_storage = !pod.claims.is_empty() || words_of_csi();
    of_storage.then(|| Report { reason, driver: only_driver(world, pod) })
}

fn reason_of(note: &str) -> &'static str {
    let note = note.to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| note.contains(word)).map_or("other", |(_, reason)| reason)
}

/// Whether an attachment waits for the volume to leave another node. Kubernetes up to 1.36 says it the first way.
pub(super) fn is_held_elsewhere(event: &Event) -> bool {
    event.reason == "FailedAttachVolume"
        && (event.note.contains("Multi-Attach error") || event.note.contains("Waiting for detach"))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split(end).next()
}

/// The driver behind a pod's claims, if it is one and the same.
fn only_driver(world: &World, pod: &Pod) -> Text {
    let driver = |name: &Text| {
        let claim = world.claims.get(&pod.meta.namespace, name)?;
        Some(super::drivers::driver_of(world, claim))
    };
    let mut drivers = pod.claims.iter().filter_map(driver);
    let first = drivers.next().unwrap_or_default();
    if drivers.all(|other| other == first) { first } else { Text::default() }
}

/// Whether a pod is on its node and nothing of it has started: volumes are mounted before the sandbox is made.
pub(super) fn is_starting(pod: &Pod) -> bool {
    let sandbox = || pod.condition("PodReadyToStartContainers");
    let waiting = |state: &ContainerState| match state {
        ContainerState::Absent => true,
        ContainerState::Waiting { reason, .. } => {
            matches!(&**reason, "" | "ContainerCreating" | "PodInitializing")
        }
        ContainerState::Running { .. } | ContainerState::Terminated(_) => false,
    };
    !pod.node.is_empty()
        && pod.containers.iter().all(|container| waiting(&container.state))
        && sandbox().is_none_or(|c| c.status != Status::True)
}

/// A report that was not repeated is a stumble of the start.
const REPORTS_THAT_TELL: u32 = 2;

fn failing(view: &View<'_>, verdicts: &mut Verdicts) {
    for (pod, workload) in view.counted_pods().filter(|(pod, _)| is_starting(pod)) {
        let meta = &pod.meta;
        let (mut count, mut first) = (0, Time::MAX);
        let mut worst: Option<(usize, Report, &Event)> = None;
        let mut elsewhere = false;
        for event in view.recent_events(Kind::Pod, meta, STILL_SPEAKS) {
            elsewhere |= event.reason == "FailedMount" && reason_of(&event.note) == ELSEWHERE;
            let Some(report) = report(view.world, pod, event) else { continue };
            count += event.count;
            first = first.min(event.first);
            let rank = REASONS.iter().position(|reason| *reason == report.reason).unwrap_or(0);
            if worst.as_ref().is_none_or(|(held, ..)| rank <= *held) {
                worst = Some((rank, report, event));
            }
        }
        let Some((_, Report { reason, driver }, event)) = worst else { continue };
        // Where a ConfigMap is missing, the kubelet's timeout is about that.
        if count < REPORTS_THAT_TELL || (reason == "timeout" && elsewhere) {
            continue;
        }
        verdicts.push(Verdict {
            subject: Subject::new(Kind::Pod, &meta.namespace, &meta.name),
            labels: labels![&workload.namespace, &workload.kind, &workload.name, &driver, reason],
            reason,
            severity: Severity::Warning,
            since: Some(first),
            dwell: SignedDuration::from_mins(5),
            message: format!(
                "pod {}/{} waits on node {} for its volumes: \"{}\"",
                meta.namespace, meta.name, pod.node, event.note
            ),
        });
    }
}

/// Counts the pods about which a failed mount was reported.
pub(super) fn observe(o: &Observation<'_>, event: &Event, tallies: &mut Tallies) {
    let about = &event.regarding;
    if about.kind != Kind::Pod.name() {
        return;
    }
    let Some(pod) = o.world.pods.get(&about.namespace, &about.name) else { return };
    let Some(Report { reason, driver }) = report(o.world, pod, event) else { return };
    if first_this_minute(event, (Kind::Pod, pod.meta.uid, "mount_failure"), tallies) {
        tallies.add(&FAILURES, labels![&about.namespace, &driver, reason], 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        Counted, ago, bound, condition, event, judge, objects, pod, reasons, volume, world,
    };
    use super::*;
    use crate::model::record::{Container, Meta, Object, Owner, Uid};

    const UNREGISTERED: &str = "MountVolume.MountDevice failed for volume \"pv-data\" : kubernetes.io/csi: \
        attacher.MountDevice failed to create newCsiDriverClient: driver name csi.example not found in the list of \
        registered CSI drivers";
    const TIMED_OUT: &str = "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[]: \
        timed out waiting for the condition";

    fn said(reason: &str, note: &str) -> Event {
        event((Kind::Pod, "db-0"), reason, note, 400, 30)
    }

    fn stuck(events: Vec<Event>) -> Vec<Object> {
        let mut objects = objects![pod("db-0", "n1", &["data"]), bound("data"), volume("data")];
        objects.extend(events.into_iter().map(Object::from));
        objects
    }

    fn check(cases: Vec<(&str, Vec<Event>, &str)>) {
        for (name, events, expected) in cases {
            assert_eq!(reasons(&FAILING, stuck(events)).join(" "), expected, "{name}");
        }
    }

    /// Repeated reports of the kubelet.
    fn mount(notes: &[&str]) -> Vec<Event> {
        notes.iter().map(|note| said("FailedMount", note)).collect()
    }

    fn set_up(told: &str) -> String {
        format!("MountVolume.SetUp failed for volume \"pv-data\" : {told}")
    }

    #[test]
    fn a_pod_that_waits_for_its_volumes_says_why() {
        let refused = set_up("mount failed: exit status 32 mount.nfs: access denied by server");
        let broken = set_up("rpc error: code = Internal desc = mount failed: bad superblock");
        let attach = set_up("rpc error: code = Internal");
        check(vec![
            ("driver not registered", mount(&[UNREGISTERED]), "driver_not_registered"),
            ("kubelet's timeout", mount(&[TIMED_OUT]), "timeout"),
            (
                "the timeout and its cause",
                mount(&[TIMED_OUT, UNREGISTERED]),
                "driver_not_registered",
            ),
            ("NFS refuses", mount(&[&refused]), "permission"),
            ("the file system is broken", mount(&[&broken]), "file_system"),
            ("a block device", vec![said("FailedMapVolume", &attach)], "other"),
            ("attaching", vec![said("FailedAttachVolume", &attach)], "attach"),
        ]);
    }

    #[test]
    fn what_is_not_storages_fault_and_what_has_passed_is_not_told() {
        let conf = "MountVolume.SetUp failed for volume \"conf\" : configmap \"web\" not found";
        let token =
            "MountVolume.SetUp failed for volume \"kube-api-access-x\" : failed to fetch token";
        let driver =
            set_up("rpc error: fetching NodePublishSecretRef x failed: secrets \"x\" not found");
        let held = "Waiting for detach of volume \"pv-data\"";
        let once = Event { count: 1, ..said("FailedMount", UNREGISTERED) };
        let passed = event((Kind::Pod, "db-0"), "FailedMount", UNREGISTERED, 3000, 1200);
        check(vec![
            ("a ConfigMap", mount(&[conf]), ""),
            ("a ConfigMap, with the timeout", mount(&[conf, TIMED_OUT]), ""),
            ("a Secret of the driver", mount(&[&driver]), ""),
            ("a token", mount(&[token]), ""),
            ("held by another node, 1.37", vec![said("FailedAttachVolume", held)], ""),
            (
                "held by another node, 1.36",
                vec![said("FailedAttachVolume", "Multi-Attach error")],
                "",
            ),
            ("once", vec![once], ""),
            ("long ago", vec![passed], ""),
            ("nothing said", vec![], ""),
        ]);
    }

    #[test]
    fn a_pod_that_is_past_its_mounts_or_not_on_a_node_does_not_wait_for_them() {
        let running = Container {
            state: ContainerState::Running { since: Some(ago(60)) },
            ..Container::default()
        };
        let base = || pod("db-0", "n1", &["data"]);
        let cases = [
            ("running", Pod { containers: [running].into(), ..base() }),
            (
                "its sandbox is there",
                Pod {
                    conditions: [condition("PodReadyToStartContainers", Status::True, 9)].into(),
                    ..base()
                },
            ),
            ("not bound", pod("db-0", "", &["data"])),
            (
                "being deleted",
                Pod { meta: Meta { deleting: Some(ago(1)), ..base().meta }, ..base() },
            ),
        ];
        for (name, pod) in cases {
            let objects =
                objects![pod, bound("data"), volume("data"), said("FailedMount", UNREGISTERED)];
            assert!(reasons(&FAILING, objects).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_pod_without_claims_is_judged_only_by_words_of_csi() {
        let inline = "MountVolume.SetUp failed for volume \"store\" : rpc error: code = Unavailable desc = x";
        for (note, expected) in [(inline, vec!["other"]), (TIMED_OUT, vec![])] {
            let objects = objects![pod("db-0", "n1", &[]), said("FailedMount", note)];
            assert_eq!(reasons(&FAILING, objects), expected, "{note}");
        }
    }

    #[test]
    fn a_pod_is_counted_under_its_workload_and_the_driver_of_the_volume() {
        let mut owned = pod("db-0", "n1", &["data"]);
        owned.meta.owner =
            Some(Box::new(Owner { kind: "StatefulSet".into(), name: "db".into(), uid: Uid(1) }));
        let objects =
            objects![owned, bound("data"), volume("data"), said("FailedMount", TIMED_OUT)];
        let verdict = &judge(&FAILING, &world(&[], objects))[0];
        let labels: Vec<_> = verdict.labels.iter().collect();
        assert_eq!(labels, ["shop", "StatefulSet", "db", "csi.example", "timeout"]);
        assert_eq!(verdict.since, Some(ago(400)));
    }

    #[test]
    fn a_pod_counts_once_a_minute_and_a_missing_secret_never() {
        let mut counted = Counted::new(stuck(vec![]));
        let secret = said(
            "FailedMount",
            "MountVolume.SetUp failed for volume \"s\" : secret \"x\" not found",
        );
        let first = event((Kind::Pod, "db-0"), "FailedMount", UNREGISTERED, 300, 300);
        counted.see(secret, 300).see(first.clone(), 300);
        counted.see(event((Kind::Pod, "db-0"), "FailedMount", TIMED_OUT, 299, 299), 299);
        assert_eq!(
            counted.totals(&FAILURES),
            [("shop csi.example driver_not_registered".to_owned(), 1)]
        );
        counted.see(Event { count: 6, last: ago(200), ..first }, 200);
        assert_eq!(counted.totals(&FAILURES)[0].1, 2);
    }
}
