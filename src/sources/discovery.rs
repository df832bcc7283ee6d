//! What does the API server serve now? Asked again and again: custom resources come and go.

use std::collections::BTreeMap;

use http::Request;
use http::header::ACCEPT;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;

use super::failure::Failure;
use crate::model::kind::Kind;

/// All groups with their resources in one answer, from Kubernetes 1.30 on (KEP-3352); older servers answer with the
/// groups alone.
const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Resources of each group and version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Served {
    resources: BTreeMap<(String, String), Vec<Row>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    plural: String,
    kind: String,
    /// Its server does not answer; what is known of it is old.
    stale: bool,
}

/// How a kind is served.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Serving {
    /// By this version.
    By(ApiResource),
    /// Announced, but the server behind it does not answer.
    Stale,
    /// Not at all.
    Absent,
}

impl Served {
    /// How a kind is served: by the best version that it understands.
    pub(super) fn serving(&self, kind: Kind) -> Serving {
        if kind.group().is_empty() {
            return Serving::By(resource(kind.group(), "v1", kind.name(), kind.plural()));
        }
        let mut stale = false;
        for version in kind.versions() {
            let rows = self.resources.get(&(kind.group().to_owned(), (*version).to_owned()));
            for row in rows.into_iter().flatten() {
                let wanted = row.plural == kind.plural() || kind.plural() == "*";
                if wanted && !row.stale {
                    return Serving::By(resource(
                        kind.group(),
                        version,
                        kind.name(),
                        kind.plural(),
                    ));
                }
                stale |= wanted;
            }
        }
        if stale { Serving::Stale } else { Serving::Absent }
    }

    /// Every resource of a group and version, for a kind that stands for all kinds of its group.
    pub(super) fn all_of(&self, kind: Kind) -> Vec<ApiResource> {
        let served =
            |version: &&str| self.resources.get(&(kind.group().to_owned(), (**version).to_owned()));
        let Some(version) = kind.versions().iter().find(|v| served(v).is_some()) else {
            return Vec::new();
        };
        let rows = served(version).into_iter().flatten().filter(|r| !r.plural.contains('/'));
        rows.map(|r| resource(kind.group(), version, &r.kind, &r.plural)).collect()
    }
}

pub(super) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The last answer that told everything, and what it told: most answers are the same, and need not be read again.
#[derive(Debug)]
pub(super) struct Known {
    text: String,
    served: Served,
}

/// Asks what is served of the groups of these kinds.
pub(super) async fn discover(
    client: &Client,
    kinds: &[Kind],
    known: &mut Option<Known>,
) -> Result<Served, Failure> {
    let text = get(client, "/apis", AGGREGATED).await?;
    if let Some(known) = known.as_ref().filter(|known| known.text == text) {
        return Ok(known.served.clone());
    }
    match read(&text)? {
        Document { items: Some(groups), .. } => {
            let served = aggregated(groups);
            *known = Some(Known { text, served: served.clone() });
            Ok(served)
        }
        Document { groups: Some(groups), .. } => by_group(client, groups, kinds).await,
        _ => Err(Failure::unreachable("the answer of /apis is no list of groups")),
    }
}

async fn get(client: &Client, path: &str, accept: &str) -> Result<String, Failure> {
    let request = Request::get(path)
        .header(ACCEPT, accept)
        .body(Vec::new())
        .map_err(|e| Failure::unreachable(&e.to_string()))?;
    client.request_text(request).await.map_err(|e| Failure::from(&e))
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|e| Failure::from(&kube::Error::SerdeError(e)))
}

fn aggregated(groups: Vec<Group>) -> Served {
    let mut served = Served::default();
    for group in groups {
        for version in group.versions {
            let stale = version.freshness.as_deref() == Some("Stale");
            let rows = version.resources.into_iter().map(|r| Row {
                plural: r.resource,
                kind: r.response_kind.unwrap_or_default().kind,
                stale,
            });
            let key = (group.metadata.name.clone(), version.name);
            served.resources.insert(key, rows.collect());
        }
    }
    served
}

async fn by_group(
    client: &Client,
    groups: Vec<OldGroup>,
    kinds: &[Kind],
) -> Result<Served, Failure> {
    let mut served = Served::default();
    for group in groups {
        for version in group.versions {
            let wanted = |k: &&Kind| {
                k.group() == group.name && k.versions().contains(&version.version.as_str())
            };
            if !kinds.iter().any(|k| wanted(&k)) {
                continue;
            }
            let path = format!("/apis/{}/{}", group.name, version.version);
            let answer = get(client, &path, "application/json").await;
            let rows = match answer.and_then(|text| read::<OldResources>(&text)) {
                Ok(list) => list.resources,
                Err(failure) if failure.is_standing() => Vec::new(),
                // An aggregated API whose server is away: announced, and nothing more is known.
                Err(_) => (kinds.iter().filter(wanted))
                    .map(|k| OldResource { name: k.plural().to_owned(), kind: String::new() })
                    .collect(),
            };
            let rows = rows.into_iter().map(|r| Row {
                stale: r.kind.is_empty(),
                plural: r.name,
                kind: r.kind,
            });
            served.resources.insert((group.name.clone(), version.version), rows.collect());
        }
    }
    Ok(served)
}

#[derive(Deserialize)]
struct Document {
    items: Option<Vec<Group>>,
    groups: Option<Vec<OldGroup>>,
}

#[derive(Deserialize)]
struct Group {
    metadata: Name,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "version")]
    name: String,
    #[serde(default)]
    resources: Vec<Resource>,
    freshness: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    response_kind: Option<ResponseKind>,
}

#[derive(Default, Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct OldGroup {
    name: String,
    #[serde(default)]
    versions: Vec<OldVersion>,
}

#[derive(Deserialize)]
struct OldVersion {
    version: String,
}

#[derive(Deserialize)]
struct OldResources {
    #[serde(default)]
    resources: Vec<OldResource>,
}

#[derive(Deserialize)]
struct OldResource {
    name: String,
    #[serde(default)]
    kind: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served(groups: serde_json::Value) -> Served {
        aggregated(serde_json::from_value(groups).unwrap())
    }

    #[test]
    fn the_best_served_version_is_taken_and_a_stale_one_is_told() {
        let version = |version: &str, plural: &str, freshness: &str| {
            json!({"version": version, "freshness": freshness,
                "resources": [{"resource": plural, "responseKind": {"kind": "X"}, "verbs": ["list"]}]})
        };
        let served = served(json!([
            {"metadata": {"name": "gateway.networking.k8s.io"}, "versions": [
                version("v1beta1", "gateways", "Current"), version("v1", "gatewayclasses", "Current")]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [version("v1beta1", "nodes", "Stale")]},
            {"metadata": {"name": "constraints.gatekeeper.sh"}, "versions": [
                version("v1beta1", "k8srequiredlabels", "Current")]},
        ]));
        let version = |kind| match served.serving(kind) {
            Serving::By(api) => api.version,
            other => format!("{other:?}"),
        };
        assert_eq!(version(Kind::Gateway), "v1beta1");
        assert_eq!(version(Kind::GatewayClass), "v1");
        assert_eq!(version(Kind::NodeMetrics), "Stale");
        assert_eq!(version(Kind::Certificate), "Absent");
        assert_eq!(version(Kind::Pod), "v1", "the core group is always there");
        assert_eq!(served.all_of(Kind::Constraint)[0].plural, "k8srequiredlabels");
    }
}
