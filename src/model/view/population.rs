//! Which pods and workloads count? Those that are meant to run now.

use super::View;
use super::indexes::top_workloads;
use crate::model::kind::Kind;
use crate::model::reading::Labels;
use crate::model::record::{Phase, Pod, Status, Workload};
use crate::model::signal::{NAMED, Signal};
use crate::model::source::Availability;
use crate::model::subject::WorkloadRef;
use crate::model::text::Text;

impl<'a> View<'a> {
    /// The pods that are meant to run now, with their workloads, in the order of their names.
    ///
    /// Left out: pods being deleted; succeeded ones; failed ones of a Job or after a disruption; gated ones; those of
    /// a terminating namespace or of a workload scaled to zero.
    pub fn counted_pods(&self) -> impl Iterator<Item = (&'a Pod, &'a WorkloadRef)> {
        let all = &self.world.indexes.pods(self.world).all;
        let counted = self.world.indexes.counted(self).iter();
        counted.map(|index| (&*all[*index].0, &all[*index].1))
    }

    /// Whether the pod is meant to run now.
    #[must_use]
    pub fn counts(&self, pod: &Pod, workload: &WorkloadRef) -> bool {
        let failed_on_purpose = pod.phase == Phase::Failed
            && (matches!(&*workload.kind, "Job" | "CronJob")
                || pod.condition("DisruptionTarget").is_some_and(|c| c.status == Status::True));
        pod.meta.deleting.is_none()
            && pod.phase != Phase::Succeeded
            && !failed_on_purpose
            && !pod.gated
            && !self.is_terminating(&pod.meta.namespace)
            && !self.world.indexes.idle(self.world).contains(workload)
    }

    /// Whether a namespace is being deleted.
    #[must_use]
    pub fn is_terminating(&self, namespace: &Text) -> bool {
        self.world.indexes.terminating(self.world).contains(namespace)
    }

    /// Deployments, StatefulSets, DaemonSets and ReplicaSets that no controller owns.
    pub fn top_workloads(&self) -> impl Iterator<Item = &'a Workload> {
        top_workloads(self.world)
    }

    /// The same of one namespace, in no order.
    pub fn workloads_in(&self, namespace: &str) -> impl Iterator<Item = &'a Workload> + use<'a> {
        self.world.indexes.workloads(self.world, namespace).iter().map(|workload| &**workload)
    }

    /// The top-most workloads that are meant to run pods now.
    pub fn counted_workloads(&self) -> impl Iterator<Item = &'a Workload> {
        self.top_workloads().filter(|w| {
            w.desired > 0 && w.meta.deleting.is_none() && !self.is_terminating(&w.meta.namespace)
        })
    }

    /// A workload's record as the reference that its pods are counted under.
    #[must_use]
    pub fn reference(workload: &Workload) -> WorkloadRef {
        WorkloadRef {
            namespace: workload.meta.namespace.clone(),
            kind: workload.kind.name().into(),
            name: workload.meta.name.clone(),
        }
    }

    /// Whether the namespace of a series is gone, and all that was in it: watches of other kinds may say so later.
    #[must_use]
    pub fn is_of_a_gone_namespace(&self, signal: &Signal, labels: &Labels) -> bool {
        let index = signal.labels.iter().position(|label| *label == "namespace");
        let namespace = index.and_then(|index| labels.get(index)).filter(|name| !name.is_empty());
        namespace.is_some_and(|name| {
            self.sees(Kind::Namespace) && self.world.namespaces.get("", name).is_none()
        })
    }

    /// Whether what a series is about is still there, as far as can be seen. Totals of what is gone are not shown.
    #[must_use]
    pub fn is_about_something(&self, signal: &Signal, labels: &Labels) -> bool {
        let value = |name: &str| {
            let index = signal.labels.iter().position(|l| *l == name)?;
            labels.get(index).filter(|v| !v.is_empty())
        };
        if self.is_of_a_gone_namespace(signal, labels) {
            return false;
        }
        if let Some(node) = value("node")
            && self.sees(Kind::Node)
            && self.world.nodes.get("", node).is_none()
        {
            return false;
        }
        let of_kind = value("kind").and_then(|kind| Kind::by_name(kind)).map(|kind| ("name", kind));
        for (label, kind) in NAMED.iter().copied().chain(of_kind) {
            if value(label).is_some_and(|name| self.is_gone(kind, value("namespace"), name)) {
                return false;
            }
        }
        let (Some(namespace), Some(kind), Some(name)) =
            (value("namespace"), value("workload_kind"), value("workload"))
        else {
            return true;
        };
        let known = Kind::by_name(kind).filter(|k| self.sees(*k));
        let exists = match known {
            Some(Kind::Job) => self.world.jobs.get(namespace, name).is_some(),
            Some(Kind::CronJob) => self.world.cron_jobs.get(namespace, name).is_some(),
            Some(kind) => match self.world.workloads(kind) {
                Some(store) => store.get(namespace, name).is_some(),
                None => false,
            },
            // Somebody's own kind, or one that can't be seen now: its pods speak for it.
            None => !self.sees(Kind::Pod) || Kind::by_name(kind).is_some(),
        };
        let (namespace, kind, name) = (namespace.clone(), kind.clone(), name.clone());
        exists || self.has_pods(&WorkloadRef { namespace, kind, name })
    }

    /// Whether there is no such object, of a kind that can be seen. Of a kind that has another record of its own,
    /// something else may stand for it.
    fn is_gone(&self, kind: Kind, namespace: Option<&Text>, name: &str) -> bool {
        let namespace = namespace.filter(|_| kind.namespaced()).map_or("", |n| n);
        let is_there = match (self.world.workloads(kind), self.world.resources(kind)) {
            (Some(store), _) => store.get(namespace, name).is_some(),
            (None, Some(store)) => store.get(namespace, name).is_some(),
            (None, None) => true,
        };
        !is_there && self.sees(kind)
    }

    /// Whether the source of a kind follows the cluster.
    #[must_use]
    pub fn sees(&self, kind: Kind) -> bool {
        self.world.availability(kind) == Some(Availability::Served)
    }
}
