//! Where a document lies.

use std::{collections::HashMap, mem};

use mongodb::bson::oid::ObjectId;
use parking_lot::Mutex;
use session_core::StoreKey;

/// The most keys of a generation: two of them are some 8 MB.
const MOST: usize = 32_768;

/// Where a document lies, and whether an answer may hold all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// A document's `_id` is its own for ever.
    pub(crate) id: ObjectId,
    /// Whether it was so small, when last seen, that to leave a part out of an answer would take longer than to send it.
    pub(crate) small: bool,
}

/// Where the documents of keys lie that were used of late.
///
/// A server finds a document by `_id` in two thirds of the time that any other index takes. This remembers no session, only what never
/// becomes wrong: a key is a document's until it moves or ends, and both are for good. Whoever finds another key at an address, or nothing, looks
/// for the key itself.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<Generations>);

/// What is used moves to the young; when those are too many, they become the old, and what was old is forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<StoreKey, Address>,
    old: HashMap<StoreKey, Address>,
}

impl Addresses {
    pub(crate) fn of(&self, key: &StoreKey) -> Option<Address> {
        let mut generations = self.0.lock();
        if let Some(address) = generations.young.get(key) {
            return Some(*address);
        }
        let (key, address) = generations.old.remove_entry(key)?;
        generations.put(key, address);
        Some(address)
    }

    pub(crate) fn put(&self, key: &StoreKey, address: Address) {
        let mut generations = self.0.lock();
        if generations.young.get(key) != Some(&address) {
            generations.put(key.clone(), address);
        }
    }

    pub(crate) fn forget(&self, key: &StoreKey) {
        let mut generations = self.0.lock();
        generations.young.remove(key);
        generations.old.remove(key);
    }
}

impl Generations {
    fn put(&mut self, key: StoreKey, address: Address) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> StoreKey {
        StoreKey::from_text(format!("key{number}"))
    }

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let addresses = Addresses::default();
        let address = Address { id: ObjectId::new(), small: true };
        addresses.put(&key(0), address);
        for number in 1..4 * MOST {
            addresses.put(&key(number), Address { id: ObjectId::new(), small: false });
            assert_eq!(addresses.of(&key(0)), Some(address));
        }
        assert_eq!(addresses.of(&key(1)), None);
        let generations = addresses.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * MOST);
    }

    #[test]
    fn what_is_forgotten_is_gone_from_both_generations() {
        let addresses = Addresses::default();
        for number in 0..=MOST {
            addresses.put(&key(number), Address { id: ObjectId::new(), small: true });
        }
        for number in [0, MOST] {
            addresses.forget(&key(number));
            assert_eq!(addresses.of(&key(number)), None);
        }
    }
}
