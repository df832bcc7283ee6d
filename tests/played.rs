//! Does each fault of guards, delivery and storage show in time, and is all well before it and after it? The simulated
//! cluster through its API and its kubelets, the real decoders and the whole pipeline.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use kubestrata::catalog;
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::model::finding::{Finding, Severity};
use kubestrata::model::kind::{Kind, Origin};
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::text::Interner;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sim::{Cluster, FaultKind, ResponseBody, Scenario, Shape, faults};
use kubestrata::sources::{self, KubeletAccess, WatchOptions};
use serde_json::Value;
use tower::Service;

/// Noon of a day on which nothing else happens.
const NOON: &str = "2026-11-24T12:00:00Z";
/// A scenario of one fault begins with this.
const QUIET: i64 = 120;

/// A cluster and who watches it.
struct Play {
    cluster: Cluster,
    now: Timestamp,
    pipeline: Pipeline,
    world: World,
    texts: Interner,
    /// For clients of kubelets, which need one.
    runtime: tokio::runtime::Runtime,
    /// Paths of the kinds that are served, with the version up to which they have been seen.
    watched: BTreeMap<Kind, (String, String)>,
}

impl Play {
    fn new(scenario: Scenario) -> Self {
        let now: Timestamp = NOON.parse().unwrap();
        let shape = Shape { nodes: 6, pods: 90, seed: 7 };
        let cluster = Cluster::new(shape, scenario, Clock::manual(now));
        // Sources that are read only on demand are, here.
        let opt_in = Kind::ALL.iter().copied().filter(|k| k.is_opt_in()).collect();
        let pipeline = Pipeline::new(Settings { opt_in, ..Settings::default() }, State::default());
        let (world, texts, watched) = (World::default(), Interner::default(), BTreeMap::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut play = Self { cluster, now, pipeline, world, texts, runtime, watched };
        for kind in play.pipeline.kinds().into_iter().filter(|k| *k != Kind::KubeletMetrics) {
            play.list(kind);
        }
        play.ask_kubelets();
        play
    }

    /// Asks every kubelet for its figures, as the daemon does.
    fn ask_kubelets(&mut self) {
        let now = self.now;
        let options = WatchOptions {
            kubelets: Some(KubeletAccess::Within(self.cluster.kubelets())),
            ..WatchOptions::new(vec![Kind::KubeletMetrics], Arc::new(move || now))
        };
        let deltas = self.runtime.block_on(async {
            let (out, mut inbox) = tokio::sync::mpsc::channel(64);
            sources::list_once(self.cluster.client(), options, out).await.unwrap();
            let mut deltas = Vec::new();
            while let Some(batch) = inbox.recv().await {
                deltas.extend(batch);
            }
            deltas
        });
        for delta in deltas {
            self.pipeline.absorb(&mut self.world, delta, now);
        }
    }

    fn ask(&self, path: &str) -> (bool, ResponseBody) {
        let request = Request::get(path).body(kube::client::Body::empty()).unwrap();
        let answer = self.cluster.service().call(request).now_or_never().unwrap().unwrap();
        (answer.status().is_success(), answer.into_body())
    }

    /// What of a body is there at once.
    fn read(body: ResponseBody) -> Vec<u8> {
        let (mut body, mut bytes) = (body, Vec::new());
        while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        bytes
    }

    fn list(&mut self, kind: Kind) {
        let now = self.now;
        let mut all = kind.versions().iter().map(|version| match kind.group() {
            "" => format!("/api/{version}/{}?limit=0", kind.plural()),
            group => format!("/apis/{group}/{version}/{}?limit=0", kind.plural()),
        });
        let served = all.find_map(|path| {
            let (served, body) = self.ask(&path);
            served.then_some((path, body))
        });
        let Some((path, body)) = served else {
            let (availability, message) = (Availability::Absent, String::new());
            let note = SourceNote::Failed { availability, message, backoff_seconds: 0.0 };
            self.pipeline.absorb(&mut self.world, Delta::Note(kind, note), now);
            return;
        };
        let bytes = Self::read(body);
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        self.pipeline.absorb(&mut self.world, Delta::Listing(kind), now);
        for delta in sources::read_page(kind, &bytes, &mut self.texts).unwrap() {
            assert!(matches!(delta, Delta::Upsert(_)), "{kind:?}: {delta:?}");
            self.pipeline.absorb(&mut self.world, delta, now);
        }
        self.pipeline.absorb(&mut self.world, Delta::Synced(kind), now);
        self.watched.insert(kind, (path, version));
    }

    fn follow(&mut self) {
        for (kind, (path, version)) in std::mem::take(&mut self.watched) {
            if let Origin::Poll(_) = kind.origin() {
                self.list(kind);
                continue;
            }
            let (served, body) = self.ask(&format!("{path}&watch=true&resourceVersion={version}"));
            assert!(served, "{kind:?}");
            let text = String::from_utf8(Self::read(body)).unwrap();
            let mut newest = version;
            for line in text.lines() {
                let event: Value = serde_json::from_str(line).unwrap();
                newest =
                    event["object"]["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
                let delta = sources::read_watch_event(kind, line, &mut self.texts);
                let Some(delta) = delta else { continue };
                let read = matches!(delta, Delta::Upsert(_) | Delta::Delete { .. });
                assert!(read, "{kind:?}: {delta:?}");
                self.pipeline.absorb(&mut self.world, delta, self.now);
            }
            let alive = Delta::Note(kind, SourceNote::Alive);
            self.pipeline.absorb(&mut self.world, alive, self.now);
            self.watched.insert(kind, (path, newest));
        }
        self.ask_kubelets();
    }

    /// Lives on for so long, with looks this far apart; gives what was found at any of them.
    fn pass(&mut self, seconds: i64, step: i64) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        let mut left = seconds;
        while left > 0 {
            let step = step.min(left);
            left -= step;
            self.now += SignedDuration::from_secs(step);
            self.cluster.advance_to(self.now);
            self.follow();
            for finding in self.pipeline.step(&self.world, self.now).findings {
                if !found.iter().any(|f| f.id == finding.id) {
                    found.push(finding);
                }
            }
        }
        found
    }
}

fn words(findings: &[Finding]) -> String {
    let line = |f: &Finding| format!("{:?} {} {}: {}", f.severity, f.signal, f.subject, f.message);
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a signal finds by itself; counters and gauges need a past to speak.
fn by_rule(name: &str) -> bool {
    let name = format!("kubestrata_{name}");
    catalog::signals().iter().any(|s| s.name == name && s.kind == "rule")
}

/// What a fault tells must open in time; nothing else may, beyond what is noted; and it must be over afterwards.
fn play(kind: &'static FaultKind) {
    let mut scenario = Scenario::builtin(kind.name).unwrap();
    scenario.every = None;
    let mut play = Play::new(scenario);
    let name = kind.name;
    let before = play.pass(QUIET, 15);
    assert!(before.is_empty(), "before {name}:\n{}", words(&before));
    let (within, lasts) = (i64::from(kind.within), i64::from(kind.lasts));
    let step = (lasts / 60).clamp(15, 600);
    let mut found = play.pass(within, step);
    let told = found.iter().any(|f| kind.tells.contains(&&*f.signal));
    let silent = !kind.tells.iter().any(|name| by_rule(name));
    assert!(told || silent, "{name} does not tell:\n{}", words(&found));
    found.extend(play.pass(lasts - within + 1800, step));
    let known = |f: &Finding| kind.names().any(|name| name == &*f.signal);
    found.retain(|f| !known(f) && f.severity > Severity::Info);
    assert!(found.is_empty(), "{name} also brings:\n{}", words(&found));
    // What was lost within the hour is told for an hour.
    let mut after = play.pass(300, 30);
    after.retain(|f| !matches!(&*f.signal, "gitops_mass_change" | "gitops_drift_fight"));
    assert!(after.is_empty(), "after {name}:\n{}", words(&after));
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    let found = Play::new(Scenario::healthy()).pass(3 * 3600, 60);
    assert!(found.is_empty(), "{}", words(&found));
}

#[test]
fn every_signal_that_a_fault_names_is_declared() {
    for kind in faults() {
        for name in kind.names() {
            assert!(catalog::holds(name), "{} names {name}", kind.name);
        }
    }
}

macro_rules! plays {
    ($($test:ident $name:literal),* $(,)?) => {
        $(#[test] fn $test() {
            play(faults().find(|kind| kind.name == $name).unwrap());
        })*

        const PLAYED: &[&str] = &[$($name),*];
    };
}

#[test]
fn each_fault_of_these_layers_is_played() {
    let here = |k: &&FaultKind| matches!(k.layer, "security" | "tooling" | "gitops");
    for kind in faults().filter(here) {
        assert!(PLAYED.contains(&kind.name), "{}", kind.name);
    }
}

plays!(
    snapshots_refused "snapshots-refused",
    snapshots_stopped "snapshots-stopped",
    resize_refused "resize-refused",
    claim_grows "claim-grows",
    volume_fills "volume-fills",
    inodes_exhausted "inodes-exhausted",
    volume_creeps "volume-creeps",
    volume_compacted "volume-compacted",
    node_plugin_down "node-plugin-down",
    pool_low "pool-low",
    webhook_down "webhook-down",
    webhook_fails_open "webhook-fails-open",
    pod_security_raised "pod-security-raised",
    policy_too_strict "policy-too-strict",
    issuer_broken "issuer-broken",
    renewal_refused "renewal-refused",
    certificates_unattended "certificates-unattended",
    vault_closed "vault-closed",
    csr_unapproved "csr-unapproved",
    csr_denied "csr-denied",
    csr_rotation "csr-rotation",
    rbac_everybody "rbac-everybody",
    rbac_default_account "rbac-default-account",
    role_deleted "role-deleted",
    helm_pending "helm-pending",
    helm_failed "helm-failed",
    helm_upgrade "helm-upgrade",
    config_map_pruned "config-map-pruned",
    config_changed "config-changed",
    namespace_audited "namespace-audited",
    labels_changed "labels-changed",
    definition_deleted "definition-deleted",
    namespace_stuck "namespace-stuck",
    namespace_deleted "namespace-deleted",
    pod_held "pod-held",
    hook_failed "hook-failed",
    argo_bad_release "argo-bad-release",
    argo_good_release "argo-good-release",
    argo_repository_unreachable "argo-repository-unreachable",
    argo_sync_refused "argo-sync-refused",
    argo_drift "argo-drift",
    drift_fight "drift-fight",
    argo_repo_server_down "argo-repo-server-down",
    flux_source_fails "flux-source-fails",
    flux_build_fails "flux-build-fails",
    flux_bad_release "flux-bad-release",
    flux_good_release "flux-good-release",
    helm_release_exhausted "helm-release-exhausted",
    flux_suspended "flux-suspended",
    flux_mass_prune "flux-mass-prune",
    flux_controller_down "flux-controller-down",
    registry_credentials_expired "registry-credentials-expired",
    dead_node_keeps_volume "dead-node-keeps-volume",
);
