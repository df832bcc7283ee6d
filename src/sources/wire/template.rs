//! What of a pod template is read? What its pods need to start, and how they ask to be looked after.

use serde::Deserialize;

use super::meta::WireMeta;
use super::text;
use crate::model::kind::Kind;
use crate::model::record::{Reference, Template};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireTemplate {
    metadata: WireMeta,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    service_account_name: Option<String>,
    host_network: bool,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
    image_pull_secrets: Option<Vec<Source>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    image: Option<String>,
    restart_policy: Option<String>,
    ports: Option<Vec<Port>>,
    env: Option<Vec<Env>>,
    env_from: Option<Vec<EnvFrom>>,
    resources: Option<Resources>,
    readiness_probe: Option<serde::de::IgnoredAny>,
    security_context: Option<Security>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Env {
    value_from: Option<ValueFrom>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ValueFrom {
    config_map_key_ref: Option<Source>,
    secret_key_ref: Option<Source>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EnvFrom {
    config_map_ref: Option<Source>,
    secret_ref: Option<Source>,
}

/// A reference by name; a Secret volume calls it `secretName`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Source {
    #[serde(alias = "secretName")]
    name: Option<String>,
    optional: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Option<Amounts>,
    limits: Option<Amounts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: Option<serde::de::IgnoredAny>,
    memory: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Security {
    privileged: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    config_map: Option<Source>,
    secret: Option<Source>,
    projected: Option<Projected>,
    host_path: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Option<Vec<ProjectedSource>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProjectedSource {
    config_map: Option<Source>,
    secret: Option<Source>,
}

impl WireTemplate {
    pub(super) fn record(&self, texts: &mut Interner) -> Template {
        let spec = &self.spec;
        let main = || spec.containers.iter().flatten();
        let all = || main().chain(spec.init_containers.iter().flatten());
        let every = |asked: fn(&Container) -> bool| main().next().is_some() && main().all(asked);
        // A sidecar is an init container that stays.
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = main().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        let ports = ports.map(|p| (text(texts, p.name.as_deref()), p.container_port)).collect();
        Template {
            labels: self.metadata.labelled(texts),
            annotations: self.metadata.annotated(texts),
            ports,
            references: self.references(texts),
            service_account: text(texts, spec.service_account_name.as_deref()),
            has_readiness: every(|c| c.readiness_probe.is_some()),
            has_requests: every(|c| {
                c.resources
                    .as_ref()
                    .and_then(|r| r.requests.as_ref())
                    .is_some_and(|r| r.cpu.is_some() && r.memory.is_some())
            }),
            has_memory_limit: every(|c| {
                let limits = c.resources.as_ref().and_then(|r| r.limits.as_ref());
                limits.is_some_and(|l| l.memory.is_some())
            }),
            floating_image: all().any(|c| c.image.as_deref().is_some_and(floats)),
            privileged: all()
                .any(|c| c.security_context.as_ref().is_some_and(|s| s.privileged == Some(true))),
            host_path: spec.volumes.iter().flatten().any(|v| v.host_path.is_some()),
            host_network: spec.host_network,
        }
    }

    fn references(&self, texts: &mut Interner) -> Box<[Reference]> {
        let spec = &self.spec;
        let mut found: Vec<Reference> = Vec::new();
        let mut add = |kind, source: Option<&Source>| {
            let Some(source) = source.filter(|s| !s.optional) else { return };
            if let Some(name) = source.name.as_deref().filter(|name| !name.is_empty()) {
                found.push(Reference { kind, name: texts.text(name) });
            }
        };
        let containers = spec.containers.iter().chain(&spec.init_containers).flatten();
        for container in containers {
            for env in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
                add(Kind::ConfigMap, env.config_map_key_ref.as_ref());
                add(Kind::HelmSecret, env.secret_key_ref.as_ref());
            }
            for env in container.env_from.iter().flatten() {
                add(Kind::ConfigMap, env.config_map_ref.as_ref());
                add(Kind::HelmSecret, env.secret_ref.as_ref());
            }
        }
        for volume in spec.volumes.iter().flatten() {
            add(Kind::ConfigMap, volume.config_map.as_ref());
            add(Kind::HelmSecret, volume.secret.as_ref());
            for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
                add(Kind::ConfigMap, source.config_map.as_ref());
                add(Kind::HelmSecret, source.secret.as_ref());
            }
        }
        for secret in spec.image_pull_secrets.iter().flatten() {
            add(Kind::HelmSecret, Some(secret));
        }
        found.sort();
        found.dedup();
        found.into()
    }
}

/// Whether what an image's name means can change: no digest, and no tag or the tag `latest`.
fn floats(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && name.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_floats_without_tag_or_digest() {
        let cases = [
            ("nginx", true),
            ("nginx:latest", true),
            ("registry:5000/nginx", true),
            ("nginx:1.29", false),
            ("nginx@sha256:abc", false),
            ("registry:5000/a/nginx:1", false),
        ];
        for (image, expected) in cases {
            assert_eq!(floats(image), expected, "{image}");
        }
    }

    #[test]
    fn what_pods_cannot_do_without_is_found_wherever_it_is_named() {
        let template: WireTemplate = serde_json::from_value(json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [{
                    "image": "web:1", "ports": [{"name": "http", "containerPort": 80}],
                    "envFrom": [{"configMapRef": {"name": "all"}}, {"secretRef": {"name": "s1", "optional": true}}],
                    "env": [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}}],
                    "securityContext": {"privileged": true},
                }],
                "volumes": [
                    {"name": "c", "configMap": {"name": "files"}},
                    {"name": "s", "secret": {"secretName": "s3"}},
                    {"name": "p", "projected": {"sources": [{"configMap": {"name": "all"}}]}},
                ],
                "imagePullSecrets": [{"name": "pull"}],
            },
        }))
        .unwrap();
        let template = template.record(&mut Interner::default());
        let named: Vec<_> =
            template.references.iter().map(|r| (r.kind.name(), r.name.as_str())).collect();
        let secrets = ["pull", "s2", "s3"].map(|name| ("Secret", name));
        let maps = ["all", "files"].map(|name| ("ConfigMap", name));
        assert_eq!(named, [&secrets[..], &maps].concat());
        assert!(template.privileged && !template.has_readiness && !template.floating_image);
        assert_eq!(template.ports[0].1, 80);
    }
}
