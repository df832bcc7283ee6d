//! Which objects are there? Whole, or in pages that together show one moment.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::request::{Objects, Query};
use super::status::Failure;
use super::view;
use crate::sim::controllers::leases;
use crate::sim::fields::Fields;
use crate::sim::moment::{MINUTE, Moment};
use crate::sim::shared::Shared;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// A continue token is good for this long, as with etcd's compaction.
const GOOD_FOR: Moment = 5 * MINUTE;
/// How many lists may be read in pages at once; the oldest gives way.
const OPEN_LISTS: usize = 64;

/// Lists that are being read in pages.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    open: VecDeque<Page>,
    count: u64,
}

/// What is left of a list.
#[derive(Debug)]
struct Page {
    token: String,
    at: Moment,
    version: u64,
    rest: Vec<Arc<Value>>,
}

/// One object.
pub(super) fn get(shared: &Shared, objects: &Objects, name: &str) -> Result<Value, Failure> {
    let state = shared.lock();
    let key = Key::new(objects.ns.clone().unwrap_or_default(), name);
    let found = state.sim.store.get(objects.served.kind, &key);
    found.map(|o| view::show(objects.served, o)).ok_or_else(|| {
        let group = if objects.served.group.is_empty() { "" } else { "." };
        let resource = format!("{}{group}{}", objects.served.plural, objects.served.group);
        Failure::new(404, "NotFound", format!("{resource} {name:?} not found"))
    })
}

/// Many objects.
pub(super) fn list(shared: &Shared, objects: &Objects, query: &Query) -> Result<Bytes, Failure> {
    let limit =
        query.number("limit")?.map_or(usize::MAX, |n| if n == 0 { usize::MAX } else { n as usize });
    let (version, mut items, next) = {
        let mut state = shared.lock();
        let now = state.sim.now;
        let (version, mut items) = match query.text("continue") {
            "" => {
                let version = state.sim.store.version();
                not_ahead(query, version)?;
                let all = state.sim.store.list(objects.served.kind, objects.ns.as_deref());
                (
                    version,
                    all.filter(|(_, o)| objects.include(o))
                        .map(|(_, o)| shown(&state.sim, o))
                        .collect(),
                )
            }
            token => state.pages.take(token, now)?,
        };
        let next = (items.len() > limit).then(|| {
            let rest: Vec<_> = items.split_off(limit);
            let left = rest.len();
            (state.pages.keep(version, rest, now), left)
        });
        drop(state);
        (version, items, next)
    };
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some((token, left)) = next {
        metadata["continue"] = json!(token);
        if !objects.selected() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    Ok(render(objects, &metadata, &mut items))
}

/// The object as it is at this moment: renewals of leases are not written.
fn shown(sim: &Simulation, object: &Arc<Value>) -> Arc<Value> {
    if object.text("kind") != "Lease" {
        return Arc::clone(object);
    }
    match leases::shown(sim, object) {
        Cow::Borrowed(_) => Arc::clone(object),
        Cow::Owned(renewed) => Arc::new(renewed),
    }
}

fn render(objects: &Objects, metadata: &Value, items: &mut Vec<Arc<Value>>) -> Bytes {
    let served = objects.served;
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        served.name,
        served.api_version()
    );
    let mut out = head.into_bytes();
    for (index, object) in items.drain(..).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        view::write(&mut out, served, &object);
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

/// A version that is not there yet cannot be shown.
pub(super) fn not_ahead(query: &Query, current: u64) -> Result<(), Failure> {
    let wanted = query.number("resourceVersion")?.unwrap_or(0);
    if wanted > current {
        let text = format!("Too large resource version: {wanted}, current: {current}");
        return Err(Failure::new(504, "Timeout", text));
    }
    Ok(())
}

impl Pages {
    fn keep(&mut self, version: u64, rest: Vec<Arc<Value>>, now: Moment) -> String {
        self.count += 1;
        let token = format!("{version}-{}", self.count);
        self.open.retain(|page| page.at + GOOD_FOR > now);
        if self.open.len() == OPEN_LISTS {
            self.open.pop_front();
        }
        self.open.push_back(Page { token: token.clone(), at: now, version, rest });
        token
    }

    fn take(&mut self, token: &str, now: Moment) -> Result<(u64, Vec<Arc<Value>>), Failure> {
        let found = self.open.iter().find(|page| page.token == token && page.at + GOOD_FOR > now);
        // A page may be asked for again: what is left of it stays until it is too old.
        found.map(|page| (page.version, page.rest.clone())).ok_or_else(|| {
            let text = "The provided continue parameter is too old to display a consistent list result. You can start \
                        a new list without the continue parameter.";
            Failure::new(410, "Expired", text)
        })
    }
}
