//! What do delivery, secrets and certificates depend on that lies outside of the cluster? Git, signers, vaults,
//! back ends of storage; and what components remember of them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kind::Kind;
use super::moment::Moment;
use super::store::Key;

/// A repository of manifests.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// The commit at the tip of its branch.
    pub(crate) head: String,
    /// Why it cannot be fetched, in Git's words; empty while it can.
    pub(crate) failure: String,
}

/// What Git has for an object whose live state may differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// The object should be so.
    Object(Value),
    /// Git no longer has it.
    Nothing,
}

/// Something that is under way: since when, which attempt, and when it is looked at again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) since: Moment,
    pub(crate) times: u32,
    pub(crate) until: Moment,
}

/// Everything of that kind.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Repositories by URL.
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// Where Git differs from what was last applied.
    pub(crate) wanted: BTreeMap<(Kind, Key), Wanted>,
    /// Applications and Kustomizations whose manifests cannot be rendered, with the tool's words.
    pub(crate) unbuildable: BTreeMap<(Kind, Key), String>,
    /// Those whose objects the API server refuses, with its words.
    pub(crate) unapplicable: BTreeMap<(Kind, Key), String>,
    /// Why an issuer's signer does not answer, by issuer.
    pub(crate) silent_signers: BTreeMap<Key, String>,
    /// Why an issuer's signer refuses requests, by issuer.
    pub(crate) refusing_signers: BTreeMap<Key, String>,
    /// Why a secret store does not let its readers in, by store.
    pub(crate) closed_stores: BTreeMap<Key, String>,
    /// Since when a registry wants new credentials.
    pub(crate) rotated: BTreeMap<String, Moment>,
    /// Whether nobody approves what kubelets ask to be signed.
    pub(crate) no_approver: bool,
    /// Why a driver's back end refuses to grow volumes, by driver.
    pub(crate) no_growth: BTreeMap<String, String>,
    /// Why a driver's back end refuses snapshots, by driver.
    pub(crate) no_snapshots: BTreeMap<String, String>,
    /// What a zone's storage pool has left, in GiB, where it is not what it was founded with.
    pub(crate) pools: BTreeMap<String, u64>,
    /// Attempts under way, by what is attempted at.
    pub(crate) attempts: BTreeMap<(Kind, Key), Attempt>,
}

impl Outside {
    /// Adds a commit to a repository: anything new in it has a new hash.
    pub(crate) fn commit(&mut self, url: &str, hash: String) {
        if let Some(repository) = self.repositories.get_mut(url) {
            repository.head = hash;
        }
    }
}
