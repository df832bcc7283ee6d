//! How did the cluster come to be? Founded weeks ago, settled by its own controllers, and alive ever since.

pub(crate) mod delivery;
pub(crate) mod guards;
mod supplies;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields::Fields;
use super::furnishing;
use super::kind::Kind;
use super::layout::{self, Shape, Tenant};
use super::manifests::{self, Role};
use super::moment::{DAY, HOUR, MINUTE, Moment};
use super::simulation::Simulation;

/// How long each founding is given to settle before time is skipped.
const SETTLING: Moment = 5 * MINUTE;
/// The last stretch before the present is lived in full: events are an hour old at most.
const LIVED: Moment = 70 * MINUTE;
const YOUNGEST: Moment = DAY;

/// A cluster of this shape that has lived until `present`.
pub(crate) fn found(shape: Shape, present: Moment, memory: usize) -> Simulation {
    let shape = Shape { nodes: shape.nodes.max(1), ..shape };
    let mut sim = Simulation::new(shape.seed, present - 60 * DAY, memory);
    let tenants = layout::tenants(shape, sim.chance);
    let oldest = tenants.iter().map(|t| t.days_old).max().unwrap_or(1);
    sim.skip(present - oldest * DAY - HOUR);
    let nodes = set_up(&mut sim, shape);
    debug_assert_eq!(nodes, shape.nodes);
    let mut days: Vec<_> = tenants.iter().map(|t| t.days_old).collect();
    days.sort_unstable();
    days.dedup();
    for day in days.into_iter().rev() {
        sim.skip(present - day * DAY);
        for tenant in tenants.iter().filter(|t| t.days_old == day) {
            settle(&mut sim, tenant);
        }
        let settled = sim.now + SETTLING;
        sim.advance(settled);
    }
    guards::found(&mut sim);
    supplies::found(&mut sim);
    delivery::found(&mut sim);
    let settled = sim.now + SETTLING;
    sim.advance(settled);
    release(&mut sim, &tenants, present);
    sim.skip(present - LIVED);
    sim.advance(present);
    sim
}

fn set_up(sim: &mut Simulation, shape: Shape) -> u32 {
    for ns in ["default", "kube-node-lease", "kube-public"] {
        sim.create(Kind::Namespace, manifests::namespace(ns));
    }
    sim.create(Kind::CsiDriver, manifests::csi_driver());
    sim.create(Kind::StorageClass, manifests::storage_class());
    furnishing::cluster(sim);
    for nth in 0..shape.nodes {
        let (name, zone) = layout::node_name(nth);
        sim.create(Kind::Node, manifests::node(sim.chance, &name, &zone, nth, sim.now));
        sim.create(Kind::CsiNode, manifests::csi_node(sim.chance, &name));
    }
    sim.store.list(Kind::Node, None).count() as u32
}

fn settle(sim: &mut Simulation, tenant: &Tenant) {
    sim.create(Kind::Namespace, manifests::namespace(&tenant.ns));
    furnishing::tenant(sim, tenant);
    for app in &tenant.apps {
        let kind = match app.role {
            Role::Deployment { .. } => Kind::Deployment,
            Role::StatefulSet { .. } => Kind::StatefulSet,
            Role::DaemonSet => Kind::DaemonSet,
            Role::CronJob { .. } => Kind::CronJob,
        };
        let mut manifest = app.manifest();
        delivery::equip(sim, &mut manifest);
        sim.create(kind, manifest);
    }
}

/// A third of the Deployments have had a release since they were founded.
fn release(sim: &mut Simulation, tenants: &[Tenant], present: Moment) {
    let mut releases = Vec::new();
    for tenant in tenants {
        for app in tenant.apps.iter().filter(|a| matches!(a.role, Role::Deployment { .. })) {
            let key = super::store::Key::new(&app.ns, &app.name);
            let mut draw = sim.chance.of("release", &key.to_string());
            if draw.unit() < 0.33 {
                releases.push((present - draw.between(YOUNGEST, 5 * DAY), key));
            }
        }
    }
    releases.sort();
    for (at, key) in releases {
        sim.skip(at);
        let bad = sim.surroundings.bad_images();
        sim.store.update(Kind::Deployment, &key, |d| set_tag(d, &next_tag(image_of(d), &bad)));
        let settled = sim.now + SETTLING;
        sim.advance(settled);
    }
}

/// The image of a workload's first container.
pub(crate) fn image_of(workload: &Value) -> &str {
    workload.text("spec/template/spec/containers/0/image")
}

/// Sets the tag of a workload's first image.
pub(crate) fn set_tag(workload: &mut Value, tag: &str) {
    let name = image_of(workload).rsplit_once(':').map_or("", |(name, _)| name);
    let image = format!("{name}:{tag}");
    workload.put("spec/template/spec/containers/0/image", json!(image));
}

/// The tag of the release after this image: the last number, one higher. A tag that was released and did badly is not
/// given a second time.
pub(crate) fn next_tag(image: &str, bad: &BTreeSet<String>) -> String {
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "0.0.0"));
    let (head, last) = tag.rsplit_once('.').unwrap_or(("1.0", tag));
    let digits: String = last.chars().take_while(char::is_ascii_digit).collect();
    let newest = digits.parse::<u32>().unwrap_or(0).min(u32::MAX - 1);
    let free = |n: &u32| !bad.contains(&format!("{name}:{head}.{n}"));
    let next = (newest + 1..u32::MAX).find(free).unwrap_or(u32::MAX);
    format!("{head}.{next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_counts_the_last_number_up() {
        for (image, tag) in [("r/a:1.2.9", "1.2.10"), ("r/a:1.2.3-rc1", "1.2.4"), ("r/a", "0.0.1")]
        {
            assert_eq!(next_tag(image, &BTreeSet::new()), tag);
        }
        assert_eq!(next_tag("r/a:1.2.3", &BTreeSet::from(["r/a:1.2.4".to_owned()])), "1.2.5");
    }
}
