//! For how long does a replica speak? For a term: from when it was elected until it no longer leads.

use std::sync::Arc;

/// The time for which a replica leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which one of this process, so that what belongs to one before is told apart.
    pub number: u64,
    /// What the leader before left for its successor, as it stood when the term began.
    pub found: Arc<str>,
    /// How many of its words it may say: so many will be found by its successor, said or not.
    pub cleared: u64,
}
