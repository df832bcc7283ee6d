//! How is a kind read that is not worth a watch? Listed again and again, page by page; large objects as a table, of
//! which only the columns come over the wire.

use std::time::Duration;

use http::Request;
use http::header::ACCEPT;
use kube::Client;
use kube::core::ApiResource;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::watch::send;
use super::wire;
use crate::model::kind::Kind;
use crate::model::record::Object;
use crate::model::source::SourceNote;
use crate::model::text::Interner;
use crate::model::world::Delta;

/// Objects in a page.
const PAGE: u32 = 500;

/// Printed columns of each object, and its metadata (KEP-623 and Kubernetes API Concepts, "Receiving resources as
/// Tables"); a server that knows no tables answers with the list.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Lists a kind, or every kind of a group, at an interval.
pub(super) struct Poller {
    client: Client,
    kind: Kind,
    apis: Vec<ApiResource>,
    every: Duration,
    table: bool,
    out: mpsc::Sender<Vec<Delta>>,
    texts: Interner,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    column_definitions: Option<Vec<Column>>,
    #[serde(default)]
    rows: Option<Vec<Row>>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue", default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    cells: Vec<serde_json::Value>,
    object: Box<RawValue>,
}

impl Poller {
    pub(super) fn new(
        client: Client,
        kind: Kind,
        apis: Vec<ApiResource>,
        every: Duration,
        table: bool,
        out: mpsc::Sender<Vec<Delta>>,
    ) -> Self {
        Self { client, kind, apis, every, table, out, texts: Interner::default() }
    }

    /// Polls until nobody listens.
    pub(super) async fn run(mut self) {
        loop {
            if !self.once().await {
                return;
            }
            tokio::time::sleep(self.every).await;
        }
    }

    /// Lists everything once; whether somebody still listens.
    pub(super) async fn once(&mut self) -> bool {
        let batch = match self.list().await {
            Ok(mut changes) => {
                changes.insert(0, Delta::Listing(self.kind));
                changes.push(Delta::Synced(self.kind));
                changes
            }
            Err(Failure { availability, message, .. }) => {
                let backoff_seconds = self.every.as_secs_f64();
                let note = SourceNote::Failed { availability, message, backoff_seconds };
                vec![Delta::Note(self.kind, note)]
            }
        };
        send(&self.out, batch).await
    }

    async fn list(&mut self) -> Result<Vec<Delta>, Failure> {
        let mut changes = Vec::new();
        for api in self.apis.clone() {
            let mut token = String::new();
            loop {
                let page = self.page(&api, &token).await?;
                let next = page.metadata.next.clone().unwrap_or_default();
                changes.extend(take(self.kind, &api.kind, page, &mut self.texts));
                if next.is_empty() {
                    break;
                }
                token = next;
            }
        }
        Ok(changes)
    }

    async fn page(&self, api: &ApiResource, token: &str) -> Result<Page, Failure> {
        let root =
            if api.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", api.group) };
        let mut path = format!("{root}/{}/{}?limit={PAGE}", api.version, api.plural);
        if self.table {
            path.push_str("&includeObject=Metadata");
        }
        if !token.is_empty() {
            path.push_str("&continue=");
            path.extend(form_urlencoded::byte_serialize(token.as_bytes()));
        } else if self.kind == Kind::Lease {
            // From the watch cache: leases are renewed every few seconds, a fresh read would only cost.
            path.push_str("&resourceVersion=0");
        }
        let accept = if self.table { TABLE } else { "application/json" };
        let request = Request::get(path)
            .header(ACCEPT, accept)
            .body(Vec::new())
            .map_err(|e| Failure::unreachable(&e.to_string()))?;
        self.client.request(request).await.map_err(|e| Failure::from(&e))
    }
}

/// What a page tells. Where a kind stands for all of its group, `of` is the name of this page's kind: it tells two
/// objects of the same name apart.
fn take(kind: Kind, of: &str, page: Page, texts: &mut Interner) -> Vec<Delta> {
    let columns: Vec<String> = (page.column_definitions.into_iter().flatten())
        .map(|c| c.name.to_ascii_lowercase())
        .collect();
    let mut read = Vec::new();
    for row in page.rows.into_iter().flatten() {
        let columns = columns.iter().map(String::as_str).zip(&row.cells);
        read.push(wire::decode_row(kind, row.object.get(), columns, texts));
    }
    for item in page.items.into_iter().flatten() {
        read.push(wire::decode(kind, item.get(), texts));
    }
    let change = |read: Result<Object, String>| match read {
        Ok(mut object) => {
            if kind.plural() == "*"
                && let Object::Resource(resource) = &mut object
            {
                resource.meta.name = format!("{of}/{}", resource.meta.name).as_str().into();
            }
            Delta::Upsert(object)
        }
        Err(why) => {
            let message = format!("{}: {why}", kind.name());
            Delta::Note(kind, SourceNote::Undecodable { message })
        }
    };
    read.into_iter().map(change).collect()
}

/// Reads a page of a list or table; the error names what was expected.
pub(super) fn read_page(
    kind: Kind,
    json: &[u8],
    texts: &mut Interner,
) -> Result<Vec<Delta>, String> {
    let page = serde_json::from_slice(json).map_err(|_| "expected a list or a table".to_owned())?;
    Ok(take(kind, kind.name(), page, texts))
}
