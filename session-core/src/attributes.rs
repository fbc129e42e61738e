//! The settings and facts that a session keeps beside its data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Limits, ShortText};

/// How long the browser keeps the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Persistence {
    /// Until the browser closes: the cookie has no `Max-Age` and no `Expires`.
    BrowserSession,
    /// As long as the session lives, at most 400 days (RFC 6265bis). The cookie has a `Max-Age`,
    /// which is renewed whenever the ttl of the session is.
    Persistent,
}

/// The settings and facts that a session keeps beside its data: its own timeouts, and facts about
/// its sign-in. `None` means the value of the policy, or no value.
///
/// Stores keep attributes as one text ([`Self::to_text`]) and return them unchanged. They do not
/// interpret them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// How long the session lives without being used.
    pub idle_timeout: Option<Duration>,
    /// The maximum lifetime of the session, counted from the last proof of identity, or from the
    /// creation of an anonymous session.
    pub absolute_timeout: Option<Duration>,
    /// How long the browser keeps the cookie.
    pub persistence: Option<Persistence>,
    /// The strength of the authentication, such as `mfa` (the `acr` claim of `OpenID` Connect).
    pub acr: Option<ShortText>,
    /// A name that users recognize in a list of their devices, such as `Firefox on Linux`.
    pub label: Option<ShortText>,
    /// The secrets that rotations replaced shortly before the current secret was drawn.
    pub replaced: ReplacedSecrets,
}

impl Attributes {
    /// The maximum length of the text form in bytes.
    pub const MAX_TEXT_BYTES: usize = 46
        + ReplacedSecrets::MAX * ReplacedSecrets::MAX_WORD_BYTES
        + 2 * (1 + ShortText::MAX_BYTES);

    /// Whether every attribute is absent, so that a store may omit the field.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// These attributes, overwritten by those that are set in `other`.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        Self {
            idle_timeout: other.idle_timeout.or(self.idle_timeout),
            absolute_timeout: other.absolute_timeout.or(self.absolute_timeout),
            persistence: other.persistence.or(self.persistence),
            acr: other.acr.clone().or_else(|| self.acr.clone()),
            label: other.label.clone().or_else(|| self.label.clone()),
            replaced: self.replaced.clone(),
        }
    }

    /// These attributes as every store can keep them: times in whole milliseconds, timeouts of at
    /// most ten years.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let whole =
            |timeout: Duration| Duration::from_millis(millis(timeout)).min(Limits::LONGEST_TTL);
        for (_, age) in &mut self.replaced.0 {
            *age = Duration::from_millis(millis(*age));
        }
        self.idle_timeout = self.idle_timeout.map(whole);
        self.absolute_timeout = self.absolute_timeout.map(whole);
        self
    }

    /// The text form: one word for each timeout in whole milliseconds and for each replaced secret,
    /// then `acr` and `label` on one line each. Empty for the default.
    ///
    /// ```
    /// # use session_core::{Attributes, Persistence, ShortText};
    /// # use std::time::Duration;
    /// let attributes = Attributes {
    ///     idle_timeout: Some(Duration::from_secs(60)),
    ///     persistence: Some(Persistence::Persistent),
    ///     label: Some(ShortText::new("Firefox on Linux")?),
    ///     ..Attributes::default()
    /// };
    /// assert_eq!(attributes.to_text(), "i60000 p\n\nFirefox on Linux");
    /// assert_eq!(Attributes::from_text("i60000 p\n\nFirefox on Linux"), Some(attributes));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let idle = self.idle_timeout.map(|idle| format!("i{}", millis(idle)));
        let absolute = self.absolute_timeout.map(|absolute| format!("a{}", millis(absolute)));
        let persistence = self.persistence.map(|persistence| match persistence {
            Persistence::BrowserSession => "b".to_owned(),
            Persistence::Persistent => "p".to_owned(),
        });
        let replaced = self
            .replaced
            .0
            .iter()
            .map(|(generation, age)| format!("r{generation}@{}", millis(*age)));
        let mut text = [idle, absolute, persistence]
            .into_iter()
            .flatten()
            .chain(replaced)
            .collect::<Vec<_>>()
            .join(" ");
        if self.acr.is_some() || self.label.is_some() {
            for line in [&self.acr, &self.label] {
                text.push('\n');
                text.push_str(line.as_ref().map_or("", ShortText::as_str));
            }
        }
        text
    }

    /// Reads the text form. `None` if it has a word or line that [`Self::to_text`] never writes:
    /// the record is corrupt.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut attributes = Self::default();
        let mut lines = text.split('\n');
        for word in lines.next()?.split_ascii_whitespace() {
            match word.split_at_checked(1)? {
                ("i", millis) => {
                    attributes.idle_timeout = Some(Duration::from_millis(millis.parse().ok()?));
                }
                ("a", millis) => {
                    attributes.absolute_timeout = Some(Duration::from_millis(millis.parse().ok()?));
                }
                ("b", "") => attributes.persistence = Some(Persistence::BrowserSession),
                ("p", "") => attributes.persistence = Some(Persistence::Persistent),
                ("r", replaced) if attributes.replaced.0.len() < ReplacedSecrets::MAX => {
                    let (generation, age) = replaced.split_once('@')?;
                    attributes
                        .replaced
                        .0
                        .push((generation.parse().ok()?, Duration::from_millis(age.parse().ok()?)));
                }
                _ => return None,
            }
        }
        for field in [&mut attributes.acr, &mut attributes.label] {
            match lines.next() {
                None | Some("") => {}
                Some(line) => *field = Some(ShortText::new(line).ok()?),
            }
        }
        lines.next().is_none().then_some(attributes)
    }
}

