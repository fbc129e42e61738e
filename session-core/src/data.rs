//! The values of one session.

use serde::{Deserialize, Serialize, Serializer};

use crate::{Json, Name};

/// The values of one session: a flat map from [`Name`] to [`Json`], in the byte order of the names.
///
/// It is a sorted vector, because a session has few values: one allocation, and no tree nodes in a
/// store with a million sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Vec<(Name, Json)>")]
pub struct Data(Vec<(Name, Json)>);

impl Data {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.position(name).ok().map(|at| &self.0[at].1)
    }

    /// Sets the value under `name` and returns the previous one.
    pub fn insert(&mut self, name: Name, value: Json) -> Option<Json> {
        match self.position(name.as_str()) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                // Reserve space for exactly one value: most sessions hold one or two, and unused
                // capacity costs memory in each session.
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Removes the value under `name` and returns it.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        self.position(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Removes every value.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The names and values, in the byte order of the names.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Json)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size that counts against the limit on data: the bytes of all names and all JSON texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.as_str().len()).sum()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.as_str().cmp(name))
    }
}

/// Serializes the pairs as a sequence, without a copy.
impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl From<Vec<(Name, Json)>> for Data {
    /// If a name occurs twice, the later value is kept.
    fn from(mut values: Vec<(Name, Json)>) -> Self {
        if !values.is_sorted_by(|(a, _), (b, _)| a < b) {
            // Sort once instead of inserting one by one: input from another process may be long and
            // in the worst order. After the reversal, the stable sort puts the later of two equal
            // names first, and `dedup_by` keeps the first.
            values.reverse();
            values.sort_by(|(a, _), (b, _)| a.cmp(b));
            values.dedup_by(|(later, _), (kept, _)| later == kept);
        }
        Self(values)
    }
}

impl From<Data> for Vec<(Name, Json)> {
    fn from(data: Data) -> Self {
        data.0
    }
}

impl FromIterator<(Name, Json)> for Data {
    fn from_iter<I: IntoIterator<Item = (Name, Json)>>(values: I) -> Self {
        values.into_iter().collect::<Vec<_>>().into()
    }
}

impl IntoIterator for Data {
    type Item = (Name, Json);
    type IntoIter = std::vec::IntoIter<(Name, Json)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: i64) -> (Name, Json) {
        (Name::new(name).unwrap(), Json::integer(value))
    }

    #[test]
    fn later_of_two_values_under_one_name_is_kept() {
        let data = Data::from(vec![pair("b", 1), pair("a", 2), pair("b", 3)]);
        assert_eq!(data.len(), 2);
        assert_eq!(data.get("b").and_then(Json::as_integer), Some(3));
        assert_eq!(data.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn bytes_count_names_and_texts() {
        let mut data = Data::from(vec![pair("ab", 10), pair("c", 7)]);
        assert_eq!(data.bytes(), 2 + 2 + 1 + 1);
        assert!(data.remove("ab").is_some());
        assert!(data.remove("ab").is_none());
        assert_eq!(data.bytes(), 2);
    }
}
