//! The cookie as configured.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use session_core::cookie::{CookieCodec, CookieConfig, Key, KeyRing, WeakKey};

use crate::{
    problem::Problem,
    settings::{CookieMode, Keys, SettingError, Settings},
};

/// Reads and writes the session cookie as `settings` say.
pub(crate) fn codec(settings: &Settings) -> Result<CookieCodec, Problem> {
    let config = match settings.cookie {
        CookieMode::Secure => CookieConfig::default(),
        CookieMode::Development => CookieConfig::development(),
    };
    let keys = match &settings.keys {
        Keys::Configured(keys) => keys.clone(),
        Keys::Missing => Vec::new(),
    };
    let unusable = |why: WeakKey| SettingError::Secret { origin: "--cookie-key".to_owned(), why: why.to_string() };
    Ok(CookieCodec::signed(config, &KeyRing::new(keys).map_err(unusable)?)?)
}

/// The same settings with a key, drawn if there is none: all workers must sign with the same one.
pub(crate) fn with_key(settings: Settings) -> Result<Settings, Problem> {
    if !matches!(settings.keys, Keys::Missing) {
        return Ok(settings);
    }
    let drawn = Key::random().map_err(|error| SettingError::Secret { origin: "--cookie-key".to_owned(), why: error.to_string() })?;
    let text = STANDARD_NO_PAD.encode(drawn.expose());
    Ok(settings.with_key(drawn, text))
}
