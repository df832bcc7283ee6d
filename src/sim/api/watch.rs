//! What has changed since? A stream of events that resumes, bookmarks, and ends, as a real server's does.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::accept::Form;
use super::list;
use super::query::{Match, Query};
use super::request::Objects;
use super::status::Failure;
use super::trouble::Troubles;
use super::view::View;
use super::{ResponseBody, list::wrong_form};
use crate::sim::chance::Draw;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::pulse::Ear;
use crate::sim::shared::{Shared, State};
use crate::sim::store::{Change, Verb};

/// Bookmarks come about this often, and this long before the end.
const BOOKMARK_EVERY: Moment = MINUTE;
const LAST_BOOKMARK: Moment = 2 * SECOND;
/// Where the client names no timeout; real servers choose half an hour to an hour.
const DEFAULT_TIMEOUT: i64 = 1800;
/// How many events go into one frame.
const BATCH: usize = 256;
/// For how long events are held back where they are reordered.
const HELD_FOR: Moment = 3 * SECOND;
/// How often a watch looks for trouble.
const TROUBLED_EVERY: Moment = 5 * SECOND;
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// A watch in progress.
struct Watch {
    shared: Arc<Shared>,
    /// Which of the cluster's API servers answers.
    server: usize,
    ticks: Ear,
    writes: Ear,
    objects: Objects,
    view: View,
    /// Objects that are announced as if they were new, before any change.
    initial: VecDeque<Arc<Value>>,
    /// A bookmark says that the initial objects were all.
    mark_initial: bool,
    /// What is said at once instead of anything else.
    refusal: Option<Failure>,
    seen: u64,
    bookmarks: bool,
    bookmark_at: Moment,
    ends_at: Moment,
    began: Moment,
    cut_at: Option<Moment>,
    held_until: Option<Moment>,
    draw: Draw,
    over: bool,
    broken: Option<Error>,
}

/// Begins a watch.
pub(super) fn watch(
    (shared, server): (&Arc<Shared>, usize),
    state: &mut State,
    objects: Objects,
    query: &Query,
    form: Form,
) -> Result<ResponseBody, Failure> {
    query.check(true)?;
    let timeout = query.number("timeoutSeconds")?.filter(|n| *n > 0).unwrap_or(DEFAULT_TIMEOUT);
    query.number("limit")?;
    let from = query.version().map_err(|why| Failure::new(500, "", why))?;
    if form == Form::MetadataList {
        return Err(wrong_form(form, "not a list", objects.served, ""));
    }
    let streamed = query.matching() == Match::NotOlderThan && query.truth("sendInitialEvents");
    let silent = query.has("sendInitialEvents") && !streamed;
    let bookmarks = query.truth("allowWatchBookmarks");
    let (now, current) = (state.sim.now, state.sim.store.version());
    let from = from.unwrap_or(0);
    let mut refusal = None;
    if streamed && from > current {
        refusal = Some(Failure::ahead(from, current));
    } else if from > 0 && !streamed && state.memory.troubles().expired(state.sim.chance, now) {
        refusal = Some(Failure::too_old(from, current));
    }
    let kind = objects.served.kind;
    let (behind, not_before) = state.memory.troubles().behind(kind, now);
    let store = &state.sim.store;
    // Version 0 or none means: the state, then the changes.
    let (initial, seen) = if streamed || (from == 0 && !silent) {
        let all = store.list(objects.served.kind, objects.ns.as_deref()).map(|(_, o)| o);
        (all.filter(|o| objects.include(o)).map(Arc::clone).collect(), current)
    } else {
        let from = if from == 0 { current } else { from };
        let again = store.before(kind, from, behind).max(not_before);
        (VecDeque::new(), again.min(from))
    };
    if !initial.is_empty() || streamed {
        state.memory.troubles().listed(kind, current);
    }
    let view = list::view(state, objects.served, query, form)?;
    let ends_at = now + timeout.saturating_mul(SECOND);
    state.memory.watches += 1;
    let watch = Watch {
        shared: Arc::clone(shared),
        server,
        ticks: shared.ticks(objects.served.kind),
        writes: state.memory.writes(),
        objects,
        view,
        initial,
        mark_initial: streamed && bookmarks,
        refusal,
        seen,
        bookmarks,
        bookmark_at: next_bookmark(now, ends_at),
        ends_at,
        began: now,
        cut_at: None,
        held_until: None,
        draw: state.memory.troubles().draw(state.sim.chance, "watch"),
        over: false,
        broken: None,
    };
    let frames = stream::unfold(watch, |mut watch| async move {
        let bytes = watch.next().await?;
        Some((bytes.map(Frame::data), watch))
    });
    Ok(StreamBody::new(frames).boxed_unsync())
}

