//! Requests of a session layer without an HTTP server.

use std::{sync::Arc, time::Instant};

use session_core::{
    CookieChange, CookieDelivery, RecordedChanges, Session, SessionContext, SessionDriver,
    SessionError, SessionId,
    cookie::{CookieCodec, CookieConfig, Key, SignedBy, VerifiedCookie, VerifiedCookies},
};

use crate::KEY;

/// The cookies of a request with this id, or of one without a cookie.
#[must_use]
pub fn verified_cookies(id: Option<&SessionId>) -> VerifiedCookies {
    let verified = |id: &SessionId| VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current };
    id.map_or_else(VerifiedCookies::default, |id| verified(id).into())
}

/// What a codec reads from a cookie with this id and a wrong signature.
///
/// # Panics
/// If the key of the demos is not valid.
#[must_use]
pub fn forged_cookies(id: &SessionId) -> VerifiedCookies {
    let codec = CookieCodec::signed(
        CookieConfig::development(),
        &Key::parse(KEY).expect("a strong key").into(),
    )
    .expect("the cookie settings are valid");
    let forged =
        [b"id=2.".as_slice(), &id.to_text(), b".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
            .concat();
    codec.read([forged.as_slice()])
}

/// Runs a request with these cookies, and commits what its handler changes. Returns the id that the
/// response sets.
///
/// # Panics
/// If the handler fails, or if the store does not commit.
pub async fn run_request(
    context: Arc<SessionContext>,
    cookies: VerifiedCookies,
    handler: impl AsyncFnOnce(&Session) -> Result<(), SessionError>,
) -> Option<SessionId> {
    let driver = SessionDriver::open(context, cookies, CookieDelivery::Possible, Instant::now());
    handler(driver.session()).await.expect("the handler succeeds");
    driver.finish(RecordedChanges::Commit).await.expect("the store commits");
    match driver.cookie() {
        CookieChange::Issue { id, .. } => Some(id),
        CookieChange::Keep | CookieChange::Remove => None,
    }
}
