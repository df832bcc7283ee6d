//! How is a kind followed? With the client library's watcher, and what it does not do by itself: a fresh start on
//! 410, a fall-back from streaming lists, a slow retry of what is refused, and telling how it is doing.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, InitialListStrategy, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::debug;

use super::discovery::resource;
use super::endpoint::{KubeletAccess, PrometheusOptions};
use super::failure::Failure;
use super::hearing::Hearing;
use super::raw::{self, Raw};
use crate::model::kind::{Kind, Origin};
use crate::model::record::Time;
use crate::model::source::SourceNote;
use crate::model::text::{Interner, stable_hash};
use crate::model::world::Delta;

/// Objects in a page of a list: a page is held three times while it is read.
pub(super) const PAGE: u32 = 250;

/// Changes in one batch at most.
const BATCH: usize = 256;

/// How long is waited after a failure, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(800);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How long a watch runs before it is begun anew. Rights are checked only then, so it bounds how long a removed right
/// goes unnoticed.
const WATCH_SECONDS: u32 = 120;

/// After how long a watch of which nothing was heard, neither a bookmark nor its end, is taken to be stuck: what sits
/// between us and the server may keep a connection that leads nowhere.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// What nobody needs of events: the steps of every healthy pod, and elections.
pub(super) const EVENT_SELECTOR: &str = "reason!=Pulled,reason!=Pulling,reason!=Created,reason!=Started,\
     reason!=Scheduled,reason!=SuccessfulCreate,reason!=SuccessfulDelete,reason!=ScalingReplicaSet,\
     reason!=LeaderElection,reason!=Sync,reason!=Info";

/// The Secrets in which Helm keeps its releases.
pub(super) const HELM_LABELS: &str = "owner=helm";
pub(super) const HELM_FIELDS: &str = "type=helm.sh/release.v1";

/// Tells the time to what stamps answers: the daemon's clock.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// How the cluster is followed.
#[derive(Clone)]
pub struct WatchOptions {
    /// Which kinds.
    pub kinds: Vec<Kind>,
    /// How often what is forbidden, absent or unauthorized is tried again.
    pub slow_retry: Duration,
    /// How long a list by streaming may stand still before the server is taken not to know it.
    pub list_patience: Duration,
    /// How often a quiet watch is asked whether it is alive.
    pub life_sign: Duration,
    /// How often the API server is asked what it serves.
    pub discovery: Duration,
    /// The longest interval at which anything is polled; kinds have shorter ones of their own.
    pub longest_interval: Duration,
    /// The time.
    pub now: Now,
    /// How kubelets are reached; `None` where they can't be.
    pub kubelets: Option<KubeletAccess>,
    /// Whether a kubelet's certificate is taken as it is: many kubelets sign their own.
    pub kubelet_skip_verify: bool,
    /// Which Prometheus is asked, where one is.
    pub prometheus: PrometheusOptions,
}

impl WatchOptions {
    /// The usual pace.
    #[must_use]
    pub fn new(kinds: Vec<Kind>, now: Now) -> Self {
        Self {
            kinds,
            slow_retry: Duration::from_secs(20),
            list_patience: Duration::from_secs(30),
            life_sign: Duration::from_secs(30),
            discovery: Duration::from_secs(20),
            longest_interval: Duration::from_mins(5),
            now,
            kubelets: None,
            kubelet_skip_verify: false,
            prometheus: PrometheusOptions::default(),
        }
    }
}

/// Where the kind is served: Events by two APIs that show the same objects, of which a role may grant only one.
pub(super) fn apis(client: &Client, kind: Kind, api: &ApiResource) -> Vec<Api<Raw>> {
    let all = |api: &ApiResource| Api::all_with(client.clone(), api);
    match kind {
        Kind::Event => vec![all(api), all(&resource("", "v1", kind.name(), kind.plural()))],
        _ => vec![all(api)],
    }
}

