//! Does a daemon that had trouble know and say in the end what one knows and says that had none?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kubestrata::model::finding::Finding;
use kubestrata::model::kind::{Kind, Origin};
use kubestrata::model::record::Record;
use kubestrata::model::subject::Subject;
use kubestrata::model::world::{Store, World};
use kubestrata::sources::{self, WatchOptions};
use tokio::sync::mpsc;

use super::book::{Book, Told};
use super::replica::{Life, Replica};

/// Signals about what a daemon itself can see of the cluster.
const OWN_SIGHT: &[&str] = &["observability_kubestrata_blind"];

/// Totals of what is reported about pods, by Events and by kubelets.
const OF_REPORTS: &[&str] = &[
    "compute_failed_probes_total",
    "compute_probe_failures_total",
    "compute_probes_total",
    "networking_sandbox_failures_total",
];

/// Totals that share what they count: whether a pod is put out, or leaves a node in maintenance, its node says.
const SHARED: &[&[&str]] = &[&["compute_evictions_total", "compute_maintenance_evictions_total"]];

/// A bad state is over when it is away at two ticks: as long may another have seen it away at one of its own before that,
/// and after that for a tick.
const CLEAR: SignedDuration = SignedDuration::from_secs(32);
const TICK: SignedDuration = SignedDuration::from_secs(16);

/// By how much two daemons may differ in when they tell something: a tick, what clocks are off, and a moment.
const APART: SignedDuration = SignedDuration::from_mins(1);

/// How long after its trouble a daemon may see nothing yet: its last wait before it tries again, and a list.
const COME_BACK: SignedDuration = SignedDuration::from_mins(3);

/// How far back a daemon may still see what has changed since: [the last state is worth reading](five minutes) when
/// the API server does not answer, and its own way to find that out and to come back.
const BEHIND: SignedDuration = SignedDuration::from_mins(10);

/// What differs between the cluster and what a daemon holds of it.
pub async fn of_cluster(client: &Client, replica: &Replica, life: &Life) -> Vec<String> {
    let kinds = life.ticker.reader().pipeline().kinds();
    let options = WatchOptions::new(kinds.clone(), Arc::new(|| Timestamp::UNIX_EPOCH));
    let (changes, mut inbox) = mpsc::channel(10_000);
    sources::list_once(client.clone(), options, changes).await.expect("no Prometheus");
    let mut listed = World::default();
    while let Some(batch) = inbox.recv().await {
        batch.into_iter().for_each(|delta| listed.apply(delta, Timestamp::UNIX_EPOCH));
    }
    let mut broken = Vec::new();
    for kind in kinds.into_iter().filter(|k| matches!(k.origin(), Origin::Watch | Origin::Metadata))
    {
        let (truth, held) = (objects(&listed, kind), objects(life.ticker.reader().world(), kind));
        let differing: Vec<_> = (truth.keys().chain(held.keys()).collect::<BTreeSet<_>>())
            .into_iter()
            .filter(|key| truth.get(*key) != held.get(*key))
            .collect();
        if let Some(first) = differing.first() {
            broken.push(format!(
                "{} holds {} {} of {}, {} other than they are, as {first:?}:\n    {:?}\n    {:?}",
                replica.book.name,
                held.len(),
                kind.plural(),
                truth.len(),
                differing.len(),
                held.get(*first),
                truth.get(*first)
            ));
        }
        let source = life.ticker.reader().world().source(kind);
        let list = listed.source(kind);
        if source.availability != list.availability || source.synced != list.synced {
            broken.push(format!("{} sees {kind:?} as {source:?}", replica.book.name));
        }
    }
    broken
}

/// The objects of a kind in words, by namespace and name.
fn objects(world: &World, kind: Kind) -> BTreeMap<(String, String), String> {
    fn all<T: Record + Debug>(store: &Store<T>) -> BTreeMap<(String, String), String> {
        let name = |item: &T| (item.meta().namespace.to_string(), item.meta().name.to_string());
        store.iter().map(|item| (name(item), format!("{item:?}"))).collect()
    }
    match kind {
        Kind::Namespace => all(&world.namespaces),
        Kind::Node => all(&world.nodes),
        Kind::Job => all(&world.jobs),
        Kind::CronJob => all(&world.cron_jobs),
        Kind::Pod => all(&world.pods),
        Kind::PersistentVolumeClaim => all(&world.claims),
        Kind::PersistentVolume => all(&world.volumes),
        Kind::StorageClass => all(&world.storage_classes),
        Kind::VolumeAttachment => all(&world.volume_attachments),
        Kind::CsiDriver => all(&world.csi_drivers),
        Kind::CsiNode => all(&world.csi_nodes),
        Kind::Event => all(&world.events),
        Kind::EndpointSlice => all(&world.slices),
        kind => match world.workloads(kind) {
            Some(store) => all(store),
            None => world.resources(kind).map(all).unwrap_or_default(),
        },
    }
}

