//! What do the operators of the monitoring systems say of what they run? The Prometheus operator's conditions
//! (`pkg/operator/status.go`), and the OpenTelemetry operator's replicas (`internal/status/collector`).

use serde_json::{Value, json};

use crate::sim::fields::{Condition, Fields, judged};
use crate::sim::kind::Kind;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The workload of a collector is called after it.
pub(crate) const COLLECTOR_SUFFIX: &str = "-collector";

/// Writes the status of a Prometheus from its StatefulSet, which is called after it.
pub(crate) fn prometheus(sim: &mut Simulation, key: &Key) {
    let Some(server) = sim.store.get(Kind::Prometheus, key).cloned() else { return };
    let set = Key::new(&key.ns, format!("prometheus-{}", key.name));
    let Some(set) = sim.store.get(Kind::StatefulSet, &set) else { return };
    let (wanted, ready) = (set.int("spec/replicas"), set.int("status/readyReplicas"));
    let updated = set.int("status/updatedReplicas");
    let (status, reason) = match ready {
        n if n >= wanted => ("True", ""),
        0 => ("False", "NoPodReady"),
        _ => ("Degraded", "SomePodsNotReady"),
    };
    let message = if ready < wanted {
        format!("shard 0: {} of {wanted} pods are not ready", wanted - ready)
    } else {
        String::new()
    };
    let conditions = [
        Condition { kind: "Available", status, reason, message: &message },
        Condition { kind: "Reconciled", status: "True", reason: "", message: "" },
    ];
    let generation = server.int("metadata/generation");
    let held = server.items("status/conditions");
    let conditions = judged(held, &conditions, generation, &sim.stamp());
    sim.store.update(Kind::Prometheus, key, |server| {
        server.put("status/conditions", conditions);
        server.put("status/paused", json!(false));
        server.put("status/replicas", json!(wanted));
        server.put("status/updatedReplicas", json!(updated));
        server.put("status/availableReplicas", json!(ready));
        server.put("status/unavailableReplicas", json!((wanted - ready).max(0)));
    });
}

/// Writes the status of a collector from its Deployment.
pub(crate) fn collector(sim: &mut Simulation, key: &Key) {
    let Some(collector) = sim.store.get(Kind::OpenTelemetryCollector, key).cloned() else { return };
    let workload = Key::new(&key.ns, format!("{}{COLLECTOR_SUFFIX}", key.name));
    let Some(workload) = sim.store.get(Kind::Deployment, &workload) else { return };
    let (wanted, ready) = (workload.int("spec/replicas"), workload.int("status/readyReplicas"));
    let image = workload.text("spec/template/spec/containers/0/image").to_owned();
    let version = image.rsplit_once(':').map_or("", |(_, tag)| tag).to_owned();
    let selector = format!("app={}", workload.text("metadata/name"));
    let generation = collector.int("metadata/generation");
    // It is reconciled whether or not its pods run.
    let conditions =
        [Condition { kind: "Ready", status: "True", reason: "Reconciled", message: "" }];
    let held = collector.items("status/conditions");
    let conditions = judged(held, &conditions, generation, &sim.stamp());
    sim.store.update(Kind::OpenTelemetryCollector, key, |collector: &mut Value| {
        collector.put("status/conditions", conditions);
        collector.put("status/observedGeneration", json!(generation));
        collector.put("status/image", json!(image));
        collector.put("status/version", json!(version));
        collector.put(
            "status/scale",
            json!({
                "replicas": wanted,
                "selector": selector,
                "statusReplicas": format!("{ready}/{wanted}"),
            }),
        );
    });
}
