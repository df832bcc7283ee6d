//! Which requests are put to both API servers? In order, since later ones find what earlier ones made.

#![allow(clippy::too_many_lines, reason = "a table of calls has as many lines as calls")]

use serde_json::{Value, json};

/// A request. In its path and body `<<name:/pointer>>` stands for a piece of an earlier answer.
pub struct Call {
    pub name: &'static str,
    pub method: &'static str,
    pub path: String,
    pub accept: &'static str,
    pub kind: &'static str,
    pub body: String,
    /// Of lists of named things only these are compared; all where there is none.
    pub keep: &'static [&'static str],
}

/// What is done with both.
pub enum Step {
    Ask(Call),
    /// A watch, with what is asked while it runs.
    Follow(Call, Vec<Call>),
    /// From here on what came before is too old.
    Forget,
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const PARTIALS: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

const MAPS: &str = "/api/v1/namespaces/conf/configmaps";
const PODS: &str = "/api/v1/namespaces/conf/pods";
const EVENTS: &str = "/api/v1/namespaces/conf/events";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/conf/deployments";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

fn call(name: &'static str, method: &'static str, path: &str) -> Call {
    let (path, body) = (path.to_owned(), String::new());
    Call { name, method, path, accept: JSON, kind: JSON, body, keep: &[] }
}

fn get(name: &'static str, path: &str) -> Step {
    Step::Ask(call(name, "GET", path))
}

fn maps(name: &'static str, query: &str) -> Step {
    get(name, &format!("{MAPS}{query}"))
}

fn form(name: &'static str, path: &str, accept: &'static str) -> Step {
    Step::Ask(Call { accept, ..call(name, "GET", path) })
}

fn keep(
    name: &'static str,
    path: &str,
    accept: &'static str,
    keep: &'static [&'static str],
) -> Step {
    Step::Ask(Call { accept, keep, ..call(name, "GET", path) })
}

fn send(
    name: &'static str,
    method: &'static str,
    path: &str,
    kind: &'static str,
    body: &Value,
) -> Call {
    Call { kind, body: body.to_string(), ..call(name, method, path) }
}

fn post(name: &'static str, path: &str, body: &Value) -> Step {
    Step::Ask(send(name, "POST", path, JSON, body))
}

fn put(name: &'static str, path: &str, body: &Value) -> Step {
    Step::Ask(send(name, "PUT", path, JSON, body))
}

fn patch(name: &'static str, path: &str, kind: &'static str, body: &Value) -> Step {
    Step::Ask(send(name, "PATCH", path, kind, body))
}

fn delete(name: &'static str, path: &str, body: &Value) -> Step {
    Step::Ask(send(name, "DELETE", path, JSON, body))
}

fn raw(
    name: &'static str,
    method: &'static str,
    path: &str,
    kind: &'static str,
    body: &str,
) -> Step {
    Step::Ask(Call { kind, body: body.to_owned(), ..call(name, method, path) })
}

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": label, "tier": "x"}}, "data": {"k": "v"}})
}

