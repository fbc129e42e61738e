//! The limits that every store checks before I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Rejection;

/// The limits on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The maximum bytes of data in a record: names and JSON texts together. 65 536 by default.
    pub data_bytes: usize,
}

impl Limits {
    /// The longest ttl: ten years, so that the clock of no backend overflows.
    pub const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);
    /// The longest time for which a former secret may still read.
    pub const LONGEST_GRACE: Duration = Duration::from_secs(60);
    /// The maximum age of a record that is copied from another store.
    pub const LONGEST_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);
    /// The largest version, 2^53. The scripts of some backends compute with floating-point numbers
    /// of 64 bits, which represent integers up to 2^53 exactly.
    pub const LARGEST_VERSION: u64 = 1 << 53;

    /// Checks a record's size.
    ///
    /// # Errors
    /// [`Rejection::DataTooLarge`] if `bytes` exceeds the limit.
    pub fn check_data(&self, bytes: usize) -> Result<(), Rejection> {
        if bytes > self.data_bytes {
            return Err(Rejection::DataTooLarge { bytes, limit: self.data_bytes });
        }
        Ok(())
    }

    /// Checks a ttl.
    ///
    /// # Errors
    /// [`Rejection::Ttl`] if `ttl` is shorter than a millisecond or longer than
    /// [`Self::LONGEST_TTL`].
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
