//! URLs of MongoDB, and the databases in them.

/// A name for a database that no other test has, which begins with this one.
pub(super) fn own_database(name: &str) -> String {
    format!("{name}-{:016x}", fastrand::u64(..))
}

/// Somebody's URL with another database, and that database: one of the test's own, whose name
/// begins with that of the URL's.
pub(super) fn with_own_database(url: &str) -> (String, String) {
    let (front, settings) = url.split_once('?').unwrap_or((url, ""));
    let hosts = front.find("://").map_or(0, |at| at + "://".len());
    let (front, database) = front[hosts..]
        .find('/')
        .map_or((front, ""), |at| (&front[..hosts + at], &front[hosts + at + 1..]));
    let own = own_database(if database.is_empty() { "test" } else { database });
    let mut settings: Vec<_> =
        settings.split('&').filter(|setting| !setting.is_empty()).map(str::to_owned).collect();
    // A user is looked up in the URL's database, unless the URL says where.
    if front.contains('@')
        && !settings.iter().any(|setting| setting.to_ascii_lowercase().starts_with("authsource="))
    {
        settings
            .push(format!("authSource={}", if database.is_empty() { "admin" } else { database }));
    }
    let settings =
        if settings.is_empty() { String::new() } else { format!("?{}", settings.join("&")) };
    (format!("{front}/{own}{settings}"), own)
}

#[cfg(test)]
mod tests {
    use super::with_own_database;

    /// The URL with `OWN` in place of the database.
    fn owned(url: &str) -> String {
        let (url, database) = with_own_database(url);
        url.replace(&database, "OWN")
    }

    #[test]
    fn a_database_of_its_own_changes_nothing_else_of_a_url() {
        assert_eq!(owned("mongodb://a:1,b:2"), "mongodb://a:1,b:2/OWN");
        assert_eq!(owned("mongodb://a:1/?replicaSet=rs"), "mongodb://a:1/OWN?replicaSet=rs");
        assert_eq!(
            owned("mongodb://a:1/sessions?replicaSet=rs"),
            "mongodb://a:1/OWN?replicaSet=rs"
        );
        assert!(with_own_database("mongodb://a:1/sessions").1.starts_with("sessions-"));
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