/// Follows a kind until `out` closes.
pub(super) async fn follow(
    client: Client,
    kind: Kind,
    api: ApiResource,
    options: WatchOptions,
    out: mpsc::Sender<Vec<Delta>>,
) {
    let (client, hearing) = Hearing::of(client, Arc::clone(&options.now));
    let follower = Follower {
        kind,
        hearing,
        apis: apis(&client, kind, &api),
        metadata: Api::all_with(client, &api),
        api: 0,
        streaming: true,
        options,
        failures: 0,
        texts: Interner::default(),
        out,
    };
    follower.follow().await;
}

struct Follower {
    kind: Kind,
    hearing: Hearing,
    apis: Vec<Api<Raw>>,
    /// The same kind, for those of which only metadata is read.
    metadata: Api<PartialObjectMeta<Raw>>,
    api: usize,
    streaming: bool,
    options: WatchOptions,
    /// How many in a row.
    failures: u32,
    texts: Interner,
    out: mpsc::Sender<Vec<Delta>>,
}

/// Why a watcher is given up for a fresh one.
enum End {
    /// Nobody listens any more.
    Closed,
    /// Begin anew, after this failure if any.
    Anew(Option<Failure>),
}

impl Follower {
    async fn follow(mut self) {
        loop {
            match self.watch().await {
                End::Closed => return,
                End::Anew(None) => {}
                End::Anew(Some(failure)) => {
                    let wait = self.wait_after(&failure);
                    if !self.tell(failure, wait).await {
                        return;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn config(&self) -> watcher::Config {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        if self.streaming {
            config.initial_list_strategy = InitialListStrategy::StreamingList;
        }
        match self.kind {
            Kind::Event => config.fields(EVENT_SELECTOR),
            Kind::HelmSecret => config.labels(HELM_LABELS).fields(HELM_FIELDS),
            _ => config,
        }
    }

    /// The objects themselves, or their metadata dressed as objects.
    fn stream(&self) -> BoxStream<'static, Result<Event<Raw>, watcher::Error>> {
        match self.kind.origin() {
            Origin::Metadata => watcher(self.metadata.clone(), self.config())
                .map(|event| event.map(raw::of_metadata))
                .boxed(),
            _ => watcher(self.apis[self.api].clone(), self.config()).boxed(),
        }
    }

    /// Follows one watcher until it has to be given up.
    async fn watch(&mut self) -> End {
        let mut stream = self.stream().ready_chunks(BATCH);
        let (mut listing, mut failing) = (true, false);
        self.hearing.told();
        loop {
            let patience =
                if listing { self.options.list_patience } else { self.options.life_sign };
            let Ok(chunk) = tokio::time::timeout(patience, stream.next()).await else {
                if listing && self.streaming {
                    debug!(kind = self.kind.name(), "no list by streaming, asking for pages");
                    self.streaming = false;
                    return End::Anew(None);
                }
                if self.hearing.silence() > SILENCE {
                    return End::Anew(Some(Failure::unreachable(match listing {
                        true => "the list is not answered",
                        false => "the watch says nothing, not even that it ends",
                    })));
                }
                // After a failure it is enough that a watch has begun and been quiet: what had changed it would have said.
                if !listing && let Some(at) = self.hearing.untold(self.failures > 0) {
                    failing = false;
                    if !self.alive(at).await {
                        return End::Closed;
                    }
                }
                continue;
            };
            let Some(chunk) = chunk else { return End::Anew(None) };
            let mut batch = Vec::with_capacity(chunk.len());
            let mut failure = None;
            for event in chunk {
                match event {
                    Ok(event) => {
                        failing = false;
                        listing = match &event {
                            Event::Init => true,
                            Event::InitDone => false,
                            _ => listing,
                        };
                        self.take(event, &mut batch);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            // A watch that is never silent is alive as well.
            if !listing && !batch.is_empty() {
                batch.push(Delta::Note(self.kind, SourceNote::Alive));
            }
            if !batch.is_empty() && !send(&self.out, batch).await {
                return End::Closed;
            }
            if let Some(error) = failure
                && let Some(end) = self.fail(&error, &mut failing).await
            {
                return end;
            }
            self.hearing.told();
        }
    }

    /// What a failure of the watcher calls for: to go on with it after a while, or to begin anew.
    async fn fail(&mut self, error: &watcher::Error, failing: &mut bool) -> Option<End> {
        let failure = Failure::from(error);
        let refused_streaming =
            self.streaming && matches!(failure.code, Some(400 | 422)) && !failure.is_standing();
        if refused_streaming {
            debug!(kind = self.kind.name(), "streaming lists refused, asking for pages");
            self.streaming = false;
            return Some(End::Anew(None));
        }
        // As the status of the request itself, the watcher would ask for the same version for ever.
        if failure.code == Some(410) {
            return Some(End::Anew(Some(failure)));
        }
        if failure.is_standing() {
            self.api = (self.api + 1) % self.apis.len();
            return Some(End::Anew(Some(failure)));
        }
        // A line that can't be read is a change that is lost: only a list can make it good.
        let cut = matches!(error, watcher::Error::WatchFailed(kube::Error::ReadEvents(_)));
        if matches!(error, watcher::Error::WatchFailed(_)) && !cut {
            return Some(End::Anew(Some(failure)));
        }
        // A watch that is cut is every day's business; the watcher goes on where it was.
        if !std::mem::replace(failing, true) && cut {
            return None;
        }
        let wait = self.wait_after(&failure);
        if !self.tell(failure, wait).await {
            return Some(End::Closed);
        }
        tokio::time::sleep(wait).await;
        None
    }

    fn wait_after(&mut self, failure: &Failure) -> Duration {
        // The other API of the kind is tried at once.
        if failure.is_standing() && self.apis.len() > 1 && self.api != 0 {
            return Duration::ZERO;
        }
        self.failures += 1;
        if failure.is_standing() { self.options.slow_retry } else { self.back_off() }
    }

    /// Twice as long after each failure in a row, and up to as long again, so that not all kinds come back at once. By
    /// kind and time rather than by chance: in virtual time the same run waits as long.
    fn back_off(&self) -> Duration {
        let base = FIRST_RETRY * 2_u32.pow(self.failures.saturating_sub(1).min(10));
        let base = base.min(LAST_RETRY);
        let now = (self.options.now)().as_millisecond().to_le_bytes();
        let spread = stable_hash([self.kind.name().as_bytes(), &now]) % 1000;
        base + base * spread as u32 / 1000
    }

    fn take(&mut self, event: Event<Raw>, batch: &mut Vec<Delta>) {
        match event {
            Event::Init => batch.push(Delta::Listing(self.kind)),
            Event::InitApply(raw) | Event::Apply(raw) => {
                take(&raw, self.kind, &mut self.texts, batch);
            }
            Event::Delete(raw) => batch.push(raw.delete(self.kind, &mut self.texts)),
            Event::InitDone => {
                self.failures = 0;
                batch.push(Delta::Synced(self.kind));
            }
        }
    }

    async fn alive(&mut self, at: Time) -> bool {
        self.failures = 0;
        self.hearing.told();
        send(&self.out, vec![Delta::Note(self.kind, SourceNote::Heard { at })]).await
    }

    async fn tell(&self, failure: Failure, wait: Duration) -> bool {
        // A history that is gone calls for a list, no more. And whether the other API serves the kind is known only
        // after it was asked.
        if failure.code == Some(410) || wait.is_zero() {
            return !self.out.is_closed();
        }
        let Failure { availability, message, .. } = failure;
        let note =
            SourceNote::Failed { availability, message, backoff_seconds: wait.as_secs_f64() };
        send(&self.out, vec![Delta::Note(self.kind, note)]).await
    }
}

/// An object as a change; one that can't be read is told besides.
pub(super) fn take(raw: &Raw, kind: Kind, texts: &mut Interner, batch: &mut Vec<Delta>) {
    let delta = raw.upsert(kind, texts);
    if matches!(delta, Delta::Keep { .. }) {
        batch.push(Delta::Note(kind, raw.complaint(kind, texts)));
    }
    batch.push(delta);
}

/// Whether somebody still listens.
pub(super) async fn send(out: &mpsc::Sender<Vec<Delta>>, batch: Vec<Delta>) -> bool {
    out.send(batch).await.is_ok()
}
