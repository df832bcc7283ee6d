//! How does a query of the user's become a signal like any other? By a record in the file, checked field by field.

use super::fields::{Value, quoted};
use super::settings::Settings;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};

const FIELDS: [&str; 8] = ["name", "layer", "query", "help", "unit", "labels", "bad", "floor"];

/// Reads the list of records.
pub(super) fn set(settings: &mut Settings, value: &Value) -> Result<(), String> {
    let records = match value {
        Value::Records(records) => records.as_slice(),
        Value::List(none) if none.is_empty() => &[],
        _ => return Err(String::new()),
    };
    let mut signals: Vec<&'static Signal> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let signal = signal(record).map_err(|why| format!("entry {}: {why}", index + 1))?;
        if signals.iter().any(|s| s.name == signal.name) {
            return Err(format!("entry {}: the name {} stands twice", index + 1, signal.name));
        }
        signals.push(signal);
    }
    settings.prometheus.signals = signals;
    Ok(())
}

fn signal(record: &[(String, Value)]) -> Result<&'static Signal, String> {
    if let Some((unknown, _)) = record.iter().find(|(key, _)| !FIELDS.contains(&key.as_str())) {
        return Err(format!("{unknown}: no such field; there are {}", FIELDS.join(", ")));
    }
    let value = |key: &str| record.iter().find(|(k, _)| k == key).map(|(_, v)| v);
    let optional = |key: &str| match value(key) {
        None => Ok(None),
        Some(Value::Scalar(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{key}: expected a text")),
    };
    let needed = |key: &str| {
        optional(key)?
            .filter(|t| !t.is_empty())
            .ok_or_else(|| format!("{key}: expected a text, found none"))
    };
    let layer = needed("layer")?;
    let layer = Layer::by_name(layer).ok_or_else(|| format!("layer: {layer:?} is no layer"))?;
    let unit = match optional("unit")? {
        None | Some("count") => Unit::Count,
        Some("ratio") => Unit::Ratio,
        Some("seconds") => Unit::Seconds,
        Some("bytes") => Unit::Bytes,
        Some(other) => {
            return Err(format!("unit: expected count, ratio, seconds or bytes, found {other:?}"));
        }
    };
    let bad = match optional("bad")? {
        None | Some("high") => Direction::High,
        Some("low") => Direction::Low,
        Some("both") => Direction::Both,
        Some(other) => return Err(format!("bad: expected high, low or both, found {other:?}")),
    };
    let floor = optional("floor")?.map_or(Ok(0.0), |text| {
        let floor: Option<f64> = text.parse().ok();
        let floor = floor.filter(|f| f.is_finite() && *f >= 0.0);
        floor.ok_or_else(|| format!("floor: expected a number from 0 on, found {text:?}"))
    })?;
    let help = needed("help")?.trim_end_matches('.');
    let kept: &'static str = Box::leak(needed("query")?.to_owned().into_boxed_str());
    // A configuration is read once in the life of a process, and its signals live as long.
    Ok(Box::leak(Box::new(Signal {
        block: "own",
        name: Box::leak(name(needed("name")?, layer, unit)?.into_boxed_str()),
        layer,
        help: Box::leak(format!("{help}.").into_boxed_str()),
        unit,
        labels: labels(value("labels"))?,
        reasons: &[],
        bound: "as the query says",
        needs: &[Kind::PrometheusQuery],
        uses: &[],
        profile: Profile::Level { bad, floor },
        read: Read::Query(kept),
    })))
}

/// The metric's name after `kubestrata_`: with its layer before and its unit behind.
fn name(own: &str, layer: Layer, unit: Unit) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !own.starts_with(|c: char| c.is_ascii_lowercase()) || !own.chars().all(plain) {
        return Err(format!("name: expected lower-case letters, digits and _, found {own:?}"));
    }
    if own.ends_with("_total") {
        return Err(format!(
            "name: {own:?} ends as a counter does, and this is a value of a moment"
        ));
    }
    let suffix = match unit {
        Unit::Count => "",
        Unit::Ratio => "_ratio",
        Unit::Seconds => "_seconds",
        Unit::Bytes => "_bytes",
    };
    // `config print` writes the whole name.
    let own = own.strip_prefix(&format!("{layer}_")).unwrap_or(own);
    let own = own.strip_suffix(suffix).unwrap_or(own);
    Ok(format!("{layer}_{own}{suffix}"))
}

