//! Does the client library's watcher, as we use it, stand what API servers do? One test for each trap known of it.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use kube::Client;
use kube::client::Body;
use kubestrata::model::kind::Kind;
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::text::Interner;
use kubestrata::model::world::{Delta, World};
use kubestrata::sources::{self, LOG_DIRECTIVES, WatchOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// One request as the API server sees it.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    query: String,
    accept: String,
    encoding: Option<String>,
}

impl Asked {
    fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    fn streams_a_list(&self) -> bool {
        self.query.contains("sendInitialEvents=true")
    }
}

enum Answer {
    /// A whole answer.
    Json(u16, String),
    /// A watch: these events, then silence for ever.
    Events(Vec<String>),
    /// These events, and the watch ends.
    Ending(Vec<String>),
    /// None, ever.
    Never,
}

type Script = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

/// An API server that answers as a script says, and remembers what it was asked.
#[derive(Clone)]
struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Script>,
}

impl Server {
    fn new(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self { asked: Arc::default(), script: Arc::new(script) }
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                match server.answer(&request) {
                    Some(answer) => Ok::<_, Infallible>(answer),
                    None => futures::future::pending().await,
                }
            }
        });
        Client::new(service, "default")
    }

    fn answer(
        &self,
        request: &Request<Body>,
    ) -> Option<Response<BoxBody<bytes::Bytes, Infallible>>> {
        let header = |name| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let asked = Asked {
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            accept: header("accept").unwrap_or_default(),
            encoding: header("accept-encoding"),
        };
        // Nobody says what is served: the traps are those of following a kind.
        if asked.path == "/apis" {
            let body = http_body_util::Full::from("").boxed();
            return Some(Response::builder().status(StatusCode::NOT_FOUND).body(body).unwrap());
        }
        let number = {
            let mut all = self.asked.lock().unwrap();
            all.push(asked.clone());
            all.len()
        };
        let body = match (self.script)(&asked, number) {
            Answer::Json(status, body) => {
                let body = http_body_util::Full::from(body).boxed();
                return Some(Response::builder().status(status).body(body).unwrap());
            }
            Answer::Events(events) => {
                let lines = lines(events).chain(futures::stream::pending());
                BodyExt::boxed(http_body_util::StreamBody::new(lines))
            }
            Answer::Ending(events) => {
                BodyExt::boxed(http_body_util::StreamBody::new(lines(events)))
            }
            Answer::Never => return None,
        };
        Some(Response::new(body))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Each in a frame of its own.
fn lines(
    events: Vec<String>,
) -> impl futures::Stream<Item = Result<http_body::Frame<bytes::Bytes>, Infallible>> {
    futures::stream::iter(events).map(|line| Ok(http_body::Frame::data(line.into())))
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name, "uid": name, "resourceVersion": "5"}})
}

fn list(items: &[Value]) -> Answer {
    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items});
    Answer::Json(200, list.to_string())
}

fn refuse(code: u16, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": "Test", "code": code});
    Answer::Json(code, status.to_string())
}

/// A line of a watch; the API server writes the type first.
fn event(kind: &str, object: &Value) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn end_of_list() -> String {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    event(
        "BOOKMARK",
        &json!({"kind": "Namespace", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "annotations": annotations}}),
    )
}

/// A server that lists by pages only, and then watches in silence.
fn paging(asked: &Asked, items: &[Value]) -> Answer {
    if asked.streams_a_list() {
        refuse(
            422,
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        )
    } else if asked.is_watch() {
        Answer::Events(vec![])
    } else {
        list(items)
    }
}

struct Followed {
    inbox: mpsc::Receiver<Vec<Delta>>,
    seen: Vec<Delta>,
    _tasks: tokio::task::JoinSet<()>,
}

fn options(kind: Kind) -> WatchOptions {
    WatchOptions {
        slow_retry: Duration::from_secs(5),
        list_patience: Duration::from_secs(2),
        ..WatchOptions::new(vec![kind], Arc::new(|| kubestrata::model::Time::UNIX_EPOCH))
    }
}

