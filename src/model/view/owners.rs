//! Under which workload is a pod counted? Under the top-most controller, never under its own name.

use crate::model::kind::Kind;
use crate::model::record::{Meta, Owner, Pod};
use crate::model::subject::{STANDALONE, WorkloadRef};
use crate::model::text::Text;
use crate::model::world::World;

/// The workload that a pod is counted under: ReplicaSet → Deployment, Job → CronJob, other owners as they are.
///
/// Works from names alone while the owners' own lists are not there yet, or after they are gone: a Deployment's
/// ReplicaSet is called `<deployment>-<pod-template-hash>`, a CronJob's Job `<cronjob>-<scheduled minute>`.
#[must_use]
pub fn roll_up(world: &World, pod: &Pod) -> WorkloadRef {
    let namespace = &pod.meta.namespace;
    let Some(owner) = pod.meta.owner.as_deref() else {
        return reference(namespace, "Pod", STANDALONE.into());
    };
    match &*owner.kind {
        "ReplicaSet" => match world.replica_sets.get(namespace, &owner.name) {
            Some(set) if set.meta.uid == owner.uid || owner.uid.0 == 0 => top(&set.meta, owner),
            _ => match strip(&owner.name, &pod.template_hash) {
                Some(name) => reference(namespace, "Deployment", name.into()),
                None => direct(namespace, owner),
            },
        },
        "Job" => match world.jobs.get(namespace, &owner.name) {
            Some(job) => job_workload(&job.meta),
            None => match scheduled_by(&owner.name) {
                Some(name) => reference(namespace, "CronJob", name.into()),
                None => direct(namespace, owner),
            },
        },
        // A static pod is named after its manifest and its node: the manifest is the workload.
        "Node" => {
            let name = strip(&pod.meta.name, &owner.name).unwrap_or(&pod.meta.name);
            reference(namespace, "Node", name.into())
        }
        _ => direct(namespace, owner),
    }
}

/// The workload that a Job is counted under: its CronJob, or the Job itself.
#[must_use]
pub fn job_workload(job: &Meta) -> WorkloadRef {
    match job.owner.as_deref() {
        Some(owner) => direct(&job.namespace, owner),
        None => reference(&job.namespace, Kind::Job.name(), job.name.clone()),
    }
}

fn top(meta: &Meta, this: &Owner) -> WorkloadRef {
    direct(&meta.namespace, meta.owner.as_deref().unwrap_or(this))
}

fn direct(namespace: &Text, owner: &Owner) -> WorkloadRef {
    WorkloadRef { namespace: namespace.clone(), kind: owner.kind.clone(), name: owner.name.clone() }
}

fn reference(namespace: &Text, kind: &str, name: Text) -> WorkloadRef {
    WorkloadRef { namespace: namespace.clone(), kind: kind.into(), name }
}

fn strip<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let name = name.strip_suffix(suffix)?.strip_suffix('-')?;
    (!name.is_empty() && !suffix.is_empty()).then_some(name)
}

/// `backup-29384756` → `backup`: the CronJob controller appends the scheduled time in minutes since the epoch.
fn scheduled_by(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    let scheduled = minute.len() >= 8 && minute.bytes().all(|b| b.is_ascii_digit());
    (scheduled && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Uid;

    fn pod(name: &str, owner: Option<(&str, &str)>, hash: &str) -> Pod {
        let owner = owner.map(|(kind, name)| {
            Box::new(Owner { kind: kind.into(), name: name.into(), uid: Uid(1) })
        });
        let meta = Meta { namespace: "ns".into(), name: name.into(), owner, ..Meta::default() };
        Pod { meta, template_hash: hash.into(), ..Pod::default() }
    }

    #[test]
    fn a_pod_is_counted_under_its_top_most_controller_even_before_that_is_listed() {
        let cases = [
            (pod("a", None, ""), ("Pod", STANDALONE)),
            (pod("web-5d4-x", Some(("ReplicaSet", "web-5d4")), "5d4"), ("Deployment", "web")),
            (pod("rs-x", Some(("ReplicaSet", "rs")), ""), ("ReplicaSet", "rs")),
            (pod("b-29384756-x", Some(("Job", "b-29384756")), ""), ("CronJob", "b")),
            (pod("once-x", Some(("Job", "once")), ""), ("Job", "once")),
            (pod("db-0", Some(("StatefulSet", "db")), ""), ("StatefulSet", "db")),
            (pod("proxy-node1", Some(("Node", "node1")), ""), ("Node", "proxy")),
            (pod("r-x", Some(("Rollout", "r")), ""), ("Rollout", "r")),
        ];
        for (pod, (kind, name)) in cases {
            let workload = roll_up(&World::default(), &pod);
            assert_eq!((&*workload.kind, &*workload.name), (kind, name), "{}", pod.meta.name);
        }
    }
}