/// Whether a daemon tells the same of the object under another reason, or did a moment ago: what comes and goes every
/// few seconds, two daemons see at different times.
fn alternates(book: &Book, finding: &Finding) -> bool {
    let same = |f: &Finding| f.subject == finding.subject;
    let lately = |told: &&Told| later(told.at, BEHIND) > book.last;
    book.open.values().any(same) || book.story.iter().filter(lately).any(|t| same(&t.finding))
}

/// Whether it was told in the last moment only: another's next tick, by its own clock, is still to come.
fn is_new(book: &Book, id: &str) -> bool {
    let mut opened = book.story.iter().filter(|t| t.opened && t.finding.id == id);
    opened.next_back().is_some_and(|told| later(told.at, APART) > book.last)
}

/// In the end the same is open, under the same ids, and since when the objects themselves say it. `says` is what a single
/// look at the cluster would tell, and since when.
pub fn of_findings(
    book: &Book,
    calm: &Book,
    fresh: &Book,
    says: &BTreeMap<String, Timestamp>,
) -> Vec<String> {
    let mut broken = Vec::new();
    let ids: BTreeSet<_> = book.open.keys().chain(calm.open.keys()).collect();
    for id in ids {
        match (book.open.get(id), calm.open.get(id)) {
            (Some(f), None) | (None, Some(f)) if OWN_SIGHT.contains(&f.signal.as_str()) => {}
            (Some(f), None) if alternates(calm, f) || is_new(book, id) => {}
            (None, Some(f)) if alternates(book, f) || is_new(calm, id) => {}
            // It was over for a moment, which not everybody has seen.
            (None, Some(f)) if says.get(id).is_none_or(|since| *since > f.since) => {}
            (Some(f), None) => broken.push(format!(
                "{} still tells {id} {} since {}: {}",
                book.name, f.signal, f.since, f.message
            )),
            (None, Some(f)) => broken.push(format!(
                "{} does not tell {id} {} since {}: {}",
                book.name, f.signal, f.since, f.message
            )),
            (Some(f), Some(c)) => {
                // Who watched all the time knows the earliest start, who came last the latest.
                // Nor has who saw it end, where the signal could see all that it reads.
                let sees = |t: &&Told| t.finding.id == *id && !t.opened && t.unseen.is_empty();
                let ended = book.story.iter().rfind(sees).map(|t| t.at);
                let again = ended.is_some_and(|ended| ended <= f.since);
                let fresh = fresh.open.get(id).filter(|_| !again);
                let latest = fresh.map_or(Timestamp::MAX, |f| f.since);
                // That it was over for a while, not everybody has seen.
                let before = calm.story.iter().filter(|t| t.finding.id == *id);
                let seen = calm
                    .looks
                    .as_ref()
                    .and_then(|looks| looks.seen.get(id).map(|(since, _)| *since));
                let earliest = before.map(|t| t.finding.since).chain(seen).chain([c.since]).min();
                if earliest.is_some_and(|earliest| f.since < earliest - BEHIND)
                    || (latest != Timestamp::MAX && f.since > latest + COME_BACK)
                {
                    broken.push(format!(
                        "{} tells {id} {} since {}, not from {} to {latest}: {}",
                        book.name, f.signal, f.since, c.since, f.message
                    ));
                }
            }
            (None, None) => {}
        }
    }
    broken
}

/// What a finding is about, whatever its signal and reason: where something comes and goes every few seconds, as in a
/// crash loop, who looks a moment later sees another side of it.
type About = Subject;

type Span = (Timestamp, Timestamp);

