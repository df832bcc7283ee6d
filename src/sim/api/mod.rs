//! How does the simulated API server answer? Reads only, with the semantics on which watchers rely.

mod discovery;
mod list;
mod request;
mod status;
mod view;
mod watch;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use self::request::{Target, Verb};
use self::status::Failure;
use super::shared::Shared;

pub(crate) use self::list::Pages;

/// An answer's body: complete, or a stream of watch events.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The simulated API server as a service: give it to [`kube::Client::new`], or serve it over HTTP.
#[derive(Clone, Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

impl ApiServer {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn answer(
        &self,
        method: &http::Method,
        uri: &http::Uri,
        accept: &str,
    ) -> Response<ResponseBody> {
        let outcome =
            request::parse(method, uri, accept).and_then(|request| match request.target {
                Target::Document(document) => Ok(whole(200, &document)),
                Target::Objects(objects) => match request.verb {
                    Verb::Get(name) => {
                        list::get(&self.shared, &objects, &name).map(|o| whole(200, &o))
                    }
                    Verb::List => {
                        list::list(&self.shared, &objects, &request.query).map(|b| body(200, b))
                    }
                    Verb::Watch => watch::watch(&self.shared, objects, &request.query),
                },
            });
        outcome.unwrap_or_else(|failure: Failure| whole(failure.code, &failure.status()))
    }
}

/// A complete JSON answer.
fn whole(code: u16, document: &Value) -> Response<ResponseBody> {
    body(code, Bytes::from(document.to_string()))
}

fn body(code: u16, bytes: Bytes) -> Response<ResponseBody> {
    respond(code, Full::new(bytes).boxed_unsync())
}

fn respond(code: u16, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

impl<B> tower::Service<Request<B>> for ApiServer {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let accept = request.headers().get(http::header::ACCEPT).and_then(|v| v.to_str().ok());
        ready(Ok(self.answer(request.method(), request.uri(), accept.unwrap_or(""))))
    }
}
