//! Each error has the effect of its class.

use super::*;

/// What the start does, and what a later call answers.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    /// The start waits, and a later call is `Unavailable`.
    Waits,
    /// The start ends with this remedy, and a later call is `Other`.
    Ends(&'static str),
    /// The start ends, and a later call is refused as full.
    EndsAsFull,
}

/// The effect of each class.
fn effect(class: Class) -> Effect {
    match class {
        Class::Conflict
        | Class::Lost
        | Class::Busy
        | Class::TooManyConnections
        | Class::ReadOnly => Effect::Waits,
        #[cfg(feature = "sqlite")]
        Class::Unreachable => Effect::Waits,
        Class::Full => Effect::EndsAsFull,
        Class::Login => Effect::Ends("look at user, password and database in the URL"),
        Class::NoDatabase => Effect::Ends("CREATE DATABASE"),
        Class::MissingRight => Effect::Ends("the README of store-sql"),
        Class::NoSchema => Effect::Ends("search_path"),
        Class::NoTable => Effect::Ends("migrate=true"),
        Class::OtherTable => Effect::Ends("choose another name"),
        Class::NotJson => Effect::Ends("not JSON"),
        Class::NoPrimaryKey => Effect::Ends("Dialect::schema"),
        #[cfg(feature = "mysql")]
        Class::PacketTooLarge => Effect::Ends("max_allowed_packet"),
        #[cfg(feature = "mysql")]
        Class::Blocked => Effect::Ends("FLUSH HOSTS"),
        Class::TlsDemanded => Effect::Ends("ssl-mode=VERIFY_IDENTITY"),
        Class::Pooler => Effect::Ends("statement-cache-capacity=0"),
        Class::StartupParameter => Effect::Ends("ignore_startup_parameters = extra_float_digits"),
        #[cfg(feature = "sqlite")]
        Class::Damaged => Effect::Ends("not an SQLite database"),
        Class::Refused => Effect::Ends("refuses the operation"),
    }
}

fn assert_effect(class: Class, error: ClientError) {
    let (shown, answer) = (error.to_string(), StoreError::from(error));
    let ends = ends_start(&answer);
    match effect(class) {
        Effect::Waits => {
            assert!(!ends && matches!(answer, StoreError::Unavailable { .. }), "{shown}");
        }
        Effect::Ends(remedy) => {
            assert!(ends && matches!(answer, StoreError::Other { .. }), "{shown}");
            assert!(shown.contains(remedy), "{remedy} is missing in: {shown}");
        }
        Effect::EndsAsFull => {
            let is_full = matches!(answer, StoreError::Rejected(Rejection::Full { .. }));
            assert!(ends && is_full, "{shown}");
        }
    }
}

#[test]
fn each_error_code_has_the_effect_of_its_class() {
    for &(code, message, class) in codes::STATES {
        assert_effect(class, ClientError::by_state(code, message));
    }
    #[cfg(feature = "mysql")]
    for &(number, _, class) in codes::NUMBERS {
        assert_effect(class, ClientError::by_number(number));
    }
    #[cfg(feature = "sqlite")]
    for &(code, message, class) in codes::RESULTS {
        for extended in [code, code | 1 << 8] {
            assert_effect(class, ClientError::by_result(extended, message));
        }
    }
    for unknown in ["22P02", "42883", ""] {
        assert_effect(Class::Refused, ClientError::by_state(unknown, "a message"));
    }
}

#[test]
fn no_error_code_has_two_classes() {
    fn assert_unique<C: PartialEq + std::fmt::Debug>(rows: &[(C, &str, Class)]) {
        for (at, (code, part, _)) in rows.iter().enumerate() {
            let hidden = rows[..at]
                .iter()
                .any(|(before, shadow, _)| before == code && part.contains(shadow));
            assert!(!hidden, "{code:?} {part}");
        }
    }
    assert_unique(codes::STATES);
    #[cfg(feature = "mysql")]
    assert_unique(codes::NUMBERS);
    #[cfg(feature = "sqlite")]
    assert_unique(codes::RESULTS);
}

#[test]
fn driver_errors_without_a_code_have_their_class() {
    let io = |text: &str| sqlx::Error::Io(std::io::Error::other(text.to_owned()));
    for (error, waits) in [
        (sqlx::Error::WorkerCrashed, true),
        (sqlx::Error::PoolTimedOut, true),
        (sqlx::Error::PoolClosed, true),
        (sqlx::Error::Protocol("cut".into()), true),
        (io("connection refused"), true),
        (io("invalid peer certificate: UnknownIssuer"), false),
        (sqlx::Error::Tls("server does not support TLS".into()), false),
        (sqlx::Error::Configuration("no key".into()), false),
        (sqlx::Error::RowNotFound, false),
    ] {
        let shown = error.to_string();
        let answer = StoreError::from(ClientError::of_connecting(error));
        assert_eq!(ends_start(&answer), !waits, "{shown}");
        assert_eq!(answer.is_transient(), waits, "{shown}");
    }
}
