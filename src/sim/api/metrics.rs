//! What does the API server tell on `/metrics`? Figures of the simulation itself, under the real server's names.

use std::collections::BTreeMap;

use super::discovery::VERSION;
use crate::sim::apiserver;
use crate::sim::exposition::family;
use crate::sim::kind::SERVED;
use crate::sim::moment::Moment;
use crate::sim::shared::State;

/// What requests have come to, by verb, resource and code.
pub(super) type Requests = BTreeMap<(&'static str, String, u16), u64>;

/// The whole text. Whoever simulates more of the API server adds to it here.
pub(super) fn exposition(state: &State) -> String {
    let mut out = String::new();
    let started = started(state) as f64 / 1000.0;
    family(&mut out, "process_start_time_seconds", "gauge", [(String::new(), started)]);
    let build = format!("{{git_version=\"{VERSION}\",major=\"1\",minor=\"37\"}}");
    family(&mut out, "kubernetes_build_info", "gauge", [(build, 1.0)]);
    let objects = SERVED.iter().filter(|s| s.kind.served().group == s.group).map(|s| {
        let labels = format!("{{group=\"{}\",resource=\"{}\"}}", s.group, s.plural);
        (labels, state.sim.store.count(s.kind) as f64)
    });
    family(&mut out, "apiserver_resource_objects", "gauge", objects);
    let requests = state.memory.requests.iter().map(|((verb, resource, code), count)| {
        let labels = format!("{{code=\"{code}\",resource=\"{resource}\",verb=\"{verb}\"}}");
        (labels, *count as f64)
    });
    family(&mut out, "apiserver_request_total", "counter", requests);
    let watches = state.memory.watches as f64;
    let labels = "{verb=\"WATCH\"}".to_owned();
    family(&mut out, "apiserver_longrunning_requests", "gauge", [(labels, watches)]);
    out.push_str(&apiserver::metrics(&state.sim));
    out
}

/// The server is as old as its oldest namespace.
fn started(state: &State) -> Moment {
    use crate::sim::fields::Fields;
    let namespaces = super::resource::of_kind("Namespace");
    let all = namespaces.into_iter().flat_map(|s| state.sim.store.list(s.kind, None));
    let born =
        |o: &serde_json::Value| crate::sim::moment::parse(o.text("metadata/creationTimestamp"));
    all.filter_map(|(_, o)| born(o)).min().unwrap_or(state.sim.now)
}
