//! Deleting what is over.

use crate::{
    error::ClientError,
    inner::Inner,
    statement::{Arg, Statement},
};

/// The most rows of one step: it holds their locks, and in SQLite the whole file, until its end.
const MOST: usize = 1_000;

impl Inner {
    /// Deletes at most `limit` rows whose time is over, and says how many; 0 if there is none that nobody else is deleting.
    pub(crate) async fn delete_expired(&self, limit: usize) -> Result<u64, ClientError> {
        let limit = i64::try_from(limit.min(MOST)).unwrap_or(i64::MAX);
        if limit == 0 {
            return Ok(0);
        }
        self.change(&Statement::new(&self.texts.purge, vec![Arg::Integer(limit)])).await
    }
}
