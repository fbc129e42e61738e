//! Scanning one server.

use session_core::{Cursor, Page};

use super::{records, words};
use crate::{
    answer,
    command::Request,
    error::ClientError,
    keys::{Keys, key_at},
    link::{Links, Repeat},
};

/// Where a scan goes on: at the server, and before that with places that came with the last answer and did not fit its page.
#[derive(Debug, PartialEq, Eq)]
struct Position {
    /// The server's own cursor; `None` when it has been all around.
    server: Option<u64>,
    left_over: Vec<String>,
}

impl Position {
    fn read(cursor: Option<Cursor>) -> Result<Self, ClientError> {
        let Some(Cursor(text)) = cursor else {
            return Ok(Self { server: Some(0), left_over: Vec::new() });
        };
        let mut lines = text.lines();
        let server = match lines.next() {
            Some("end") => None,
            Some(digits) => Some(digits.parse().map_err(|_| ClientError::Cursor)?),
            None => return Err(ClientError::Cursor),
        };
        let left_over: Vec<String> = lines.map(str::to_owned).collect();
        // A cursor that was written elsewhere must not make the server read other keys.
        if left_over.iter().any(|place| key_at(place).is_none()) { Err(ClientError::Cursor) } else { Ok(Self { server, left_over }) }
    }

    fn write(self) -> Option<Cursor> {
        if self.server.is_none() && self.left_over.is_empty() {
            return None;
        }
        let mut text = self.server.map_or_else(|| "end".to_owned(), |cursor| cursor.to_string());
        for place in self.left_over {
            // Keys have no control characters, so a place has no line break.
            text.push('\n');
            text.push_str(&place);
        }
        Some(Cursor(text.into()))
    }
}

/// One page of at most `limit` records.
///
/// `SCAN` may bring more keys than it is asked for; those that do not fit wait in the cursor.
pub(crate) async fn page(links: &Links, keys: &Keys, after: Option<Cursor>, limit: usize) -> Result<Page, ClientError> {
    let mut position = Position::read(after)?;
    if let Some(cursor) = position.server
        && position.left_over.len() < limit
    {
        let mut command = words(&["SCAN"]);
        command.arg(cursor).arg("MATCH").arg(keys.pattern()).arg("COUNT").arg(limit);
        let mut answers = answer::list(links.send(&Request::One(&command), Repeat::Once).await?)?.into_iter();
        let (next, names) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let next: u64 = answer::text(&next).and_then(|digits| digits.parse().ok()).ok_or(ClientError::Answer("a cursor"))?;
        position.server = (next != 0).then_some(next);
        let names = answer::list(names)?;
        let places = names.iter().filter_map(answer::text).filter_map(|name| keys.place_of(name)).filter(|place| key_at(place).is_some());
        position.left_over.extend(places.map(str::to_owned));
    }
    let rest = position.left_over.split_off(limit.min(position.left_over.len()));
    let places = std::mem::replace(&mut position.left_over, rest);
    Ok(Page { records: records(links, keys, &places).await?, next: position.write() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_and_other_texts_are_refused() {
        for (server, left_over) in [(Some(7), vec![]), (None, vec!["{AbCd}efgh".to_owned(), "{a}".to_owned()]), (Some(0), vec![])] {
            let cursor = Position { server, left_over: left_over.clone() }.write();
            assert_eq!(Position::read(cursor).unwrap(), Position { server, left_over });
        }
        assert!(Position { server: None, left_over: vec![] }.write().is_none());
        for text in ["", "x", "-1", "7\nsession:other", "end\n{AbCde}f"] {
            assert!(Position::read(Some(Cursor(text.into()))).is_err(), "{text:?}");
        }
    }
}
