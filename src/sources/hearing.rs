//! When was the API server last heard of? Any part of an answer counts and its end, bookmarks too, of which the client
//! library's watcher says nothing. That an answer begins does not: a server whose watches are stuck begins one each time
//! that the watcher, which gives silent ones up, asks anew.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use kube::Client;
use kube::client::Body;

/// When something was heard last.
#[derive(Clone, Debug)]
pub(super) struct Hearing(Arc<Mutex<tokio::time::Instant>>);

impl Hearing {
    /// The same client, with an ear on what it is answered.
    pub(super) fn of(client: Client) -> (Client, Self) {
        let hearing = Self(Arc::new(Mutex::new(tokio::time::Instant::now())));
        let ear = hearing.clone();
        let namespace = client.default_namespace().to_owned();
        let asked = tower::service_fn(move |request| {
            let (client, ear) = (client.clone(), ear.clone());
            async move {
                let answer: http::Response<Body> = client.send(request).await?;
                Ok::<_, kube::Error>(answer.map(|body| Heard { body, ear }))
            }
        });
        (Client::new(asked, namespace), hearing)
    }

    /// For how long nothing has been heard.
    pub(super) fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn hear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tokio::time::Instant::now();
    }
}

/// A body that tells when something of it comes, or its end.
struct Heard {
    body: Body,
    ear: Hearing,
}

impl http_body::Body for Heard {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.ear.hear();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_is_heard() {
        let answer = |_| async {
            let body = Body::from(br#"{"items": []}"#.to_vec());
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        };
        let (client, hearing) = Hearing::of(Client::new(tower::service_fn(answer), "default"));
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(hearing.silence().as_secs(), 9);
        let request = http::Request::get("/api/v1/pods").body(Vec::new()).unwrap();
        client.request::<serde_json::Value>(request).await.unwrap();
        assert_eq!(hearing.silence().as_secs(), 0);
    }
}
