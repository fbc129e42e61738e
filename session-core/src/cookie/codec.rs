//! Reads and writes the session cookie.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    config::{CookieConfig, SameSite, Transport},
    error::CookieError,
    header,
    key::{Key, KeyRing},
    verified::{SignedBy, VerifiedCookie, VerifiedCookies},
};
use crate::{
    SessionId,
    observe::{RefusalCause, RefusedCookies},
};

/// The longest `Max-Age` that browsers accept: 400 days (RFC 6265bis, 5.5).
pub const LONGEST_MAX_AGE: Duration = Duration::from_secs(400 * 86_400);

/// Reads and writes the session cookie.
///
/// A signed value is `2.`, 45 characters of id, `.`, 43 characters of HMAC-SHA256 in base64url: 91
/// characters. The MAC covers the format, the cookie's name and the id, so that a value does not
/// verify under another name. An unsigned value is `0.` and the id. A value of the other kind, of
/// another format, of any other length or with any other byte counts as absent. It causes neither
/// an error nor a store call.
#[derive(Clone)]
pub struct CookieCodec {
    config: CookieConfig,
    signing: Signing,
}

/// How the value of a cookie is protected.
#[derive(Clone)]
enum Signing {
    /// One HMAC state for each key, in the order of the ring. Purpose and name are already hashed.
    Signed(Vec<Hmac<Sha256>>),
    Unsigned,
}

const SIGNED: &[u8] = b"2.";
const UNSIGNED: &[u8] = b"0.";
const MAC_BYTES: usize = 32;
const MAC_LENGTH: usize = 43;
const PURPOSE: &[u8] = b"session cookie 2\0";

impl CookieCodec {
    /// A codec for signed cookies.
    ///
    /// # Errors
    /// [`CookieError`] if browsers would refuse a cookie with this name and these attributes.
    pub fn signed(config: CookieConfig, ring: &KeyRing) -> Result<Self, CookieError> {
        config.check()?;
        let keyed = |key: &Key| {
            // HMAC accepts keys of every length (RFC 2104), so this error cannot occur.
            let mac = Hmac::<Sha256>::new_from_slice(key.expose()).map_err(|_| CookieError::Key)?;
            Ok(mac.chain_update(PURPOSE).chain_update(&config.name).chain_update(b"\0"))
        };
        let macs = ring.keys().iter().map(keyed).collect::<Result<_, _>>()?;
        Ok(Self { config, signing: Signing::Signed(macs) })
    }

    /// A codec for unsigned cookies. An id cannot be guessed. However, each made-up cookie costs a
    /// store call, and the rules for superseded ids do not apply: a cookie whose secret is not the
    /// current one counts as absent.
    ///
    /// # Errors
    /// [`CookieError`] if browsers would refuse a cookie with this name and these attributes.
    pub fn unsigned(config: CookieConfig) -> Result<Self, CookieError> {
        config.check()?;
        Ok(Self { config, signing: Signing::Unsigned })
    }

    /// The cookie's name and attributes.
    #[must_use]
    pub fn config(&self) -> &CookieConfig {
        &self.config
    }

