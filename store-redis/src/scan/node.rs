//! Visiting the sessions of one server.

use session_core::{Cursor, StoreKey};

use super::words;
use crate::{
    answer,
    command::Request,
    error::ClientError,
    keys::Keys,
    link::{Links, Repeat},
};

/// Where a walk goes on: at the server, and before that with keys that came with the last answer
/// and did not fit its page.
#[derive(Debug, PartialEq, Eq)]
struct Position {
    /// The server's own cursor; `None` at its end.
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
            Some(digits) => Some(digits.parse().map_err(|_| ClientError::Cursor)?),
            None => return Err(ClientError::Cursor),
        };
        let left_over: Vec<StoreKey> = lines.map(StoreKey::from_text).collect();
        if left_over.iter().all(StoreKey::is_storable) {
            Ok(Self { server, left_over })
        } else {
            Err(ClientError::Cursor)
        }
    }

    fn write(self) -> Option<Cursor> {
        if self.server.is_none() && self.left_over.is_empty() {
            return None;
        }
        let mut text = self.server.map_or_else(|| "end".to_owned(), |cursor| cursor.to_string());
        for key in self.left_over {
            // Keys have no control characters, so they have no line breaks.
            text.push('\n');
            text.push_str(key.as_str());
        }
        Some(Cursor::new(text))
    }
}

/// The keys of one page.
///
/// `SCAN` may bring more keys than it is asked for; those that do not fit wait in the cursor.
pub(crate) async fn keys(
    links: &Links,
    keys: &Keys,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StoreKey>, Option<Cursor>), ClientError> {
    let mut position = Position::read(after.as_ref())?;
    if let Some(cursor) = position.server
        && position.left_over.len() < limit
    {
        let mut command = words(&["SCAN"]);
        command.arg(cursor).arg("MATCH").arg(keys.pattern()).arg("COUNT").arg(limit);
        let mut answers =
            answer::list(links.send(&Request::One(&command), Repeat::Once).await?)?.into_iter();
        let (next, names) =
            (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let next: u64 = answer::text(&next)
            .and_then(|digits| digits.parse().ok())
            .ok_or(ClientError::Answer("a cursor"))?;
        position.server = (next != 0).then_some(next);
        position.left_over.extend(
            answer::list(names)?.iter().filter_map(answer::text).filter_map(|name| keys.key(name)),
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
    fn a_position_comes_back_and_other_texts_are_refused() {
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
