//! URLs of SQL servers, and the databases in them.

/// A name for a database that no other test has.
pub(super) fn own_database() -> String {
    format!("test_{:016x}", fastrand::u64(..))
}

/// A URL with this database in place of its own.
pub(super) fn with_database(url: &str, database: &str) -> String {
    let (front, settings) = url
        .split_once('?')
        .map_or((url, String::new()), |(front, settings)| (front, format!("?{settings}")));
    let hosts = front.find("://").map_or(0, |at| at + "://".len());
    let front = front[hosts..].find('/').map_or(front, |at| &front[..hosts + at]);
    format!("{front}/{database}{settings}")
}

/// A URL with these settings after its own.
pub(super) fn with_settings(url: String, settings: &str) -> String {
    if settings.is_empty() {
        return url;
    }
    format!("{url}{}{settings}", if url.contains('?') { '&' } else { '?' })
}

#[cfg(test)]
mod tests {
    use super::{with_database, with_settings};

    #[test]
    fn another_database_changes_nothing_else_of_a_url() {
        assert_eq!(with_database("postgres://a:1", "own"), "postgres://a:1/own");
        assert_eq!(with_database("postgres://a:1/sessions", "own"), "postgres://a:1/own");
        assert_eq!(
            with_database("mysql://user:secret@a/sessions?ssl-mode=required", "own"),
            "mysql://user:secret@a/own?ssl-mode=required"
        );
        assert_eq!(
            with_database("postgres://user@a?sslrootcert=/a/b", "own"),
            "postgres://user@a/own?sslrootcert=/a/b"
        );
    }

    #[test]
    fn settings_follow_those_that_are_there() {
        assert_eq!(with_settings("sqlite:/a".to_owned(), ""), "sqlite:/a");
        assert_eq!(with_settings("sqlite:/a".to_owned(), "mode=rwc"), "sqlite:/a?mode=rwc");
        assert_eq!(with_settings("mysql://a/b?c=d".to_owned(), "e=f"), "mysql://a/b?c=d&e=f");
    }
}
