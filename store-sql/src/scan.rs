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
        let after = after.map_or(Ok(Vec::new()), |cursor| unhex(&cursor.0).filter(|key| !key.is_empty()).ok_or(ClientError::Cursor))?;
        let args = vec![Arg::Bytes(after.into()), Arg::Integer(i64::try_from(limit).unwrap_or(i64::MAX))];
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
            // What somebody else put there need not be text.
            Some(key) if rows.len() == limit => Some(Cursor(hex(key).into())),
            _ => None,
        };
        Ok(Page { records, next })
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that [`hex`] wrote; `None` if it writes no such text.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let half = |digit: u8| char::from(digit).to_digit(16).and_then(|half| u8::try_from(half).ok());
    pairs.iter().map(|[high, low]| Some((half(*high)? << 4) | half(*low)?)).collect()
}
