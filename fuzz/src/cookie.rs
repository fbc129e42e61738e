//! `Cookie` headers, what is in them, and the keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{
    SessionId,
    cookie::{CookieCodec, CookieConfig, Key, KeyRing, SignedBy, VerifiedCookie, VerifiedCookies},
};

/// Twelve bytes of key and 21 of secret.
const ID_BYTES: usize = 33;

/// Headers, one a line.
pub(crate) fn check(bytes: &[u8]) {
    let [old, new] = [b'o', b'n'].map(key);
    let rings = [vec![old.clone()], vec![new.clone(), old.clone()], vec![new]];
    for (ring, config) in rings
        .iter()
        .flat_map(|ring| [(ring, CookieConfig::default()), (ring, CookieConfig::development())])
    {
        let signed = |keys: &[Key]| {
            CookieCodec::signed(config.clone(), &keyring(keys))
                .unwrap_or_else(|error| panic!("{error}"))
        };
        // One codec for each key says what the ring has to believe.
        let alone: Vec<_> = ring.iter().map(|key| signed(std::slice::from_ref(key))).collect();
        headers(&signed(ring), &alone, bytes);
    }
    let unsigned = CookieCodec::unsigned(CookieConfig::development())
        .unwrap_or_else(|error| panic!("{error}"));
    headers(&unsigned, std::slice::from_ref(&unsigned), bytes);
    if let Some(id) = bytes.first_chunk::<ID_BYTES>() {
        issued(&keyring(&rings[1]), id, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        key_of(text);
    }
}

fn key(first: u8) -> Key {
    let bytes: Vec<u8> = (0..48).map(|at| at ^ first).collect();
    Key::from_bytes(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn keyring(keys: &[Key]) -> KeyRing {
    KeyRing::new(keys.to_vec()).unwrap_or_else(|error| panic!("{error}"))
}

fn headers(codec: &CookieCodec, alone: &[CookieCodec], bytes: &[u8]) {
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let read = |headers: &[&[u8]]| codec.read(headers.iter().copied());
    let believed = read(&lines);
    assert_eq!(
        believed.iter().cloned().collect::<Vec<_>>(),
        reference(alone, &lines),
        "the reader and its model disagree"
    );
    for VerifiedCookie { id, .. } in believed.iter() {
        let text = id.to_text();
        assert!(
            !format!("{believed:?}").contains(&*String::from_utf8_lossy(&text)),
            "an id is shown"
        );
    }
    // Neighbours in the same header or in another one change nothing.
    let beside: Vec<u8> = [b"\xff=;=;;x=1; ".as_slice(), lines[0], b" ;\t; y"].concat();
    let among: Vec<_> =
        [b"".as_slice(), b"sid", &beside].into_iter().chain(lines[1..].iter().copied()).collect();
    assert_eq!(read(&among), believed, "neighbours hide a cookie");
}

/// The same in other words: a value counts if it is the one that would be issued for the id in it,
/// each id once, and the first four.
fn reference(alone: &[CookieCodec], headers: &[&[u8]]) -> Vec<VerifiedCookie> {
    let name =
        issue(&alone[0], None).split_once('=').map(|(name, _)| name.to_owned()).unwrap_or_default();
    let mut found: Vec<VerifiedCookie> = Vec::new();
    for header in headers {
        let ascii: Vec<_> =
            header.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect();
        for pair in String::from_utf8_lossy(&ascii).split(';') {
            let pair = pair.trim_matches(' ');
            let Some((of, value)) = pair.split_once('=') else { continue };
            let Some(id) =
                value.as_bytes().get(2..2 + SessionId::TEXT_LENGTH).and_then(SessionId::parse)
            else {
                continue;
            };
            let is = |codec: &CookieCodec| {
                of == name && issue(codec, Some(&id)).split(';').next() == Some(pair)
            };
            let Some(at) = alone.iter().position(is) else { continue };
            let signed_by = match value.as_bytes()[0] {
                b'0' => SignedBy::None,
                _ if at == 0 => SignedBy::Current,
                _ => SignedBy::Older,
            };
            if found.len() < VerifiedCookies::MOST && found.iter().all(|cookie| cookie.id != id) {
                found.push(VerifiedCookie { id, signed_by });
            }
        }
    }
    found
}

fn issue(codec: &CookieCodec, id: Option<&SessionId>) -> String {
    id.map_or_else(|| codec.remove(), |id| codec.issue(id, None))
}

/// What is issued is believed, and nothing else that looks like it.
fn issued(ring: &KeyRing, id: &[u8; ID_BYTES], bytes: &[u8]) {
    let (key, secret) = id.split_at(12);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(key), URL_SAFE_NO_PAD.encode(secret));
    let id = SessionId::parse(text.as_bytes()).unwrap_or_else(|| panic!("33 bytes are not an id"));
    assert_eq!(id.to_text(), text.as_bytes());
    let codec = CookieCodec::signed(CookieConfig::default(), ring)
        .unwrap_or_else(|error| panic!("{error}"));
    let cookie = codec.issue(&id, None);
    let pair = cookie.split(';').next().unwrap_or_default().as_bytes().to_vec();
    let value = pair.split(|byte| *byte == b'=').nth(1).unwrap_or_default();
    assert!(value.len() == 91 && value.starts_with(b"2."), "a value has another length or format");
    assert_eq!(
        codec.read([&pair[..]]),
        VerifiedCookies::from(VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current })
    );
    // One byte of it is another one.
    let [.., at, to] = bytes else { return };
    let mut forged = pair;
    let at = usize::from(*at) % forged.len();
    if forged[at] != *to {
        forged[at] = *to;
        assert_eq!(
            codec.read([&forged[..]]),
            VerifiedCookies::default(),
            "a forged cookie is believed"
        );
    }
}

fn key_of(text: &str) {
    match Key::parse(text) {
        Ok(key) => {
            assert!(key.expose().len() >= Key::MIN_BYTES, "a short key");
            assert_eq!(Key::parse(&URL_SAFE_NO_PAD.encode(key.expose())), Ok(key.clone()));
            assert_eq!(format!("{key:?}"), "Key(***)");
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(
                text.trim_ascii().len() < 16 || !shown.contains(text.trim_ascii()),
                "an error shows a key: {shown}"
            );
        }
    }
}
