//! What one session asks for in place of the policy's timeouts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Limits;

/// How long the browser keeps the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Persistence {
    /// Until the browser is closed: no `Max-Age`, no `Expires`.
    BrowserSession,
    /// As long as the session lives, at most 400 days (RFC 6265bis): `Max-Age`, renewed whenever the session's life is.
    Persistent,
}

/// What one session asks for in place of the policy's timeouts; `None` means the policy's own.
///
/// Stores keep it beside the data and give it back unchanged: it decides nothing there. It is how "remember me" outlives the request
/// that asked for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// How long the session lives without being used.
    pub idle_timeout: Option<Duration>,
    /// How long the session lives in all, however much it is used.
    pub absolute_timeout: Option<Duration>,
    /// How long the browser keeps the cookie.
    pub persistence: Option<Persistence>,
}

impl Lifetime {
    /// Whether the session asks for nothing of its own, so that a store may leave the field out.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// This, with everything that `other` asks for.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        Self {
            idle_timeout: other.idle_timeout.or(self.idle_timeout),
            absolute_timeout: other.absolute_timeout.or(self.absolute_timeout),
            persistence: other.persistence.or(self.persistence),
        }
    }

    /// This, with every timeout in whole milliseconds and at most ten years long, as every store can keep it.
    #[must_use]
    pub fn bounded(&self) -> Self {
        let whole = |timeout: Duration| Duration::from_millis(millis(timeout)).min(Limits::LONGEST_TTL);
        Self { idle_timeout: self.idle_timeout.map(whole), absolute_timeout: self.absolute_timeout.map(whole), ..*self }
    }

    /// A text form for backends that keep one text field: whole milliseconds, at most 48 ASCII characters, empty for the default.
    ///
    /// ```
    /// # use session_core::{Lifetime, Persistence};
    /// # use std::time::Duration;
    /// let lifetime = Lifetime { idle_timeout: Some(Duration::from_secs(60)), persistence: Some(Persistence::Persistent), ..Lifetime::default() };
    /// assert_eq!(lifetime.to_text(), "i60000 p");
    /// assert_eq!(Lifetime::from_text("i60000 p"), Some(lifetime));
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let idle = self.idle_timeout.map(|idle| format!("i{}", millis(idle)));
        let absolute = self.absolute_timeout.map(|absolute| format!("a{}", millis(absolute)));
        let persistence = self.persistence.map(|persistence| match persistence {
            Persistence::BrowserSession => "b".to_owned(),
            Persistence::Persistent => "p".to_owned(),
        });
        [idle, absolute, persistence].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Reads the text form. `None` if a word is not one that [`Self::to_text`] writes: the record is corrupt.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lifetime = Self::default();
        for word in text.split_ascii_whitespace() {
            match word.split_at_checked(1)? {
                ("i", millis) => lifetime.idle_timeout = Some(Duration::from_millis(millis.parse().ok()?)),
                ("a", millis) => lifetime.absolute_timeout = Some(Duration::from_millis(millis.parse().ok()?)),
                ("b", "") => lifetime.persistence = Some(Persistence::BrowserSession),
                ("p", "") => lifetime.persistence = Some(Persistence::Persistent),
                _ => return None,
            }
        }
        Some(lifetime)
    }
}

fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back() {
        for idle_timeout in [None, Some(Duration::from_millis(1))] {
            for absolute_timeout in [None, Some(Duration::from_secs(86_400))] {
                for persistence in [None, Some(Persistence::BrowserSession), Some(Persistence::Persistent)] {
                    let lifetime = Lifetime { idle_timeout, absolute_timeout, persistence };
                    assert_eq!(Lifetime::from_text(&lifetime.to_text()), Some(lifetime));
                }
            }
        }
        assert_eq!(Lifetime::default().to_text(), "");
        let endless = Lifetime { idle_timeout: Some(Duration::MAX), absolute_timeout: Some(Duration::MAX), persistence: None };
        assert!(endless.to_text().len() <= 48 && Lifetime::from_text(&endless.to_text()).is_some());
        assert_eq!(Lifetime::from_text(&endless.bounded().to_text()), Some(endless.bounded()));
    }

    #[test]
    fn c39_other_texts_are_corrupt() {
        for text in ["x", "i", "i-1", "p1", "i1a2", "ü"] {
            assert_eq!(Lifetime::from_text(text), None, "{text}");
        }
    }
}
