//! Scans of a Cluster, slot by slot.
//!
//! The `SCAN` cursor of a node is not valid on the node that replaces it. The content of a slot
//! does not depend on the node that serves it. Therefore a scan by slots misses no session when
//! nodes fail over or slots move during the scan.

use std::{collections::HashMap, sync::OnceLock};

use redis::{
    Cmd, Value,
    cluster_routing::{Route, SingleNodeRoutingInfo, Slot, SlotAddr},
};
use session_core::{Cursor, StoreKey};

use crate::{
    connect::{
        bounded::try_join_bounded,
        command::Request,
        connections::{Connections, Retry},
        decode,
    },
    error::ClientError,
    keys::Keys,
};

/// The number of slots of a Cluster.
const SLOTS: u16 = 16_384;
/// How many slots the scan reads at once.
const SLOTS_PER_STEP: u16 = 64;
/// The most slots of one page, so that a page takes less than the deadline on a busy machine.
const MAX_SLOTS_PER_PAGE: u16 = 512;

/// The keys of one page. The cursor consists of a slot and the last key that was visited in it.
pub(crate) async fn keys(
    connections: &Connections,
    keys: &Keys,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StoreKey>, Option<Cursor>), ClientError> {
    let (first, after) = read(after.as_ref())?;
    let end = first.saturating_add(MAX_SLOTS_PER_PAGE).min(SLOTS);
    let (mut visited, mut slot) = (Vec::new(), first);
    while slot < end {
        let step = slot..slot.saturating_add(SLOTS_PER_STEP).min(end);
        let reads = step.clone().map(|slot| keys_in(connections, keys, slot)).collect();
        let found = try_join_bounded(reads).await?;
        for (at, mut found) in step.zip(found) {
            slot = at;
            if slot == first {
                found.retain(|key| key.as_str() > after);
            }
            let room = limit - visited.len();
            if found.len() > room {
                found.truncate(room);
                // The next page begins in this slot, after the last key of this page.
                let last = if slot == first { after } else { "" };
                let next = write(slot, found.last().map_or(last, StoreKey::as_str));
                visited.append(&mut found);
                return Ok((visited, Some(next)));
            }
            visited.append(&mut found);
        }
        slot += 1;
    }
    Ok((visited, (end < SLOTS).then(|| write(end, ""))))
}

/// The keys of this store's sessions in a slot, sorted.
async fn keys_in(
    connections: &Connections,
    keys: &Keys,
    slot: u16,
) -> Result<Vec<StoreKey>, ClientError> {
    let mut list = redis::cmd("CLUSTER");
    list.arg("GETKEYSINSLOT").arg(slot).arg(i32::MAX);
    // A node that no longer serves the slot lists no keys and reports no error. A command with a
    // key of the slot makes the node name the node that serves it.
    let mut probe = redis::cmd("EXISTS");
    probe.arg(format!("{}{{{}}}", keys.prefix(), tag(slot)));
    let commands = [list, probe];
    let node = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
    let request = Request::PipelineTo(node.clone(), &commands);
    let mut found = match connections.send(&request, Retry::IfLost).await {
        // The slot is moving. Keys move only away from this node, so it is asked first.
        Err(ClientError::Moving { host, port }) => {
            let target = SingleNodeRoutingInfo::ByAddress { host, port };
            let mut found = keys_at(connections, keys, node, &commands[..1]).await?;
            found.extend(keys_at(connections, keys, target, &commands[..1]).await?);
            found
        }
        answers => {
            let mut answers = decode::list(answers?)?;
            answers.pop().unwrap_or_default().extract_error()?;
            session_keys(keys, answers)?
        }
    };
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

async fn keys_at(
    connections: &Connections,
    keys: &Keys,
    node: SingleNodeRoutingInfo,
    list: &[Cmd],
) -> Result<Vec<StoreKey>, ClientError> {
    let answers = connections.send(&Request::PipelineTo(node, list), Retry::IfLost).await?;
    session_keys(keys, decode::list(answers)?)
}

/// The keys of sessions among the names in the first answer.
fn session_keys(keys: &Keys, answers: Vec<Value>) -> Result<Vec<StoreKey>, ClientError> {
    let names = decode::list(answers.into_iter().next().unwrap_or_default().extract_error()?)?;
    Ok(names.iter().filter_map(decode::text).filter_map(|name| keys.key(name)).collect())
}

/// A hash tag in the slot. The first call searches the tags of all slots, which takes a few
/// milliseconds.
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
    let (slot, key) = cursor.as_str().split_once('\n').ok_or(ClientError::InvalidCursor)?;
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS).ok_or(ClientError::InvalidCursor)?;
    Ok((slot, key))
}

fn write(slot: u16, key: &str) -> Cursor {
    Cursor::new(format!("{slot}\n{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_in_its_slot() {
        for slot in [0, 1, 8191, 16_383] {
            assert_eq!(Some(Slot::for_key(tag(slot))), Slot::new(slot));
        }
    }

    #[test]
    fn cursor_is_read_back_and_other_texts_are_refused() {
        assert_eq!(read(Some(&write(7, "a"))).unwrap(), (7, "a"));
        assert_eq!(read(None).unwrap(), (0, ""));
        for text in ["", "7", "16384\n", "x\na", "\ta"] {
            assert!(read(Some(&Cursor::new(text))).is_err(), "{text:?}");
        }
    }
}
