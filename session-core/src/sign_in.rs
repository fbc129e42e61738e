//! The options of a sign-in.

use std::time::Duration;

use crate::{Attributes, InvalidShortText, Persistence, Principal, ShortText};

/// A sign-in with its options, for [`Session::sign_in`](crate::Session::sign_in). A plain
/// [`Principal`] is a sign-in without options.
///
/// # Examples
/// ```
/// # use session_core::{Principal, SignIn};
/// # use std::time::Duration;
/// let sign_in = SignIn::new(Principal::new("bob")?)
///     .remember(Duration::from_secs(30 * 86_400))
///     .max_sessions(5)
///     .acr("mfa")?
///     .label("Firefox on Linux")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    pub(crate) principal: Principal,
    pub(crate) attributes: Attributes,
    pub(crate) max_sessions: Option<usize>,
}

impl SignIn {
    /// A sign-in without options.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        Self { principal, attributes: Attributes::default(), max_sessions: None }
    }

    /// "Remember me": the browser keeps the cookie after it closes, and the session lives for
    /// `time`, whether it is used or not.
    #[must_use]
    pub fn remember(mut self, time: Duration) -> Self {
        self.attributes.persistence = Some(Persistence::Persistent);
        self.attributes.idle_timeout = Some(time);
        self.attributes.absolute_timeout = Some(time);
        self
    }

    /// The maximum number of sessions of this user, at least 1. The sign-in ends the sessions with
    /// the oldest authentication. For a moment there may be more. If the store fails to end them,
    /// the sign-in still succeeds and the failure is logged.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = Some(sessions.max(1));
        self
    }

    /// The strength of the authentication, such as `mfa` (the `acr` claim of `OpenID` Connect).
    /// [`Session::acr`](crate::Session::acr) returns it.
    ///
    /// # Errors
    /// [`InvalidShortText`] if `acr` is empty, longer than 40 bytes or has a control character.
    pub fn acr(mut self, acr: impl AsRef<str>) -> Result<Self, InvalidShortText> {
        self.attributes.acr = Some(ShortText::new(acr)?);
        Ok(self)
    }

    /// A name that the user recognizes in a list of devices, such as `Firefox on Linux`.
    /// [`Device::label`](crate::Device::label) shows it.
    ///
    /// # Errors
    /// [`InvalidShortText`] if `label` is empty, longer than 40 bytes or has a control character.
    pub fn label(mut self, label: impl AsRef<str>) -> Result<Self, InvalidShortText> {
        self.attributes.label = Some(ShortText::new(label)?);
        Ok(self)
    }

    /// Sets the [label](Self::label) to the beginning of any text: without control characters, and at
    /// most 40 bytes. If nothing is left, there is no label.
    #[must_use]
    pub fn label_from(mut self, text: &str) -> Self {
        self.attributes.label = ShortText::beginning_of(text);
        self
    }
}

impl From<Principal> for SignIn {
    fn from(principal: Principal) -> Self {
        Self::new(principal)
    }
}
