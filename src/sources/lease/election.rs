//! Who leads? Follows from what the Lease says and from when we saw it change, by our own monotonic time: clocks of
//! different machines are never compared.

use std::time::Duration;

/// Our own monotonic time, since the start.
pub(super) type Moment = Duration;

/// A Lease, as far as an election asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Who leads; empty where it was given back.
    pub(super) holder: String,
    /// Its version: another one is a sign of life.
    pub(super) version: String,
    /// For how long its holder has to be left alone, where it says so.
    pub(super) lasts: Option<Duration>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Make the Lease in our name.
    Create,
    /// Put our name into the Lease that was read.
    Take,
    /// Give a sign of life.
    Renew,
    /// Look again later.
    Wait,
}

/// One candidate's view of the election.
#[derive(Debug)]
pub(super) struct Election {
    me: String,
    lease_duration: Duration,
    renew_deadline: Duration,
    /// The Lease, and when this version was first seen.
    seen: Option<(Held, Moment)>,
    /// Whether it was there when it was looked for last.
    there: bool,
    /// When the last sign of life that was taken was begun; `None`: we don't lead.
    renewed: Option<Moment>,
}

impl Election {
    pub(super) fn new(me: String, lease_duration: Duration, renew_deadline: Duration) -> Self {
        Self { me, lease_duration, renew_deadline, seen: None, there: false, renewed: None }
    }

    /// Takes in what was read, or that there is no Lease.
    pub(super) fn read(&mut self, lease: Option<Held>, now: Moment) {
        self.there = lease.is_some();
        let Some(lease) = lease else { return };
        if lease.holder != self.me {
            self.renewed = None;
        }
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != lease) {
            self.seen = Some((lease, now));
        }
    }

    /// Takes in that a Lease in our name was written; it was begun at that moment.
    pub(super) fn wrote(&mut self, lease: Held, began: Moment) {
        self.there = true;
        self.seen = Some((lease, began));
        self.renewed = Some(began);
    }

    /// Until when we lead if no sign of life of ours is taken; `None`: we don't.
    pub(super) fn until(&self) -> Option<Moment> {
        self.renewed.map(|at| at + self.renew_deadline)
    }

    pub(super) fn leads(&self, now: Moment) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// Who leads as far as is known, if somebody else does.
    pub(super) fn other(&self) -> Option<&str> {
        let (lease, _) = self.seen.as_ref()?;
        Some(lease.holder.as_str()).filter(|holder| !holder.is_empty() && *holder != self.me)
    }

    /// What is to be done now; only who is `ready` wants to lead.
    pub(super) fn next(&self, now: Moment, ready: bool) -> Act {
        if self.leads(now) {
            return Act::Renew;
        }
        if !ready {
            return Act::Wait;
        }
        // Who led does so for a while without knowing that its Lease was deleted.
        let free = self.seen.as_ref().is_none_or(|(lease, since)| {
            let lasts = lease.lasts.unwrap_or(self.lease_duration);
            self.other().is_none() || now >= *since + lasts
        });
        match (free, self.there) {
            (false, _) => Act::Wait,
            (true, true) => Act::Take,
            (true, false) => Act::Create,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: bool = true;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn lease(holder: &str, version: u32) -> Held {
        let lasts = (!holder.is_empty()).then_some(at(15));
        Held { holder: holder.to_owned(), version: version.to_string(), lasts }
    }

    fn election() -> Election {
        Election::new("me".to_owned(), at(15), at(10))
    }

    /// What was read at a second.
    type Read = (u64, Option<Held>);

    /// What follows from leases read at these seconds, at a later one.
    fn after(reads: &[Read], now: u64) -> Act {
        let mut election = election();
        for (second, lease) in reads {
            election.read(lease.clone(), at(*second));
        }
        election.next(at(now), READY)
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_has_shown_no_life_for_as_long_as_it_lasts() {
        let other = || Some(lease("other", 1));
        let cases: &[(&str, &[Read], u64, Act)] = &[
            ("there is none", &[(0, None)], 0, Act::Create),
            ("it was given back", &[(0, Some(lease("", 1)))], 0, Act::Take),
            ("somebody has it", &[(0, other())], 0, Act::Wait),
            ("somebody has it still", &[(0, other()), (14, other())], 14, Act::Wait),
            ("it is as it was", &[(0, other()), (14, other())], 15, Act::Take),
            ("it was renewed", &[(0, other()), (14, Some(lease("other", 2)))], 28, Act::Wait),
            ("and no more", &[(0, other()), (14, Some(lease("other", 2)))], 29, Act::Take),
            ("it is ours", &[(0, Some(lease("me", 1)))], 0, Act::Take),
            ("it was deleted under its leader", &[(5, other()), (7, None)], 8, Act::Wait),
            ("and its leader must have noticed", &[(5, other()), (7, None)], 20, Act::Create),
        ];
        for (what, reads, now, expected) in cases {
            assert_eq!(after(reads, *now), *expected, "{what}");
        }
    }

    #[test]
    fn the_holder_says_for_how_long_it_has_to_be_left_alone() {
        let patient = Held { lasts: Some(at(60)), ..lease("other", 1) };
        assert_eq!(after(&[(0, Some(patient.clone()))], 59), Act::Wait);
        assert_eq!(after(&[(0, Some(patient))], 60), Act::Take);
        let silent = Held { lasts: None, ..lease("other", 1) };
        assert_eq!(after(&[(0, Some(silent))], 15), Act::Take);
    }

    #[test]
    fn who_has_no_full_view_does_not_want_to_lead_and_goes_on_where_it_does() {
        let mut election = election();
        election.read(None, at(0));
        assert_eq!(election.next(at(0), false), Act::Wait);
        election.wrote(lease("me", 1), at(1));
        assert_eq!(election.next(at(2), false), Act::Renew);
    }

    #[test]
    fn a_leader_that_can_not_renew_ends_by_itself_before_others_may_begin() {
        let mut election = election();
        election.wrote(lease("me", 1), at(100));
        assert!(election.leads(at(109)) && !election.leads(at(110)));
        // A sign of life counts from when it was sent, for the others from when they saw it.
        let mut other = Election::new("other".to_owned(), at(15), at(10));
        other.read(Some(lease("me", 1)), at(100));
        let takes = (100..200).find(|s| other.next(at(*s), READY) == Act::Take);
        let ends = (100..200).find(|s| !election.leads(at(*s)));
        assert_eq!((ends, takes), (Some(110), Some(115)));
    }

    #[test]
    fn a_leader_that_finds_another_name_in_the_lease_leads_no_more() {
        let mut election = election();
        election.wrote(lease("me", 1), at(0));
        election.read(Some(lease("me", 2)), at(1));
        assert!(election.leads(at(1)), "somebody has labelled it");
        election.read(None, at(2));
        assert_eq!(election.next(at(2), READY), Act::Renew, "it was deleted");
        election.read(Some(lease("other", 3)), at(3));
        assert!(!election.leads(at(3)));
        assert_eq!(election.other(), Some("other"));
        assert_eq!(election.next(at(17), READY), Act::Wait);
    }
}
