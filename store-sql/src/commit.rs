//! A commit as one statement, and why one changed nothing.

use std::collections::BTreeMap;

use session_core::{Change, Commit, Committed, Data, Guard, Json, Name, Outcome, PrincipalChange, Record, Rejection, StoreKey};

use crate::{
    data::{Object, field, object},
    dialect::{Dialect, Merge, Sum, sum_variable},
    error::ClientError,
    record::{self, FORMAT, Unreadable, millis},
    row::Row,
    statement::{Arg, Bound, Statement, Writer},
};

/// How many sums one statement makes, and how many fields it takes out one by one. A commit of more of them reads the record first.
const MOST_SUMS: usize = 16;

/// What a commit came to.
#[derive(Debug)]
pub(crate) enum Committing {
    Settled(Outcome),
    Rejected(Rejection),
    Corrupt(Unreadable),
    /// It fits the record as it is now: this is the whole of it, which holds as long as the record has the version that it names.
    Whole(Box<Commit>, BTreeMap<Name, i64>),
}

/// The statement of a commit, and where changes answer with nothing, the one that reads what it made.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) change: Statement,
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "only MySQL has no answer to a change"))]
    pub(crate) answer: Option<Statement>,
}

/// Where a commit goes: the dialect, the table in quotation marks, the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) table: &'a str,
    pub(crate) key: &'a StoreKey,
}

impl Target<'_> {
    /// The statements of a commit, under the cap on data.
    pub(crate) fn statements(self, commit: &Commit, cap: usize) -> Statements {
        let Self { dialect, table, key } = self;
        let mut merge = if commit.clear { Merge::default() } else { merge(dialect, commit) };
        let mut target = commit.move_to.as_ref().filter(|target| *target != key).map(|target| Bound::from(Arg::bytes(target.as_str())));
        let mut writer = Writer::new(dialect);
        writer.write("UPDATE ").write(table).write(" SET ");
        let mut columns = Columns { writer: &mut writer, first: true };
        // Changes that answer with nothing leave what the next statement reads, in variables of the connection.
        let noted = !dialect.returns_rows();
        if commit.is_change() || noted {
            let version = if commit.is_change() { "version + 1" } else { "version" };
            columns.set("version", noted.then_some("@session_version"), |writer| writer.write(version));
        }
        if commit.clear {
            let kept = kept(commit);
            let data = Arg::Text(object(&kept).into());
            columns.set("data", None, |writer| writer.bind(data).write(dialect.text_as_data()));
        } else if !commit.changes.is_empty() {
            merge.noted = noted;
            columns.set("data", None, |writer| {
                dialect.write_merged(writer, &mut merge);
                writer
            });
            merge.noted = false;
        }
        match &commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(user) => columns.set("principal", None, |writer| writer.bind(Arg::bytes(user.as_str()))),
            PrincipalChange::Unset => columns.set("principal", None, |writer| writer.write("NULL")),
        }
        if commit.lifetime.is_some() || noted {
            columns.set("lifetime", noted.then_some("@session_lifetime"), |writer| match &commit.lifetime {
                Some(lifetime) => writer.bind(Arg::Text(lifetime.to_text().into())),
                None => writer.write("lifetime"),
            });
        }
        if commit.ttl.is_some() || noted {
            columns.set("expires", noted.then_some("@session_expires"), |writer| match commit.ttl {
                Some(ttl) => writer.now().write(" + ").bind(Arg::Integer(millis(ttl))),
                None => writer.write("expires"),
            });
        }
        if noted {
            columns.set("created", Some("@session_created"), |writer| writer.write("created"));
        }
        if let Some(target) = &mut target {
            columns.set("id", None, |writer| writer.name(target));
        }
        writer
            .write(" WHERE id = ")
            .bind(Arg::bytes(key.as_str()))
            .write(" AND format = ")
            .write(&FORMAT.to_string())
            .write(" AND expires > ")
            .now();
        if let Guard::Version(version) = commit.guard {
            writer.write(" AND version = ").bind(Arg::Integer(i64::try_from(version).unwrap_or(-1)));
        }
        if !commit.clear {
            for sum in &mut merge.sums {
                writer.write(" AND ");
                dialect.write_sum_is_integer(&mut writer, sum);
            }
            if commit.changes.values().any(|change| !matches!(change, Change::Remove)) {
                writer.write(" AND ");
                dialect.write_merged_size(&mut writer, &mut merge);
                writer.write(" <= ").bind(Arg::Integer(i64::try_from(cap).unwrap_or(i64::MAX)));
            }
        }
        if let Some(target) = target.as_mut().filter(|_| dialect == Dialect::Postgres) {
            // A statement that fails is written into the server's log, with the key.
            writer.write(" AND NOT EXISTS (SELECT FROM ").write(table).write(" AS other WHERE other.id = ").name(target).write(")");
        }
        let answer = if noted {
            Some(noted_answer(dialect, merge.sums.len()))
        } else {
            writer.write(" RETURNING version, created, expires, lifetime, ").now();
            for sum in &mut merge.sums {
                writer.write(", ");
                dialect.write_value(&mut writer, &mut sum.field);
            }
            None
        };
        Statements { change: writer.finish(), answer }
    }
}

