//! How does a simulated kubelet answer on its own port? With `/metrics` and `/metrics/probes`, as long as it lives.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};

use super::{Content, ResponseBody, respond};
use crate::sim::controllers::kubelet::figures;
use crate::sim::kind::Kind;
use crate::sim::shared::Shared;
use crate::sim::store::Key;

/// The kubelet of a node as a service: give it to [`kube::Client::new`].
#[derive(Clone, Debug)]
pub(crate) struct Kubelet {
    shared: Arc<Shared>,
    node: String,
}

impl Kubelet {
    pub(crate) fn new(shared: Arc<Shared>, node: &str) -> Self {
        Self { shared, node: node.to_owned() }
    }

    fn answer(&self, path: &str) -> Result<Response<ResponseBody>, Error> {
        let sim = &self.shared.lock().sim;
        let there = sim.store.get(Kind::Node, &Key::cluster(&self.node)).is_some();
        if !there || sim.surroundings.lost(&self.node).is_some() {
            return Err(Error::new(
                ErrorKind::ConnectionRefused,
                "Connection refused (os error 111)",
            ));
        }
        let (code, text) = match path {
            "/metrics" => (200, figures::metrics(sim, &self.node)),
            "/metrics/probes" => (200, figures::probes(sim, &self.node)),
            _ => (404, "404 page not found\n".to_owned()),
        };
        Ok(respond(code, Content::Text(text), false))
    }
}

impl<B> tower::Service<Request<B>> for Kubelet {
    type Response = Response<ResponseBody>;
    type Error = Error;
    type Future = std::future::Ready<Result<Response<ResponseBody>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        std::future::ready(self.answer(request.uri().path()))
    }
}
