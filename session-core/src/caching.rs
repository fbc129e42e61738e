//! Values of `Cache-Control` for responses that use a session. An adapter also sends `Vary:
//! Cookie`.

/// For a response that sets or removes the session cookie. It replaces the value of the
/// application, because a cache that keeps such a response gives the session to another client
/// (OWASP Session Management Cheat Sheet, "Web Content Caching").
pub const CACHE_CONTROL_WITH_COOKIE: &str = "no-store";

/// For every other response of a request that used the session, if the application sets no value.
///
/// Without it, a cache may keep the response for a time that it chooses (RFC 9111, section 4.2.2),
/// and the next user of a shared machine reads the page of the previous user. `private` keeps the
/// response out of shared caches. `no-cache` lets the browser keep it, but the browser asks the
/// server before it shows it again. Unlike `no-store`, this leaves `ETag` and the back-forward
/// cache of the browser usable.
pub const CACHE_CONTROL_WITHOUT_COOKIE: &str = "private, no-cache";