fn follow(server: &Server, kind: Kind) -> Followed {
    let (out, inbox) = mpsc::channel(64);
    let tasks = sources::start(&server.client(), &options(kind), &out).unwrap();
    Followed { inbox, seen: Vec::new(), _tasks: tasks }
}

impl Followed {
    /// Waits, in the runtime's own time, until the deltas so far satisfy the test.
    async fn until(&mut self, what: &str, enough: impl Fn(&[Delta]) -> bool) {
        let wait = async {
            while !enough(&self.seen) {
                let batch = self.inbox.recv().await.unwrap();
                self.seen.extend(batch);
            }
        };
        let in_time = tokio::time::timeout(Duration::from_mins(10), wait).await.is_ok();
        assert!(in_time, "{what}: {:?}", self.seen);
    }
}

fn synced(deltas: &[Delta]) -> usize {
    deltas.iter().filter(|d| matches!(d, Delta::Synced(_))).count()
}

fn failed_as(deltas: &[Delta], expected: Availability) -> bool {
    deltas.iter().any(|d| {
        matches!(d, Delta::Note(_, SourceNote::Failed { availability, .. }) if *availability == expected)
    })
}

/// What the log holds, written by a subscriber with this filter.
fn logged(filter: &str, run: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn trap_1_an_answer_that_can_not_be_read_is_not_logged() {
    let run = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(async {
            let server = Server::new(|asked, _| match asked.streams_a_list() {
                true => refuse(422, "no"),
                false => Answer::Json(200, "{\"items\": \"SECRET-VALUE\"}".to_owned()),
            });
            let mut followed = follow(&server, Kind::Namespace);
            followed.until("told", |d| failed_as(d, Availability::Unreachable)).await;
            assert!(!format!("{:?}", followed.seen).contains("SECRET-VALUE"));
        });
    };
    assert!(logged("info", run).contains("SECRET-VALUE"), "the trap is still there");
    let filter = format!("info,{}", LOG_DIRECTIVES.join(","));
    assert!(!logged(&filter, run).contains("SECRET-VALUE"));
}

#[tokio::test(start_paused = true)]
async fn trap_2_a_watch_refused_with_410_is_begun_anew_by_a_list() {
    let server = Server::new(|asked, number| {
        match asked.is_watch() && !asked.streams_a_list() && number < 5 {
            true => refuse(410, "too old resource version"),
            false => paging(asked, &[namespace("a")]),
        }
    });
    let mut followed = follow(&server, Kind::Namespace);
    followed.until("listed again", |d| synced(d) == 2).await;
    assert!(!failed_as(&followed.seen, Availability::Unreachable), "every day's business");
}

#[tokio::test(start_paused = true)]
async fn trap_3_a_server_without_streaming_lists_is_asked_for_pages() {
    let refusing = Server::new(|asked, _| paging(asked, &[namespace("a")]));
    follow(&refusing, Kind::Namespace).until("refused", |d| synced(d) == 1).await;
    let ignoring = Server::new(|asked, _| match asked.is_watch() {
        true => Answer::Events(vec![]),
        false => list(&[namespace("a")]),
    });
    let mut followed = follow(&ignoring, Kind::Namespace);
    followed.until("ignored", |d| synced(d) == 1).await;
    let streaming =
        Server::new(|_, _| Answer::Events(vec![event("ADDED", &namespace("a")), end_of_list()]));
    follow(&streaming, Kind::Namespace).until("streamed", |d| synced(d) == 1).await;
    assert!(streaming.asked().iter().all(Asked::is_watch), "no list is needed where they stream");
}

