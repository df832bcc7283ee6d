//! How is the cluster looked at once? Each kind is listed, page by page.

use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::core::{ObjectList, PartialObjectMeta};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::discovery::{self, Served};
use super::failure::Failure;
use super::poll::Poller;
use super::promql::PrometheusError;
use super::raw::Raw;
use super::supervisor::{self, Plan};
use super::watch::{EVENT_SELECTOR, HELM_FIELDS, HELM_LABELS, PAGE, WatchOptions, send};
use crate::model::kind::{Kind, Origin};
use crate::model::source::SourceNote;
use crate::model::text::Interner;
use crate::model::world::Delta;

/// Lists each kind once, some at a time, and asks each endpoint. What can't be read is a note, not a failure.
pub async fn list_once(
    client: Client,
    options: WatchOptions,
    out: mpsc::Sender<Vec<Delta>>,
) -> Result<(), PrometheusError> {
    // An API server that does not say what it serves is asked for each kind.
    let served = discovery::discover(&client, &options.kinds, &mut None).await.ok();
    super::endpoint::once(&client, &options, &out).await?;
    futures::stream::iter(options.kinds.into_iter().filter(|k| k.is_resource()))
        .for_each_concurrent(4, |kind| list(&client, kind, served.as_ref(), &out))
        .await;
    Ok(())
}

async fn list(
    client: &Client,
    kind: Kind,
    served: Option<&Served>,
    out: &mpsc::Sender<Vec<Delta>>,
) {
    let apis = match supervisor::plan(kind, served) {
        Plan::Follow(api) => vec![api],
        Plan::FollowAll(apis) => apis,
        other => {
            send(out, supervisor::farewell(kind, &other).into_iter().collect()).await;
            return;
        }
    };
    if matches!(kind.origin(), Origin::Poll(_) | Origin::Table(_)) {
        let table = matches!(kind.origin(), Origin::Table(_));
        Poller::new(client.clone(), kind, apis, Duration::ZERO, table, out.clone()).once().await;
        return;
    }
    let mut failure = None;
    if kind.origin() == Origin::Metadata {
        let api: Api<PartialObjectMeta<Raw>> = Api::all_with(client.clone(), &apis[0]);
        let bare = |object: PartialObjectMeta<Raw>| Raw::of_meta(object.metadata);
        failure = list_api(&api, kind, bare, out).await.err();
    } else {
        for api in super::watch::apis(client, kind, &apis[0]) {
            failure = list_api(&api, kind, |raw| raw, out).await.err();
            if failure.is_none() {
                break;
            }
        }
    }
    if let Some(Failure { availability, message, .. }) = failure {
        let note = SourceNote::Failed { availability, message, backoff_seconds: 0.0 };
        send(out, vec![Delta::Note(kind, note)]).await;
    }
}

async fn list_api<K>(
    api: &Api<K>,
    kind: Kind,
    raw: fn(K) -> Raw,
    out: &mpsc::Sender<Vec<Delta>>,
) -> Result<(), Failure>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut texts = Interner::default();
    let mut params = ListParams::default().limit(PAGE);
    match kind {
        Kind::Event => params = params.fields(EVENT_SELECTOR),
        Kind::HelmSecret => params = params.labels(HELM_LABELS).fields(HELM_FIELDS),
        _ => {}
    }
    let mut begun = false;
    loop {
        let page: ObjectList<K> = api.list(&params).await.map_err(|e| Failure::from(&e))?;
        let mut batch = Vec::with_capacity(page.items.len() + 2);
        if !std::mem::replace(&mut begun, true) {
            batch.push(Delta::Listing(kind));
        }
        for item in page.items {
            super::watch::take(&raw(item), kind, &mut texts, &mut batch);
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            batch.push(Delta::Synced(kind));
        }
        if !send(out, batch).await || params.continue_token.is_none() {
            return Ok(());
        }
    }
}