    /// The ids in these `Cookie` headers that verify.
    ///
    /// All other cookies count as absent: those with another name, with a malformed value or with a
    /// wrong signature. They do not displace a cookie that verifies, in whatever order they come.
    #[must_use]
    pub fn read<'h>(&self, headers: impl IntoIterator<Item = &'h [u8]>) -> VerifiedCookies {
        let name = self.config.name.as_bytes();
        let (mut refused, mut verified) = (RefusedCookies::default(), VerifiedCookies::default());
        for value in headers.into_iter().flat_map(|header| header::values(header, name)) {
            match self.verify(value) {
                Ok(cookie) => verified.push(cookie),
                Err(cause) => refused.count(cause),
            }
        }
        verified
    }

    /// Counts the values in these `Cookie` headers as refused. For an https-only cookie that came
    /// over plain http.
    pub fn count_as_refused<'h>(&self, headers: impl IntoIterator<Item = &'h [u8]>) {
        let name = self.config.name.as_bytes();
        let mut refused = RefusedCookies::default();
        for _ in headers.into_iter().flat_map(|header| header::values(header, name)) {
            refused.count(RefusalCause::PlainHttp);
        }
    }

    /// The `Set-Cookie` value that gives `id` to the browser: until the browser closes, or for
    /// `max_age` (whole seconds, at most 400 days).
    #[must_use]
    pub fn issue(&self, id: &SessionId, max_age: Option<Duration>) -> String {
        let text = id.to_text();
        let mut cookie = Vec::with_capacity(192);
        match &self.signing {
            Signing::Signed(macs) => {
                cookie.extend_from_slice(SIGNED);
                cookie.extend_from_slice(&text);
                cookie.push(b'.');
                // A ring has at least one key, so there is a first state.
                if let Some(mac) = macs.first() {
                    let mut encoded = [0; MAC_LENGTH];
                    let _ = URL_SAFE_NO_PAD.encode_slice(
                        mac.clone().chain_update(text).finalize().into_bytes(),
                        &mut encoded,
                    );
                    cookie.extend_from_slice(&encoded);
                }
            }
            Signing::Unsigned => {
                cookie.extend_from_slice(UNSIGNED);
                cookie.extend_from_slice(&text);
            }
        }
        self.set_cookie(
            &String::from_utf8_lossy(&cookie),
            max_age.map(|age| age.min(LONGEST_MAX_AGE).as_secs()),
        )
    }

    /// The `Set-Cookie` value that removes the cookie: the same name, path, domain and flags, with
    /// an empty value.
    #[must_use]
    pub fn remove(&self) -> String {
        self.set_cookie("", Some(0))
    }

    fn verify(&self, value: &[u8]) -> Result<VerifiedCookie, RefusalCause> {
        match &self.signing {
            Signing::Unsigned => {
                let text = value.strip_prefix(UNSIGNED).ok_or(RefusalCause::Kind)?;
                let id = SessionId::parse(text).ok_or(RefusalCause::Shape)?;
                Ok(VerifiedCookie { id, signed_by: SignedBy::None })
            }
            Signing::Signed(macs) => {
                // The shape is checked before any hashing, so that a long value costs nothing.
                let rest = value.strip_prefix(SIGNED).ok_or(RefusalCause::Kind)?;
                if rest.len() != SessionId::TEXT_LENGTH + 1 + MAC_LENGTH {
                    return Err(RefusalCause::Shape);
                }
                let (text, mac) = rest.split_at(SessionId::TEXT_LENGTH);
                let mut tag = [0; MAC_BYTES];
                let mac = mac.strip_prefix(b".").ok_or(RefusalCause::Shape)?;
                let written =
                    URL_SAFE_NO_PAD.decode_slice(mac, &mut tag).map_err(|_| RefusalCause::Shape)?;
                let id = SessionId::parse(text).ok_or(RefusalCause::Shape)?;
                // `verify_slice` compares in constant time. Which key matches is not secret.
                let fits = |mac: &Hmac<Sha256>| {
                    mac.clone().chain_update(text).verify_slice(&tag[..written]).is_ok()
                };
                let at = macs.iter().position(fits).ok_or(RefusalCause::Signature)?;
                Ok(VerifiedCookie {
                    id,
                    signed_by: if at == 0 { SignedBy::Current } else { SignedBy::Older },
                })
            }
        }
    }

    /// Writes the attributes. Both [`Self::issue`] and [`Self::remove`] use it, so that a removal
    /// always matches the cookie.
    fn set_cookie(&self, value: &str, max_age: Option<u64>) -> String {
        let CookieConfig { name, path, domain, same_site, transport } = &self.config;
        let mut cookie = String::with_capacity(224);
        cookie.extend([name, "=", value, "; Path=", path]);
        if let Some(domain) = domain {
            cookie.extend(["; Domain=", domain]);
        }
        if let Some(seconds) = max_age {
            cookie.extend(["; Max-Age=", &seconds.to_string()]);
        }
        cookie.push_str("; HttpOnly");
        if *transport == Transport::Https {
            cookie.push_str("; Secure");
        }
        cookie.push_str(match same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        cookie
    }
}

impl fmt::Debug for CookieCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match &self.signing {
            Signing::Signed(macs) => macs.len(),
            Signing::Unsigned => 0,
        };
        f.debug_struct("CookieCodec").field("config", &self.config).field("keys", &keys).finish()
    }
}
