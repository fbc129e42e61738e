//! A commit as an update: one pipeline that a server applies to one document as one step.
//!
//! If its conditions hold, the document has the commit's mark afterwards. If not, the document is
//! unchanged, and the answer holds what tells why. The pipeline never raises an error: a server
//! writes a command that fails into its log, with all the data in it.

use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, doc};
use session_core::{
    AuthenticationChange, Change, Commit, Committed, Data, Guard, Json, Name, Outcome,
    PrincipalChange, Record, Rejection,
};

use crate::{
    document::{CURRENT, Head, Unreadable, alive, binary, count, literal, millis},
    field::{
        ATTRIBUTES, AUTHENTICATED, BYTES, DATA, EXPIRES, FORMER, GENERATION, MARK, PRINCIPAL,
        ROTATED, SECRET, SINCE, UNTIL, VERSION, escaped, unescaped,
    },
};

/// What came of a commit.
#[derive(Debug)]
pub(crate) enum Committing {
    Settled(Outcome),
    Rejected(Rejection),
    Corrupt(Unreadable),
    /// The document changed meanwhile, and the commit may take effect now.
    Again,
}

/// The pipeline of a commit to a document, under the cap on data. It leaves `mark`.
pub(crate) fn pipeline(commit: &Commit, cap: usize, mark: i64) -> Vec<Document> {
    let (mut merged, mut removed) = (doc! { MARK: mark }, Vec::new());
    if commit.is_change() {
        merged.insert(VERSION, doc! { "$add": ["$version", 1_i64] });
    }
    if let PrincipalChange::Set(principal) = &commit.principal {
        merged.insert(PRINCIPAL, literal(principal.as_str()));
    }
    match commit.authentication() {
        AuthenticationChange::Keep => {}
        AuthenticationChange::Clear => removed.extend([PRINCIPAL, AUTHENTICATED]),
        AuthenticationChange::Now if merged.contains_key(PRINCIPAL) => {
            drop(merged.insert(AUTHENTICATED, "$$NOW"))
        }
        // An anonymous session has no such time.
        AuthenticationChange::Now => {
            let is_anonymous = doc! { "$eq": [{ "$type": "$principal" }, "missing"] };
            merged.insert(AUTHENTICATED, doc! { "$cond": [is_anonymous, "$$REMOVE", "$$NOW"] });
        }
    }
    if let Some(since) = commit.since() {
        merged.insert(SINCE, i64::from(since));
    }
    if let Some(rotation) = &commit.rotate {
        merged.insert(SECRET, binary(rotation.secret.as_bytes()));
        merged.insert(GENERATION, i64::from(rotation.generation));
        merged.insert(ROTATED, "$$NOW");
        match rotation.grace {
            Some(grace) => drop(merged.insert(
                FORMER,
                doc! { SECRET: "$secret", UNTIL: { "$add": ["$$NOW", millis(grace)] } },
            )),
            None => removed.push(FORMER),
        }
    }
    if let Some(attributes) = &commit.attributes {
        merged.insert(ATTRIBUTES, attributes.to_text());
    }
    if let Some(ttl) = commit.ttl {
        merged.insert(EXPIRES, doc! { "$add": ["$$NOW", millis(ttl)] });
    }
    let mut conditions = conditions(commit);
    let calculated = Values::of(commit).map(|values| {
        conditions.extend(values.conditions);
        merged.insert(DATA, values.data);
        merged.insert(BYTES, "$$bytes");
        (values.sums, values.bytes)
    });
    let mut after = without_all(&removed, doc! { "$mergeObjects": ["$$ROOT", merged] }.into());
    if let Some((sums, bytes)) = calculated {
        // Data that gets no larger is fine, even where the cap was lowered.
        let mut fits =
            vec![Bson::from(doc! { "$lte": ["$$bytes", { "$max": [count(cap), "$bytes"] }] })];
        // A sum that leaves 64 bits goes on as a floating-point number, and a text that is not an
        // integer has become null.
        fits.extend(
            sums.keys()
                .map(|name| doc! { "$eq": [{ "$type": format!("$${name}") }, "long"] }.into()),
        );
        after = doc! { "$cond": [{ "$and": fits }, after, "$$ROOT"] }.into();
        after = doc! { "$let": { "vars": { "bytes": bytes }, "in": after } }.into();
        if !sums.is_empty() {
            after = doc! { "$let": { "vars": sums, "in": after } }.into();
        }
    }
    vec![doc! { "$replaceWith": { "$cond": [{ "$and": conditions }, after, "$$ROOT"] } }]
}

