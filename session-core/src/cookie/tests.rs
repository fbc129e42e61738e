//! Tests of the cookie codec.

use std::time::Duration;

use super::*;
use crate::SessionId;

fn ring(seeds: &[u8]) -> KeyRing {
    KeyRing::new(
        seeds.iter().map(|seed| {
            Key::from_bytes((0..32).map(|n| n * 7 + seed).collect::<Vec<u8>>()).unwrap()
        }),
    )
    .unwrap()
}

fn codec(seeds: &[u8]) -> CookieCodec {
    CookieCodec::signed(CookieConfig::default(), &ring(seeds)).unwrap()
}

/// The `name=value` part of what `codec` issues for `id`.
fn pair(codec: &CookieCodec, id: &SessionId) -> String {
    codec.issue(id, None).split(';').next().unwrap().to_owned()
}

fn read(codec: &CookieCodec, header: &[u8]) -> Option<SessionId> {
    codec.read([header]).first.map(|cookie| cookie.id)
}

#[test]
fn issued_cookie_reads_back() {
    let (codec, id) = (codec(&[1]), SessionId::random().unwrap());
    assert_eq!(
        codec.read([pair(&codec, &id).as_bytes()]),
        VerifiedCookie { id: id.clone(), signed_by: SignedBy::Current }.into()
    );
    assert_eq!(pair(&codec, &id).len(), "__Host-id=".len() + 91);
}

#[test]
fn s04_every_flipped_byte_and_every_truncation_is_refused() {
    let (codec, id) = (codec(&[1]), SessionId::random().unwrap());
    let pair = pair(&codec, &id).into_bytes();
    let value_at = "__Host-id=".len();
    for at in value_at..pair.len() {
        for mask in [1, 4, 32, 128] {
            let mut changed = pair.clone();
            changed[at] ^= mask;
            assert_eq!(read(&codec, &changed), None, "byte {at} changed by {mask}");
        }
        assert_eq!(read(&codec, &pair[..at]), None, "cut at {at}");
    }
    let mut longer = pair.clone();
    longer.push(b'A');
    assert_eq!(read(&codec, &longer), None);
}

#[test]
fn s04_other_versions_and_missing_macs_are_refused() {
    let (codec, id) = (codec(&[1]), SessionId::random().unwrap());
    let pair = pair(&codec, &id);
    for changed in [
        pair.replace("=2.", "=1."),
        pair.replace("=2.", "=0."),
        pair.replace("=2.", "="),
        pair[..57].to_owned(),
        format!("{}.", &pair[..57]),
    ] {
        assert_eq!(read(&codec, changed.as_bytes()), None, "{changed}");
    }
}

#[test]
fn s03_malformed_values_are_ignored() {
    let codec = codec(&[1]);
    let long = format!("__Host-id={}", "A".repeat(65_536));
    for header in [
        "__Host-id=",
        "__Host-id=   ",
        "__Host-id=\"\"",
        "__Host-id=1234567",
        "__Host-id=../../etc",
        "__Host-id=%00",
        "__Host-id=\0",
        "__Host-id=ü",
        &long,
    ] {
        assert_eq!(read(&codec, header.as_bytes()), None);
    }
}

#[test]
fn s05_unsigned_value_is_refused_when_keys_are_set() {
    let id = SessionId::random().unwrap();
    let unsigned = CookieCodec::unsigned(CookieConfig::default()).unwrap();
    assert_eq!(read(&unsigned, pair(&unsigned, &id).as_bytes()), Some(id.clone()));
    assert_eq!(read(&codec(&[1]), pair(&unsigned, &id).as_bytes()), None);
    assert_eq!(read(&unsigned, pair(&codec(&[1]), &id).as_bytes()), None);
}

#[test]
fn s06_value_under_another_name_is_refused() {
    let id = SessionId::random().unwrap();
    let other =
        CookieCodec::signed(CookieConfig::default().name("__Host-other"), &ring(&[1])).unwrap();
    let moved = pair(&codec(&[1]), &id).replace("__Host-id", "__Host-other");
    assert_eq!(read(&other, moved.as_bytes()), None);
}

#[test]
fn s07_older_keys_verify_until_they_are_removed() {
    let id = SessionId::random().unwrap();
    let cookie = pair(&codec(&[1]), &id);
    assert_eq!(codec(&[2, 1]).read([cookie.as_bytes()]).first.unwrap().signed_by, SignedBy::Older);
    assert_eq!(
        codec(&[2, 1]).read([pair(&codec(&[2]), &id).as_bytes()]).first.unwrap().signed_by,
        SignedBy::Current
    );
    assert_eq!(read(&codec(&[2]), cookie.as_bytes()), None);
}

#[test]
fn s10_verified_cookie_is_used_at_any_position() {
    let (codec, id) = (codec(&[1]), SessionId::random().unwrap());
    let (good, bad) = (
        pair(&codec, &id),
        format!("__Host-id=2.{}.{}.{}", "A".repeat(16), "A".repeat(28), "B".repeat(43)),
    );
    for headers in [
        vec![format!("{good}; {bad}")],
        vec![format!("{bad}; {good}")],
        vec![bad.clone(), good.clone()],
        vec![good, bad],
    ] {
        let read = codec.read(headers.iter().map(String::as_bytes));
        assert_eq!(read.iter().map(|cookie| &cookie.id).collect::<Vec<_>>(), [&id]);
    }
}

#[test]
fn h33_at_most_four_different_cookies_are_used() {
    let codec = codec(&[1]);
    let ids: Vec<_> = (0..6).map(|_| SessionId::random().unwrap()).collect();
    let header = ids
        .iter()
        .flat_map(|id| [pair(&codec, id), pair(&codec, id)])
        .collect::<Vec<_>>()
        .join("; ");
    assert_eq!(
        codec.read([header.as_bytes()]).iter().map(|cookie| &cookie.id).collect::<Vec<_>>(),
        ids[..4].iter().collect::<Vec<_>>()
    );
}

#[test]
fn default_cookie_follows_owasp() {
    let cookie = codec(&[1]).issue(&SessionId::random().unwrap(), None);
    assert!(cookie.starts_with("__Host-id=2."), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Secure; SameSite=Lax"), "{cookie}");
}

#[test]
fn h12_removal_cookie_has_the_same_attributes() {
    let config = CookieConfig::default()
        .name("id")
        .path("/app")
        .domain("example.com")
        .same_site(SameSite::Strict);
    let codec = CookieCodec::signed(config, &ring(&[1])).unwrap();
    let attributes =
        "; Path=/app; Domain=example.com; Max-Age=0; HttpOnly; Secure; SameSite=Strict";
    assert_eq!(codec.remove(), format!("id={attributes}"));
    assert!(codec.issue(&SessionId::random().unwrap(), Some(Duration::ZERO)).ends_with(attributes));
}

#[test]
fn h17_max_age_is_at_most_400_days() {
    let id = SessionId::random().unwrap();
    assert!(
        codec(&[1]).issue(&id, Some(Duration::from_secs(u64::MAX))).contains("; Max-Age=34560000;")
    );
    assert!(codec(&[1]).issue(&id, Some(Duration::from_millis(1_999))).contains("; Max-Age=1;"));
    assert!(!codec(&[1]).issue(&id, None).contains("Max-Age"));
}

#[test]
fn debug_hides_the_keys() {
    assert!(format!("{:?}", codec(&[1, 2])).ends_with("keys: 2 }"));
}
