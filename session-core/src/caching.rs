//! What a response that a session went into says to caches, as values of `Cache-Control`. Beside it
//! stands `Vary: Cookie`.

/// For a response that sets or removes the session's cookie. It replaces what the application says,
/// because a cache that keeps such a response gives the session to another client (OWASP Session
/// Management Cheat Sheet, "Web Content Caching").
pub const CACHE_CONTROL_WITH_COOKIE: &str = "no-store";

/// For every other response of a request that used the session, if the application says nothing.
///
/// Without it, a cache may keep the response for a time of its own choice (RFC 9111, section
/// 4.2.2), and the next user of a shared machine reads the page of the user before. `private` keeps
/// it out of shared caches. `no-cache` lets the browser keep it, but makes the browser ask the
/// server before it shows it again. Unlike `no-store`, this leaves `ETag` and the browser's
/// back-forward cache usable.
pub const CACHE_CONTROL_WITHOUT_COOKIE: &str = "private, no-cache";
