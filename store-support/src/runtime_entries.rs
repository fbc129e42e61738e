//! The entries of a list that belong to a runtime.

use std::sync::Weak;

use parking_lot::RwLock;

/// Removes the entry that matches, if the list still exists.
///
/// Drops the entry after it has released the lock, because the drop may close connections.
pub fn remove_entry<T>(entries: &Weak<RwLock<Vec<T>>>, matches: impl Fn(&T) -> bool) {
    let Some(entries) = entries.upgrade() else { return };
    let mut entries = entries.write();
    let removed = entries.iter().position(matches).map(|at| entries.swap_remove(at));
    drop(entries);
    drop(removed);
}
