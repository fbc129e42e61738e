//! The parts of a server's URL, and the databases in it.

/// The `host:port` pairs of a URL that names several.
pub(super) fn hosts_of(url: &str) -> Vec<String> {
    authority(url).rsplit('@').next().unwrap_or_default().split(',').map(str::to_owned).collect()
}

/// What stands before the hosts of a URL, with its `@`; empty if there is nothing.
pub(super) fn credentials_of(url: &str) -> &str {
    let authority = authority(url);
    authority.rfind('@').map_or("", |at| &authority[..=at])
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// A name for a database that no other test has.
pub(super) fn own_sql_database() -> String {
    format!("test_{:016x}", fastrand::u64(..))
}

/// A URL with its database replaced by this one.
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

/// A name for a database of MongoDB that no other test has. It begins with the database of this
/// URL, or with `test`.
pub(super) fn mongo_database_like(url: &str) -> String {
    let (_, database, _) = mongo_parts(url);
    let name = if database.is_empty() { "test" } else { database };
    format!("{name}-{:016x}", fastrand::u64(..))
}

/// A URL of MongoDB with its database replaced by this one.
pub(super) fn with_mongo_database(url: &str, own: &str) -> String {
    let (front, database, settings) = mongo_parts(url);
    let mut settings: Vec<_> =
        settings.split('&').filter(|setting| !setting.is_empty()).map(str::to_owned).collect();
    // A user is looked up in the database of the URL, unless the URL names another.
    if front.contains('@')
        && !settings.iter().any(|setting| setting.to_ascii_lowercase().starts_with("authsource="))
    {
        settings
            .push(format!("authSource={}", if database.is_empty() { "admin" } else { database }));
    }
    let settings =
        if settings.is_empty() { String::new() } else { format!("?{}", settings.join("&")) };
    format!("{front}/{own}{settings}")
}

/// What stands before the database of a URL, the database, and the settings.
fn mongo_parts(url: &str) -> (&str, &str, &str) {
    let (front, settings) = url.split_once('?').unwrap_or((url, ""));
    let hosts = front.find("://").map_or(0, |at| at + "://".len());
    let (front, database) = front[hosts..]
        .find('/')
        .map_or((front, ""), |at| (&front[..hosts + at], &front[hosts + at + 1..]));
    (front, database, settings)
}

#[cfg(test)]
mod tests {
    use super::{
        credentials_of, hosts_of, mongo_database_like, with_database, with_mongo_database,
        with_settings,
    };

    #[test]
    fn a_url_names_several_hosts_and_one_password() {
        assert_eq!(hosts_of("redis-cluster://a:1,b:2"), ["a:1", "b:2"]);
        assert_eq!(hosts_of("redis-sentinel://:secret@a:1,b:2/mymaster"), ["a:1", "b:2"]);
        assert_eq!(credentials_of("redis-sentinel://:secret@a:1,b:2/mymaster"), ":secret@");
        assert_eq!(credentials_of("redis-cluster://a:1"), "");
    }

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

    /// The URL with `OWN` in place of the database.
    fn owned(url: &str) -> String {
        with_mongo_database(url, "OWN")
    }

    #[test]
    fn a_database_of_its_own_changes_nothing_else_of_a_url() {
        assert_eq!(owned("mongodb://a:1,b:2"), "mongodb://a:1,b:2/OWN");
        assert_eq!(owned("mongodb://a:1/?replicaSet=rs"), "mongodb://a:1/OWN?replicaSet=rs");
        assert_eq!(
            owned("mongodb://a:1/sessions?replicaSet=rs"),
            "mongodb://a:1/OWN?replicaSet=rs"
        );
        assert!(mongo_database_like("mongodb://a:1/sessions").starts_with("sessions-"));
    }

    #[test]
    fn a_user_stays_where_it_was() {
        assert_eq!(
            owned("mongodb://user:secret@a:1"),
            "mongodb://user:secret@a:1/OWN?authSource=admin"
        );
        assert_eq!(
            owned("mongodb://user:secret@a:1/sessions"),
            "mongodb://user:secret@a:1/OWN?authSource=sessions"
        );
        assert_eq!(
            owned("mongodb://user:secret@a:1/sessions?authsource=b"),
            "mongodb://user:secret@a:1/OWN?authsource=b"
        );
    }
}
