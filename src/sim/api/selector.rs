//! Which objects does a selector select? By labels and by the fields that each kind offers.

use serde_json::Value;

use super::labels::{self, Requirement};
use super::query::Query;
use super::resource;
use super::status::Failure;
use crate::sim::fields::Fields;
use crate::sim::kind::{EVENTS, Served};

/// What an object has to have. Without terms it selects everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl Selector {
    pub(super) fn parse(served: &Served, query: &Query) -> Result<Self, Failure> {
        let labels = labels::parse(query.text("labelSelector")).map_err(Failure::bad_request)?;
        let fields = terms(served, query.text("fieldSelector")).map_err(Failure::bad_request)?;
        Ok(Self { labels, fields })
    }

    /// Whether it selects everything.
    pub(super) const fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        self.fields.iter().all(|t| t.holds(object)) && self.labels.iter().all(|r| r.holds(object))
    }
}

impl Term {
    fn holds(&self, object: &Value) -> bool {
        let path = self.field.replace('.', "/");
        let equal = match self.field.as_str() {
            // An event's source is its reporter where the old field is empty.
            "source" => match object.text("source/component") {
                "" => object.text("reportingComponent") == self.value,
                component => component == self.value,
            },
            "spec.unschedulable" | "spec.hostNetwork" => {
                object.truth(&path).to_string() == self.value
            }
            "status.replicas" | "status.successful" => {
                let count = match self.field.as_str() {
                    "status.successful" => object.int("status/succeeded"),
                    _ => object.int(&path),
                };
                count.to_string() == self.value
            }
            _ => object.text(&path) == self.value,
        };
        equal == self.equal
    }
}

/// The fields of each kind beyond its name, as the conversion functions in `k8s.io/kubernetes/pkg/apis` have them.
const FIELDS: [(&str, &[&str]); 8] = [
    (
        "Pod",
        &[
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("Node", &["spec.unschedulable"]),
    ("Namespace", &["status.phase"]),
    ("Secret", &["metadata.namespace", "type"]),
    ("Service", &["metadata.namespace", "spec.clusterIP", "spec.type"]),
    ("Job", &["metadata.namespace", "status.successful"]),
    ("CertificateSigningRequest", &["spec.signerName"]),
    (
        "Event",
        &[
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
];

fn terms(served: &Served, text: &str) -> Result<Vec<Term>, String> {
    let mut parts = split(text);
    parts.sort_unstable();
    let parts = parts.into_iter().filter(|p| !p.is_empty());
    parts
        .map(|part| {
            let Some((field, value, equal)) = operator(part) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let value = unescape(value)?;
            Ok(Term { field: offered(served, field)?, value, equal })
        })
        .collect()
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn operator(part: &str) -> Option<(&str, &str, bool)> {
    let at = part.char_indices().find(|(at, c)| *c == '=' || part[*at..].starts_with("!="))?.0;
    let (field, rest) = part.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, value, false));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, value, true))
}

fn unescape(value: &str) -> Result<String, String> {
    let (mut out, mut chars) = (String::new(), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(format!("invalid field selector: invalid escape sequence: \\{c}"));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".into()),
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {c}"));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// The field as objects are stored, if the kind offers it under this name.
fn offered(served: &Served, field: &str) -> Result<String, String> {
    let own = FIELDS.iter().find(|(kind, _)| *kind == served.name);
    if served.name == "Event" && served.group == EVENTS {
        // The newer group has its own words for the older one's fields.
        let stored = match field.split_once('.') {
            Some(("regarding", rest)) => format!("involvedObject.{rest}"),
            Some(("involvedObject", _)) => String::new(),
            _ if field == "reportingController" => "reportingComponent".to_owned(),
            _ if matches!(field, "reportingComponent" | "source") => String::new(),
            _ => field.to_owned(),
        };
        return if stored == "metadata.name" || own.is_some_and(|(_, f)| f.contains(&&*stored)) {
            Ok(stored)
        } else {
            Err(format!("field label not supported: {field}"))
        };
    }
    match own {
        _ if field == "metadata.name" => Ok(field.to_owned()),
        Some((_, fields)) if fields.contains(&field) => Ok(field.to_owned()),
        Some(("Pod", _)) if field == "spec.host" => Ok("spec.nodeName".to_owned()),
        Some(("Job", _)) => Err(format!("field label {field:?} not supported for Job")),
        Some(_) => Err(format!("field label not supported: {field}")),
        None if field == "metadata.namespace" => Ok(field.to_owned()),
        None if resource::custom(served) => Err(format!("field label not supported: {field}")),
        None => Err(format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(kind: &str, text: &str, object: &Value) -> Result<bool, String> {
        let served = resource::of_kind(kind).expect("a kind");
        let fields = terms(served, text)?;
        Ok(Selector { labels: Vec::new(), fields }.selects(object))
    }

    #[test]
    fn pods_are_selected_by_node_and_phase() {
        let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n"},
            "status": {"phase": "Running"}});
        let cases = [
            ("spec.nodeName=n", Ok(true)),
            ("spec.nodeName==n,status.phase!=Running", Ok(false)),
            ("metadata.name=p,metadata.namespace=a", Ok(true)),
            ("spec.host=m", Ok(false)),
            ("spec.hostNetwork=false", Ok(true)),
            ("status.nominatedNodeName=", Ok(true)),
            ("", Ok(true)),
        ];
        for (text, expected) in cases {
            assert_eq!(selects("Pod", text, &pod), expected, "{text}");
        }
        for wrong in ["spec.x=n", "spec.nodeName", "reason=x", "metadata.name=a=b", "a=\\b"] {
            assert!(selects("Pod", wrong, &pod).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_are_selected_by_what_they_are_about() {
        let event = json!({"metadata": {"name": "e"}, "reason": "Pulled", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p"}, "reportingComponent": "kubelet"});
        let text = "involvedObject.kind=Pod,reason!=Created,type=Normal,source=kubelet";
        assert_eq!(selects("Event", text, &event), Ok(true));
        assert_eq!(selects("Event", "reason!=Pulled", &event), Ok(false));
        let newer = resource::find(EVENTS, "v1", "events").expect("served");
        assert_eq!(offered(newer, "regarding.kind").as_deref(), Ok("involvedObject.kind"));
        assert!(offered(newer, "involvedObject.kind").is_err());
        assert!(offered(newer, "regarding.color").is_err());
    }

    #[test]
    fn values_may_hold_escaped_commas() {
        let node = json!({"metadata": {"name": "a,b"}});
        assert_eq!(selects("Node", r"metadata.name=a\,b", &node), Ok(true));
    }
}
