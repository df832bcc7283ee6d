//! Which kinds are followed now? Those that the API server serves: a kind that appears is followed from then on, in
//! the best version that is served; one that goes is forgotten with its objects.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::core::ApiResource;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::discovery::{self, Served, Serving};
use super::poll;
use super::watch::{WatchOptions, follow, send};
use crate::model::kind::{Kind, Origin};
use crate::model::source::{Availability, SourceNote};
use crate::model::world::Delta;

/// What of the API server's answer decides how a kind is followed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    Follow(ApiResource),
    /// Every kind of a group.
    FollowAll(Vec<ApiResource>),
    Stale,
    Absent,
}

/// How a kind is to be followed, by what is served.
pub(super) fn plan(kind: Kind, served: Option<&Served>) -> Plan {
    let as_declared =
        || discovery::resource(kind.group(), kind.version(), kind.name(), kind.plural());
    match served {
        // Nobody says what is served: a kind of Kubernetes' own most likely is; others are asked for.
        None if kind.plural() == "*" => Plan::Absent,
        None => Plan::Follow(as_declared()),
        // Events have two homes of which the follower finds the one that is open.
        Some(_) if kind == Kind::Event => Plan::Follow(as_declared()),
        Some(served) if kind.plural() == "*" => match served.all_of(kind) {
            all if all.is_empty() => Plan::Absent,
            all => Plan::FollowAll(all),
        },
        Some(served) => match served.serving(kind) {
            Serving::By(api) => Plan::Follow(api),
            Serving::Stale => Plan::Stale,
            Serving::Absent => Plan::Absent,
        },
    }
}

/// Follows the kinds of `options` as they come and go, until `out` closes or a follower breaks.
pub(super) async fn supervise(
    client: Client,
    options: WatchOptions,
    out: mpsc::Sender<Vec<Delta>>,
) {
    let mut followers = JoinSet::new();
    let mut running: BTreeMap<Kind, (Plan, Option<AbortHandle>)> = BTreeMap::new();
    let mut served = None;
    let mut known = None;
    loop {
        let asked = discovery::discover(&client, &options.kinds, &mut known);
        // What was known stands; the followers tell what is wrong with the API server.
        match tokio::time::timeout(options.list_patience, asked).await {
            Ok(Ok(now)) => served = Some(now),
            Ok(Err(failure)) => debug!(why = failure.message, "could not ask what is served"),
            Err(_) => debug!("no answer to what is served"),
        }
        for kind in options.kinds.iter().copied().filter(|k| k.is_resource()) {
            let plan = plan(kind, served.as_ref());
            if running.get(&kind).is_some_and(|(held, _)| *held == plan) {
                continue;
            }
            if let Some((_, Some(follower))) = running.remove(&kind) {
                follower.abort();
            }
            if let Some(delta) = farewell(kind, &plan)
                && !send(&out, vec![delta]).await
            {
                return;
            }
            let follower = match &plan {
                Plan::Absent | Plan::Stale => None,
                Plan::Follow(api) => Some(start(
                    &mut followers,
                    &client,
                    (kind, std::slice::from_ref(api)),
                    &options,
                    &out,
                )),
                Plan::FollowAll(apis) => {
                    Some(start(&mut followers, &client, (kind, apis), &options, &out))
                }
            };
            running.insert(kind, (plan, follower));
        }
        let next = tokio::time::sleep(options.discovery);
        tokio::pin!(next);
        loop {
            tokio::select! {
                biased;
                () = &mut next => break,
                () = out.closed() => return,
                Some(ended) = followers.join_next() => match ended {
                    Err(error) if error.is_cancelled() => {}
                    // None ends by itself: a kind that nobody follows must not look healthy.
                    _ => return,
                },
            }
        }
    }
}

/// What is told of a kind that is not followed.
pub(super) fn farewell(kind: Kind, plan: &Plan) -> Option<Delta> {
    match plan {
        Plan::Absent => Some(Delta::Unserved(kind)),
        Plan::Stale => {
            let message = "announced, but the server behind it does not answer".to_owned();
            let availability = Availability::Unreachable;
            let note = SourceNote::Failed { availability, message, backoff_seconds: 0.0 };
            Some(Delta::Note(kind, note))
        }
        Plan::Follow(_) | Plan::FollowAll(_) => None,
    }
}

fn start(
    followers: &mut JoinSet<()>,
    client: &Client,
    (kind, apis): (Kind, &[ApiResource]),
    options: &WatchOptions,
    out: &mpsc::Sender<Vec<Delta>>,
) -> AbortHandle {
    let every =
        |seconds: u32| Duration::from_secs(u64::from(seconds)).min(options.longest_interval);
    let poller = |every, table| {
        poll::Poller::new(client.clone(), kind, apis.to_vec(), every, table, out.clone())
    };
    match kind.origin() {
        Origin::Poll(seconds) => followers.spawn(poller(every(seconds), false).run()),
        Origin::Table(seconds) => followers.spawn(poller(every(seconds), true).run()),
        _ => followers.spawn(follow(
            client.clone(),
            kind,
            apis[0].clone(),
            options.clone(),
            out.clone(),
        )),
    }
}