#[tokio::test(start_paused = true)]
async fn trap_4_one_object_that_can_not_be_read_leaves_the_others_alone() {
    let broken = json!({"metadata": {"name": "broken", "uid": "b", "resourceVersion": "6"},
        "status": {"phase": {"SECRET": 1}}});
    let first = [namespace("a"), broken.clone(), namespace("c")];
    let server = Server::new(move |asked, _| match asked.is_watch() && !asked.streams_a_list() {
        true => Answer::Events(vec![event("MODIFIED", &broken), event("ADDED", &namespace("d"))]),
        false => paging(asked, &first),
    });
    let mut followed = follow(&server, Kind::Namespace);
    let named = |name: &str, deltas: &[Delta]| {
        deltas.iter().any(|d| matches!(d, Delta::Upsert(o) if o.meta().name == *name))
    };
    followed.until("watched on", |d| named("d", d)).await;
    assert!(named("a", &followed.seen) && named("c", &followed.seen));
    let notes: Vec<&str> = (followed.seen.iter())
        .filter_map(|d| match d {
            Delta::Note(_, SourceNote::Undecodable { message }) => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notes, ["Namespace broken: status.phase: expected a string"; 2]);
    let mut world = World::default();
    for delta in followed.seen {
        world.apply(delta, jiff::Timestamp::UNIX_EPOCH);
    }
    assert_eq!(world.source(Kind::Namespace).undecodable, 2);
}

#[tokio::test(start_paused = true)]
async fn traps_6_and_7_watches_ask_for_plain_json() {
    let server = Server::new(|asked, _| paging(asked, &[]));
    follow(&server, Kind::Namespace).until("listed", |d| synced(d) == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = server.asked();
    let watches: Vec<_> = asked.iter().filter(|a| a.is_watch()).collect();
    assert!(!watches.is_empty());
    for watch in watches {
        assert_eq!(watch.encoding.as_deref(), Some("identity"), "1.37 gzips a watch per event");
    }
    assert!(asked.iter().all(|a| !a.accept.contains("protobuf")), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn trap_8_a_busy_server_is_told_and_tried_again_with_back_off() {
    let server = Server::new(|asked, number| match number {
        1..=6 => refuse(429, "too many requests"),
        _ => paging(asked, &[]),
    });
    let mut followed = follow(&server, Kind::Namespace);
    followed.until("listed", |d| synced(d) == 1).await;
    let waits: Vec<f64> = (followed.seen.iter())
        .filter_map(|d| match d {
            Delta::Note(_, SourceNote::Failed { backoff_seconds, .. }) => Some(*backoff_seconds),
            _ => None,
        })
        .collect();
    assert!(waits.len() >= 4, "{waits:?}");
    assert!(waits.iter().all(|w| (0.1..=60.0).contains(w)), "{waits:?}");
    assert!(waits.last() > waits.first(), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_kind_is_told_and_recovers_without_a_restart() {
    let server = Server::new(|asked, number| match number {
        1..=3 => refuse(403, "namespaces is forbidden"),
        _ => paging(asked, &[namespace("a")]),
    });
    let mut followed = follow(&server, Kind::Namespace);
    followed.until("refused", |d| failed_as(d, Availability::Forbidden)).await;
    followed.until("recovered", |d| synced(d) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_not_accepted_are_told_as_such() {
    let server = Server::new(|_, _| refuse(401, "Unauthorized"));
    let mut followed = follow(&server, Kind::Namespace);
    followed.until("refused", |d| failed_as(d, Availability::Unauthorized)).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(server.asked().len() < 20, "no busy loop");
}

#[tokio::test(start_paused = true)]
async fn events_are_read_from_the_core_api_where_their_own_is_not_allowed() {
    for code in [403, 404] {
        let server =
            Server::new(move |asked, _| match asked.path.starts_with("/apis/events.k8s.io/") {
                true => refuse(code, "no"),
                false => paging(asked, &[]),
            });
        let mut followed = follow(&server, Kind::Event);
        followed.until("listed", |d| synced(d) == 1).await;
        assert!(server.asked().iter().any(|a| a.path == "/api/v1/events"));
        assert!(
            !followed.seen.iter().any(|d| matches!(d, Delta::Note(_, SourceNote::Failed { .. })))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_read_once_goes_page_by_page() {
    let server = Server::new(|asked, _| {
        let (name, token) =
            if asked.query.contains("continue=next") { ("b", "") } else { ("a", "next") };
        let list = json!({"kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": "7", "continue": token}, "items": [namespace(name)]});
        Answer::Json(200, list.to_string())
    });
    let (out, mut inbox) = mpsc::channel(16);
    let options = options(Kind::Namespace);
    sources::list_once(server.client(), options, out).await.unwrap();
    let mut world = World::default();
    while let Some(batch) = inbox.recv().await {
        for delta in batch {
            world.apply(delta, jiff::Timestamp::UNIX_EPOCH);
        }
    }
    assert_eq!(world.namespaces.len(), 2);
    assert!(world.source(Kind::Namespace).synced);
}

#[tokio::test(start_paused = true)]
async fn a_line_of_a_watch_that_can_not_be_read_is_made_good_by_a_list() {
    let server = Server::new(|asked, number| match asked.is_watch() && number < 4 {
        true if !asked.streams_a_list() => Answer::Events(vec!["{\"type\":]}\n".to_owned()]),
        _ => paging(asked, &[namespace("a")]),
    });
    follow(&server, Kind::Namespace).until("listed again", |d| synced(d) == 2).await;
}

/// A watch that is never silent has to count as alive too.
#[tokio::test(start_paused = true)]
async fn news_are_a_sign_of_life() {
    let server = Server::new(|asked, _| match asked.is_watch() && !asked.streams_a_list() {
        true => Answer::Events(vec![event("ADDED", &namespace("b"))]),
        false => paging(asked, &[namespace("a")]),
    });
    let mut followed = follow(&server, Kind::Namespace);
    let objects = |d: &[Delta]| d.iter().filter(|d| matches!(d, Delta::Upsert(_))).count();
    followed.until("the news", |d| objects(d) == 2).await;
    let alive = |d: &Delta| matches!(d, Delta::Note(_, SourceNote::Alive));
    assert!(followed.seen.iter().any(alive), "{:?}", followed.seen);
}

/// Minutes of silence, of which the daemon must not say that it saw the cluster in them.
#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_its_answer_is_no_sign_of_life() {
    let server = Server::new(|asked, number| match asked.is_watch() && !asked.streams_a_list() {
        true if number > 3 => Answer::Never,
        true => Answer::Ending(vec![event("ADDED", &namespace("b"))]),
        false => paging(asked, &[namespace("a")]),
    });
    let mut followed = follow(&server, Kind::Namespace);
    followed.until("given up", |d| failed_as(d, Availability::Unreachable)).await;
    let heard = |d: &&Delta| matches!(d, Delta::Note(_, SourceNote::Heard { .. }));
    let heard = followed.seen.iter().filter(heard).count();
    assert!(heard <= 1, "the end of the first watch at most: {:?}", followed.seen);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_never_answered_is_told() {
    let server = Server::new(|asked, _| match asked.streams_a_list() {
        true => refuse(422, "no"),
        false => Answer::Never,
    });
    let mut followed = follow(&server, Kind::Namespace);
    followed.until("given up", |d| failed_as(d, Availability::Unreachable)).await;
}

/// With nothing but bookmarks, of which the client library says nothing.
#[tokio::test(start_paused = true)]
async fn a_bookmark_is_a_sign_of_life() {
    let bookmark =
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}});
    let server = Server::new(move |asked, _| match asked.is_watch() && !asked.streams_a_list() {
        true => Answer::Events(vec![event("BOOKMARK", &bookmark)]),
        false => paging(asked, &[namespace("a")]),
    });
    let mut followed = follow(&server, Kind::Namespace);
    let heard = |d: &Delta| matches!(d, Delta::Note(_, SourceNote::Heard { .. }));
    followed.until("the bookmark", |d| d.iter().any(heard)).await;
}

#[test]
fn a_watch_event_is_read_alone_as_from_a_recording() {
    let texts = &mut Interner::default();
    let line = event("ADDED", &namespace("a"));
    let delta = sources::read_watch_event(Kind::Namespace, &line, texts);
    assert!(matches!(delta, Some(Delta::Upsert(_))));
    assert!(sources::read_watch_event(Kind::Namespace, "{", texts).is_none());
}