/// What must hold of a document whatever the values are. The server calculates nothing with a
/// corrupt record.
fn conditions(commit: &Commit) -> Vec<Bson> {
    // One comparison of two lists: a server takes longer to parse a pipeline than to run it.
    let mut found = vec![Bson::from("$secret"), "$format".into()];
    let mut wanted = vec![binary(commit.secret.as_bytes()), CURRENT.into()];
    if let Guard::Version(version) = commit.guard {
        found.push("$version".into());
        wanted.push(i64::try_from(version).unwrap_or(-1).into());
    }
    // Numbers of all types are equal, so the types are compared too.
    for (path, kind) in [
        ("$format", "int"),
        ("$version", "long"),
        ("$bytes", "long"),
        ("$created", "date"),
        ("$expires", "date"),
        ("$data", "object"),
    ] {
        found.push(type_of(path));
        wanted.push(kind.into());
    }
    let optional = |paths: &[&str], kind: &str| -> Bson {
        let types: Vec<Bson> = paths.iter().map(|path| type_of(path)).collect();
        doc! { "$setIsSubset": [types, [kind, "missing"]] }.into()
    };
    vec![
        doc! { "$eq": [found, wanted] }.into(),
        alive().into(),
        doc! { "$gte": ["$version", 0_i64] }.into(),
        optional(&["$principal", "$attributes"], "string"),
        optional(&["$authenticated", "$rotated"], "date"),
        optional(&["$generation", "$since"], "long"),
        optional(&["$former"], "object"),
    ]
}

fn type_of(path: &str) -> Bson {
    doc! { "$type": path }.into()
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
            let fields: Document = kept
                .iter()
                .map(|(name, value)| {
                    (escaped(name.as_str()).into_owned(), Bson::from(value.as_str()))
                })
                .collect();
            let data = doc! { "$literal": fields }.into();
            return Some(Self {
                conditions: Vec::new(),
                sums: Document::new(),
                bytes: count(kept.bytes()).into(),
                data,
            });
        }
        if commit.changes.is_empty() {
            return None;
        }
        let (mut sums, mut terms, mut set) =
            (Document::new(), vec![Bson::from("$bytes")], Document::new());
        let (mut conditions, mut removed) = (Vec::new(), Vec::new());
        for (name, change) in &commit.changes {
            let field = escaped(name.as_str());
            let path = format!("${DATA}.{field}");
            let named = count(name.as_str().len());
            // What it takes up now.
            let taken = doc! { "$subtract": [-named, { "$strLenBytes": path.as_str() }] };
            terms.push(
                doc! { "$cond": [{ "$eq": [{ "$type": path.as_str() }, "string"] }, taken, 0_i64] }
                    .into(),
            );
            match change {
                Change::Set(value) => {
                    terms.push((named + count(value.as_str().len())).into());
                    set.insert(field, literal(value.as_str()));
                }
                Change::Remove => removed.push(field),
                Change::Add(by) => {
                    let variable = format!("sum{}", sums.len());
                    let text = doc! { "$toString": format!("$${variable}") };
                    conditions.push(doc! { "$in": [type_of(&path), ["string", "missing"]] }.into());
                    sums.insert(variable, sum(&path, *by));
                    // A sum of no integer is nothing, which has no size.
                    terms.push(doc! { "$add": [named, { "$strLenBytes": { "$ifNull": [text.clone(), ""] } }] }.into());
                    set.insert(field, text);
                }
            }
        }
        let mut data = without_all(&removed, "$data".into());
        if !set.is_empty() {
            data = doc! { "$mergeObjects": [data, set] }.into();
        }
        Some(Self { conditions, sums, bytes: doc! { "$add": terms }.into(), data })
    }
}

/// The number that the text at `path` is, or that nothing is, and `by`; nothing if the text is no
/// integer's.
fn sum(path: &str, by: i64) -> Document {
    // JSON allows white space around a number.
    let text = doc! { "$trim": { "input": { "$ifNull": [path, "0"] }, "chars": " \t\r\n" } };
    doc! { "$add": [{ "$convert": { "input": text, "to": "long", "onError": Bson::Null } }, by] }
}

