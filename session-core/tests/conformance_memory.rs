//! [`MemoryStore`](session_core::MemoryStore) passes the conformance suite, also through
//! `Arc<dyn SessionStore>` and through the wrapper that counts calls.
#![cfg(feature = "conformance")]

mod memory_fixture;

mod direct {
    use super::memory_fixture::MemoryFixture;

    session_core::conformance_tests!(async { MemoryFixture::new(|store| store) });
}

/// The implementation of `SessionStore` for `Arc` forwards every call correctly.
mod through_arc_dyn {
    use std::sync::Arc;

    use session_core::SessionStore;

    use super::memory_fixture::MemoryFixture;

    session_core::conformance_tests!(async {
        MemoryFixture::new(|store| {
            let erased: Arc<dyn SessionStore> = store;
            Arc::new(erased)
        })
    });
}

mod observed {
    use std::sync::Arc;

    use session_core::observe::observe;

    use super::memory_fixture::MemoryFixture;

    session_core::conformance_tests!(async {
        MemoryFixture::new(|store| Arc::new(observe("memory", store)))
    });
}