/// What was open when.
fn spans(story: &[Told]) -> BTreeMap<About, Vec<(&str, Span)>> {
    let mut spans: BTreeMap<About, Vec<(&str, Span)>> = BTreeMap::new();
    for told in story {
        let f = &told.finding;
        let of = spans.entry(f.subject.clone()).or_default();
        if told.opened {
            of.push((&f.id, (told.at, Timestamp::MAX)));
        } else if let Some(last) = of.iter_mut().rev().find(|(id, _)| *id == f.id) {
            last.1.1 = told.at;
        }
    }
    spans
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Whether what was seen at these times was there from one time to the other, at all ticks or all but single ones.
fn holds(times: &[Timestamp], from: Timestamp, to: Timestamp) -> bool {
    let within = times.iter().filter(|at| from - TICK <= **at && **at <= later(to, TICK));
    let (mut last, mut seen) = (from, false);
    for at in within {
        if at.duration_since(last) > CLEAR {
            return false;
        }
        (last, seen) = (*at, true);
    }
    seen && to.duration_since(last) <= CLEAR
}

/// Nothing was opened that was not so, and nothing closed that went on. While trouble is `unnoticed`, nobody can know
/// better.
pub fn of_story(book: &Book, calm: &Book, unnoticed: &[Span]) -> Vec<String> {
    let (mine, truth) = (spans(&book.story), spans(&calm.story));
    let mut broken = Vec::new();
    for told in &book.story {
        let f = &told.finding;
        // Who may not see something for long does without it, and judges by the rest.
        let limited = told.unseen.iter().any(|kind| calm.served.contains(kind));
        let stuck = unnoticed.iter().any(|(from, until)| *from <= told.at && told.at <= *until);
        if OWN_SIGHT.contains(&f.signal.as_str()) || limited || stuck {
            continue;
        }
        let about = f.subject.clone();
        let of = truth.get(&about).map_or(&[][..], Vec::as_slice);
        let so = |(_, (from, until)): &(&str, Span)| {
            *from - BEHIND <= told.at && told.at <= later(*until, BEHIND)
        };
        let goes_on = |(_, (from, until)): &(&str, Span)| {
            *from + BEHIND < told.at && later(told.at, BEHIND) < *until
        };
        // Under another reason, or again.
        let stays =
            |(_, (from, until)): &(&str, Span)| *from <= told.at + APART && told.at < *until;
        // What ends as it is told: a moment later it had not held for long enough.
        let brief = |(id, (from, until)): &(&str, Span)| {
            let killed = book.killed.iter().any(|at| *at >= told.at && *at <= told.at + APART);
            *id == f.id && *from == told.at && (killed || *until <= told.at + APART)
        };
        // It was over for a moment, in which others looked but once.
        let over = calm.looks.as_ref().and_then(|looks| looks.over.get(&f.id));
        let blinked = over.is_some_and(|times| {
            times.iter().any(|at| *at <= later(told.at, TICK) && told.at <= later(*at, CLEAR))
        });
        // The other way round: it held for its dwell but for a moment, in which nobody else may have looked.
        let seen = calm.looks.as_ref().and_then(|looks| looks.seen.get(&f.id));
        let held = seen.is_some_and(|(_, times)| holds(times, f.since, told.at));
        let wrong = match told.opened {
            true => !of.iter().any(so) && !mine[&about].iter().any(brief) && !held,
            false => of.iter().any(goes_on) && !mine[&about].iter().any(stays) && !blinked,
        };
        if wrong {
            let what = if told.opened { "opened what was not so" } else { "closed what went on" };
            broken.push(format!(
                "{} {what} at {}, {of:?}: {} {} since {}: {}",
                book.name, told.at, f.id, f.signal, f.since, f.message
            ));
        }
    }
    broken
}

/// Nothing was counted twice: who saw less has counted no more.
pub fn of_totals(book: &Book, calm: &Book) -> Vec<String> {
    let (counted, truth) = (sums(book), sums(calm));
    let mut broken = Vec::new();
    for (signal, total) in counted {
        let most = truth.get(signal).copied().unwrap_or(0);
        // Who hears late that a pod is gone counts what is still reported of it.
        let most = if OF_REPORTS.contains(&signal) { most + most / 10 + 5 } else { most };
        if total > most {
            broken.push(format!("{} counted {total} of {most} {signal}", book.name));
        }
    }
    broken
}

/// The sum of each total over its labels; what is shared is summed up under the first name.
fn sums(book: &Book) -> BTreeMap<&'static str, u64> {
    let mut sums = book.sums();
    for shared in SHARED {
        let all: Vec<u64> = shared.iter().filter_map(|name| sums.remove(name)).collect();
        sums.insert(shared[0], all.into_iter().sum());
    }
    sums
}
