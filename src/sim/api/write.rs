//! What becomes of a client's write? Created, changed, refused or gone, with the answers that kubectl sees.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::defaults;
use super::patch;
use super::query::Query;
use super::request::{Objects, Part, Target};
use super::resource;
use super::status::{Cause, Failure};
use super::view;
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::{Kind, Served};
use crate::sim::moment::stamp;
use crate::sim::shared::State;
use crate::sim::store::Key;

/// What the body of a write is.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) kind: Option<HeaderValue>,
    pub(super) bytes: Bytes,
}

/// Makes a new object.
pub(super) fn create(
    state: &mut State,
    objects: &Objects,
    query: &Query,
    body: &Body,
) -> Result<Value, Failure> {
    let served = objects.served;
    let dry = query.dry_run("CreateOptions")?;
    let mut object = read(served, body)?;
    let ns = objects.ns.clone().unwrap_or_default();
    same_namespace(&object, &ns)?;
    if !object.text("metadata/resourceVersion").is_empty() {
        let text = "resourceVersion should not be set on objects to be created";
        return Err(Failure::new(500, "", text));
    }
    if served.namespaced {
        object.put("metadata/namespace", json!(ns));
        in_living_namespace(state, served, &object, &ns)?;
    }
    let prefix = object.text("metadata/generateName").to_owned();
    if object.text("metadata/name").is_empty() && !prefix.is_empty() {
        let thing = format!("{prefix}{}", state.sim.store.version());
        let suffix = state.sim.chance.of("generated name", &thing).letters(5);
        object.put("metadata/name", json!(format!("{prefix}{suffix}")));
    }
    let name = object.text("metadata/name").to_owned();
    check_name(served, &name)?;
    let key = Key::new(ns, &name);
    if state.sim.store.get(served.kind, &key).is_some() {
        return Err(Failure::already_exists(served, &name));
    }
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "generation", "managedFields"] {
        object.drop_field(&format!("metadata/{field}"));
    }
    if resource::custom(served) && resource::has_status(served) {
        object.drop_field("status");
    }
    defaults::fill(served, &mut object);
    if dry {
        let uid = state.sim.chance.of("dry uid", &key.to_string()).uuid();
        object.put("metadata/uid", json!(uid));
        object.put("metadata/creationTimestamp", json!(stamp(state.sim.now)));
        object.put("apiVersion", json!(served.kind.api_version()));
        object.put("kind", json!(served.name));
        return Ok(object);
    }
    state.sim.create(served.kind, object);
    if served.kind == Kind::Event {
        let sim = &mut state.sim;
        sim.recorder.adopt(&mut sim.queue, sim.now, &key);
    }
    state.memory.wake();
    let created = state.sim.store.get(served.kind, &key);
    created.map(|o| (**o).clone()).ok_or_else(|| Failure::not_found(served, &name))
}

/// Puts a whole object in an old one's place.
pub(super) fn replace(
    state: &mut State,
    target: &Target,
    query: &Query,
    body: &Body,
) -> Result<Value, Failure> {
    let served = target.objects.served;
    let dry = query.dry_run("UpdateOptions")?;
    let before = present(state, &target.objects, &target.name);
    if target.part == Part::Scale {
        let mut after = before?;
        let scale = parse(served, body)?;
        after.put("spec/replicas", json!(scale.int("spec/replicas")));
        return save(state, target, after, dry).map(|o| scale_of(&o));
    }
    let after = read(served, body)?;
    let name = after.text("metadata/name");
    if name.is_empty() {
        return Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )));
    }
    same_namespace(&after, target.objects.ns.as_deref().unwrap_or(""))?;
    before?;
    save(state, target, after, dry)
}

/// Changes parts of an object.
pub(super) fn change(
    state: &mut State,
    target: &Target,
    query: &Query,
    body: &Body,
) -> Result<Value, Failure> {
    let served = target.objects.served;
    let dry = query.dry_run("PatchOptions")?;
    let kind = patch::kind(body.kind.as_ref(), resource::custom(served))?;
    let mut after = present(state, &target.objects, &target.name)?;
    if target.part == Part::Scale {
        let mut scale = scale_of(&after);
        patch::apply(kind, &mut scale, &body.bytes)?;
        after.put("spec/replicas", json!(scale.int("spec/replicas")));
        return save(state, target, after, dry).map(|o| scale_of(&o));
    }
    // The object as this group shows it, since that is what the client has seen.
    let mut shown = view::as_served(served, &after).into_owned();
    patch::apply(kind, &mut shown, &body.bytes)?;
    save(state, target, view::as_stored(served, shown), dry)
}

/// The scale of a workload.
pub(super) fn scale_of(workload: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let value = workload.at(&format!("metadata/{field}")).cloned().unwrap_or_default();
        metadata.insert(field.to_owned(), value);
    }
    let labels = workload.at("spec/selector/matchLabels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    let pairs: Vec<_> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": workload.int("spec/replicas")},
        "status": {"replicas": workload.int("status/replicas"), "selector": pairs.join(",")}})
}

