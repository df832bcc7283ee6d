//! For which Services can the endpoint controllers not do their work?

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::conditions::one_line;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Uid};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static FAILING: Signal = Signal {
    block: "S3.16",
    name: "networking_endpoint_controller_failing",
    layer: Layer::Networking,
    help: "Services whose endpoints their controller fails to keep up to date for more than two minutes. Healthy is \
           none: for a minute after the loss of a node it is normal.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: REASONS,
    bound: "services × 4 reasons",
    needs: &[Kind::Service, Kind::Event],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(failing),
};

pub(super) static ERRORS: Signal = Signal {
    block: "S3.16",
    name: "networking_endpoint_controller_errors_total",
    layer: Layer::Networking,
    help: "Failures of the endpoint controllers to keep a Service's endpoints up to date, as far as they report them. \
           Healthy is about none.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: REASONS,
    bound: "services × 4 reasons",
    needs: &[Kind::Event],
    uses: &[Kind::Service],
    profile: Profile::Rate,
    read: Read::Counter,
};

const REASONS: &[&str] = &["update_failed", "list_failed", "too_many_addresses", "address_invalid"];

const REPORTS: &[(&str, &str)] = &[
    ("FailedToUpdateEndpointSlices", "update_failed"),
    ("FailedToUpdateEndpoint", "update_failed"),
    ("FailedToListPods", "list_failed"),
    ("FailedToListEndpointSlices", "list_failed"),
    ("TooManyAddressesToMirror", "too_many_addresses"),
    ("InvalidIPAddress", "address_invalid"),
];

/// Seconds between the first and the last report that tell a failure from what passes: after a node is deleted the
/// controller skips its pods for a minute.
pub(super) const LASTING: i64 = 120;

fn report(event: &Event, table: &'static [(&str, &'static str)]) -> Option<&'static str> {
    let about_service = event.regarding.kind == "Service" || event.regarding.kind == "Endpoints";
    let found = table.iter().find(|(name, _)| event.reason == *name).map(|(_, reason)| *reason);
    found.filter(|_| about_service)
}

/// The last recent report of each reason about each Service that is there, or about its Endpoints.
#[allow(clippy::type_complexity)]
pub(super) fn about_services<'a>(
    view: &'a View<'_>,
    table: &'static [(&'static str, &'static str)],
) -> BTreeMap<((Text, Text), &'static str), &'a Event> {
    let mut found: BTreeMap<_, &Event> = BTreeMap::new();
    let recent = view.world.events.iter().filter(|e| view.still_speaks(e));
    for event in recent {
        let (Some(reason), about) = (report(event, table), &event.regarding) else { continue };
        let service = view.resource(Kind::Service, &about.namespace, &about.name);
        let service = service.filter(|s| {
            let same = about.uid == Uid::default() || about.uid == s.meta.uid;
            s.meta.deleting.is_none() && (same || about.kind == "Endpoints")
        });
        if service.is_none() || view.is_terminating(&about.namespace) {
            continue;
        }
        let key = ((about.namespace.clone(), about.name.clone()), reason);
        let held = found.entry(key).or_insert(event);
        if (event.last, event.meta.uid) > (held.last, held.meta.uid) {
            *held = event;
        }
    }
    found
}

fn failing(view: &View<'_>, out: &mut Verdicts) {
    for ((service, reason), event) in about_services(view, REPORTS) {
        let lasted = event.last.as_second() - event.first.as_second();
        // What the mirroring controller finds wrong stays so until somebody changes it.
        let passing = matches!(reason, "update_failed" | "list_failed") && lasted < LASTING;
        let Some(found) = view.resource(Kind::Service, &service.0, &service.1) else { continue };
        if passing {
            continue;
        }
        let labels = labels![&service.0, &service.1, reason];
        let message = format!("its endpoints are not kept up to date: {}", event.note);
        let message = one_line(&message);
        let verdict = Verdict::new(Subject::of(found), labels, reason, message);
        out.push(verdict.since(event.first).dwell(LASTING));
    }
}

/// Counts what a series of reports has grown by.
pub(super) fn observe(event: &Event, tallies: &mut Tallies) {
    let Some(reason) = report(event, REPORTS) else { return };
    let count = u64::from(event.count);
    let fresh = tallies.advance(Kind::Event, event.meta.uid, "endpoints", count);
    tallies.add(&ERRORS, labels![&event.regarding.namespace, &event.regarding.name, reason], fresh);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, ago, event, judge, objects, reasons, service, world};
    use crate::layers::networking::LAYER;

    fn failed(reason: &str, first: i64, last: i64) -> Event {
        event((Kind::Service, "web"), reason, "Error updating\nskipping Pod web-1", first, last)
    }

    #[test]
    fn a_controller_that_fails_for_long_is_told() {
        let all = objects![service("web"), failed("FailedToUpdateEndpointSlices", 600, 30)];
        let found = judge(&FAILING, &world(&[], all));
        assert_eq!((found[0].reason, found[0].since), ("update_failed", Some(ago(600))));
        assert_eq!(found[0].subject.to_string(), "Service shop/web");
        let mirrored = failed("TooManyAddressesToMirror", 300, 300);
        let about = crate::model::record::ObjectRef {
            kind: "Endpoints".into(),
            uid: Uid(7),
            ..mirrored.regarding.clone()
        };
        let mirrored = Event { regarding: about, ..mirrored };
        assert_eq!(reasons(&FAILING, objects![service("web"), mirrored]), ["too_many_addresses"]);
    }

    #[test]
    fn the_minute_after_the_loss_of_a_node_is_normal() {
        let cases = [
            objects![service("web"), failed("FailedToUpdateEndpointSlices", 200, 144)],
            objects![service("web"), failed("FailedToUpdateEndpointSlices", 9000, 3000)],
            objects![service("web"), failed("Unrelated", 600, 30)],
            objects![failed("FailedToListPods", 600, 30)],
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&FAILING, case).is_empty(), "case {i}");
        }
    }

    #[test]
    fn reports_are_counted() {
        let mut seen = Counted::new(&LAYER, objects![]);
        let more = |count| Event { count, ..failed("FailedToListPods", 600, 30) };
        seen.see(more(1), 60).see(more(4), 50).see(failed("Unrelated", 60, 30), 40);
        assert_eq!(seen.totals(&ERRORS), [("shop web list_failed".to_owned(), 4)]);
    }
}
