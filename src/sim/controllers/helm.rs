//! What does Helm leave of a release? One Secret for each revision, whose labels say how it went
//! (Helm's `storage/driver`).

use serde_json::json;

use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::SECOND;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Revisions that are kept, the newest among them: Flux's default.
const KEPT: usize = 5;

/// The revisions of a release, oldest first.
pub(crate) fn revisions(sim: &Simulation, release: &Key) -> Vec<(i64, Key)> {
    let all = sim
        .store
        .list(Kind::Secret, Some(&release.ns))
        .filter(|(_, s)| s.label("owner") == "helm" && s.label("name") == release.name);
    let mut found: Vec<_> =
        all.filter_map(|(key, s)| Some((s.label("version").parse().ok()?, key.clone()))).collect();
    found.sort();
    found
}

/// Begins a revision in this state; gives its number.
pub(crate) fn begin(sim: &mut Simulation, release: &Key, status: &str) -> i64 {
    let held = revisions(sim, release);
    let number = held.last().map_or(0, |(number, _)| *number) + 1;
    for (_, old) in held.iter().take((held.len() + 1).saturating_sub(KEPT)) {
        sim.delete(Kind::Secret, old);
    }
    let name = format!("sh.helm.release.v1.{}.v{number}", release.name);
    let secret = json!({
        "metadata": {
            "name": name,
            "namespace": release.ns,
            "labels": {
                "name": release.name,
                "owner": "helm",
                "status": status,
                "version": number.to_string(),
                "createdAt": (sim.now / SECOND).to_string(),
            },
        },
        "type": "helm.sh/release.v1",
    });
    sim.create(Kind::Secret, secret);
    number
}

/// The newest revision comes to this state; what was deployed before it is superseded when it is deployed.
pub(crate) fn conclude(sim: &mut Simulation, release: &Key, status: &str) {
    let held = revisions(sim, release);
    let Some(((_, newest), older)) = held.split_last() else { return };
    if status == "deployed" {
        for (_, old) in older {
            let deployed = |s: &serde_json::Value| s.label("status") == "deployed";
            if sim.store.get(Kind::Secret, old).is_some_and(|s| deployed(s)) {
                mark(sim, old, "superseded");
            }
        }
    }
    mark(sim, newest, status);
}

fn mark(sim: &mut Simulation, secret: &Key, status: &str) {
    let now = (sim.now / SECOND).to_string();
    sim.store.update(Kind::Secret, secret, |s| {
        s.put("metadata/labels/status", json!(status));
        s.put("metadata/labels/modifiedAt", json!(now));
    });
}
