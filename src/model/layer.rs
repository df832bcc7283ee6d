//! Which layers does a cluster have? Seven, always all of them.

use serde::{Deserialize, Serialize};

/// A layer of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Layer {
    Storage,
    Compute,
    Networking,
    Observability,
    Security,
    Tooling,
    Gitops,
}

impl Layer {
    /// All seven, from the ground up.
    pub const ALL: [Self; 7] = [
        Self::Storage,
        Self::Compute,
        Self::Networking,
        Self::Observability,
        Self::Security,
        Self::Tooling,
        Self::Gitops,
    ];

    /// The layer's name, as labels and configuration spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Compute => "compute",
            Self::Networking => "networking",
            Self::Observability => "observability",
            Self::Security => "security",
            Self::Tooling => "tooling",
            Self::Gitops => "gitops",
        }
    }

    /// The layer with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
