//! How are the objects written that somebody would apply to a cluster: nodes, classes, workloads?

use serde_json::{Value, json};

use super::chance::Chance;
use super::controllers::nodes::CONDITIONS;
use super::fields::Fields;
use super::moment::{Moment, stamp};

/// The one CSI driver of the simulated cluster.
pub(crate) const DRIVER: &str = "block.csi.example";
/// The Deployment of the driver's controller, in `kube-system`.
pub(crate) const DRIVER_CONTROLLER: &str = "block-csi-controller";
/// The class whose volumes are made when a pod needs them.
pub(crate) const CLASS: &str = "block";

/// The workload that reads its configuration from a ConfigMap, and which one.
const CONFIGURED: (&str, &str) = ("payments", "gateway");
pub(crate) const CONFIG: &str = "gateway-config";
pub(crate) const CONFIG_KEY: &str = "provider";

/// A program to run, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) ns: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) milli_cpu: u32,
    pub(crate) memory_mebi: u32,
    pub(crate) role: Role,
}

/// What kind of workload runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Deployment {
        replicas: u32,
    },
    /// With one claim of so many GiB for each pod.
    StatefulSet {
        replicas: u32,
        gibi: u32,
    },
    DaemonSet,
    CronJob {
        schedule: &'static str,
    },
}

impl App {
    fn labels(&self) -> Value {
        json!({"app": self.name})
    }

    /// The labels by which others know what an agent is for, beside its own.
    fn all_labels(&self) -> Value {
        let mut labels = self.labels();
        match self.name.as_str() {
            "network-agent" => labels.put("k8s-app", json!("cilium")),
            "node-proxy" => labels.put("k8s-app", json!("kube-proxy")),
            "log-agent" => {
                if let Some(labels) = labels.as_object_mut() {
                    labels.insert("app.kubernetes.io/name".to_owned(), json!("fluent-bit"));
                }
            }
            _ => {}
        }
        labels
    }

    /// How many pods it is founded with, where it has replicas.
    pub(crate) const fn replicas(&self) -> u32 {
        match self.role {
            Role::Deployment { replicas } | Role::StatefulSet { replicas, .. } => replicas,
            Role::DaemonSet | Role::CronJob { .. } => 0,
        }
    }

    fn template(&self) -> Value {
        let service = matches!(self.role, Role::Deployment { .. } | Role::StatefulSet { .. });
        let memory = format!("{}Mi", self.memory_mebi);
        let mut container = json!({
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "resources": {
                "requests": {"cpu": format!("{}m", self.milli_cpu), "memory": memory},
                "limits": {"memory": format!("{}Mi", 2 * self.memory_mebi)},
            },
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        });
        if service {
            let get = json!({"path": "/healthz", "port": 8080, "scheme": "HTTP"});
            let probe = |delay: u32| {
                json!({
                    "httpGet": get,
                    "initialDelaySeconds": delay,
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                })
            };
            container
                .put("ports", json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"}]));
            container.put("readinessProbe", probe(2));
            container.put("livenessProbe", probe(15));
        }
        if let Role::StatefulSet { .. } = self.role {
            container.put("volumeMounts", json!([{"name": "data", "mountPath": "/data"}]));
        }
        if (self.ns.as_str(), self.name.as_str()) == CONFIGURED {
            let reference = json!({"name": CONFIG, "key": CONFIG_KEY});
            let env = json!([{"name": "PROVIDER", "valueFrom": {"configMapKeyRef": reference}}]);
            container.put("env", env);
        }
        let once = matches!(self.role, Role::CronJob { .. });
        let mut template = json!({
            "metadata": {"labels": self.all_labels()},
            "spec": {
                "containers": [container],
                "restartPolicy": if once { "Never" } else { "Always" },
                "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst",
                "serviceAccountName": self.name,
                "schedulerName": "default-scheduler",
                "securityContext": {},
            },
        });
        if matches!(self.name.as_str(), "network-agent" | "node-proxy") {
            template.put("spec/hostNetwork", json!(true));
        }
        template
    }

    /// The workload's manifest.
    pub(crate) fn manifest(&self) -> Value {
        let spec = match self.role {
            Role::Deployment { replicas } => json!({
                "replicas": replicas,
                "selector": {"matchLabels": self.labels()},
                "template": self.template(),
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
                },
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
            }),
            Role::StatefulSet { replicas, gibi } => json!({
                "replicas": replicas,
                "selector": {"matchLabels": self.labels()},
                "serviceName": self.name,
                "template": self.template(),
                "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "revisionHistoryLimit": 10,
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"},
                "volumeClaimTemplates": [{
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": format!("{gibi}Gi")}},
                        "storageClassName": CLASS,
                        "volumeMode": "Filesystem",
                    },
                    "status": {"phase": "Pending"},
                }],
            }),
            Role::DaemonSet => json!({
                "selector": {"matchLabels": self.labels()},
                "template": self.template(),
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
                "revisionHistoryLimit": 10,
            }),
            Role::CronJob { schedule } => json!({
                "schedule": schedule,
                "concurrencyPolicy": "Forbid",
                "suspend": false,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {
                    "metadata": {},
                    "spec": {"backoffLimit": 2, "template": self.template()},
                },
            }),
        };
        json!({
            "metadata": {"name": self.name, "namespace": self.ns, "labels": self.all_labels()},
            "spec": spec,
            "status": status(&self.role),
        })
    }
}

