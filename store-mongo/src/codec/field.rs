//! The field names of a session's document, and the encoding of value names as field names.

use std::borrow::Cow;

/// The text of the session's key, stored as bytes so that no collation applies.
pub(crate) const ID: &str = "_id";
pub(crate) const FORMAT: &str = "format";
/// The value of [`FORMAT`] that this version reads and writes.
pub(crate) const CURRENT_FORMAT: i32 = 2;
pub(crate) const VERSION: &str = "version";
/// The hash of the current secret. Inside [`FORMER`]: the hash of the former secret.
pub(crate) const SECRET: &str = "secret";
/// Generation of the secret. The field is absent while the generation is 0.
pub(crate) const GENERATION: &str = "generation";
/// Generation of the sign-in. The field is absent while the generation is 0.
pub(crate) const SINCE: &str = "since";
/// The former secret's hash and the end of its grace period. Absent without a grace period.
pub(crate) const FORMER: &str = "former";
pub(crate) const UNTIL: &str = "until";
/// The size of the data in bytes, counted as [`Data::bytes`](session_core::Data::bytes) does.
pub(crate) const BYTES: &str = "bytes";
pub(crate) const CREATED: &str = "created";
/// Time of the last rotation. The field is absent before the first rotation.
pub(crate) const ROTATED: &str = "rotated";
pub(crate) const EXPIRES: &str = "expires";
/// Absent in an anonymous session, as is [`AUTHENTICATED`].
pub(crate) const PRINCIPAL: &str = "principal";
pub(crate) const AUTHENTICATED: &str = "authenticated";
/// Absent if no attribute is set.
pub(crate) const ATTRIBUTES: &str = "attributes";
pub(crate) const DATA: &str = "data";
/// Commit marker: a random number that each commit writes. A commit took effect if the document
/// that the server returns has the number of this commit.
pub(crate) const MARK: &str = "mark";
/// The server's time, which a projection adds to a response. Documents do not have this field.
pub(crate) const NOW: &str = "now";

/// Encodes the name of a value as a field name. MongoDB reads a dot as a path and a dollar sign as
/// an operator, so both are percent-encoded, and so is the percent sign.
pub(crate) fn encode(name: &str) -> Cow<'_, str> {
    if !name.contains(['.', '$', '%']) {
        return Cow::Borrowed(name);
    }
    let mut field = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        match character {
            '.' => field.push_str("%2E"),
            '$' => field.push_str("%24"),
            '%' => field.push_str("%25"),
            other => field.push(other),
        }
    }
    Cow::Owned(field)
}

/// Decodes the name of a value from a field name. `None` if [`encode`] cannot produce that field
/// name.
pub(crate) fn decode(field: &str) -> Option<Cow<'_, str>> {
    if field.contains(['.', '$']) {
        return None;
    }
    if !field.contains('%') {
        return Some(Cow::Borrowed(field));
    }
    let mut parts = field.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        name.push(match code {
            "2E" => '.',
            "24" => '$',
            "25" => '%',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(Cow::Owned(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_names_round_trip_without_collisions() {
        let names = [
            ".",
            "$",
            "%",
            "%2E",
            "a.b",
            "$where",
            "a%2Eb",
            "100%",
            "__proto__",
            "0",
            "🦀.🦀",
            "%%",
            "..",
            "plain",
        ];
        let mut fields = std::collections::HashSet::new();
        for name in names {
            let field = encode(name);
            assert!(!field.contains(['.', '$']), "{name}");
            assert_eq!(decode(&field).as_deref(), Some(name));
            assert!(fields.insert(field.into_owned()), "{name}");
        }
    }

    #[test]
    fn c39_invalid_field_names_decode_to_none() {
        for field in ["a.b", "$a", "%", "%2", "%2e", "%41", "%é"] {
            assert_eq!(decode(field), None, "{field}");
        }
    }
}