/// What the API server keeps, whatever the client writes.
const KEPT: [&str; 8] = [
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Stores what an object is to become, if nothing speaks against it.
fn save(state: &mut State, target: &Target, after: Value, dry: bool) -> Result<Value, Failure> {
    let (served, name) = (target.objects.served, target.name.as_str());
    let before = present(state, &target.objects, name)?;
    let mut after = after;
    let claimed = after.text("metadata/name");
    if claimed != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({claimed}) does not match the name on the URL ({name})"
        )));
    }
    let key = Key::of(&before);
    let uid = after.text("metadata/uid");
    if !uid.is_empty() && uid != before.text("metadata/uid") {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            served.plural,
            before.text("metadata/uid")
        );
        return Err(Failure::mismatched(served, name, &why));
    }
    let version = after.text("metadata/resourceVersion");
    if !version.is_empty() && version != before.text("metadata/resourceVersion") {
        return Err(Failure::modified(served, name));
    }
    for field in KEPT {
        let path = format!("metadata/{field}");
        match before.at(&path) {
            Some(value) => after.put(&path, value.clone()),
            None => after.drop_field(&path),
        }
    }
    after.drop_field("metadata/managedFields");
    after.put("apiVersion", before["apiVersion"].clone());
    after.put("kind", before["kind"].clone());
    if target.part == Part::Status {
        let status = after.at("status").cloned();
        after = before.clone();
        match status {
            Some(status) => after.put("status", status),
            None => after.drop_field("status"),
        }
    } else if resource::has_status(served) {
        match before.at("status") {
            Some(status) => after.put("status", status.clone()),
            None => after.drop_field("status"),
        }
    }
    if after.items("metadata/finalizers").is_empty() {
        after.drop_field("metadata/finalizers");
    }
    no_new_finalizers(served, name, &before, &after)?;
    if dry || after == before {
        return Ok(after);
    }
    let gone = deleting(&before)
        && after.at("metadata/finalizers").is_none()
        && before.at("metadata/finalizers").is_some();
    if gone {
        state.sim.store.remove(served.kind, &key);
    } else {
        state.sim.store.update(served.kind, &key, |object| *object = after.clone());
        after = present(state, &target.objects, name)?;
    }
    state.memory.wake();
    Ok(after)
}

/// Asks for an object to go; the answer is the object while it stays, and a Status when it went.
pub(super) fn delete(
    state: &mut State,
    objects: &Objects,
    name: &str,
    query: &Query,
    body: &Body,
) -> Result<Value, Failure> {
    let served = objects.served;
    let dry = query.dry_run("DeleteOptions")?;
    let before = present(state, objects, name)?;
    let options: Value = serde_json::from_slice(&body.bytes).unwrap_or_default();
    preconditions(served, name, &before, &options)?;
    let policy = match query.text("propagationPolicy") {
        "" => options.text("propagationPolicy"),
        text => text,
    };
    let mut finalizers = before.items("metadata/finalizers").to_vec();
    match policy {
        "Foreground" => finalizers.push(json!("foregroundDeletion")),
        "Orphan" => finalizers.push(json!("orphan")),
        _ => {}
    }
    let success = || {
        let mut details = json!({"name": name, "kind": served.plural,
            "uid": before.text("metadata/uid")});
        if !served.group.is_empty() {
            details["group"] = json!(served.group);
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details})
    };
    if dry {
        return Ok(success());
    }
    let key = Key::of(&before);
    let now = stamp(state.sim.now);
    let grace = match query.number("gracePeriodSeconds")? {
        None => options.at("gracePeriodSeconds").and_then(Value::as_i64),
        given => given,
    };
    let answer = if served.name == "Namespace" {
        terminate(state, &key, served, &now);
        present(state, objects, name)?
    } else if !finalizers.is_empty() {
        if !deleting(&before) {
            state.sim.store.update(served.kind, &key, |object| {
                object.put("metadata/deletionTimestamp", json!(now));
                object.put("metadata/deletionGracePeriodSeconds", json!(0));
                object.put("metadata/finalizers", Value::Array(finalizers));
            });
        }
        present(state, objects, name)?
    } else if served.name == "Pod" {
        if grace == Some(0) {
            state.sim.store.remove(served.kind, &key);
        } else {
            state.sim.delete(served.kind, &key);
        }
        present(state, objects, name).unwrap_or_else(|_| {
            let mut last = before.clone();
            last.put("metadata/deletionTimestamp", json!(now));
            last.put("metadata/deletionGracePeriodSeconds", json!(0));
            if !deleting(&before) {
                last.put("metadata/generation", json!(before.int("metadata/generation") + 1));
            }
            last
        })
    } else {
        state.sim.delete(served.kind, &key);
        if resource::returned(served) { before.clone() } else { success() }
    };
    state.memory.wake();
    Ok(answer)
}

/// A namespace goes when what is in it has gone, which is for its controller to say.
fn terminate(state: &mut State, key: &Key, served: &Served, now: &str) {
    state.sim.store.update(served.kind, key, |namespace| {
        if !deleting(namespace) {
            namespace.put("metadata/deletionTimestamp", json!(now));
        }
        namespace.put("status/phase", json!("Terminating"));
    });
}