/// What the real cluster's absent controllers would have made.
pub fn only_real() -> Vec<Call> {
    let conf = json!({"metadata": {"name": "default", "namespace": "default"}});
    vec![send("prepare-account", "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, &conf)]
}

/// All steps.
pub fn all() -> Vec<Step> {
    let parts =
        [setup(), lists(), selectors(), watches(), forms(), paths(), writes(), workloads(), old()];
    parts.into_iter().flatten().collect()
}

fn setup() -> Vec<Step> {
    let mut steps =
        vec![post("make-namespace", "/api/v1/namespaces", &json!({"metadata": {"name": "conf"}}))];
    for (name, map_name) in
        [("make-a", "a"), ("make-b", "b"), ("make-c", "c"), ("make-d", "d"), ("make-e", "e")]
    {
        steps.push(post(name, MAPS, &map(map_name, map_name)));
    }
    steps
}

fn lists() -> Vec<Step> {
    vec![
        maps("list", ""),
        maps("list-limit", "?limit=2"),
        maps("list-next", "?limit=2&continue=<<list-limit:/metadata/continue>>"),
        maps("list-last", "?limit=2&continue=<<list-next:/metadata/continue>>"),
        maps("list-rest", "?continue=<<list-limit:/metadata/continue>>"),
        maps("list-limit-selector", "?limit=2&labelSelector=tier%3Dx"),
        maps("list-limit-any", "?limit=2&resourceVersion=0"),
        maps("list-limit-none", "?limit=0"),
        maps("list-limit-negative", "?limit=-1"),
        maps("list-limit-wrong", "?limit=x"),
        maps("list-timeout-wrong", "?timeoutSeconds=x"),
        get("list-everywhere", "/api/v1/configmaps?labelSelector=tier%3Dx&limit=3"),
        get(
            "list-everywhere-next",
            "/api/v1/configmaps?labelSelector=tier%3Dx&limit=3&continue=<<list-everywhere:/metadata/continue>>",
        ),
        get("list-no-namespace", "/api/v1/namespaces/none/configmaps"),
        maps(
            "list-exact",
            "?resourceVersionMatch=Exact&resourceVersion=<<make-b:/metadata/resourceVersion>>",
        ),
        maps("list-legacy-exact", "?limit=1&resourceVersion=<<make-b:/metadata/resourceVersion>>"),
        maps("list-newer", "?resourceVersion=<<make-b:/metadata/resourceVersion>>"),
        maps(
            "list-newer-match",
            "?limit=2&resourceVersionMatch=NotOlderThan&resourceVersion=<<make-b:/metadata/resourceVersion>>",
        ),
        maps("list-any-match", "?limit=2&resourceVersionMatch=NotOlderThan&resourceVersion=0"),
        maps("list-wrong-version", "?resourceVersion=x"),
        maps("list-negative-version", "?resourceVersion=-1"),
        maps("list-ahead", "?resourceVersion=99999999"),
        maps("list-ahead-exact", "?resourceVersion=99999999&resourceVersionMatch=Exact"),
        maps("list-match-alone", "?resourceVersionMatch=Exact"),
        maps("list-match-zero", "?resourceVersionMatch=Exact&resourceVersion=0"),
        maps("list-match-unknown", "?resourceVersionMatch=Other&resourceVersion=5"),
        maps("list-initial", "?sendInitialEvents=true"),
        maps("list-token-version", "?resourceVersion=5&continue=<<list-limit:/metadata/continue>>"),
        maps("list-token-any", "?resourceVersion=0&continue=<<list-limit:/metadata/continue>>"),
        maps("list-token-garbage", "?continue=garbage"),
        maps(
            "list-token-empty-start",
            "?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjIyLCJzdGFydCI6IiJ9",
        ),
        maps(
            "list-token-zero",
            "?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiIvY20tYlx1MDAwMCJ9",
        ),
        maps("get", "/a"),
        maps("get-ahead", "/a?resourceVersion=99999999"),
        maps("get-none", "/none"),
    ]
}

fn selectors() -> Vec<Step> {
    vec![
        maps("label-in", "?labelSelector=app+in+(a,b)"),
        maps("label-notin", "?labelSelector=app+notin+(a,b),tier"),
        maps("label-absent", "?labelSelector=!app"),
        maps("label-not", "?labelSelector=app!%3Da"),
        maps("label-empty", "?labelSelector="),
        maps("label-open", "?labelSelector=app+in+(a,b"),
        maps("label-three", "?labelSelector=a%3D%3D%3Db"),
        maps("label-operator", "?labelSelector=app+of+b"),
        maps("label-comma", "?labelSelector=,"),
        maps("label-trailing", "?labelSelector=app,"),
        maps("label-words", "?labelSelector=app%3Da+b"),
        maps("label-value", "?labelSelector=app%3Da%26"),
        maps("label-number", "?labelSelector=app%3Ex"),
        maps("label-key", "?labelSelector=-a%3Dx"),
        maps("field-name", "?fieldSelector=metadata.name%3Da"),
        maps("field-not-name", "?fieldSelector=metadata.name!%3Da,metadata.namespace%3Dconf"),
        maps("field-limit", "?limit=1&fieldSelector=metadata.name!%3Da"),
        maps("field-unknown", "?fieldSelector=color%3Da"),
        maps("field-word", "?fieldSelector=color"),
        get("field-pod", "/api/v1/namespaces/conf/pods?fieldSelector=color%3Da"),
        get("field-event", "/api/v1/namespaces/conf/events?fieldSelector=color%3Da"),
        get(
            "field-event-new",
            "/apis/events.k8s.io/v1/namespaces/conf/events?fieldSelector=involvedObject.kind%3Da",
        ),
        get("field-deployment", &format!("{DEPLOYMENTS}?fieldSelector=color%3Da")),
        get("field-secret", "/api/v1/namespaces/conf/secrets?fieldSelector=type%3Da"),
        get("field-node", "/api/v1/nodes?fieldSelector=spec.nodeName%3Da"),
        get("field-namespace", "/api/v1/namespaces?fieldSelector=status.phase%3DNone"),
        get("field-job", "/apis/batch/v1/namespaces/conf/jobs?fieldSelector=color%3Da"),
        get("field-service", "/api/v1/namespaces/conf/services?fieldSelector=spec.type%3DNone"),
    ]
}

fn watches() -> Vec<Step> {
    let from = |name, query: &str| {
        call(name, "GET", &format!("{MAPS}?watch=true&timeoutSeconds=1{query}"))
    };
    let follow = |name, query: &str| Step::Follow(from(name, query), Vec::new());
    let label = |name, app: &str| {
        send(
            name,
            "PATCH",
            &format!("{MAPS}/w"),
            MERGE,
            &json!({"metadata": {"labels": {"app": app}}}),
        )
    };
    let changes = |names: [&'static str; 4]| {
        vec![
            send(names[0], "POST", MAPS, JSON, &map("w", "w")),
            label(names[1], "v"),
            label(names[2], "w"),
            call(names[3], "DELETE", &format!("{MAPS}/w")),
        ]
    };
    let newest = "<<list:/metadata/resourceVersion>>";
    let stream = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    vec![
        follow("watch", ""),
        follow("watch-zero", "&resourceVersion=0"),
        follow("watch-limit", "&limit=1"),
        follow("watch-version", "&resourceVersion=<<make-b:/metadata/resourceVersion>>"),
        follow("watch-ahead", "&resourceVersion=99999999"),
        follow("watch-streaming", &format!("{stream}&allowWatchBookmarks=true")),
        follow("watch-streaming-silent", stream),
        follow(
            "watch-streaming-ahead",
            &format!("{stream}&allowWatchBookmarks=true&resourceVersion=99999999"),
        ),
        follow("watch-no-initial", "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"),
        Step::Follow(
            call(
                "watch-bookmarks",
                "GET",
                &format!(
                    "{MAPS}?watch=true&timeoutSeconds=5&allowWatchBookmarks=true&resourceVersion={newest}"
                ),
            ),
            Vec::new(),
        ),
        Step::Follow(
            from("watch-changes", &format!("&resourceVersion={newest}")),
            changes(["w1", "w2", "w3", "w4"]),
        ),
        Step::Follow(
            from("watch-selector", &format!("&resourceVersion={newest}&labelSelector=app%3Dw")),
            changes(["w5", "w6", "w7", "w8"]),
        ),
        Step::Follow(
            Call { accept: PARTIAL, ..from("watch-partial", "&fieldSelector=metadata.name%3Da") },
            Vec::new(),
        ),
        Step::Follow(
            Call { accept: TABLE, ..from("watch-table", "&labelSelector=app+in+(a,b)") },
            Vec::new(),
        ),
        maps("watch-wrong-version", "?watch=true&resourceVersion=x"),
        maps("watch-wrong-timeout", "?watch=true&timeoutSeconds=x"),
        maps("watch-initial-alone", "?watch=true&sendInitialEvents=true"),
        maps("watch-match-alone", "?watch=true&resourceVersionMatch=NotOlderThan"),
        maps(
            "watch-match-exact",
            "?watch=true&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=5",
        ),
        maps("watch-not", "?watch=false"),
    ]
}

fn forms() -> Vec<Step> {
    vec![
        form("table", &format!("{MAPS}?limit=2"), TABLE),
        form("table-none", &format!("{MAPS}?limit=2&includeObject=None"), TABLE),
        form("table-object", &format!("{MAPS}?limit=2&includeObject=Object"), TABLE),
        form("table-wrong", &format!("{MAPS}?includeObject=All"), TABLE),
        form("table-one", &format!("{MAPS}/a"), TABLE),
        form("table-missing", &format!("{MAPS}/none"), TABLE),
        form("table-pods", PODS, TABLE),
        form("table-deployments", DEPLOYMENTS, TABLE),
        form("table-nodes", "/api/v1/nodes?labelSelector=none", TABLE),
        form("table-events", EVENTS, TABLE),
        form("partial", &format!("{MAPS}/a"), PARTIAL),
        form("partial-list", &format!("{MAPS}?limit=2"), PARTIALS),
        form("partial-of-list", MAPS, PARTIAL),
        form("partial-list-of-one", &format!("{MAPS}/a"), PARTIALS),
        form("form-unknown", MAPS, "application/json;as=Other;v=v1;g=meta.k8s.io"),
        form(
            "form-fallback",
            &format!("{MAPS}/a"),
            "application/json;as=Other;v=v1;g=meta.k8s.io,application/json",
        ),
        form("form-html", MAPS, "text/html"),
        form("form-any", &format!("{MAPS}/a"), "*/*"),
        form("form-yaml", &format!("{MAPS}/a"), "application/yaml"),
    ]
}

fn paths() -> Vec<Step> {
    vec![
        get("path-resource", "/api/v1/widgets"),
        get("path-group", "/apis/example.com/v1"),
        get("path-custom", "/apis/example.com/v1/widgets"),
        get("path-version", "/apis/apps/v1beta1"),
        get("path-version-resource", "/apis/apps/v1beta1/deployments"),
        get("path-any", "/none"),
        get("path-node-in-namespace", "/api/v1/namespaces/conf/nodes"),
        get("path-map-without-namespace", "/api/v1/configmaps/a"),
        get("path-part", &format!("{MAPS}/a/none")),
        get("path-no-status", &format!("{MAPS}/a/status")),
        get("path-status", &format!("{DEPLOYMENTS}/none/status")),
        raw("method-post-object", "POST", &format!("{MAPS}/a"), JSON, "{}"),
        raw("method-post-everywhere", "POST", "/api/v1/configmaps", JSON, "{}"),
        raw("method-delete-version", "DELETE", "/version", JSON, ""),
        get("version", "/version"),
        get("readyz", "/readyz"),
        get("readyz-verbose", "/readyz?verbose"),
        get("readyz-check", "/readyz/etcd"),
        get("readyz-unknown", "/readyz/none"),
        get("livez", "/livez"),
        get("healthz", "/healthz"),
        get("api", "/api"),
        keep(
            "api-v1",
            "/api/v1",
            JSON,
            &["configmaps", "pods", "pods/status", "nodes", "nodes/status", "events"],
        ),
        keep(
            "apis",
            "/apis",
            JSON,
            &["apps", "batch", "storage.k8s.io", "events.k8s.io", "coordination.k8s.io"],
        ),
        get("apis-apps", "/apis/apps"),
        keep(
            "apis-apps-v1",
            "/apis/apps/v1",
            JSON,
            &["deployments", "deployments/scale", "deployments/status"],
        ),
        keep("discovery-core", "/api", DISCOVERY, &["configmaps", "nodes", "events"]),
        keep(
            "discovery",
            "/apis",
            DISCOVERY,
            &["apps", "events.k8s.io", "storage.k8s.io", "deployments", "events", "storageclasses"],
        ),
        form("discovery-resources", "/apis/apps/v1", DISCOVERY),
        form(
            "discovery-old",
            "/apis",
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        ),
    ]
}

fn writes() -> Vec<Step> {
    let a = format!("{MAPS}/a");
    vec![
        post("create-again", MAPS, &map("a", "a")),
        post("create-nameless", MAPS, &json!({"metadata": {}})),
        post("create-generated", MAPS, &json!({"metadata": {"generateName": "made-"}})),
        post("create-bad-name", MAPS, &json!({"metadata": {"name": "Bad_Name"}})),
        post("create-elsewhere", MAPS, &json!({"metadata": {"name": "x", "namespace": "other"}})),
        post("create-versioned", MAPS, &json!({"metadata": {"name": "x", "resourceVersion": "5"}})),
        post(
            "create-other-kind",
            MAPS,
            &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}),
        ),
        raw("create-no-json", "POST", MAPS, JSON, "{no"),
        raw("create-nothing", "POST", MAPS, JSON, ""),
        raw("create-text", "POST", MAPS, "text/plain", "{}"),
        post("create-nowhere", "/api/v1/namespaces/none/configmaps", &map("x", "x")),
        post("create-dry", &format!("{MAPS}?dryRun=All"), &map("dry", "dry")),
        post("create-dry-wrong", &format!("{MAPS}?dryRun=Some"), &map("dry", "dry")),
        maps("create-dry-get", "/dry"),
        put(
            "update",
            &a,
            &json!({"metadata": {"name": "a", "labels": {"app": "a"}}, "data": {"k": "w"}}),
        ),
        put("update-stale", &a, &json!({"metadata": {"name": "a", "resourceVersion": "1"}})),
        put(
            "update-other-uid",
            &a,
            &json!({"metadata": {"name": "a", "uid": "6d89a969-beb1-464a-a617-bfb848a550cd"}}),
        ),
        put("update-other-name", &a, &json!({"metadata": {"name": "b"}})),
        put("update-nameless", &a, &json!({"data": {"k": "w"}})),
        put("update-none", &format!("{MAPS}/none"), &json!({"metadata": {"name": "none"}})),
        patch("merge", &a, MERGE, &json!({"data": {"k": null, "z": "1"}})),
        patch("merge-stale", &a, MERGE, &json!({"metadata": {"resourceVersion": "1"}})),
        patch("merge-name", &a, MERGE, &json!({"metadata": {"name": "b"}})),
        patch("merge-none", &format!("{MAPS}/none"), MERGE, &json!({"data": {}})),
        raw("merge-no-json", "PATCH", &a, MERGE, "{no"),
        patch("json-patch", &a, PATCH, &json!([{"op": "add", "path": "/data/y", "value": "2"}])),
        patch(
            "json-patch-test",
            &a,
            PATCH,
            &json!([{"op": "test", "path": "/data/y", "value": "3"}]),
        ),
        patch("json-patch-absent", &a, PATCH, &json!([{"op": "remove", "path": "/data/none"}])),
        patch("json-patch-object", &a, PATCH, &json!({"a": 1})),
        patch("strategic", &a, STRATEGIC, &json!({"data": {"s": "t"}})),
        patch("patch-json", &a, JSON, &json!({"data": {"s": "t"}})),
        patch(
            "apply",
            &format!("{MAPS}/c?fieldManager=test&dryRun=All"),
            "application/apply-patch+yaml",
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"u": "t"}}),
        ),
        delete("delete-stale", &a, &json!({"preconditions": {"resourceVersion": "1"}})),
        delete("delete-other-uid", &a, &json!({"preconditions": {"uid": "u"}})),
        raw("delete", "DELETE", &format!("{MAPS}/b"), JSON, ""),
        raw("delete-again", "DELETE", &format!("{MAPS}/b"), JSON, ""),
        raw("delete-many", "DELETE", &format!("{MAPS}?labelSelector=app%3De"), JSON, ""),
        maps("delete-many-list", "?fieldSelector=metadata.name%3De"),
        patch("finalizer", &a, MERGE, &json!({"metadata": {"finalizers": ["example.com/f"]}})),
        raw("finalizer-delete", "DELETE", &a, JSON, ""),
        raw("finalizer-delete-again", "DELETE", &a, JSON, ""),
        patch("finalizer-more", &a, MERGE, &json!({"metadata": {"finalizers": ["example.com/g"]}})),
        patch("finalizer-free", &a, MERGE, &json!({"metadata": {"finalizers": null}})),
        maps("finalizer-gone", "/a"),
        post(
            "class",
            CLASSES,
            &json!({"metadata": {"name": "conf"}, "provisioner": "example.com/p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        patch("class-status", &format!("{CLASSES}/conf/status"), MERGE, &json!({})),
        form("table-classes", &format!("{CLASSES}/conf"), TABLE),
        post(
            "class-fixed",
            CLASSES,
            &json!({"metadata": {"name": "fixed"}, "provisioner": "example.com/p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        patch(
            "class-immutable",
            &format!("{CLASSES}/fixed"),
            MERGE,
            &json!({"provisioner": "other"}),
        ),
        raw("class-delete", "DELETE", &format!("{CLASSES}/conf"), JSON, ""),
        post(
            "event",
            EVENTS,
            &json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "conf"}, "reason": "R", "message": "m", "type": "Warning", "count": 1}),
        ),
        get("event-new", "/apis/events.k8s.io/v1/namespaces/conf/events/e"),
        get(
            "event-selected",
            &format!("{EVENTS}?fieldSelector=involvedObject.kind%3DPod,type%3DWarning,reason%3DR"),
        ),
        get(
            "event-new-selected",
            "/apis/events.k8s.io/v1/namespaces/conf/events?fieldSelector=regarding.kind%3DPod,reason!%3DS",
        ),
    ]
}

