//! What is kept of an object whose shape is somebody else's? The few fields that signals read, as they are.

use super::record::{Time, is_credible};
use super::text::Text;

/// A field of an object: JSON with shared texts. Reading what is not there, or what has another type, gives nothing;
/// it never fails.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    Text(Text),
    List(Box<[Value]>),
    /// In the order in which the API sends it.
    Map(Box<[(Text, Value)]>),
}

static NULL: Value = Value::Null;

impl Value {
    /// The value at a path such as `spec.selector`; [`Value::Null`] where there is none. The empty path is the value.
    #[must_use]
    pub fn at(&self, path: &str) -> &Value {
        if path.is_empty() {
            return self;
        }
        path.split('.').filter(|key| !key.is_empty()).fold(self, |value, key| value.get(key))
    }

    /// The value of a key, which may hold dots; [`Value::Null`] where there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> &Value {
        let Value::Map(entries) = self else { return &NULL };
        entries.iter().find(|(k, _)| k == key).map_or(&NULL, |(_, value)| value)
    }

    /// Whether there is anything at a path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        !matches!(self.at(path), Value::Null)
    }

    /// The text at a path; empty where there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> &Text {
        static EMPTY: std::sync::LazyLock<Text> = std::sync::LazyLock::new(Text::default);
        match self.at(path) {
            Value::Text(text) => text,
            _ => &EMPTY,
        }
    }

    /// The number at a path.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<f64> {
        match self.at(path) {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The count at a path; 0 where there is none: the API leaves out counts that are 0.
    #[must_use]
    pub fn count(&self, path: &str) -> u64 {
        self.number(path).map_or(0, |n| n.max(0.0) as u64)
    }

    /// Whether the field at a path is `true`.
    #[must_use]
    pub fn is_true(&self, path: &str) -> bool {
        matches!(self.at(path), Value::Bool(true))
    }

    /// Whether the field at a path is `false`, as opposed to absent.
    #[must_use]
    pub fn is_false(&self, path: &str) -> bool {
        matches!(self.at(path), Value::Bool(false))
    }

    /// The items of the list at a path; none where there is no list.
    #[must_use]
    pub fn items(&self, path: &str) -> &[Value] {
        match self.at(path) {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of the map at a path; none where there is no map.
    #[must_use]
    pub fn entries(&self, path: &str) -> &[(Text, Value)] {
        match self.at(path) {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The texts of the list at a path.
    pub fn texts(&self, path: &str) -> impl Iterator<Item = &Text> {
        self.items(path).iter().filter_map(|item| match item {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// The time at a path, written as RFC 3339.
    #[must_use]
    pub fn time(&self, path: &str) -> Option<Time> {
        self.text(path).parse().ok().filter(is_credible)
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Bool(*b),
            serde_json::Value::Number(n) => n.as_f64().map_or(Self::Null, Self::Number),
            serde_json::Value::String(s) => Self::Text(s.as_str().into()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => {
                Self::Map(map.iter().map(|(k, v)| (k.as_str().into(), Self::from(v))).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_or_of_another_type_is_nothing() {
        let value =
            Value::from(&json!({"spec": {"a": "x", "n": 3, "l": ["p", 1, "q"], "a.b/c": true}}));
        assert_eq!(value.text("spec.a").as_str(), "x");
        assert_eq!(value.text("spec.n").as_str(), "");
        assert_eq!(value.text("spec.a.deeper").as_str(), "");
        assert_eq!((value.count("spec.n"), value.count("spec.none")), (3, 0));
        assert_eq!(value.texts("spec.l").map(Text::as_str).collect::<Vec<_>>(), ["p", "q"]);
        assert!(value.at("spec").get("a.b/c").is_true("") && !value.is_true("spec.a"));
        assert_eq!(value.time("spec.a"), None);
        assert!(value.items("spec").is_empty() && value.entries("spec.l").is_empty());
    }
}
