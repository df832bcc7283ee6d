//! Which strings are kept, and how often? Each distinct one once, shared by every record that names it.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::Labelled;

/// A shared, immutable string: 16 bytes in a record, one allocation for all equal texts of one [`Interner`].
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Text(Arc<str>);

/// Equal texts of one interner are one: most comparisons need not look at them.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// As the string hashes, by which a `Text` is looked up too.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Text {
    /// The string itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Text {
    fn default() -> Self {
        thread_local!(static EMPTY: Arc<str> = Arc::from(""));
        Self(EMPTY.with(Arc::clone))
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(s: &str) -> Self {
        if s.is_empty() { Self::default() } else { Self(Arc::from(s)) }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(|s| Self::from(s.as_str()))
    }
}

/// FNV-1a over 64 bits (draft-eastlake-fnv): the same parts have the same hash over restarts and on every replica,
/// unlike with the standard library's hasher. Not against malice.
#[must_use]
pub fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    // A byte that no UTF-8 text holds keeps `ab`, `c` apart from `a`, `bc`.
    let bytes = parts.into_iter().flat_map(|part| part.iter().copied().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Hands out one [`Text`] per distinct string and forgets those that no record uses any more.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Text>,
    sweep_at: usize,
    labels: HashSet<Labelled>,
    sweep_labels_at: usize,
}

impl Interner {
    /// The shared text equal to `s`.
    pub fn text(&mut self, s: &str) -> Text {
        if s.is_empty() {
            return Text::default();
        }
        if let Some(known) = self.texts.get(s) {
            return known.clone();
        }
        // Names of pods come and go for ever, so the set is swept each time it has doubled.
        if self.texts.len() >= self.sweep_at.max(4096) {
            self.texts.retain(|t| Arc::strong_count(&t.0) > 1);
            self.sweep_at = self.texts.len() * 2;
        }
        let new = Text::from(s);
        self.texts.insert(new.clone());
        new
    }

    /// The shared labels equal to these.
    pub fn labels<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labelled {
        let mut own: Vec<(Text, Text)> =
            pairs.map(|(key, value)| (self.text(key), self.text(value))).collect();
        if own.is_empty() {
            return Labelled::default();
        }
        own.sort_unstable();
        let new = Labelled(own.into());
        if let Some(known) = self.labels.get(&new) {
            return known.clone();
        }
        if self.labels.len() >= self.sweep_labels_at.max(1024) {
            self.labels.retain(|l| Arc::strong_count(&l.0) > 1);
            self.sweep_labels_at = self.labels.len() * 2;
        }
        self.labels.insert(new.clone());
        new
    }

    /// How many distinct texts are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether no text is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_one_allocation() {
        let mut interner = Interner::default();
        let (a, b) = (interner.text("web"), interner.text("web"));
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn unused_texts_are_forgotten_when_the_set_doubles() {
        let mut interner = Interner::default();
        let kept = interner.text("kept");
        for i in 0..20_000 {
            interner.text(&format!("pod-{i}"));
        }
        assert!(interner.len() <= 4097, "{} texts held", interner.len());
        assert!(Arc::ptr_eq(&kept.0, &interner.text("kept").0));
    }
}
