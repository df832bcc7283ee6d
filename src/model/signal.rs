//! What does a signal say about itself? Everything, once: its metric, page, alert, RBAC rule and judgement follow.

use super::finding::Verdicts;
use super::kind::Kind;
use super::layer::Layer;
use super::reading::{Labels, Readings};
use super::record::{Object, Time};
use super::subject::{Subject, WorkloadRef};
use super::tally::Tallies;
use super::text::Text;
use super::view::View;
use super::world::World;

/// A health signal of one layer.
#[derive(Debug)]
pub struct Signal {
    /// Its block in the signal catalogue, such as `S1.1`.
    pub block: &'static str,
    /// The metric's name after `kubestrata_`, with layer and unit: `compute_oom_kills_total`.
    pub name: &'static str,
    /// The layer that it belongs to.
    pub layer: Layer,
    /// One sentence for the metric's HELP and the reference: what it counts and what is healthy.
    pub help: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// Every value that its label `reason` can take; empty where it has none.
    pub reasons: &'static [&'static str],
    /// How many series it can have at most, in words: `namespaces × storage classes × 8 reasons`.
    pub bound: &'static str,
    /// Kinds without which it is silent. Where it names none, it needs one of those that it uses.
    pub needs: &'static [Kind],
    /// Kinds that make it say more, but each of which it can do without.
    pub uses: &'static [Kind],
    /// How its series are judged against their own past.
    pub profile: Profile,
    /// How it is read from the world.
    pub read: Read,
}

/// A signal's unit; the metric's name ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Objects or occurrences: no suffix on a gauge, `_total` on a counter.
    Count,
    /// 0 to 1: `_ratio`.
    Ratio,
    /// `_seconds`.
    Seconds,
    /// `_bytes`.
    Bytes,
}

impl Unit {
    /// The unit's name for OpenTelemetry (UCUM).
    #[must_use]
    pub const fn ucum(self) -> &'static str {
        match self {
            Self::Count | Self::Ratio => "1",
            Self::Seconds => "s",
            Self::Bytes => "By",
        }
    }
}