/// An object without some of its fields.
fn without_all(fields: &[impl AsRef<str>], object: Bson) -> Bson {
    let fields = fields.iter().map(AsRef::as_ref);
    // Nested expressions are quicker for a few fields. For many they are too deep for a server and
    // for a stack.
    if fields.len() <= 8 {
        return fields.fold(object, |object, field| {
            doc! { "$unsetField": { "field": field, "input": object } }.into()
        });
    }
    let fields: Vec<&str> = fields.collect();
    let stays = doc! { "$not": { "$in": ["$$this.k", { "$literal": fields }] } };
    doc! { "$arrayToObject": { "$filter": { "input": { "$objectToArray": object }, "cond": stays } } }.into()
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

fn added(commit: &Commit) -> impl Iterator<Item = &Name> {
    commit
        .changes
        .iter()
        .filter(|(_, change)| matches!(change, Change::Add(_)))
        .map(|(name, _)| name)
}

/// Whether a commit took effect, by the document after it.
pub(crate) fn took_effect(after: &RawDocument, mark: i64) -> bool {
    after.get(MARK).ok().flatten().and_then(RawBsonRef::as_i64) == Some(mark)
}

/// Reads the document after a commit that took effect.
pub(crate) fn committed(
    after: &RawDocument,
    commit: &Commit,
    now: DateTime,
) -> Result<Committed, Unreadable> {
    let head = Head::read(after)?;
    let mut sums = std::collections::BTreeMap::new();
    if added(commit).next().is_some() {
        let data =
            after.get(DATA)?.and_then(RawBsonRef::as_document).ok_or(Unreadable::Part(DATA))?;
        // Once through the document: to look for each name would be a walk for each.
        for field in data {
            let (field, text) = field?;
            let Some(name) = unescaped(field.as_str()) else { continue };
            if let Some((name, Change::Add(_))) = commit.changes.get_key_value(&*name) {
                let sum = text
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(Unreadable::Part("values"))?;
                sums.insert(name.clone(), sum);
            }
        }
        if sums.len() != added(commit).count() {
            return Err(Unreadable::Part("values"));
        }
    }
    Ok(Committed {
        version: head.version,
        added: sums,
        age: head.age(now),
        authenticated: head.authenticated(now),
        // It lived when the commit took effect. The answer may have taken longer than what was left
        // of its life.
        ttl: head.ttl(now).unwrap_or_default(),
        attributes: head.attributes,
    })
}

/// Why a commit changes nothing, by the record it would change. `Again` if the record does not
/// tell.
pub(crate) fn explain(commit: &Commit, record: Option<Record>, cap: usize) -> Committing {
    let Some(record) = record else { return Committing::Settled(Outcome::Gone) };
    if commit.secret != record.secret {
        return Committing::Settled(Outcome::Superseded);
    }
    if let Guard::Version(version) = commit.guard
        && version != record.version
    {
        return Committing::Settled(Outcome::Conflict);
    }
    if commit.is_empty() {
        let Record { version, age, authenticated, ttl, attributes, .. } = record;
        let added = std::collections::BTreeMap::new();
        return Committing::Settled(Outcome::Done(Committed {
            version,
            added,
            age,
            authenticated,
            ttl,
            attributes,
        }));
    }
    let before = record.data.bytes();
    let mut data = if commit.clear { Data::new() } else { record.data };
    for (name, change) in &commit.changes {
        match change {
            Change::Set(value) => drop(data.insert(name.clone(), value.clone())),
            Change::Remove => drop(data.remove(name.as_str())),
            Change::Add(by) => {
                let Some(current) = data.get(name.as_str()).map_or(Some(0), Json::as_integer)
                else {
                    return Committing::Rejected(Rejection::NotAnInteger { name: name.clone() });
                };
                let Some(sum) = current.checked_add(*by) else {
                    return Committing::Rejected(Rejection::Overflow { name: name.clone() });
                };
                data.insert(name.clone(), Json::integer(sum));
            }
        }
    }
    if data.bytes() > cap.max(before) {
        return Committing::Rejected(Rejection::DataTooLarge { bytes: data.bytes(), limit: cap });
    }
    Committing::Again
}
