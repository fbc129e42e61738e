//! The cookie and its keys, as the settings say.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use session_core::cookie::{CookieCodec, CookieConfig, Key, KeyRing, WeakKey};

use crate::{
    problem::Problem,
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
pub(crate) fn keys(settings: &Settings) -> Result<KeyRing, Problem> {
    let keys = match &settings.keys {
        Keys::Configured(keys) => keys.clone(),
        Keys::Missing => Vec::new(),
    };
    let unusable = |why: WeakKey| SettingError::Secret {
        origin: "--cookie-key".to_owned(),
        why: why.to_string(),
    };
    Ok(KeyRing::new(keys).map_err(unusable)?)
}

/// Checks that the cookie can be made, before a worker is started.
pub(crate) fn check(settings: &Settings) -> Result<(), Problem> {
    CookieCodec::signed(config(settings), &keys(settings)?)?;
    Ok(())
}

/// The same settings with a key, if there is none: all workers must sign with the same one. It is
/// the one that the predecessor `left`, which had to draw it, or it is drawn now. In both cases its
/// text comes back as well.
pub(crate) fn with_key(
    settings: Settings,
    left: Option<String>,
) -> Result<(Settings, Option<String>), Problem> {
    if !matches!(settings.keys, Keys::Missing) {
        return Ok((settings, None));
    }
    let unusable = |why: String| SettingError::Secret { origin: "--cookie-key".to_owned(), why };
    let key = match left {
        Some(text) => Key::parse(&text).map_err(|why| unusable(why.to_string()))?,
        None => Key::random().map_err(|error| unusable(error.to_string()))?,
    };
    let text = STANDARD_NO_PAD.encode(key.expose());
    Ok((settings.with_key(key, text.clone()), Some(text)))
}
