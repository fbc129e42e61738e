//! The calls that are about all sessions of a user.

use session_core::{Listed, Principal, StoreKey};

use crate::{
    dialect::Dialect,
    error::ClientError,
    inner::Inner,
    record,
    statement::{Arg, Statement},
};

/// How often it is looked whether a session is left.
const TRIES: usize = 16;

impl Inner {
    pub(crate) async fn list(&self, principal: &Principal) -> Result<Vec<Listed>, ClientError> {
        let rows = self.rows(&Statement::new(&self.texts.list, vec![Arg::bytes(principal.as_str())])).await?;
        rows.iter().filter_map(|row| record::listed(row).transpose()).collect()
    }

    pub(crate) async fn delete_all(&self, principal: &Principal, except: Option<&StoreKey>) -> Result<u64, ClientError> {
        let theirs = Arg::bytes(principal.as_str());
        let statement = match except {
            None => Statement::new(&self.texts.delete_all, vec![theirs]),
            Some(except) => Statement::new(&self.texts.delete_others, vec![theirs, Arg::bytes(except.as_str())]),
        };
        let mut deleted = 0;
        // A delete of InnoDB walks an index as it is from moment to moment, so one that is moved in it meanwhile may be passed by. The others
        // see all rows as of one moment, and follow those that change.
        for _ in 0..TRIES {
            let more = self.delete_living(&statement).await?;
            deleted += more;
            if more == 0 || self.engine.dialect() != Dialect::MySql {
                return Ok(deleted);
            }
        }
        // Who signs in all the time meanwhile may be left, and so may somebody who was there before.
        Err(ClientError::Again("sessions of this user were there each time".to_owned()))
    }
}
