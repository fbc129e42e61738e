use super::*;

pub(crate) fn settings(arguments: &[&str]) -> Result<Settings, SettingError> {
    let matches =
        flags::command().try_get_matches_from([&["demo-server"], arguments].concat()).unwrap();
    Settings::parse(&raw::layered(&matches)?)
}

fn refusal(arguments: &[&str]) -> String {
    settings(arguments).unwrap_err().to_string()
}

#[test]
fn the_defaults_hold() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
    assert_eq!((settings.store, settings.cookie), (Store::Primary, CookieMode::Development));
    assert_eq!(settings.policy, Policy::default());
}

#[test]
fn a_bad_value_says_which_what_came_and_what_would_do() {
    for (arguments, parts) in [
        (&["--workers", "0"][..], ["--workers", "\"0\"", "1 or more"]),
        (&["--listen", "3000"], ["--listen", "\"3000\"", "127.0.0.1:3000"]),
        (&["--store", "reddis"], ["--store", "\"reddis\"", "this build has memory, ipc"]),
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
            ["--metrics", "\"127.0.0.1:9100\"", "--listen takes in this address with 0.0.0.0:9100"],
        ),
        (
            &["--listen", "[::]:9100", "--cookie", "secure", "--metrics", "127.0.0.1:9100"],
            ["--metrics", "\"127.0.0.1:9100\"", "--listen takes in this address with [::]:9100"],
        ),
        (
            &["--control", "/tmp/x", "--pid-file", "/tmp/../tmp/x"],
            ["--pid-file", "\"/tmp/../tmp/x\"", "the control socket is there"],
        ),
        (
            &["--control", "/tmp/x", "--pid-file", "/tmp/x.lock"],
            ["--pid-file", "\"/tmp/x.lock\"", "the lock of the control socket"],
        ),
        (
            &["--control", "/tmp/x", "--store-url", "ipc:/tmp/x"],
            ["--control", "\"/tmp/x\"", "the owner of the sessions"],
        ),
        (&["--config", "/nowhere.toml"], ["cannot read", "/nowhere.toml", ""]),
    ] {
        let refusal = refusal(arguments);
        for part in parts {
            assert!(refusal.contains(part), "{arguments:?}: {refusal:?} does not say {part:?}");
        }
    }
}

#[test]
fn s08_a_weak_key_is_refused_and_not_shown() {
    let refusal = refusal(&["--cookie-key", "c2VjcmV0c2VjcmV0"]);
    assert!(
        refusal.contains("--cookie-key")
            && refusal.contains("at least 32")
            && !refusal.contains("c2VjcmV0"),
        "{refusal}"
    );
}

#[test]
fn s08_a_key_that_was_left_empty_is_not_replaced_by_a_random_one() {
    assert!(
        refusal(&["--cookie-key", ""]).contains("--cookie-key: a cookie key needs at least 32")
    );
}

#[test]
fn flags_beat_the_file_which_beats_the_defaults() {
    let file =
        std::env::temp_dir().join(format!("demo-server-settings-{}.toml", std::process::id()));
    std::fs::write(&file, "workers = 3\nthreads = 2\ntrusted_proxy = [\"10.0.0.1\", \"::1/128\"]\nallow_crash = true\n").unwrap();
    let path = file.to_str().unwrap();
    let settings = settings(&["--config", path, "--workers", "5"]).unwrap();
    assert_eq!(settings.workers, Workers::Exactly(NonZeroUsize::new(5).unwrap()));
    assert_eq!(
        (settings.threads.get(), settings.trusted_proxies.len(), settings.allow_crash),
        (2, 2, true)
    );
    std::fs::write(&file, "cookie-key = \"x\"").unwrap();
    assert!(refusal(&["--config", path]).contains("no setting \"cookie-key\""));
    std::fs::write(&file, "workers = 1\ncookie_key = \"hunter2").unwrap();
    let broken = refusal(&["--config", path]);
    assert!(broken.contains("line 2") && !broken.contains("hunter2"), "{broken}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn shown_settings_mask_keys() {
    let key = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2";
    let matches =
        flags::command().try_get_matches_from(["demo-server", "--cookie-key", key]).unwrap();
    let shown = raw::shown(&raw::layered(&matches).unwrap());
    assert!(shown.contains("cookie_key = \"***\"") && !shown.contains(key), "{shown}");
    assert!(shown.contains("workers = \"auto\"") && shown.contains("threads = 1"), "{shown}");
    assert!(shown.parse::<toml::Table>().is_ok(), "it reads as a file: {shown}");
}

#[test]
fn shown_settings_read_as_a_file_whatever_is_in_them() {
    let matches = flags::command().try_get_matches_from(["demo-server"]).unwrap();
    let mut raw = raw::layered(&matches).unwrap();
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
        let table: toml::Table = raw::shown(&raw).parse().unwrap();
        assert_eq!(table["pid_file"].as_str(), Some(text));
    }
}

#[test]
fn shown_settings_are_those_that_hold() {
    let matches = flags::command().try_get_matches_from(["demo-server"]).unwrap();
    let mut raw = raw::layered(&matches).unwrap();
    Settings::parse(&raw).unwrap().resolve(&mut raw);
    let shown = raw::shown(&raw);
    assert!(
        shown.contains("store_url = \"ipc:\"") && shown.contains("cookie = \"development\""),
        "{shown}"
    );
    raw.get_mut("store-url").unwrap().text = "redis://app:hunter2@host:6379/0".to_owned();
    assert!(raw::shown(&raw).contains("\"redis://app:***@host:6379/0\""));
}

#[test]
fn c45_debug_shows_no_key_and_no_password() {
    let key = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2";
    let matches =
        flags::command().try_get_matches_from(["demo-server", "--cookie-key", key]).unwrap();
    let mut raw = raw::layered(&matches).unwrap();
    for (name, text) in [("store", "redis"), ("store-url", "redis://app:hunter2@host/0")] {
        text.clone_into(&mut raw.get_mut(name).unwrap().text);
    }
    let shown = format!("{raw:?} {:?}", Settings::parse(&raw).unwrap());
    assert!(!shown.contains(key) && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn workers_get_the_same_settings() {
    let given = settings(&["--workers", "2", "--idle-timeout", "90s", "--allow-crash"]).unwrap();
    let key = Key::random().unwrap();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.expose());
    let read = Settings::from_bytes(&given.with_key(key.clone(), text).to_bytes()).unwrap();
    assert_eq!(read.policy.idle_timeout, Duration::from_secs(90));
    assert!(read.allow_crash);
    assert!(matches!(read.keys, Keys::Configured(keys) if keys == [key]));
}
