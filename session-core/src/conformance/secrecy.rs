//! Checks that printed text and stored bytes contain no secret: C45, S12.

use super::{
    assert::{check, error_text},
    calls::{commit, create, end_session},
    fixture::Fixture,
    session::{LONG, TestSession, data, principal},
};
use crate::{Commit, Cursor, NewRecord, SessionId, StoreKey};

/// `Debug` and `Display` of store, settings and errors show no password, key, hash or value.
pub async fn c45_printed_text_shows_no_secret(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (held, value, alice) =
        (TestSession::new(), "value-that-must-stay-hidden", principal("alice"));
    let (key, next) = (&held.key, held.rotated());
    let new =
        held.record(LONG).data(data([("text", &format!("\"{value}\""))])).principal(alice.clone());
    create(&store, key, new).await;
    let mut printed = vec![("the store", format!("{store:?} {store:#?}"))];
    let settings = fixture.settings_text();
    printed.extend(settings.or_explain("C45 (settings)").map(|text| ("the settings", text)));
    let over = format!("\"{value}{}\"", "x".repeat(fixture.limits().data_bytes));
    let control = StoreKey::from_text(format!("{}\n", key.as_str()));
    let cursor = || Some(Cursor::new(format!("{}\n", key.as_str())));
    let mut errors = vec![
        store.commit(key, held.set("text", &over)).await.map(drop),
        store.commit(key, held.add("text", 1)).await.map(drop),
        store.commit(key, Commit { rotate: None, ..held.sign_in(&next, &alice) }).await.map(drop),
        store.create(&control, held.record(LONG)).await.map(drop),
        store.create(key, NewRecord { version: 0, ..held.record(LONG) }).await.map(drop),
        store.scan(cursor(), 10).await.map(drop),
        store.list(&alice, cursor(), 10).await.map(drop),
        store.delete_everyone(cursor(), 10).await.map(drop),
    ];
    if fixture.corrupt(key).await.or_explain("C45 (corrupt)").is_some() {
        errors.push(store.load(key).await.map(drop));
        errors.push(store.commit(key, held.commit()).await.map(drop));
    }
    if fixture.stop().await.or_explain("C45 (stopped)").is_some() {
        errors.push(store.load(key).await.map(drop));
        errors.push(store.commit(key, held.set("n", "1")).await.map(drop));
        errors.push(store.list(&alice, None, 10).await.map(drop));
        printed.push(("the store without its backend", format!("{store:?}")));
        let _ = fixture.start().await;
    }
    printed.extend(
        errors.into_iter().filter_map(Result::err).map(|error| ("an error", error_text(&error))),
    );
    let secret = fixture.secret().or_explain("C45 (secret)");
    let hashes = [&held, &next].map(|session| spellings(session.secret.as_bytes())).concat();
    for (what, text) in &printed {
        let hidden = [Some(key.as_str()), Some(value), secret.as_deref()];
        for hidden in hidden.into_iter().flatten().chain(hashes.iter().map(String::as_str)) {
            // The message must not contain the secret.
            let rule = format!("C45: {what} shows no password, key, hash or value");
            check(!text.contains(hidden), &rule, "text without it", "text with it");
        }
    }
}

/// Stored bytes contain no secret, as text, bytes or hexadecimal digits.
///
/// The check searches before and after a rotation with a grace.
pub async fn s12_stored_bytes_hold_no_secret(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = SessionId::random().unwrap_or_else(|error| panic!("{error}"));
    let next = id.rotated().unwrap_or_else(|error| panic!("{error}"));
    let session = |id: &SessionId| TestSession {
        key: id.key(),
        secret: id.secret_hash(),
        generation: id.generation(),
    };
    let (first, second) = (session(&id), session(&next));
    create(
        &store,
        &first.key,
        first.record(LONG).data(data([("a", "1")])).principal(principal("alice")),
    )
    .await;
    let rotation = first.rotate_with_grace(&second, LONG / 10);
    commit(&store, &first.key, rotation, "S12: a rotation takes effect").await;
    let Some(dump) = fixture.dump().await.or_explain("S12") else { return };
    let has = |needle: &[u8]| dump.windows(needle.len()).any(|window| window == needle);
    // The dump must contain the session, otherwise the search below proves nothing. A store may
    // write the key as text or as the bytes that the text encodes.
    let key = first.key.as_str();
    check(
        has(key.as_bytes()) || decode(key).is_some_and(|bytes| has(&bytes)),
        "S12: the dump has the stored record",
        "its key",
        "none",
    );
    for id in [&id, &next] {
        let text = id.to_text();
        let secret = &text[key.len() + 1..];
        let bytes = decode(std::str::from_utf8(secret).unwrap_or_default()).unwrap_or_default();
        // The first four bytes are the generation, which is not secret.
        let random = bytes.get(4..).unwrap_or_default();
        let [upper, lower] = [spellings(random)[0].clone(), spellings(random)[1].clone()];
        for needle in [secret, random, upper.as_bytes(), lower.as_bytes()] {
            check(
                !needle.is_empty() && !has(needle),
                "S12: the stored bytes contain no secret",
                "a dump without it",
                "the secret",
            );
        }
    }
    end_session(&store, &first.key, "S12: delete finds the record").await;
}

/// The common textual forms of bytes: hexadecimal, decimal lists and base64.
fn spellings(bytes: &[u8]) -> Vec<String> {
    use base64::{Engine, engine::general_purpose};
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let list: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    vec![
        hex.to_uppercase(),
        hex,
        list.join(", "),
        list.join(","),
        general_purpose::STANDARD_NO_PAD.encode(bytes),
        general_purpose::URL_SAFE_NO_PAD.encode(bytes),
    ]
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).ok()
}
