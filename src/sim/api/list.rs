//! Which objects are there? Whole, or in pages that together show one moment.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::accept::Form;
use super::query::{Match, Query};
use super::request::Objects;
use super::status::Failure;
use super::table::Columns;
use super::view::View;
use crate::sim::controllers::leases;
use crate::sim::fields::Fields;
use crate::sim::kind::Served;
use crate::sim::moment::Moment;
use crate::sim::shared::State;
use crate::sim::store::Key;

/// The version of continue tokens.
const TOKEN: &str = "meta.k8s.io/v1";

/// One object.
pub(super) fn get(
    state: &State,
    objects: &Objects,
    name: &str,
    query: &Query,
    form: Form,
) -> Result<Value, Failure> {
    let served = objects.served;
    let wanted = query.version().map_err(invalid_version)?.unwrap_or(0);
    not_ahead(wanted, state.sim.store.version())?;
    let key = Key::new(objects.ns.clone().unwrap_or_default(), name);
    let found = state.sim.store.get(served.kind, &key);
    let found = found.ok_or_else(|| Failure::not_found(served, name))?;
    single(state, served, found, query, form)
}

/// One object, as the answer to any verb.
pub(super) fn single(
    state: &State,
    served: &'static Served,
    object: &Value,
    query: &Query,
    form: Form,
) -> Result<Value, Failure> {
    if form == Form::MetadataList {
        return Err(wrong_form(form, "not a list", served, ""));
    }
    Ok(view(state, served, query, form)?.one(object, state.sim.now))
}

/// How a resource's objects are to be written.
pub(super) fn view(
    state: &State,
    served: &'static Served,
    query: &Query,
    form: Form,
) -> Result<View, Failure> {
    let include = query.text("includeObject");
    if form != Form::Table {
        return Ok(View::new(served, form, "", Columns::default()));
    }
    if !matches!(include, "" | "Metadata" | "Object" | "None") {
        let why = "must be 'Metadata', 'Object', 'None', or empty";
        return Err(Failure::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: {why}"
        )));
    }
    Ok(View::new(served, form, include, Columns::of(served, &state.sim.store)))
}

/// A form that does not fit what is asked for.
pub(super) fn wrong_form(form: Form, is: &str, served: &Served, suffix: &str) -> Failure {
    let wanted = if form == Form::Metadata { "" } else { "List" };
    let what = format!("*core.{}{suffix}", served.name);
    Failure::new(
        406,
        "NotAcceptable",
        format!(
            "you requested PartialObjectMetadata{wanted}, but the requested object is {is} ({what})"
        ),
    )
}

/// Many objects, and how to write them once the lock is gone.
pub(super) struct Page {
    view: View,
    items: Vec<Arc<Value>>,
    metadata: Value,
    now: Moment,
}

/// Many objects.
pub(super) fn list(
    state: &mut State,
    objects: &Objects,
    query: &Query,
    form: Form,
) -> Result<Page, Failure> {
    query.check(false)?;
    if form == Form::Metadata {
        return Err(wrong_form(form, "a list", objects.served, "List"));
    }
    let limit = query.number("limit")?.filter(|n| *n > 0).map_or(usize::MAX, |n| n as usize);
    query.number("timeoutSeconds")?;
    let (version, start, paged) = moment(state, query, limit < usize::MAX)?;
    state.memory.troubles().listed(objects.served.kind, version);
    let store = &state.sim.store;
    let all = store.at(objects.served.kind, objects.ns.as_deref(), version);
    let all = all.ok_or_else(|| expired(start.as_ref()))?;
    let after = |key: &Key| start.as_ref().is_none_or(|s| position(objects, key) > *s);
    let matching = all.into_iter().filter(|(k, o)| after(k) && objects.include(o));
    let mut items: Vec<_> = matching.collect();
    let left = items.len().saturating_sub(limit);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if left > 0 && paged {
        items.truncate(limit);
        let last = items.last().map(|(key, _)| position(objects, key)).unwrap_or_default();
        metadata.put("continue", json!(token(Some(version), &last)));
        if objects.selector.is_empty() {
            metadata.put("remainingItemCount", json!(left));
        }
    }
    let items = items.into_iter().map(|(_, object)| shown(state, object)).collect();
    let view = view(state, objects.served, query, form)?;
    Ok(Page { view, items, metadata, now: state.sim.now })
}

