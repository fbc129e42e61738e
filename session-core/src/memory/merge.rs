//! The effect of a commit's changes on the data of a record.

use std::collections::BTreeMap;

use crate::{Change, Changes, Commit, Data, Json, Name, Rejection};

/// The result of a commit's changes, computed before any of them is applied. So a rejected commit
/// has changed nothing, and the data is not copied.
#[derive(Debug)]
pub(super) struct PlannedChanges {
    /// The result of each `Add`.
    pub(super) added: BTreeMap<Name, i64>,
    /// [`Data::bytes`] after the commit.
    pub(super) bytes: usize,
    /// [`Data::len`] after the commit.
    pub(super) values: usize,
}

impl PlannedChanges {
    pub(super) fn plan(data: &Data, commit: &Commit) -> Result<Self, Rejection> {
        let (bytes, values) = if commit.clear { (0, 0) } else { (data.bytes(), data.len()) };
        let mut merge = Self { added: BTreeMap::new(), bytes, values };
        for (name, change) in &commit.changes {
            let held = if commit.clear { None } else { data.get(name.as_str()) };
            if let Some(value) = held {
                merge.bytes -= name.as_str().len() + value.as_str().len();
                merge.values -= 1;
            }
            let text_bytes = match change {
                Change::Set(value) => value.as_str().len(),
                Change::Remove => continue,
                Change::Add(by) => {
                    let sum = sum(name, held, *by)?;
                    merge.added.insert(name.clone(), sum);
                    Json::integer(sum).as_str().len()
                }
            };
            merge.bytes += name.as_str().len() + text_bytes;
            merge.values += 1;
        }
        Ok(merge)
    }

    /// Applies the changes. `data`, `clear` and `changes` must be those of [`Self::plan`].
    pub(super) fn apply(&self, data: &mut Data, clear: bool, changes: Changes) {
        if clear {
            data.clear();
        }
        for (name, change) in changes {
            match change {
                Change::Set(value) => drop(data.insert(name, value)),
                Change::Remove => drop(data.remove(name.as_str())),
                Change::Add(_) => {
                    if let Some(sum) = self.added.get(&name) {
                        data.insert(name, Json::integer(*sum));
                    }
                }
            }
        }
    }
}

fn sum(name: &Name, held: Option<&Json>, by: i64) -> Result<i64, Rejection> {
    let before = match held {
        None => 0,
        Some(value) => {
            value.as_integer().ok_or_else(|| Rejection::NotAnInteger { name: name.clone() })?
        }
    };
    before.checked_add(by).ok_or_else(|| Rejection::Overflow { name: name.clone() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SecretHash;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            any::<i16>().prop_map(|n| Change::Set(Json::integer(n.into()))),
            Just(Change::Remove),
            any::<i32>().prop_map(|n| Change::Add(n.into()))
        ]
    }

    proptest! {
        #[test]
        fn planned_size_equals_the_size_after_the_commit(
            held in prop::collection::btree_map("[a-e]", any::<i16>(), 0..5),
            changes in prop::collection::btree_map("[a-e]", any_change(), 0..5),
            clear: bool,
        ) {
            let value = |(text, n): (String, i16)| (name(&text), Json::integer(n.into()));
            let mut data: Data = held.into_iter().map(value).collect();
            let changes: Changes =
                changes.into_iter().map(|(text, change)| (name(&text), change)).collect();
            let secret = SecretHash::from_bytes([0; SecretHash::BYTES]);
            let commit = Commit { clear, changes, ..Commit::new(secret) };
            let merge = PlannedChanges::plan(&data, &commit).unwrap();
            merge.apply(&mut data, clear, commit.changes);
            prop_assert_eq!((merge.bytes, merge.values), (data.bytes(), data.len()));
        }
    }
}
