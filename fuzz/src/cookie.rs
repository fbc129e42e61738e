//! `Cookie` headers, what is in them, and the keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{
    SessionId,
    cookie::{CookieCodec, CookieConfig, Key, KeyRing, Presented, SignedBy},
};

/// Headers, one a line.
pub(crate) fn check(bytes: &[u8]) {
    let [old, new] = [b'o', b'n'].map(key);
    let rings = [vec![old.clone()], vec![new.clone(), old.clone()], vec![new]];
    for (ring, config) in rings.iter().flat_map(|ring| [(ring, CookieConfig::default()), (ring, CookieConfig::development())]) {
        let signed = |keys: &[Key]| CookieCodec::signed(config.clone(), &keyring(keys)).unwrap_or_else(|error| panic!("{error}"));
        // One codec for each key says what the ring has to believe.
        let alone: Vec<_> = ring.iter().map(|key| signed(std::slice::from_ref(key))).collect();
        headers(&signed(ring), &alone, bytes);
    }
    let unsigned = CookieCodec::unsigned(CookieConfig::development()).unwrap_or_else(|error| panic!("{error}"));
    headers(&unsigned, std::slice::from_ref(&unsigned), bytes);
    if let Some(id) = bytes.first_chunk::<{ SessionId::BYTES }>() {
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
    let believed = codec.read(lines.iter().copied());
    let expected = lines.iter().find_map(|line| reference(alone, line));
    assert_eq!(believed, expected, "the reader and its model disagree");
    let Some(believed) = believed else { return };
    assert!(!format!("{believed:?}").contains(&*String::from_utf8_lossy(&believed.id.to_text())), "an id is shown");
    // Whatever stands beside it, in the same header or in another one.
    let beside: Vec<u8> = [b"\xff=;=;;x=1; ".as_slice(), lines[0], b" ;\t; y"].concat();
    let among = [b"".as_slice(), b"sid", &beside].into_iter().chain(lines[1..].iter().copied());
    assert_eq!(codec.read(among), Some(believed), "neighbours hide a cookie");
}

/// The same in other words: a value counts if it is what would have been issued for the id in it.
fn reference(alone: &[CookieCodec], header: &[u8]) -> Option<Presented> {
    let name = issue(&alone[0], None).split_once('=')?.0.to_owned();
    for pair in
        String::from_utf8_lossy(&header.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect::<Vec<_>>()).split(';')
    {
        let pair = pair.trim_matches(' ');
        let Some((of, value)) = pair.split_once('=') else { continue };
        if of != name || value.len() < 34 {
            continue;
        }
        let Some(id) = SessionId::parse(&value.as_bytes()[2..34]) else { continue };
        let is = |codec: &CookieCodec| issue(codec, Some(&id)).split(';').next() == Some(pair);
        if let Some(at) = alone.iter().position(is) {
            return Some(Presented { id, signed_by: if at == 0 { SignedBy::Current } else { SignedBy::Older } });
        }
    }
    None
}

fn issue(codec: &CookieCodec, id: Option<&SessionId>) -> String {
    id.map_or_else(|| codec.remove(), |id| codec.issue(id, None))
}

/// What is issued is believed, and nothing else that looks like it.
fn issued(ring: &KeyRing, id: &[u8; SessionId::BYTES], bytes: &[u8]) {
    let text = URL_SAFE_NO_PAD.encode(id);
    let id = SessionId::parse(text.as_bytes()).unwrap_or_else(|| panic!("24 bytes are no id"));
    assert_eq!(id.to_text(), text.as_bytes());
    let codec = CookieCodec::signed(CookieConfig::default(), ring).unwrap_or_else(|error| panic!("{error}"));
    let cookie = codec.issue(&id, None);
    let pair = cookie.split(';').next().unwrap_or_default().as_bytes().to_vec();
    assert_eq!(codec.read([&pair[..]]), Some(Presented { id: id.clone(), signed_by: SignedBy::Current }));
    // One byte of it is another one.
    let [.., at, to] = bytes else { return };
    let mut forged = pair;
    let at = usize::from(*at) % forged.len();
    if forged[at] != *to {
        forged[at] = *to;
        assert_eq!(codec.read([&forged[..]]), None, "a forged cookie is believed");
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
            assert!(text.trim_ascii().len() < 16 || !shown.contains(text.trim_ascii()), "an error shows a key: {shown}");
        }
    }
}
