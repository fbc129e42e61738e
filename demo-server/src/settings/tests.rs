//! Tests of the settings.

use super::*;

pub(crate) fn settings(arguments: &[&str]) -> Result<Settings, SettingError> {
    let matches =
        flags::command().try_get_matches_from([&["demo-server"], arguments].concat()).unwrap();
    Settings::parse(&raw::merge(&matches)?)
}

fn refusal(arguments: &[&str]) -> String {
    settings(arguments).unwrap_err().to_string()
}

#[test]
fn defaults_apply_without_settings() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
    assert_eq!((settings.store, settings.cookie), (Store::Primary, CookieMode::Development));
    assert_eq!(settings.policy, Policy::default());
}

#[test]
fn error_names_setting_value_and_remedy() {
    for (arguments, parts) in [
        (&["--workers", "0"][..], ["--workers", "\"0\"", "1 or more"]),
        (&["--listen", "3000"], ["--listen", "\"3000\"", "127.0.0.1:3000"]),
        (&["--store", "reddis"], ["--store", "\"reddis\"", "use one of memory, ipc"]),
        (
            &["--store-url", "gopher://x"],
            ["--store-url", "must start with ipc:", "scheme is gopher"],
        ),
        (&["--store-url", "ipc:relative"], ["--store-url", "\"ipc:relative\"", "use ipc:/"]),
        (&["--idle-timeout", "30"], ["--idle-timeout", "\"30\"", "30m"]),
        (&["--persistence", "ever"], ["--persistence", "\"ever\"", "browser or persistent"]),
        (&["--trusted-proxy", "proxy.local"], ["--trusted-proxy", "\"proxy.local\"", "10.0.0.0/8"]),
        (&["--store", "memory", "--workers", "4"], ["memory", "--workers 1", "--store ipc"]),
        (&["--listen", "0.0.0.0:80"], ["0.0.0.0:80", "--cookie secure", "--cookie development"]),
        (&["--metrics", "9100"], ["--metrics", "\"9100\"", "127.0.0.1:9100"]),
        (
            &["--metrics", "0.0.0.0:9100"],
            ["--metrics", "\"0.0.0.0:9100\"", "use a loopback address"],
        ),
        (&["--metrics", "[::]:9100"], ["--metrics", "\"[::]:9100\"", "use a loopback address"]),
        (&["--metrics", "127.0.0.1:3000"], ["--metrics", "\"127.0.0.1:3000\"", "use another port"]),
        (
            &["--listen", "0.0.0.0:9100", "--cookie", "development", "--metrics", "127.0.0.1:9100"],
            ["--metrics", "\"127.0.0.1:9100\"", "--listen 0.0.0.0:9100 includes this address"],
        ),
        (
            &["--listen", "[::]:9100", "--cookie", "secure", "--metrics", "127.0.0.1:9100"],
            ["--metrics", "\"127.0.0.1:9100\"", "--listen [::]:9100 includes this address"],
        ),
        (
            &["--control", "/tmp/x", "--pid-file", "/tmp/../tmp/x"],
            ["--pid-file", "\"/tmp/../tmp/x\"", "the control socket has this path"],
        ),
        (
            &["--control", "/tmp/x", "--pid-file", "/tmp/x.lock"],
            ["--pid-file", "\"/tmp/x.lock\"", "the lock file of the control socket"],
        ),
        (
            &["--control", "/tmp/x", "--store-url", "ipc:/tmp/x"],
            ["--control", "\"/tmp/x\"", "the owner of the sessions"],
        ),
        (&["--config", "/nowhere.toml"], ["cannot read", "/nowhere.toml", ""]),
    ] {
        let refusal = refusal(arguments);
        for part in parts {
            assert!(refusal.contains(part), "{arguments:?}: {refusal:?} does not contain {part:?}");
        }
    }
}

#[test]
fn s08_weak_key_is_refused_and_not_shown() {
    let refusal = refusal(&["--cookie-key", "c2VjcmV0c2VjcmV0"]);
    assert!(
        refusal.contains("--cookie-key")
            && refusal.contains("at least 32")
            && !refusal.contains("c2VjcmV0"),
        "{refusal}"
    );
}

