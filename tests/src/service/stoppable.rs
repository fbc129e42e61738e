//! Servers that a test stops and freezes, of whichever product.

use super::{AnyMongo, AnyRedis, AnySql, ExternalServer};

/// A server of one product with a URL, which a test can stop and freeze.
pub trait Stoppable {
    /// The URL with these settings, which may be empty.
    fn url(&self, settings: &str) -> String;

    /// Kills it.
    ///
    /// # Errors
    /// If the test must not stop it.
    fn stop(&mut self) -> impl Future<Output = Result<(), ExternalServer>> + Send;

    /// Starts it again at the same address. The future waits with an async closure, so the compiler
    /// cannot prove that it is `Send`.
    ///
    /// # Errors
    /// If the test must not stop it.
    fn start_again(&mut self) -> impl Future<Output = Result<(), ExternalServer>>;

    /// Freezes it: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If the test must not stop it.
    fn freeze(&self) -> impl Future<Output = Result<(), ExternalServer>> + Send;

    /// Lets it continue.
    ///
    /// # Errors
    /// If the test must not stop it.
    fn thaw(&self) -> impl Future<Output = Result<(), ExternalServer>> + Send;
}

/// Implements [`Stoppable`] by the methods of the type that have the same names.
macro_rules! stoppable {
    ($($server:ident),+) => {
        $(impl Stoppable for $server {
            fn url(&self, settings: &str) -> String {
                $server::url(self, settings)
            }

            fn stop(&mut self) -> impl Future<Output = Result<(), ExternalServer>> + Send {
                $server::stop(self)
            }

            fn start_again(&mut self) -> impl Future<Output = Result<(), ExternalServer>> {
                $server::start_again(self)
            }

            fn freeze(&self) -> impl Future<Output = Result<(), ExternalServer>> + Send {
                $server::freeze(self)
            }

            fn thaw(&self) -> impl Future<Output = Result<(), ExternalServer>> + Send {
                $server::thaw(self)
            }
        })+
    };
}

stoppable!(AnyMongo, AnyRedis, AnySql);
