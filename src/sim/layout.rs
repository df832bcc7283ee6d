//! Which workloads does the simulated cluster run, and how many pods of each?

use super::chance::Chance;
use super::manifests::{App, DRIVER_CONTROLLER, Role};

/// The registry of the house's own images.
pub(crate) const OWN_REGISTRY: &str = "registry.example";
/// The registry of everybody else's.
const OTHER_REGISTRY: &str = "mirror.example";

/// How large a cluster to simulate, and which of the many possible ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Nodes, at least 1, spread over three zones; each takes 110 pods, the rest stays Pending.
    pub nodes: u32,
    /// Pods that run all the time, give or take one in ten; never fewer than one for each workload and node agent.
    pub pods: u32,
    /// Equal seeds, equal clusters.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: 12, pods: 150, seed: 1 }
    }
}

/// One row of the table below: name, what runs it, millicores, MiB.
type Row = (&'static str, Role, u32, u32);

const fn deployment(name: &'static str, replicas: u32, milli_cpu: u32, memory: u32) -> Row {
    (name, Role::Deployment { replicas }, milli_cpu, memory)
}

const fn stateful_set(name: &'static str, replicas: u32, gibi: u32) -> Row {
    (name, Role::StatefulSet { replicas, gibi }, 300, 1024)
}

const fn daemon_set(name: &'static str) -> Row {
    (name, Role::DaemonSet, 50, 64)
}

const fn cron_job(name: &'static str, schedule: &'static str) -> Row {
    (name, Role::CronJob { schedule }, 100, 128)
}

/// Who lives here: namespace, how many days ago it was founded, its workloads.
pub(crate) const HOUSE: &[(&str, i64, &[Row])] = &[
    (
        "kube-system",
        42,
        &[
            daemon_set("network-agent"),
            daemon_set("node-proxy"),
            daemon_set("block-csi-node"),
            deployment(DRIVER_CONTROLLER, 2, 50, 128),
            deployment("cluster-dns", 2, 100, 128),
            deployment("resource-metrics", 1, 100, 200),
        ],
    ),
    (
        "platform",
        40,
        &[
            daemon_set("log-agent"),
            deployment("ingress", 3, 200, 256),
            deployment("gateway", 2, 200, 256),
            deployment("otel-collector", 2, 100, 256),
            deployment("dashboards", 1, 100, 256),
            deployment("log-store", 2, 300, 512),
            stateful_set("prometheus-main", 2, 100),
            cron_job("backup", "0 * * * *"),
            deployment("snapshot-scheduler", 1, 50, 64),
        ],
    ),
    ("kyverno", 39, &[deployment("kyverno-admission-controller", 3, 100, 256)]),
    (
        "cert-manager",
        39,
        &[deployment("cert-manager", 1, 50, 128), deployment("cert-manager-webhook", 2, 50, 64)],
    ),
    ("external-secrets", 38, &[deployment("external-secrets", 1, 50, 128)]),
    (
        "argocd",
        38,
        &[
            deployment("argocd-application-controller", 1, 250, 512),
            deployment("argocd-repo-server", 1, 100, 256),
        ],
    ),
    (
        "flux-system",
        37,
        &[
            deployment("source-controller", 1, 50, 128),
            deployment("kustomize-controller", 1, 100, 256),
            deployment("helm-controller", 1, 100, 256),
        ],
    ),
    (
        "shop",
        35,
        &[
            deployment("storefront", 4, 250, 512),
            deployment("checkout", 3, 250, 512),
            deployment("cart", 3, 150, 256),
            deployment("catalog", 3, 200, 512),
            deployment("recommendations", 2, 400, 1024),
            stateful_set("sessions", 3, 8),
            cron_job("abandoned-carts", "*/10 * * * *"),
        ],
    ),
    (
        "payments",
        34,
        &[
            deployment("gateway", 3, 200, 256),
            deployment("fraud-scoring", 2, 500, 1024),
            deployment("reconciler", 1, 100, 256),
            stateful_set("ledger", 3, 50),
            cron_job("settlement", "*/5 * * * *"),
        ],
    ),
    (
        "search",
        28,
        &[
            deployment("query", 4, 300, 512),
            deployment("indexer", 2, 400, 1024),
            stateful_set("shards", 3, 100),
            cron_job("reindex", "30 * * * *"),
        ],
    ),
    (
        "media",
        27,
        &[
            deployment("uploads", 2, 150, 256),
            deployment("transcoder", 3, 500, 1024),
            deployment("thumbnails", 3, 200, 256),
            stateful_set("blobs", 3, 200),
        ],
    ),
    (
        "accounts",
        21,
        &[
            deployment("login", 3, 150, 256),
            deployment("profiles", 2, 150, 256),
            deployment("tokens", 2, 100, 128),
            stateful_set("directory", 2, 20),
        ],
    ),
    (
        "analytics",
        14,
        &[
            deployment("ingest", 3, 200, 512),
            deployment("aggregator", 2, 400, 1024),
            stateful_set("events", 3, 200),
            cron_job("rollup", "*/15 * * * *"),
        ],
    ),
];

/// The house's own programs, `namespace/name`, and what runs them.
pub(crate) fn own() -> impl Iterator<Item = (String, &'static Role)> {
    let own = HOUSE.iter().filter(|(_, days_old, _)| *days_old <= HOUSE_AGE);
    own.flat_map(|(ns, _, rows)| {
        rows.iter().map(move |(name, role, ..)| (format!("{ns}/{name}"), role))
    })
}

/// Whether what runs in this namespace of the house is used by all others, so that its faults show anywhere.
#[must_use]
pub fn serves_everybody(namespace: &str) -> bool {
    matches!(namespace, "cert-manager" | "kube-system" | "kyverno" | "platform")
}

/// What is older than the house's own programs came from elsewhere.
const HOUSE_AGE: i64 = 35;

/// Teams that fill a cluster larger than the house: founded this many days ago, with these workloads.
const TEAM_AGE: i64 = 9;
const TEAM: &[Row] = &[
    deployment("api", 4, 150, 256),
    deployment("worker", 4, 200, 256),
    deployment("cache", 2, 100, 512),
];

/// The house's own workloads grow up to this many times their size before teams are added.
const MOST_GROWTH: f64 = 2.0;

/// A namespace with its workloads.
pub(crate) struct Tenant {
    pub(crate) ns: String,
    pub(crate) days_old: i64,
    pub(crate) apps: Vec<App>,
}

/// Everybody who lives in a cluster of this shape, oldest first.
pub(crate) fn tenants(shape: Shape, chance: Chance) -> Vec<Tenant> {
    let rows = || HOUSE.iter().flat_map(|(_, _, rows)| rows.iter());
    let daemons =
        rows().filter(|(_, role, ..)| *role == Role::DaemonSet).count() as u32 * shape.nodes;
    let base: u32 = rows().map(|(_, role, ..)| size(role)).sum();
    let room = shape.pods.saturating_sub(daemons);
    let growth = (f64::from(room) / f64::from(base)).min(MOST_GROWTH);
    let mut all: Vec<_> = HOUSE
        .iter()
        .map(|(ns, days_old, rows)| tenant(ns, *days_old, rows, growth, chance))
        .collect();
    let housed = (f64::from(base) * growth) as u32;
    let team: u32 = TEAM.iter().map(|(_, role, ..)| size(role)).sum();
    for nth in 1..=room.saturating_sub(housed) / team {
        all.push(tenant(&format!("team-{nth:03}"), TEAM_AGE, TEAM, 1.0, chance));
    }
    all
}

const fn size(role: &Role) -> u32 {
    match role {
        Role::Deployment { replicas } | Role::StatefulSet { replicas, .. } => *replicas,
        Role::DaemonSet | Role::CronJob { .. } => 0,
    }
}

fn tenant(ns: &str, days_old: i64, rows: &[Row], growth: f64, chance: Chance) -> Tenant {
    // What the cluster itself needs does not shrink with it.
    let growth = if days_old > HOUSE_AGE { growth.max(1.0) } else { growth };
    let grown = |replicas: u32| ((f64::from(replicas) * growth).round() as u32).max(1);
    let apps = rows.iter().map(|(name, role, milli_cpu, memory_mebi)| {
        let host = if days_old > HOUSE_AGE { OTHER_REGISTRY } else { OWN_REGISTRY };
        let mut draw = chance.of("tag", &format!("{ns}/{name}"));
        let tag = format!("{}.{}.{}", draw.between(1, 5), draw.between(0, 20), draw.between(0, 9));
        let role = match role {
            Role::Deployment { replicas } => Role::Deployment { replicas: grown(*replicas) },
            Role::StatefulSet { replicas, gibi } => {
                Role::StatefulSet { replicas: grown(*replicas).min(replicas + 2), gibi: *gibi }
            }
            other => other.clone(),
        };
        App {
            ns: ns.to_owned(),
            name: (*name).to_owned(),
            image: format!("{host}/{ns}/{name}:{tag}"),
            milli_cpu: *milli_cpu,
            memory_mebi: *memory_mebi,
            role,
        }
    });
    Tenant { ns: ns.to_owned(), days_old, apps: apps.collect() }
}

/// The name of the n-th node: `node-a1`, `node-b1`, `node-c1`, `node-a2`, …
pub(crate) fn node_name(nth: u32) -> (String, String) {
    let zone = ["a", "b", "c"][(nth % 3) as usize];
    (format!("node-{zone}{}", nth / 3 + 1), format!("zone-{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_holds_about_as_many_pods_as_asked_for() {
        for (nodes, pods) in [(12, 150), (60, 600), (3, 100), (200, 3000)] {
            let shape = Shape { nodes, pods, seed: 1 };
            let all = tenants(shape, Chance::new(1));
            let apps = all.iter().flat_map(|t| &t.apps);
            let count: u32 =
                apps.map(|a| if a.role == Role::DaemonSet { nodes } else { size(&a.role) }).sum();
            let error = f64::from(count.abs_diff(pods)) / f64::from(pods);
            assert!(error < 0.1, "{nodes} nodes, {pods} pods: {count}");
        }
    }
}
