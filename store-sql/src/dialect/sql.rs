//! What a dialect consists of, and the writer of statements in it.

use super::statement::{Arg, Statement};

/// Every difference between the databases, once.
///
/// In a template, `{table}` is the table's name in quotation marks and `{name}` is the same name
/// without them.
#[derive(Debug)]
pub(crate) struct Sql {
    /// The database's time at the moment of evaluation, in milliseconds since 1970. After a wait
    /// for a lock it is the time after the wait.
    pub(crate) now: &'static str,
    /// The time at the start of the statement. It is constant within the statement, so the database
    /// can search an index for it.
    pub(crate) statement_now: &'static str,
    /// The quotation mark of identifiers.
    pub(crate) quote: char,
    /// Whether a parameter has a number, so that a statement can use it more than once.
    pub(crate) numbers_parameters: bool,
    /// Whether a change can return the row that it changed (`RETURNING`).
    pub(crate) returns_rows: bool,
    /// The expression that reads the column `data`.
    pub(crate) data_as_text: &'static str,
    /// The cast of an object's text to the type of `data`.
    pub(crate) text_as_data: &'static str,
    /// The function that returns the size of the data. The result is at least the size that the cap
    /// counts: names and texts and some bytes for each.
    pub(crate) size: &'static str,
    /// The text before and after a field's name in a path. Field names contain neither quotation
    /// marks nor backslashes.
    pub(crate) path: [&'static str; 2],
    /// The text before and after a field's path in the expression that reads the field's text, or
    /// null.
    pub(crate) value: [&'static str; 2],
    pub(crate) removal: Removal,
    /// What an insert does if the key exists: a live row stays, and the new row replaces an expired
    /// one. The parts are: the text before the columns, the text for each `{column}`, and the text
    /// after them. `expires` comes last because the other columns depend on it.
    pub(crate) upsert: [&'static str; 3],
    /// Deletes the first `{limit}` rows that satisfy `{condition}`, ordered by the column
    /// `{order}`. Purges fill in `{skip}`.
    pub(crate) delete_page: &'static str,
    /// The table and its indexes.
    pub(crate) schema: &'static str,
    /// The text before and after the schema's statements that makes them one transaction.
    pub(crate) schema_transaction: [&'static str; 2],
    /// Writes the condition that a sum and the number that it is added to are 64-bit integers.
    pub(crate) write_sum_is_integer: fn(&mut Writer, &mut Sum),
    /// Writes the data after the merge.
    pub(crate) write_merged: fn(&mut Writer, &mut Merge),
}

impl Sql {
    /// A table's name in quotation marks.
    pub(crate) fn quoted(&self, table: &str) -> String {
        format!("{0}{table}{0}", self.quote)
    }

    /// The path of a field, as a statement names it.
    pub(crate) fn path(&self, field: &str) -> String {
        let [before, after] = self.path;
        format!("{before}{field}{after}")
    }
}

/// How a commit removes a field from the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// With a null in the patch (RFC 7396).
    Null,
    /// With a list of fields.
    List,
    /// With one path for each field.
    Paths,
}

/// The sum that an `Add` computes.
#[derive(Debug)]
pub(crate) struct Sum {
    /// The field's path.
    pub(crate) field: Bound,
    /// The number that is added.
    pub(crate) by: Bound,
}

/// What a commit does to the data.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// An object to merge.
    pub(crate) patch: Option<Bound>,
    /// The fields to remove, as a JSON list of texts ([`Removal::List`]).
    pub(crate) removed: Option<Bound>,
    /// The paths of the fields to remove ([`Removal::Paths`]).
    pub(crate) removed_paths: Vec<Bound>,
    pub(crate) sums: Vec<Sum>,
    /// Whether the statement also stores the sums in variables of the connection.
    pub(crate) stores_sums: bool,
}

/// A value that a statement may use more than once.
#[derive(Debug)]
pub(crate) struct Bound {
    arg: Arg,
    number: Option<usize>,
}

impl From<Arg> for Bound {
    fn from(arg: Arg) -> Self {
        Self { arg, number: None }
    }
}

/// A statement that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) sql: &'static Sql,
    text: String,
    args: Vec<Arg>,
}

impl Writer {
    pub(crate) fn new(sql: &'static Sql) -> Self {
        Self { sql, text: String::with_capacity(512), args: Vec::with_capacity(8) }
    }

    /// Appends SQL text.
    pub(crate) fn write(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Binds a value and appends its parameter.
    pub(crate) fn bind(&mut self, arg: Arg) -> &mut Self {
        self.name(&mut arg.into())
    }

    /// Appends the parameter of a value, and binds the value at its first use. If the database does
    /// not number its parameters, each use binds the value again.
    pub(crate) fn name(&mut self, bound: &mut Bound) -> &mut Self {
        if !self.sql.numbers_parameters {
            self.args.push(bound.arg.clone());
            self.text.push('?');
            return self;
        }
        let number = *bound.number.get_or_insert_with(|| {
            self.args.push(bound.arg.clone());
            self.args.len()
        });
        self.text.push('$');
        self.text.push_str(&number.to_string());
        self
    }

    /// Appends the database's time, in milliseconds since 1970.
    pub(crate) fn now(&mut self) -> &mut Self {
        self.write(self.sql.now)
    }

    pub(crate) fn finish(self) -> Statement {
        Statement { text: self.text.into(), args: self.args }
    }
}

/// Writes the condition that the numbers, which may be null, are 64-bit integers.
pub(super) fn write_in_range(
    writer: &mut Writer,
    sum: &mut Sum,
    numbers: [fn(&mut Writer, &mut Sum); 2],
) {
    for (at, write_number) in numbers.into_iter().enumerate() {
        writer.write(if at == 0 { "(" } else { " AND (" });
        write_number(writer, sum);
        writer.write(") BETWEEN -9223372036854775808 AND 9223372036854775807");
    }
}

/// The variable of the connection that stores a sum.
pub(crate) fn sum_variable(at: usize) -> String {
    format!("@session_sum_{at}")
}
