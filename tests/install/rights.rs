//! Is each right that the manifests give needed, and is it all that is needed? kubestrata as a process, with the service
//! account's own token and the configuration that lies in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::{Cluster, Kubestrata, eventually, helm, objects};
use crate::{DEPLOYMENT, NAMESPACE, kubectl};

/// A right: a resource with its group, or a URL that is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Resource(String, String),
    Url(String),
}

impl Right {
    /// The source that sees by it.
    fn source(&self) -> String {
        match self {
            Self::Url(url) if url == "/metrics" => "apiserver_metrics".to_owned(),
            Self::Url(url) if url == "/readyz" => "apiserver_health".to_owned(),
            Self::Url(url) => panic!("no source asks {url}"),
            Self::Resource(group, resource) => {
                let of =
                    |k: &&Kind| k.is_resource() && k.group() == group && k.plural() == resource;
                let kind = Kind::ALL.iter().find(of);
                let kind = kind.unwrap_or_else(|| panic!("no kind {resource} in {group:?}"));
                kind.source().to_owned()
            }
        }
    }
}

/// Rights with their verbs.
type Rights = BTreeMap<Right, Value>;

/// The rights that a role gives, which all only read.
fn rights_of(role: &Value) -> Rights {
    let mut rights = Rights::new();
    for rule in role["rules"].as_array().unwrap() {
        let names = |field: &str| {
            let names = rule[field].as_array().cloned().unwrap_or_default();
            names.into_iter().map(|n| n.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let reads = names("verbs").iter().all(|v| ["get", "list", "watch"].contains(&v.as_str()));
        assert!(reads, "it only reads: {rule}");
        for url in names("nonResourceURLs") {
            rights.insert(Right::Url(url), rule["verbs"].clone());
        }
        for (group, resource) in names("apiGroups")
            .iter()
            .flat_map(|g| names("resources").into_iter().map(move |r| (g, r)))
        {
            rights.insert(Right::Resource(group.clone(), resource), rule["verbs"].clone());
        }
    }
    rights
}

pub struct Scene<'a> {
    cluster: &'a Cluster,
    client: Client,
    /// Rights with their verbs.
    rights: Rights,
    /// Those that it has now.
    given: Mutex<Rights>,
    kubeconfig: PathBuf,
    config: PathBuf,
    folder: TempDir,
}

impl<'a> Scene<'a> {
    pub async fn new(cluster: &'a Cluster, client: Client) -> Self {
        let token =
            kubectl(cluster, &["create", "token", "kubestrata", "-n", NAMESPACE], "").unwrap();
        let kubeconfig = cluster.kubeconfig_with("plain", &json!({"token": token.trim()}));
        let deployment = objects::get(&client, DEPLOYMENT).await.unwrap();
        let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let name = volumes.iter().find_map(|v| v["configMap"]["name"].as_str()).unwrap();
        let map = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}");
        let map = objects::get(&client, &map).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("kubestrata.yaml");
        std::fs::write(&config, map["data"]["kubestrata.yaml"].as_str().unwrap()).unwrap();
        let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/kubestrata";
        let role = objects::get(&client, role).await.unwrap();
        let rights = rights_of(&role);
        let given = Mutex::new(rights.clone());
        Self { cluster, client, rights, given, kubeconfig, config, folder }
    }

    /// Gives these rights and no others, and waits until the API server goes by them.
    async fn give(&self, rights: &Rights) {
        let rule = |(right, verbs): (&Right, &Value)| match right {
            Right::Url(url) => json!({"nonResourceURLs": [url], "verbs": verbs}),
            Right::Resource(group, resource) => {
                json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
            }
        };
        let rules: Value = rights.iter().map(rule).collect();
        self.cluster.set_rules("kubestrata", &rules).await;
        let before = std::mem::replace(&mut *self.given.lock().unwrap(), rights.clone());
        let has = |rights: &Rights, right: &Right, verb: &Value| {
            rights.get(right).is_some_and(|verbs| verbs.as_array().unwrap().contains(verb))
        };
        let all = before.iter().chain(rights);
        let mut all =
            all.flat_map(|(r, verbs)| verbs.as_array().unwrap().iter().map(move |v| (r, v)));
        // A role changes as a whole, so one difference shows it.
        let differs = all.find(|(r, v)| has(&before, r, v) != has(rights, r, v));
        let Some((right, verb)) = differs else { return };
        let mut spec = match right {
            Right::Url(url) => json!({"nonResourceAttributes": {"path": url, "verb": verb}}),
            Right::Resource(group, resource) => {
                json!({"resourceAttributes": {"group": group, "resource": resource, "verb": verb}})
            }
        };
        spec["user"] = json!(format!("system:serviceaccount:{NAMESPACE}:kubestrata"));
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        eventually(Duration::from_secs(30), "the role is as it was given", async || {
            let answer = objects::create(&self.client, reviews, &json!({"spec": spec})).await;
            answer["status"]["allowed"] == has(rights, right, verb)
        })
        .await;
    }

    /// A client with every right.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Starts kubestrata as the pod of this name would run.
    pub fn start(&self, pod: &str) -> Kubestrata {
        let args = ["run", "--config", self.config.to_str().unwrap(), "--kubeconfig"];
        let args = [&args[..], &[self.kubeconfig.to_str().unwrap()]].concat();
        let state = self.folder.path().join(pod);
        let env = [("KUBESTRATA_STATE_DIRECTORY", state.to_str().unwrap()), ("HOSTNAME", pod)];
        Kubestrata::start_with(&args, &env)
    }

    /// Starts kubestrata, and waits until just these sources are blind and all others see.
    async fn is_blind_to(&self, blind: &BTreeSet<String>, what: &str) {
        let mut daemon = self.start("kubestrata-0");
        let forbidden = |s: &&crate::bed::Sample| s.labels["state"] == "forbidden" && s.value > 0.0;
        eventually(Duration::from_mins(2), what, async || {
            let metrics = daemon.metrics().await?;
            let sources = metrics.series("kubestrata_source_up");
            let dark = sources.iter().filter(|s| s.value < 1.0).map(|s| s.labels["source"].clone());
            let dark: BTreeSet<String> = dark.collect();
            anyhow::ensure!(sources.len() > 60, "{} sources", sources.len());
            let missed: Vec<_> = blind.difference(&dark).collect();
            let others: Vec<_> = dark.difference(blind).collect();
            anyhow::ensure!(dark == *blind, "seen all the same: {missed:?}; blind too: {others:?}");
            let states = metrics.series("kubestrata_source_state");
            let told: BTreeSet<String> =
                states.into_iter().filter(forbidden).map(|s| s.labels["source"].clone()).collect();
            anyhow::ensure!(told == *blind, "forbidden: {told:?}");
            Ok(())
        })
        .await;
        assert!(daemon.terminate().await.success(), "{}", daemon.log());
    }

    /// With all of them every source sees.
    pub async fn sees_all(&self) {
        self.is_blind_to(&BTreeSet::new(), "every source sees").await;
    }

    /// Takes each right away, and looks whether just its own source is blind. To take one at a time would take as many
    /// starts; instead the n-th look takes those whose number has the n-th bit, so that each is taken and left at least
    /// once, and no two are always taken together.
    pub async fn misses_what_is_taken(&self) {
        let numbered: Vec<(usize, &Right)> = (1..).zip(self.rights.keys()).collect();
        let bits = numbered.len().ilog2() + 1;
        for bit in 0..bits {
            let is_taken = |number: usize| number >> bit & 1 == 1;
            let taken: BTreeSet<&Right> =
                numbered.iter().filter(|(n, _)| is_taken(*n)).map(|(_, right)| *right).collect();
            let mut left = self.rights.clone();
            left.retain(|right, _| !taken.contains(right));
            let blind = taken.iter().map(|right| right.source()).collect();
            self.give(&left).await;
            self.is_blind_to(&blind, &format!("blind to what look {bit} takes")).await;
        }
    }

    /// Who may list but not watch is blind to all that is watched.
    pub async fn needs_to_watch(&self) {
        let (mut rights, mut blind) = (self.rights.clone(), BTreeSet::new());
        for (right, verbs) in &mut rights {
            if verbs.as_array().unwrap().contains(&json!("watch")) {
                blind.insert(right.source());
                *verbs = json!(["list"]);
            }
        }
        self.give(&rights).await;
        self.is_blind_to(&blind, "blind to what it may not watch").await;
    }
    /// A layer that is installed alone asks for what its own rules allow, and for nothing else.
    pub async fn sees_each_layer_alone(&self) {
        for layer in Layer::ALL {
            let others = Layer::ALL.into_iter().filter(|other| *other != layer);
            let off: Vec<String> = others.map(|l| format!("layers.{l}.enabled=false")).collect();
            let objects = helm::render(&["--set", &off.join(",")]);
            let config = helm::the(&objects, "ConfigMap")["data"]["kubestrata.yaml"].clone();
            std::fs::write(&self.config, config.as_str().unwrap()).unwrap();
            let rights = rights_of(helm::the(&objects, "ClusterRole"));
            self.give(&rights).await;
            let wanted: BTreeSet<String> = rights.keys().map(Right::source).collect();
            let mut daemon = self.start(layer.name());
            eventually(Duration::from_mins(1), "the layer sees all that it asks for", async || {
                let metrics = daemon.metrics().await?;
                let sources = metrics.series("kubestrata_source_up");
                let seen = sources.iter().filter(|s| s.value == 1.0);
                let seen: BTreeSet<String> = seen.map(|s| s.labels["source"].clone()).collect();
                anyhow::ensure!(
                    sources.len() == seen.len(),
                    "{layer}: some of {sources:?} are blind"
                );
                let idle: Vec<_> = wanted.difference(&seen).collect();
                anyhow::ensure!(seen == wanted, "{layer} has {seen:?}; nobody asks for {idle:?}");
                Ok(())
            })
            .await;
            assert!(daemon.terminate().await.success(), "{}", daemon.log());
        }
    }
}
