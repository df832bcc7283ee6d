//! Which ordinary work on workloads has to stay quiet?

use serde_json::json;

use super::{STAYS, deeds, quiet};
use crate::sim::faults::means::{behave, behave_on, edit, key, release, restore, roll_back, scale};
use crate::sim::faults::{Fault, FaultKind};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, SECOND};
use crate::sim::script;
use crate::sim::simulation::Simulation;
use crate::sim::surroundings::Conduct;

/// What a wave of releases takes along.
const WAVE: [&str; 6] = [
    "accounts/tokens",
    "media/uploads",
    "platform/dashboards",
    "search/indexer",
    "shop/catalog",
    "shop/recommendations",
];

/// Where pods of an app run.
fn nodes_of(sim: &Simulation, app: &str) -> Vec<String> {
    let app = key(app);
    let pods = sim.store.list(Kind::Pod, Some(&app.ns));
    let mine = pods.filter(|(_, pod)| pod.label("app") == app.name);
    mine.map(|(_, pod)| pod.text("spec/nodeName").to_owned()).collect()
}

/// Wherever a pod of the Deployment hangs, it answers again.
fn answer(sim: &mut Simulation, fault: &Fault) {
    let deployment = fault.parameter("deployment");
    for node in nodes_of(sim, deployment) {
        behave_on(sim, deployment, &node, Conduct::Serves);
    }
}

