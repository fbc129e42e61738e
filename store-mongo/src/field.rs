//! The names of a document's fields.

use std::borrow::Cow;

pub(crate) const ID: &str = "_id";
/// The key's lineage tag: what a sharded collection is split by, because a rotation keeps it.
pub(crate) const LINEAGE: &str = "lineage";
pub(crate) const KEY: &str = "key";
pub(crate) const FORMAT: &str = "format";
pub(crate) const VERSION: &str = "version";
/// The size of the data, as the cap counts it.
pub(crate) const BYTES: &str = "bytes";
pub(crate) const CREATED: &str = "created";
/// When the document was last written: with it a commit's answer brings the server's time.
pub(crate) const WRITTEN: &str = "written";
/// What the last commit left, so that its answer tells it from one that changed nothing. A random number; it says nothing of the session.
pub(crate) const MARK: &str = "mark";
pub(crate) const EXPIRES: &str = "expires";
pub(crate) const LIFETIME: &str = "lifetime";
pub(crate) const PRINCIPAL: &str = "principal";
pub(crate) const DATA: &str = "data";
/// No field of a document: what an answer has beside them if it was asked for the server's time.
pub(crate) const NOW: &str = "now";

/// A value's name as a field's: a dot would be a path and a dollar sign an operator, so both are percent-encoded, as is the percent sign.
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
        let names = [".", "$", "%", "%2E", "a.b", "$where", "a%2Eb", "100%", "__proto__", "0", "🦀.🦀", "%%", "..", "plain"];
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
