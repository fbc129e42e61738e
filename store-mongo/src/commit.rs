//! A commit as an update: one pipeline, that a server applies to one document as one step.
//!
//! A pipeline cannot say why it changed nothing. So one whose conditions do not hold fails: it converts something that is no number to one. Then
//! nothing has changed, and the document is read to learn why.

use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, doc};
use session_core::{Change, Commit, Committed, Data, Guard, Json, Name, Outcome, PrincipalChange, Record, Rejection, StoreKey};

use crate::{
    document::{self, CURRENT, Head, Unreadable, alive, count, literal, millis},
    field::{BYTES, CREATED, DATA, EXPIRES, FORMAT, KEY, LIFETIME, PRINCIPAL, VERSION, WRITTEN, escaped},
};

/// What a commit came to.
#[derive(Debug)]
pub(crate) enum Committing {
    Settled(Outcome),
    Rejected(Rejection),
    Corrupt(Unreadable),
    /// The document is as the commit needs it, now.
    Again,
}

/// The pipeline of a commit to the document of `key`, under the cap on data.
pub(crate) fn pipeline(key: &StoreKey, commit: &Commit, cap: usize) -> Vec<Document> {
    let mut fits =
        vec![doc! { "$eq": ["$key", literal(key.as_str())] }.into(), doc! { "$eq": ["$format", CURRENT] }.into(), Bson::from(alive())];
    if let Guard::Version(version) = commit.guard {
        fits.push(doc! { "$eq": ["$version", i64::try_from(version).unwrap_or(-1)] }.into());
    }
    let changed = commit.is_change();
    let version: Bson = if changed { doc! { "$add": ["$version", 1_i64] }.into() } else { "$version".into() };
    let mut set = doc! { WRITTEN: "$$NOW" };
    let mut unset = Vec::new();
    let sizes = values(commit, &mut set, &mut unset);
    if let Some(bytes) = sizes {
        // What gets no larger is fine, even where the cap was lowered.
        fits.push(doc! { "$lte": [bytes.clone(), { "$max": [count(cap), "$bytes"] }] }.into());
        set.insert(BYTES, bytes);
    }
    match &commit.principal {
        PrincipalChange::Keep => {}
        PrincipalChange::Set(principal) => drop(set.insert(PRINCIPAL, literal(principal.as_str()))),
        PrincipalChange::Unset => unset.push(PRINCIPAL.into()),
    }
    if let Some(lifetime) = &commit.lifetime {
        set.insert(LIFETIME, lifetime.to_text());
    }
    if let Some(ttl) = commit.ttl {
        set.insert(EXPIRES, doc! { "$add": ["$$NOW", millis(ttl)] });
    }
    if let Some(target) = &commit.move_to {
        set.insert(KEY, literal(target.as_str()));
    }
    set.insert(VERSION, doc! { "$cond": [{ "$and": fits }, version, refusal()] });
    let mut stages = vec![doc! { "$set": set }];
    if !unset.is_empty() {
        stages.push(doc! { "$unset": unset });
    }
    stages
}

/// Makes a pipeline fail. A constant would be tried before there is a document, so it is what every document has: an `_id`'s type is a word.
fn refusal() -> Document {
    doc! { "$toInt": { "$type": "$_id" } }
}

/// Puts into `set` and `unset` what becomes of the values, and returns the size of the data afterwards, if it can have changed.
fn values(commit: &Commit, set: &mut Document, unset: &mut Vec<Bson>) -> Option<Bson> {
    if commit.clear {
        let kept: Document = commit
            .changes
            .iter()
            .filter_map(|(name, change)| {
                let text: Bson = match change {
                    Change::Set(value) => value.as_str().into(),
                    Change::Add(by) => by.to_string().into(),
                    Change::Remove => return None,
                };
                Some((escaped(name.as_str()).into_owned(), text))
            })
            .collect();
        let sum: usize = kept_data(commit).bytes();
        set.insert(DATA, doc! { "$literal": kept });
        return Some(count(sum).into());
    }
    if commit.changes.is_empty() {
        return None;
    }
    let mut terms: Vec<Bson> = vec!["$bytes".into()];
    for (name, change) in &commit.changes {
        let field = format!("{DATA}.{}", escaped(name.as_str()));
        let path = format!("${field}");
        let named = count(name.as_str().len());
        let is_there = doc! { "$eq": [{ "$type": path.as_str() }, "string"] };
        terms.push(doc! { "$cond": [is_there, { "$subtract": [-named, { "$strLenBytes": path.as_str() }] }, 0_i64] }.into());
        match change {
            Change::Set(value) => {
                terms.push((named + count(value.as_str().len())).into());
                set.insert(field, literal(value.as_str()));
            }
            Change::Remove => unset.push(field.into()),
            Change::Add(by) => {
                let sum = sum(&path, *by);
                terms.push(doc! { "$add": [named, { "$strLenBytes": sum.clone() }] }.into());
                set.insert(field, sum);
            }
        }
    }
    Some(doc! { "$add": terms }.into())
}

