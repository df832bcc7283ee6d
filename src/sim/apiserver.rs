//! What does the API server tell of itself beside objects? The text of `/readyz?verbose` and of `/metrics`.

use std::fmt::Write;

use super::kind::{Kind, SERVED};
use super::load;
use super::simulation::Simulation;

/// Checks as kube-apiserver 1.37 names them, the longer-lived of them.
const CHECKS: &[&str] = &[
    "ping",
    "log",
    "etcd",
    "etcd-readiness",
    "informer-sync",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/apiservice-registration-controller",
    "shutdown",
];
/// What an object and its history take in etcd, about.
const BYTES_EACH: usize = 24_000;
const BYTES_AT_LEAST: usize = 40_000_000;

/// The status and the body of `/readyz?verbose`.
pub(crate) fn readyz(sim: &Simulation) -> (u16, String) {
    let mut text = String::new();
    let failing = &sim.surroundings.failing_checks;
    for check in CHECKS {
        let line = if failing.contains(*check) {
            format!("[-]{check} failed: reason withheld")
        } else {
            format!("[+]{check} ok")
        };
        text.push_str(&line);
        text.push('\n');
    }
    if failing.is_empty() {
        text.push_str("readyz check passed\n");
        (200, text)
    } else {
        text.push_str("readyz check failed\n");
        (500, text)
    }
}

/// The body of `/metrics`: the families that speak of the store and of the requests at this moment.
pub(crate) fn metrics(sim: &Simulation) -> String {
    let mut text = String::new();
    let kinds = SERVED[..Kind::COUNT].iter();
    let all: usize = kinds.map(|served| sim.store.count(served.kind)).sum();
    let size = BYTES_AT_LEAST + all * BYTES_EACH;
    let busy = load::at(sim.chance, "kube-apiserver", sim.now);
    let (reading, writing) = ((12.0 * busy).round(), (4.0 * busy).round());
    let written = write!(
        text,
        "# TYPE apiserver_storage_size_bytes gauge\n\
         apiserver_storage_size_bytes{{storage_cluster_id=\"etcd-0\"}} {size}\n\
         # TYPE apiserver_current_inflight_requests gauge\n\
         apiserver_current_inflight_requests{{request_kind=\"readOnly\"}} {reading}\n\
         apiserver_current_inflight_requests{{request_kind=\"mutating\"}} {writing}\n"
    );
    debug_assert!(written.is_ok(), "text is written to memory");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_check_is_told_and_the_store_has_a_size() {
        let mut sim = Simulation::new(1, 0, 8);
        assert_eq!(readyz(&sim).0, 200);
        sim.surroundings.failing_checks.insert("etcd".to_owned());
        let (status, text) = readyz(&sim);
        assert_eq!(status, 500);
        assert!(text.contains("[-]etcd failed: reason withheld\n[+]etcd-readiness ok"), "{text}");
        let text = metrics(&sim);
        assert!(text.contains(&format!("etcd-0\"}} {BYTES_AT_LEAST}\n")), "{text}");
    }
}
