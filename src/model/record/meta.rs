//! What does every object have? Names, identity, age, owner, conditions.

use serde::{Deserialize, Serialize};

use super::labelled::Labelled;
use crate::model::text::Text;

/// A point in time, UTC. Kubernetes' own times have a resolution of one second.
pub type Time = jiff::Timestamp;

/// Whether a clock can have told this time: from 1970 on, and before 2200. Every duration that is read is shorter than
/// the millennia from there to the end of what a [`Time`] holds, so sums do not overflow.
#[must_use]
pub fn is_credible(time: &Time) -> bool {
    (0..7_258_118_400).contains(&time.as_second())
}

/// An object's identity: `metadata.uid` read as a UUID, or a hash of it where it is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Uid(pub u128);

impl Uid {
    /// Reads `metadata.uid`. Any text gives an identity; the empty text gives [`Uid::default`].
    #[must_use]
    pub fn parse(uid: &str) -> Self {
        if uid.is_empty() {
            return Self::default();
        }
        let mut value: u128 = 0;
        let mut digits = 0;
        for c in uid.chars().filter(|c| *c != '-') {
            match c.to_digit(16) {
                Some(d) if digits < 32 => value = value << 4 | u128::from(d),
                _ => return Self(fnv1a(uid)),
            }
            digits += 1;
        }
        if digits == 32 { Self(value) } else { Self(fnv1a(uid)) }
    }
}

/// FNV-1a over 128 bits (draft-eastlake-fnv): stable between runs, unlike the standard library's hasher.
fn fnv1a(text: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

/// `metadata`, as far as signals read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Empty for cluster-scoped objects.
    pub namespace: Text,
    /// The object's name.
    pub name: Text,
    /// The object's identity; changes when an object of the same name is made again.
    pub uid: Uid,
    /// `resourceVersion` as a number; 0 where it is none. Comparable within one kind (KEP-5504).
    pub version: u64,
    /// When the API server accepted it.
    pub created: Time,
    /// `deletionTimestamp`: the time of the request **plus** the grace period, so usually in the future at first.
    pub deleting: Option<Time>,
    /// `metadata.generation`: grows with each change of the spec.
    pub generation: i64,
    /// The owner reference marked as controller.
    pub owner: Option<Box<Owner>>,
    /// What still has to be done before the object may go.
    pub finalizers: Box<[Text]>,
    /// Its labels; kept of the kinds that selectors ask for.
    pub labels: Labelled,
    /// The few annotations that signals read.
    pub annotations: Labelled,
    /// Who wrote its spec, and when last; kept of the kinds that people and controllers write both.
    pub managers: Box<[Manager]>,
}

/// One entry of `managedFields` about the spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manager {
    /// Such as `kubectl-edit` or `helm`.
    pub name: Text,
    /// When it last changed what it writes.
    pub at: Option<Time>,
    /// `scale` where it wrote through that subresource; else empty.
    pub subresource: Text,
    /// It owns a field by which the object is told to stand still, such as `spec.suspend`.
    pub switch: bool,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            namespace: Text::default(),
            name: Text::default(),
            uid: Uid::default(),
            version: 0,
            created: Time::UNIX_EPOCH,
            deleting: None,
            generation: 0,
            owner: None,
            finalizers: Box::default(),
            labels: Labelled::default(),
            annotations: Labelled::default(),
            managers: Box::default(),
        }
    }
}

/// The controller of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Kind of the owner.
    pub kind: Text,
    /// Name of the owner.
    pub name: Text,
    /// Identity of the owner.
    pub uid: Uid,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    True,
    False,
    #[default]
    Unknown,
}

/// One entry of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The condition's type, such as `Ready`.
    pub kind: Text,
    /// Its status.
    pub status: Status,
    /// Its reason in CamelCase; empty where none is given.
    pub reason: Text,
    /// Its message, cut at 1 KiB; kept only where the status is not `True` or the kind of object needs it.
    pub message: Text,
    /// `lastTransitionTime`.
    pub since: Option<Time>,
    /// Its own `observedGeneration`; 0 where it has none or no signal asks.
    pub generation: i64,
}

/// The condition of this type, if the object has it.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// What every object has.
    pub meta: Meta,
    /// `status.phase` is `Terminating`.
    pub terminating: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_read_as_uuid_or_hashed() {
        assert_eq!(
            Uid::parse("00000000-0000-0000-0000-0000000000ff"),
            Uid(255),
            "a UUID keeps its value"
        );
        assert_ne!(Uid::parse("node-1"), Uid::parse("node-2"));
        assert_ne!(Uid::parse("ff"), Uid(255), "too short for a UUID");
        assert_eq!(Uid::parse(""), Uid::default());
    }
}