/// Every minute, and shortly before the end.
fn next_bookmark(now: Moment, ends_at: Moment) -> Moment {
    let last = ends_at - LAST_BOOKMARK;
    if now < last { last.min(now + BOOKMARK_EVERY) } else { Moment::MAX }
}

impl Watch {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            if let Some(error) = self.broken.take() {
                self.over = true;
                return Some(Err(error));
            }
            if self.over {
                return None;
            }
            self.ticks.forget();
            self.writes.forget();
            let lines = self.collect();
            if !lines.is_empty() {
                return Some(Ok(Bytes::from(lines)));
            }
            if self.over || self.broken.is_some() {
                continue;
            }
            self.look_again();
            // When the cluster is gone, so is its API server.
            tokio::select! {
                biased;
                beat = self.ticks.beat() => beat?,
                beat = self.writes.beat() => beat?,
            }
        }
    }

    /// Has itself woken when it has something to say though nothing changes.
    fn look_again(&self) {
        let mut state = self.shared.lock();
        state.memory.answer_as(self.server);
        let now = state.sim.now;
        let at = match state.memory.troubles().loom(now) {
            true => now + TROUBLED_EVERY,
            false if self.bookmarks => self.bookmark_at.min(self.ends_at),
            false => self.ends_at,
        };
        state.memory.wake_at(self.objects.served.kind, at);
    }

    fn collect(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.memory.answer_as(self.server);
        if self.suffer(&mut state, &mut out) {
            return out;
        }
        let now = state.sim.now;
        if state.memory.troubles().stalled(now) {
            return out;
        }
        if let Some(failure) = self.refusal.take() {
            self.refuse(&mut out, &failure);
            return out;
        }
        for _ in 0..BATCH.min(self.initial.len()) {
            if let Some(object) = self.initial.pop_front() {
                self.write(&mut out, Verb::Added, &object, now);
            }
        }
        if !out.is_empty() {
            return out;
        }
        if std::mem::take(&mut self.mark_initial) {
            self.bookmark(&mut out, true);
            return out;
        }
        if state.memory.troubles().reordered(now) && self.hold(now) {
            return out;
        }
        let store = &state.sim.store;
        let Some(changes) = store.since(self.objects.served.kind, self.seen) else {
            self.refuse(&mut out, &Failure::too_old(self.seen, store.version()));
            return out;
        };
        let objects = &self.objects;
        let mut matching = changes.filter_map(|c| seen_through(objects, c));
        let mut batch: Vec<_> = matching.by_ref().take(BATCH).collect();
        let caught_up = matching.next().is_none();
        drop(matching);
        let last = batch.last().map(|(version, ..)| *version);
        self.seen =
            if caught_up { self.seen.max(store.version()) } else { last.unwrap_or(self.seen) };
        self.distort(state.memory.troubles(), now, &mut batch);
        drop(state);
        for (_, verb, object) in &batch {
            self.write(&mut out, *verb, object, now);
        }
        if caught_up && self.bookmarks && now >= self.bookmark_at {
            self.bookmark_at = next_bookmark(now, self.ends_at);
            self.bookmark(&mut out, false);
        }
        self.over = caught_up && now >= self.ends_at;
        out
    }

    /// Whether some trouble ends the watch here; what is half-said goes into `out`.
    fn suffer(&mut self, state: &mut State, out: &mut Vec<u8>) -> bool {
        let now = state.sim.now;
        let troubles = state.memory.troubles();
        if troubles.outage(now).is_some() {
            self.broken = Some(Error::new(ErrorKind::ConnectionReset, "the connection broke"));
        } else if troubles.withdrawn(now, self.objects.served) {
            self.over = true;
        } else if let Some(median) = troubles.cuts(now) {
            let began = self.began;
            let draw = &mut self.draw;
            let at = *self.cut_at.get_or_insert_with(|| began + draw.log_normal(median, 0.7));
            if now >= at {
                out.extend_from_slice(b"{\"type\":\"MODI");
                self.broken =
                    Some(Error::new(ErrorKind::ConnectionReset, "the connection was cut"));
            }
        } else {
            self.cut_at = None;
        }
        self.over || self.broken.is_some()
    }

    /// Whether events are held back for now, so that there are some to be put in another order.
    fn hold(&mut self, now: Moment) -> bool {
        let until = *self.held_until.get_or_insert(now + HELD_FOR);
        if now >= until {
            self.held_until = None;
        }
        now < until
    }

    /// Repeats and reorders what goes out together.
    fn distort(&mut self, troubles: &Troubles, now: Moment, batch: &mut Vec<Seen>) {
        if troubles.reordered(now) {
            // Neighbours change places at random; those of one object keep their order.
            for _ in 0..2 {
                for at in 1..batch.len() {
                    let same = batch[at - 1].2["metadata"]["uid"] == batch[at].2["metadata"]["uid"];
                    if !same && self.draw.unit() < 0.5 {
                        batch.swap(at - 1, at);
                    }
                }
            }
        }
        let share = troubles.duplicated(now);
        if share > 0.0 {
            let twice = |seen: Seen| {
                let again = (self.draw.unit() < share).then(|| seen.clone());
                std::iter::once(seen).chain(again)
            };
            *batch = std::mem::take(batch).into_iter().flat_map(twice).collect();
        }
    }

    fn refuse(&mut self, out: &mut Vec<u8>, failure: &Failure) {
        let status = failure.status().to_string();
        line(out, "ERROR", |out| out.extend_from_slice(status.as_bytes()));
        self.over = true;
    }

    fn write(&mut self, out: &mut Vec<u8>, verb: Verb, object: &Value, now: Moment) {
        line(out, verb.name(), |out| self.view.write(out, object, now));
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let bookmark = self.view.bookmark(&metadata).to_string();
        line(out, "BOOKMARK", |out| out.extend_from_slice(bookmark.as_bytes()));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().memory.watches -= 1;
    }
}