/// How a signal is read.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// A rule: each object in a bad state, judged by its dwell. The metric is the number of findings for each set of
    /// label values; healthy is no series.
    Rule(fn(&View<'_>, &mut Verdicts)),
    /// Values at this moment.
    Gauge(fn(&View<'_>, &mut Readings)),
    /// Values that a Prometheus gives for this PromQL query.
    Query(&'static str),
    /// A running total, kept by the layer's `observe` in the [`Tallies`].
    Counter,
    /// Durations, kept by the layer's `observe` in the [`Tallies`], in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// How the series of a signal are judged against their own past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Profile {
    /// Not at all: a rule or context.
    None,
    /// The value against the median and the spread of its past.
    Level {
        /// Which side is bad.
        bad: Direction,
        /// The least spread that matters, in the signal's unit: a flat past does not make every ripple an anomaly.
        floor: f64,
    },
    /// The same of a share that can run out, of which high is bad; and when it would be 1 at its pace.
    Filling {
        /// The least spread that matters.
        floor: f64,
    },
    /// The increase over a window against the rate of the past.
    Rate,
    /// The same, of what comes in bursts by nature: only one of this size or more may surprise.
    Flood {
        /// The least increase in ten minutes that matters.
        least: f64,
    },
    /// Of a histogram: the durations of late against those before.
    Durations,
    /// Not judged: it is the time that is left until a limit that is known.
    Countdown,
}

impl Profile {
    /// Which side of a value is bad, and the least spread of it that matters; `None` where no value is judged.
    #[must_use]
    pub const fn level(self) -> Option<(Direction, f64)> {
        match self {
            Self::Level { bad, floor } => Some((bad, floor)),
            Self::Filling { floor } => Some((Direction::High, floor)),
            Self::None | Self::Rate | Self::Flood { .. } | Self::Durations | Self::Countdown => {
                None
            }
        }
    }

    /// By what it is judged; `None` where it is not.
    #[must_use]
    pub const fn family(self) -> Option<Family> {
        match self {
            Self::None | Self::Countdown => None,
            Self::Level { .. } => Some(Family::Level),
            Self::Filling { .. } => Some(Family::Filling),
            Self::Rate | Self::Flood { .. } => Some(Family::Count),
            Self::Durations => Some(Family::Duration),
        }
    }

    /// Whether the increase of a count is judged, rather than a value.
    #[must_use]
    pub const fn is_rate(self) -> bool {
        matches!(self, Self::Rate | Self::Flood { .. })
    }
}

/// What is judged alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Gauges and ratios against their past.
    Level,
    /// Shares that can run out.
    Filling,
    /// Increases of counts.
    Count,
    /// Durations.
    Duration,
}

/// How many families there are.
pub const FAMILIES: usize = 4;

/// Which side of the band is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Direction {
    High,
    Low,
    Both,
}

/// The signals of one layer, and how it counts what happens between ticks.
#[derive(Debug)]
pub struct LayerSignals {
    /// Which layer.
    pub layer: Layer,
    /// Its signals, in the order of the catalogue.
    pub signals: &'static [&'static Signal],
    /// Counts what a change of an object tells, before the world takes the change in.
    pub observe: fn(&Observation<'_>, &mut Tallies),
    /// Durations that objects still tell of, though they ended before anybody watched.
    pub lasted: fn(&View<'_>) -> Vec<Lasted>,
}

/// A duration of the past: no count of ours, but something to judge others by.
#[derive(Clone, Debug)]
pub struct Lasted {
    /// The histogram that it would have been counted in.
    pub signal: &'static Signal,
    /// Its series.
    pub labels: Labels,
    /// When it was over.
    pub ended: Time,
    /// How long it was.
    pub seconds: f64,
}

/// A change of an object, as a layer's `observe` sees it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The world before the change.
    pub world: &'a World,
    /// The object as it is now.
    pub object: &'a Object,
    /// The time of the change.
    pub now: Time,
}

/// Labels that name an object, and its kind; the most specific first.
pub const NAMED: &[(&str, Kind)] = &[
    ("persistentvolumeclaim", Kind::PersistentVolumeClaim),
    ("cronjob", Kind::CronJob),
    ("resourcequota", Kind::ResourceQuota),
    ("horizontalpodautoscaler", Kind::HorizontalPodAutoscaler),
    ("poddisruptionbudget", Kind::PodDisruptionBudget),
    ("service", Kind::Service),
    ("ingress", Kind::Ingress),
    ("gateway", Kind::Gateway),
    ("gatewayclass", Kind::GatewayClass),
    ("backendtlspolicy", Kind::BackendTlsPolicy),
    ("networkpolicy", Kind::NetworkPolicy),
    ("servicecidr", Kind::ServiceCidr),
    ("tigerastatus", Kind::TigeraStatus),
    ("apiservice", Kind::ApiService),
    ("customresourcedefinition", Kind::CustomResourceDefinition),
    ("applicationset", Kind::ArgoApplicationSet),
    ("certificate", Kind::Certificate),
    ("application", Kind::ArgoApplication),
    ("kustomization", Kind::Kustomization),
    ("helmrelease", Kind::HelmRelease),
    ("lease", Kind::Lease),
    ("node", Kind::Node),
    ("storageclass", Kind::StorageClass),
    ("driver", Kind::CsiDriver),
];

impl Signal {
    /// The object that a series of the signal is about, as its labels tell: the workload, the node, the object named
    /// by the most specific label, else the namespace, else the cluster.
    #[must_use]
    pub fn subject(&self, labels: &Labels) -> Subject {
        let value = |name: &str| {
            let index = self.labels.iter().position(|l| *l == name)?;
            labels.get(index).filter(|v| !v.is_empty())
        };
        let none = Text::default();
        let namespace = value("namespace").unwrap_or(&none);
        if let (Some(kind), Some(name)) = (value("workload_kind"), value("workload")) {
            let (namespace, kind, name) = (namespace.clone(), kind.clone(), name.clone());
            return WorkloadRef { namespace, kind, name }.subject();
        }
        for (label, kind) in NAMED {
            if let Some(name) = value(label) {
                let scope = if kind.namespaced() { namespace } else { &none };
                return Subject::new(*kind, scope, name);
            }
        }
        if namespace.is_empty() {
            Subject::cluster()
        } else {
            Subject::new(Kind::Namespace, &none, namespace)
        }
    }

    /// Whether the metric is a running total.
    #[must_use]
    pub const fn is_counter(&self) -> bool {
        matches!(self.read, Read::Counter)
    }
}
