//! How is one of several replicas elected to speak? By a Lease, which whoever leads renews, and which carries what the
//! leader leaves to its successor.
//!
//! Writes name the version that they change: of two that try at once, the API server lets one through.

mod election;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tracing::{info, warn};

use super::Now;
use super::failure::Failure;
use crate::config::LeaderElectionSettings;
use crate::model::source::Availability;
use crate::model::term::Term;
use election::{Act, Election, Held, Moment};

/// Where a Lease carries what its leader leaves to its successor.
const LEFT: &str = "kubestrata.io/told";

/// How often it is tried to give a Lease back that somebody has changed meanwhile.
const GIVING_BACK: usize = 3;

/// What the leader leaves to its successor.
#[derive(Clone, Debug, Default)]
struct Word {
    /// The term that it was left in.
    term: u64,
    text: Arc<str>,
    /// How many words of the term may be said once it is written.
    clears: u64,
    /// How often it changed in a way that should be written at once.
    urgent: u64,
}

/// A candidate in the election. It ends with this handle: whoever wants to be succeeded at once gives the Lease back.
pub struct Candidate {
    term: watch::Receiver<Option<Term>>,
    ready: watch::Sender<bool>,
    word: watch::Sender<Word>,
    give_back: oneshot::Sender<()>,
    identity: String,
    task: JoinSet<()>,
}

impl Candidate {
    /// Runs for the election under a name that no other has; `now` is written into the Lease for people to read.
    #[must_use]
    pub fn start(
        client: &Client,
        settings: &LeaderElectionSettings,
        identity: String,
        now: Now,
    ) -> Self {
        let (elected, term) = watch::channel(None);
        let (ready, is_ready) = watch::channel(false);
        let (word, words) = watch::channel(Word::default());
        let (give_back, given_back) = oneshot::channel();
        let namespace = namespace(client, settings);
        let clerk = Clerk {
            leases: Api::namespaced(client.clone(), &namespace),
            place: format!("{namespace}/{}", settings.name),
            settings: settings.clone(),
            election: Election::new(
                identity.clone(),
                settings.lease_duration,
                settings.renew_deadline,
            ),
            identity: identity.clone(),
            now,
            origin: tokio::time::Instant::now(),
            lease: None,
            ready: is_ready,
            words,
            written: 0,
            clears: None,
            elected,
            terms: 0,
            journal: Journal::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(clerk.run(given_back));
        Self { term, ready, word, give_back, identity, task }
    }

    /// The term for which this replica leads, while it does.
    #[must_use]
    pub fn term(&self) -> watch::Receiver<Option<Term>> {
        self.term.clone()
    }

    /// The name under which it runs: another one for each process.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Says whether this replica sees all, and so may want to lead.
    pub fn set_ready(&self, ready: bool) {
        self.ready.send_if_modified(|was| std::mem::replace(was, ready) != ready);
    }

    /// Says what is left to a successor; it is written with the next sign of life, or at once, and then
    /// [clears](Term::cleared) so many words.
    pub fn leave(&self, term: u64, text: &str, clears: u64, at_once: bool) {
        self.word.send_if_modified(|word| {
            let urgent = word.urgent + u64::from(at_once);
            *word = Word { term, text: text.into(), clears, urgent };
            at_once
        });
    }

    /// Gives the Lease back, with what was left last, if it is ours: the next leader need not wait.
    pub async fn give_back(mut self, patience: Duration) {
        if self.give_back.send(()).is_ok() {
            let _ = tokio::time::timeout(patience, self.task.join_next()).await;
        }
    }
}

/// A name for this process that no other has: the pod, and which of its processes.
#[must_use]
pub fn candidate_identity() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish();
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "kubestrata".to_owned());
    format!("{pod}_{random:016x}")
}

/// The namespace of the Lease. In a cluster the client's own is that of the service account.
fn namespace(client: &Client, settings: &LeaderElectionSettings) -> String {
    match settings.namespace.as_str() {
        "" => std::env::var("POD_NAMESPACE")
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| client.default_namespace().to_owned()),
        name => name.to_owned(),
    }
}

