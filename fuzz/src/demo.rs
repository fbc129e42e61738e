//! The settings of the demo: its command line, its file, and what its primary hands to a worker.

use std::{ffi::OsString, fs, path::PathBuf, process};

use crate::same::SECRET;

/// The demo is a program and no library, so its settings are compiled here as well.
#[path = "../../demo-server/src/settings/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the targets use a part of the settings")]
mod settings;

/// Arguments, one a line; behind a line with two dashes the file that the first of them names.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    handed(text);
    let (arguments, file) = text.split_once("\n--\n").unwrap_or((text, ""));
    // Another file would be one of this machine's.
    if arguments.contains("config")
        && arguments.lines().any(|line| line.trim_start_matches('-').starts_with("config"))
    {
        return;
    }
    let path = (!file.is_empty()).then(|| kept(file));
    let mut given = vec![OsString::from("demo-server")];
    given.extend(arguments.lines().map(OsString::from));
    given.extend(path.iter().flat_map(|path| ["--config".into(), path.into()]));
    let task = settings::Task::from_arguments(given);
    if let Some(path) = path {
        let _ = fs::remove_file(path);
    }
    let said = match task {
        // clap's own words quote the command line to whoever has written it.
        Err(_) => return,
        Ok(Err(error)) => format!("{error} {error:?}"),
        Ok(Ok(settings::Task::PrintConfig(shown))) => {
            assert!(
                shown.parse::<toml::Table>().is_ok(),
                "settings are shown in a form that is no file: {shown}"
            );
            shown
        }
        Ok(Ok(task)) => format!("{task:?}"),
    };
    let hidden =
        arguments.lines().chain(file.lines()).filter(|line| line.contains(SECRET)).all(hides);
    // Whatever stands alone may take the next argument for its value.
    let hidden = hidden
        && arguments.lines().all(|line| {
            line.contains('=') || ["--print-config", "--allow-crash", "owner"].contains(&line)
        });
    assert!(!hidden || !said.contains(SECRET), "a secret is shown: {said}");
}

/// Whether the secret in this argument, or line of a file, is one for this program too: a key, or
/// in a URL a password.
fn hides(line: &str) -> bool {
    let key = ["--cookie-key=", "cookie_key = \""].iter().any(|name| line.starts_with(name));
    let url = ["--store-url=", "store_url = \""].iter().find_map(|name| line.strip_prefix(name));
    // The URLs of some stores have a path and no login.
    let url = url.filter(|url| {
        !["ipc", "unix", "sqlite"].contains(&url.split(':').next().unwrap_or_default())
    });
    let password = url
        .and_then(|url| {
            url.split_once("://").filter(|(scheme, _)| !scheme.contains(SECRET))?.1.rsplit_once('@')
        })
        .is_some_and(|(login, rest)| {
            let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
            let beside = query
                .split('&')
                .filter(|setting| !is_secret(setting))
                .any(|setting| setting.contains(SECRET));
            let (user, _) = login.split_once(':').unwrap_or((login, ""));
            !beside && !place.contains(SECRET) && !user.contains(SECRET)
        });
    key || password
}

/// Whether a setting in a URL holds a secret: its own key says so.
fn is_secret(setting: &str) -> bool {
    let key = setting.split('=').next().unwrap_or_default().to_ascii_lowercase();
    key.ends_with("password") || key == "authmechanismproperties"
}

/// The one file of this process.
fn kept(file: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("session-layer-fuzz-{}.toml", process::id()));
    fs::write(&path, file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// What a worker gets comes back as it was, or is refused.
fn handed(text: &str) {
    let Ok(read) = settings::Settings::from_bytes(text.as_bytes()) else { return };
    let written = read.to_bytes();
    let again = settings::Settings::from_bytes(&written)
        .unwrap_or_else(|error| panic!("settings do not come back: {error}"));
    assert_eq!(again.to_bytes(), written);
    // What they decide must not fail either.
    let _ = (read.store_url(), read.store_name(), format!("{read:?}"));
}
