//! A commit as one statement, and the reason why one changes nothing.

use std::{collections::BTreeMap, time::Duration};

use session_core::{
    AuthenticationChange, Change, Commit, Committed, Data, Guard, Json, Name, Outcome,
    PrincipalChange, Record, Rejection, StoreKey,
};

use crate::{
    data::{Object, field, object},
    dialect::{Merge, Removal, Sql, Sum, sum_variable},
    error::ClientError,
    record::{self, FORMAT, Unreadable},
    row::Row,
    statement::{Arg, Bound, Statement, Writer},
};

/// The most sums of one statement, and the most fields that it removes by path. A commit with more
/// of them reads the record first.
const MOST_SUMS: usize = 16;

/// The columns that a commit answers with, before the database's time and the sums.
const ANSWER: [&str; 5] = ["version", "created", "authenticated", "expires", "attributes"];

/// What a commit comes to.
#[derive(Debug)]
pub(crate) enum Committing {
    Settled(Outcome),
    Rejected(Rejection),
    Corrupt(Unreadable),
    /// The commit fits the record as it is now. This one has the same effect as long as the record
    /// has the version that it names; beside it are the sums that it makes.
    Whole(Box<Commit>, BTreeMap<Name, i64>),
}

/// The statement of a commit. Where a change returns no rows, a second one reads what the first one
/// noted in variables of the connection.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) change: Statement,
    pub(crate) answer: Option<Statement>,
}

impl Statements {
    /// The statements of a commit to the session `key` in `table`, under the cap on data. Every
    /// condition of the commit stands in `WHERE`, so a commit that does not fit changes no row and
    /// raises no error, which the server would log.
    pub(crate) fn new(
        sql: &'static Sql,
        table: &str,
        key: &StoreKey,
        commit: &Commit,
        cap: usize,
    ) -> Self {
        let mut merge = if commit.clear { Merge::default() } else { merge(sql, commit) };
        let mut writer = Writer::new(sql);
        writer.write("UPDATE ").write(table).write(" SET ");
        let mut columns = Columns { writer: &mut writer, written: Vec::new() };
        if commit.is_change() {
            columns.set("version", |writer| writer.write("version + 1"));
        }
        if commit.clear {
            let data = Arg::text(object(&kept(commit)));
            columns.set("data", |writer| writer.bind(data).write(sql.text_as_data));
        } else if !commit.changes.is_empty() {
            merge.notes_sums = !sql.returns_rows;
            columns.set("data", |writer| {
                (sql.write_merged)(writer, &mut merge);
                writer
            });
            merge.notes_sums = false;
        }
        match &commit.principal {
            PrincipalChange::Keep => {}
            PrincipalChange::Set(user) => columns.bind("principal", Arg::bytes(user.as_str())),
            PrincipalChange::Unset => columns.bind("principal", Arg::Bytes(None)),
        }
        if let Some(since) = commit.since() {
            columns.bind("since", Arg::number(since));
        }
        match (commit.authentication(), &commit.principal) {
            (AuthenticationChange::Keep, _) => {}
            (AuthenticationChange::Clear, _) => columns.bind("authenticated", Arg::Integer(None)),
            // An anonymous session stays without a time.
            (AuthenticationChange::Now, PrincipalChange::Keep) => {
                columns.set("authenticated", |writer| {
                    writer
                        .write("CASE WHEN principal IS NOT NULL THEN ")
                        .now()
                        .write(" ELSE authenticated END")
                })
            }
            (AuthenticationChange::Now, _) => columns.set("authenticated", Writer::now),
        }
        if let Some(rotation) = commit.rotate {
            columns.bind("secret", Arg::bytes(rotation.secret.as_bytes()));
            columns.bind("generation", Arg::number(rotation.generation));
            columns.set("rotated", Writer::now);
            // The condition below says that the commit's secret is the one that the rotation
            // replaces.
            columns.bind(
                "former_secret",
                Arg::Bytes(rotation.grace.map(|_| commit.secret.as_bytes().as_slice().into())),
            );
            match rotation.grace {
                Some(grace) => columns.set_from_now("former_until", grace),
                None => columns.bind("former_until", Arg::Integer(None)),
            }
        }
        if let Some(attributes) = &commit.attributes {
            columns.bind("attributes", Arg::text(attributes.to_text()));
        }
        if let Some(ttl) = commit.ttl {
            columns.set_from_now("expires", ttl);
        }
        columns.note_the_rest();
        writer
            .write(" WHERE id = ")
            .bind(Arg::bytes(key.as_str()))
            .write(" AND format = ")
            .write(&FORMAT.to_string());
        writer
            .write(" AND expires > ")
            .now()
            .write(" AND secret = ")
            .bind(Arg::bytes(commit.secret.as_bytes()));
        if let Guard::Version(version) = commit.guard {
            writer.write(" AND version = ").bind(Arg::number(version));
        }
        if !commit.clear {
            for sum in &mut merge.sums {
                writer.write(" AND ");
                (sql.write_sum_is_integer)(&mut writer, sum);
            }
            if commit.changes.values().any(|change| !matches!(change, Change::Remove)) {
                writer.write(" AND ").write(sql.size).write("(");
                (sql.write_merged)(&mut writer, &mut merge);
                writer.write(") <= ").bind(Arg::number(cap));
            }
        }
        let answer = if sql.returns_rows {
            writer.write(" RETURNING ").write(&ANSWER.join(", ")).write(", ").now();
            for sum in &mut merge.sums {
                writer.write(", ").write(sql.value[0]).name(&mut sum.field).write(sql.value[1]);
            }
            None
        } else {
            Some(noted_answer(sql, merge.sums.len()))
        };
        Self { change: writer.finish(), answer }
    }
}