/// The object as it is at this moment: renewals of leases are not written.
fn shown(state: &State, object: Arc<Value>) -> Arc<Value> {
    if object.text("kind") != "Lease" {
        return object;
    }
    match leases::shown(&state.sim, &object) {
        Cow::Borrowed(_) => object,
        Cow::Owned(renewed) => Arc::new(renewed),
    }
}

/// The version to show, after which object to begin, and whether the limit counts.
fn moment(
    state: &mut State,
    query: &Query,
    limited: bool,
) -> Result<(u64, Option<String>, bool), Failure> {
    let (now, current) = (state.sim.now, state.sim.store.version());
    let wanted = query.version();
    let text = query.text("continue");
    let storm = state.memory.troubles().expired(state.sim.chance, now);
    let compacted = if storm { u64::MAX } else { state.memory.compacted(now, current) };
    if !text.is_empty() {
        let (version, start) = read_token(text)?;
        if !matches!(wanted, Ok(None | Some(0))) {
            let text = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(text));
        }
        if version.is_some_and(|v| v < compacted) {
            return Err(expired(Some(&start)));
        }
        let version = version.unwrap_or(current);
        not_ahead(version, current)?;
        return Ok((version, Some(start), true));
    }
    let wanted = wanted.map_err(invalid_version)?;
    not_ahead(wanted.unwrap_or(0), current)?;
    match (wanted, query.matching()) {
        // Any version will do, which is the server's own cache, which has no pages.
        (Some(0), _) => Ok((current, None, false)),
        (Some(version), Match::Exact) => exact(version, compacted).map(|v| (v, None, true)),
        // The meaning before matches could be named: with a limit, exactly this version.
        (Some(version), Match::Unset) if limited => {
            exact(version, compacted).map(|v| (v, None, true))
        }
        _ => Ok((current, None, true)),
    }
}

fn exact(version: u64, compacted: u64) -> Result<u64, Failure> {
    if version < compacted { Err(Failure::compacted()) } else { Ok(version) }
}

fn expired(start: Option<&String>) -> Failure {
    // The key comes back without its slash, as the real server gives it.
    let go_on = |start: &String| Failure::expired_token(token(None, start.trim_start_matches('/')));
    start.map_or_else(Failure::compacted, go_on)
}

/// Where an object stands among others, as etcd's key below the list's own.
fn position(objects: &Objects, key: &Key) -> String {
    if objects.ns.is_some() { format!("/{}", key.name) } else { format!("/{key}") }
}

/// A continue token: the version, or none for whichever is newest, and the object before the next one.
fn token(version: Option<u64>, last: &str) -> String {
    let version = version.map_or(-1, |v| v as i64);
    let text = json!({"v": TOKEN, "rv": version, "start": format!("{last}\0")}).to_string();
    URL_SAFE_NO_PAD.encode(text)
}

fn read_token(text: &str) -> Result<(Option<u64>, String), Failure> {
    let invalid = |why: &str| {
        Failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid("illegal base64 data"))?;
    let read: Value = serde_json::from_slice(&bytes).map_err(|_| invalid("invalid character"))?;
    if read.text("v") != TOKEN {
        let known = format!("server does not recognize this encoded version {:?}", read.text("v"));
        return Err(invalid(&known));
    }
    let version = match read.int("rv") {
        0 => {
            return Err(invalid(&format!(
                "incorrect encoded start resourceVersion (version {TOKEN})"
            )));
        }
        negative if negative < 0 => None,
        version => Some(version as u64),
    };
    let start = read.text("start");
    if start.is_empty() {
        return Err(invalid(&format!("encoded start key empty (version {TOKEN})")));
    }
    let last = start.trim_end_matches('\0').trim_start_matches('/');
    Ok((version, format!("/{last}")))
}

impl Page {
    pub(super) fn write(mut self) -> Bytes {
        let (now, metadata) = (self.now, self.metadata);
        if self.view.is_table() {
            let items = self.items.iter().map(|o| &**o);
            return Bytes::from(self.view.rows(&metadata, items, now).to_string());
        }
        let (kind, api_version) = self.view.list_of();
        let head = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
        );
        let mut out = head.into_bytes();
        for (index, object) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.view.item(&mut out, object);
        }
        out.extend_from_slice(b"]}");
        Bytes::from(out)
    }
}

/// A version that is not there yet cannot be shown.
pub(super) fn not_ahead(wanted: u64, current: u64) -> Result<(), Failure> {
    if wanted > current { Err(Failure::ahead(wanted, current)) } else { Ok(()) }
}

fn invalid_version(why: impl std::fmt::Display) -> Failure {
    Failure::bad_request(format!("invalid resource version: {why}"))
}