/// The assignments of an update.
struct Columns<'a> {
    writer: &'a mut Writer,
    first: bool,
}

impl Columns<'_> {
    /// Writes one, by way of a variable if that is named.
    fn set(&mut self, column: &str, variable: Option<&str>, value: impl FnOnce(&mut Writer) -> &mut Writer) {
        let writer = self.writer.write(if self.first { "" } else { ", " }).write(column).write(" = ");
        self.first = false;
        if let Some(variable) = variable {
            writer.write("(").write(variable).write(" := ");
        }
        let writer = value(writer);
        if variable.is_some() {
            writer.write(")");
        }
    }
}

/// Reads the variables.
fn noted_answer(dialect: Dialect, sums: usize) -> Statement {
    let mut writer = Writer::new(dialect);
    writer.write(
        "SELECT CAST(@session_version AS SIGNED), CAST(@session_created AS SIGNED), CAST(@session_expires AS SIGNED), @session_lifetime, ",
    );
    writer.now();
    for at in 0..sums {
        writer.write(", ").write(&sum_variable(at));
    }
    writer.finish()
}

fn merge(dialect: Dialect, commit: &Commit) -> Merge {
    let mut merge = Merge::default();
    let (mut patch, mut patched) = (Object::new(), false);
    let mut removed = Vec::new();
    for (name, change) in &commit.changes {
        match change {
            Change::Set(value) => {
                patch.put(name, Some(value));
                patched = true;
            }
            Change::Remove if dialect == Dialect::Postgres => removed.push(field(name)),
            Change::Remove if dialect == Dialect::MySql => merge.taken.push(Arg::Text(dialect.path(&field(name)).into()).into()),
            Change::Remove => {
                patch.put(name, None);
                patched = true;
            }
            Change::Add(by) => {
                merge.sums.push(Sum { field: Arg::Text(dialect.path(&field(name)).into()).into(), by: Arg::Integer(*by).into() });
            }
        }
    }
    if patched {
        merge.patch = Some(Arg::Text(patch.finish().into()).into());
    }
    if !removed.is_empty() {
        // Texts always have a JSON form.
        merge.removed = Some(Arg::Text(serde_json::to_string(&removed).unwrap_or_default().into()).into());
    }
    merge
}

/// Whether a statement of reasonable length does all of it.
pub(crate) fn is_one_statement(dialect: Dialect, commit: &Commit) -> bool {
    let count = |is: fn(&Change) -> bool| commit.changes.values().filter(|change| is(change)).count();
    let sums = count(|change| matches!(change, Change::Add(_)));
    let taken = if dialect == Dialect::MySql { count(|change| matches!(change, Change::Remove)) } else { 0 };
    commit.clear || sums.max(taken) <= MOST_SUMS
}

/// What is left after a commit that clears.
pub(crate) fn kept(commit: &Commit) -> Data {
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

/// Reads what a commit's statement answered: version, creation, deadline, lifetime, time, and the sums.
pub(crate) fn committed(row: &Row, commit: &Commit) -> Result<Result<Committed, Unreadable>, ClientError> {
    let (version, created, expires, now) = (row.integer(0)?, row.integer(1)?, row.integer(2)?, row.integer(4)?);
    let lifetime = record::lifetime(row.bytes(3)?.unwrap_or_default());
    let mut added = BTreeMap::new();
    let names = commit.changes.iter().filter_map(|(name, change)| match change {
        Change::Add(by) => Some((name, *by)),
        Change::Set(_) | Change::Remove => None,
    });
    for (at, (name, by)) in names.enumerate() {
        let sum = if commit.clear {
            by
        } else {
            let text = row.bytes(5 + at)?.and_then(|text| std::str::from_utf8(text).ok());
            text.and_then(|text| text.parse().ok()).ok_or(ClientError::Answer("a sum is an integer"))?
        };
        added.insert(name.clone(), sum);
    }
    Ok((|| {
        // A life that is given is at least a millisecond, and one that is kept was not over.
        let ttl = record::ttl(expires, now).unwrap_or_default();
        Ok(Committed { version: record::version(version)?, added, age: record::since(created, now), ttl, lifetime: lifetime? })
    })())
}

/// Why a commit changes nothing, by the record it would change; if it fits that, the whole of what it would make of it.
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
            added: BTreeMap::new(),
            age: record.age,
            ttl: record.ttl,
            lifetime: record.lifetime,
        }));
    }
    let mut data = if commit.clear { Data::new() } else { record.data.clone() };
    let mut added = BTreeMap::new();
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
                added.insert(name.clone(), sum);
            }
        }
    }
    // What gets no larger is fine, even where the cap was lowered.
    if data.bytes() > cap.max(record.data.bytes()) {
        return Committing::Rejected(Rejection::DataTooLarge { bytes: data.bytes(), limit: cap });
    }
    let mut whole = commit.clone();
    if commit.clear || !commit.changes.is_empty() {
        whole.clear = true;
        whole.changes = data.into_iter().map(|(name, value)| (name, Change::Set(value))).collect();
    }
    whole.guard = Guard::Version(record.version);
    Committing::Whole(Box::new(whole), added)
}
