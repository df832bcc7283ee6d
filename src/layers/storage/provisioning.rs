//! Do provisioners make volumes, and how long do they take?

use super::drivers::{class_name, driver_of};
use super::faults::fault;
use super::pending::names_no_class;
use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{BindingMode, Claim, ClaimPhase, Event, Time, Uid};
use crate::model::signal::{Lasted, Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static TIME_TO_BOUND: Signal = Signal {
    block: "S1.2",
    name: "storage_pvc_time_to_bound_seconds",
    layer: Layer::Storage,
    help: "How long provisioned claims waited for their volume, from the moment when provisioning could start; \
           clones and restores are left out. Healthy is stable.",
    unit: Unit::Seconds,
    labels: &["storageclass", "driver"],
    reasons: &[],
    bound: "storage classes",
    needs: &[Kind::PersistentVolumeClaim],
    uses: &[Kind::PersistentVolume, Kind::StorageClass],
    profile: Profile::Durations,
    read: Read::Histogram(&[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0]),
};

pub(super) static FAILURES: Signal = Signal {
    block: "S1.4",
    name: "storage_provisioning_failures_total",
    layer: Layer::Storage,
    help: "Claims and volumes about which a failed provisioning or deletion was reported, each at most once a \
           minute, for reports are rationed; a single one before a success is normal.",
    unit: Unit::Count,
    labels: &["storageclass", "driver", "stage", "reason"],
    reasons: &[
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
    bound: "storage classes × 3 stages × 9 reasons",
    needs: &[Kind::Event, Kind::PersistentVolumeClaim, Kind::PersistentVolume],
    uses: &[Kind::StorageClass],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// What a provisioner's reports say of a claim.
pub(super) struct Failures<'v> {
    /// The class of failure that was reported most.
    pub(super) class: &'static str,
    /// How many failures were reported.
    pub(super) count: u32,
    /// When the first was.
    pub(super) first: Time,
    /// The last report of that class.
    pub(super) last: &'v Event,
}

/// One or two failures before a success are normal with slow providers.
const FAILURES_THAT_TELL: u32 = 3;

/// The failures that the provisioner of a claim reports, once they are more than a stumble.
pub(super) fn failures<'v>(view: &'v View<'_>, claim: &Claim) -> Option<Failures<'v>> {
    let mut classes: Vec<(&'static str, u32, &Event)> = Vec::new();
    let (mut count, mut first) = (0, view.now());
    let reports = view.recent_events(Kind::PersistentVolumeClaim, &claim.meta, STILL_SPEAKS);
    for event in reports.filter(|e| e.reason == "ProvisioningFailed" && !names_no_class(e)) {
        let class = fault(&event.note);
        count += event.count;
        first = first.min(event.first);
        match classes.iter_mut().find(|(known, ..)| *known == class) {
            Some((_, n, last)) => (*n, *last) = (*n + event.count, event),
            None => classes.push((class, event.count, event)),
        }
    }
    if count < FAILURES_THAT_TELL {
        return None;
    }
    // The most frequent rather than the last: a reason that alternates would open and close.
    let (class, _, last) = classes.into_iter().max_by_key(|(class, n, _)| (*n, *class))?;
    Some(Failures { class, count, first, last })
}

/// Which part of a volume's life a report is about.
fn stage(event: &Event) -> Option<(Kind, &'static str)> {
    match &*event.reason {
        "ProvisioningFailed" if !names_no_class(event) => {
            Some((Kind::PersistentVolumeClaim, "provision"))
        }
        "ProvisioningCleanupFailed" => Some((Kind::PersistentVolumeClaim, "clean_up")),
        "VolumeFailedDelete" | "VolumeFailedRecycle" => Some((Kind::PersistentVolume, "delete")),
        _ => None,
    }
}

/// Counts the objects about which a failure was reported.
pub(super) fn observe_event(o: &Observation<'_>, event: &Event, tallies: &mut Tallies) {
    let Some((kind, stage)) = stage(event) else { return };
    let about = &event.regarding;
    if !first_this_minute(event, (kind, about.uid, stage), tallies) {
        return;
    }
    let (class, driver) = match kind {
        Kind::PersistentVolume => match o.world.volumes.get("", &about.name) {
            Some(volume) => (volume.class.clone(), volume.driver.clone()),
            None => Default::default(),
        },
        _ => match o.world.claims.get(&about.namespace, &about.name) {
            Some(claim) => (class_name(claim), driver_of(o.world, claim)),
            None => Default::default(),
        },
    };
    // Provisioners sign with their name, their pod and an identity: `<provisioner>_<pod>_<uuid>`.
    let driver = if driver.is_empty() {
        Text::from(event.actor.split('_').next().unwrap_or_default())
    } else {
        driver
    };
    tallies.add(&FAILURES, labels![&class, &driver, stage, fault(&event.note)], 1);
}

/// Whether an event tells something that has not been counted, of an object that was not counted in this minute.
///
/// Reports are rationed per object and similar ones are merged, so their number measures nothing: objects and minutes
/// do. A report of an earlier minute that arrives late is left out.
pub(super) fn first_this_minute(
    event: &Event,
    (kind, uid, slot): (Kind, Uid, &str),
    tallies: &mut Tallies,
) -> bool {
    let minute = event.last.as_second().unsigned_abs() / 60;
    tallies.advance(Kind::Event, event.meta.uid, slot, u64::from(event.count)) > 0
        && tallies.mark(kind, uid, slot) < minute
        && tallies.advance(kind, uid, slot, minute) > 0
}

/// The slot that keeps when a claim's node was chosen, in milliseconds.
const SELECTED: &str = "selected";

/// Records how long a claim that is bound at last has waited.
///
/// A claim whose class waits for the first pod waits for storage only from the moment at which its node is chosen;
/// no server's time tells that one, so both ends are times of arrival here. Otherwise both are the server's.
pub(super) fn observe_claim(o: &Observation<'_>, claim: &Claim, tallies: &mut Tallies) {
    let meta = &claim.meta;
    let held = o.world.claims.get(&meta.namespace, &meta.name);
    let Some(held) = held.filter(|h| h.meta.uid == meta.uid) else { return };
    if held.phase != ClaimPhase::Pending || claim.from_source {
        return;
    }
    let selected = tallies.mark(Kind::PersistentVolumeClaim, meta.uid, SELECTED);
    let now = o.now.as_millisecond().unsigned_abs();
    if held.selected_node.is_empty() && !claim.selected_node.is_empty() && selected == 0 {
        tallies.advance(Kind::PersistentVolumeClaim, meta.uid, SELECTED, now);
    }
    // Without a provisioner's name the volume was made by hand: its time is a person's.
    if claim.phase != ClaimPhase::Bound || claim.provisioner.is_empty() {
        return;
    }
    let seconds = match (claim.selected_node.is_empty(), selected) {
        (false, 0) => return,
        (false, selected) => now.saturating_sub(selected) as f64 / 1000.0,
        (true, _) => {
            let volume = o.world.volumes.get("", &claim.volume).map(|v| v.meta.created);
            let end = volume.filter(|created| *created >= meta.created).unwrap_or(o.now);
            end.duration_since(meta.created).as_secs_f64()
        }
    };
    let driver = &claim.provisioner;
    tallies.record(&TIME_TO_BOUND, labels![&class_name(claim), driver], seconds);
}

/// How long the claims took that have a volume; not of classes that wait for a pod, for when it came nothing tells.
pub(super) fn lasted<'v>(view: &'v View<'_>) -> impl Iterator<Item = Lasted> + 'v {
    view.world.claims.iter().filter_map(|claim| {
        let class = view.world.storage_classes.get("", &class_name(claim))?;
        let made = !claim.provisioner.is_empty() && !claim.from_source;
        if !made || claim.phase != ClaimPhase::Bound || class.binding != BindingMode::Immediate {
            return None;
        }
        let ended = view.world.volumes.get("", &claim.volume)?.meta.created;
        Some(Lasted {
            signal: &TIME_TO_BOUND,
            labels: labels![&class_name(claim), &claim.provisioner],
            ended,
            seconds: ended.duration_since(claim.meta.created).as_secs_f64(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        Counted, ago, bound, claim, class, event, meta, objects, volume, waiting_class, world,
    };
    use super::*;
    use crate::model::record::{Meta, Volume};

    const PVC: Kind = Kind::PersistentVolumeClaim;

    fn pending() -> Claim {
        let meta = Meta { version: 1, ..meta("shop", "data", 300) };
        Claim { meta, provisioner: "csi.example".into(), ..claim("data", ClaimPhase::Pending) }
    }

    fn done(pending: &Claim) -> Claim {
        Claim { phase: ClaimPhase::Bound, volume: "pv-data".into(), ..pending.clone() }
    }

    #[test]
    fn a_claim_bound_at_once_took_until_its_volume_was_made() {
        let made = Volume { meta: meta("", "pv-data", 288), ..volume("data") };
        let mut counted = Counted::new(objects![pending()]);
        counted.see(made, 287).see(done(&pending()), 286).see(done(&pending()), 10);
        assert_eq!(counted.durations(&TIME_TO_BOUND), [("fast csi.example".to_owned(), 1, 12.0)]);
    }

    #[test]
    fn claims_that_are_bound_tell_how_long_they_took_unless_they_may_have_waited_for_a_pod() {
        let made = Volume { meta: meta("", "pv-data", 288), ..volume("data") };
        for (class, expected) in [
            (class("fast", "csi.example"), vec![12.0]),
            (waiting_class("fast", "csi.example"), vec![]),
        ] {
            let world = world(&[], objects![done(&pending()), made.clone(), class]);
            let view = View::new(&world, ago(0));
            assert_eq!(lasted(&view).map(|l| l.seconds).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_claim_that_waited_for_its_pod_took_from_the_choice_of_the_node() {
        let waiting = Claim { provisioner: Text::default(), ..pending() };
        let chosen = Claim { selected_node: "n1".into(), ..pending() };
        let mut counted = Counted::new(objects![waiting]);
        counted.see(chosen.clone(), 20).see(pending(), 18).see(chosen.clone(), 16);
        counted.see(done(&chosen), 13);
        assert_eq!(counted.durations(&TIME_TO_BOUND), [("fast csi.example".to_owned(), 1, 7.0)]);
    }

    #[test]
    fn what_is_not_provisioning_or_was_not_watched_is_not_recorded() {
        let copy = Claim { from_source: true, ..pending() };
        let by_hand = Claim { provisioner: Text::default(), ..pending() };
        let chosen = Claim { selected_node: "n1".into(), ..pending() };
        let another = Claim {
            meta: Meta { uid: crate::model::record::Uid(1), ..meta("shop", "data", 9) },
            ..pending()
        };
        for (first, then) in [
            (copy.clone(), done(&copy)),
            (by_hand.clone(), done(&by_hand)),
            (chosen.clone(), done(&chosen)),
            (another, done(&pending())),
            (bound("data"), bound("data")),
        ] {
            let mut counted = Counted::new(objects![first]);
            counted.see(then, 5);
            assert!(counted.durations(&TIME_TO_BOUND).is_empty());
        }
    }

    #[test]
    fn an_object_counts_once_a_minute_however_often_its_failure_is_told() {
        let said = |note, count, last| {
            let report = event((PVC, "data"), "ProvisioningFailed", note, 300, last);
            Event { count, ..report }
        };
        let mut counted = Counted::new(objects![pending(), class("fast", "csi.example")]);
        counted.see(said("quota", 1, 300), 300).see(said("quota", 2, 299), 299);
        counted.see(said("deadline exceeded", 1, 298), 298);
        assert_eq!(
            counted.totals(&FAILURES),
            [("fast csi.example provision quota_or_capacity".to_owned(), 1)]
        );
        counted.see(said("quota", 3, 200), 200).see(said("quota", 3, 200), 190);
        assert_eq!(counted.totals(&FAILURES)[0].1, 2);
        counted.see(said("late", 1, 250), 180);
        assert_eq!(counted.totals(&FAILURES)[0].1, 2, "of an earlier minute");
    }

    #[test]
    fn failures_are_told_by_stage_and_a_missing_class_is_none() {
        let cases = [
            ((PVC, "data"), "ProvisioningFailed", "timeout", "fast csi.example provision timeout"),
            ((PVC, "data"), "ProvisioningCleanupFailed", "?", "fast csi.example clean_up other"),
            (
                (Kind::PersistentVolume, "pv-data"),
                "VolumeFailedDelete",
                "volume in use",
                "fast csi.example delete in_use",
            ),
            (
                (PVC, "gone"),
                "ProvisioningFailed",
                "quota",
                " csi.actor provision quota_or_capacity",
            ),
            (
                (PVC, "data"),
                "ProvisioningFailed",
                "storageclass.storage.k8s.io \"x\" not found",
                "",
            ),
            ((PVC, "data"), "FailedBinding", "no volumes", ""),
        ];
        for (about, reason, note, expected) in cases {
            let mut counted = Counted::new(objects![pending(), volume("data")]);
            let report = event(about, reason, note, 9, 9);
            counted.see(Event { actor: "csi.actor_pod-1_8ad1".into(), ..report }, 9);
            let labels: Vec<_> = counted.totals(&FAILURES).into_iter().map(|(l, _)| l).collect();
            assert_eq!(labels.join(""), expected, "{reason} {note}");
        }
    }

    #[test]
    fn what_was_told_before_the_first_list_is_not_counted() {
        let report = event((PVC, "data"), "ProvisioningFailed", "quota", 300, 200);
        let mut tallies = Tallies::default();
        let world = super::super::fixtures::world(&[], objects![pending()]);
        let object = report.clone().into();
        let o = Observation { world: &world, object: &object, now: ago(0) };
        observe_event(&o, &report, &mut tallies);
        assert_eq!(tallies.counters(&FAILURES).count(), 0);
    }
}
