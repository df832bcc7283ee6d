//! Is a cluster without faults healthy, and well-formed?

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    Event as CoreEvent, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment};

use super::Bench;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn every_kind_is_read_by_its_own_type() {
    let bench = Bench::small();
    assert_eq!(bench.all::<Namespace>().await.len(), 3 + 13);
    assert_eq!(bench.all::<Node>().await.len(), 6);
    assert_eq!(bench.all::<CSINode>().await.len(), 6);
    assert_eq!(bench.all::<CSIDriver>().await.len(), 1);
    assert_eq!(bench.all::<StorageClass>().await.len(), 1);
    assert_eq!(bench.all::<CronJob>().await.len(), 5);
    let claims = bench.all::<PersistentVolumeClaim>().await.len();
    assert!(claims > 5, "{claims}");
    assert_eq!(bench.all::<PersistentVolume>().await.len(), claims);
    let attachments = bench.all::<VolumeAttachment>().await;
    assert_eq!(attachments.len(), claims);
    for attachment in attachments {
        let written = attachment.metadata.managed_fields.unwrap().remove(0);
        assert_eq!(written.subresource.as_deref(), Some("status"));
        assert!(written.time >= attachment.metadata.creation_timestamp);
    }
    assert!(bench.all::<Job>().await.len() > 5);
    assert!(bench.all::<ReplicaSet>().await.len() > bench.all::<Deployment>().await.len());
    let events = bench.all::<Event>().await;
    assert!(!events.is_empty());
    assert_eq!(bench.all::<CoreEvent>().await.len(), events.len());
}

#[tokio::test]
async fn a_settled_cluster_serves_everything_it_should() {
    let bench = Bench::small();
    for _ in 0..2 {
        for deployment in bench.all::<Deployment>().await {
            let (spec, status) = (deployment.spec, deployment.status.expect("status"));
            assert_eq!(status.available_replicas, spec.replicas, "{:?}", deployment.metadata.name);
            assert_eq!(status.updated_replicas, spec.replicas, "{:?}", deployment.metadata.name);
            assert_eq!(status.observed_generation, deployment.metadata.generation);
            let conditions = status.conditions.unwrap_or_default();
            assert!(
                conditions.iter().all(|c| c.status.as_deref() == Some("True")),
                "{conditions:?}"
            );
        }
        for set in bench.all::<StatefulSet>().await {
            let (spec, status) = (set.spec, set.status.expect("status"));
            assert_eq!(status.ready_replicas, spec.replicas, "{:?}", set.metadata.name);
            assert_eq!(status.current_revision, status.update_revision);
        }
        for set in bench.all::<DaemonSet>().await {
            let status = set.status.expect("status");
            assert_eq!((status.number_ready, status.number_available), (6, Some(6)));
        }
        for pod in bench.all::<Pod>().await {
            let status = pod.status.expect("status");
            let phase = status.phase.expect("phase");
            assert!(phase == "Running" || phase == "Succeeded", "{:?} {phase}", pod.metadata.name);
            let containers = status.container_statuses.unwrap_or_default();
            assert!(containers.iter().all(|c| c.restart_count == 0));
        }
        for claim in bench.all::<PersistentVolumeClaim>().await {
            assert_eq!(claim.status.and_then(|s| s.phase).as_deref(), Some("Bound"));
        }
        let warnings = bench.all::<Event>().await;
        let warnings: Vec<_> =
            warnings.iter().filter(|e| e.type_.as_deref() == Some("Warning")).collect();
        assert!(warnings.is_empty(), "{warnings:?}");
        bench.pass(HOUR);
    }
}

#[tokio::test]
async fn the_cluster_is_weeks_old() {
    let bench = Bench::small();
    let now = bench.clock.now();
    let age = |at: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        now.duration_since(at.expect("a creation time").0).as_hours() / 24
    };
    for node in bench.all::<Node>().await {
        assert_eq!(age(node.metadata.creation_timestamp), 42);
    }
    let old = bench
        .all::<Pod>()
        .await
        .into_iter()
        .filter(|p| age(p.metadata.creation_timestamp.clone()) >= 14);
    assert!(old.count() > 60);
}
