//! Who fights with Git? Objects that are set back again and again within the hour: somebody else writes them too.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::labels;
use crate::layers::switches::switched_off;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Resource, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

use super::corrections::corrected;

pub(super) static FIGHT: Signal = Signal {
    block: "S7.16",
    name: "gitops_drift_fight",
    layer: Layer::Gitops,
    help: "Applications, Kustomizations and Helm releases that corrected the same drift more than three times within an \
           hour, as their events tell: another writes what they write. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["argo", "flux"],
    bound: "applications, Kustomizations and Helm releases",
    needs: &[Kind::Event],
    uses: &[Kind::ArgoApplication, Kind::Kustomization, Kind::HelmRelease],
    profile: Profile::None,
    read: Read::Rule(fights),
};

const KINDS: &[Kind] = &[Kind::ArgoApplication, Kind::Kustomization, Kind::HelmRelease];

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Corrections of the same within an hour that are still no fight.
const SOME: u64 = 3;

/// How Argo CD's events of an automated sync begin; the rest names the revision.
const SYNC: &str = "Initiated automated sync to";

fn fights(view: &View<'_>, out: &mut Verdicts) {
    let live = |o: &&Resource| o.meta.deleting.is_none() && switched_off(o).is_none();
    for object in view.resources_of(KINDS).filter(live) {
        let mut same: BTreeMap<&str, (u64, Time)> = BTreeMap::new();
        for event in view.recent_events(object.kind, &object.meta, HOUR) {
            let Some(what) = correction(object, event) else { continue };
            let (count, first) = same.entry(what).or_insert((0, event.first));
            *count += within_an_hour(view, event);
            *first = event.first.min(*first);
        }
        let Some((what, (count, first))) = same.into_iter().max_by_key(|(_, (n, _))| *n) else {
            continue;
        };
        if count <= SOME {
            continue;
        }
        let (reason, told) = match object.kind {
            Kind::ArgoApplication => {
                let revision = what.trim_start_matches(SYNC).trim_matches([' ', '\'']);
                ("argo", format!("was synced {count} times within an hour to the same {revision}"))
            }
            _ => ("flux", format!("corrected drift {count} times within an hour: {what}")),
        };
        let told = format!("{told}; somebody else writes it too");
        let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason];
        out.push(Verdict::new(Subject::of(object), labels, reason, told).since(first).dwell(0));
    }
}

/// What an event says was set back: the same text for the same.
fn correction<'e>(object: &Resource, event: &'e Event) -> Option<&'e str> {
    match object.kind {
        Kind::ArgoApplication => {
            let automated = event.reason == "OperationStarted" && event.note.starts_with(SYNC);
            automated.then_some(event.note.as_str())
        }
        _ => corrected(object, event),
    }
}

/// How often an event occurred in the last hour, taken to be spread evenly over its time.
fn within_an_hour(view: &View<'_>, event: &Event) -> u64 {
    let count = u64::from(event.count.max(1));
    if event.first >= view.now() - HOUR {
        return count;
    }
    let seconds = u64::try_from(event.last.duration_since(event.first).as_secs()).unwrap_or(0);
    (count * 3600).checked_div(seconds).map_or(1, |n| n.min(count))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{event, objects, reasons, resource};
    use crate::model::record::{Labelled, Object};

    fn argo(syncs: &[(&str, i64)]) -> Vec<&'static str> {
        let app = resource(Kind::ArgoApplication, "web", json!({}));
        let mut all: Vec<Object> = objects![app];
        for (i, (revision, age)) in syncs.iter().enumerate() {
            let note = format!("{SYNC} '{revision}'");
            let about = (Kind::ArgoApplication, "web");
            let mut started = event(about, "OperationStarted", &note, *age, *age);
            started.meta.name = format!("web.{i}").as_str().into();
            started.meta.uid = crate::layers::fixtures::uid("shop", &started.meta.name);
            started.count = 1;
            all.push(started.into());
        }
        reasons(&FIGHT, all)
    }

    #[test]
    fn automated_syncs_to_the_same_revision_are_a_fight_and_new_revisions_are_work() {
        assert_eq!(argo(&[("a", 3000), ("a", 2000), ("a", 1000), ("a", 60)]), ["argo"]);
        assert!(argo(&[("a", 3000), ("b", 2000), ("c", 1000), ("d", 60)]).is_empty());
        assert!(argo(&[("a", 9000), ("a", 8000), ("a", 7000), ("a", 60)]).is_empty());
    }

    #[test]
    fn drift_that_flux_corrects_each_time_is_a_fight() {
        let told = |count, first, revision: &str| {
            let status = json!({"status": {"lastAppliedRevision": "main@b"}});
            let apps = resource(Kind::Kustomization, "apps", status);
            let note = "Deployment/shop/web configured";
            let about = (Kind::Kustomization, "apps");
            let mut told = event(about, "Progressing", note, first, 60);
            told.count = count;
            let key = "kustomize.toolkit.fluxcd.io/revision";
            told.meta.annotations = Labelled::from([(key, revision)]);
            reasons(&FIGHT, objects![apps, told])
        };
        assert_eq!(told(6, 3000, "main@b"), ["flux"]);
        assert_eq!(told(144, 86_400, "main@b"), ["flux"], "six an hour for a day");
        assert!(told(24, 86_400, "main@b").is_empty(), "one an hour");
        assert!(told(2, 3000, "main@b").is_empty());
        assert!(told(6, 3000, "main@a").is_empty(), "it is what the revision brought");
    }
}
