//! All sessions, page by page, in the order of their keys: one that lives under one key throughout is met once.

use session_core::{Cursor, Page};

use crate::{
    error::ClientError,
    inner::Inner,
    record,
    statement::{Arg, Statement},
};

/// The most sessions of a page.
const MOST: usize = 1_000;

impl Inner {
    /// The page after `after`.
    pub(crate) async fn scan(&self, after: Option<&Cursor>, limit: usize) -> Result<Page, ClientError> {
        let limit = limit.clamp(1, MOST);
        // No key is empty.
        let after = after.map_or(Ok(""), |cursor| Some(&*cursor.0).filter(|key| !key.is_empty()).ok_or(ClientError::Cursor))?;
        let args = vec![Arg::bytes(after), Arg::Integer(i64::try_from(limit).unwrap_or(i64::MAX))];
        let rows = self.rows(&Statement::new(&self.texts.scan, args)).await?;
        let mut records = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in &rows {
            last = row.bytes(8)?;
            if let (Some(key), Ok(Some(record))) = (record::key(row, 8)?, record::record(row)?) {
                records.push((key, record));
            }
        }
        let next = match last {
            Some(key) if rows.len() == limit => {
                // What is no text was put there by somebody else, and a cursor cannot name it.
                let key = std::str::from_utf8(key).map_err(|_| ClientError::Answer("a key is text"))?;
                Some(Cursor(key.into()))
            }
            _ => None,
        };
        Ok(Page { records, next })
    }
}
