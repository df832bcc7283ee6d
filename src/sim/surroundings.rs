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
    /// It does its work once it has started, which takes this time.
    StartsAfter { wait: Moment },
}

/// What a node may run short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Memory,
    Disk,
}

/// The state of everything outside the API.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    by_image: BTreeMap<String, Conduct>,
    by_app: BTreeMap<String, Conduct>,
    dark_registries: BTreeSet<String>,
    lost_nodes: BTreeMap<String, Moment>,
    /// By app and node: what ails a program on one machine.
    by_place: BTreeMap<(String, String), Conduct>,
    missing_images: BTreeSet<String>,
    /// What nodes run short of, and how many pods must go until there is enough.
    short_of: BTreeMap<String, (Resource, u32)>,
    /// How many times busier than usual programs are.
    busy: BTreeMap<String, f64>,
    /// Why the cloud makes no load balancers.
    pub(crate) balancer_error: Option<String>,
    /// The API server's own checks that fail.
    pub(crate) failing_checks: BTreeSet<String>,
    /// Nodes that come and go.
    pub(crate) flapping: BTreeSet<String>,
    /// How far the clocks of nodes are ahead; behind, if negative.
    skews: BTreeMap<String, Moment>,
    /// Nodes that are slow.
    crowded: BTreeMap<String, Crowd>,
    /// The share of pulls that registries turn away.
    throttled: BTreeMap<String, f64>,
    /// How many times slower than usual the back ends of drivers are.
    slow_drivers: BTreeMap<String, f64>,
}

/// How slow a node is because something on it takes more than its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Crowd {
    /// How many times longer everything takes.
    pub(crate) times: f64,
    /// The share of probes that are answered too late.
    pub(crate) misses: f64,
}

impl Surroundings {
    /// How the program of this image behaves in this pod. What ails the app (label `app`) goes before the image.
    pub(crate) fn conduct(&self, pod: &Value, image: &str) -> Conduct {
        if !self.by_app.is_empty() || !self.by_place.is_empty() {
            let app = format!("{}/{}", pod.text("metadata/namespace"), pod.label("app"));
            if let Some(conduct) = self.by_app.get(&app) {
                return *conduct;
            }
            let place = (app, pod.text("spec/nodeName").to_owned());
            if let Some(conduct) = self.by_place.get(&place) {
                return *conduct;
            }
        }
        self.by_image.get(image).copied().unwrap_or(Conduct::Serves)
    }

    /// What ails an app (`namespace/name`).
    pub(crate) fn of_app(&self, app: &str) -> Option<Conduct> {
        self.by_app.get(app).copied()
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

    /// From here on pods of the app (`namespace/name`) behave so on this node.
    pub(crate) fn set_place(&mut self, app: &str, node: &str, conduct: Conduct) {
        let place = (app.to_owned(), node.to_owned());
        if conduct == Conduct::Serves {
            self.by_place.remove(&place);
        } else {
            self.by_place.insert(place, conduct);
        }
    }

    /// Whether the registry has this image.
    pub(crate) fn has_image(&self, image: &str) -> bool {
        !self.missing_images.contains(image)
    }

    /// The image was never pushed.
    pub(crate) fn lack_image(&mut self, image: &str) {
        self.missing_images.insert(image.to_owned());
    }

    /// What a node runs short of, and how many pods must go.
    pub(crate) fn pressure(&self, node: &str) -> Option<(Resource, u32)> {
        self.short_of.get(node).copied()
    }

    /// The node runs short of this until so many pods are gone.
    pub(crate) fn press(&mut self, node: &str, resource: Resource, victims: u32) {
        self.short_of.insert(node.to_owned(), (resource, victims));
    }

    /// The node has enough of everything.
    pub(crate) fn relieve(&mut self, node: &str) {
        self.short_of.remove(node);
    }

    /// How many times busier than usual a program (`namespace/name`) is.
    pub(crate) fn busy(&self, program: &str) -> f64 {
        self.busy.get(program).copied().unwrap_or(1.0)
    }

    /// Makes a program so many times busier than usual.
    pub(crate) fn set_busy(&mut self, program: &str, times: f64) {
        self.busy.insert(program.to_owned(), times);
    }

    /// From here on containers of the image behave so.
    pub(crate) fn set_image(&mut self, image: &str, conduct: Conduct) {
        self.by_image.insert(image.to_owned(), conduct);
    }

    /// The images whose containers do not behave as they should.
    pub(crate) fn bad_images(&self) -> BTreeSet<String> {
        self.by_image.keys().cloned().collect()
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

    /// How far the node's clock is ahead.
    pub(crate) fn skew(&self, node: &str) -> Moment {
        self.skews.get(node).copied().unwrap_or(0)
    }

    /// The node's clock is so far ahead from here on.
    pub(crate) fn set_skew(&mut self, node: &str, skew: Moment) {
        if skew == 0 {
            self.skews.remove(node);
        } else {
            self.skews.insert(node.to_owned(), skew);
        }
    }

    /// How slow the node is, if it is.
    pub(crate) fn crowd(&self, node: &str) -> Option<Crowd> {
        self.crowded.get(node).copied()
    }

    /// Makes a node slow, or as fast as it should be.
    pub(crate) fn set_crowd(&mut self, node: &str, crowd: Option<Crowd>) {
        match crowd {
            Some(crowd) => self.crowded.insert(node.to_owned(), crowd),
            None => self.crowded.remove(node),
        };
    }

    /// The share of pulls of this image that its registry turns away.
    pub(crate) fn throttled(&self, image: &str) -> f64 {
        self.throttled.get(registry(image)).copied().unwrap_or(0.0)
    }

    /// Has a registry turn this share of pulls away.
    pub(crate) fn set_throttled(&mut self, host: &str, share: f64) {
        self.throttled.insert(host.to_owned(), share);
    }

    /// How many times slower than usual the back end of a driver is.
    pub(crate) fn slowness(&self, driver: &str) -> f64 {
        self.slow_drivers.get(driver).copied().unwrap_or(1.0)
    }

    /// Makes the back end of a driver so many times slower than usual.
    pub(crate) fn set_slowness(&mut self, driver: &str, times: f64) {
        self.slow_drivers.insert(driver.to_owned(), times);
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
