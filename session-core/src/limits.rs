//! The caps that every store checks before I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Rejection;

/// The caps on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most bytes of data a record may have, names and JSON texts together. 65 536 by default.
    pub data_bytes: usize,
}

impl Limits {
    /// The longest life a store is asked for: ten years, so that no backend's clock overflows.
    pub const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);

    /// Checks a record's size.
    ///
    /// # Errors
    /// [`Rejection::DataTooLarge`] if `bytes` is over the cap.
    pub fn check_data(&self, bytes: usize) -> Result<(), Rejection> {
        if bytes > self.data_bytes {
            return Err(Rejection::DataTooLarge { bytes, limit: self.data_bytes });
        }
        Ok(())
    }

    /// Checks a life.
    ///
    /// # Errors
    /// [`Rejection::Ttl`] if `ttl` is shorter than a millisecond or longer than [`Self::LONGEST_TTL`].
    pub fn check_ttl(&self, ttl: Duration) -> Result<(), Rejection> {
        if ttl < Duration::from_millis(1) || ttl > Self::LONGEST_TTL {
            return Err(Rejection::Ttl { ttl });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { data_bytes: 65_536 }
    }
}
