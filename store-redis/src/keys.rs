//! The names of keys at the server: prefixes, sessions, indexes.

use session_core::{Principal, StoreKey};

/// The greatest length of a prefix.
pub(crate) const MAX_PREFIX_BYTES: usize = 64;

/// The names of a store's keys, all under one prefix.
///
/// The name of a session is `<prefix>s}<key>`, and that of a user's index is
/// `<prefix>u}<principal>`. A prefix contains no brace. Therefore the first brace of a name ends
/// the prefix, and one prefix may begin with another one.
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

    /// The start of the names of all sessions.
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

    /// The pattern for `SCAN` that matches only the names of this prefix's sessions.
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

    /// The key of the session with this name. `None` if the name does not belong to a session of
    /// this prefix.
    pub(crate) fn key(&self, name: &str) -> Option<StoreKey> {
        let text = name.strip_prefix(&*self.prefix)?.strip_prefix("s}")?;
        Some(StoreKey::from_text(text)).filter(StoreKey::is_storable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_name_gives_back_its_key() {
        let keys = Keys::new("session:");
        assert_eq!(keys.session(&StoreKey::from_text("AbCd")), "session:s}AbCd");
        for text in ["a", "äöüßx", "}", "{}", "{a}b", "s}a", "u}bob", "\"' *?[]"] {
            let key = StoreKey::from_text(text);
            assert_eq!(keys.key(&keys.session(&key)), Some(key), "{text}");
        }
    }

    #[test]
    fn c38_other_names_have_no_key() {
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
    fn c38_pattern_escapes_the_prefix() {
        assert_eq!(Keys::new("s*[a]?:").pattern(), "s\\*\\[a\\]\\?:s}*");
    }
}
