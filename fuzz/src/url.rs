//! The URLs of stores, and their sections of a configuration file.

use std::fmt::Debug;

use crate::same::{SECRET, shows_no_secret};

/// A line with a URL; one each with a scheme, a user, what stands in a password before and after
/// the secret part, a host with path and a query; then a section of a file.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(8, '\n');
    let mut line = || lines.next().unwrap_or_default();
    read(line());
    let [scheme, user, before, after, place, query] = std::array::from_fn(|_| line());
    // The other stores' URLs have no login: an @ is a part of a path.
    let has_login =
        !["ipc", "unix", "sqlite"].contains(&scheme.split(':').next().unwrap_or_default());
    if has_login && ![scheme, user, place, query].iter().any(|part| part.contains(SECRET)) {
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        for error in read(&format!("{scheme}://{user}:{before}{SECRET}{after}@{place}{query}")) {
            shows_no_secret(&error);
        }
    }
    section(line());
}

/// Reads it as a URL of each store. What they say of it, and how they show the settings.
fn read(url: &str) -> Vec<String> {
    let mut said = Vec::new();
    let any = store_any::check(url);
    let read = [
        note(&mut said, store_ipc::Config::from_url(url)),
        note(&mut said, store_redis::Config::new(url)),
        note(&mut said, store_mongo::Config::new(url)),
        note(&mut said, store_sql::Config::new(url)),
    ];
    // Only store_any reads the URL of the store in memory.
    assert!(
        url.starts_with("memory:") || any.is_ok() == read.contains(&true),
        "the stores disagree on a URL"
    );
    note(&mut said, any);
    said
}

fn note<T: Debug>(said: &mut Vec<String>, read: Result<T, impl std::error::Error>) -> bool {
    let is_read = read.is_ok();
    said.push(match read {
        Ok(settings) => format!("{settings:?} {settings:#?}"),
        Err(error) => format!("{error} {error:?}"),
    });
    is_read
}

/// Reads it as a section of each store. Whoever shows the error of a file shows lines of it, so
/// only what the stores themselves say counts.
fn section(text: &str) {
    fn read<T: Debug + serde::de::DeserializeOwned>(text: &str) -> String {
        match toml::from_str::<T>(text) {
            Ok(settings) => format!("{settings:?}"),
            Err(error) => error.message().to_owned(),
        }
    }
    let said = read::<store_redis::Config>(text);
    // The others have no password beside the URL, and quote a key that is none.
    let _ = (
        read::<store_mongo::Config>(text),
        read::<store_sql::Config>(text),
        read::<store_ipc::Config>(text),
    );
    let login = text.lines().any(|line| line.starts_with("password = ") && line.contains(SECRET));
    if login && text.matches(SECRET).count() == 1 {
        shows_no_secret(&said);
    }
}
