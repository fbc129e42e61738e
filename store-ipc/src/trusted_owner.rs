//! The users that a client accepts as the owner's user.

use std::fmt;

/// The users whose process a client accepts as the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrustedOwner {
    /// The client's own user, with this uid, and root. Root can act as any user anyway.
    UserOrRoot(u32),
    /// The user that the settings name.
    Uid(u32),
}

impl TrustedOwner {
    pub(crate) fn includes(self, uid: u32) -> bool {
        match self {
            Self::UserOrRoot(user) => uid == user || uid == 0,
            Self::Uid(named) => uid == named,
        }
    }
}

impl fmt::Display for TrustedOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserOrRoot(0) => f.write_str("uid 0 (root)"),
            Self::UserOrRoot(user) => write!(f, "uid {user} (this user) or 0 (root)"),
            Self::Uid(named) => write!(f, "uid {named} (owner_uid)"),
        }
    }
}
