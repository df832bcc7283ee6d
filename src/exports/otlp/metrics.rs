//! How are signals sent as metrics? As instruments that read the last Report when the SDK asks, under the same names.
//!
//! Histograms are not sent: the SDK has no instrument that observes one made elsewhere.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};

use super::{NAME, OtlpError, transport};
use crate::config::OtlpSettings;
use crate::model::report::{Report, Series};
use crate::model::signal::{Read, Signal};

/// Series of one instrument; the SDK's own limit of 2,000 would fold the rest into one.
const CARDINALITY: usize = 100_000;

type Latest = Arc<ArcSwapOption<Report>>;

pub(super) fn start(
    settings: &OtlpSettings,
    resource: Resource,
    signals: &[&'static Signal],
    latest: &Latest,
) -> Result<SdkMeterProvider, OtlpError> {
    let reader = PeriodicReader::builder(transport::metrics(settings)?)
        .with_interval(settings.metrics_interval)
        .build();
    let roomy = |_: &Instrument| Stream::builder().with_cardinality_limit(CARDINALITY).build().ok();
    let provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(reader)
        .with_view(roomy)
        .build();
    let meter = provider.meter(NAME);
    for signal in signals.iter().copied() {
        let (name, latest) = (format!("kubestrata_{}", signal.name), Arc::clone(latest));
        let (help, unit) = (signal.help, signal.unit.ucum());
        match signal.read {
            Read::Counter => {
                let stem = name.trim_end_matches("_total").to_owned();
                meter
                    .u64_observable_counter(stem)
                    .with_description(help)
                    .with_unit(unit)
                    .with_callback(move |o| {
                        observe(signal, &latest, |v, labels| o.observe(v as u64, labels));
                    })
                    .build();
            }
            Read::Rule(_) | Read::Gauge(_) | Read::Query(_) => {
                meter
                    .f64_observable_gauge(name)
                    .with_description(help)
                    .with_unit(unit)
                    .with_callback(move |o| {
                        observe(signal, &latest, |v, labels| o.observe(v, labels));
                    })
                    .build();
            }
            Read::Histogram(_) => {}
        }
    }
    let latest = Arc::clone(latest);
    meter
        .f64_observable_gauge("kubestrata_layer_health_ratio")
        .with_description("Health of a layer, 1 is healthy. A layer that cannot see has none.")
        .with_unit("1")
        .with_callback(move |o| health(&latest, o))
        .build();
    Ok(provider)
}

fn observe(signal: &Signal, latest: &Latest, mut observe: impl FnMut(f64, &[KeyValue])) {
    let Some(report) = latest.load_full() else { return };
    let mine = report.signals.iter().find(|s| s.signal.name == signal.name);
    let Some(Series::Values(values)) = mine.map(|s| &s.series) else { return };
    for reading in values {
        let labels = signal.labels.iter().zip(reading.labels.iter());
        let labels: Vec<KeyValue> =
            labels.map(|(name, value)| KeyValue::new(*name, value.to_owned())).collect();
        observe(reading.value, &labels);
    }
}

fn health(latest: &Latest, instrument: &dyn AsyncInstrument<f64>) {
    let Some(report) = latest.load_full() else { return };
    for layer in &report.layers {
        if let Some(health) = layer.health {
            instrument.observe(health, &[KeyValue::new("layer", layer.layer.name())]);
        }
    }
}
