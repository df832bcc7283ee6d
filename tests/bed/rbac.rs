//! How does a test look with fewer rights? With a service account that has just these.

use std::path::PathBuf;

use kubestrata::model::layer::Layer;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects;

/// The rules of the generated role of these layers, without these resources.
pub fn rules(layers: &[Layer], left_out: &[&str]) -> Value {
    let role = kubestrata::catalog::cluster_role_yaml(layers, &[]);
    let role: Value = serde_saphyr::from_str(&role).unwrap();
    let mut rules = role["rules"].clone();
    for rule in rules.as_array_mut().unwrap() {
        let verbs = rule["verbs"].as_array().unwrap();
        let reads = |verb: &Value| ["get", "list", "watch"].contains(&verb.as_str().unwrap());
        assert!(verbs.iter().all(reads), "the role only reads: {rule}");
        if let Some(resources) = rule.get_mut("resources").and_then(Value::as_array_mut) {
            resources.retain(|r| !left_out.contains(&r.as_str().unwrap()));
        }
    }
    let empty = |rule: &Value| rule["resources"].as_array().is_some_and(Vec::is_empty);
    rules.as_array_mut().unwrap().retain(|rule| !empty(rule));
    rules
}

impl Cluster {
    /// Makes the service account `default/<name>` with a ClusterRole of `rules` (a list as in the
    /// role's YAML), and gives the path of a kubeconfig with its token.
    pub async fn service_account(&self, name: &str, rules: &Value) -> PathBuf {
        let client = self.client().await;
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let metadata = json!({"name": name});
        objects::create(&client, accounts, &json!({"metadata": metadata})).await;
        objects::create(&client, roles, &json!({"metadata": metadata, "rules": rules})).await;
        let binding = json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": name}],
        });
        objects::create(&client, bindings, &binding).await;
        let asked = json!({"spec": {"expirationSeconds": 7200}});
        let token = objects::create(&client, &format!("{accounts}/{name}/token"), &asked).await;
        self.kubeconfig_with(name, &json!({"token": token["status"]["token"]}))
    }

    /// Changes the rules of a role that [`service_account`](Self::service_account) made.
    pub async fn set_rules(&self, name: &str, rules: &Value) {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
        objects::patch(&self.client().await, &path, &json!({"rules": rules})).await;
    }

    /// Writes a kubeconfig for this cluster with another user, such as `{"token": "wrong"}`.
    pub fn kubeconfig_with(&self, name: &str, user: &Value) -> PathBuf {
        let admin = std::fs::read(self.kubeconfig()).unwrap_or_default();
        let mut config: Value = serde_json::from_slice(&admin)
            .unwrap_or_else(|error| panic!("the bed writes its kubeconfigs as JSON: {error}"));
        config["users"][0]["user"] = user.clone();
        let path = self.path(&format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string())
            .unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
        path
    }
}
