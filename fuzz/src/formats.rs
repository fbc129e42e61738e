//! The small formats that all stores share: ids, keys, handles, names, principals, attributes and
//! values. Also the check of the origin of a request.

use session_core::{
    Attributes, Handle, Json, JsonError, Limits, Name, Principal, SecretHash, SessionId, ShortText,
    StoreKey,
    origin::{CrossOriginPolicy, CrossOriginRequest},
};

use crate::assertions::{SECRET, assert_no_secret};

/// Gives the input to the parser of each format.
pub(crate) fn check(bytes: &[u8]) {
    id(bytes);
    origin(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    key(text);
    if let Some(handle) = Handle::parse(text) {
        assert_eq!((handle.as_str(), handle.to_string().as_str()), (text, text));
    }
    let plain =
        |most| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    assert_eq!(Name::new(text).is_ok(), plain(Name::MAX_BYTES));
    assert_eq!(Principal::new(text).is_ok(), plain(Principal::MAX_BYTES));
    attributes(text);
    json(text);
}

fn origin(bytes: &[u8]) {
    let post = CrossOriginRequest::new("POST").host(Some(b"example.com"));
    if CrossOriginPolicy::default().check(&post.origin([bytes])).is_ok() {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let is_own = |scheme: &str, default: &str| {
            let rest =
                text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://example.com"));
            rest.is_some_and(|rest| {
                rest.is_empty()
                    || rest
                        .strip_prefix(':')
                        .is_some_and(|number| number.trim_start_matches('0') == default)
            })
        };
        assert!(
            is_own("http", "80") || is_own("https", "443"),
            "a foreign origin is accepted: {text}"
        );
    }
    // A trusted origin is accepted. The text of a rejection is bounded for every host.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(policy) = CrossOriginPolicy::builder().trusted_origin(text).build() {
        assert_eq!(policy.check(&post.fetch_site([&b"cross-site"[..]]).origin([bytes])), Ok(()));
    }
    if let Err(rejection) = CrossOriginPolicy::default()
        .check(&post.host(Some(bytes)).origin([&b"https://example.com"[..]]))
    {
        assert!(
            rejection.to_string().len() < 1_024,
            "the text of a rejection has 1,024 bytes or more"
        );
    }
}

fn id(bytes: &[u8]) {
    let Some(id) = SessionId::parse(bytes) else { return };
    assert_eq!(id.to_text(), bytes);
    assert_eq!(format!("{id:?}"), "SessionId(***)");
    let key = id.key();
    assert!(
        key.is_storable()
            && bytes.starts_with(key.as_str().as_bytes())
            && bytes[key.as_str().len()] == b'.'
    );
    assert_eq!(Handle::parse(key.handle().as_str()), Some(key.handle()));
    let hash = id.secret_hash();
    assert_eq!(SecretHash::from_slice(hash.as_bytes()), Some(hash));
    if let Ok(next) = id.rotated() {
        assert_eq!((next.key(), next.generation()), (key, id.generation().saturating_add(1)));
        assert_ne!(next.secret_hash(), hash, "a rotation did not change the secret");
    }
}

fn key(text: &str) {
    let key = StoreKey::from_text(text);
    assert_eq!(
        key.is_storable(),
        (1..=StoreKey::MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
    );
    assert!(
        text.len() < 24 || !format!("{key:?}").contains(text),
        "the Debug form contains the key"
    );
}

fn attributes(text: &str) {
    let short = !text.is_empty()
        && text.len() <= ShortText::MAX_BYTES
        && !text.chars().any(char::is_control);
    assert_eq!(ShortText::new(text).is_ok(), short);
    let Some(read) = Attributes::from_text(text) else { return };
    assert_eq!(Attributes::from_text(&read.to_text()).as_ref(), Some(&read));
    assert!(read.to_text().len() <= Attributes::MAX_TEXT_BYTES);
    let bounded = read.clone().bounded();
    assert_eq!(bounded.clone().bounded(), bounded);
    assert!(
        [bounded.idle_timeout, bounded.absolute_timeout]
            .into_iter()
            .flatten()
            .all(|timeout| timeout <= Limits::LONGEST_TTL)
    );
    assert_eq!(read.overlaid(&Attributes::default()), read);
}

fn json(text: &str) {
    let read = serde_json::from_str::<serde_json::Value>(text);
    match Json::from_text(text) {
        Ok(json) => {
            assert_eq!(json.as_str(), text);
            assert_eq!(format!("{json:?}"), format!("Json({} bytes)", text.len()));
            match read {
                // `serde_json::Value` rejects unpaired surrogates and numbers beyond `f64`.
                Err(error) => assert!(
                    text.contains("\\u") || text.contains(['e', 'E']) || text.len() > 300,
                    "{error}"
                ),
                Ok(value) => {
                    assert_eq!(json.decode::<serde_json::Value>().ok(), Some(value.clone()));
                    // `serde_json` reads -0 as a fraction. `Json` reads it as the integer 0.
                    assert!(
                        json.as_integer() == value.as_i64() || json.as_integer() == Some(0),
                        "the integer differs from that of serde_json"
                    );
                    assert_eq!(
                        Json::encode(&value).ok().and_then(|json| json.decode().ok()),
                        Some(value)
                    );
                }
            }
        }
        Err(error) => {
            assert!(
                read.is_err() || error == JsonError::TooDeep,
                "valid JSON is rejected: {error}"
            );
            if text.contains(SECRET) {
                assert_no_secret(&format!("{error} {error:?}"));
            }
        }
    }
}
