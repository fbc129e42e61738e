//! The session cookie: reads a [`SessionId`](crate::SessionId) from the bytes of `Cookie` headers,
//! and writes `Set-Cookie`.

mod codec;
mod config;
mod error;
mod header;
mod key;
mod verified;

pub use codec::{CookieCodec, LONGEST_MAX_AGE};
pub use config::{CookieConfig, SameSite, Transport};
pub use error::CookieError;
pub use key::{InvalidKey, Key, KeyRing};
pub use verified::{SignedBy, VerifiedCookie, VerifiedCookies};

#[cfg(test)]
mod tests;
