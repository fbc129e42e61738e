//! What must not show.

use super::{
    Fixture,
    steps::{LONG, Must, add, chain, create, data, holds, id, key, set},
};
use crate::{NewRecord, StoreKey};

/// `Debug` and `Display` of store, settings and errors show neither the password nor any key or value.
pub async fn c45_nothing_printed_shows_a_password_or_a_key(fixture: &dyn Fixture) {
    let store = fixture.store();
    let (held, value) = (key(), "value-that-nobody-may-print");
    create(&store, &held, NewRecord::new(LONG).data(data([("text", &format!("\"{value}\""))]))).await;
    let mut printed = vec![("the store", format!("{store:?} {store:#?}"))];
    let settings = fixture.settings_text();
    printed.extend(settings.or_explain("C45 (settings)").map(|text| ("the settings", text)));
    let over = format!("\"{value}{}\"", "x".repeat(fixture.limits().data_bytes));
    let control = StoreKey::from_text(format!("{}\n", held.as_str()));
    let mut errors = vec![
        store.commit(&held, set("text", &over)).await.map(drop),
        store.commit(&held, add("text", 1)).await.map(drop),
        store.commit(&held, add("n", 1).move_to(key())).await.map(drop),
        store.create(&control, NewRecord::new(LONG)).await.map(drop),
        store.scan(Some(crate::Cursor(held.as_str().into())), 10).await.map(drop),
    ];
    if fixture.corrupt(&held).await.or_explain("C45 (corrupt)").is_some() {
        errors.push(store.load(&held).await.map(drop));
    }
    if fixture.stop().await.or_explain("C45 (stopped)").is_some() {
        errors.push(store.load(&held).await.map(drop));
        errors.push(store.commit(&held, set("n", "1")).await.map(drop));
        printed.push(("the store without its backend", format!("{store:?}")));
        let _ = fixture.start().await;
    }
    printed.extend(errors.into_iter().filter_map(Result::err).map(|error| ("an error", chain(&error))));
    let secret = fixture.secret().or_explain("C45 (secret)");
    for (what, text) in &printed {
        for hidden in [Some(held.as_str()), Some(value), secret.as_deref()].into_iter().flatten() {
            // The message must not repeat what it complains about.
            holds(!text.contains(hidden), &format!("C45: {what} shows no password, key or value"), "text without it", "text with it");
        }
    }
}

/// What the backend keeps opens no session: no id is in it, in any encoding.
pub async fn s12_stored_bytes_hold_no_session_id(fixture: &dyn Fixture) {
    let store = fixture.store();
    let id = id();
    let key = id.store_key();
    create(&store, &key, NewRecord::new(LONG).data(data([("a", "1")])).principal(super::steps::principal("alice"))).await;
    let Some(dump) = fixture.dump().await.or_explain("S12") else { return };
    let text = id.to_text();
    // The first four characters are the lineage tag, which the key has in the open.
    let secret = &text[StoreKey::LINEAGE_LENGTH..];
    let has = |needle: &[u8]| dump.windows(needle.len()).any(|window| window == needle);
    // A store that is spread over nodes may write the tag apart from the rest.
    let stored = &key.as_str().as_bytes()[StoreKey::LINEAGE_LENGTH..];
    holds(has(stored), "S12: the dump has the stored record", "the key in it", "a dump without it");
    holds(!has(secret), "S12: no stored byte gives an id away", "a dump without the id", "the id");
    store.delete(&key).await.must("S12: delete answers");
}
