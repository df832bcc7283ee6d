//! Can a signal see? Only when every kind that it needs can be seen.

use jiff::SignedDuration;

use crate::model::kind::Kind;
use crate::model::record::Time;
use crate::model::signal::Signal;
use crate::model::source::{Availability, SourceStatus};
use crate::model::world::World;

/// How long the last known state is still worth reading after the API server stopped answering.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Why a signal can't see, if it can't.
#[must_use]
pub(super) fn absence(signal: &Signal, world: &World, now: Time) -> Option<(Kind, Availability)> {
    let blind = |kind: &Kind| {
        let status = world.source_ref(*kind);
        let unknown = if kind.is_opt_in() { Availability::Disabled } else { Availability::Syncing };
        let reason = status.map_or(Some(unknown), |s| blindness(*kind, s, now))?;
        Some((*kind, reason))
    };
    if signal.needs.is_empty() && !signal.uses.is_empty() {
        // It speaks of whatever of these can be seen, and needs one.
        let reasons: Option<Vec<_>> = signal.uses.iter().map(blind).collect();
        return reasons?.into_iter().min_by_key(|(_, reason)| std::cmp::Reverse(*reason as u8));
    }
    signal.needs.iter().find_map(blind)
}

fn blindness(kind: Kind, source: &SourceStatus, now: Time) -> Option<Availability> {
    if !source.synced {
        return Some(source.availability);
    }
    match source.availability {
        Availability::Served | Availability::Syncing => None,
        Availability::Absent | Availability::Forbidden | Availability::Disabled => {
            Some(source.availability)
        }
        Availability::Unauthorized | Availability::Unreachable => {
            let unheard = source.unheard(kind, now);
            unheard.is_some_and(|d| d > STALE_AFTER).then_some(source.availability)
        }
    }
}

/// Whether what a signal says may be due to what can't be seen for the moment: a kind that it reads has yet to be listed,
/// or its source has failed, not long enough ago for the layers to read without it.
#[must_use]
pub(super) fn in_doubt(signal: &Signal, world: &World, now: Time) -> bool {
    signal.needs.iter().chain(signal.uses).filter(|kind| !kind.is_opt_in()).any(|kind| {
        let Some(source) = world.source_ref(*kind) else { return true };
        match source.availability {
            Availability::Served | Availability::Absent | Availability::Disabled => false,
            Availability::Syncing => true,
            _ => source.unheard(*kind, now).is_none_or(|d| d <= STALE_AFTER),
        }
    })
}

/// Whether every source of these kinds has synced or can't be expected to, and at least one has.
#[must_use]
pub(super) fn ready(kinds: &[Kind], world: &World) -> bool {
    let status = |kind: &Kind| world.source_ref(*kind);
    let settled = |kind: &Kind| {
        status(kind).is_some_and(|source| match source.availability {
            _ if source.synced => true,
            Availability::Absent | Availability::Forbidden | Availability::Disabled => true,
            // What others serve may be away while the API server is there.
            Availability::Unreachable => !(kind.is_built_in() && kind.is_resource()),
            _ => false,
        })
    };
    kinds.iter().all(settled) && kinds.iter().any(|k| status(k).is_some_and(|s| s.synced))
}

/// The kinds that these signals need or use, in the order in which sources start; those that are read only on demand
/// where `opted` in.
#[must_use]
pub(super) fn kinds_of(signals: &[&'static Signal], opted: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| {
        signals.iter().any(|s| s.needs.contains(kind) || s.uses.contains(kind))
            // Every rule about the population asks for namespaces and owners.
            || matches!(kind, Kind::Namespace)
    };
    let allowed = |kind: &Kind| !kind.is_opt_in() || opted.contains(kind);
    Kind::ALL.iter().copied().filter(wanted).filter(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::SourceNote;
    use crate::model::world::Delta;

    fn failed(availability: Availability) -> Delta {
        let message = "no".to_owned();
        let note = SourceNote::Failed { availability, message, backoff_seconds: 1.0 };
        Delta::Note(Kind::Pod, note)
    }

    #[test]
    fn a_short_outage_does_not_blind_but_a_missing_right_does() {
        let start = Time::UNIX_EPOCH;
        let later = start + SignedDuration::from_mins(6);
        let cases = [
            (Availability::Unreachable, None, Some(Availability::Unreachable)),
            (Availability::Unauthorized, None, Some(Availability::Unauthorized)),
            (Availability::Forbidden, Some(Availability::Forbidden), Some(Availability::Forbidden)),
            (Availability::Absent, Some(Availability::Absent), Some(Availability::Absent)),
        ];
        for (availability, at_once, after_minutes) in cases {
            let mut world = World::default();
            world.apply(Delta::Synced(Kind::Pod), start);
            assert!(ready(&[Kind::Pod], &world));
            world.apply(failed(availability), start);
            let status = world.source(Kind::Pod);
            assert_eq!(blindness(Kind::Pod, &status, start), at_once, "{availability:?}");
            assert_eq!(blindness(Kind::Pod, &status, later), after_minutes, "{availability:?}");
        }
    }

    #[test]
    fn nothing_is_ready_before_anything_has_synced() {
        let mut world = World::default();
        assert!(!ready(&[Kind::Pod], &world));
        world.apply(failed(Availability::Forbidden), Time::UNIX_EPOCH);
        assert!(!ready(&[Kind::Pod], &world), "all forbidden is blindness, not readiness");
        world.apply(Delta::Synced(Kind::Node), Time::UNIX_EPOCH);
        assert!(ready(&[Kind::Pod, Kind::Node], &world));
    }
}
