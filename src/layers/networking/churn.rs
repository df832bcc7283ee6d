//! Which Services lose endpoints that stay, over and over?

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Endpoint, Slice};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;

pub(super) static FLAPS: Signal = Signal {
    block: "S3.2",
    name: "networking_endpoint_flaps_total",
    layer: Layer::Networking,
    help: "Times that an endpoint of a Service stopped being ready without leaving, as a rollout or a scale-down makes \
           it do. Healthy is about none.",
    unit: Unit::Count,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "services",
    needs: &[Kind::EndpointSlice],
    uses: &[Kind::Service],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// Counts the endpoints of a slice that were ready, stay and are not.
pub(super) fn observe(o: &Observation<'_>, slice: &Slice, tallies: &mut Tallies) {
    let meta = &slice.meta;
    let before = o.world.slices.get(&meta.namespace, &meta.name);
    let Some(before) = before.filter(|b| b.meta.uid == meta.uid && !slice.service.is_empty())
    else {
        return;
    };
    let was_ready =
        |e: &&Endpoint| before.endpoints.iter().any(|b| b.target == e.target && b.ready);
    let lost = slice.endpoints.iter().filter(|e| !e.ready && !e.terminating).filter(was_ready);
    let fresh = lost.filter(|e| !told_by_another(o, slice, e)).count();
    tallies.add(&FLAPS, labels![&meta.namespace, &slice.service], fresh as u64);
}

/// Whether another slice of the Service has told it already: each address family has its own.
fn told_by_another(o: &Observation<'_>, slice: &Slice, endpoint: &Endpoint) -> bool {
    let others = o.world.slices.iter().filter(|s| {
        s.service == slice.service
            && s.meta.namespace == slice.meta.namespace
            && s.meta.name != slice.meta.name
    });
    others.flat_map(|s| &s.endpoints).any(|e| e.target == endpoint.target && !e.ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, meta, objects, slice};
    use crate::layers::networking::LAYER;

    fn of(ready: &[bool], name: &str) -> Slice {
        Slice { meta: meta("shop", name, 3600), ..slice("web", ready) }
    }

    #[test]
    fn each_endpoint_that_stops_being_ready_counts_once() {
        let mut seen =
            Counted::new(&LAYER, objects![of(&[true, true], "v4"), of(&[true, true], "v6")]);
        seen.see(of(&[false, true], "v4"), 60).see(of(&[false, true], "v6"), 59);
        assert_eq!(seen.totals(&FLAPS), [("shop web".to_owned(), 1)]);
        seen.see(of(&[false, true], "v4"), 50);
        seen.see(of(&[true, true], "v4"), 40).see(of(&[true, true], "v6"), 39);
        seen.see(of(&[false, false], "v4"), 30);
        assert_eq!(seen.totals(&FLAPS), [("shop web".to_owned(), 3)]);
    }

    #[test]
    fn what_leaves_or_comes_is_no_flap() {
        let mut seen = Counted::new(&LAYER, objects![of(&[true], "v4")]);
        let mut leaving = of(&[false], "v4");
        leaving.endpoints[0].terminating = true;
        seen.see(leaving, 60).see(of(&[], "v4"), 50);
        seen.see(of(&[false], "v4"), 40).see(of(&[true], "v4"), 30);
        let unowned = Slice { service: "".into(), ..of(&[false], "v4") };
        seen.see(unowned, 20);
        assert!(seen.totals(&FLAPS).is_empty());
    }
}
