//! What do the kubelets say? Each node's own metrics port, a few at a time; never through the API server's proxy,
//! whose right is the right to run commands in any pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::{Request, Uri};
use kube::{Client, Config};
use serde::Deserialize;

use super::apiserver::{Exposition, exposition};
use super::{scrape, unread};
use crate::model::fields;
use crate::model::kind::Kind;
use crate::model::record::{Sample, Time, Uid};
use crate::model::source::SourceNote;
use crate::model::text::{Interner, Text};
use crate::model::world::Delta;
use crate::sources::client::client_of;
use crate::sources::failure::Failure;
use crate::sources::watch::Now;

/// Kubelets that are asked at once.
const CONCURRENCY: usize = 10;

/// How long one kubelet may take: the others do not wait for it.
const PATIENCE: Duration = Duration::from_secs(8);

/// How kubelets are reached.
#[derive(Clone)]
pub enum KubeletAccess {
    /// At the address that their node tells, with the credentials and authorities that the API server is reached with.
    Network(Box<Config>),
    /// In this process: the client of the kubelet of a node.
    Within(Arc<dyn Fn(&str) -> Client + Send + Sync>),
}

/// The kubelets, asked again and again.
pub(super) struct Kubelets {
    api: Client,
    access: KubeletAccess,
    skip_verify: bool,
    clients: BTreeMap<String, (String, Client)>,
    now: Now,
    texts: Interner,
}

/// A kubelet's node and where it listens.
struct Address {
    node: String,
    url: String,
}

impl Kubelets {
    pub(super) fn new(api: Client, access: KubeletAccess, skip_verify: bool, now: Now) -> Self {
        let (clients, texts) = (BTreeMap::new(), Interner::default());
        Self { api, access, skip_verify, clients, now, texts }
    }

    /// Asks every kubelet. One that fails is told; when all fail, so does the source.
    pub(super) async fn ask(&mut self) -> Result<Vec<Delta>, Failure> {
        let addresses = self.addresses().await?;
        let mut changes = self.forget_all_but(&addresses);
        let asked = addresses.len();
        let (mut questions, mut failures) = (Vec::new(), Vec::new());
        for address in addresses {
            match self.client(&address) {
                Ok(client) => questions.push(one(address.node, client)),
                Err(failure) => failures.push((address.node, failure)),
            }
        }
        let answers: Vec<_> =
            futures::stream::iter(questions).buffer_unordered(CONCURRENCY).collect().await;
        let (mut unreadable, at) = (0, (self.now)());
        for (node, answer) in answers {
            match answer {
                Ok(Exposition { samples, left_out }) => {
                    unreadable += left_out;
                    changes.push(answered(&node, samples, at, &mut self.texts));
                }
                Err(failure) => failures.push((node, failure)),
            }
        }
        changes.extend(unread(Kind::KubeletMetrics, "kubelets", unreadable));
        failures.sort_by(|a, b| a.0.cmp(&b.0));
        if asked > 0 && failures.len() == asked {
            let (node, failure) = failures.swap_remove(0);
            let message = format!("no kubelet answers; {node}: {}", failure.message);
            return Err(Failure { message, ..failure });
        }
        let message = failures.first().map_or(String::new(), |(node, failure)| {
            let silent = failures.len();
            format!("{silent} of {asked} kubelets do not answer; {node}: {}", failure.message)
        });
        let names = failures.iter().map(|(node, _)| node.as_str().into()).collect();
        changes.push(Delta::Note(Kind::KubeletMetrics, SourceNote::Silent { names, message }));
        Ok(changes)
    }

    async fn addresses(&self) -> Result<Vec<Address>, Failure> {
        let request = Request::get("/api/v1/nodes?resourceVersion=0")
            .body(Vec::new())
            .map_err(|e| Failure::unreachable(&e.to_string()))?;
        let nodes: Nodes = self.api.request(request).await.map_err(|e| Failure::from(&e))?;
        Ok(nodes.items.into_iter().filter_map(address).collect())
    }

