//! Are the generated pages as the declarations say? Writes them where they are not, and fails; CI only fails.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use kubestrata::model::layer::Layer;
use kubestrata::{catalog, config, exports};

#[test]
fn generated_pages_are_fresh() {
    let mut pages: Vec<(String, String)> = [
        ("docs/signals.md", catalog::signals_markdown()),
        ("docs/metrics.md", exports::prometheus::own_metrics_markdown()),
        ("docs/configuration.md", config::reference_markdown()),
        ("docs/clusterrole.yaml", catalog::cluster_role_yaml(&Layer::ALL, &[])),
        ("docs/lease-role.yaml", catalog::lease_role_yaml()),
        ("docs/rights.md", catalog::rights_markdown()),
        ("alerts/bands.rules.yaml", catalog::band_rules_yaml()),
        ("alerts/kubestrata.rules.yaml", catalog::alert_rules_yaml()),
        ("docs/runbooks/README.md", catalog::runbooks_markdown()),
        ("docs/cli.md", kubestrata::cli::reference_markdown()),
    ]
    .map(|(path, page)| (path.to_owned(), page))
    .into();
    pages.extend(catalog::dashboards());
    let rules =
        |l| (format!("charts/kubestrata/files/rules/{l}.yaml"), catalog::layer_rules_yaml(l));
    pages.extend(Layer::ALL.map(rules));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale = Vec::new();
    for (path, fresh) in pages {
        let file = root.join(&path);
        if fs::read_to_string(&file).unwrap_or_default() != fresh {
            stale.push(path);
            if std::env::var_os("CI").is_none() {
                fs::write(file, fresh).unwrap();
            }
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; run `cargo test --test generated` and commit them"
    );
}
