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
        let mut deleted = 0;
        while deleted < limit {
            let step = (limit - deleted).min(MOST);
            let statement = Statement::new(&self.texts.purge, vec![Arg::Integer(i64::try_from(step).unwrap_or(i64::MAX))]);
            let more = usize::try_from(self.change(&statement).await?).unwrap_or(usize::MAX);
            deleted = deleted.saturating_add(more);
            if more < step {
                break;
            }
        }
        Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
    }
}
