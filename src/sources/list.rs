//! How is the cluster looked at once? Each kind is listed, page by page.

use futures::StreamExt;
use kube::api::ListParams;
use kube::core::ObjectList;
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::raw::Raw;
use super::watch::{PAGE, apis, send};
use crate::model::kind::Kind;
use crate::model::source::SourceNote;
use crate::model::text::Interner;
use crate::model::world::Delta;

/// Lists each kind once, some at a time. A kind that can't be listed is a note, not a failure.
pub async fn list_once(client: Client, kinds: Vec<Kind>, out: mpsc::Sender<Vec<Delta>>) {
    futures::stream::iter(kinds)
        .for_each_concurrent(4, |kind| list(client.clone(), kind, out.clone()))
        .await;
}

async fn list(client: Client, kind: Kind, out: mpsc::Sender<Vec<Delta>>) {
    let mut failure = None;
    for api in apis(&client, kind) {
        match list_api(&api, kind, &out).await {
            Ok(()) => return,
            Err(error) => failure = Some(error),
        }
    }
    if let Some(Failure { availability, message, .. }) = failure {
        let note = SourceNote::Failed { availability, message, backoff_seconds: 0.0 };
        send(&out, vec![Delta::Note(kind, note)]).await;
    }
}

async fn list_api(
    api: &Api<Raw>,
    kind: Kind,
    out: &mpsc::Sender<Vec<Delta>>,
) -> Result<(), Failure> {
    let mut texts = Interner::default();
    let mut params = ListParams::default().limit(PAGE);
    if kind == Kind::Event {
        params = params.fields(super::watch::EVENT_SELECTOR);
    }
    let mut begun = false;
    loop {
        let page: ObjectList<Raw> = api.list(&params).await.map_err(|e| Failure::from(&e))?;
        let mut batch = Vec::with_capacity(page.items.len() + 2);
        if !std::mem::replace(&mut begun, true) {
            batch.push(Delta::Listing(kind));
        }
        for raw in &page.items {
            super::watch::take(raw, kind, &mut texts, &mut batch);
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
