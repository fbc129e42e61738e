//! The settings of the demo: the command line, the configuration file, and the form in which the
//! primary passes them to a worker.

use std::{ffi::OsString, fs, path::PathBuf, process};

use crate::assertions::SECRET;

/// The demo has no library, so this crate compiles the settings of the demo itself.
#[path = "../../demo-server/src/settings/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the targets use a part of the settings")]
mod settings;

/// The input has one command-line argument per line. A line with two dashes separates them from the
/// text of the configuration file.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check_worker_form(text);
    let (arguments, file) = text.split_once("\n--\n").unwrap_or((text, ""));
    // `--config` would name another file of this machine.
    if arguments.contains("config")
        && arguments.lines().any(|line| line.trim_start_matches('-').starts_with("config"))
    {
        return;
    }
    let path = (!file.is_empty()).then(|| write_config(file));
    let mut given = vec![OsString::from("demo-server")];
    given.extend(arguments.lines().map(OsString::from));
    given.extend(path.iter().flat_map(|path| ["--config".into(), path.into()]));
    let invocation = settings::Invocation::from_arguments(given);
    if let Some(path) = path {
        let _ = fs::remove_file(path);
    }
    let output = match invocation {
        // The errors of clap quote the command line, for the user who has written it.
        Err(_) => return,
        Ok(Err(error)) => format!("{error} {error:?}"),
        Ok(Ok(settings::Invocation::PrintConfig(shown))) => {
            assert!(
                shown.parse::<toml::Table>().is_ok(),
                "the printed settings are not a valid file: {shown}"
            );
            shown
        }
        Ok(Ok(invocation)) => format!("{invocation:?}"),
    };
    let secrets_in_place =
        arguments.lines().chain(file.lines()).filter(|line| line.contains(SECRET)).all(is_secret);
    // An argument without `=` may take the next argument as its value.
    let must_be_hidden = secrets_in_place
        && arguments.lines().all(|line| {
            line.contains('=') || ["--print-config", "--allow-crash", "owner"].contains(&line)
        });
    assert!(!must_be_hidden || !output.contains(SECRET), "the output contains a secret: {output}");
}

/// Whether the program knows that the secret in this argument or line of a file is secret: it is a
/// key, or a password in a URL.
fn is_secret(line: &str) -> bool {
    let key = ["--cookie-key=", "cookie_key = \""].iter().any(|name| line.starts_with(name));
    let url = ["--store-url=", "store_url = \""].iter().find_map(|name| line.strip_prefix(name));
    // The URLs of these stores have a path and no login.
    let url = url.filter(|url| {
        !["ipc", "unix", "sqlite"].contains(&url.split(':').next().unwrap_or_default())
    });
    let password = url
        .and_then(|url| {
            url.split_once("://").filter(|(scheme, _)| !scheme.contains(SECRET))?.1.rsplit_once('@')
        })
        .is_some_and(|(login, rest)| {
            let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
            let in_query = query
                .split('&')
                .filter(|setting| !is_secret_setting(setting))
                .any(|setting| setting.contains(SECRET));
            let (user, _) = login.split_once(':').unwrap_or((login, ""));
            !in_query && !host.contains(SECRET) && !user.contains(SECRET)
        });
    key || password
}

/// Whether a setting in the query of a URL is secret. Its key tells.
fn is_secret_setting(setting: &str) -> bool {
    let key = setting.split('=').next().unwrap_or_default().to_ascii_lowercase();
    key.ends_with("password") || key == "authmechanismproperties"
}

/// Writes the configuration file of this process and returns its path.
fn write_config(file: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("session-layer-fuzz-{}.toml", process::id()));
    fs::write(&path, file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// Settings in the form for a worker are rejected, or are the same after encoding and decoding.
fn check_worker_form(text: &str) {
    let Ok(read) = settings::Settings::from_bytes(text.as_bytes()) else { return };
    let written = read.to_bytes();
    let again = settings::Settings::from_bytes(&written)
        .unwrap_or_else(|error| panic!("the encoded settings cannot be read: {error}"));
    assert_eq!(again.to_bytes(), written);
    // These functions must not panic.
    let _ = (read.store_url(), read.store_name(), format!("{read:?}"));
}
