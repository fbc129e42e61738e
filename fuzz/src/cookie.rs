//! `Cookie` headers, the values in them, and the cookie keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{
    SessionId,
    cookie::{CookieCodec, CookieConfig, Key, KeyRing, SignedBy, VerifiedCookie, VerifiedCookies},
};

/// The bytes of an id: 12 of the key and 21 of the secret.
const ID_BYTES: usize = 33;

/// The input has one `Cookie` header per line. The first bytes are also an id, and the text is also
/// a cookie key.
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
        // One codec per key is the model: the ring must accept what any of them issues.
        let alone: Vec<_> = ring.iter().map(|key| signed(std::slice::from_ref(key))).collect();
        check_headers(&signed(ring), &alone, bytes);
    }
    let unsigned = CookieCodec::unsigned(CookieConfig::development())
        .unwrap_or_else(|error| panic!("{error}"));
    check_headers(&unsigned, std::slice::from_ref(&unsigned), bytes);
    if let Some(id) = bytes.first_chunk::<ID_BYTES>() {
        check_issued(&keyring(&rings[1]), id, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_key(text);
    }
}

fn key(first: u8) -> Key {
    let bytes: Vec<u8> = (0..48).map(|at| at ^ first).collect();
    Key::from_bytes(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn keyring(keys: &[Key]) -> KeyRing {
    KeyRing::new(keys.to_vec()).unwrap_or_else(|error| panic!("{error}"))
}

fn check_headers(codec: &CookieCodec, alone: &[CookieCodec], bytes: &[u8]) {
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let read = |headers: &[&[u8]]| codec.read(headers.iter().copied());
    let accepted = read(&lines);
    assert_eq!(
        accepted.iter().cloned().collect::<Vec<_>>(),
        model(alone, &lines),
        "the reader and the model disagree"
    );
    for VerifiedCookie { id, .. } in accepted.iter() {
        let text = id.to_text();
        assert!(
            !format!("{accepted:?}").contains(&*String::from_utf8_lossy(&text)),
            "the Debug form contains an id"
        );
    }
    // Other cookies, in the same header or in another one, do not change the result.
    let with_others: Vec<u8> = [b"\xff=;=;;x=1; ".as_slice(), lines[0], b" ;\t; y"].concat();
    let among: Vec<_> = [b"".as_slice(), b"sid", &with_others]
        .into_iter()
        .chain(lines[1..].iter().copied())
        .collect();
    assert_eq!(read(&among), accepted, "other cookies hide a session cookie");
}

/// A simple model of the reader. It accepts a value if a codec would issue exactly this value for
/// the id in it. It returns each id once, and the first four.
fn model(alone: &[CookieCodec], headers: &[&[u8]]) -> Vec<VerifiedCookie> {
    let name =
        issue(&alone[0], None).split_once('=').map(|(name, _)| name.to_owned()).unwrap_or_default();
    let mut found: Vec<VerifiedCookie> = Vec::new();
    for header in headers {
        let ascii: Vec<_> =
            header.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect();
        for pair in String::from_utf8_lossy(&ascii).split(';') {
            let pair = pair.trim_matches(' ');
            let Some((pair_name, value)) = pair.split_once('=') else { continue };
            let Some(id) =
                value.as_bytes().get(2..2 + SessionId::TEXT_LENGTH).and_then(SessionId::parse)
            else {
                continue;
            };
            let is = |codec: &CookieCodec| {
                pair_name == name && issue(codec, Some(&id)).split(';').next() == Some(pair)
            };
            let Some(at) = alone.iter().position(is) else { continue };
            let signed_by = match value.as_bytes()[0] {
                b'0' => SignedBy::None,
                _ if at == 0 => SignedBy::Current,
                _ => SignedBy::Older,
            };
            if found.len() < VerifiedCookies::MAX && found.iter().all(|cookie| cookie.id != id) {
                found.push(VerifiedCookie { id, signed_by });
            }
        }
    }
    found
}

fn issue(codec: &CookieCodec, id: Option<&SessionId>) -> String {
    id.map_or_else(|| codec.remove(), |id| codec.issue(id, None))
}

/// An issued cookie is accepted. The same cookie with one changed byte is rejected.
fn check_issued(ring: &KeyRing, id: &[u8; ID_BYTES], bytes: &[u8]) {
    let (key, secret) = id.split_at(12);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(key), URL_SAFE_NO_PAD.encode(secret));
    let id = SessionId::parse(text.as_bytes())
        .unwrap_or_else(|| panic!("an id of 33 bytes is rejected"));
    assert_eq!(id.to_text(), text.as_bytes());
    let codec = CookieCodec::signed(CookieConfig::default(), ring)
        .unwrap_or_else(|error| panic!("{error}"));
    let cookie = codec.issue(&id, None);
    let pair = cookie.split(';').next().unwrap_or_default().as_bytes().to_vec();
    let value = pair.split(|byte| *byte == b'=').nth(1).unwrap_or_default();
    assert!(
        value.len() == 91 && value.starts_with(b"2."),
        "the issued value has another length or format"
    );
    assert_eq!(
        codec.read([&pair[..]]),
        VerifiedCookies::from(VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current })
    );
    // Changes one byte.
    let [.., at, to] = bytes else { return };
    let mut forged = pair;
    let at = usize::from(*at) % forged.len();
    if forged[at] != *to {
        forged[at] = *to;
        assert_eq!(
            codec.read([&forged[..]]),
            VerifiedCookies::default(),
            "a forged cookie is accepted"
        );
    }
}

fn check_key(text: &str) {
    match Key::parse(text) {
        Ok(key) => {
            assert!(key.expose().len() >= Key::MIN_BYTES, "a short key is accepted");
            assert_eq!(Key::parse(&URL_SAFE_NO_PAD.encode(key.expose())), Ok(key.clone()));
            assert_eq!(format!("{key:?}"), "Key(***)");
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(
                text.trim_ascii().len() < 16 || !shown.contains(text.trim_ascii()),
                "an error contains the key: {shown}"
            );
        }
    }
}
