//! A commit as an update pipeline, which the server applies to one document atomically.
//!
//! If the conditions of the pipeline hold, the document has the commit marker afterwards. If a
//! condition fails, the document stays unchanged, and the response holds the fields from which
//! [`explain`] derives the outcome. The pipeline never raises an error: the server logs a failed
//! command with all its data.

use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, doc};
use session_core::{
    AuthenticationChange, Change, Commit, Committed, Guard, Name, Outcome, PrincipalChange, Record,
    Rejection,
};
use store_support::commit::{Verdict, data_after_clear, judge};

use crate::codec::{
    decode::{DecodeError, Header},
    expression::{alive, binary, bson_size, literal, millis},
    field::{
        self, ATTRIBUTES, AUTHENTICATED, BYTES, CURRENT_FORMAT, DATA, EXPIRES, FORMER, GENERATION,
        MARK, PRINCIPAL, ROTATED, SECRET, SINCE, UNTIL, VERSION,
    },
};

/// Result of one attempt to commit.
#[derive(Debug)]
pub(crate) enum CommitAttempt {
    Final(Outcome),
    Rejected(Rejection),
    /// The stored document is not a valid record.
    Corrupt(DecodeError),
    /// Another client changed the document after the server evaluated the conditions. The commit
    /// may succeed now.
    Retry,
}