pub(super) static DISTURBANCES: &[FaultKind] = &[
    quiet(
        ("compute", "rolling-update"),
        ("Deployment {deployment} is updated", "Deployment {deployment}"),
        300,
        &[("deployment", "shop/catalog")],
        |sim, fault| deeds::release(sim, Kind::Deployment, fault.parameter("deployment")),
        STAYS,
    ),
    quiet(
        ("compute", "rolled-back-update"),
        ("Deployment {deployment} is updated and taken back", "Deployment {deployment}"),
        240,
        &[("deployment", "media/uploads")],
        |sim, fault| {
            release(sim, fault.parameter("deployment"));
        },
        |sim, fault| roll_back(sim, fault.parameter("deployment")),
    ),
    quiet(
        ("compute", "paused-update"),
        ("an update of Deployment {deployment} is paused", "Deployment {deployment}"),
        600,
        &[("deployment", "accounts/profiles")],
        |sim, fault| {
            let deployment = fault.parameter("deployment");
            sim.store.update(Kind::Deployment, &key(deployment), |d| {
                d.put("spec/paused", json!(true));
            });
            deeds::release(sim, Kind::Deployment, deployment);
        },
        |sim, fault| {
            sim.store.update(Kind::Deployment, &key(fault.parameter("deployment")), |d| {
                d.drop_field("spec/paused");
            });
        },
    ),
    quiet(
        ("compute", "statefulset-update"),
        ("StatefulSet {set} is updated", "StatefulSet {set}"),
        480,
        &[("set", "accounts/directory")],
        |sim, fault| deeds::release(sim, Kind::StatefulSet, fault.parameter("set")),
        STAYS,
    ),
    quiet(
        ("compute", "daemonset-update"),
        ("DaemonSet {set} is updated", "DaemonSet {set}"),
        900,
        &[("set", "platform/log-agent")],
        |sim, fault| deeds::release(sim, Kind::DaemonSet, fault.parameter("set")),
        STAYS,
    ),
    quiet(
        ("compute", "deploy-wave"),
        ("six Deployments are updated in a row", "Deployment shop/catalog"),
        480,
        &[],
        |sim, fault| {
            deeds::release(sim, Kind::Deployment, WAVE[0]);
            for nth in 1..WAVE.len() {
                script::later(sim, nth as i64 * 45 * SECOND, fault, |sim, _| {
                    // Each takes the one that was not updated for the longest.
                    let generation = |at: &&&str| {
                        let found = sim.store.get(Kind::Deployment, &key(at));
                        found.map_or(i64::MAX, |d| d.int("metadata/generation"))
                    };
                    if let Some(at) = WAVE[1..].iter().min_by_key(generation) {
                        deeds::release(sim, Kind::Deployment, at);
                    }
                });
            }
        },
        STAYS,
    ),
    quiet(
        ("compute", "scale-up"),
        ("Deployment {deployment} is given two more pods", "Deployment {deployment}"),
        600,
        &[("deployment", "search/indexer")],
        |sim, fault| scale(sim, Kind::Deployment, fault.parameter("deployment"), 2),
        |sim, fault| scale(sim, Kind::Deployment, fault.parameter("deployment"), -2),
    ),
    quiet(
        ("compute", "scale-down"),
        ("Deployment {deployment} is given one pod less", "Deployment {deployment}"),
        600,
        &[("deployment", "payments/fraud-scoring")],
        |sim, fault| scale(sim, Kind::Deployment, fault.parameter("deployment"), -1),
        |sim, fault| scale(sim, Kind::Deployment, fault.parameter("deployment"), 1),
    ),
    quiet(
        ("compute", "scale-to-zero"),
        ("Deployment {deployment} is scaled to zero", "Deployment {deployment}"),
        900,
        &[("deployment", "platform/dashboards")],
        |sim, fault| {
            edit(sim, Kind::Deployment, fault.parameter("deployment"), |d| {
                d.put("spec/replicas", json!(0));
            });
        },
        |sim, fault| restore(sim, Kind::Deployment, fault.parameter("deployment")),
    ),
    quiet(
        ("storage", "statefulset-grows"),
        ("StatefulSet {set} is given one more pod", "StatefulSet {set}"),
        600,
        &[("set", "accounts/directory")],
        |sim, fault| scale(sim, Kind::StatefulSet, fault.parameter("set"), 1),
        |sim, fault| scale(sim, Kind::StatefulSet, fault.parameter("set"), -1),
    ),
    quiet(
        ("compute", "pod-replaced"),
        ("a pod of Deployment {deployment} is deleted by hand", "Deployment {deployment}"),
        180,
        &[("deployment", "shop/storefront")],
        |sim, fault| {
            if let Some(pod) = deeds::one_pod(sim, fault.parameter("deployment")) {
                sim.delete(Kind::Pod, &pod);
            }
        },
        STAYS,
    ),
    quiet(
        ("compute", "single-restart"),
        ("Deployment {deployment} crashes once and comes back", "Deployment {deployment}"),
        180,
        &[("deployment", "payments/reconciler")],
        |sim, fault| {
            let once = Conduct::Exits { code: 1, after: 2 * SECOND };
            behave(sim, fault.parameter("deployment"), once);
            script::later(sim, 4 * SECOND, fault, |sim, fault| {
                behave(sim, fault.parameter("deployment"), Conduct::Serves);
            });
        },
        |sim, fault| behave(sim, fault.parameter("deployment"), Conduct::Serves),
    ),
    quiet(
        ("compute", "probe-failed-once"),
        ("Deployment {deployment} misses a probe", "Deployment {deployment}"),
        180,
        &[("deployment", "accounts/tokens")],
        |sim, fault| {
            if let Some(node) = nodes_of(sim, fault.parameter("deployment")).first() {
                behave_on(sim, fault.parameter("deployment"), node, Conduct::Hangs);
            }
            script::later(sim, 11 * SECOND, fault, answer);
        },
        answer,
    ),
    quiet(
        ("compute", "pull-retried"),
        (
            "an image of Deployment {deployment} is pulled at the second try",
            "Deployment {deployment}",
        ),
        300,
        &[("deployment", "shop/recommendations"), ("host", "registry.example")],
        |sim, fault| {
            sim.surroundings.set_registry(fault.parameter("host"), false);
            deeds::release(sim, Kind::Deployment, fault.parameter("deployment"));
            script::later(sim, 12 * SECOND, fault, |sim, fault| {
                sim.surroundings.set_registry(fault.parameter("host"), true);
            });
        },
        |sim, fault| sim.surroundings.set_registry(fault.parameter("host"), true),
    ),
    quiet(
        ("compute", "job-retried"),
        ("Job {job} fails once and succeeds then", "Job {job}"),
        420,
        &[("cron_job", "analytics/rollup"), ("job", "analytics/backfill")],
        |sim, fault| {
            let job = fault.parameter("job");
            behave(sim, job, Conduct::Exits { code: 1, after: 3 * SECOND });
            deeds::start_job(sim, fault.parameter("cron_job"), &key(job).name);
            script::later(sim, 12 * SECOND, fault, |sim, fault| {
                behave(sim, fault.parameter("job"), Conduct::Serves);
            });
        },
        |sim, fault| {
            behave(sim, fault.parameter("job"), Conduct::Serves);
            sim.delete(Kind::Job, &key(fault.parameter("job")));
        },
    ),
    quiet(
        ("compute", "job-done"),
        ("Job {job} is started by hand, and stays when it is done", "Job {job}"),
        1800,
        &[("cron_job", "shop/abandoned-carts"), ("job", "shop/export")],
        |sim, fault| {
            let name = key(fault.parameter("job")).name;
            deeds::start_job(sim, fault.parameter("cron_job"), &name);
        },
        |sim, fault| sim.delete(Kind::Job, &key(fault.parameter("job"))),
    ),
    quiet(
        ("compute", "batch-burst"),
        ("twenty Jobs start at once in {namespace}", "Namespace {namespace}"),
        600,
        // A namespace without a quota, which so many would run into.
        &[("cron_job", "search/reindex"), ("namespace", "search")],
        |sim, fault| {
            for nth in 1..=20 {
                deeds::start_job(sim, fault.parameter("cron_job"), &format!("burst-{nth}"));
            }
        },
        |sim, fault| {
            for nth in 1..=20 {
                let job = format!("{}/burst-{nth}", fault.parameter("namespace"));
                sim.delete(Kind::Job, &key(&job));
            }
        },
    ),
    quiet(
        ("compute", "cronjob-suspended"),
        ("CronJob {cron_job} is suspended for a while", "CronJob {cron_job}"),
        1500,
        &[("cron_job", "shop/abandoned-carts")],
        |sim, fault| {
            edit(sim, Kind::CronJob, fault.parameter("cron_job"), |cron| {
                cron.put("spec/suspend", json!(true));
            });
        },
        |sim, fault| restore(sim, Kind::CronJob, fault.parameter("cron_job")),
    ),
    quiet(
        ("compute", "app-installed"),
        ("Deployment {deployment} is installed, and removed later", "Deployment {deployment}"),
        900,
        &[("model", "shop/cart"), ("deployment", "shop/wishlist")],
        |sim, fault| {
            let deployment = fault.parameter("deployment");
            deeds::install_like(sim, fault.parameter("model"), deployment, 2);
        },
        |sim, fault| sim.delete(Kind::Deployment, &key(fault.parameter("deployment"))),
    ),
    quiet(
        ("compute", "pod-by-hand"),
        ("Pod {pod} is run by hand for a while", "Pod {pod}"),
        600,
        &[("model", "platform/dashboards"), ("pod", "platform/debug")],
        |sim, fault| deeds::run_pod(sim, fault.parameter("model"), fault.parameter("pod")),
        |sim, fault| sim.delete(Kind::Pod, &key(fault.parameter("pod"))),
    ),
    quiet(
        ("compute", "load-by-the-hour"),
        ("Deployment {deployment} is scaled up and down with its load", "Deployment {deployment}"),
        3600,
        &[("deployment", "shop/storefront")],
        |sim, fault| {
            for (minute, grow) in [(0, true), (10, true), (20, true), (35, false), (45, false)] {
                script::later(sim, minute * MINUTE, fault, if grow { up } else { down });
            }
        },
        down,
    ),
];

fn up(sim: &mut Simulation, fault: &Fault) {
    scale(sim, Kind::Deployment, fault.parameter("deployment"), 1);
}

fn down(sim: &mut Simulation, fault: &Fault) {
    scale(sim, Kind::Deployment, fault.parameter("deployment"), -1);
}
