//! What decides the cluster's fate though its API does not show it? Programs, registries, machines, storage back ends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fields::Fields;
use super::moment::Moment;

/// How a program behaves once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// It does its work and answers its probes.
    Serves,
    /// It ends with this exit code, typically after this time.
    Exits { code: i64, after: Moment },
    /// It outgrows its memory limit, typically after this time, and is killed.
    Leaks { after: Moment },
    /// It runs but answers its readiness probe with an error.
    Unready,
    /// It runs but answers no probe.
    Hangs,
}

/// The state of everything outside the API.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    by_image: BTreeMap<String, Conduct>,
    by_app: BTreeMap<String, Conduct>,
    dark_registries: BTreeSet<String>,
    lost_nodes: BTreeMap<String, Moment>,
}

impl Surroundings {
    /// How the program of this image behaves in this pod. What ails the app (label `app`) goes before the image.
    pub(crate) fn conduct(&self, pod: &Value, image: &str) -> Conduct {
        if !self.by_app.is_empty() {
            let app = format!("{}/{}", pod.text("metadata/namespace"), pod.label("app"));
            if let Some(conduct) = self.by_app.get(&app) {
                return *conduct;
            }
        }
        self.by_image.get(image).copied().unwrap_or(Conduct::Serves)
    }

    /// From here on pods of the app behave so.
    pub(crate) fn set_app(&mut self, ns: &str, app: &str, conduct: Conduct) {
        let app = format!("{ns}/{app}");
        if conduct == Conduct::Serves {
            self.by_app.remove(&app);
        } else {
            self.by_app.insert(app, conduct);
        }
    }

    /// From here on containers of the image behave so.
    pub(crate) fn set_image(&mut self, image: &str, conduct: Conduct) {
        self.by_image.insert(image.to_owned(), conduct);
    }

    /// Whether the registry of this image answers.
    pub(crate) fn registry_answers(&self, image: &str) -> bool {
        !self.dark_registries.contains(registry(image))
    }

    /// Turns a registry off or on.
    pub(crate) fn set_registry(&mut self, host: &str, answers: bool) {
        if answers {
            self.dark_registries.remove(host);
        } else {
            self.dark_registries.insert(host.to_owned());
        }
    }

    /// Since when the node's kubelet is silent; `None` while it lives.
    pub(crate) fn lost(&self, node: &str) -> Option<Moment> {
        self.lost_nodes.get(node).copied()
    }

    /// The node's kubelet falls silent.
    pub(crate) fn lose(&mut self, node: &str, now: Moment) {
        self.lost_nodes.entry(node.to_owned()).or_insert(now);
    }

    /// The node's kubelet speaks again.
    pub(crate) fn restore(&mut self, node: &str) {
        self.lost_nodes.remove(node);
    }
}

/// The host part of an image's name.
pub(crate) fn registry(image: &str) -> &str {
    image.split_once('/').map_or("", |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_ails_an_app_goes_before_its_image() {
        let mut around = Surroundings::default();
        let pod = json!({"metadata": {"namespace": "shop", "labels": {"app": "cart"}}});
        assert_eq!(around.conduct(&pod, "r/cart:2"), Conduct::Serves);
        around.set_image("r/cart:2", Conduct::Exits { code: 1, after: 5 });
        around.set_app("shop", "cart", Conduct::Unready);
        assert_eq!(around.conduct(&pod, "r/cart:2"), Conduct::Unready);
        around.set_app("shop", "cart", Conduct::Serves);
        assert_eq!(around.conduct(&pod, "r/cart:2"), Conduct::Exits { code: 1, after: 5 });
    }
}
