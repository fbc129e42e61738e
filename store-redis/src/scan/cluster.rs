//! Visiting the sessions of a Cluster, slot by slot.
//!
//! A node's own `SCAN` cursor means nothing to the node that takes over from it. What is in a slot
//! does not depend on which node serves it, so a walk through the slots misses nothing when nodes
//! fail over or slots move in the middle of it.

use std::{collections::HashMap, sync::OnceLock};

use redis::{
    Cmd, Value,
    cluster_routing::{Route, SingleNodeRoutingInfo, Slot, SlotAddr},
};
use session_core::{Cursor, StoreKey};

use super::words;
use crate::{
    answer,
    command::Request,
    error::ClientError,
    keys::Keys,
    link::{Links, Repeat},
    together::together,
};

/// How many slots there are.
const SLOTS: u16 = 16_384;
/// How many slots are asked at once. Then a page that is full ends.
const STEP: u16 = 64;
/// The most slots of one page: on a busy machine too, a page takes less time than a call may.
const MOST_SLOTS: u16 = 512;

/// The keys of one page. The cursor is a slot, and the last key in it that was visited.
pub(crate) async fn keys(
    links: &Links,
    keys: &Keys,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StoreKey>, Option<Cursor>), ClientError> {
    let (first, after) = read(after.as_ref())?;
    let end = first.saturating_add(MOST_SLOTS).min(SLOTS);
    let (mut visited, mut slot) = (Vec::new(), first);
    while slot < end {
        let step = slot..slot.saturating_add(STEP).min(end);
        let found = together(step.clone().map(|slot| keys_in(links, keys, slot)).collect()).await?;
        for (at, mut found) in step.zip(found) {
            slot = at;
            if slot == first {
                found.retain(|key| key.as_str() > after);
            }
            let room = limit - visited.len();
            if found.len() > room {
                found.truncate(room);
                // The slot that did not fit is where the next page begins, behind what is on this
                // one.
                let behind = if slot == first { after } else { "" };
                let next = write(slot, found.last().map_or(behind, StoreKey::as_str));
                visited.append(&mut found);
                return Ok((visited, Some(next)));
            }
            visited.append(&mut found);
        }
        slot += 1;
    }
    Ok((visited, (end < SLOTS).then(|| write(end, ""))))
}

/// The keys of this store's sessions in a slot, in order.
async fn keys_in(links: &Links, keys: &Keys, slot: u16) -> Result<Vec<StoreKey>, ClientError> {
    let mut listed = words(&["CLUSTER", "GETKEYSINSLOT"]);
    listed.arg(slot).arg(i32::MAX);
    // A node that no longer serves the slot lists no keys and reports no error. For a key of the
    // slot it says which node does.
    let mut served = words(&["EXISTS"]);
    served.arg(format!("{}{{{}}}", keys.prefix(), tag(slot)));
    let commands = [listed, served];
    let node = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
    let mut found = match links.send(&Request::To(node.clone(), &commands), Repeat::Once).await {
        // The slot is on its way. What is here now is here or there a moment later, so the node it
        // comes from is asked first.
        Err(ClientError::Moving { host, port }) => {
            let mut found = listed_at(links, keys, node, &commands[..1]).await?;
            found.extend(
                listed_at(
                    links,
                    keys,
                    SingleNodeRoutingInfo::ByAddress { host, port },
                    &commands[..1],
                )
                .await?,
            );
            found
        }
        answers => {
            let mut answers = answer::list(answers?)?;
            answers.pop().unwrap_or_default().extract_error()?;
            named(keys, answers)?
        }
    };
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

async fn listed_at(
    links: &Links,
    keys: &Keys,
    node: SingleNodeRoutingInfo,
    list: &[Cmd],
) -> Result<Vec<StoreKey>, ClientError> {
    named(keys, answer::list(links.send(&Request::To(node, list), Repeat::Once).await?)?)
}

/// The keys of sessions among the names that came.
fn named(keys: &Keys, answers: Vec<Value>) -> Result<Vec<StoreKey>, ClientError> {
    let names = answer::list(answers.into_iter().next().unwrap_or_default().extract_error()?)?;
    Ok(names.iter().filter_map(answer::text).filter_map(|name| keys.key(name)).collect())
}

/// A hash tag that lies in the slot. Every slot has one; the search for all of them takes a few
/// milliseconds, once.
fn tag(slot: u16) -> &'static str {
    static TAGS: OnceLock<HashMap<Slot, String>> = OnceLock::new();
    let tags = TAGS.get_or_init(|| {
        let mut tags = HashMap::with_capacity(usize::from(SLOTS));
        let mut numbers = 0_u32..;
        while tags.len() < usize::from(SLOTS)
            && let Some(number) = numbers.next()
        {
            let text = format!("{number:x}");
            tags.entry(Slot::for_key(&text)).or_insert(text);
        }
        tags
    });
    Slot::new(slot).and_then(|slot| tags.get(&slot)).map_or("", String::as_str)
}

fn read(cursor: Option<&Cursor>) -> Result<(u16, &str), ClientError> {
    let Some(cursor) = cursor else { return Ok((0, "")) };
    let (slot, key) = cursor.as_str().split_once('\n').ok_or(ClientError::Cursor)?;
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS).ok_or(ClientError::Cursor)?;
    Ok((slot, key))
}

fn write(slot: u16, key: &str) -> Cursor {
    Cursor::new(format!("{slot}\n{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_lies_in_its_slot() {
        for slot in [0, 1, 8191, 16_383] {
            assert_eq!(Some(Slot::for_key(tag(slot))), Slot::new(slot));
        }
    }

    #[test]
    fn a_cursor_comes_back_and_other_texts_are_refused() {
        assert_eq!(read(Some(&write(7, "a"))).unwrap(), (7, "a"));
        assert_eq!(read(None).unwrap(), (0, ""));
        for text in ["", "7", "16384\n", "x\na", "\ta"] {
            assert!(read(Some(&Cursor::new(text))).is_err(), "{text:?}");
        }
    }
}
