//! Counts the allocations that a function makes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// The counter of the thread. It neither allocates nor has a destructor, so the allocator can
    /// use it at any time in the life of a thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with a counter for each thread. Each call of `alloc`, `alloc_zeroed` and
/// `realloc` counts as one allocation.
///
/// ```
/// # use bench::{CountingAllocator, count_allocations};
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let (text, allocations) = count_allocations(|| "text".to_owned());
/// assert_eq!((text.as_str(), allocations), ("text", 1));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CountingAllocator;

/// Calls `work`. Returns its result and the number of allocations that this thread made meanwhile.
/// The number is 0 if [`CountingAllocator`] is not the global allocator.
pub fn count_allocations<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    let result = work();
    (result, COUNT.get() - before)
}

/// Calls `work` without counting its allocations.
pub(crate) fn without_counting<T>(work: impl FnOnce() -> T) -> T {
    let before = COUNT.get();
    let result = work();
    COUNT.set(before);
    result
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

// SAFETY: every call is passed unchanged to the system's allocator. Counting does not allocate.
#[expect(unsafe_code, reason = "the standard library has no other way to see an allocation")]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract, which is the same as that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
