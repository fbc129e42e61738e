//! What tests do with a server that the environment names.

/// Unwraps the result of an action on a server. If the environment names the server, prints the
/// reason and returns from the test, because tests do not stop or freeze external servers.
macro_rules! ours {
    ($action:expr) => {
        match $action {
            Ok(result) => result,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}
