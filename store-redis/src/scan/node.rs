//! Scans of one server, with `SCAN`.

use session_core::{Cursor, StoreKey};

use crate::{
    connect::{
        command::Request,
        connections::{Connections, Retry},
        decode,
    },
    error::ClientError,
    keys::Keys,
};

/// Where a scan continues: first with keys that did not fit on the last page, then at the server.
#[derive(Debug, PartialEq, Eq)]
struct Position {
    /// The server's cursor. `None` at the end.
    server: Option<u64>,
    left_over: Vec<StoreKey>,
}

impl Position {
    fn read(cursor: Option<&Cursor>) -> Result<Self, ClientError> {
        let Some(cursor) = cursor else {
            return Ok(Self { server: Some(0), left_over: Vec::new() });
        };
        let mut lines = cursor.as_str().lines();
        let server = match lines.next() {
            Some("end") => None,
            Some(digits) => Some(digits.parse().map_err(|_| ClientError::InvalidCursor)?),
            None => return Err(ClientError::InvalidCursor),
        };
        let left_over: Vec<StoreKey> = lines.map(StoreKey::from_text).collect();
        if left_over.iter().all(StoreKey::is_storable) {
            Ok(Self { server, left_over })
        } else {
            Err(ClientError::InvalidCursor)
        }
    }

    fn write(self) -> Option<Cursor> {
        if self.server.is_none() && self.left_over.is_empty() {
            return None;
        }
        let mut text = self.server.map_or_else(|| "end".to_owned(), |cursor| cursor.to_string());
        for key in self.left_over {
            // Keys contain no control characters, so they contain no line breaks.
            text.push('\n');
            text.push_str(key.as_str());
        }
        Some(Cursor::new(text))
    }
}

/// The keys of one page.
///
/// `SCAN` may return more keys than requested. The cursor keeps the keys that do not fit on the
/// page.
pub(crate) async fn keys(
    connections: &Connections,
    keys: &Keys,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StoreKey>, Option<Cursor>), ClientError> {
    let mut position = Position::read(after.as_ref())?;
    if let Some(cursor) = position.server
        && position.left_over.len() < limit
    {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(keys.pattern()).arg("COUNT").arg(limit);
        let answer = connections.send(&Request::Single(&command), Retry::IfLost).await?;
        let mut answers = decode::list(answer)?.into_iter();
        let (next, names) =
            (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let next: u64 = decode::text(&next)
            .and_then(|digits| digits.parse().ok())
            .ok_or(ClientError::UnexpectedAnswer("expected a cursor"))?;
        position.server = (next != 0).then_some(next);
        position.left_over.extend(
            decode::list(names)?.iter().filter_map(decode::text).filter_map(|name| keys.key(name)),
        );
    }
    let rest = position.left_over.split_off(limit.min(position.left_over.len()));
    let page = std::mem::replace(&mut position.left_over, rest);
    Ok((page, position.write()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_read_back_and_other_texts_are_refused() {
        for (server, left_over) in
            [(Some(7), vec![]), (None, vec!["AbCdefgh", "{a}"]), (Some(0), vec![])]
        {
            let left_over: Vec<StoreKey> = left_over.into_iter().map(StoreKey::from_text).collect();
            let cursor = Position { server, left_over: left_over.clone() }.write();
            assert_eq!(Position::read(cursor.as_ref()).unwrap(), Position { server, left_over });
        }
        assert!(Position { server: None, left_over: vec![] }.write().is_none());
        for text in ["", "x", "-1", "\tAbCd", "end\n\u{7f}"] {
            assert!(Position::read(Some(&Cursor::new(text))).is_err(), "{text:?}");
        }
    }
}
