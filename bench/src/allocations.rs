//! How often a piece of work asks for memory.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Needs no memory of its own and no destructor, so that the allocator may use it at any moment
    /// of a thread's life.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts each thread's allocations: `alloc`, `alloc_zeroed` and
/// `realloc` one each.
///
/// ```
/// # use bench::{Counting, counted};
/// #[global_allocator]
/// static ALLOCATOR: Counting = Counting;
///
/// let (text, allocations) = counted(|| "text".to_owned());
/// assert_eq!((text.as_str(), allocations), ("text", 1));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Counting;

/// What `work` returns, and how many allocations this thread made for it. Always 0 where
/// [`Counting`] is not the global allocator.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    let result = work();
    (result, COUNT.get() - before)
}

/// What `work` returns; its allocations do not count.
pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let before = COUNT.get();
    let result = work();
    COUNT.set(before);
    result
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

// SAFETY: every call goes to the system's allocator as it came, and counting allocates nothing.
#[expect(unsafe_code, reason = "the standard library has no other way to see an allocation")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises that `System` asks for.
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