/// The fields that the API requires before a controller has written any.
fn status(role: &Role) -> Value {
    match role {
        Role::StatefulSet { .. } => json!({"replicas": 0, "availableReplicas": 0}),
        Role::DaemonSet => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        }),
        Role::Deployment { .. } | Role::CronJob { .. } => json!({}),
    }
}

/// A namespace.
pub(crate) fn namespace(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// A node of 8 cores and 32 GiB that is ready.
pub(crate) fn node(chance: Chance, name: &str, zone: &str, nth: u32, now: Moment) -> Value {
    let now = stamp(now);
    let condition = |(kind, reason, message): (&str, &str, &str)| {
        json!({
            "type": kind,
            "status": if kind == "Ready" { "True" } else { "False" },
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    let mut identity = chance.of("machine", name);
    let machine = identity.uuid();
    let address = format!("198.19.{}.{}", 250 + nth / 250 % 5, 1 + nth % 250);
    json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "general-8",
                "topology.kubernetes.io/region": "region-1",
                "topology.kubernetes.io/zone": zone,
            },
        },
        "spec": {"providerID": format!("example:///{zone}/{machine}")},
        "status": {
            "capacity": {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "200Gi", "pods": "110"},
            "allocatable": {"cpu": "7800m", "memory": "30Gi", "ephemeral-storage": "180Gi", "pods": "110"},
            "conditions": CONDITIONS.map(condition),
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": machine,
                "systemUUID": machine,
                "bootID": identity.uuid(),
                "kernelVersion": "6.12.0",
                "osImage": "Linux",
                "containerRuntimeVersion": "containerd://2.2.0",
                "kubeletVersion": "v1.37.2",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    })
}

/// What the driver's node plugin registers on a node.
pub(crate) fn csi_node(chance: Chance, name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"drivers": [{
            "name": DRIVER,
            "nodeID": format!("i-{:016x}", chance.of("csi-node", name).bits()),
            "topologyKeys": ["topology.kubernetes.io/zone"],
            "allocatable": {"count": 25},
        }]},
    })
}

/// The driver.
pub(crate) fn csi_driver() -> Value {
    json!({
        "metadata": {"name": DRIVER, "labels": {"app": DRIVER_CONTROLLER}},
        "spec": {
            "attachRequired": true,
            "podInfoOnMount": false,
            "volumeLifecycleModes": ["Persistent"],
            "storageCapacity": false,
        },
    })
}

/// The default class, of the driver.
pub(crate) fn storage_class() -> Value {
    json!({
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": DRIVER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    })
}
