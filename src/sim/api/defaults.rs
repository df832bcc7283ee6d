//! Which fields does the API server fill in for an author? Those of pods and their templates on which others rely.

use serde_json::{Value, json};

use super::resource;
use crate::sim::fields::Fields;
use crate::sim::kind::Served;

/// Fills in a new object.
pub(super) fn fill(served: &Served, object: &mut Value) {
    if resource::custom(served) {
        return;
    }
    match served.name {
        "Namespace" => namespace(object),
        "Pod" => pod(object),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => {
            if let Some(spec) = object.pointer_mut("/spec/template/spec") {
                pod_spec(spec);
            }
            absent(object, "status", json!({}));
        }
        _ => {}
    }
}

fn absent(object: &mut Value, path: &str, value: Value) {
    if object.at(path).is_none() {
        object.put(path, value);
    }
}

/// A namespace carries its name as a label, and goes when its controller lets it.
fn namespace(object: &mut Value) {
    let mut labels = object.at("metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels["kubernetes.io/metadata.name"] = json!(object.text("metadata/name"));
    object.put("metadata/labels", labels);
    object.put("spec/finalizers", json!(["kubernetes"]));
    object.put("status", json!({"phase": "Active"}));
}

/// With what the admission plugins of a plain cluster add, but for the service account's token.
fn pod(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    pod_spec(spec);
    let account = match spec.text("serviceAccountName") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    spec.put("serviceAccountName", json!(account));
    spec.put("serviceAccount", json!(account));
    absent(spec, "enableServiceLinks", json!(true));
    absent(spec, "priority", json!(0));
    absent(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    let mut tolerations = spec.items("tolerations").to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|t| t.text("key") == key) {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}));
        }
    }
    spec.put("tolerations", Value::Array(tolerations));
    let class = quality(spec);
    object.put("status", json!({"phase": "Pending", "qosClass": class}));
}

fn pod_spec(spec: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
    ] {
        absent(spec, field, value);
    }
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(container);
    }
}

fn container(container: &mut Value) {
    let image = container.text("image");
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    let latest = tag.is_none_or(|tag| tag == "latest") && !image.contains('@');
    let policy = if latest { "Always" } else { "IfNotPresent" };
    absent(container, "imagePullPolicy", json!(policy));
    absent(container, "resources", json!({}));
    absent(container, "terminationMessagePath", json!("/dev/termination-log"));
    absent(container, "terminationMessagePolicy", json!("File"));
}

/// The class in which a pod is evicted, by whether its containers ask for resources and are limited to just those.
fn quality(spec: &Value) -> &'static str {
    let containers = || spec.items("containers").iter().chain(spec.items("initContainers"));
    let some =
        |c: &Value, path| c.at(path).and_then(Value::as_object).is_some_and(|m| !m.is_empty());
    let exact = |c: &Value| {
        let limits = c.at("resources/limits");
        let named = |name| limits.and_then(|l| l.get(name)).is_some();
        let same = c.at("resources/requests").is_none_or(|requests| Some(requests) == limits);
        named("cpu") && named("memory") && same
    };
    if containers().all(exact) {
        "Guaranteed"
    } else if containers().any(|c| some(c, "resources/requests") || some(c, "resources/limits")) {
        "Burstable"
    } else {
        "BestEffort"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_filled_in_and_what_its_author_wrote_stays() {
        let served = resource::of_kind("Pod").expect("served");
        let mut pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"image": "r/a"},
            {"image": "r/b:1", "resources": {"limits": {"cpu": "1"}}}]}});
        fill(served, &mut pod);
        assert_eq!(pod.text("spec/restartPolicy"), "Never");
        assert_eq!(pod.text("spec/containers/0/imagePullPolicy"), "Always");
        assert_eq!(pod.text("spec/containers/1/imagePullPolicy"), "IfNotPresent");
        assert_eq!(pod.items("spec/tolerations").len(), 2);
        assert_eq!(pod.text("status/qosClass"), "Burstable");
    }
}
