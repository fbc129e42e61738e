//! A commit: one statement if possible, else a read and a statement that depends on what was read.

mod judge;
mod statement;

use std::{borrow::Cow, collections::BTreeMap};

use session_core::{Commit, Outcome, StoreKey, observe::retried};

pub(crate) use self::judge::Verdict;
use self::statement::{CommitStatements, fits_one_statement, read_committed};
use crate::{
    connect::Client,
    error::{ClientError, STORE},
};

/// The most attempts of a commit. Each attempt after the first means that the session changed in
/// between and that the commit still fits.
const MAX_ATTEMPTS: usize = 32;

/// Executes a commit.
pub(crate) async fn commit(
    client: &Client,
    key: &StoreKey,
    commit: &Commit,
) -> Result<Verdict, ClientError> {
    let (sql, cap) = (client.database.sql(), client.config.limits.data_bytes);
    let mut next =
        fits_one_statement(sql, commit, cap).then(|| (Cow::Borrowed(commit), BTreeMap::new()));
    for attempt in 0..MAX_ATTEMPTS {
        let (fitting, added) = match next.take() {
            Some(first) => first,
            None => match judge_stored(client, key, commit).await? {
                Verdict::Rewrite(rewritten, added) => {
                    if attempt > 0 {
                        retried(STORE);
                    }
                    (Cow::Owned(*rewritten), added)
                }
                settled => return Ok(settled),
            },
        };
        let CommitStatements { change, answer } =
            CommitStatements::new(sql, &client.statements.table, key, &fitting, cap);
        let rows = match client.write(&change, answer.as_ref()).await {
            Ok(written) => written.rows,
            Err(ClientError::NotJson) => continue,
            Err(error) => return Err(error),
        };
        if let Some(row) = rows.first() {
            return Ok(match read_committed(row, &fitting)? {
                Ok(mut committed) => {
                    committed.added.extend(added);
                    Verdict::Settled(Outcome::Done(committed))
                }
                Err(unreadable) => Verdict::Corrupt(unreadable),
            });
        }
    }
    Err(ClientError::Conflict("the session changed at each attempt".to_owned()))
}

/// Reads the record and compares the commit with it.
async fn judge_stored(
    client: &Client,
    key: &StoreKey,
    commit: &Commit,
) -> Result<Verdict, ClientError> {
    Ok(match client.load(key).await? {
        Ok(record) => judge::judge(commit, record, client.config.limits.data_bytes),
        Err(unreadable) => Verdict::Corrupt(unreadable),
    })
}
