//! Which columns has the table of a kind, and what stands in them? Names, order, types and priorities as the printers of
//! `k8s.io/kubernetes/pkg/printers/internalversion` have them, or as a definition of a custom resource says.

use serde_json::{Value, json};

use super::resource;
use crate::sim::fields::{Fields, condition, deleting};
use crate::sim::kind::Served;
use crate::sim::moment::{Moment, SECOND, parse};
use crate::sim::store::{Key, Store};

/// The columns of a kind's table.
#[derive(Debug, Default)]
pub(super) struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    name: String,
    kind: String,
    priority: i64,
    cell: Cell,
}

#[derive(Debug)]
enum Cell {
    Name,
    Age,
    /// A JSONPath of a definition's column, and whether it is shown as an age.
    Path(String, bool),
    Made(fn(&Value, Moment) -> Value),
}

impl Columns {
    /// The columns of a resource; the store holds the definitions of custom ones.
    pub(super) fn of(served: &Served, store: &Store) -> Self {
        if resource::custom(served)
            && let Some(defined) = defined(served, store)
        {
            return Self(defined);
        }
        let mut all = vec![Column::new("Name", Cell::Name)];
        let own = own(served.name);
        let aged = own.iter().all(|(name, ..)| *name != "Age");
        let own = own.iter().map(|(name, kind, priority, make)| Column {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            priority: *priority,
            cell: make.map_or(Cell::Age, Cell::Made),
        });
        all.extend(own);
        if aged {
            let kind = if resource::custom(served) { "date" } else { "string" };
            all.push(Column { kind: kind.into(), ..Column::new("Age", Cell::Age) });
        }
        Self(all)
    }

    /// `columnDefinitions` of a table.
    pub(super) fn definitions(&self) -> Value {
        let one = |c: &Column| {
            let format = if matches!(c.cell, Cell::Name) { "name" } else { "" };
            json!({"name": c.name, "type": c.kind, "format": format, "description": "",
                "priority": c.priority})
        };
        self.0.iter().map(one).collect()
    }

    /// An object's row.
    pub(super) fn cells(&self, object: &Value, now: Moment) -> Vec<Value> {
        let created = || age(object.text("metadata/creationTimestamp"), now);
        let cell = |c: &Column| match &c.cell {
            Cell::Name => json!(object.text("metadata/name")),
            Cell::Age => created(),
            Cell::Made(make) => make(object, now),
            Cell::Path(path, aged) => match look(object, path) {
                Some(Value::String(text)) if *aged => age(text, now),
                found => found.cloned().unwrap_or_default(),
            },
        };
        self.0.iter().map(cell).collect()
    }
}

impl Column {
    fn new(name: &str, cell: Cell) -> Self {
        Self { name: name.to_owned(), kind: "string".to_owned(), priority: 0, cell }
    }
}

/// The columns that the resource's definition names, after the name.
fn defined(served: &Served, store: &Store) -> Option<Vec<Column>> {
    let kind = resource::of_kind("CustomResourceDefinition")?.kind;
    let name = Key::cluster(format!("{}.{}", served.plural, served.group));
    let definition = store.get(kind, &name)?;
    let versions = definition.items("spec/versions");
    let version = versions.iter().find(|v| v.text("name") == served.version)?;
    let named = version.items("additionalPrinterColumns");
    if named.is_empty() {
        return None;
    }
    let column = |c: &Value| Column {
        name: c.text("name").to_owned(),
        kind: c.text("type").to_owned(),
        priority: c.int("priority"),
        cell: Cell::Path(c.text("jsonPath").to_owned(), c.text("type") == "date"),
    };
    let first = Column::new("Name", Cell::Name);
    Some(std::iter::once(first).chain(named.iter().map(column)).collect())
}

/// The value at a JSONPath of fields, indexes and `[?(@.field=="value")]`.
fn look<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let Some((before, rest)) = path.split_once("[?(@.") else {
        let path = path.trim_start_matches('.').replace("].", "/").replace(['.', '['], "/");
        let path = path.trim_end_matches(']').trim_matches('/');
        return if path.is_empty() { Some(object) } else { object.at(path) };
    };
    let (filter, after) = rest.split_once(")]")?;
    let (field, value) = filter.split_once("==")?;
    let value = value.trim().trim_matches(['"', '\'']);
    let items = look(object, before)?.as_array()?;
    look(items.iter().find(|i| i.text(field.trim()) == value)?, after)
}