/// The generations of the secrets that were replaced shortly before the current one was drawn, each
/// with the age of the session at that time.
///
/// The store keeps only the time of the last rotation. This list adds the times of the rotations
/// before it, so that a request with an older secret is judged by the time when that secret was
/// replaced. The list is empty unless two rotations happen within
/// [`Policy::rotation_settles`](crate::Policy::rotation_settles).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, Duration)>")]
pub struct ReplacedSecrets(Vec<(u32, Duration)>);

impl TryFrom<Vec<(u32, Duration)>> for ReplacedSecrets {
    type Error = &'static str;

    fn try_from(replaced: Vec<(u32, Duration)>) -> Result<Self, Self::Error> {
        if replaced.len() > Self::MAX {
            Err("the list of replaced secrets has more than three entries")
        } else {
            Ok(Self(replaced))
        }
    }
}

impl ReplacedSecrets {
    /// How many generations are kept. The oldest are dropped first.
    const MAX: usize = 3;
    const MAX_WORD_BYTES: usize = " r4294967295@18446744073709551615".len();

    /// The list to store with the next rotation of a session of this age. `last` holds the
    /// generation that the last rotation replaced and the age of the session at that time. Entries
    /// older than `settles` are dropped.
    pub(crate) fn before_next(
        &self,
        last: Option<(u32, Duration)>,
        age: Duration,
        settles: Duration,
    ) -> Self {
        let last = last.map(|(generation, at)| (generation, Duration::from_millis(millis(at))));
        let mut recent: Vec<_> = self
            .0
            .iter()
            .copied()
            .chain(last)
            .filter(|(_, at)| age.saturating_sub(*at) < settles)
            .collect();
        let surplus = recent.len().saturating_sub(Self::MAX);
        recent.drain(..surplus);
        Self(recent)
    }

    /// The bytes of the list on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// The age of the session when this generation was replaced.
    pub(crate) fn age_at(&self, generation: u32) -> Option<Duration> {
        self.0.iter().find(|(replaced, _)| *replaced == generation).map(|(_, age)| *age)
    }
}

fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> ShortText {
        ShortText::new(text).unwrap()
    }

    #[test]
    fn every_combination_of_attributes_round_trips() {
        for idle_timeout in [None, Some(Duration::from_millis(1))] {
            for absolute_timeout in [None, Some(Duration::from_secs(86_400))] {
                for persistence in
                    [None, Some(Persistence::BrowserSession), Some(Persistence::Persistent)]
                {
                    for acr in [None, Some(short("mfa"))] {
                        for label in [None, Some(short("Firefox on Linux ü"))] {
                            for replaced in [
                                Vec::new(),
                                vec![(0, Duration::ZERO), (u32::MAX, Duration::from_millis(7))],
                            ] {
                                let (acr, label, replaced) =
                                    (acr.clone(), label.clone(), ReplacedSecrets(replaced));
                                let attributes = Attributes {
                                    idle_timeout,
                                    absolute_timeout,
                                    persistence,
                                    acr,
                                    label,
                                    replaced,
                                };
                                assert_eq!(
                                    Attributes::from_text(&attributes.to_text()),
                                    Some(attributes)
                                );
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(Attributes::default().to_text(), "");
    }

    #[test]
    fn longest_attributes_fit_the_documented_length() {
        let longest = Some(short(&"x".repeat(ShortText::MAX_BYTES)));
        let endless = Attributes {
            idle_timeout: Some(Duration::MAX),
            absolute_timeout: Some(Duration::MAX),
            persistence: Some(Persistence::Persistent),
            acr: longest.clone(),
            label: longest,
            replaced: ReplacedSecrets(vec![(u32::MAX, Duration::MAX); ReplacedSecrets::MAX]),
        };
        assert!(endless.to_text().len() <= Attributes::MAX_TEXT_BYTES);
        assert_eq!(
            Attributes::from_text(&endless.clone().bounded().to_text()),
            Some(endless.bounded())
        );
    }

    #[test]
    fn c39_other_texts_are_corrupt() {
        for text in [
            "x",
            "i",
            "i-1",
            "p1",
            "i1a2",
            "ü",
            "r1",
            "r1@",
            "r@1",
            "r1@1 r2@1 r3@1 r4@1",
            "\na\nb\nc",
            "\na\tb",
            "p\n\n\u{7f}",
        ] {
            assert_eq!(Attributes::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn replaced_secrets_are_kept_while_they_are_recent() {
        let second = Duration::from_secs;
        let kept = ReplacedSecrets::default().before_next(None, second(1), second(10));
        assert_eq!(kept, ReplacedSecrets::default());
        let kept = kept.before_next(Some((0, second(1))), second(3), second(10)).before_next(
            Some((1, second(3))),
            second(5),
            second(10),
        );
        assert_eq!(
            (kept.age_at(0), kept.age_at(1), kept.age_at(2)),
            (Some(second(1)), Some(second(3)), None)
        );
        let kept = kept.before_next(Some((2, second(5))), second(11), second(10));
        assert_eq!(
            (kept.age_at(0), kept.age_at(1), kept.age_at(2)),
            (None, Some(second(3)), Some(second(5)))
        );
        let kept = kept.before_next(Some((3, second(11))), second(11), second(10)).before_next(
            Some((4, second(11))),
            second(11),
            second(10),
        );
        assert_eq!(
            (kept.age_at(1), kept.age_at(2), kept.age_at(4)),
            (None, Some(second(5)), Some(second(11)))
        );
    }

    #[test]
    fn more_than_three_replaced_secrets_are_rejected() {
        let replaced = |count| {
            serde_json::from_value::<ReplacedSecrets>(serde_json::json!(vec![
                (1, Duration::ZERO);
                count
            ]))
        };
        assert!(replaced(3).is_ok() && replaced(4).is_err());
    }
}
