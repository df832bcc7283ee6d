//! Which objects are there of the kinds that have no record of their own, and who manages an object?

use super::View;
use super::indexes::within;
use crate::model::kind::Kind;
use crate::model::record::{Meta, Resource, Scrape};
use crate::model::source::Availability;
use crate::model::text::Text;
use crate::model::world::Store;

impl<'a> View<'a> {
    /// The objects of a kind that are not being deleted with their namespace, in the order of their names.
    pub fn resources(&self, kind: Kind) -> impl Iterator<Item = &'a Resource> + '_ {
        let all = self.world.indexes.resources(self.world, kind);
        all.iter().map(|r| &**r).filter(|r| !self.is_terminating(&r.meta.namespace))
    }

    /// The objects of a kind in a namespace, as [`resources`](View::resources) has them.
    pub fn resources_in(
        &self,
        kind: Kind,
        namespace: &Text,
    ) -> impl Iterator<Item = &'a Resource> + use<'a> {
        let all = self.world.indexes.resources(self.world, kind);
        let there = if self.is_terminating(namespace) { &[] } else { within(all, namespace) };
        there.iter().map(|r| &**r)
    }

    /// The objects of several kinds, kind by kind.
    pub fn resources_of<'s>(
        &'s self,
        kinds: &'s [Kind],
    ) -> impl Iterator<Item = &'a Resource> + 's {
        kinds.iter().flat_map(|kind| self.resources(*kind))
    }

    /// The object of this name. `namespace` is empty at cluster scope.
    #[must_use]
    pub fn resource(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Resource> {
        self.world.resources(kind)?.get(namespace, name)
    }

    /// The last answers of an endpoint's instances, in the order of their names.
    #[must_use]
    pub fn scrapes(&self, kind: Kind) -> Vec<&'a Scrape> {
        let mut all: Vec<&Scrape> =
            self.world.scrapes(kind).into_iter().flat_map(Store::iter).collect();
        all.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
        all
    }

    /// Whether the API server serves the kind, whether or not it can be seen: a thing that is not installed is not
    /// applicable rather than missing.
    #[must_use]
    pub fn is_served(&self, kind: Kind) -> bool {
        (self.world.availability(kind))
            .is_some_and(|a| !matches!(a, Availability::Absent | Availability::Disabled))
    }
}

/// What brought an object into the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Origin {
    Argo {
        application: String,
    },
    FluxKustomize {
        namespace: String,
        name: String,
    },
    FluxHelm {
        namespace: String,
        name: String,
    },
    Helm {
        namespace: String,
        release: String,
    },
    /// Owned by an object of somebody's own kind.
    Operator,
    /// `kubectl apply`, or kustomize with `buildMetadata`.
    Applied,
    Unmanaged,
}

impl Origin {
    /// Reads it from an object's labels, annotations and owner. What syncs the object again wins over what rendered
    /// it: Argo CD and Flux render Helm's labels without a Helm release.
    #[must_use]
    pub fn of(meta: &Meta) -> Self {
        let label = |key: &str| meta.labels.value(key).to_owned();
        let annotation = |key: &str| meta.annotations.value(key).to_owned();
        if let Some(id) = meta.annotations.get("argocd.argoproj.io/tracking-id")
            // Copies of an object inherit the annotation: it must name this very object.
            && let Some((application, tracked)) = id.split_once(':')
            && tracked.ends_with(&format!("/{}", meta.name))
        {
            return Self::Argo { application: application.to_owned() };
        }
        if !label("helm.toolkit.fluxcd.io/name").is_empty() {
            let namespace = label("helm.toolkit.fluxcd.io/namespace");
            return Self::FluxHelm { namespace, name: label("helm.toolkit.fluxcd.io/name") };
        }
        if !label("kustomize.toolkit.fluxcd.io/name").is_empty() {
            let namespace = label("kustomize.toolkit.fluxcd.io/namespace");
            return Self::FluxKustomize {
                namespace,
                name: label("kustomize.toolkit.fluxcd.io/name"),
            };
        }
        let release = annotation("meta.helm.sh/release-name");
        if !release.is_empty() {
            return Self::Helm { namespace: annotation("meta.helm.sh/release-namespace"), release };
        }
        if meta.owner.is_some() {
            return Self::Operator;
        }
        let by_kustomize = label("app.kubernetes.io/managed-by").starts_with("kustomize-");
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        if by_kustomize || meta.annotations.get(applied).is_some() {
            return Self::Applied;
        }
        Self::Unmanaged
    }

    /// The word used in labels.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Argo { .. } => "argo",
            Self::FluxKustomize { .. } => "flux_kustomize",
            Self::FluxHelm { .. } => "flux_helm",
            Self::Helm { .. } => "helm",
            Self::Operator => "operator",
            Self::Applied => "applied",
            Self::Unmanaged => "unmanaged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Labelled;

    #[test]
    fn what_syncs_wins_over_what_rendered_and_copies_do_not_count() {
        let meta = |labels: Labelled, annotations: Labelled| Meta {
            name: "web".into(),
            labels,
            annotations,
            ..Meta::default()
        };
        let helm = ("meta.helm.sh/release-name", "shop");
        let tracked = |id| Labelled::from([("argocd.argoproj.io/tracking-id", id), helm]);
        let flux = Labelled::from([("kustomize.toolkit.fluxcd.io/name", "apps")]);
        let none = Labelled::default;
        let cases = [
            (meta(none(), tracked("shop:apps/Deployment:ns/web")), "argo"),
            (meta(none(), tracked("shop:apps/Deployment:ns/other")), "helm"),
            (meta(flux, Labelled::from([helm])), "flux_kustomize"),
            (
                meta(
                    none(),
                    Labelled::from([("kubectl.kubernetes.io/last-applied-configuration", "")]),
                ),
                "applied",
            ),
            (meta(none(), none()), "unmanaged"),
        ];
        for (meta, expected) in cases {
            assert_eq!(Origin::of(&meta).name(), expected);
        }
    }
}
