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
                self.take(&api, page, &mut changes);
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

    fn take(&mut self, api: &ApiResource, page: Page, changes: &mut Vec<Delta>) {
        let columns: Vec<String> = (page.column_definitions.into_iter().flatten())
            .map(|c| c.name.to_ascii_lowercase())
            .collect();
        for row in page.rows.into_iter().flatten() {
            let columns = columns.iter().map(String::as_str).zip(&row.cells);
            let read = wire::decode_row(self.kind, row.object.get(), columns, &mut self.texts);
            self.push(api, read, changes);
        }
        for item in page.items.into_iter().flatten() {
            let read = wire::decode(self.kind, item.get(), &mut self.texts);
            self.push(api, read, changes);
        }
    }

    fn push(&self, api: &ApiResource, read: Result<Object, String>, changes: &mut Vec<Delta>) {
        match read {
            Ok(mut object) => {
                // Objects of several kinds stand side by side: the kind tells two of the same name apart.
                if self.kind.plural() == "*"
                    && let Object::Resource(resource) = &mut object
                {
                    resource.meta.name =
                        format!("{}/{}", api.kind, resource.meta.name).as_str().into();
                }
                changes.push(Delta::Upsert(object));
            }
            Err(why) => {
                let message = format!("{}: {why}", self.kind.name());
                changes.push(Delta::Note(self.kind, SourceNote::Undecodable { message }));
            }
        }
    }
}
