//! What would static rules have told? The thresholds and `for:` durations of the alerts that most clusters run, those of
//! kubernetes-mixin, on the same readings.

use std::collections::{BTreeMap, BTreeSet};

use super::told::{Told, Watcher, What};
use crate::model::finding::Finding;
use crate::model::reading::Labels;
use crate::model::record::Time;
use crate::model::report::{Report, Series};

/// An alert.
struct StaticRule {
    /// kubernetes-mixin's name for it.
    alert: &'static str,
    /// What it looks at.
    on: On,
    /// For how many minutes it must hold: `for:`.
    minutes: i64,
}

/// What an alert looks at.
enum On {
    /// A bad state that holds, for one of these reasons; for any if there is none.
    State(&'static str, &'static [&'static str]),
    /// A series below this value.
    Below(&'static str, f64),
    /// A series above this value.
    Above(&'static str, f64),
}

const fn state(alert: &'static str, signal: &'static str, minutes: i64) -> StaticRule {
    StaticRule { alert, on: On::State(signal, &[]), minutes }
}

const fn reasons(
    alert: &'static str,
    signal: &'static str,
    reasons: &'static [&'static str],
    minutes: i64,
) -> StaticRule {
    StaticRule { alert, on: On::State(signal, reasons), minutes }
}

const fn below(alert: &'static str, signal: &'static str, least: f64, minutes: i64) -> StaticRule {
    StaticRule { alert, on: On::Below(signal, least), minutes }
}

const fn above(alert: &'static str, signal: &'static str, most: f64, minutes: i64) -> StaticRule {
    StaticRule { alert, on: On::Above(signal, most), minutes }
}

const IMAGES: &[&str] = &["image_pull", "image_name", "registry_unavailable", "image_inspect"];
const PRESSURE: &[&str] = &["memory_pressure", "disk_pressure", "pid_pressure"];

/// Where the mixin looks at a state that no reading tells, such as API clients' error rates, there is no row.
static RULES: &[StaticRule] = &[
    state("KubePodCrashLooping", "compute_crashloop", 15),
    // A pod that is not scheduled or waits for its image is Pending.
    state("KubePodNotReady", "compute_unschedulable_pods", 15),
    reasons("KubePodNotReady", "compute_container_waiting", IMAGES, 15),
    state("KubeContainerWaiting", "compute_container_waiting", 60),
    // One row for the three alerts on replicas of Deployments, StatefulSets and DaemonSets.
    below("KubeDeploymentReplicasMismatch", "compute_workload_available_ratio", 1.0, 15),
    state("KubeDeploymentRolloutStuck", "compute_rollout_stalled", 15),
    state("KubeJobFailed", "compute_job_failed", 15),
    reasons("KubeHpaMaxedOut", "compute_hpa_unhealthy", &["saturated"], 15),
    reasons("KubePdbNotEnoughHealthyPods", "compute_pdb_blocking", &["too_few_healthy"], 15),
    state("KubeNodeNotReady", "compute_node_not_ready", 15),
    reasons("KubeNodePressure", "compute_node_condition", PRESSURE, 10),
    above("KubeQuotaAlmostFull", "compute_quota_used_ratio", 0.9, 15),
    above("KubeCPUOvercommit", "compute_requested_ratio", 1.0, 10),
    above("KubePersistentVolumeFillingUp", "storage_volume_used_ratio", 0.97, 1),
    reasons("KubePersistentVolumeErrors", "storage_pv_unhealthy", &["failed"], 5),
    state("KubeAggregatedAPIDown", "observability_apiservice_unavailable", 5),
];

/// The rules with what they have seen.
#[derive(Default)]
pub(super) struct StaticRules {
    /// Since when a rule's series is out of bounds.
    pending: BTreeMap<(usize, Labels), Time>,
    firing: BTreeSet<(usize, Fired)>,
}

/// What a rule fires for: a state by its finding's id, or a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fired {
    State(String),
    Series(Labels),
}

impl Watcher for StaticRules {
    fn look(&mut self, report: &Report) -> Vec<Told> {
        let (mut told, mut firing) = (Vec::new(), BTreeSet::new());
        for (index, rule) in RULES.iter().enumerate() {
            let out = match &rule.on {
                On::State(signal, reasons) => states(rule, signal, reasons, report),
                On::Below(signal, least) => self.series(index, signal, report, |v| v < *least),
                On::Above(signal, most) => self.series(index, signal, report, |v| v > *most),
            };
            for (fired, tells) in out {
                if !self.firing.contains(&(index, fired.clone())) {
                    told.push(tells);
                }
                firing.insert((index, fired));
            }
        }
        self.firing = firing;
        told
    }
}

fn states(
    rule: &'static StaticRule,
    signal: &str,
    reasons: &[&str],
    report: &Report,
) -> Vec<(Fired, Told)> {
    let holds = |f: &&Finding| {
        *f.signal == *signal
            && (reasons.is_empty() || reasons.contains(&&*f.reason))
            && report.at.as_second() - f.since.as_second() >= rule.minutes * 60
    };
    let tell = |f: &Finding| {
        let (signal, subject) = (f.signal.clone(), f.subject.clone());
        let (what, message) = (What::Alert(rule.alert), f.message.clone());
        let told = Told { at: report.at, signal, subject, what, message };
        (Fired::State(f.id.clone()), told)
    };
    report.findings.iter().filter(holds).map(tell).collect()
}

impl StaticRules {
    fn series(
        &mut self,
        index: usize,
        signal: &str,
        report: &Report,
        is_out: impl Fn(f64) -> bool,
    ) -> Vec<(Fired, Told)> {
        let rule = &RULES[index];
        let said = report.signals.iter().find(|s| s.signal.name == signal);
        let (mut fired, mut out) = (Vec::new(), BTreeMap::new());
        if let Some(said) = said
            && let Series::Values(values) = &said.series
        {
            for reading in values.iter().filter(|r| is_out(r.value)) {
                let key = (index, reading.labels.clone());
                let since = *self.pending.get(&key).unwrap_or(&report.at);
                out.insert(key, since);
                if report.at.as_second() - since.as_second() >= rule.minutes * 60 {
                    let subject = said.signal.subject(&reading.labels);
                    let what = What::Alert(rule.alert);
                    let (signal, message) = (signal.into(), String::new());
                    let told = Told { at: report.at, signal, subject, what, message };
                    fired.push((Fired::Series(reading.labels.clone()), told));
                }
            }
        }
        self.pending.retain(|(rule, _), _| *rule != index);
        self.pending.append(&mut out);
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers;

    #[test]
    fn each_rule_looks_at_a_signal_that_is_declared_with_its_reasons() {
        for rule in RULES {
            let (name, reasons) = match rule.on {
                On::State(name, reasons) => (name, reasons),
                On::Below(name, _) | On::Above(name, _) => (name, &[][..]),
            };
            let signal = layers::signals().find(|s| s.name == name);
            let signal = signal.unwrap_or_else(|| panic!("{}: no signal {name}", rule.alert));
            for reason in reasons {
                assert!(signal.reasons.contains(reason), "{}: no reason {reason}", rule.alert);
            }
        }
    }
}