#[test]
fn s08_empty_key_is_refused_instead_of_replaced() {
    assert!(
        refusal(&["--cookie-key", ""]).contains("--cookie-key: a cookie key needs at least 32")
    );
}

#[test]
fn flags_have_priority_over_file_and_defaults() {
    let file =
        std::env::temp_dir().join(format!("demo-server-settings-{}.toml", std::process::id()));
    std::fs::write(
        &file,
        "workers = 3\nthreads = 2\ntrusted_proxy = [\"10.0.0.1\", \"::1/128\"]\n\
         allow_crash = true\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let settings = settings(&["--config", path, "--workers", "5"]).unwrap();
    assert_eq!(settings.workers, Workers::Exactly(NonZeroUsize::new(5).unwrap()));
    assert_eq!(
        (settings.threads.get(), settings.trusted_proxies.networks.len(), settings.allow_crash),
        (2, 2, true)
    );
    std::fs::write(&file, "cookie-key = \"x\"").unwrap();
    assert!(refusal(&["--config", path]).contains("unknown setting \"cookie-key\""));
    std::fs::write(&file, "workers = 1\ncookie_key = \"hunter2").unwrap();
    let broken = refusal(&["--config", path]);
    assert!(broken.contains("line 2") && !broken.contains("hunter2"), "{broken}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn printed_settings_mask_keys() {
    let key = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2";
    let matches =
        flags::command().try_get_matches_from(["demo-server", "--cookie-key", key]).unwrap();
    let shown = raw::render(&raw::merge(&matches).unwrap());
    assert!(shown.contains("cookie_key = \"***\"") && !shown.contains(key), "{shown}");
    assert!(shown.contains("workers = \"auto\"") && shown.contains("threads = 1"), "{shown}");
    assert!(shown.parse::<toml::Table>().is_ok(), "not a TOML file: {shown}");
}

#[test]
fn printed_settings_are_valid_toml_for_any_text() {
    let matches = flags::command().try_get_matches_from(["demo-server"]).unwrap();
    let mut raw = raw::merge(&matches).unwrap();
    for text in [
        "a\0b",
        "\u{7f}\u{85}",
        "\u{200b}\u{e000}",
        "\"quoted\" \\ back",
        "tab\tand\nline",
        "ü 🦀",
        "007",
        "+5",
    ] {
        text.clone_into(&mut raw.get_mut("pid-file").unwrap().text);
        let table: toml::Table = raw::render(&raw).parse().unwrap();
        assert_eq!(table["pid_file"].as_str(), Some(text));
    }
}

#[test]
fn printed_settings_contain_derived_values() {
    let matches = flags::command().try_get_matches_from(["demo-server"]).unwrap();
    let mut raw = raw::merge(&matches).unwrap();
    Settings::parse(&raw).unwrap().insert_resolved(&mut raw);
    let shown = raw::render(&raw);
    assert!(
        shown.contains("store_url = \"ipc:\"") && shown.contains("cookie = \"development\""),
        "{shown}"
    );
    raw.get_mut("store-url").unwrap().text = "redis://app:hunter2@host:6379/0".to_owned();
    assert!(raw::render(&raw).contains("\"redis://app:***@host:6379/0\""));
}

#[test]
fn c45_debug_shows_no_key_and_no_password() {
    let key = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2";
    let matches =
        flags::command().try_get_matches_from(["demo-server", "--cookie-key", key]).unwrap();
    let mut raw = raw::merge(&matches).unwrap();
    for (name, text) in [("store", "redis"), ("store-url", "redis://app:hunter2@host/0")] {
        text.clone_into(&mut raw.get_mut(name).unwrap().text);
    }
    let shown = format!("{raw:?} {:?}", Settings::parse(&raw).unwrap());
    assert!(!shown.contains(key) && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn settings_survive_the_transfer_to_a_worker() {
    let given = settings(&["--workers", "2", "--idle-timeout", "90s", "--allow-crash"]).unwrap();
    let key = Key::random().unwrap();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.expose());
    let read = Settings::from_bytes(&given.with_key(key.clone(), text).to_bytes()).unwrap();
    assert_eq!(read.policy.idle_timeout, Duration::from_secs(90));
    assert!(read.allow_crash);
    assert!(matches!(read.keys, Keys::Configured(keys) if keys == [key]));
}
