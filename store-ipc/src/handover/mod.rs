//! One owner's end and the next one's beginning.
//!
//! What the two say to each other, over a stream of their own:
//!
//! | predecessor | successor |
//! |---|---|
//! | hello | hello |
//! | | `Guest` with a client's stream, any number of times: serve it for me |
//! | `Prepare` | |
//! | | `Prepared`: no guest comes after this |
//! | *no call is carried out from here on* | |
//! | `Snapshot`, `Sessions`…, for each guest `Connection`, `Unread`…, `Unwritten`…; `End` | |
//! | | `Imported`: all is here; *it serves nobody yet* |
//! | `Go`: *the point of no return* | |
//! | | `Serving` |
//!
//! The predecessor serves nobody after it stopped, whatever comes of it; the successor serves
//! nobody before `Go`. So at no time there are two that serve, and if either ends or is silent
//! there is none.

mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod guest;
mod heir;
mod message;
mod succession;
#[cfg(test)]
mod tests;
mod wire;

pub use self::error::{HandOverError, TakeoverError};
pub use self::succession::HandedOver;
pub(crate) use self::{heir::Heir, succession::Succession};
