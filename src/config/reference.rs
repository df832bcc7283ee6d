//! How is the configuration shown? As the effective file, and as the reference page.

use std::fmt::Write;

use super::fields::FIELDS;
use super::settings::Settings;

/// The effective configuration as a file that [`Config::parse`](super::Config::parse) reads; secrets are masked.
#[must_use]
pub fn effective_yaml(settings: &Settings) -> String {
    let mut yaml = String::new();
    let mut section = "";
    for field in FIELDS {
        let (above, key) = field.path.rsplit_once('.').unwrap_or(("", field.path));
        if above != section {
            section = above;
            if !above.is_empty() {
                let _ = writeln!(yaml, "{above}:");
            }
        }
        let indent = if above.is_empty() { "" } else { "  " };
        let _ = writeln!(yaml, "{indent}# {}", field.help);
        let _ = writeln!(yaml, "{indent}{key}: {}", (field.show)(settings));
    }
    yaml
}

/// `docs/configuration.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from src/config/fields.rs by tests/generated.rs. Do not edit. -->\n\
         # Configuration\n\n\
         One YAML file, given by `--config` or `KUBESTRATA_CONFIG`.\n\
         Environment variables win over the file, flags win over both.\n\
         A key that does not exist is an error that names the nearest one.\n\
         `kubestrata config check FILE` tells every mistake at once; `kubestrata config print` prints the effective configuration.\n\n\
         | field | default | environment | expected | meaning |\n|---|---|---|---|---|\n",
    );
    let defaults = Settings::default();
    for field in FIELDS {
        let _ = writeln!(
            page,
            "| `{}` | `{}` | `{}` | {} | {} |",
            field.path,
            (field.show)(&defaults),
            field.env(),
            field.expected,
            field.help
        );
    }
    page
}
