//! The `Debug` form of an error shows its message and its sources.

use std::time::Duration;

use session_core::{
    BoxError, Rejection, SessionError, StoreError,
    cookie::{InvalidKey, Key, KeyRing},
};

#[test]
fn debug_shows_the_message_and_the_sources() {
    let timeout = StoreError::Timeout { store: "redis", after: Duration::from_secs(2) };
    assert_eq!(format!("{timeout:?}"), "the redis store did not answer within 2s");
    let source = BoxError::from("connection refused");
    let unavailable = StoreError::Unavailable { store: "redis", source };
    let shown = "the redis store is unavailable: connection refused";
    assert_eq!(format!("{unavailable:?}"), shown);
    assert_eq!(format!("{:?}", SessionError::from(unavailable)), shown);
    let rejection = Rejection::PrincipalWithoutRotation;
    assert_eq!(format!("{:?}", StoreError::from(rejection.clone())), rejection.to_string());
    assert_eq!(format!("{rejection:?}"), rejection.to_string());
}

#[test]
fn main_prints_a_readable_line_for_a_weak_key() {
    let main = || -> Result<(), Box<dyn std::error::Error>> {
        let _ring = KeyRing::from(Key::parse("c2hvcnQ=")?);
        Ok(())
    };
    let printed = format!("Error: {:?}", main().unwrap_err());
    assert_eq!(printed, format!("Error: {}", InvalidKey::Short { bytes: 5 }));
}