/// The text of a sum. What is no integer's text fails to convert; a sum that leaves 64 bits would go on as a floating-point number.
fn sum(path: &str, by: i64) -> Document {
    // JSON allows white space around a number.
    let text = doc! { "$trim": { "input": { "$ifNull": [path, "0"] }, "chars": " \t\r\n" } };
    doc! {
        "$let": {
            "vars": { "sum": { "$add": [{ "$toLong": text }, by] } },
            "in": { "$cond": [{ "$eq": [{ "$type": "$$sum" }, "long"] }, { "$toString": "$$sum" }, refusal()] },
        },
    }
}

/// What is left after a commit that clears.
fn kept_data(commit: &Commit) -> Data {
    let mut data = Data::new();
    for (name, change) in &commit.changes {
        match change {
            Change::Set(value) => drop(data.insert(name.clone(), value.clone())),
            Change::Add(by) => drop(data.insert(name.clone(), Json::integer(*by))),
            Change::Remove => {}
        }
    }
    data
}

/// What an answer is to hold of a document that may be large.
pub(crate) fn answer_fields(commit: &Commit) -> Document {
    let mut fields = doc! { KEY: 1, FORMAT: 1, VERSION: 1, BYTES: 1, CREATED: 1, WRITTEN: 1, EXPIRES: 1, LIFETIME: 1 };
    for name in added(commit) {
        fields.insert(format!("{DATA}.{}", escaped(name.as_str())), 1);
    }
    fields
}

fn added(commit: &Commit) -> impl Iterator<Item = &Name> {
    commit.changes.iter().filter(|(_, change)| matches!(change, Change::Add(_))).map(|(name, _)| name)
}

/// Reads the document after a commit that took effect, and the server's time then.
pub(crate) fn committed(after: &RawDocument, commit: &Commit) -> Result<(Committed, DateTime), Unreadable> {
    let head = Head::read(after)?;
    let now = document::time(after, WRITTEN)?;
    let mut sums = std::collections::BTreeMap::new();
    if added(commit).next().is_some() {
        let data = after.get(DATA)?.and_then(RawBsonRef::as_document).ok_or(Unreadable::Part(DATA))?;
        for name in added(commit) {
            let text = data.get(&*escaped(name.as_str()))?.and_then(RawBsonRef::as_str);
            let sum = text.and_then(|text| text.parse().ok()).ok_or(Unreadable::Part("values"))?;
            sums.insert(name.clone(), sum);
        }
    }
    // A life that is given is at least a millisecond, and one that is kept was not over.
    let ttl = head.ttl(now).unwrap_or_default();
    Ok((Committed { version: head.version, added: sums, age: head.age(now), ttl, lifetime: head.lifetime }, now))
}

/// Why a commit changes nothing, by the record it would change. What it can not tell is `Again`.
pub(crate) fn explain(commit: &Commit, record: Option<&Record>, cap: usize) -> Committing {
    let Some(record) = record else { return Committing::Settled(Outcome::Gone) };
    if let Guard::Version(version) = commit.guard
        && version != record.version
    {
        return Committing::Settled(Outcome::Conflict);
    }
    if commit.is_empty() {
        return Committing::Settled(Outcome::Done(Committed {
            version: record.version,
            added: std::collections::BTreeMap::new(),
            age: record.age,
            ttl: record.ttl,
            lifetime: record.lifetime,
        }));
    }
    let mut data = if commit.clear { Data::new() } else { record.data.clone() };
    for (name, change) in &commit.changes {
        match change {
            Change::Set(value) => drop(data.insert(name.clone(), value.clone())),
            Change::Remove => drop(data.remove(name.as_str())),
            Change::Add(by) => {
                let Some(current) = data.get(name.as_str()).map_or(Some(0), Json::as_integer) else {
                    return Committing::Rejected(Rejection::NotAnInteger { name: name.clone() });
                };
                let Some(sum) = current.checked_add(*by) else {
                    return Committing::Rejected(Rejection::Overflow { name: name.clone() });
                };
                data.insert(name.clone(), Json::integer(sum));
            }
        }
    }
    if data.bytes() > cap.max(record.data.bytes()) {
        return Committing::Rejected(Rejection::DataTooLarge { bytes: data.bytes(), limit: cap });
    }
    Committing::Again
}
