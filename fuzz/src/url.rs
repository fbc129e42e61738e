//! The URLs of stores, and their sections of a configuration file.

use std::fmt::Debug;

use crate::assertions::{SECRET, assert_no_secret};

/// The input has eight lines: a URL, then the parts of a URL (the scheme, the user, the text before
/// and after the secret in the password, the host with the path, the query), then a section of a
/// configuration file, which has the remaining lines.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(8, '\n');
    let mut line = || lines.next().unwrap_or_default();
    read(line());
    let [scheme, user, before, after, place, query] = std::array::from_fn(|_| line());
    // The URLs of the other stores have no login, and `@` is a part of the path.
    let has_login =
        !["ipc", "unix", "sqlite"].contains(&scheme.split(':').next().unwrap_or_default());
    if has_login && ![scheme, user, place, query].iter().any(|part| part.contains(SECRET)) {
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        for error in read(&format!("{scheme}://{user}:{before}{SECRET}{after}@{place}{query}")) {
            assert_no_secret(&error);
        }
    }
    section(line());
}

/// Parses the text as a URL of each store. Returns the errors and the `Debug` forms of the
/// settings.
fn read(url: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let any = store_any::check_url(url);
    let read = [
        record(&mut texts, store_ipc::Config::from_url(url)),
        record(&mut texts, store_redis::Config::new(url)),
        record(&mut texts, store_mongo::Config::new(url)),
        record(&mut texts, store_sql::Config::new(url)),
    ];
    // Only `store_any` accepts the URL of the store in memory.
    assert!(
        url.starts_with("memory:") || any.is_ok() == read.contains(&true),
        "store_any and the stores disagree on a URL"
    );
    record(&mut texts, any);
    texts
}

fn record<T: Debug>(texts: &mut Vec<String>, read: Result<T, impl std::error::Error>) -> bool {
    let is_ok = read.is_ok();
    texts.push(match read {
        Ok(settings) => format!("{settings:?} {settings:#?}"),
        Err(error) => format!("{error} {error:?}"),
    });
    is_ok
}

/// Parses the text as a section of each store. The full error of the TOML parser quotes lines of
/// the file, so the check covers only the message of the store.
fn section(text: &str) {
    fn read<T: Debug + serde::de::DeserializeOwned>(text: &str) -> String {
        match toml::from_str::<T>(text) {
            Ok(settings) => format!("{settings:?}"),
            Err(error) => error.message().to_owned(),
        }
    }
    let text_of_redis = read::<store_redis::Config>(text);
    // The other stores have a password only in the URL, and their errors quote unknown keys.
    let _ = (
        read::<store_mongo::Config>(text),
        read::<store_sql::Config>(text),
        read::<store_ipc::Config>(text),
    );
    let login = text.lines().any(|line| line.starts_with("password = ") && line.contains(SECRET));
    if login && text.matches(SECRET).count() == 1 {
        assert_no_secret(&text_of_redis);
    }
}
