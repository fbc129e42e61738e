//! The entry points of this repository's fuzz targets. The checks are here, because the types are
//! private to the crate.

mod calls;
mod framing;
mod handover;

pub use self::{
    calls::{replies, requests},
    framing::Framing,
    handover::{predecessor, successor},
};
