//! Scanning a Cluster, slot by slot.
//!
//! A node's own `SCAN` cursor means nothing to the node that takes over from it. What lies in a slot does not depend on who serves it, so a
//! scan that goes through the slots misses nothing when nodes fail over or slots move in the middle of it.

use std::{collections::HashMap, sync::OnceLock};

use redis::{
    Cmd, Value,
    cluster_routing::{Route, SingleNodeRoutingInfo, Slot, SlotAddr},
};
use session_core::{Cursor, Page, Record, StoreKey};

use super::{records, words};
use crate::{
    answer,
    command::Request,
    error::ClientError,
    keys::{Keys, key_at},
    link::{Links, Repeat},
    together::together,
};

/// How many slots there are.
const SLOTS: u16 = 16_384;
/// How many slots are asked before it is looked whether the page is full.
const STEP: u16 = 64;
/// How many slots one page passes at most.
const MOST_SLOTS: u16 = 2_048;

/// One page of at most `limit` records. The cursor is a slot, and the last place in it that was visited.
pub(crate) async fn page(links: &Links, keys: &Keys, after: Option<Cursor>, limit: usize) -> Result<Page, ClientError> {
    let (first, after) = read(after)?;
    let end = first.saturating_add(MOST_SLOTS).min(SLOTS);
    let (mut visited, mut room, mut slot) = (Vec::new(), limit, first);
    while slot < end {
        let step = slot..slot.saturating_add(STEP).min(end);
        let found = together(step.clone().map(|slot| places(links, keys, slot)).collect()).await?;
        for (at, mut places) in step.zip(found) {
            slot = at;
            if slot == first {
                places.retain(|place| *place > after);
            }
            if places.len() > room {
                places.truncate(room);
                // The slot that did not fit is where the next page begins, behind what is on this one.
                let behind = if slot == first { after } else { String::new() };
                let next = write(slot, places.last().unwrap_or(&behind));
                visited.push(places);
                return Ok(Page { records: all(links, keys, &visited).await?, next: Some(next) });
            }
            room -= places.len();
            visited.push(places);
        }
        slot += 1;
    }
    Ok(Page { records: all(links, keys, &visited).await?, next: (end < SLOTS).then(|| write(end, "")) })
}

/// The live records at the places of several slots. Each is read by itself: in a slot that is on its way from one node to another, some are
/// here and some are there.
async fn all(links: &Links, keys: &Keys, slots: &[Vec<String>]) -> Result<Vec<(StoreKey, Record)>, ClientError> {
    let places = slots.iter().flatten();
    let read = together(places.map(|place| records(links, keys, std::slice::from_ref(place))).collect()).await?;
    Ok(read.into_iter().flatten().collect())
}

/// The places of this store's sessions in a slot, in order.
async fn places(links: &Links, keys: &Keys, slot: u16) -> Result<Vec<String>, ClientError> {
    let mut listed = words(&["CLUSTER", "GETKEYSINSLOT"]);
    listed.arg(slot).arg(i32::MAX);
    // A node that does not serve the slot any more lists no keys and says no word about it. For a key of the slot it says who does.
    let mut served = words(&["EXISTS"]);
    served.arg(keys.at(&format!("{{{}}}", tag(slot))));
    let commands = [listed, served];
    let node = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
    let mut places = match links.send(&Request::To(node.clone(), &commands), Repeat::Once).await {
        // The slot is on its way. What is here now is here or there a moment later, so the node it comes from is asked first.
        Err(ClientError::Moving { host, port }) => {
            let mut places = listed_at(links, keys, node, &commands[..1]).await?;
            places.extend(listed_at(links, keys, SingleNodeRoutingInfo::ByAddress { host, port }, &commands[..1]).await?);
            places
        }
        answers => {
            let mut answers = answer::list(answers?)?;
            answers.pop().unwrap_or_default().extract_error()?;
            named(keys, answers)?
        }
    };
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

async fn listed_at(links: &Links, keys: &Keys, node: SingleNodeRoutingInfo, list: &[Cmd]) -> Result<Vec<String>, ClientError> {
    named(keys, answer::list(links.send(&Request::To(node, list), Repeat::Once).await?)?)
}

/// The places among the names that came.
fn named(keys: &Keys, answers: Vec<Value>) -> Result<Vec<String>, ClientError> {
    let names = answer::list(answers.into_iter().next().unwrap_or_default().extract_error()?)?;
    let places = names.iter().filter_map(answer::text).filter_map(|name| keys.place_of(name)).filter(|place| key_at(place).is_some());
    Ok(places.map(str::to_owned).collect())
}

/// A hash tag that lies in the slot. Every slot has one; the search for all of them takes a few milliseconds, once.
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

fn read(cursor: Option<Cursor>) -> Result<(u16, String), ClientError> {
    let Some(Cursor(text)) = cursor else { return Ok((0, String::new())) };
    let (slot, place) = text.split_once('\n').ok_or(ClientError::Cursor)?;
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS).ok_or(ClientError::Cursor)?;
    Ok((slot, place.to_owned()))
}

fn write(slot: u16, place: &str) -> Cursor {
    Cursor(format!("{slot}\n{place}").into())
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
        assert_eq!(read(Some(write(7, "{a}"))).unwrap(), (7, "{a}".to_owned()));
        assert_eq!(read(None).unwrap(), (0, String::new()));
        for text in ["", "7", "16384\n", "x\n{a}"] {
            assert!(read(Some(Cursor(text.into()))).is_err(), "{text:?}");
        }
    }
}