/// Reads and writes the Lease.
struct Clerk {
    leases: Api<Lease>,
    /// Namespace and name, for the log.
    place: String,
    settings: LeaderElectionSettings,
    identity: String,
    now: Now,
    origin: tokio::time::Instant,
    election: Election,
    /// The Lease as it was read or written last.
    lease: Option<Lease>,
    ready: watch::Receiver<bool>,
    words: watch::Receiver<Word>,
    /// The last urgent word that was written, or tried to.
    written: u64,
    /// The term in which the Lease was written last, or tried to, and how many words that clears.
    clears: Option<(u64, u64)>,
    elected: watch::Sender<Option<Term>>,
    terms: u64,
    journal: Journal,
}

impl Clerk {
    async fn run(mut self, mut given_back: oneshot::Receiver<()>) {
        loop {
            let began = tokio::time::Instant::now();
            let patience = self.ends().unwrap_or(began + self.settings.renew_deadline);
            let outcome = tokio::select! {
                biased;
                // Also when the handle is gone, which ends this task anyway.
                _ = &mut given_back => return self.give_back().await,
                outcome = timeout_at(patience, self.attempt()) => outcome,
            };
            let outcome =
                outcome.unwrap_or_else(|_| Err(Failure::unreachable("no answer in time")));
            self.journal.log_outcome(&self.place, outcome);
            self.announce();
            let rest = began + self.settings.retry_period;
            let rest = self.ends().map_or(rest, |ends| ends.min(rest));
            let leads = self.ends().is_some();
            let (urgent, mut ready) = (self.written, self.ready.clone());
            tokio::select! {
                biased;
                _ = &mut given_back => return self.give_back().await,
                () = sleep_until(rest) => {}
                () = urgent_word(&mut self.words, urgent), if leads => {}
                () = becomes_ready(&mut ready), if !leads => {}
            }
            self.announce();
        }
    }

    fn moment(&self) -> Moment {
        self.origin.elapsed()
    }

    /// When we end to lead unless a sign of life is taken; `None`: we don't lead.
    fn ends(&self) -> Option<tokio::time::Instant> {
        self.election
            .until()
            .filter(|_| self.election.leads(self.moment()))
            .map(|m| self.origin + m)
    }

    async fn attempt(&mut self) -> Result<(), Failure> {
        // A term that has run out meanwhile is over, though the next may begin here.
        self.announce();
        if !self.election.leads(self.moment()) {
            self.read().await?;
        }
        let ready = *self.ready.borrow();
        let act = self.election.next(self.moment(), ready);
        if act == Act::Wait {
            return Ok(());
        }
        let began = self.moment();
        let lease = self.next_lease(act != Act::Renew);
        let params = PostParams::default();
        let outcome = match act {
            Act::Create => self.leases.create(&params, &lease).await,
            _ => self.leases.replace(&self.settings.name, &params, &lease).await,
        };
        match outcome {
            Ok(lease) => {
                self.election.wrote(held(&lease), began);
                self.lease = Some(lease);
                self.clear();
                Ok(())
            }
            // Somebody else was faster, or has changed or deleted it.
            Err(kube::Error::Api(status)) if status.code == 409 => self.read().await,
            Err(kube::Error::Api(status)) if status.code == 404 && act != Act::Create => {
                self.read().await?;
                // While we lead nobody else may make it anew.
                let lease = Lease { metadata: self.metadata(), ..lease };
                self.lease =
                    Some(self.leases.create(&params, &lease).await.map_err(|e| Failure::from(&e))?);
                self.lease.iter().for_each(|lease| self.election.wrote(held(lease), began));
                Ok(())
            }
            Err(error) => Err(Failure::from(&error)),
        }
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let lease =
            self.leases.get_opt(&self.settings.name).await.map_err(|e| Failure::from(&e))?;
        let now = self.moment();
        self.election.read(lease.as_ref().map(held), now);
        self.lease = lease;
        Ok(())
    }