/// Every field that the real server would fill in.
fn deployment() -> Value {
    let container = json!({"name": "c", "image": "i:1", "resources": {}, "imagePullPolicy": "Always",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
    let pod = json!({"containers": [container], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30, "securityContext": {}, "schedulerName": "default-scheduler"});
    json!({"metadata": {"name": "d", "labels": {"app": "d"}}, "spec": {
        "replicas": 2, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "selector": {"matchLabels": {"app": "d"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": pod}}})
}

fn workloads() -> Vec<Step> {
    let d = format!("{DEPLOYMENTS}/d");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]}});
    vec![
        post(
            "deployment-invalid",
            DEPLOYMENTS,
            &json!({"metadata": {"name": "invalid"}, "spec": {"replicas": 2}}),
        ),
        post("deployment", DEPLOYMENTS, &deployment()),
        patch(
            "deployment-status",
            &format!("{d}/status"),
            MERGE,
            &json!({"status": {"replicas": 2}, "spec": {"replicas": 9}}),
        ),
        patch(
            "deployment-spec",
            &d,
            MERGE,
            &json!({"status": {"replicas": 7}, "spec": {"replicas": 3}}),
        ),
        patch("deployment-label", &d, MERGE, &json!({"metadata": {"labels": {"x": "y"}}})),
        patch("deployment-same", &d, MERGE, &json!({"metadata": {"labels": {"x": "y"}}})),
        get("scale", &format!("{d}/scale")),
        patch("scale-set", &format!("{d}/scale"), MERGE, &json!({"spec": {"replicas": 4}})),
        get("scale-got", &d),
        form("table-deployment", &d, TABLE),
        patch(
            "strategic-conditions",
            &format!("{d}/status"),
            STRATEGIC,
            &json!({"status": {"conditions": [{"type": "Available", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
        ),
        patch(
            "strategic-conditions-more",
            &format!("{d}/status"),
            STRATEGIC,
            &json!({"status": {"conditions": [{"type": "Progressing", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}, {"type": "Available", "status": "False"}]}}),
        ),
        delete("deployment-foreground", &d, &json!({"propagationPolicy": "Foreground"})),
        patch("deployment-free", &d, MERGE, &json!({"metadata": {"finalizers": null}})),
        get("deployment-gone", &d),
        post("deployment-anew", DEPLOYMENTS, &deployment()),
        raw("deployment-delete", "DELETE", &d, JSON, ""),
        post("pod-defaults", "/api/v1/namespaces/default/pods", &pod),
        patch(
            "pod-status",
            "/api/v1/namespaces/default/pods/p/status",
            MERGE,
            &json!({"status": {"phase": "Running"}}),
        ),
        get("pod-by-node", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn,status.phase%3DRunning"),
        form("table-pod", "/api/v1/namespaces/default/pods/p", TABLE),
        raw("pod-delete", "DELETE", "/api/v1/namespaces/default/pods/p", JSON, ""),
        get("pod-going", "/api/v1/namespaces/default/pods/p"),
        raw(
            "pod-kill",
            "DELETE",
            "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0",
            JSON,
            "",
        ),
        get("pod-gone", "/api/v1/namespaces/default/pods/p"),
        post(
            "pod-evict",
            "/api/v1/namespaces/default/pods/p/eviction",
            &json!({"metadata": {"name": "p"}}),
        ),
        post("namespace", "/api/v1/namespaces", &json!({"metadata": {"name": "going"}})),
        raw("namespace-delete", "DELETE", "/api/v1/namespaces/going", JSON, ""),
        post("namespace-create-in", "/api/v1/namespaces/going/configmaps", &map("x", "x")),
    ]
}

fn old() -> Vec<Step> {
    let watch = |name, query: &str| {
        let path = format!("{MAPS}?watch=true&timeoutSeconds=1&{query}");
        Step::Follow(call(name, "GET", &path), Vec::new())
    };
    let version = "resourceVersion=<<make-b:/metadata/resourceVersion>>";
    vec![
        Step::Forget,
        watch("old-watch", version),
        watch(
            "old-stream",
            &format!(
                "{version}&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            ),
        ),
        maps("old-list", &format!("?{version}")),
        maps("old-exact", &format!("?{version}&resourceVersionMatch=Exact")),
        maps("old-token", "?limit=1&continue=<<list-limit:/metadata/continue>>"),
        maps("old-token-anew", "?limit=1&continue=<<old-token:/metadata/continue>>"),
    ]
}
