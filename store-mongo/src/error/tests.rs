//! Each error has the effect of its class.

use super::*;

/// What the start does, and what a later call answers.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    /// The start waits, and a later call is `Unavailable`.
    Waits,
    /// The start ends with this remedy, and a later call is `Other`.
    Ends(&'static str),
    /// The start ends, and a later call is rejected as full.
    EndsAsFull,
}

/// The effect of each class.
fn effect(class: Class) -> Effect {
    match class {
        Class::Busy | Class::Unacknowledged => Effect::Waits,
        Class::Full => Effect::EndsAsFull,
        Class::Login => Effect::Ends("check user, password and authSource"),
        Class::MissingPrivilege => Effect::Ends("the README of store-mongo"),
        Class::ConflictingIndex => Effect::Ends("remove it"),
        Class::DuplicateKey => Effect::Ends("remove all unique indexes"),
        Class::RetryableWrites => Effect::Ends("retryWrites=false"),
        Class::Unsupported => Effect::Ends("use MongoDB 5.0 or later"),
        Class::MissingIndex => Effect::Ends("lost its indexes"),
        Class::Rejected => Effect::Ends("rejected the call"),
    }
}

fn assert_effect(class: Class, error: ClientError) {
    let (shown, answer) = (error.to_string(), StoreError::from(error));
    match effect(class) {
        Effect::Waits => {
            assert!(matches!(answer, StoreError::Unavailable { .. }), "{shown}");
            assert!(answer.is_transient(), "{shown}");
        }
        Effect::Ends(remedy) => {
            assert!(matches!(answer, StoreError::Other { .. }), "{shown}");
            assert!(!answer.is_transient(), "{shown}");
            assert!(shown.contains(remedy), "{remedy} is missing in: {shown}");
        }
        Effect::EndsAsFull => {
            let is_full = matches!(answer, StoreError::Rejected(Rejection::Full { .. }));
            assert!(is_full && !answer.is_transient(), "{shown}");
        }
    }
}

#[test]
fn each_error_code_has_the_effect_of_its_class() {
    for &(code, message, class) in codes::COMMANDS {
        let found = codes::of_command(code, &format!("a text: {message}, and more"));
        assert_eq!(found, class, "{code} {message}");
        assert_effect(class, ClientError::by_code(code, "Name", message));
    }
    for &(code, _, class) in codes::WRITE_CONCERNS {
        assert_effect(class, ClientError::of_class(codes::of_write_concern(code), named(code, "")));
    }
    assert_eq!(codes::of_write_concern(91), Class::Unacknowledged);
    for unknown in [0, 9, 26, 20, 2] {
        assert_effect(Class::Rejected, ClientError::by_code(unknown, "", "a message"));
    }
}

#[test]
fn no_error_code_has_two_classes() {
    for rows in [codes::COMMANDS, codes::WRITE_CONCERNS] {
        for (at, (code, part, _)) in rows.iter().enumerate() {
            let hidden = rows[..at]
                .iter()
                .any(|(before, shadow, _)| before == code && part.contains(shadow));
            assert!(!hidden, "{code} {part}");
        }
    }
}

#[test]
fn driver_errors_without_a_code_have_their_class() {
    let io = |kind: io::ErrorKind, text: &str| Error::from(io::Error::new(kind, text.to_owned()));
    for (error, waits, is_lasting) in [
        (io(io::ErrorKind::ConnectionRefused, "connection refused"), true, false),
        (io(io::ErrorKind::UnexpectedEof, "tls handshake eof"), true, false),
        (io(io::ErrorKind::TimedOut, "timed out"), true, false),
        (io(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer"), false, true),
        (io(io::ErrorKind::InvalidData, "received fatal alert: CertificateRequired"), false, true),
        (Error::custom("anything else"), false, false),
    ] {
        let shown = error.to_string();
        let error = ClientError::of_connecting(error);
        assert_eq!(error.is_lasting(), is_lasting, "{shown}");
        assert_eq!(StoreError::from(error).is_transient(), waits, "{shown}");
    }
}

#[test]
fn d11_refused_login_waits_only_after_a_successful_one() {
    assert!(!StoreError::from(ClientError::Login).is_transient());
    assert!(StoreError::from(ClientError::LoginChanged).is_transient());
}

#[test]
fn debug_shows_the_message_and_the_sources() {
    let source = BoxError::from(ClientError::Login);
    let error = ConnectError::Server { server: "db:27017".to_owned(), source };
    assert_eq!(format!("{error:?}"), format!("{error}: {}", ClientError::Login));
}

#[test]
fn c45_errors_do_not_quote_server_messages() {
    for code in [2, 9, 13, 20, 26, 8000, 11000, 241, 112, 16500] {
        let error = ClientError::by_code(
            code,
            "Name",
            "not authorized to execute { findAndModify: 'sessions', query: { key: 'secret' } }",
        );
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
