//! The session cookie and the keys that sign it, built from the settings.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use session_core::cookie::{CookieCodec, CookieConfig, InvalidKey, Key, KeyRing};

use crate::{
    error::AppError,
    settings::{CookieMode, Keys, SettingError, Settings},
};

/// The cookie's name and attributes.
pub(crate) fn config(settings: &Settings) -> CookieConfig {
    match settings.cookie {
        CookieMode::Secure => CookieConfig::default(),
        CookieMode::Development => CookieConfig::development(),
    }
}

/// The keys that sign the cookie.
pub(crate) fn keys(settings: &Settings) -> Result<KeyRing, AppError> {
    let keys = match &settings.keys {
        Keys::Configured(keys) => keys.clone(),
        Keys::Missing => Vec::new(),
    };
    let invalid = |error: InvalidKey| invalid_key(error.to_string());
    Ok(KeyRing::new(keys).map_err(invalid)?)
}

/// Checks the cookie settings before the first worker starts.
pub(crate) fn check(settings: &Settings) -> Result<(), AppError> {
    CookieCodec::signed(config(settings), &keys(settings)?)?;
    Ok(())
}

/// Adds a key if the settings have none, because all workers must sign with the same key. The key
/// is that of the `predecessor`, if it generated one, or a new random key.
///
/// Returns the settings and, if a key was added, its text.
///
/// # Errors
/// There is no key, and other servers can use the same sessions. With a random key each server
/// would refuse the cookies of the others, and its users would be signed out there.
pub(crate) fn with_key(
    settings: Settings,
    predecessor: Option<String>,
) -> Result<(Settings, Option<String>), AppError> {
    if !matches!(settings.keys, Keys::Missing) {
        return Ok((settings, None));
    }
    if settings.store.can_be_shared() {
        let reason = "other servers can use this store, and all servers of a site need the same \
                      key: set DEMO_COOKIE_KEY to the output of `openssl rand -base64 48`";
        return Err(invalid_key(reason.to_owned()).into());
    }
    let key = match predecessor {
        Some(text) => Key::parse(&text).map_err(|error| invalid_key(error.to_string()))?,
        None => Key::random().map_err(|error| invalid_key(error.to_string()))?,
    };
    let text = STANDARD_NO_PAD.encode(key.expose());
    Ok((settings.with_key(key, text.clone()), Some(text)))
}

fn invalid_key(reason: String) -> SettingError {
    SettingError::InvalidSecret { origin: "--cookie-key".to_owned(), reason }
}
