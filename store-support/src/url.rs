//! The parts of a URL, and texts of a URL that an error may show.
//!
//! An error must not show a part of a password. Therefore these functions say which text has the
//! form of a scheme or of a setting's name.

use percent_encoding::percent_decode_str;

/// The advice for a port that is not a number. The text may be a password that lacks the `@` and
/// the host after it.
pub const PORT_ADVICE: &str =
    "use a number from 1 to 65535; user and password end with an @, and the host follows it";

/// The names and values of a query. The values are percent-encoded. A name without `=` has an empty
/// value.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes the percent-encoding. `None` if the result is not UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// Splits the part of a URL between `//` and the path into the login and the hosts.
///
/// The last `@` ends the login, because a password may contain an unencoded `@`.
#[must_use]
pub fn split_login(authority: &str) -> (&str, &str) {
    authority.rsplit_once('@').unwrap_or(("", authority))
}

/// Whether path or query contain the end of a login.
///
/// An `@` after the host ends a password that contains an unencoded `/` or `?`. All text before it
/// may be secret.
#[must_use]
pub fn contains_login_end(path: &str, query: &str) -> bool {
    path.contains('@') || query.contains('@')
}

/// Whether a host has a valid port or no port.
#[must_use]
pub fn has_valid_port(host: &str) -> bool {
    // Colons inside brackets belong to an IPv6 address.
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The text before `separator`, if it has the form of a scheme, and otherwise an empty text.
///
/// A scheme consists of letters, digits, `+`, `-` and `.` (RFC 3986).
#[must_use]
pub fn printable_scheme<'u>(url: &'u str, separator: &str) -> &'u str {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = url.split_once(separator).map(|(scheme, _)| scheme);
    scheme.filter(|scheme| scheme.bytes().all(is_allowed)).unwrap_or_default()
}

/// Whether a text has the form of a setting's name: 1 to 40 letters, or bytes of `punctuation`.
#[must_use]
pub fn is_setting_name(key: &str, punctuation: &str) -> bool {
    (1..=40).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || punctuation.as_bytes().contains(&byte))
}

/// The key if it has the form of a setting's name, and otherwise `…`.
#[must_use]
pub fn printable_key(key: &str, punctuation: &str) -> String {
    let shown = if is_setting_name(key, punctuation) { key } else { "…" };
    shown.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_split_into_pairs() {
        let pairs: Vec<_> = query_pairs("a=1&&b&c=d=e").collect();
        assert_eq!(pairs, [("a", "1"), ("b", ""), ("c", "d=e")]);
        assert_eq!(query_pairs("").count(), 0);
        assert_eq!(percent_decoded("p%40ss").as_deref(), Some("p@ss"));
        assert_eq!(percent_decoded("%ff"), None);
    }

    #[test]
    fn last_at_sign_ends_the_login() {
        assert_eq!(split_login("app:se@cret@host"), ("app:se@cret", "host"));
        assert_eq!(split_login("host"), ("", "host"));
        assert!(contains_login_end("cret@host", "") && contains_login_end("", "cret@host"));
        assert!(!contains_login_end("db", "a=1"));
    }

    #[test]
    fn port_is_a_number_above_zero() {
        for host in ["host", "host:1", "[::1]", "[::1]:65535"] {
            assert!(has_valid_port(host), "{host}");
        }
        for host in ["host:", "host:0", "host:65536", "host:s3cret", "[::1]:x"] {
            assert!(!has_valid_port(host), "{host}");
        }
    }

    #[test]
    fn c45_only_schemes_and_names_are_printable() {
        assert_eq!(printable_scheme("redis+tls://host", "://"), "redis+tls");
        assert_eq!(printable_scheme("app:s3cret@host://", "://"), "");
        assert_eq!(printable_scheme("host", "://"), "");
        assert_eq!(printable_key("deadline_ms", "_"), "deadline_ms");
        for key in ["", "s3cret", "ssl-mode", &"a".repeat(41)] {
            assert_eq!(printable_key(key, "_"), "…", "{key}");
        }
    }
}