type Own = (&'static str, &'static str, i64, Option<fn(&Value, Moment) -> Value>);

/// What kinds show beside name and age; age has its place where it is not the last. An absent maker stands for age.
fn own(kind: &str) -> &'static [Own] {
    match kind {
        "ConfigMap" => &[("Data", "string", 0, Some(data)), ("Age", "string", 0, None)],
        "Secret" => &[
            ("Type", "string", 0, Some(|o, _| json!(o.text("type")))),
            ("Data", "integer", 0, Some(data)),
            ("Age", "string", 0, None),
        ],
        "Namespace" => &[("Status", "string", 0, Some(|o, _| json!(o.text("status/phase"))))],
        "StorageClass" => &[
            ("Provisioner", "string", 0, Some(|o, _| json!(o.text("provisioner")))),
            ("ReclaimPolicy", "string", 0, Some(|o, _| json!(o.text("reclaimPolicy")))),
            ("VolumeBindingMode", "string", 0, Some(|o, _| json!(o.text("volumeBindingMode")))),
            (
                "AllowVolumeExpansion",
                "string",
                0,
                Some(|o, _| json!(o.truth("allowVolumeExpansion"))),
            ),
        ],
        "Deployment" => &[
            ("Ready", "string", 0, Some(ready_replicas)),
            ("Up-to-date", "string", 0, Some(|o, _| json!(o.int("status/updatedReplicas")))),
            ("Available", "string", 0, Some(|o, _| json!(o.int("status/availableReplicas")))),
            ("Age", "string", 0, None),
            ("Containers", "string", 1, Some(|o, _| containers(o, "name"))),
            ("Images", "string", 1, Some(|o, _| containers(o, "image"))),
            ("Selector", "string", 1, Some(match_labels)),
        ],
        "Node" => &[
            ("Status", "string", 0, Some(node_status)),
            ("Roles", "string", 0, Some(node_roles)),
            ("Age", "string", 0, None),
            ("Version", "string", 0, Some(|o, _| json!(o.text("status/nodeInfo/kubeletVersion")))),
            ("Internal-IP", "string", 1, Some(|o, _| address(o, "InternalIP"))),
            ("External-IP", "string", 1, Some(|o, _| address(o, "ExternalIP"))),
            ("OS-Image", "string", 1, Some(|o, _| info(o, "osImage"))),
            ("Kernel-Version", "string", 1, Some(kernel)),
            ("Container-Runtime", "string", 1, Some(|o, _| info(o, "containerRuntimeVersion"))),
        ],
        "Pod" => &[
            ("Ready", "string", 0, Some(pod_ready)),
            ("Status", "string", 0, Some(pod_status)),
            ("Restarts", "string", 0, Some(pod_restarts)),
            ("Age", "string", 0, None),
            ("IP", "string", 1, Some(|o, _| or_none(o.text("status/podIP")))),
            ("Node", "string", 1, Some(|o, _| or_none(o.text("spec/nodeName")))),
            (
                "Nominated Node",
                "string",
                1,
                Some(|o, _| or_none(o.text("status/nominatedNodeName"))),
            ),
            ("Readiness Gates", "string", 1, Some(|_, _| json!("<none>"))),
        ],
        _ => &[],
    }
}

fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

fn data(object: &Value, _: Moment) -> Value {
    let count = |field| object.at(field).and_then(Value::as_object).map_or(0, serde_json::Map::len);
    json!(count("data") + count("binaryData"))
}

fn ready_replicas(object: &Value, _: Moment) -> Value {
    json!(format!("{}/{}", object.int("status/readyReplicas"), object.int("spec/replicas")))
}

fn containers(object: &Value, field: &str) -> Value {
    let all = object.items("spec/template/spec/containers");
    json!(all.iter().map(|c| c.text(field)).collect::<Vec<_>>().join(","))
}

fn match_labels(object: &Value, _: Moment) -> Value {
    let labels = object.at("spec/selector/matchLabels").and_then(Value::as_object);
    let pairs =
        labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")));
    json!(pairs.collect::<Vec<_>>().join(","))
}