    /// The Lease as it is to be written, held by us, in a term that begins or goes on.
    fn next_lease(&mut self, begins: bool) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_default();
        if lease.metadata.name.is_none() {
            lease.metadata = self.metadata();
        }
        self.clears = None;
        let now = Some(MicroTime((self.now)()));
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if begins {
            let before = spec.lease_transitions.unwrap_or(0);
            spec.lease_transitions = Some(before + i32::from(spec.acquire_time.is_some()));
            spec.acquire_time.clone_from(&now);
        } else {
            // The word of the leader before stands until ours is known.
            let word = self.words.borrow_and_update();
            self.written = word.urgent;
            if word.term == self.terms {
                self.clears = Some((word.term, word.clears));
                let annotations = lease.metadata.annotations.get_or_insert_default();
                annotations.insert(LEFT.to_owned(), word.text.to_string());
            }
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.renew_time = now;
        let seconds = self.settings.lease_duration.as_secs_f64().ceil();
        spec.lease_duration_seconds = Some(seconds as i32);
        lease
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() }
    }

    /// Tells at once whether this replica leads, and since when anew.
    fn announce(&mut self) {
        let leads = self.election.leads(self.moment());
        let led = self.elected.borrow().is_some();
        if leads && !led {
            self.terms += 1;
            let annotations = self.lease.as_ref().and_then(|l| l.metadata.annotations.as_ref());
            let found = annotations.and_then(|all| all.get(LEFT)).map_or("", String::as_str).into();
            self.elected.send_replace(Some(Term { number: self.terms, found, cleared: 0 }));
        } else if !leads && led {
            self.elected.send_replace(None);
        }
        self.journal.log_leader(&self.place, &self.identity, leads, self.election.other());
    }

    /// Tells how many words may be said, now that a successor would find them.
    fn clear(&mut self) {
        let Some((number, clears)) = self.clears.take() else { return };
        self.elected.send_if_modified(|term| {
            let term = term.as_mut().filter(|term| term.number == number);
            term.is_some_and(|term| std::mem::replace(&mut term.cleared, clears) < clears)
        });
    }

    /// Writes the last word and leaves the Lease to whoever wants it.
    async fn give_back(mut self) {
        let led = self.elected.send_replace(None).is_some();
        for _ in 0..GIVING_BACK {
            if !led || !self.election.leads(self.moment()) {
                return;
            }
            let mut lease = self.next_lease(false);
            // As client-go gives it back, so that nobody waits for it.
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            let params = PostParams::default();
            match self.leases.replace(&self.settings.name, &params, &lease).await {
                Ok(_) => {
                    info!(lease = self.place, "gave the Lease back");
                    return;
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    if self.read().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

fn held(lease: &Lease) -> Held {
    let spec = lease.spec.as_ref();
    let lasts = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    Held {
        holder: spec.and_then(|s| s.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        lasts: lasts.map(Duration::from_secs),
    }
}

/// Waits for a word that should be written at once.
async fn urgent_word(words: &mut watch::Receiver<Word>, written: u64) {
    if words.wait_for(|word| word.urgent != written).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until this replica sees all, where it does not.
async fn becomes_ready(ready: &mut watch::Receiver<bool>) {
    let was = *ready.borrow_and_update();
    if was || ready.wait_for(|ready| *ready).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What the log has said.
#[derive(Debug, Default)]
struct Journal {
    failing: Option<Availability>,
    leader: String,
}

impl Journal {
    fn log_outcome(&mut self, lease: &str, outcome: Result<(), Failure>) {
        let Err(Failure { availability, message: why, .. }) = outcome else {
            if self.failing.take().is_some() {
                info!(lease, "the Lease can be kept again");
            }
            return;
        };
        if self.failing.replace(availability) == Some(availability) {
            return;
        }
        match availability {
            Availability::Forbidden => warn!(
                lease,
                why,
                "not allowed to keep the Lease, so this replica does not speak; grant get, create and update on \
                 leases with docs/lease-role.yaml"
            ),
            Availability::Absent => warn!(
                lease,
                why,
                "the Lease can not be made, so this replica does not speak; set leader_election.namespace to a \
                 namespace that is there"
            ),
            _ => warn!(
                lease,
                why,
                "could not keep the Lease, trying again; without it this replica does not speak"
            ),
        }
    }

    fn log_leader(&mut self, lease: &str, me: &str, leads: bool, other: Option<&str>) {
        let leader = if leads { me } else { other.unwrap_or_default() };
        if leader == self.leader {
            return;
        }
        match (leads, other) {
            (true, _) => info!(lease, identity = me, "this replica leads and speaks"),
            (false, Some(leader)) => info!(lease, leader, "another replica leads"),
            (false, None) => info!(lease, "this replica leads no more and is silent"),
        }
        self.leader = leader.to_owned();
    }
}