fn labels(value: Option<&Value>) -> Result<&'static [&'static str], String> {
    let names = match value {
        None => return Ok(&[]),
        Some(Value::List(names)) => names,
        Some(_) => return Err("labels: expected a list of label names".to_owned()),
    };
    let mut labels: Vec<&'static str> = Vec::new();
    for name in names {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let reserved = name.starts_with("__") || name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || reserved || !name.chars().all(word) {
            return Err(format!("labels: {name:?} is no label name"));
        }
        if labels.contains(&name.as_str()) {
            return Err(format!("labels: {name:?} stands twice"));
        }
        labels.push(Box::leak(name.clone().into_boxed_str()));
    }
    Ok(Box::leak(labels.into_boxed_slice()))
}

/// The effective signals as YAML, in one line each.
pub(super) fn show(settings: &Settings) -> String {
    let one = |signal: &&'static Signal| {
        let Read::Query(query) = signal.read else { return String::new() };
        let Profile::Level { bad, floor } = signal.profile else { return String::new() };
        let unit = match signal.unit {
            Unit::Count => "count",
            Unit::Ratio => "ratio",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        };
        let bad = match bad {
            Direction::High => "high",
            Direction::Low => "low",
            Direction::Both => "both",
        };
        format!(
            "{{name: {}, layer: {}, unit: {unit}, labels: [{}], bad: {bad}, floor: {floor}, query: {}, help: {}}}",
            signal.name,
            signal.layer,
            signal.labels.join(", "),
            quoted(query),
            quoted(signal.help)
        )
    };
    let all = settings.prometheus.signals.iter().map(one).collect::<Vec<_>>();
    format!("[{}]", all.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Settings, String> {
        let config = Config::parse(text, Path::new("c.yaml")).map_err(|e| e.to_string())?;
        config.settings().map_err(|e| e.to_string())
    }

    #[test]
    fn a_query_becomes_a_signal_of_its_layer() {
        let settings = read(
            "prometheus:\n  url: http://p:9090\n  signals:\n  - name: checkout_errors\n    layer: networking\n    \
             unit: ratio\n    query: sum(rate(x[5m])) by (shop)\n    help: Share of checkouts that fail\n    \
             labels: [shop]\n    floor: 0.01\n",
        )
        .unwrap();
        let signal = settings.prometheus.signals[0];
        assert_eq!(signal.name, "networking_checkout_errors_ratio");
        assert_eq!((signal.labels, signal.help), (&["shop"][..], "Share of checkouts that fail."));
        assert_eq!(signal.profile, Profile::Level { bad: Direction::High, floor: 0.01 });
        assert!(settings.opted().contains(&Kind::PrometheusQuery));
        let printed = format!("prometheus:\n  signals: {}\n", show(&settings));
        let again = read(&printed).unwrap();
        assert_eq!(show(&again), show(&settings), "what is printed is read as the same");
    }

    #[test]
    fn each_mistake_names_its_entry_and_field() {
        let entry = |more: &str| {
            read(&format!(
                "prometheus:\n  signals:\n  - name: a\n    query: up\n    help: x\n    {more}\n"
            ))
            .unwrap_err()
        };
        let cases = [
            ("layer: nowhere", "entry 1: layer: \"nowhere\" is no layer"),
            ("layer: compute\n    unit: miles", "entry 1: unit: expected count"),
            ("layer: compute\n    labels: [\"a-b\"]", "\"a-b\" is no label name"),
            ("layer: compute\n    labels: [__name__]", "\"__name__\" is no label name"),
            ("layer: compute\n    labels: [shop, shop]", "\"shop\" stands twice"),
            ("layer: compute\n    floor: wide", "entry 1: floor: expected a number"),
            ("layers: compute", "entry 1: layers: no such field"),
        ];
        for (more, expected) in cases {
            let told = entry(more);
            assert!(told.contains(expected) && told.contains("c.yaml:"), "{told}");
        }
        let counter =
            "prometheus:\n  signals:\n  - {name: a_total, layer: compute, query: up, help: x}\n";
        assert!(read(counter).unwrap_err().contains("\"a_total\" ends as a counter does"));
        let same = "{name: a, layer: compute, query: up, help: x}";
        let twice = format!("prometheus:\n  signals: [{same}, {same}]\n");
        assert!(read(&twice).unwrap_err().contains("the name compute_a stands twice"));
        assert!(read("prometheus:\n  signals: yes\n").is_err());
    }
}
