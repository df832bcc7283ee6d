//! What is kept of an object whose kind has no record of its own? Its metadata, its conditions and the fields listed
//! in [`fields`](crate::model::fields).

use super::Time;
use super::meta::{Condition, Meta, condition};
use crate::model::kind::Kind;
use crate::model::value::Value;

/// An object of a kind that has no record of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Which kind.
    pub kind: Kind,
    /// What every object has.
    pub meta: Meta,
    /// `status.conditions`.
    pub conditions: Box<[Condition]>,
    /// The fields that signals read, under their paths.
    pub body: Value,
    /// When the renewal that a Lease speaks of was first read, by our clock: its holder's may be another. `None` until
    /// the lease was read twice, and for all other kinds.
    pub renewed: Option<Time>,
}

impl Resource {
    /// The condition of this type, if the object has it. One that says that it is about an older spec is no evidence;
    /// Kubernetes' own controllers leave the number behind where nothing of a condition changes.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        let outdated = |c: &&Condition| {
            c.generation != 0 && c.generation < self.meta.generation && !self.kind.is_built_in()
        };
        condition(&self.conditions, kind).filter(|c| !outdated(c))
    }

    /// Whether a condition speaks of the newest spec: by its own generation where it has one, else by the status'.
    /// Some controllers count a generation as observed only once they have succeeded.
    #[must_use]
    pub fn is_current(&self, condition: &Condition) -> bool {
        condition.generation != 0 || self.observed()
    }

    /// Whether its controller has seen the newest spec, where it says so: a status older than the spec is no evidence.
    #[must_use]
    pub fn observed(&self) -> bool {
        self.body
            .number("status.observedGeneration")
            .is_none_or(|observed| observed as i64 >= self.meta.generation)
    }
}