/// The assignments of an update. Where a change returns no rows, each column of [`ANSWER`] is
/// assigned by way of a variable.
struct Columns<'a> {
    writer: &'a mut Writer,
    written: Vec<&'static str>,
}

impl Columns<'_> {
    fn set(&mut self, column: &'static str, value: impl FnOnce(&mut Writer) -> &mut Writer) {
        let writer = self
            .writer
            .write(if self.written.is_empty() { "" } else { ", " })
            .write(column)
            .write(" = ");
        self.written.push(column);
        if !writer.sql.returns_rows && ANSWER.contains(&column) {
            value(writer.write("(@session_").write(column).write(" := ")).write(")");
        } else {
            value(writer);
        }
    }

    fn bind(&mut self, column: &'static str, arg: Arg) {
        self.set(column, |writer| writer.bind(arg));
    }

    fn set_from_now(&mut self, column: &'static str, duration: Duration) {
        self.set(column, |writer| {
            writer.now().write(" + ").bind(Arg::number(duration.as_millis()))
        });
    }

    /// Assigns to themselves the columns of the answer that the commit leaves as they are.
    fn note_the_rest(&mut self) {
        for column in ANSWER.into_iter().filter(|_| !self.writer.sql.returns_rows) {
            if !self.written.contains(&column) {
                self.set(column, |writer| writer.write(column));
            }
        }
    }
}

/// Reads the variables.
fn noted_answer(sql: &'static Sql, sums: usize) -> Statement {
    let mut writer = Writer::new(sql);
    writer.write("SELECT ");
    for column in ANSWER {
        match column {
            "attributes" => writer.write("@session_attributes, "),
            integer => writer.write("CAST(@session_").write(integer).write(" AS SIGNED), "),
        };
    }
    writer.now();
    for at in 0..sums {
        writer.write(", ").write(&sum_variable(at));
    }
    writer.finish()
}

