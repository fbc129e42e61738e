//! Reads, extends and masks the URL of a store.

use std::fmt::Display;

/// Masks the passwords in a URL. Any other text stays as it is.
pub(crate) fn mask_passwords(text: &str) -> String {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let masked = address.split_once("://").and_then(|(scheme, rest)| {
        // A password that is not percent-encoded can contain a slash. Then the @ follows the first
        // slash.
        let path = |at: usize| rest[at..].find('/').map_or(rest.len(), |slash| at + slash);
        let end = if rest[..path(0)].contains('@') { path(0) } else { path(rest.rfind('@')?) };
        let (authority, path) = rest.split_at(end);
        let (credentials, host) = authority.rsplit_once('@')?;
        let (user, _) = credentials.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}{path}"))
    });
    let masked = masked.unwrap_or_else(|| address.to_owned());
    if query.is_empty() {
        return masked;
    }
    let masked_query = query.split('&').map(|setting| match setting.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}=***"),
        _ => setting.to_owned(),
    });
    format!("{masked}?{}", masked_query.collect::<Vec<_>>().join("&"))
}

/// The part of an invalid value that an error may contain. A URL in the wrong setting can contain a
/// password in any form, so the error has at most its scheme.
pub(super) fn redact(text: &str) -> String {
    if !text.contains("://") && !text.contains(['@', '?']) {
        return text.to_owned();
    }
    text.split_once(':').map_or_else(|| "***".to_owned(), |(scheme, _)| format!("{scheme}:***"))
}

/// Whether a setting of a driver contains a password or a token. Drivers ignore the case of names.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "passwd", "secret", "token"].iter().any(|word| key.contains(word))
        || key == "authmechanismproperties"
}

/// Whether the URL has the setting `key`.
pub(super) fn has_setting(url: &str, key: &str) -> bool {
    let (_, query) = url.split_once('?').unwrap_or_default();
    query.split('&').any(|setting| setting.split('=').next() == Some(key))
}

/// Adds a setting to the URL, unless the URL has that setting already.
pub(super) fn add_setting(url: &str, key: &str, value: impl Display) -> String {
    if has_setting(url, key) {
        return url.to_owned();
    }
    format!("{url}{}{key}={value}", if url.contains('?') { '&' } else { '?' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c45_passwords_are_masked_in_every_part_of_a_url() {
        for (url, masked) in [
            ("redis://app:hunter2@host:6379/0", "redis://app:***@host:6379/0"),
            ("redis://:hun@ter2@host", "redis://:***@host"),
            ("redis://:hun/ter2@host/0", "redis://:***@host/0"),
            ("redis://host/0?auth_token=hunter2", "redis://host/0?auth_token=***"),
            (
                "redis-sentinel://a,b/main?sentinel_password=hunter2&db=1",
                "redis-sentinel://a,b/main?sentinel_password=***&db=1",
            ),
            (
                "mongodb://h/?tlsCertificateKeyFilePassword=hunter2&tls=true",
                "mongodb://h/?tlsCertificateKeyFilePassword=***&tls=true",
            ),
            (
                "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
                "mongodb://h/?authMechanismProperties=***",
            ),
            ("ipc:/run/demo.sock?deadline_ms=5", "ipc:/run/demo.sock?deadline_ms=5"),
            ("redis://host/0", "redis://host/0"),
        ] {
            assert_eq!(mask_passwords(url), masked);
        }
    }

    #[test]
    fn s27_error_quotes_only_the_scheme_of_a_url() {
        for (text, quoted) in [
            ("redis://:hun/ter?2@host", "redis:***"),
            ("redis://host", "redis:***"),
            ("app:hunter2@host", "app:***"),
            ("hunter2@host", "***"),
            ("unix:/redis.sock?password=hunter2", "unix:***"),
            ("floppy", "floppy"),
            ("127.0.0.1:99999", "127.0.0.1:99999"),
        ] {
            assert_eq!(redact(text), quoted);
        }
    }

    #[test]
    fn a_setting_in_the_url_is_kept() {
        assert_eq!(
            add_setting("redis://host/0", "deadline_ms", 700),
            "redis://host/0?deadline_ms=700"
        );
        assert_eq!(
            add_setting("ipc:/s?max_in_flight=1", "deadline_ms", 700),
            "ipc:/s?max_in_flight=1&deadline_ms=700"
        );
        assert_eq!(add_setting("ipc:/s?deadline_ms=1", "deadline_ms", 700), "ipc:/s?deadline_ms=1");
        assert_eq!(
            add_setting("redis://host?prefix=deadline_ms=", "deadline_ms", 700),
            "redis://host?prefix=deadline_ms=&deadline_ms=700"
        );
    }
}
