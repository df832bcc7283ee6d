//! Can a source see, and since when not?

use jiff::SignedDuration;
use serde::Serialize;

use super::kind::{Kind, Origin};
use super::record::Time;
use super::text::Text;

/// What a source can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Its first list is not complete yet.
    #[default]
    Syncing,
    /// It follows the cluster.
    Served,
    /// The API server does not serve the kind.
    Absent,
    /// The API server refuses the read (403): a rule is missing in the role.
    Forbidden,
    /// The API server does not know us (401): the token has expired or is not valid.
    Unauthorized,
    /// The API server does not answer, or with errors.
    Unreachable,
    /// The configuration leaves it out.
    Disabled,
}

impl Availability {
    /// Whether something is there that can't be seen: not what is not served, or left out on purpose.
    #[must_use]
    pub const fn is_blindness(self) -> bool {
        !matches!(self, Self::Served | Self::Absent | Self::Disabled)
    }

    /// The word used in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Served => "served",
            Self::Absent => "absent",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Unreachable => "unreachable",
            Self::Disabled => "disabled",
        }
    }

    /// Every availability.
    pub const ALL: [Self; 7] = [
        Self::Syncing,
        Self::Served,
        Self::Absent,
        Self::Forbidden,
        Self::Unauthorized,
        Self::Unreachable,
        Self::Disabled,
    ];
}

/// How one source is doing. One per kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceStatus {
    /// What it can see now.
    pub availability: Availability,
    /// Why, in the API server's words, when it can't.
    pub message: String,
    /// Whether its list has ever been complete.
    pub synced: bool,
    /// When it last heard of the cluster: a complete list, an event of the watch, a bookmark.
    pub last_sync: Option<Time>,
    /// Since when it can't see.
    pub failing_since: Option<Time>,
    /// Errors of lists and watches.
    pub errors: u64,
    /// Complete lists after the first.
    pub relists: u64,
    /// Objects that could not be read and were left out.
    pub undecodable: u64,
    /// Those of many who are asked that did not answer last time, by name.
    pub silent: Vec<Text>,
    /// How long it waits before it tries again; 0 while it follows.
    pub backoff_seconds: f64,
}

impl SourceStatus {
    /// For how long a source that fails has not heard of the cluster. A watch may have waited long for an answer before it
    /// failed; what is asked every so often is worth reading until then.
    #[must_use]
    pub fn unheard(&self, kind: Kind, now: Time) -> Option<SignedDuration> {
        let failing = self.failing_since?;
        let heard = match kind.origin() {
            Origin::Watch | Origin::Metadata => self.last_sync,
            Origin::Poll(_) | Origin::Table(_) | Origin::Endpoint(_) => None,
        };
        Some(now.duration_since(heard.map_or(failing, |heard| heard.min(failing))))
    }

    /// Whether it should follow the cluster, but has not heard of it for 5 minutes and three of its intervals.
    #[must_use]
    pub fn is_stale(&self, kind: Kind, now: Time) -> bool {
        let interval = match kind.origin() {
            Origin::Watch | Origin::Metadata => 0,
            Origin::Poll(seconds) | Origin::Table(seconds) | Origin::Endpoint(seconds) => seconds,
        };
        // Whoever calls us calls when there is something to say.
        let called = kind.origin() == Origin::Endpoint(0);
        let limit = i64::from(interval * 3).max(300);
        let age = self.last_sync.map(|at| now.as_second() - at.as_second());
        self.availability == Availability::Served && !called && age.is_some_and(|age| age > limit)
    }
}

/// What a source says of itself; [`World::apply`](super::world::World::apply) keeps the books.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceNote {
    /// It follows the cluster.
    Alive,
    /// It follows the cluster, which was last heard of at this time.
    Heard {
        /// By the daemon's clock.
        at: Time,
    },
    /// A list or a watch failed.
    Failed {
        /// What it amounts to.
        availability: Availability,
        /// Why, in words that name no content of objects.
        message: String,
        /// How long it waits now.
        backoff_seconds: f64,
    },
    /// One object could not be read and was left out.
    Undecodable {
        /// Which object and which field, with what was expected.
        message: String,
    },
    /// Of many who were asked, these did not answer. None takes back what was said before.
    Silent {
        /// Their names.
        names: Vec<Text>,
        /// How many of how many, and why the first of them did not.
        message: String,
    },
}
