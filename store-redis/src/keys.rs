//! Where things lie in the keyspace.

use std::fmt::Write;

use session_core::{Principal, StoreKey};

/// The longest prefix.
pub(crate) const MAX_PREFIX_BYTES: usize = 64;
/// What stands before a lineage tag that would break the braces of a hash tag, in hexadecimal. Longer than any plain tag.
const ESCAPED: &str = "escaped:";

/// The names of a store's keys, all under one prefix.
///
/// A session lies under `<prefix>{<lineage tag>}<rest of its key>`: what stands in the braces is its hash tag, so that a session and its
/// successors share a slot of a Cluster. The part after the prefix is its *place*, which the index keeps as well. A user's index lies under
/// `<prefix>user:<principal>`.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of a session's hash.
    pub(crate) fn session(&self, key: &StoreKey) -> String {
        self.at(&place(key))
    }

    /// The name of the hash at this place.
    pub(crate) fn at(&self, place: &str) -> String {
        [&self.prefix, place].concat()
    }

    /// What every index's name begins with; the principal follows.
    pub(crate) fn index_prefix(&self) -> String {
        [&self.prefix, "user:"].concat()
    }

    /// The name of a user's index.
    pub(crate) fn index(&self, principal: &Principal) -> String {
        [&self.prefix, "user:", principal.as_str()].concat()
    }

    /// The pattern that fits the names of all sessions and nothing else of this prefix.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 8);
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push_str("{*");
        pattern
    }

    /// The place that a name of this prefix means. `None` if it is not a session's.
    pub(crate) fn place_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&*self.prefix).filter(|place| place.starts_with('{'))
    }
}

/// The place of a session: its key with its lineage tag in braces.
pub(crate) fn place(key: &StoreKey) -> String {
    let (lineage, rest) = key.as_str().split_at(key.lineage().len());
    if lineage.contains(['{', '}']) {
        let mut place = ["{", ESCAPED].concat();
        for byte in lineage.bytes() {
            // Writing to a String cannot fail.
            let _ = write!(place, "{byte:02x}");
        }
        return place + "}" + rest;
    }
    ["{", lineage, "}", rest].concat()
}

/// The key of the session at a place. `None` if no session can be there.
pub(crate) fn key_at(place: &str) -> Option<StoreKey> {
    let (tag, rest) = place.strip_prefix('{')?.split_once('}')?;
    let text = match tag.strip_prefix(ESCAPED) {
        Some(digits) => unescaped(digits)? + rest,
        None => [tag, rest].concat(),
    };
    let key = StoreKey::from_text(text);
    // A name that somebody else wrote, or cut elsewhere than at the lineage tag, is not the place of its key.
    (key.is_storable() && self::place(&key) == place).then_some(key)
}

fn unescaped(digits: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> =
        digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lineage_tag_is_the_hash_tag() {
        let key = StoreKey::from_text("AbCdefgh");
        assert_eq!(Keys::new("session:").session(&key), "session:{AbCd}efgh");
        assert_eq!(key_at("{AbCd}efgh"), Some(key));
    }

    #[test]
    fn c05_every_key_comes_back_and_none_collide() {
        let texts = ["a", "ab", "abcd", "abcde", "äöüßx", "}", "{}", "{a}b", "a}bcdef", "7d", "escaped:7d", "esca", "{}{}{}", "\"' *?[]"];
        let mut places = std::collections::HashSet::new();
        for text in texts {
            let key = StoreKey::from_text(text);
            assert_eq!(key_at(&place(&key)), Some(key.clone()), "{text}");
            assert!(places.insert(place(&key)), "{text}");
            let tag = place(&key).split('}').next().unwrap_or_default().len();
            assert!(tag > 1, "{text}: an empty hash tag does not count as one");
        }
    }

    #[test]
    fn names_that_are_no_sessions_have_no_place() {
        let keys = Keys::new("s*:");
        for name in ["s*:user:bob", "other:{AbCd}efgh", "s*"] {
            assert_eq!(keys.place_of(name), None, "{name}");
        }
        for place in ["{AbC}defgh", "{AbCde}fgh", "{AbCd", "{}", "{escaped:zz}", "{escaped:41}"] {
            assert_eq!(key_at(place), None, "{place}");
        }
    }

    #[test]
    fn c38_a_prefix_is_no_pattern() {
        assert_eq!(Keys::new("s*[a]?:").pattern(), "s\\*\\[a\\]\\?:{*");
    }
}