    /// Drops what is known of nodes that are gone.
    fn forget_all_but(&mut self, addresses: &[Address]) -> Vec<Delta> {
        let alive: BTreeSet<&str> = addresses.iter().map(|a| a.node.as_str()).collect();
        let gone: Vec<String> =
            self.clients.keys().filter(|n| !alive.contains(n.as_str())).cloned().collect();
        let forget = |node: String| {
            self.clients.remove(&node);
            let key = (Text::default(), Text::from(node.as_str()));
            Delta::Delete { kind: Kind::KubeletMetrics, key, uid: Uid::default() }
        };
        gone.into_iter().map(forget).collect()
    }

    fn client(&mut self, address: &Address) -> Result<Client, Failure> {
        if let Some((_, client)) =
            self.clients.get(&address.node).filter(|(url, _)| *url == address.url)
        {
            return Ok(client.clone());
        }
        let client = match &self.access {
            KubeletAccess::Network(config) => self.dial(config, &address.url)?,
            KubeletAccess::Within(client) => client(&address.node),
        };
        self.clients.insert(address.node.clone(), (address.url.clone(), client.clone()));
        Ok(client)
    }

    fn dial(&self, config: &Config, url: &str) -> Result<Client, Failure> {
        let uri: Uri =
            url.parse().map_err(|_| Failure::unreachable(&format!("{url} is no URL")))?;
        let mut config = config.clone();
        config.cluster_url = uri;
        config.tls_server_name = None;
        config.accept_invalid_certs = self.skip_verify;
        client_of(config).map_err(|e| Failure::from(&e))
    }
}

async fn one(node: String, client: Client) -> (String, Result<Exposition, Failure>) {
    let asked = async {
        let wanted = fields::metrics(Kind::KubeletMetrics).iter().copied().collect();
        // An interner of its own: kubelets are read side by side.
        let mut texts = Interner::default();
        let mut whole = exposition(&client, "/metrics", &wanted, &mut texts).await?;
        let probes = exposition(&client, "/metrics/probes", &wanted, &mut texts).await?;
        whole.samples.extend(probes.samples);
        whole.left_out += probes.left_out;
        Ok(whole)
    };
    let late = || Err(Failure::unreachable(&format!("no answer within {} s", PATIENCE.as_secs())));
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| late());
    (node, answer)
}

/// The answer as a change, with the strings that all kubelets share held once.
fn answered(node: &str, samples: Vec<Sample>, at: Time, texts: &mut Interner) -> Delta {
    let started = samples.iter().find(|s| s.name == "process_start_time_seconds");
    let started = started.map_or(0.0, |s| s.value);
    let shared = samples.into_iter().map(|sample| Sample {
        name: texts.text(&sample.name),
        labels: texts.labels(sample.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
        value: sample.value,
    });
    let samples = shared.collect();
    let process = format!("{started:.2}");
    scrape(
        Kind::KubeletMetrics,
        (node, &process),
        Time::from_second(started as i64).ok(),
        at,
        samples,
    )
}

#[derive(Deserialize)]
struct Nodes {
    #[serde(default)]
    items: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    metadata: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    addresses: Vec<NodeAddress>,
    daemon_endpoints: Endpoints,
}

#[derive(Deserialize)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Endpoints {
    kubelet_endpoint: Port,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    #[serde(rename = "Port")]
    port: u16,
}

fn address(node: Node) -> Option<Address> {
    let internal = node.status.addresses.iter().find(|a| a.kind == "InternalIP")?;
    let host = match internal.address.contains(':') {
        true => format!("[{}]", internal.address),
        false => internal.address.clone(),
    };
    let port = match node.status.daemon_endpoints.kubelet_endpoint.port {
        0 => 10250,
        port => port,
    };
    Some(Address { node: node.metadata.name, url: format!("https://{host}:{port}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelet_is_found_where_its_node_says() {
        let url =
            |node: serde_json::Value| address(serde_json::from_value(node).unwrap()).map(|a| a.url);
        let node = |address: &str, port: u16| {
            json!({"metadata": {"name": "n1"}, "status": {
                "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": address}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
        };
        assert_eq!(url(node("10.0.0.1", 10251)).unwrap(), "https://10.0.0.1:10251");
        assert_eq!(url(node("fd00::1", 0)).unwrap(), "https://[fd00::1]:10250");
        assert_eq!(url(json!({"metadata": {"name": "n1"}})), None);
    }
}
