//! What labels does an object carry? One allocation for all objects that carry the same.

use std::sync::Arc;

use crate::model::text::Text;

/// Labels, or chosen annotations, of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labelled(pub(in crate::model) Arc<[(Text, Text)]>);

impl Labelled {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Text> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The value of a label; empty where it has none.
    #[must_use]
    pub fn value(&self, key: &str) -> &str {
        self.get(key).map_or("", Text::as_str)
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labelled {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Text, Text)> =
            pairs.into_iter().map(|(k, v)| (k.as_ref().into(), v.as_ref().into())).collect();
        pairs.sort_unstable();
        Self(pairs.into())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Labelled {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().collect()
    }
}