/// Deletes every object that a list would show. The answer is for the caller: what there was.
pub(super) fn delete_many(
    state: &mut State,
    objects: &Objects,
    query: &Query,
    body: &Body,
) -> Result<(), Failure> {
    let all = state.sim.store.list(objects.served.kind, objects.ns.as_deref());
    let names: Vec<_> =
        all.filter(|(_, o)| objects.include(o)).map(|(key, _)| key.name.clone()).collect();
    for name in names {
        delete(state, objects, &name, query, body)?;
    }
    Ok(())
}

fn preconditions(
    served: &Served,
    name: &str,
    before: &Value,
    options: &Value,
) -> Result<(), Failure> {
    let uid = options.text("preconditions/uid");
    let has = before.text("metadata/uid");
    if !uid.is_empty() && uid != has {
        return Err(Failure::unmet(
            served,
            name,
            &format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({has}). The object might have \
                 been deleted and then recreated"
            ),
        ));
    }
    let version = options.text("preconditions/resourceVersion");
    let has = before.text("metadata/resourceVersion");
    if !version.is_empty() && version != has {
        return Err(Failure::unmet(
            served,
            name,
            &format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
                 ({has}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

fn present(state: &State, objects: &Objects, name: &str) -> Result<Value, Failure> {
    let key = Key::new(objects.ns.clone().unwrap_or_default(), name);
    let found = state.sim.store.get(objects.served.kind, &key);
    found.map(|o| (**o).clone()).ok_or_else(|| Failure::not_found(objects.served, name))
}

/// The body as JSON.
fn parse(served: &Served, body: &Body) -> Result<Value, Failure> {
    let kind = body.kind.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("");
    if !matches!(kind.split(';').next().unwrap_or("").trim(), "" | "application/json") {
        return Err(Failure::unsupported_media_type("application/json"));
    }
    serde_json::from_slice::<Value>(&body.bytes).ok().filter(Value::is_object).ok_or_else(|| {
        let (why, text) = if body.bytes.is_empty() {
            ("unexpected end of JSON input", "<empty>".into())
        } else {
            ("no object", String::from_utf8_lossy(&body.bytes[..body.bytes.len().min(40)]))
        };
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {why} ({text})",
            served.name
        ))
    })
}

/// The body as an object of this resource, as it is stored.
fn read(served: &Served, body: &Body) -> Result<Value, Failure> {
    let mut object = parse(served, body)?;
    let (kind, version) = (object.text("kind"), object.text("apiVersion"));
    let expected = served.api_version();
    if kind.is_empty() && resource::custom(served) {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing",
            served.name
        )));
    }
    if (!kind.is_empty() && kind != served.name) || (!version.is_empty() && version != expected) {
        let bare = version.rsplit_once('/').map_or(version, |(_, v)| v);
        return Err(Failure::bad_request(format!(
            "{kind} in version {bare:?} cannot be handled as a {}: converting ({bare}.{kind}) to (core.{}): unknown \
             conversion",
            served.name, served.name
        )));
    }
    if !object.at("metadata").is_some_and(Value::is_object) {
        object.put("metadata", json!({}));
    }
    Ok(view::as_stored(served, object))
}

fn same_namespace(object: &Value, ns: &str) -> Result<(), Failure> {
    match object.text("metadata/namespace") {
        "" => Ok(()),
        claimed if claimed == ns => Ok(()),
        _ => Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// Nothing comes into a namespace that is not there or goes.
fn in_living_namespace(
    state: &State,
    served: &Served,
    object: &Value,
    ns: &str,
) -> Result<(), Failure> {
    let Some(namespaces) = resource::of_kind("Namespace") else { return Ok(()) };
    let Some(namespace) = state.sim.store.get(namespaces.kind, &Key::cluster(ns)) else {
        return Err(Failure::not_found(namespaces, ns));
    };
    if deleting(namespace) {
        return Err(Failure::terminating(served, object.text("metadata/name"), ns));
    }
    Ok(())
}

fn check_name(served: &Served, name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        let cause = Cause::required("metadata.name", "name or generateName is required");
        return Err(Failure::invalid(served, name, &[cause]));
    }
    // Names of RBAC's objects are path segments, all others names as DNS has them.
    let rbac = served.group == "rbac.authorization.k8s.io";
    let label = |part: &str| {
        let edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(part.chars().next())
            && edge(part.chars().next_back())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if (rbac && !name.contains(['/', '%'])) || (name.len() <= 253 && name.split('.').all(label)) {
        return Ok(());
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
               start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
               '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    Err(Failure::invalid(served, name, &[Cause::invalid("metadata.name", name, why)]))
}

fn no_new_finalizers(
    served: &Served,
    name: &str,
    before: &Value,
    after: &Value,
) -> Result<(), Failure> {
    let old = before.items("metadata/finalizers");
    let new = after.items("metadata/finalizers").iter().filter(|f| !old.contains(f));
    let new: Vec<_> = new.map(ToString::to_string).collect();
    if !deleting(before) || new.is_empty() {
        return Ok(());
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        new.join(", ")
    );
    Err(Failure::invalid(served, name, &[Cause::forbidden("metadata.finalizers", &why)]))
}
