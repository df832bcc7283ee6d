//! What can go wrong between the API server and who asks it? Seeded, and in virtual time.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use jiff::Timestamp;

use crate::sim::chance::{Chance, Draw};
use crate::sim::kind::{Kind, Served};
use crate::sim::moment::Moment;

/// Something that is wrong for a time. A share is between 0 and 1; a resource is `pods` or `deployments.apps`.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Connections are refused, and open watches break.
    Outage,
    /// A share of requests is sent away with 429.
    Throttled {
        /// Of all requests.
        share: f64,
        /// When to come back.
        retry_after: Duration,
    },
    /// Nobody knows who asks: new requests are answered with 401.
    Unknown,
    /// New requests for this resource are not allowed.
    Forbidden {
        /// The resource.
        resource: String,
    },
    /// A share of requests fails with 500, as when etcd does not answer.
    Failing {
        /// Of requests for objects.
        share: f64,
    },
    /// A share of requests fails with 503, as while a server shuts down.
    Unavailable {
        /// Of requests for objects.
        share: f64,
    },
    /// Answers come late.
    Slow {
        /// Half of them are later than this.
        median: Duration,
    },
    /// Watches break in the middle of a line.
    CutWatches {
        /// Half of them last longer than this.
        after: Duration,
    },
    /// Open watches say nothing, not even that they end, though the server is there; what happened comes afterwards.
    Stalled,
    /// Watches that resume begin so many changes too early, and say again what was said since the last list.
    Behind {
        /// Of the kind.
        changes: usize,
    },
    /// A share of watch events comes twice.
    Duplicated {
        /// Of events.
        share: f64,
    },
    /// Watch events of different objects that come together come in any order; those of one object stay in theirs.
    Reordered,
    /// A share of what resumes is too old: watches from a version, and lists that are continued.
    Expired {
        /// Of such requests.
        share: f64,
    },
    /// The resource is not served: discovery leaves it out, and its watches end.
    Withdrawn {
        /// The resource.
        resource: String,
    },
}

impl Trouble {
    /// A random timetable over `length` from `from`: one trouble after the other, most for some minutes, with rests of
    /// about as long; `resources` are those that may be forbidden or withdrawn. The same seed gives the same.
    #[must_use]
    pub fn timetable(
        seed: u64,
        from: Timestamp,
        length: Duration,
        resources: &[&str],
    ) -> Vec<(Self, Timestamp, Timestamp)> {
        let mut draw = Chance::new(seed).of("trouble", "timetable");
        let mut now = from.as_millisecond();
        let end = now + length.as_millis() as Moment;
        let mut table = Vec::new();
        let stamp = |at| Timestamp::from_millisecond(at).unwrap_or(from);
        loop {
            now += draw.log_normal(180_000, 0.8);
            let until = now + draw.log_normal(150_000, 0.8);
            if until >= end {
                return table;
            }
            table.push((Self::any(&mut draw, resources), stamp(now), stamp(until)));
            now = until;
        }
    }

    fn any(draw: &mut Draw, resources: &[&str]) -> Self {
        let share = 0.2 + 0.8 * draw.unit();
        let length = |draw: &mut Draw| Duration::from_millis(draw.between(500, 20_000) as u64);
        let resource = match resources {
            [] => None,
            some => Some(some[draw.between(0, some.len() as i64) as usize].to_owned()),
        };
        match (draw.between(0, 14), resource) {
            (0, _) => Self::Outage,
            (1, _) => Self::Throttled { share, retry_after: Duration::from_secs(1) },
            (2, Some(resource)) => Self::Forbidden { resource },
            (3, Some(resource)) => Self::Withdrawn { resource },
            (4, _) => Self::Slow { median: length(draw) },
            (5, _) => Self::CutWatches { after: length(draw) },
            (6, _) => Self::Duplicated { share },
            (7, _) => Self::Reordered,
            (8, _) => Self::Expired { share },
            (9, _) => Self::Unknown,
            (10, _) => Self::Unavailable { share },
            (11, _) => Self::Stalled,
            (12, _) => Self::Behind { changes: draw.between(1, 200) as usize },
            _ => Self::Failing { share },
        }
    }
}

/// The troubles that there are and will be.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    all: Vec<(Trouble, Moment, Moment)>,
    draws: u64,
    /// The versions that were listed last, by kind.
    listed: BTreeMap<Kind, u64>,
}

