//! Which rights do the signals need? The least ClusterRole of some layers, and the page that tells them layer by layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::layers;
use crate::model::kind::{Kind, Origin};
use crate::model::layer::Layer;

/// The rules of a role: resources by group and verbs, and URLs that are no resources.
#[derive(Default)]
struct Rules {
    resources: BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>,
    urls: BTreeSet<&'static str>,
}

impl Rules {
    fn of(kinds: impl Iterator<Item = Kind>) -> Self {
        let mut rules = Self::default();
        kinds.for_each(|kind| rules.add(kind));
        rules
    }

    fn add(&mut self, kind: Kind) {
        let verbs = match kind.origin() {
            Origin::Watch | Origin::Metadata => "list, watch",
            Origin::Poll(_) | Origin::Table(_) => "list",
            Origin::Endpoint(_) => {
                match kind {
                    Kind::ApiServerHealth => drop(self.urls.insert("/readyz")),
                    Kind::ApiServerMetrics => drop(self.urls.insert("/metrics")),
                    // Never nodes/proxy: a GET on it runs commands in containers.
                    Kind::KubeletMetrics => self.allow("", "get", "nodes/metrics"),
                    _ => {}
                }
                return;
            }
        };
        self.allow(kind.group(), verbs, kind.plural());
    }

    fn allow(&mut self, group: &'static str, verbs: &'static str, resource: &'static str) {
        self.resources.entry((group, verbs)).or_default().insert(resource);
    }

    fn yaml(&self) -> String {
        let mut yaml = String::new();
        for ((group, verbs), resources) in &self.resources {
            let quoted = |r: &&'static str| if *r == "*" { "'*'" } else { r };
            let resources = resources.iter().map(quoted).collect::<Vec<_>>().join(", ");
            let _ = write!(
                yaml,
                "- apiGroups: ['{group}']\n  resources: [{resources}]\n  verbs: [{verbs}]\n"
            );
        }
        if !self.urls.is_empty() {
            let urls = self.urls.iter().copied().collect::<Vec<_>>().join(", ");
            let _ = write!(yaml, "- nonResourceURLs: [{urls}]\n  verbs: [get]\n");
        }
        yaml
    }
}

/// The kinds that the signals of these layers need or use. Every rule about the population asks for namespaces.
fn kinds_of(layers: &[Layer]) -> BTreeSet<Kind> {
    let wanted = layers::signals().filter(|s| layers.contains(&s.layer));
    wanted.flat_map(|s| s.needs.iter().chain(s.uses)).copied().chain([Kind::Namespace]).collect()
}

/// The least ClusterRole that the signals of these layers need, as YAML, with the sources that are `opted` in to.
#[must_use]
pub fn cluster_role_yaml(layers: &[Layer], opted: &[Kind]) -> String {
    let kinds = kinds_of(layers).into_iter().filter(|k| !k.is_opt_in() || opted.contains(k));
    format!(
        "# Generated from the declarations in src/layers by tests/generated.rs. Do not edit.\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: kubestrata\nrules:\n{}",
        Rules::of(kinds).yaml()
    )
}

/// The rule of a Role in the Lease's namespace: a creation can't be allowed by name.
const LEASE_RULE: &str =
    "- apiGroups: ['coordination.k8s.io']\n  resources: [leases]\n  verbs: [create, get, update]\n";

/// What replicas need beside the ClusterRole that elect a leader, as YAML: a Role in the Lease's namespace.
#[must_use]
pub fn lease_role_yaml() -> String {
    format!(
        "# Generated from src/catalog/role.rs by tests/generated.rs. Do not edit.\n\
         # Needed only with leader_election.enabled, in the namespace of the Lease.\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: kubestrata-lease\nrules:\n{LEASE_RULE}"
    )
}

/// The rules of one layer by itself, and those that each source adds to it that is opted in to: what a chart merges.
#[must_use]
pub fn layer_rules_yaml(layer: Layer) -> String {
    let (opted, plain): (Vec<Kind>, Vec<Kind>) =
        kinds_of(&[layer]).into_iter().partition(|k| k.is_opt_in());
    let mut yaml = format!(
        "# Generated from the declarations in src/layers by tests/generated.rs. Do not edit.\n\
         rules:\n{}sources:\n",
        Rules::of(plain.into_iter()).yaml()
    );
    for kind in opted {
        let rules = Rules::of([kind].into_iter()).yaml();
        if !rules.is_empty() {
            let rules: String = rules.lines().map(|line| format!("  {line}\n")).collect();
            let _ = write!(yaml, "  {}:\n{rules}", kind.source());
        }
    }
    yaml
}

/// `docs/rights.md`: the rules of each layer by itself, and what each source that is opted in to adds.
#[must_use]
pub fn rights_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from the declarations in src/layers by tests/generated.rs. Do not edit. -->\n\
         # Rights\n\n\
         [clusterrole.yaml](clusterrole.yaml) has the rules of all layers together.\n\
         With `layers` set in the configuration, the rules of those layers suffice.\n\
         A right that is missing makes the signals that need it silent, visibly, and no others.\n",
    );
    for layer in Layer::ALL {
        let kinds = kinds_of(&[layer]).into_iter().filter(|k| !k.is_opt_in());
        let _ = write!(page, "\n## {layer}\n\n```yaml\n{}```\n", Rules::of(kinds).yaml());
    }
    page.push_str(
        "\n## Sources that are opted in to\n\n\
         The rules that `sources.opt_in` adds; a source without rules here needs none in the cluster.\n",
    );
    for kind in Kind::ALL.iter().copied().filter(|k| k.is_opt_in()) {
        let yaml = Rules::of([kind].into_iter()).yaml();
        if !yaml.is_empty() {
            let _ = write!(page, "\n### {}\n\n```yaml\n{yaml}```\n", kind.source());
        }
    }
    let _ = write!(
        page,
        "\n## Several replicas\n\n\
         The rule that `leader_election.enabled` adds, in the namespace of the Lease only: \
         [lease-role.yaml](lease-role.yaml).\n\
         Without it kubestrata only reads.\n\n```yaml\n{LEASE_RULE}```\n"
    );
    page
}
