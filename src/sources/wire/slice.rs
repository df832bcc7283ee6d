//! What of an EndpointSlice is read? Addresses only to tell one endpoint from another.

use serde::Deserialize;

use super::meta::WireMeta;
use super::{Wire, text};
use crate::model::kind::Kind;
use crate::model::record::{Endpoint, Object, Slice};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireSlice {
    metadata: WireMeta,
    endpoints: Option<Vec<WireEndpoint>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireEndpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
    target_ref: Option<Target>,
    node_name: Option<String>,
    zone: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    name: Option<String>,
}

impl Wire for WireSlice {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, endpoints } = self;
        let read = |e: &WireEndpoint| {
            let conditions = e.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let name = e.target_ref.as_ref().and_then(|t| t.name.as_deref());
            let first = e.addresses.as_ref().and_then(|a| a.first()).map(String::as_str);
            Endpoint {
                target: text(texts, name.or(first)),
                ready,
                serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
                terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                node: text(texts, e.node_name.as_deref()),
                zone: text(texts, e.zone.as_deref()),
            }
        };
        let endpoints = endpoints.iter().flatten().map(read).collect();
        Object::Slice(Box::new(Slice {
            service: text(texts, metadata.label("kubernetes.io/service-name")),
            imported: text(texts, metadata.label("multicluster.kubernetes.io/service-name")),
            source_cluster: text(
                texts,
                metadata.label("multicluster.kubernetes.io/source-cluster"),
            ),
            endpoints,
            meta: metadata.record(texts),
        }))
    }
}
