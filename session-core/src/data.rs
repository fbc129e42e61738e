//! The values of one session.

use serde::{Deserialize, Serialize, Serializer};

use crate::{Json, Name};

/// The values of one session: a flat map from [`Name`] to [`Json`], in the order of the names'
/// bytes.
///
/// A sorted vector, because a session holds a handful of values: it is one allocation, and a store
/// that holds a million sessions pays for no tree nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<(Name, Json)>")]
pub struct Data(Vec<(Name, Json)>);

impl Data {
    /// No values.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.position(name).ok().map(|at| &self.0[at].1)
    }

    /// Puts `value` under `name` and returns what was there.
    pub fn insert(&mut self, name: Name, value: Json) -> Option<Json> {
        match self.position(name.as_str()) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                // The first value gets room for exactly one: most sessions hold one or two, and
                // spare room costs memory per session.
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Takes the value under `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        self.position(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Takes every value out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Names and values, in the order of the names' bytes.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Json)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size that the cap on a record's data counts: the bytes of all names and all JSON texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.as_str().len()).sum()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.as_str().cmp(name))
    }
}

/// As a sequence of pairs, without a copy of them.
impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl From<Vec<(Name, Json)>> for Data {
    /// Of two values under one name the later counts.
    fn from(mut values: Vec<(Name, Json)>) -> Self {
        if !values.is_sorted_by(|(a, _), (b, _)| a < b) {
            // Sorted, not inserted one by one: what comes from another process may be long and in
            // the worst order. The sort is stable, so of equal names the later stands behind; from
            // the back it is the first, which is the one that stays.
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
    fn the_later_of_two_values_under_one_name_counts() {
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
