//! How is a Report scraped? Encoded when asked for, from the Report alone: what is not in it leaves no series.

mod classic;
mod negotiation;
mod own;
mod process;

use std::fmt;
use std::sync::{Arc, LazyLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as MetricUnit};

use crate::model::reading::Labels;
use crate::model::report::{Report, Series, SignalReport};
use crate::model::signal::{Read, Signal, Unit};

pub use negotiation::{Format, negotiate};
pub use own::{About, OWN_METRICS, OtlpFigures, OwnMetric, own_metrics_markdown};

/// The exposition of a report in a format.
pub fn encode(report: &Arc<Report>, about: &About, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let exposition = Exposition { report: Arc::clone(report), about: about.clone() };
    registry.register_collector(Box::new(exposition));
    let mut text = String::with_capacity(256 * (report.myself.series + 200));
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Text => classic::from_open_metrics(&text),
    })
}

#[derive(Debug)]
struct Exposition {
    report: Arc<Report>,
    about: About,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for signal in &self.report.signals {
            encode_signal(signal, &mut encoder)?;
        }
        own::encode(&self.report, &self.about, &mut encoder)
    }
}

/// Label names with values, in declared order.
type LabelPairs<'a> = Vec<(&'a str, &'a str)>;

fn pairs<'a>(signal: &Signal, labels: &'a Labels) -> LabelPairs<'a> {
    signal.labels.iter().copied().zip(labels.iter()).collect()
}

fn encode_signal(report: &SignalReport, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let signal = report.signal;
    let kind = match signal.read {
        Read::Rule(_) | Read::Gauge(_) | Read::Query(_) => MetricType::Gauge,
        Read::Counter => MetricType::Counter,
        Read::Histogram(_) => MetricType::Histogram,
    };
    match &report.series {
        Series::Values(values) if !values.is_empty() => {
            let name = format!("kubestrata_{}", signal.name);
            let mut family = describe(encoder, &name, signal.help, signal.unit, kind)?;
            for reading in values {
                let labels = pairs(signal, &reading.labels);
                let mut series = family.encode_family(&labels)?;
                if signal.is_counter() {
                    series.encode_counter::<NoLabelSet, _, u64>(&(reading.value as u64), None)?;
                } else {
                    series.encode_gauge(&reading.value)?;
                }
            }
        }
        Series::Histograms(histograms) if !histograms.is_empty() => {
            let Read::Histogram(bounds) = signal.read else { return Ok(()) };
            let name = format!("kubestrata_{}", signal.name);
            let mut family = describe(encoder, &name, signal.help, signal.unit, kind)?;
            for (labels, histogram) in histograms {
                let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> =
                    bounds.zip(histogram.buckets.iter().copied()).collect();
                family.encode_family(&pairs(signal, labels))?.encode_histogram::<NoLabelSet>(
                    histogram.sum,
                    histogram.count,
                    &buckets,
                    None,
                )?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Begins a family. The library appends unit and `_total` itself, so the whole name is taken apart first.
fn describe<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &'e str,
    unit: Unit,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let (suffix, unit) = match unit {
        Unit::Count => ("", None),
        Unit::Ratio => ("_ratio", Some(&*RATIO)),
        Unit::Seconds => ("_seconds", Some(&MetricUnit::Seconds)),
        Unit::Bytes => ("_bytes", Some(&MetricUnit::Bytes)),
    };
    let stem = name.strip_suffix(suffix).unwrap_or(name);
    let unit = unit.filter(|_| name.ends_with(suffix));
    encoder.encode_descriptor(stem, help, unit, kind)
}

/// The library's own `ratios` is not the suffix that Prometheus' conventions name.
static RATIO: LazyLock<MetricUnit> = LazyLock::new(|| MetricUnit::Other("ratio".to_owned()));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Kind;
    use crate::model::layer::Layer;
    use crate::model::report::{SelfReport, Suspected};
    use crate::model::signal::Profile;
    use crate::model::tally::Histogram;

    static DELAY: Signal = Signal {
        block: "",
        name: "storage_delay_seconds",
        layer: Layer::Storage,
        help: "Delays.",
        unit: Unit::Seconds,
        labels: &["driver"],
        reasons: &[],
        bound: "drivers",
        needs: &[Kind::VolumeAttachment],
        uses: &[],
        profile: Profile::None,
        read: Read::Histogram(&[1.0, 5.0]),
    };

    #[test]
    fn the_last_bucket_of_a_histogram_holds_everything() {
        let histogram = Histogram { buckets: vec![1, 0, 2], sum: 20.5, count: 3 };
        let series = Series::Histograms(vec![(crate::labels!["csi"], histogram)]);
        let report = Report {
            at: crate::model::Time::UNIX_EPOCH,
            layers: Vec::new(),
            signals: vec![SignalReport { signal: &DELAY, series }],
            findings: Vec::new(),
            anomalies: Vec::new(),
            suspected: Suspected::default(),
            anomalies_opened: Vec::new(),
            bands: Vec::new(),
            scores: Vec::new(),
            limits: Vec::new(),
            notices: Vec::new(),
            undecided: Vec::new(),
            sources: Vec::new(),
            myself: SelfReport::default(),
        };
        let report = Arc::new(report);
        for format in [Format::Text, Format::OpenMetrics] {
            let text = encode(&report, &About::default(), format).unwrap();
            let lines = text.lines().filter(|l| l.starts_with("kubestrata_storage_delay"));
            let series: Vec<&str> = lines.collect();
            assert_eq!(
                series,
                [
                    r#"kubestrata_storage_delay_seconds_sum{driver="csi"} 20.5"#,
                    r#"kubestrata_storage_delay_seconds_count{driver="csi"} 3"#,
                    r#"kubestrata_storage_delay_seconds_bucket{le="1.0",driver="csi"} 1"#,
                    r#"kubestrata_storage_delay_seconds_bucket{le="5.0",driver="csi"} 1"#,
                    r#"kubestrata_storage_delay_seconds_bucket{le="+Inf",driver="csi"} 3"#,
                ]
            );
        }
    }
}
