//! Do the kubelets renew their own certificates? One that cannot is a node that is lost on the day its certificate ends.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Scrape;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;

pub(super) static RENEWALS: Signal = Signal {
    block: "S5.17",
    name: "security_kubelet_certificate_errors_total",
    layer: Layer::Security,
    help: "Renewals of kubelets' client and serving certificates that failed, as the kubelets count them. Healthy is none.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["client", "server"],
    bound: "2",
    needs: &[Kind::KubeletMetrics],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// The counter of each certificate.
const COUNTERS: [(&str, &str); 2] = [
    ("kubelet_certificate_manager_client_expiration_renew_errors", "client"),
    ("kubelet_server_expiration_renew_errors", "server"),
];

/// Counts what a kubelet has counted since it was asked last.
pub(super) fn observe(scrape: &Scrape, tallies: &mut Tallies) {
    if scrape.kind != Kind::KubeletMetrics {
        return;
    }
    for (name, reason) in COUNTERS {
        let total: f64 = scrape.of(name).map(|s| s.value.max(0.0)).sum();
        let new = tallies.advance(scrape.kind, scrape.meta.uid, name, total as u64);
        tallies.add(&RENEWALS, labels![reason], new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, ago, meta};
    use crate::layers::security::LAYER;
    use crate::model::record::{Labelled, Sample};

    fn answer(node: &str, samples: &[(&str, f64)]) -> Scrape {
        let samples = samples.iter().map(|(name, value)| Sample {
            name: (*name).into(),
            labels: Labelled::default(),
            value: *value,
        });
        let samples = samples.collect();
        Scrape { kind: Kind::KubeletMetrics, meta: meta("", node, 86_400), at: ago(0), samples }
    }

    #[test]
    fn renewals_that_fail_are_summed_over_kubelets() {
        let [(client, _), (server, _)] = COUNTERS;
        let mut counted = Counted::new(&LAYER, Vec::new());
        counted
            .see(answer("n1", &[(client, 1.0), (server, 0.0)]), 120)
            .see(answer("n2", &[(client, 2.0)]), 120)
            .see(answer("n1", &[(client, 4.0), (server, 0.0)]), 60);
        assert_eq!(counted.totals(&RENEWALS), [("client".to_owned(), 6)]);
    }
}
