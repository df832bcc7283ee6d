//! How does the simulated API server answer? With the semantics of the real one, which it is compared with in
//! `tests/conformance.rs`.

mod accept;
mod defaults;
mod discovery;
mod health;
mod kubelet;
mod labels;
mod list;
mod memory;
mod metrics;
mod patch;
mod query;
mod request;
mod resource;
mod selector;
mod status;
mod table;
mod trouble;
mod view;
mod watch;
mod write;

use std::io::{Error, ErrorKind, Write};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::Value;

use self::accept::Form;
pub(crate) use self::kubelet::Kubelet;
pub(crate) use self::memory::Memory;
use self::query::Query;
use self::request::{Part, Target, Verb};
use self::status::Failure;
pub use self::trouble::Trouble;
use self::write::Body;
use super::apiserver;
use super::fields::Fields;
use super::kind::{Kind, Served};
use super::moment::Moment;
use super::shared::{Shared, State};

/// An answer's body: complete, or a stream of watch events. A stream may break.
pub type ResponseBody = UnsyncBoxBody<Bytes, Error>;

type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Error>> + Send>>;

/// Answers from this size on are compressed for those who ask for it, as by the real server.
const COMPRESSED_FROM: usize = 128 * 1024;

/// The simulated API server as a service: give it to [`kube::Client::new`], or serve it over HTTP.
#[derive(Clone, Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    /// Which of the cluster's: each has troubles of its own.
    number: usize,
}

/// A request without its body.
#[derive(Debug)]
struct Head {
    method: http::Method,
    uri: http::Uri,
    accept: String,
    gzip: bool,
    kind: Option<HeaderValue>,
}

/// What an answer consists of.
enum Content {
    Json(Bytes),
    Aggregated(Bytes),
    Text(String),
    Stream(ResponseBody),
}

impl ApiServer {
    pub(crate) const fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number }
    }

    /// The state, as this server answers.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.lock();
        state.memory.answer_as(self.number);
        state
    }

    /// Has this trouble from `from` until `until`, in virtual time, beside what there is already.
    pub fn trouble(&self, trouble: Trouble, from: Timestamp, until: Timestamp) {
        let mut state = self.lock();
        state.memory.troubles().add(trouble, from.as_millisecond(), until.as_millisecond());
        state.memory.wake();
    }

    /// Ends all troubles, and forgets those that are to come.
    pub fn calm(&self) {
        let mut state = self.lock();
        state.memory.troubles().clear();
        state.memory.wake();
    }

    /// Waits until virtual time is there.
    async fn wait(&self, until: Moment) -> Result<(), Error> {
        const PULSE: Kind = Kind::Namespace;
        let mut ticks = self.shared.ticks(PULSE);
        loop {
            {
                let mut state = self.shared.lock();
                if state.sim.now >= until {
                    return Ok(());
                }
                state.memory.wake_at(PULSE, until);
            }
            let gone = || Error::new(ErrorKind::ConnectionReset, "the cluster is gone");
            ticks.beat().await.ok_or_else(gone)?;
        }
    }

    /// Whether nobody answers, or else until when the answer is held back.
    fn reach(&self) -> Result<Moment, Error> {
        let mut state = self.lock();
        let (now, chance) = (state.sim.now, state.sim.chance);
        let troubles = state.memory.troubles();
        match troubles.outage(now) {
            Some(error) => Err(error),
            None => Ok(now + troubles.delay(chance, now)),
        }
    }

    async fn handle(self, head: Head, body: Bytes) -> Result<Response<ResponseBody>, Error> {
        let until = self.reach()?;
        if until > self.shared.lock().sim.now {
            self.wait(until).await?;
            self.reach()?;
        }
        let body = Body { kind: head.kind.clone(), bytes: body };
        let mut state = self.lock();
        let mut counted = ("GET", "");
        let outcome = self.answer(&mut state, &head, &body, &mut counted);
        let code = outcome.as_ref().map_or_else(|f| f.code, |(code, _)| *code);
        *state.memory.requests.entry((counted.0, counted.1.to_owned(), code)).or_default() += 1;
        drop(state);
        Ok(match outcome {
            Ok((code, content)) => respond(code, content, head.gzip),
            Err(failure) => refuse(&failure),
        })
    }

    /// Code and content; `counted` is what the request is counted as.
    fn answer(
        &self,
        state: &mut State,
        head: &Head,
        body: &Body,
        counted: &mut (&'static str, &'static str),
    ) -> Result<(u16, Content), Failure> {
        let path: Vec<_> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let query = Query::parse(&head.uri);
        if path == ["readyz"] && !state.sim.surroundings.failing_checks.is_empty() {
            let (code, text) = apiserver::readyz(&state.sim);
            return Ok((code, Content::Text(text)));
        }
        if let Some(text) = health::text(&path, &query) {
            return text.map(|text| (200, Content::Text(text)));
        }
        let (now, chance) = (state.sim.now, state.sim.chance);
        if state.memory.troubles().unknown(now) {
            return Err(Failure::unauthenticated());
        }
        if let Some(after) = state.memory.troubles().throttled(chance, now) {
            return Err(Failure::too_many(after));
        }
        if path == ["metrics"] {
            return Ok((200, Content::Text(metrics::exposition(state))));
        }
        let troubles = &*state.memory.troubles();
        let visible = |s: &Served| !troubles.withdrawn(now, s);
        if let Some(content) = everything(&path, head, &visible)? {
            return Ok((200, content));
        }
        if let Some(content) = document(&path, head, &visible)? {
            return Ok((200, content));
        }
        let target = request::parse(&head.method, &path, &query, &visible)?;
        *counted = (target.verb.counted(), target.objects.served.plural);
        let form = accept::form(&head.accept, false)?;
        if state.memory.troubles().fails(chance, now) {
            return Err(Failure::new(500, "", "etcdserver: request timed out"));
        }
        if state.memory.troubles().unavailable(chance, now) {
            return Err(Failure::unavailable());
        }
        if state.memory.troubles().forbidden(now, target.objects.served) {
            return Err(unauthorized(&target));
        }
        self.serve(state, target, &query, form, body)
    }

    /// What a request for objects comes to.
    fn serve(
        &self,
        state: &mut State,
        target: Target,
        query: &Query,
        form: Form,
        body: &Body,
    ) -> Result<(u16, Content), Failure> {
        let served = target.objects.served;
        let mut code = 200;
        let object = match target.verb {
            Verb::List => {
                let page = list::list(state, &target.objects, query, form)?;
                return Ok((200, Content::Json(page.write())));
            }
            Verb::Watch => {
                let stream =
                    watch::watch((&self.shared, self.number), state, target.objects, query, form)?;
                return Ok((200, Content::Stream(stream)));
            }
            Verb::DeleteCollection => {
                let page = list::list(state, &target.objects, query, form)?;
                write::delete_many(state, &target.objects, query, body)?;
                return Ok((200, Content::Json(page.write())));
            }
            Verb::Get if target.part == Part::Scale => {
                let all = list::get(state, &target.objects, &target.name, query, Form::Whole)?;
                return Ok((200, json(&write::scale_of(&all))));
            }
            Verb::Get => {
                let found = list::get(state, &target.objects, &target.name, query, form)?;
                return Ok((200, json(&found)));
            }
            Verb::Create => {
                code = 201;
                write::create(state, &target.objects, query, body)?
            }
            Verb::Update => write::replace(state, &target, query, body)?,
            Verb::Patch => write::change(state, &target, query, body)?,
            Verb::Delete => write::delete(state, &target.objects, &target.name, query, body)?,
        };
        if matches!(object.text("kind"), "Status" | "Scale") {
            return Ok((code, json(&object)));
        }
        list::single(state, served, &object, query, form).map(|object| (code, json(&object)))
    }
}

