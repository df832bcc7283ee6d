//! What of an Event is read? The same, from `events.k8s.io/v1` and from the core API, whose fields do not clash.

use serde::Deserialize;

use super::meta::WireMeta;
use super::{Wire, message, text};
use crate::model::kind::Kind;
use crate::model::record::{Event, Object, ObjectRef, Time, Uid};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireEvent {
    metadata: WireMeta,
    #[serde(alias = "involvedObject")]
    regarding: Option<Reference>,
    reason: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(alias = "message")]
    note: Option<String>,
    #[serde(alias = "reportingComponent")]
    reporting_controller: Option<String>,
    #[serde(alias = "source")]
    deprecated_source: Option<Source>,
    series: Option<Series>,
    #[serde(alias = "count")]
    deprecated_count: Option<i64>,
    #[serde(deserialize_with = "super::time")]
    event_time: Option<Time>,
    #[serde(alias = "firstTimestamp")]
    #[serde(deserialize_with = "super::time")]
    deprecated_first_timestamp: Option<Time>,
    #[serde(alias = "lastTimestamp")]
    #[serde(deserialize_with = "super::time")]
    deprecated_last_timestamp: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    component: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Series {
    count: Option<i64>,
    #[serde(deserialize_with = "super::time")]
    last_observed_time: Option<Time>,
}

impl Wire for WireEvent {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let meta = self.metadata.record(texts);
        let series = self.series.as_ref();
        let count = series.and_then(|s| s.count).or(self.deprecated_count).unwrap_or(1);
        let last = series
            .and_then(|s| s.last_observed_time)
            .or(self.deprecated_last_timestamp)
            .or(self.event_time)
            .or(self.deprecated_first_timestamp)
            .unwrap_or(meta.created);
        let first = self.deprecated_first_timestamp.or(self.event_time).unwrap_or(meta.created);
        let reporter = self.reporting_controller.filter(|r| !r.is_empty());
        let actor = reporter.or_else(|| self.deprecated_source.and_then(|s| s.component));
        Object::Event(Box::new(Event {
            regarding: self.regarding.map(|r| regarding(&r, texts)).unwrap_or_default(),
            reason: text(texts, self.reason.as_deref()),
            warning: self.kind.as_deref() == Some("Warning"),
            actor: text(texts, actor.as_deref()),
            count: u32::try_from(count.max(1)).unwrap_or(u32::MAX),
            first,
            last,
            note: message(texts, self.note.as_deref()),
            starved_resource: text(texts, self.metadata.annotation("starved_resource")),
            meta,
        }))
    }
}

fn regarding(wire: &Reference, texts: &mut Interner) -> ObjectRef {
    let kind = wire.kind.as_deref().unwrap_or_default();
    // Some reporters name the namespace of the event for objects that have none.
    let scoped = Kind::by_name(kind).is_none_or(Kind::namespaced);
    ObjectRef {
        kind: texts.text(kind),
        namespace: text(texts, wire.namespace.as_deref().filter(|_| scoped)),
        name: text(texts, wire.name.as_deref()),
        uid: Uid::parse(wire.uid.as_deref().unwrap_or_default()),
        field_path: text(texts, wire.field_path.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wire::decode;

    fn read(json: &str) -> Event {
        match decode(Kind::Event, json, &mut Interner::default()) {
            Ok(Object::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_apis_tell_the_same() {
        let new = read(
            r#"{"metadata":{"uid":"u"},"regarding":{"kind":"Node","namespace":"default","name":"n"},"reason":"Rebooted",
            "type":"Warning","note":"m","reportingController":"","deprecatedSource":{"component":"kubelet"},
            "deprecatedCount":3,"deprecatedFirstTimestamp":"2026-01-01T00:00:00Z",
            "deprecatedLastTimestamp":"2026-01-01T00:05:00Z","eventTime":null,"series":null}"#,
        );
        let core = read(
            r#"{"metadata":{"uid":"u"},"involvedObject":{"kind":"Node","namespace":"default","name":"n"},"reason":"Rebooted",
            "type":"Warning","message":"m","source":{"component":"kubelet"},"reportingComponent":"",
            "count":3,"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":"2026-01-01T00:05:00Z"}"#,
        );
        assert_eq!(new, core);
        assert_eq!((&*new.actor, new.count, &*new.regarding.namespace), ("kubelet", 3, ""));
    }

    #[test]
    fn the_series_counts_before_the_old_fields() {
        let event = read(
            r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"},"eventTime":"2026-01-01T00:00:00.123456Z",
            "series":{"count":7,"lastObservedTime":"2026-01-01T01:00:00.000000Z"},"deprecatedCount":1,
            "reportingController":"default-scheduler"}"#,
        );
        assert_eq!(event.count, 7);
        assert_eq!(event.last.as_second() - event.first.as_second(), 3600);
    }
}
