//! What has changed since? A stream of events that resumes, bookmarks, and ends, as a real server's does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use super::list::not_ahead;
use super::request::{Objects, Query};
use super::status::Failure;
use super::{ResponseBody, respond, view};
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::shared::Shared;

/// Bookmarks come about this often.
const BOOKMARK_EVERY: Moment = MINUTE;
/// Where the client names no timeout; real servers choose half an hour to an hour.
const DEFAULT_TIMEOUT: u64 = 1800;
/// How many events go into one frame.
const BATCH: usize = 256;
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// A watch in progress.
struct Watch {
    shared: Arc<Shared>,
    ticks: Receiver<()>,
    objects: Objects,
    /// Objects that are announced as if they were new, before any change.
    initial: VecDeque<Arc<Value>>,
    /// The initial objects are followed by a bookmark that says so.
    mark_initial: bool,
    seen: u64,
    bookmarks: bool,
    bookmark_at: Moment,
    ends_at: Moment,
    over: bool,
}

/// Begins a watch.
pub(super) fn watch(
    shared: &Arc<Shared>,
    objects: Objects,
    query: &Query,
) -> Result<Response<ResponseBody>, Failure> {
    let from = query.number("resourceVersion")?.unwrap_or(0);
    let mark_initial = query.truth("sendInitialEvents");
    let matches = query.text("resourceVersionMatch");
    if mark_initial != (matches == "NotOlderThan") {
        let text =
            "sendInitialEvents and resourceVersionMatch=NotOlderThan belong together for a watch";
        return Err(Failure::new(422, "Invalid", text));
    }
    let timeout = query.number("timeoutSeconds")?.unwrap_or(DEFAULT_TIMEOUT);
    let ticks = shared.ticks(objects.served.kind);
    let state = shared.lock();
    let store = &state.sim.store;
    not_ahead(query, store.version())?;
    // Version 0 or none means: the state, then the changes.
    let (initial, seen) = if mark_initial || from == 0 {
        let all = store.list(objects.served.kind, objects.ns.as_deref()).map(|(_, o)| o);
        (all.filter(|o| objects.include(o)).map(Arc::clone).collect(), store.version())
    } else {
        (VecDeque::new(), from)
    };
    let now = state.sim.now;
    drop(state);
    let watch = Watch {
        shared: Arc::clone(shared),
        ticks,
        objects,
        initial,
        mark_initial,
        seen,
        bookmarks: query.truth("allowWatchBookmarks"),
        bookmark_at: now + BOOKMARK_EVERY,
        ends_at: now + timeout as Moment * SECOND,
        over: false,
    };
    let frames = stream::unfold(watch, |mut watch| async move {
        let bytes = watch.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), watch))
    });
    Ok(respond(200, StreamBody::new(frames).boxed_unsync()))
}

impl Watch {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            self.ticks.borrow_and_update();
            let lines = self.collect();
            if !lines.is_empty() {
                return Some(Bytes::from(lines));
            }
            if self.over {
                break;
            }
            // The cluster is gone: so is its API server.
            self.ticks.changed().await.ok()?;
        }
        None
    }

    fn collect(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..BATCH.min(self.initial.len()) {
            if let Some(object) = self.initial.pop_front() {
                self.write(&mut out, "ADDED", &object);
            }
        }
        if !out.is_empty() {
            return out;
        }
        if std::mem::take(&mut self.mark_initial) {
            self.bookmark(&mut out, true);
            return out;
        }
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        let store = &state.sim.store;
        let Some(changes) = store.since(self.objects.served.kind, self.seen) else {
            let status = Failure::too_old(self.seen, store.version()).status();
            line(&mut out, "ERROR", |out| out.extend_from_slice(status.to_string().as_bytes()));
            self.over = true;
            return out;
        };
        let mut matching = changes.filter(|c| self.objects.include(&c.object));
        let mut seen = self.seen;
        for change in matching.by_ref().take(BATCH) {
            seen = change.version;
            self.write(&mut out, change.verb.name(), &change.object);
        }
        let caught_up = matching.next().is_none();
        drop(matching);
        let (version, now) = (store.version(), state.sim.now);
        drop(state);
        self.seen = if caught_up { version } else { seen };
        if caught_up && self.bookmarks && now >= self.bookmark_at {
            self.bookmark_at = now + BOOKMARK_EVERY;
            self.bookmark(&mut out, false);
        }
        self.over = caught_up && now >= self.ends_at;
        out
    }

    fn write(&self, out: &mut Vec<u8>, verb: &str, object: &Value) {
        line(out, verb, |out| view::write(out, self.objects.served, object));
    }

    fn bookmark(&self, out: &mut Vec<u8>, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let served = self.objects.served;
        let object =
            json!({"kind": served.name, "apiVersion": served.api_version(), "metadata": metadata});
        line(out, "BOOKMARK", |out| out.extend_from_slice(object.to_string().as_bytes()));
    }
}

fn line(out: &mut Vec<u8>, verb: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(format!("{{\"type\":\"{verb}\",\"object\":").as_bytes());
    write(out);
    out.extend_from_slice(b"}\n");
}
