//! What goes wrong, where, when, and for how long? Faults are data; what follows from them is up to the controllers.

use std::fmt;
use std::time::Duration;

use super::layout::OWN_REGISTRY;
use super::manifests::DRIVER_CONTROLLER;

/// A workload by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Target {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn target(namespace: &str, name: &str) -> Target {
    Target { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// How a container ends that should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With exit code 1, seconds after its start.
    Error,
    /// Killed for its memory, with exit code 137, a minute or so after its start.
    OutOfMemory,
}

/// Which probe a program fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The readiness probe only: the program says that it cannot serve.
    Readiness,
    /// All probes: the program hangs, and is restarted for it.
    Liveness,
}

/// Something that goes wrong and is repaired later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The CSI controller's pods crash; meanwhile a StatefulSet grows by one pod, whose claim stays Pending. Some
    /// minutes after the repair it shrinks again.
    ProvisionerDown {
        /// The Deployment of the driver's controller.
        controller: Target,
        /// The StatefulSet that grows.
        grows: Target,
    },
    /// A StatefulSet grows by one pod while the storage back end refuses new volumes with this error.
    ProvisioningRefused {
        /// The CSI driver.
        driver: String,
        /// The back end's words.
        error: String,
        /// The StatefulSet that grows.
        grows: Target,
    },
    /// A release of a Deployment does not keep running; it is rolled back.
    BadRelease {
        /// The Deployment.
        deployment: Target,
        /// How its containers end.
        ending: Ending,
    },
    /// The pods of a workload run, but fail a probe.
    FailingProbe {
        /// The workload.
        workload: Target,
        /// The probe.
        probe: Probe,
    },
    /// The kubelet of a node falls silent.
    NodeLost {
        /// The node.
        node: String,
    },
    /// A registry does not answer while Deployments are released from it.
    RegistryDown {
        /// The registry's host.
        host: String,
        /// The Deployments.
        releases: Vec<Target>,
    },
    /// A release of a Deployment asks for more CPU than any node has; it is rolled back.
    Unschedulable {
        /// The Deployment.
        deployment: Target,
        /// The request for CPU, a Kubernetes quantity.
        cpu: String,
    },
    /// The pods of a CronJob's Jobs fail.
    FailingJob {
        /// The CronJob.
        cron_job: Target,
    },
}

impl Fault {
    /// The fault's kind, such as `node-loss`: what [`Scenario::builtin`] calls a scenario that consists of it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ProvisionerDown { .. } => "storage",
            Self::ProvisioningRefused { .. } => "storage-refused",
            Self::BadRelease { ending: Ending::Error, .. } => "crashloop",
            Self::BadRelease { ending: Ending::OutOfMemory, .. } => "oom",
            Self::FailingProbe { probe: Probe::Readiness, .. } => "probe",
            Self::FailingProbe { probe: Probe::Liveness, .. } => "hang",
            Self::NodeLost { .. } => "node-loss",
            Self::RegistryDown { .. } => "image-pull",
            Self::Unschedulable { .. } => "unschedulable",
            Self::FailingJob { .. } => "cronjob",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProvisionerDown { controller, grows } => {
                write!(f, "provisioner {controller} crashes, StatefulSet {grows} grows by one pod")
            }
            Self::ProvisioningRefused { driver, grows, .. } => {
                write!(f, "{driver} refuses new volumes, StatefulSet {grows} grows by one pod")
            }
            Self::BadRelease { deployment, ending: Ending::Error } => {
                write!(f, "a release of Deployment {deployment} crashes")
            }
            Self::BadRelease { deployment, ending: Ending::OutOfMemory } => {
                write!(f, "a release of Deployment {deployment} runs out of memory")
            }
            Self::FailingProbe { workload, probe: Probe::Readiness } => {
                write!(f, "{workload} fails its readiness probe")
            }
            Self::FailingProbe { workload, probe: Probe::Liveness } => {
                write!(f, "{workload} hangs")
            }
            Self::NodeLost { node } => write!(f, "node {node} is lost"),
            Self::RegistryDown { host, releases } => {
                let names: Vec<_> = releases.iter().map(ToString::to_string).collect();
                write!(f, "registry {host} is down while {} are released", names.join(" and "))
            }
            Self::Unschedulable { deployment, cpu } => {
                write!(f, "a release of Deployment {deployment} asks for {cpu} CPUs")
            }
            Self::FailingJob { cron_job } => write!(f, "the Jobs of CronJob {cron_job} fail"),
        }
    }
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What goes wrong.
    pub fault: Fault,
    /// When, counted from the start of the scenario or of its repetition.
    pub at: Duration,
    /// How long until it is repaired.
    pub lasts: Duration,
}

