//! The names of a document's fields.

use std::borrow::Cow;

/// The key's text as bytes, so that no collation applies.
pub(crate) const ID: &str = "_id";
pub(crate) const FORMAT: &str = "format";
pub(crate) const VERSION: &str = "version";
/// The hash of the current secret, and within [`FORMER`] of the former one.
pub(crate) const SECRET: &str = "secret";
/// Absent before the first rotation: 0.
pub(crate) const GENERATION: &str = "generation";
/// Absent before the first sign-in: 0.
pub(crate) const SINCE: &str = "since";
/// The former secret's hash and the end of its grace. Absent without a grace.
pub(crate) const FORMER: &str = "former";
pub(crate) const UNTIL: &str = "until";
/// The size of the data, as the cap counts it.
pub(crate) const BYTES: &str = "bytes";
pub(crate) const CREATED: &str = "created";
/// Absent before the first rotation: the time of the creation.
pub(crate) const ROTATED: &str = "rotated";
pub(crate) const EXPIRES: &str = "expires";
/// Absent in an anonymous session, as is [`AUTHENTICATED`].
pub(crate) const PRINCIPAL: &str = "principal";
pub(crate) const AUTHENTICATED: &str = "authenticated";
/// Absent if every attribute is.
pub(crate) const ATTRIBUTES: &str = "attributes";
pub(crate) const DATA: &str = "data";
/// A random number that the last commit left. A commit took effect if the document after it has the
/// commit's mark.
pub(crate) const MARK: &str = "mark";
/// Not a field of a document: the server's time, which a projection adds to an answer.
pub(crate) const NOW: &str = "now";

/// A value's name as a field's: a dot would be a path and a dollar sign an operator, so both are
/// percent-encoded, as is the percent sign.
pub(crate) fn escaped(name: &str) -> Cow<'_, str> {
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

/// The name that a field stands for. `None` if [`escaped`] writes no such field.
pub(crate) fn unescaped(field: &str) -> Option<Cow<'_, str>> {
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
    fn c07_every_name_comes_back_and_none_collide() {
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
            let field = escaped(name);
            assert!(!field.contains(['.', '$']), "{name}");
            assert_eq!(unescaped(&field).as_deref(), Some(name));
            assert!(fields.insert(field.into_owned()), "{name}");
        }
    }

    #[test]
    fn c39_a_field_that_no_name_makes_is_none() {
        for field in ["a.b", "$a", "%", "%2", "%2e", "%41", "%é"] {
            assert_eq!(unescaped(field), None, "{field}");
        }
    }
}
