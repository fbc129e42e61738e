//! The names of keys at the server.

use session_core::{Principal, StoreKey};

/// The longest prefix.
pub(crate) const MAX_PREFIX_BYTES: usize = 64;

/// The names of a store's keys, all under one prefix.
///
/// A session is under `<prefix>s}<key>`, a user's index under `<prefix>u}<principal>`. No prefix
/// has a brace, so the first brace ends the prefix of every name, also where one prefix begins with
/// another one.
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

    /// What the names of all sessions begin with.
    pub(crate) fn session_prefix(&self) -> String {
        [&self.prefix, "s}"].concat()
    }

    /// The name of a session's hash.
    pub(crate) fn session(&self, key: &StoreKey) -> String {
        [&self.prefix, "s}", key.as_str()].concat()
    }

    /// The name of a user's index.
    pub(crate) fn index(&self, principal: &Principal) -> String {
        [&self.prefix, "u}", principal.as_str()].concat()
    }

    /// The pattern that matches the names of this prefix's sessions, and no other name.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 8);
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push_str("s}*");
        pattern
    }

    /// The key of the session of this name. `None` if it is not the name of a session of this
    /// prefix.
    pub(crate) fn key(&self, name: &str) -> Option<StoreKey> {
        let text = name.strip_prefix(&*self.prefix)?.strip_prefix("s}")?;
        Some(StoreKey::from_text(text)).filter(StoreKey::is_storable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_every_key_comes_back_from_its_name() {
        let keys = Keys::new("session:");
        assert_eq!(keys.session(&StoreKey::from_text("AbCd")), "session:s}AbCd");
        for text in ["a", "äöüßx", "}", "{}", "{a}b", "s}a", "u}bob", "\"' *?[]"] {
            let key = StoreKey::from_text(text);
            assert_eq!(keys.key(&keys.session(&key)), Some(key), "{text}");
        }
    }

    #[test]
    fn c38_names_of_other_prefixes_and_of_no_session_have_no_key() {
        let keys = Keys::new("s*:");
        for name in [
            "s*:u}bob",
            "other:s}AbCd",
            "s*:x:s}AbCd",
            "s*:s:s}AbCd",
            "s*",
            "s*:s}",
            "s*:s}a\nb",
            "s*:{AbCd}efgh",
            "s*:user:bob",
        ] {
            assert_eq!(keys.key(name), None, "{name}");
        }
    }

    #[test]
    fn c38_a_prefix_is_not_a_pattern() {
        assert_eq!(Keys::new("s*[a]?:").pattern(), "s\\*\\[a\\]\\?:s}*");
    }
}