fn node_status(node: &Value, _: Moment) -> Value {
    let ready = match condition(node, "Ready").map(|c| c.text("status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if node.truth("spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    json!(format!("{ready}{cordoned}"))
}

fn node_roles(node: &Value, _: Moment) -> Value {
    let labels = node.at("metadata/labels").and_then(Value::as_object);
    let role = |key: &String| key.strip_prefix("node-role.kubernetes.io/").map(str::to_owned);
    let mut roles: Vec<_> = labels.into_iter().flatten().filter_map(|(key, _)| role(key)).collect();
    roles.sort_unstable();
    or_none(&roles.join(","))
}

fn address(node: &Value, kind: &str) -> Value {
    let found = node.items("status/addresses").iter().find(|a| a.text("type") == kind);
    or_none(found.map_or("", |a| a.text("address")))
}

fn info(node: &Value, field: &str) -> Value {
    let text = node.text(&format!("status/nodeInfo/{field}"));
    json!(if text.is_empty() { "<unknown>" } else { text })
}

fn kernel(node: &Value, _: Moment) -> Value {
    let kernel = info(node, "kernelVersion");
    match node.text("status/nodeInfo/architecture") {
        "" => kernel,
        architecture => json!(format!("{} ({architecture})", kernel.as_str().unwrap_or(""))),
    }
}

fn pod_ready(pod: &Value, _: Moment) -> Value {
    let ready = pod.items("status/containerStatuses").iter().filter(|c| c.truth("ready")).count();
    json!(format!("{ready}/{}", pod.items("spec/containers").len()))
}

/// The phase, or what holds the first container that is not well.
fn pod_status(pod: &Value, _: Moment) -> Value {
    let phase = pod.text("status/phase");
    let mut shown = match pod.text("status/reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    for container in pod.items("status/containerStatuses").iter().rev() {
        let waiting = container.text("state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut shown);
        } else if let Some(ended) = container.at("state/terminated") {
            shown = match ended.text("reason") {
                "" => format!("ExitCode:{}", ended.int("exitCode")),
                reason => reason.to_owned(),
            };
        }
    }
    if deleting(pod) && pod.text("status/reason") == "NodeLost" {
        return json!("Unknown");
    }
    if deleting(pod) && !matches!(phase, "Succeeded" | "Failed") {
        return json!("Terminating");
    }
    json!(shown)
}

fn pod_restarts(pod: &Value, now: Moment) -> Value {
    let all = pod.items("status/containerStatuses");
    let count: i64 = all.iter().map(|c| c.int("restartCount")).sum();
    let last = all.iter().map(|c| c.text("lastState/terminated/finishedAt")).max().unwrap_or("");
    match parse(last) {
        Some(at) if count > 0 => json!(format!("{count} ({} ago)", duration(now - at))),
        _ => json!(count.to_string()),
    }
}

fn age(since: &str, now: Moment) -> Value {
    json!(parse(since).map_or_else(|| "<unknown>".to_owned(), |at| duration(now - at)))
}

/// A length of time as kubectl writes it (`k8s.io/apimachinery/pkg/util/duration`).
fn duration(length: Moment) -> String {
    let seconds = length.div_euclid(SECOND);
    let two = |large: i64, unit: &str, small: i64, smaller: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{smaller}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_kubectl_does() {
        let cases = [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (30 * 3600, "30h"),
            (50 * 3600, "2d2h"),
            (400 * 86400, "400d"),
            (800 * 86400, "2y70d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds * SECOND), expected);
        }
    }

    #[test]
    fn columns_of_definitions_are_looked_up() {
        let object = json!({"spec": {"a": {"b": 3}, "l": [{"x": 1}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(look(&object, ".spec.a.b"), Some(&json!(3)));
        assert_eq!(look(&object, ".spec.l[0].x"), Some(&json!(1)));
        let path = r#".status.conditions[?(@.type=="Ready")].status"#;
        assert_eq!(look(&object, path), Some(&json!("True")));
        assert_eq!(look(&object, ".spec.none"), None);
    }

    #[test]
    fn a_pod_shows_what_ails_it() {
        let mut pod = json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running",
            "containerStatuses": [{"ready": true, "restartCount": 1},
                {"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        assert_eq!(pod_ready(&pod, 0), "1/2");
        assert_eq!(pod_status(&pod, 0), "CrashLoopBackOff");
        assert_eq!(pod_restarts(&pod, 0), "3");
        pod.put("metadata/deletionTimestamp", json!("2026-11-24T12:00:00Z"));
        assert_eq!(pod_status(&pod, 0), "Terminating");
    }
}
