//! A commit as an update: one pipeline, that a server applies to one document as one step.
//!
//! If its conditions hold, the document has the commit's mark afterwards; if not, it is as it was, and is read once more to learn why. It does
//! not fail for that: a server writes a command that fails into its log, with all that it would have stored.

use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, doc};
use session_core::{Change, Commit, Committed, Data, Guard, Json, Name, Outcome, PrincipalChange, Record, Rejection, StoreKey};

use crate::{
    document::{self, CURRENT, Head, Unreadable, alive, count, literal, millis},
    field::{BYTES, CREATED, DATA, EXPIRES, FORMAT, KEY, LIFETIME, MARK, PRINCIPAL, VERSION, WRITTEN, escaped, unescaped},
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

/// The pipeline of a commit to the document of `key`, under the cap on data. It leaves `mark`.
pub(crate) fn pipeline(key: &StoreKey, commit: &Commit, cap: usize, mark: i64) -> Vec<Document> {
    let mut merged = doc! { MARK: mark, WRITTEN: "$$NOW" };
    if commit.is_change() {
        merged.insert(VERSION, doc! { "$add": ["$version", 1_i64] });
    }
    if let PrincipalChange::Set(principal) = &commit.principal {
        merged.insert(PRINCIPAL, literal(principal.as_str()));
    }
    if let Some(lifetime) = &commit.lifetime {
        merged.insert(LIFETIME, lifetime.to_text());
    }
    if let Some(ttl) = commit.ttl {
        merged.insert(EXPIRES, doc! { "$add": ["$$NOW", millis(ttl)] });
    }
    if let Some(target) = &commit.move_to {
        merged.insert(KEY, literal(target.as_str()));
    }
    let mut conditions = conditions(key, commit);
    let calculated = Values::of(commit).map(|values| {
        conditions.extend(values.conditions);
        merged.insert(DATA, values.data);
        merged.insert(BYTES, "$$bytes");
        (values.sums, values.bytes)
    });
    let mut after: Bson = doc! { "$mergeObjects": ["$$ROOT", merged] }.into();
    if commit.principal == PrincipalChange::Unset {
        after = without(PRINCIPAL, after);
    }
    if let Some((sums, bytes)) = calculated {
        // What gets no larger is fine, even where the cap was lowered.
        let mut fits = vec![Bson::from(doc! { "$lte": ["$$bytes", { "$max": [count(cap), "$bytes"] }] })];
        // A sum that leaves 64 bits goes on as a floating-point number, and what is no integer's text has become nothing.
        fits.extend(sums.keys().map(|name| doc! { "$eq": [{ "$type": format!("$${name}") }, "long"] }.into()));
        after = doc! { "$cond": [{ "$and": fits }, after, "$$ROOT"] }.into();
        after = doc! { "$let": { "vars": { "bytes": bytes }, "in": after } }.into();
        if !sums.is_empty() {
            after = doc! { "$let": { "vars": sums, "in": after } }.into();
        }
    }
    vec![doc! { "$replaceWith": { "$cond": [{ "$and": conditions }, after, "$$ROOT"] } }]
}

/// What has to hold of a document whatever the values are. Of a corrupt record nothing is calculated.
fn conditions(key: &StoreKey, commit: &Commit) -> Vec<Bson> {
    // One comparison of two lists: a server takes longer to read a pipeline than to follow it.
    let mut found = vec![Bson::from("$key"), "$format".into()];
    let mut wanted = vec![literal(key.as_str()), CURRENT.into()];
    if let Guard::Version(version) = commit.guard {
        found.push("$version".into());
        wanted.push(i64::try_from(version).unwrap_or(-1).into());
    }
    // Numbers of all types are equal, so the types are asked for too.
    for (path, kind) in [
        ("$format", "int"),
        ("$version", "long"),
        ("$bytes", "long"),
        ("$created", "date"),
        ("$expires", "date"),
        ("$lifetime", "string"),
        ("$data", "object"),
    ] {
        found.push(doc! { "$type": path }.into());
        wanted.push(kind.into());
    }
    vec![
        doc! { "$eq": [found, wanted] }.into(),
        Bson::from(alive()),
        doc! { "$gte": ["$version", 0_i64] }.into(),
        is_text_or_missing("$principal"),
    ]
}

fn is_text_or_missing(path: &str) -> Bson {
    doc! { "$in": [{ "$type": path }, ["string", "missing"]] }.into()
}

/// What becomes of the values.
struct Values {
    /// What has to hold of the values before, so that all of this can be calculated.
    conditions: Vec<Bson>,
    /// The sums, as variables.
    sums: Document,
    /// The size of the data afterwards.
    bytes: Bson,
    /// The data afterwards.
    data: Bson,
}

impl Values {
    /// `None` if nothing becomes of them.
    fn of(commit: &Commit) -> Option<Self> {
        if commit.clear {
            let kept = kept(commit);
            let fields: Document =
                kept.iter().map(|(name, value)| (escaped(name.as_str()).into_owned(), Bson::from(value.as_str()))).collect();
            let data = doc! { "$literal": fields }.into();
            return Some(Self { conditions: Vec::new(), sums: Document::new(), bytes: count(kept.bytes()).into(), data });
        }
        if commit.changes.is_empty() {
            return None;
        }
        let (mut sums, mut terms, mut set) = (Document::new(), vec![Bson::from("$bytes")], Document::new());
        let (mut conditions, mut removed) = (Vec::new(), Vec::new());
        for (name, change) in &commit.changes {
            let field = escaped(name.as_str());
            let path = format!("${DATA}.{field}");
            let named = count(name.as_str().len());
            // What it takes up now.
            let taken = doc! { "$subtract": [-named, { "$strLenBytes": path.as_str() }] };
            terms.push(doc! { "$cond": [{ "$eq": [{ "$type": path.as_str() }, "string"] }, taken, 0_i64] }.into());
            match change {
                Change::Set(value) => {
                    terms.push((named + count(value.as_str().len())).into());
                    set.insert(field, literal(value.as_str()));
                }
                Change::Remove => removed.push(field.into_owned()),
                Change::Add(by) => {
                    let variable = format!("sum{}", sums.len());
                    let text = doc! { "$toString": format!("$${variable}") };
                    conditions.push(is_text_or_missing(&path));
                    sums.insert(variable, sum(&path, *by));
                    // A sum of no integer is nothing, which has no size.
                    terms.push(doc! { "$add": [named, { "$strLenBytes": { "$ifNull": [text.clone(), ""] } }] }.into());
                    set.insert(field, text);
                }
            }
        }
        let mut data = without_all(removed, "$data".into());
        if !set.is_empty() {
            data = doc! { "$mergeObjects": [data, set] }.into();
        }
        Some(Self { conditions, sums, bytes: doc! { "$add": terms }.into(), data })
    }
}

/// The number that the text at `path` is, or that nothing is, and `by`; nothing if the text is no integer's.
fn sum(path: &str, by: i64) -> Document {
    // JSON allows white space around a number.
    let text = doc! { "$trim": { "input": { "$ifNull": [path, "0"] }, "chars": " \t\r\n" } };
    doc! { "$add": [{ "$convert": { "input": text, "to": "long", "onError": Bson::Null } }, by] }
}

/// An object without some of its fields.
fn without_all(fields: Vec<String>, object: Bson) -> Bson {
    // One within another is quicker for a few, and too deep for a server and for a stack if they are many.
    if fields.len() <= 8 {
        return fields.iter().fold(object, |object, field| without(field, object));
    }
    let stays = doc! { "$not": { "$in": ["$$this.k", { "$literal": fields }] } };
    doc! { "$arrayToObject": { "$filter": { "input": { "$objectToArray": object }, "cond": stays } } }.into()
}

/// An object without one of its fields.
fn without(field: &str, object: Bson) -> Bson {
    doc! { "$unsetField": { "field": field, "input": object } }.into()
}

/// What is left after a commit that clears.
fn kept(commit: &Commit) -> Data {
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
    let mut fields = doc! { MARK: 1, KEY: 1, FORMAT: 1, VERSION: 1, BYTES: 1, CREATED: 1, WRITTEN: 1, EXPIRES: 1, LIFETIME: 1 };
    for name in added(commit) {
        fields.insert(format!("{DATA}.{}", escaped(name.as_str())), 1);
    }
    fields
}

fn added(commit: &Commit) -> impl Iterator<Item = &Name> {
    commit.changes.iter().filter(|(_, change)| matches!(change, Change::Add(_))).map(|(name, _)| name)
}

/// Whether a commit took effect, by the document after it.
pub(crate) fn took_effect(after: &RawDocument, mark: i64) -> bool {
    after.get(MARK).ok().flatten().and_then(RawBsonRef::as_i64) == Some(mark)
}

/// Reads the document after a commit that took effect, and the server's time then.
pub(crate) fn committed(after: &RawDocument, commit: &Commit) -> Result<(Committed, DateTime), Unreadable> {
    let head = Head::read(after)?;
    let now = document::time(after, WRITTEN)?;
    let mut sums = std::collections::BTreeMap::new();
    if added(commit).next().is_some() {
        let data = after.get(DATA)?.and_then(RawBsonRef::as_document).ok_or(Unreadable::Part(DATA))?;
        // Once through the document: to look for each name would be a walk for each.
        for field in data {
            let (field, text) = field?;
            let Some(name) = unescaped(field.as_str()) else { continue };
            if let Some((name, Change::Add(_))) = commit.changes.get_key_value(&*name) {
                let sum = text.as_str().and_then(|text| text.parse().ok()).ok_or(Unreadable::Part("values"))?;
                sums.insert(name.clone(), sum);
            }
        }
        if sums.len() != added(commit).count() {
            return Err(Unreadable::Part("values"));
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