impl Troubles {
    pub(super) fn add(&mut self, trouble: Trouble, from: Moment, until: Moment) {
        self.all.push((trouble, from, until));
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    fn active(&self, now: Moment) -> impl Iterator<Item = &Trouble> {
        self.all.iter().filter(move |(_, from, until)| (*from..*until).contains(&now)).map(|t| &t.0)
    }

    /// The next draw for a purpose. Requests are told apart by their number.
    pub(super) fn draw(&mut self, chance: Chance, purpose: &str) -> Draw {
        self.draws += 1;
        chance.of(purpose, &self.draws.to_string())
    }

    /// The sum of the shares that one kind of trouble has now.
    fn share(&self, now: Moment, of: impl Fn(&Trouble) -> Option<f64>) -> f64 {
        self.active(now).filter_map(of).sum()
    }

    fn hits(&mut self, chance: Chance, purpose: &str, share: f64) -> bool {
        share > 0.0 && self.draw(chance, purpose).unit() < share
    }

    pub(super) fn outage(&self, now: Moment) -> Option<Error> {
        let is = self.active(now).any(|t| *t == Trouble::Outage);
        is.then(|| Error::new(ErrorKind::ConnectionRefused, "the API server does not answer"))
    }

    /// For how long an answer is held back.
    pub(super) fn delay(&mut self, chance: Chance, now: Moment) -> Moment {
        let medians = self.active(now).filter_map(|t| match t {
            Trouble::Slow { median } => Some(median.as_millis() as Moment),
            _ => None,
        });
        match medians.max() {
            Some(median) => self.draw(chance, "slow").log_normal(median, 0.7),
            None => 0,
        }
    }

    /// After how many seconds a request is to come back, if it is sent away.
    pub(super) fn throttled(&mut self, chance: Chance, now: Moment) -> Option<u64> {
        let (mut share, mut wait) = (0.0, 1);
        for trouble in self.active(now) {
            if let Trouble::Throttled { share: one, retry_after } = trouble {
                share += one;
                wait = wait.max(retry_after.as_secs());
            }
        }
        self.hits(chance, "throttled", share).then_some(wait)
    }

    pub(super) fn fails(&mut self, chance: Chance, now: Moment) -> bool {
        let share = self.share(now, |t| match t {
            Trouble::Failing { share } => Some(*share),
            _ => None,
        });
        self.hits(chance, "failing", share)
    }

    pub(super) fn unavailable(&mut self, chance: Chance, now: Moment) -> bool {
        let share = self.share(now, |t| match t {
            Trouble::Unavailable { share } => Some(*share),
            _ => None,
        });
        self.hits(chance, "unavailable", share)
    }

    pub(super) fn unknown(&self, now: Moment) -> bool {
        self.active(now).any(|t| *t == Trouble::Unknown)
    }

    pub(super) fn stalled(&self, now: Moment) -> bool {
        self.active(now).any(|t| *t == Trouble::Stalled)
    }

    /// Notes that who asks has the kind as of this version.
    pub(super) fn listed(&mut self, kind: Kind, version: u64) {
        self.listed.insert(kind, version);
    }

    /// How many changes too early watches of a kind resume, but not before this version: what was gone when it was
    /// listed no watch tells of.
    pub(super) fn behind(&self, kind: Kind, now: Moment) -> (usize, u64) {
        let changes = self.active(now).filter_map(|t| match t {
            Trouble::Behind { changes } => Some(*changes),
            _ => None,
        });
        (changes.max().unwrap_or(0), self.listed.get(&kind).copied().unwrap_or(0))
    }

    pub(super) fn expired(&mut self, chance: Chance, now: Moment) -> bool {
        let share = self.share(now, |t| match t {
            Trouble::Expired { share } => Some(*share),
            _ => None,
        });
        self.hits(chance, "expired", share)
    }

    pub(super) fn duplicated(&self, now: Moment) -> f64 {
        self.share(now, |t| match t {
            Trouble::Duplicated { share } => Some(*share),
            _ => None,
        })
    }

    pub(super) fn reordered(&self, now: Moment) -> bool {
        self.active(now).any(|t| *t == Trouble::Reordered)
    }

    pub(super) fn forbidden(&self, now: Moment, served: &Served) -> bool {
        let mut all = self.active(now);
        all.any(|t| matches!(t, Trouble::Forbidden { resource } if is(served, resource)))
    }

    pub(super) fn withdrawn(&self, now: Moment, served: &Served) -> bool {
        let mut all = self.active(now);
        all.any(|t| matches!(t, Trouble::Withdrawn { resource } if is(served, resource)))
    }

    /// For how long watches last while they are cut.
    pub(super) fn cuts(&self, now: Moment) -> Option<Moment> {
        let cuts = self.active(now).filter_map(|t| match t {
            Trouble::CutWatches { after } => Some(after.as_millis() as Moment),
            _ => None,
        });
        cuts.min()
    }
}

fn is(served: &Served, resource: &str) -> bool {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    served.plural == plural && served.group == group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_begins_and_ends_in_time() {
        let mut troubles = Troubles::default();
        troubles.add(Trouble::Outage, 10, 20);
        let outage = |now| troubles.outage(now).is_some();
        assert_eq!([9, 10, 19, 20].map(outage), [false, true, true, false]);
    }

    #[test]
    fn a_share_hits_about_as_many() {
        let mut troubles = Troubles::default();
        let chance = Chance::new(3);
        troubles.add(Trouble::Failing { share: 0.25 }, 0, 10);
        let hit = (0..4000).filter(|_| troubles.fails(chance, 5)).count();
        assert!((900..1100).contains(&hit), "{hit}");
        assert!((0..100).all(|_| !troubles.fails(chance, 10)));
    }

    #[test]
    fn a_seed_gives_its_timetable() {
        let noon: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
        let table = |seed| {
            Trouble::timetable(
                seed,
                noon,
                Duration::from_hours(48),
                &["pods", "widgets.example.com"],
            )
        };
        assert_eq!(table(1), table(1));
        assert_ne!(table(1), table(2));
        let all = table(1);
        assert!(all.len() > 50, "{}", all.len());
        assert!(all.windows(2).all(|w| w[0].2 <= w[1].1));
        let kinds: std::collections::BTreeSet<_> = all
            .iter()
            .map(|(t, ..)| format!("{t:?}").split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(kinds.len(), 14, "{kinds:?}");
    }

    #[test]
    fn resources_are_told_apart_by_group() {
        let events = |group| super::super::resource::find(group, "v1", "events").expect("served");
        assert!(is(events(""), "events") && !is(events(""), "events.events.k8s.io"));
        assert!(is(events("events.k8s.io"), "events.events.k8s.io"));
    }
}
