//! The ids in the cookies of a request.

use crate::SessionId;

/// An id from a client's cookie that verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCookie {
    /// The id.
    pub id: SessionId,
    /// The key that verified it.
    pub signed_by: SignedBy,
}

/// The key that verified a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignedBy {
    /// The first key of the ring, which signs.
    Current,
    /// An older key. The cookie is issued again.
    Older,
    /// No key: the codec is unsigned, and any client can make such a value.
    None,
}

/// The session cookies of one request that verified, in the order of the request, at most
/// [`Self::MAX`].
///
/// A browser sends several if cookies with the same name were set with different paths or domains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifiedCookies {
    /// Separate from the others, so that a request with one cookie allocates nothing.
    pub(crate) first: Option<VerifiedCookie>,
    pub(crate) others: Vec<VerifiedCookie>,
}

impl VerifiedCookies {
    /// The maximum number of cookies of one request that are looked up.
    pub const MAX: usize = 4;

    /// The cookies, in order.
    pub fn iter(&self) -> impl Iterator<Item = &VerifiedCookie> {
        self.first.iter().chain(&self.others)
    }

    pub(super) fn push(&mut self, cookie: VerifiedCookie) {
        if self.iter().any(|held| held.id == cookie.id) {
            return;
        }
        if self.first.is_none() {
            self.first = Some(cookie);
        } else if self.others.len() < Self::MAX - 1 {
            self.others.push(cookie);
        }
    }
}

impl From<VerifiedCookie> for VerifiedCookies {
    fn from(cookie: VerifiedCookie) -> Self {
        Self { first: Some(cookie), others: Vec::new() }
    }
}
