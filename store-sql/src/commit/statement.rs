//! The statement of a commit.

use std::{collections::BTreeMap, time::Duration};

use session_core::{
    AuthenticationChange, Change, Commit, Committed, Guard, PrincipalChange, StoreKey,
};
use store_support::commit::data_after_clear;

use crate::{
    codec::{self, FORMAT, Object, Row, field, object},
    dialect::{Arg, Bound, Merge, Removal, Sql, Statement, Sum, Writer, sum_variable},
    error::{ClientError, Unreadable},
};

/// The most sums of one statement, and the most fields that it removes by path. A commit with more
/// of them reads the record first.
const MAX_SUMS: usize = 16;

/// The columns that the answer to a commit contains. The database's time and the sums follow them.
const ANSWER: [&str; 5] = ["version", "created", "authenticated", "expires", "attributes"];

/// The statement of a commit. If changes return no rows in the dialect, a second statement reads
/// what the first one stored in variables of the connection.
#[derive(Debug)]
pub(super) struct CommitStatements {
    pub(super) change: Statement,
    pub(super) answer: Option<Statement>,
}

impl CommitStatements {
    /// The statements of a commit to the session `key` in `table`, under the cap on data. `WHERE`
    /// contains every condition of the commit. So a commit that does not fit changes no row, and
    /// causes no error that the server would log.
    pub(super) fn new(
        sql: &'static Sql,
        table: &str,
        key: &StoreKey,
        commit: &Commit,
        cap: usize,
    ) -> Self {
        let mut merge = if commit.clear { Merge::default() } else { merge_of(sql, commit) };
        let mut writer = Writer::new(sql);
        writer.write("UPDATE ").write(table).write(" SET ");
        let mut columns = Assignments { writer: &mut writer, written: Vec::new() };
        if commit.is_change() {
            columns.set("version", |writer| writer.write("version + 1"));
        }
        if commit.clear {
            let data = Arg::text(object(&data_after_clear(commit)));
            columns.set("data", |writer| writer.bind(data).write(sql.text_as_data));
        } else if !commit.changes.is_empty() {
            merge.stores_sums = !sql.returns_rows;
            columns.set("data", |writer| {
                (sql.write_merged)(writer, &mut merge);
                writer
            });
            merge.stores_sums = false;
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
            // An anonymous session has no time of authentication.
            (AuthenticationChange::Now, PrincipalChange::Keep) => {
                columns.set("authenticated", |writer| {
                    writer
                        .write("CASE WHEN principal IS NOT NULL THEN ")
                        .now()
                        .write(" ELSE authenticated END")
                });
            }
            (AuthenticationChange::Now, _) => columns.set("authenticated", Writer::now),
        }
        if let Some(rotation) = commit.rotate {
            columns.bind("secret", Arg::bytes(rotation.secret.as_bytes()));
            columns.bind("generation", Arg::number(rotation.generation));
            columns.set("rotated", Writer::now);
            // The rotation replaces the commit's secret: the condition below compares it with the
            // stored one.
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
        columns.store_the_rest();
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
            Some(answer_statement(sql, merge.sums.len()))
        };
        Self { change: writer.finish(), answer }
    }
}

/// The assignments of an update. If changes return no rows in the dialect, the value of each column
/// of [`ANSWER`] is also stored in a variable of the connection.
struct Assignments<'a> {
    writer: &'a mut Writer,
    written: Vec<&'static str>,
}

impl Assignments<'_> {
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

    /// Assigns each column of the answer that the commit does not change to itself, which stores it
    /// in its variable.
    fn store_the_rest(&mut self) {
        for column in ANSWER.into_iter().filter(|_| !self.writer.sql.returns_rows) {
            if !self.written.contains(&column) {
                self.set(column, |writer| writer.write(column));
            }
        }
    }
}

/// The statement that reads the variables.
fn answer_statement(sql: &'static Sql, sums: usize) -> Statement {
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

/// What the commit does to the data.
fn merge_of(sql: &Sql, commit: &Commit) -> Merge {
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
                merge.removed_paths.push(Arg::text(sql.path(&field(name))).into());
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
        // Serializing a list of texts cannot fail.
        merge.removed = Some(Arg::text(serde_json::to_string(&removed).unwrap_or_default()).into());
    }
    merge
}

/// Whether one statement of reasonable length executes the commit, so that the record need not be
/// read first. An empty commit changes nothing, so it only reads the record.
pub(super) fn fits_one_statement(sql: &Sql, commit: &Commit, cap: usize) -> bool {
    let count =
        |is: fn(&Change) -> bool| commit.changes.values().filter(|change| is(change)).count();
    let sums = count(|change| matches!(change, Change::Add(_)));
    let paths = if sql.removal == Removal::Paths {
        count(|change| matches!(change, Change::Remove))
    } else {
        0
    };
    let fits = if commit.clear {
        sums == 0 || data_after_clear(commit).bytes() <= cap
    } else {
        sums.max(paths) <= MAX_SUMS
    };
    fits && !commit.is_empty()
}

/// Reads the answer to a commit: [`ANSWER`], the database's time, and the sums.
pub(super) fn read_committed(
    row: &Row,
    commit: &Commit,
) -> Result<Result<Committed, Unreadable>, ClientError> {
    let (version, created, authenticated, expires) =
        (row.integer(0)?, row.integer(1)?, row.optional(2)?, row.integer(3)?);
    let (attributes, now) = (codec::attributes(row.bytes(4)?.unwrap_or_default()), row.integer(5)?);
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
                .ok_or(ClientError::Answer("a sum is not an integer"))?
        };
        added.insert(name.clone(), sum);
    }
    Ok((|| {
        Ok(Committed {
            version: codec::version(version)?,
            added,
            age: codec::between(created, now),
            authenticated: authenticated.map(|time| codec::between(time, now)),
            ttl: codec::between(now, expires),
            attributes: attributes?,
        })
    })())
}
