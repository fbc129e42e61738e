//! The store's URL.

use std::time::Duration;

/// A URL with its passwords masked; any other text as it is.
pub(crate) fn without_password(text: &str) -> String {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let masked = address.split_once("://").and_then(|(scheme, rest)| {
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, host) = authority.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}{path}"))
    });
    let masked = masked.unwrap_or_else(|| address.to_owned());
    if query.is_empty() {
        return masked;
    }
    let shown = query.split('&').map(|setting| match setting.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}=***"),
        _ => setting.to_owned(),
    });
    format!("{masked}?{}", shown.collect::<Vec<_>>().join("&"))
}

/// Whether a setting holds a password, or what goes for one: the drivers have names of their own, and do not mind capitals.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("password") || key == "authmechanismproperties"
}

/// The URL with this deadline for every call, unless it has one of its own, which is the more particular one. A store in memory has none.
pub(crate) fn with_deadline(url: &str, deadline: Duration) -> String {
    if url == "memory:" || url.contains("deadline_ms=") {
        return url.to_owned();
    }
    format!("{url}{}deadline_ms={}", if url.contains('?') { '&' } else { '?' }, deadline.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c45_passwords_are_masked_wherever_they_stand() {
        for (url, shown) in [
            ("redis://app:hunter2@host:6379/0", "redis://app:***@host:6379/0"),
            ("redis://:hun@ter2@host", "redis://:***@host"),
            ("redis-sentinel://a,b/main?sentinel_password=hunter2&db=1", "redis-sentinel://a,b/main?sentinel_password=***&db=1"),
            ("mongodb://h/?tlsCertificateKeyFilePassword=hunter2&tls=true", "mongodb://h/?tlsCertificateKeyFilePassword=***&tls=true"),
            ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2", "mongodb://h/?authMechanismProperties=***"),
            ("ipc:/run/demo.sock?deadline_ms=5", "ipc:/run/demo.sock?deadline_ms=5"),
            ("redis://host/0", "redis://host/0"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn a_deadline_in_the_url_counts() {
        let deadline = Duration::from_millis(700);
        assert_eq!(with_deadline("redis://host/0", deadline), "redis://host/0?deadline_ms=700");
        assert_eq!(with_deadline("ipc:/s?max_in_flight=1", deadline), "ipc:/s?max_in_flight=1&deadline_ms=700");
        assert_eq!(with_deadline("ipc:/s?deadline_ms=1", deadline), "ipc:/s?deadline_ms=1");
        assert_eq!(with_deadline("memory:", deadline), "memory:");
    }
}
