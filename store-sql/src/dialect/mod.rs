//! What the databases say differently: SQL text only.

mod mysql;
mod postgres;
mod sqlite;

use crate::{
    schema::Migration,
    statement::{Bound, Writer},
};

/// Whose SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

/// A sum that an `Add` makes: the field's name as the dialect wants it, and what is added.
#[derive(Debug)]
pub(crate) struct Sum {
    pub(crate) field: Bound,
    pub(crate) by: Bound,
}

impl Dialect {
    /// Whether a parameter can be named more than once, by its number.
    pub(crate) fn numbers_parameters(self) -> bool {
        self != Self::MySql
    }

    /// The database's time as of when this is evaluated, in milliseconds since 1970. After a wait for a lock it is the time after it.
    pub(crate) fn now(self) -> &'static str {
        match self {
            Self::Postgres => postgres::NOW,
            Self::MySql => mysql::NOW,
            Self::Sqlite => sqlite::NOW,
        }
    }

    /// The same, as of the statement's begin, where only that can be compared with an index.
    pub(crate) fn now_for_index(self) -> &'static str {
        match self {
            Self::Postgres => postgres::NOW_FOR_INDEX,
            Self::MySql => mysql::NOW_FOR_INDEX,
            Self::Sqlite => sqlite::NOW,
        }
    }

    /// How the data is read.
    pub(crate) fn data_as_text(self) -> &'static str {
        match self {
            Self::Postgres => "data::text",
            Self::MySql | Self::Sqlite => "data",
        }
    }

    /// The cast of an object's text to the type of the data.
    pub(crate) fn text_as_data(self) -> &'static str {
        match self {
            Self::Postgres => "::jsonb",
            Self::MySql | Self::Sqlite => "",
        }
    }

    /// Whether a change can answer with the row that it made.
    pub(crate) fn returns_rows(self) -> bool {
        self != Self::MySql
    }

    /// Whether a condition on a row that somebody else is just changing is decided by what the row was. A session whose life is just being
    /// extended is over by that, and a delete that asked for one that lives would not even wait for it. The others look at what it becomes.
    pub(crate) fn decides_by_old_rows(self) -> bool {
        self == Self::Postgres
    }

    /// How a field is named where it is looked for.
    pub(crate) fn path(self, field: &str) -> String {
        match self {
            Self::Postgres => field.to_owned(),
            // No field has a quotation mark or a backslash.
            Self::MySql | Self::Sqlite => format!("$.\"{field}\""),
        }
    }

    /// The text of a field, or null.
    pub(crate) fn write_value(self, writer: &mut Writer, field: &mut Bound) {
        match self {
            Self::Postgres => writer.write("data->>").name(field),
            Self::MySql => writer.write("JSON_UNQUOTE(JSON_EXTRACT(data, ").name(field).write("))"),
            Self::Sqlite => writer.write("json_extract(data, ").name(field).write(")"),
        };
    }

    /// The condition that a sum, and what is added to, are integers of 64 bits.
    pub(crate) fn write_sum_is_integer(self, writer: &mut Writer, sum: &mut Sum) {
        match self {
            Self::Postgres => postgres::write_sum_is_integer(writer, sum),
            Self::MySql => mysql::write_sum_is_integer(writer, sum),
            Self::Sqlite => sqlite::write_sum_is_integer(writer, sum),
        }
    }

    /// What becomes of the data: an object merged into it, fields taken out of it, sums put into it.
    pub(crate) fn write_merged(self, writer: &mut Writer, merge: &mut Merge) {
        match self {
            Self::Postgres => postgres::write_merged(writer, merge),
            Self::MySql => mysql::write_merged(writer, merge),
            Self::Sqlite => sqlite::write_merged(writer, merge),
        }
    }

    /// At least as many bytes as the merged data has by the count of the cap, so far as that is told cheaply.
    pub(crate) fn write_merged_size(self, writer: &mut Writer, merge: &mut Merge) {
        match self {
            // Names and texts as they are, and some bytes for each.
            Self::Postgres => writer.write("pg_column_size("),
            Self::MySql => writer.write("LENGTH("),
            Self::Sqlite => writer.write("octet_length("),
        };
        self.write_merged(writer, merge);
        writer.write(")");
    }

    /// A name of a table in quotation marks.
    pub(crate) fn quoted(self, table: &str) -> String {
        match self {
            Self::Postgres | Self::Sqlite => format!("\"{table}\""),
            Self::MySql => format!("`{table}`"),
        }
    }

    /// The steps to the newest schema, each of several statements.
    pub(crate) fn migrations(self, table: &str) -> Vec<Migration> {
        let text = match self {
            Self::Postgres => postgres::MIGRATIONS,
            Self::MySql => mysql::MIGRATIONS,
            Self::Sqlite => sqlite::MIGRATIONS,
        };
        text.iter()
            .map(|step| {
                step.replace("{table}", table).split(";\n").map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
            })
            .collect()
    }

    /// The statement that purges, with a limit to bind.
    pub(crate) fn purge(self, table: &str) -> String {
        let text = match self {
            Self::Postgres => postgres::PURGE,
            Self::MySql => mysql::PURGE,
            Self::Sqlite => sqlite::PURGE,
        };
        text.replace("{table}", table).replace("{now}", self.now_for_index())
    }

    /// What creation does about a row that has the key: nothing where the statement fails then, else a row whose time is over makes room.
    pub(crate) fn on_conflict(self, table: &str) -> String {
        match self {
            Self::MySql => String::new(),
            Self::Postgres | Self::Sqlite => format!(
                " ON CONFLICT (id) DO UPDATE SET data = excluded.data, version = 1, created = excluded.created, expires = excluded.expires, \
                 principal = excluded.principal, lifetime = excluded.lifetime, format = excluded.format WHERE {}.expires <= {}",
                self.quoted(table),
                self.now()
            ),
        }
    }
}

/// What a commit makes of the data.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// An object to merge; where the dialect has merge patches, a null takes a field out.
    pub(crate) patch: Option<Bound>,
    /// Fields to take out, as a list of texts, where it has not.
    pub(crate) removed: Option<Bound>,
    /// Paths of fields to take out one by one, where a null cannot be relied on.
    pub(crate) taken: Vec<Bound>,
    pub(crate) sums: Vec<Sum>,
    /// Whether the sums are left in variables of the connection too.
    pub(crate) noted: bool,
}

/// The variable of a sum.
pub(crate) fn sum_variable(at: usize) -> String {
    format!("@session_sum_{at}")
}