fn merge(sql: &Sql, commit: &Commit) -> Merge {
    let mut merge = Merge::default();
    let (mut patch, mut patched) = (Object::new(), false);
    let mut removed = Vec::new();
    for (name, change) in &commit.changes {
        match (change, sql.removal) {
            (Change::Set(value), _) => {
                patch.put(name, Some(value));
                patched = true;
            }
            (Change::Remove, Removal::List) => removed.push(field(name)),
            (Change::Remove, Removal::Paths) => {
                merge.removed_paths.push(Arg::text(sql.path(&field(name))).into())
            }
            (Change::Remove, Removal::Null) => {
                patch.put(name, None);
                patched = true;
            }
            (Change::Add(by), _) => {
                merge.sums.push(Sum {
                    field: Arg::text(sql.path(&field(name))).into(),
                    by: Arg::number(*by).into(),
                });
            }
        }
    }
    merge.patch = patched.then(|| Bound::from(Arg::text(patch.finish())));
    if !removed.is_empty() {
        // Texts always have a JSON form.
        merge.removed = Some(Arg::text(serde_json::to_string(&removed).unwrap_or_default()).into());
    }
    merge
}

/// Whether one statement of reasonable length makes the commit without a look at the record. An
/// empty commit is only judged.
pub(crate) fn is_one_statement(sql: &Sql, commit: &Commit, cap: usize) -> bool {
    let count =
        |is: fn(&Change) -> bool| commit.changes.values().filter(|change| is(change)).count();
    let sums = count(|change| matches!(change, Change::Add(_)));
    let paths = if sql.removal == Removal::Paths {
        count(|change| matches!(change, Change::Remove))
    } else {
        0
    };
    let fits = if commit.clear {
        sums == 0 || kept(commit).bytes() <= cap
    } else {
        sums.max(paths) <= MOST_SUMS
    };
    fits && !commit.is_empty()
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

/// Reads the answer to a commit: [`ANSWER`], the database's time, and the sums.
pub(crate) fn committed(
    row: &Row,
    commit: &Commit,
) -> Result<Result<Committed, Unreadable>, ClientError> {
    let (version, created, authenticated, expires) =
        (row.integer(0)?, row.integer(1)?, row.optional(2)?, row.integer(3)?);
    let (attributes, now) =
        (record::attributes(row.bytes(4)?.unwrap_or_default()), row.integer(5)?);
    let mut added = BTreeMap::new();
    let names = commit.changes.iter().filter_map(|(name, change)| match change {
        Change::Add(by) => Some((name, *by)),
        Change::Set(_) | Change::Remove => None,
    });
    for (at, (name, by)) in names.enumerate() {
        let sum = if commit.clear {
            by
        } else {
            let text = row.bytes(6 + at)?.and_then(|text| std::str::from_utf8(text).ok());
            text.and_then(|text| text.parse().ok())
                .ok_or(ClientError::Answer("a sum is an integer"))?
        };
        added.insert(name.clone(), sum);
    }
    Ok((|| {
        Ok(Committed {
            version: record::version(version)?,
            added,
            age: record::between(created, now),
            authenticated: authenticated.map(|time| record::between(time, now)),
            ttl: record::between(now, expires),
            attributes: attributes?,
        })
    })())
}

/// Why a commit changes nothing, judged by the record. If the commit fits the record, a commit that
/// says all of what it makes of it.
pub(crate) fn explain(commit: &Commit, record: Option<&Record>, cap: usize) -> Committing {
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
        return Committing::Settled(Outcome::Done(Committed {
            version: record.version,
            added: BTreeMap::new(),
            age: record.age,
            authenticated: record.authenticated,
            ttl: record.ttl,
            attributes: record.attributes.clone(),
        }));
    }
    let mut data = if commit.clear { Data::new() } else { record.data.clone() };
    let mut added = BTreeMap::new();
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
                added.insert(name.clone(), sum);
            }
        }
    }
    // Data that does not grow is fine, even if the cap was lowered.
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