/// All of `/api` or `/apis` in one document, if that is asked for. It is asked for again and again, and is always the
/// same while nothing is withdrawn.
fn everything(
    path: &[&str],
    head: &Head,
    visible: &dyn Fn(&Served) -> bool,
) -> Result<Option<Content>, Failure> {
    static WHOLE: [OnceLock<Bytes>; 2] = [const { OnceLock::new() }; 2];
    let whole = match path {
        ["api"] => &WHOLE[0],
        ["apis"] => &WHOLE[1],
        _ => return Ok(None),
    };
    if head.method != http::Method::GET || accept::form(&head.accept, true)? != Form::Discovery {
        return Ok(None);
    }
    let text = || discovery::aggregated(path, visible).unwrap_or_default().to_string().into();
    let all = super::kind::SERVED.iter().all(visible);
    Ok(Some(Content::Aggregated(if all { whole.get_or_init(text).clone() } else { text() })))
}

/// A document of discovery, if the path is one's.
fn document(
    path: &[&str],
    head: &Head,
    visible: &dyn Fn(&Served) -> bool,
) -> Result<Option<Content>, Failure> {
    let Some(document) = discovery::document(path, visible) else { return Ok(None) };
    if head.method != http::Method::GET {
        return Err(Failure::not_allowed());
    }
    accept::form(&head.accept, matches!(path, ["api" | "apis"]))?;
    Ok(Some(json(&document)))
}

/// What authorization says to a service account without a right.
fn unauthorized(target: &Target) -> Failure {
    let served = target.objects.served;
    let place = match &target.objects.ns {
        Some(ns) => format!("in the namespace {ns:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User \"system:serviceaccount:kubestrata:kubestrata\" cannot {} resource {:?} in API group {:?} {place}",
        target.verb.authorized(),
        served.plural,
        served.group
    );
    Failure::forbidden(served, &target.name, &why)
}

fn json(document: &Value) -> Content {
    Content::Json(Bytes::from(document.to_string()))
}

fn respond(code: u16, content: Content, gzip: bool) -> Response<ResponseBody> {
    let (kind, bytes) = match content {
        Content::Stream(stream) => return build(code, "application/json", stream),
        Content::Json(bytes) => ("application/json", bytes),
        Content::Aggregated(bytes) => {
            ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", bytes)
        }
        Content::Text(text) => ("text/plain; charset=utf-8", Bytes::from(text)),
    };
    if gzip && bytes.len() > COMPRESSED_FROM {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        if let Ok(packed) = encoder.write_all(&bytes).and_then(|()| encoder.finish()) {
            let mut response = build(code, kind, full(Bytes::from(packed)));
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(http::header::CONTENT_ENCODING, gzip);
            return response;
        }
    }
    build(code, kind, full(bytes))
}

fn refuse(failure: &Failure) -> Response<ResponseBody> {
    let (kind, text) = if failure.plain {
        ("text/plain; charset=utf-8", failure.message().to_owned())
    } else {
        ("application/json", failure.status().to_string())
    };
    let mut response = build(failure.code, kind, full(Bytes::from(text)));
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn build(code: u16, kind: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ResponseBody>;
    type Error = Error;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let text = |name| parts.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let head = Head {
            accept: text(ACCEPT).unwrap_or("").to_owned(),
            gzip: text(ACCEPT_ENCODING).is_some_and(|v| v.contains("gzip")),
            kind: parts.headers.get(CONTENT_TYPE).cloned(),
            method: parts.method,
            uri: parts.uri,
        };
        let server = self.clone();
        Box::pin(async move {
            let body = body.collect().await.map_err(Error::other)?.to_bytes();
            server.handle(head, body).await
        })
    }
}