type Seen = (u64, Verb, Arc<Value>);

/// A change as the selector shows it: what begins to match is new, what ceases to is gone.
fn seen_through(objects: &Objects, change: &Change) -> Option<Seen> {
    let after = change.verb != Verb::Deleted && objects.include(&change.object);
    if objects.selector.is_empty() {
        let same = change.verb == Verb::Deleted && objects.include(&change.object);
        return (after || same).then(|| (change.version, change.verb, Arc::clone(&change.object)));
    }
    let before = change.before.as_ref().filter(|o| objects.include(o));
    let (verb, object) = match (before, after) {
        (None, true) => (Verb::Added, Arc::clone(&change.object)),
        (Some(_), true) => (Verb::Modified, Arc::clone(&change.object)),
        (Some(_), false) if change.verb == Verb::Deleted => {
            (Verb::Deleted, Arc::clone(&change.object))
        }
        (Some(before), false) => {
            let mut last = (**before).clone();
            last["metadata"]["resourceVersion"] = json!(change.version.to_string());
            (Verb::Deleted, Arc::new(last))
        }
        (None, false) => return None,
    };
    Some((change.version, verb, object))
}

fn line(out: &mut Vec<u8>, verb: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(format!("{{\"type\":\"{verb}\",\"object\":").as_bytes());
    write(out);
    out.extend_from_slice(b"}\n");
}
