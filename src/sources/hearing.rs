//! When was the API server last heard of? Any part of an answer counts and its end, bookmarks too, of which the client
//! library's watcher says nothing. That an answer begins counts apart: a server whose watches are stuck begins one each
//! time that the watcher, which gives silent ones up, asks anew. A refusal and a connection that breaks are not heard.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use kube::Client;
use kube::client::Body;

use super::watch::Now;
use crate::model::record::Time;

/// What is heard of an API server.
#[derive(Clone)]
pub(super) struct Hearing {
    now: Now,
    ears: Arc<Mutex<Ears>>,
}

/// What has been heard and not been told, by the daemon's clock.
struct Ears {
    heard: Option<Time>,
    begun: Option<Time>,
    /// When something was heard or told last.
    last: tokio::time::Instant,
}

impl Hearing {
    /// The same client, with an ear on what it is answered.
    pub(super) fn of(client: Client, now: Now) -> (Client, Self) {
        let ears = Ears { heard: None, begun: None, last: tokio::time::Instant::now() };
        let hearing = Self { now, ears: Arc::new(Mutex::new(ears)) };
        let ear = hearing.clone();
        let namespace = client.default_namespace().to_owned();
        let asked = tower::service_fn(move |request| {
            let (client, ear) = (client.clone(), ear.clone());
            async move {
                let answer: http::Response<Body> = client.send(request).await?;
                let ear = answer.status().is_success().then_some(ear);
                if let Some(ear) = &ear {
                    ear.ears().begun = Some((ear.now)());
                }
                Ok::<_, kube::Error>(answer.map(|body| Heard { body, ear }))
            }
        });
        (Client::new(asked, namespace), hearing)
    }

    /// When something was heard, or began where that is enough, which has not been told.
    pub(super) fn untold(&self, beginning_is_enough: bool) -> Option<Time> {
        let ears = self.ears();
        ears.heard.or(ears.begun.filter(|_| beginning_is_enough))
    }

    /// All that was heard so far is told.
    pub(super) fn told(&self) {
        *self.ears() = Ears { heard: None, begun: None, last: tokio::time::Instant::now() };
    }

    /// For how long nothing has been heard or told.
    pub(super) fn silence(&self) -> Duration {
        self.ears().last.elapsed()
    }

    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that tells when something of it comes, or its end.
struct Heard {
    body: Body,
    ear: Option<Hearing>,
}

impl http_body::Body for Heard {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(ear), Poll::Ready(None | Some(Ok(_)))) = (&self.ear, &polled) {
            let mut ears = ear.ears();
            (ears.heard, ears.last) = (Some((ear.now)()), tokio::time::Instant::now());
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_is_heard_and_what_is_refused_is_not() {
        for (code, heard) in [(200, Some(Time::UNIX_EPOCH)), (500, None)] {
            let answer = move |_| async move {
                let body = Body::from(br#"{"items": []}"#.to_vec());
                let answer = http::Response::builder().status(code).body(body);
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            };
            let client = Client::new(tower::service_fn(answer), "default");
            let (client, hearing) = Hearing::of(client, Arc::new(|| Time::UNIX_EPOCH));
            tokio::time::sleep(Duration::from_secs(9)).await;
            let request = http::Request::get("/api/v1/pods").body(Vec::new()).unwrap();
            let _ = client.request::<serde_json::Value>(request).await;
            assert_eq!(hearing.untold(false), heard, "{code}");
            assert_eq!(hearing.silence().as_secs(), if heard.is_some() { 0 } else { 9 });
            hearing.told();
            assert_eq!(hearing.untold(true), None);
        }
    }
}