/// The pipeline of a commit. The data may have at most `limit` bytes afterwards, and the document
/// gets the commit marker `mark`.
pub(crate) fn pipeline(commit: &Commit, limit: usize, mark: i64) -> Vec<Document> {
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
            drop(merged.insert(AUTHENTICATED, "$$NOW"));
        }
        // An anonymous session does not get an authentication time.
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
    let calculated = DataUpdate::of(commit).map(|update| {
        conditions.extend(update.conditions);
        merged.insert(DATA, update.data);
        merged.insert(BYTES, "$$bytes");
        (update.sums, update.bytes)
    });
    let mut after = without_all(&removed, doc! { "$mergeObjects": ["$$ROOT", merged] }.into());
    if let Some((sums, bytes)) = calculated {
        // A change that does not enlarge the data is allowed even above the limit, because an
        // operator may have lowered the limit.
        let limit = doc! { "$max": [bson_size(limit), "$bytes"] };
        let mut fits = vec![Bson::from(doc! { "$lte": ["$$bytes", limit] })];
        // The server continues a sum beyond 64 bits as a double, and a value that is not an integer
        // is null.
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

/// The conditions that do not depend on the changed values. They keep the server from calculating
/// with a corrupt record.
fn conditions(commit: &Commit) -> Vec<Bson> {
    // One comparison of two arrays: the server needs more time to parse a pipeline than to run it.
    let mut found = vec![Bson::from("$secret"), "$format".into()];
    let mut expected = vec![binary(commit.secret.as_bytes()), CURRENT_FORMAT.into()];
    if let Guard::Version(version) = commit.guard {
        found.push("$version".into());
        expected.push(i64::try_from(version).unwrap_or(-1).into());
    }
    // `$eq` ignores the type of a number, so the types are compared too.
    for (path, kind) in [
        ("$format", "int"),
        ("$version", "long"),
        ("$bytes", "long"),
        ("$created", "date"),
        ("$expires", "date"),
        ("$data", "object"),
    ] {
        found.push(type_of(path));
        expected.push(kind.into());
    }
    let optional = |paths: &[&str], kind: &str| -> Bson {
        let types: Vec<Bson> = paths.iter().map(|path| type_of(path)).collect();
        doc! { "$setIsSubset": [types, [kind, "missing"]] }.into()
    };
    vec![
        doc! { "$eq": [found, expected] }.into(),
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

/// How a commit changes the values of a session.
struct DataUpdate {
    /// The conditions on the old values, without which the update cannot be calculated.
    conditions: Vec<Bson>,
    /// The variables that hold the sums of additions.
    sums: Document,
    /// The size of the new data.
    bytes: Bson,
    /// The new data.
    data: Bson,
}

impl DataUpdate {
    /// `None` if the commit changes no values.
    fn of(commit: &Commit) -> Option<Self> {
        if commit.clear {
            let data = data_after_clear(commit);
            let fields: Document = data
                .iter()
                .map(|(name, value)| {
                    (field::encode(name.as_str()).into_owned(), Bson::from(value.as_str()))
                })
                .collect();
            return Some(Self {
                conditions: Vec::new(),
                sums: Document::new(),
                bytes: bson_size(data.bytes()).into(),
                data: doc! { "$literal": fields }.into(),
            });
        }
        if commit.changes.is_empty() {
            return None;
        }
        let (mut sums, mut terms, mut set) =
            (Document::new(), vec![Bson::from("$bytes")], Document::new());
        let (mut conditions, mut removed) = (Vec::new(), Vec::new());
        for (name, change) in &commit.changes {
            let field = field::encode(name.as_str());
            let path = format!("${DATA}.{field}");
            let name_size = bson_size(name.as_str().len());
            // Minus the size of the old value and its name, if there is an old value.
            let old_size = doc! { "$subtract": [-name_size, { "$strLenBytes": path.as_str() }] };
            let exists = doc! { "$eq": [{ "$type": path.as_str() }, "string"] };
            terms.push(doc! { "$cond": [exists, old_size, 0_i64] }.into());
            match change {
                Change::Set(value) => {
                    terms.push((name_size + bson_size(value.as_str().len())).into());
                    set.insert(field, literal(value.as_str()));
                }
                Change::Remove => removed.push(field),
                Change::Add(by) => {
                    let variable = format!("sum{}", sums.len());
                    let text = doc! { "$toString": format!("$${variable}") };
                    conditions.push(doc! { "$in": [type_of(&path), ["string", "missing"]] }.into());
                    sums.insert(variable, sum(&path, *by));
                    // `$strLenBytes` raises an error for null, so an invalid sum counts as empty.
                    let digits = doc! { "$ifNull": [text.clone(), ""] };
                    terms.push(doc! { "$add": [name_size, { "$strLenBytes": digits }] }.into());
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

/// The sum of `by` and the integer at `path`. A missing value counts as 0. The sum is null if the
/// value is not an integer.
fn sum(path: &str, by: i64) -> Document {
    // JSON allows whitespace around a number.
    let text = doc! { "$trim": { "input": { "$ifNull": [path, "0"] }, "chars": " \t\r\n" } };
    doc! { "$add": [{ "$convert": { "input": text, "to": "long", "onError": Bson::Null } }, by] }
}

/// The object without `fields`.
fn without_all(fields: &[impl AsRef<str>], object: Bson) -> Bson {
    let fields = fields.iter().map(AsRef::as_ref);
    // Nested `$unsetField` expressions are faster for a few fields. For many fields they exceed the
    // nesting limit of the server, and encoding them can overflow the stack.
    if fields.len() <= 8 {
        return fields.fold(object, |object, field| {
            doc! { "$unsetField": { "field": field, "input": object } }.into()
        });
    }
    let fields: Vec<&str> = fields.collect();
    let remains = doc! { "$not": { "$in": ["$$this.k", { "$literal": fields }] } };
    let input = doc! { "$objectToArray": object };
    doc! { "$arrayToObject": { "$filter": { "input": input, "cond": remains } } }.into()
}

/// The names that a commit adds to.
fn added(commit: &Commit) -> impl Iterator<Item = &Name> {
    commit
        .changes
        .iter()
        .filter(|(_, change)| matches!(change, Change::Add(_)))
        .map(|(name, _)| name)
}

/// Whether the commit with this marker took effect, by the document that the server returned.
pub(crate) fn took_effect(after: &RawDocument, mark: i64) -> bool {
    after.get(MARK).ok().flatten().and_then(RawBsonRef::as_i64) == Some(mark)
}

/// Decodes the document after a commit that took effect.
pub(crate) fn committed(
    after: &RawDocument,
    commit: &Commit,
    now: DateTime,
) -> Result<Committed, DecodeError> {
    let header = Header::decode(after)?;
    let mut sums = std::collections::BTreeMap::new();
    if added(commit).next().is_some() {
        let data =
            after.get(DATA)?.and_then(RawBsonRef::as_document).ok_or(DecodeError::Field(DATA))?;
        // One pass over the document: each lookup by name would scan it again.
        for field in data {
            let (field, text) = field?;
            let Some(name) = field::decode(field.as_str()) else { continue };
            if let Some((name, Change::Add(_))) = commit.changes.get_key_value(&*name) {
                let sum = text
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(DecodeError::Field("values"))?;
                sums.insert(name.clone(), sum);
            }
        }
        if sums.len() != added(commit).count() {
            return Err(DecodeError::Field("values"));
        }
    }
    Ok(Committed {
        version: header.version,
        added: sums,
        age: header.age(now),
        authenticated: header.authenticated(now),
        // The session was alive when the commit took effect. It may have expired before the
        // response arrived.
        ttl: header.ttl(now).unwrap_or_default(),
        attributes: header.attributes,
    })
}

/// Derives from the unchanged record why a commit did not take effect. [`CommitAttempt::Retry`] if
/// the commit could take effect on this record.
pub(crate) fn explain(commit: &Commit, record: Option<Record>, limit: usize) -> CommitAttempt {
    match judge(commit, record, limit) {
        Verdict::Settled(outcome) => CommitAttempt::Final(outcome),
        Verdict::Rejected(rejection) => CommitAttempt::Rejected(rejection),
        Verdict::Fits { .. } => CommitAttempt::Retry,
    }
}
