//! Does ordinary work do something, and leave the cluster as it was?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::Bench;
use crate::sim::{Class, Scenario, faults};

async fn replicas(bench: &Bench) -> BTreeMap<String, (Option<i32>, Option<i32>)> {
    let of = |name: Option<String>, wanted, ready| (name.unwrap_or_default(), (wanted, ready));
    let deployments = bench.all::<Deployment>().await.into_iter().map(|d| {
        let ready = d.status.and_then(|s| s.available_replicas);
        of(d.metadata.name, d.spec.replicas, ready)
    });
    let sets = bench.all::<StatefulSet>().await;
    let sets = sets.into_iter().map(|s| {
        let ready = s.status.and_then(|s| s.available_replicas);
        of(s.metadata.name, s.spec.replicas, ready)
    });
    let agents = bench.all::<DaemonSet>().await;
    let agents = agents.into_iter().map(|s| {
        let status = s.status.expect("status");
        let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
        of(s.metadata.name, Some(wanted), Some(ready))
    });
    deployments.chain(sets).chain(agents).collect()
}

#[tokio::test]
async fn a_day_of_ordinary_work_leaves_the_cluster_as_it_was() {
    let bench = Bench::new("everyday");
    let (before, nodes) = (replicas(&bench).await, bench.all::<Node>().await.len());
    let namespaces = bench.all::<Namespace>().await.len();
    let claims = bench.all::<PersistentVolumeClaim>().await.len();
    let begun = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&begun);
    bench.cluster.on_fault(move |notice| {
        if notice.started {
            seen.lock().expect("the list").push(notice.what.kind.name);
        }
    });
    let every = Scenario::builtin("everyday").expect("a scenario").every.expect("it repeats");
    let mut most = 0;
    let end = every.saturating_sub(Duration::from_secs(1));
    let mut passed = Duration::ZERO;
    while passed < end {
        let step = Duration::from_mins(1).min(end.saturating_sub(passed));
        bench.pass(step);
        passed += step;
        most = most.max(bench.all::<Job>().await.len());
    }
    let healthy = faults().filter(|k| k.class == Class::Healthy).map(|k| k.name);
    assert_eq!(*begun.lock().expect("the list"), healthy.collect::<Vec<_>>());
    assert!(most > 20, "the burst of Jobs was there");
    assert_eq!(replicas(&bench).await, before);
    assert!(before.values().all(|(wanted, ready)| wanted == ready), "{before:?}");
    let now = bench.all::<Node>().await;
    assert_eq!(now.len(), nodes);
    for node in now {
        let spec = node.spec.expect("spec");
        assert!(spec.unschedulable != Some(true) && spec.taints.is_none(), "{spec:?}");
    }
    assert_eq!(bench.all::<Namespace>().await.len(), namespaces);
    assert_eq!(bench.all::<PersistentVolumeClaim>().await.len(), claims);
    assert!(
        bench
            .all::<PodDisruptionBudget>()
            .await
            .iter()
            .all(|b| { b.metadata.name.as_deref() != Some("retired") })
    );
    for pod in bench.all::<Pod>().await {
        let phase = pod.status.and_then(|s| s.phase).expect("phase");
        assert!(phase == "Running" || phase == "Succeeded", "{:?} {phase}", pod.metadata.name);
    }
}

#[test]
fn there_is_enough_ordinary_work() {
    let layers = faults().filter(|k| k.class == Class::Healthy).map(|k| k.layer);
    let mut counts = BTreeMap::<_, usize>::new();
    layers.for_each(|layer| *counts.entry(layer).or_default() += 1);
    assert!(counts.values().sum::<usize>() >= 25, "{counts:?}");
}