/// A timeline of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// The faults.
    pub faults: Vec<Planned>,
    /// After this time everything happens again; `None` for once.
    pub every: Option<Duration>,
}

/// There is no scenario of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scenario is called {name:?}; there are {}", Scenario::NAMES.join(", "))]
pub struct UnknownScenario {
    /// The name that was asked for.
    pub name: String,
}

const MINUTE: u64 = 60;

impl Scenario {
    /// The scenarios that are built in.
    pub const NAMES: &'static [&'static str] = &[
        "all",
        "healthy",
        "storage",
        "storage-refused",
        "crashloop",
        "oom",
        "probe",
        "hang",
        "node-loss",
        "image-pull",
        "unschedulable",
        "cronjob",
    ];

    /// A scenario that is built in: `healthy`, `all`, or a single kind of fault.
    pub fn builtin(name: &str) -> Result<Self, UnknownScenario> {
        let name = name.to_owned();
        match name.as_str() {
            "healthy" => Ok(Self { name, faults: Vec::new(), every: None }),
            "all" => Ok(Self { name, faults: all(), every: Some(minutes(75)) }),
            kind => {
                let found = all().into_iter().find(|planned| planned.fault.kind() == kind);
                let Some(planned) = found else { return Err(UnknownScenario { name }) };
                let every = planned.lasts + minutes(15);
                Ok(Self {
                    name,
                    faults: vec![Planned { at: minutes(2), ..planned }],
                    every: Some(every),
                })
            }
        }
    }

    /// One line for each fault: when it comes and goes in each repetition, and what it is.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let line = |planned: &Planned| {
            let (from, until) =
                (planned.at.as_secs() / MINUTE, (planned.at + planned.lasts).as_secs() / MINUTE);
            format!("minute {from} to {until}: {}", planned.fault)
        };
        self.faults.iter().map(line).collect()
    }
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * MINUTE)
}

/// One of each, staggered; the first is visible within a minute of its start.
fn all() -> Vec<Planned> {
    let planned = |at, lasts, fault| Planned { fault, at: minutes(at), lasts: minutes(lasts) };
    let deployment = |namespace, name| target(namespace, name);
    vec![
        planned(
            2,
            9,
            Fault::BadRelease {
                deployment: deployment("payments", "gateway"),
                ending: Ending::Error,
            },
        ),
        planned(
            5,
            11,
            Fault::ProvisionerDown {
                controller: target("kube-system", DRIVER_CONTROLLER),
                grows: target("shop", "sessions"),
            },
        ),
        planned(
            11,
            8,
            Fault::FailingProbe { workload: target("shop", "checkout"), probe: Probe::Readiness },
        ),
        planned(17, 14, Fault::FailingJob { cron_job: target("payments", "settlement") }),
        planned(
            21,
            8,
            Fault::RegistryDown {
                host: OWN_REGISTRY.to_owned(),
                releases: vec![target("media", "thumbnails"), target("analytics", "ingest")],
            },
        ),
        planned(
            27,
            9,
            Fault::BadRelease {
                deployment: target("search", "query"),
                ending: Ending::OutOfMemory,
            },
        ),
        planned(
            33,
            7,
            Fault::Unschedulable {
                deployment: target("analytics", "aggregator"),
                cpu: "64".to_owned(),
            },
        ),
        planned(38, 12, Fault::NodeLost { node: "node-a1".to_owned() }),
        planned(
            54,
            8,
            Fault::FailingProbe { workload: target("accounts", "login"), probe: Probe::Liveness },
        ),
        planned(
            59,
            8,
            Fault::ProvisioningRefused {
                driver: super::manifests::DRIVER.to_owned(),
                error: "rpc error: code = ResourceExhausted desc = quota of volumes exceeded"
                    .to_owned(),
                grows: target("search", "shards"),
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_scenario_and_an_unknown_one_lists_them() {
        for name in Scenario::NAMES {
            let scenario = Scenario::builtin(name).expect("a scenario");
            assert_eq!(scenario.name, *name);
            assert_eq!(scenario.faults.is_empty(), *name == "healthy");
            assert_eq!(scenario.describe().len(), scenario.faults.len());
        }
        let error = Scenario::builtin("meteor").expect_err("no such scenario").to_string();
        assert!(error.contains("\"meteor\"") && error.contains("node-loss"), "{error}");
    }

    #[test]
    fn each_repetition_ends_before_the_next_begins() {
        for name in Scenario::NAMES {
            let scenario = Scenario::builtin(name).expect("a scenario");
            let last = scenario.faults.iter().map(|p| p.at + p.lasts).max();
            assert!(last <= scenario.every.or(last), "{name}");
        }
    }
}
