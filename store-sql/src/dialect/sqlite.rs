//! The dialect of SQLite 3.43 and later. The driver contains a newer version.

use super::{
    postgres,
    sql::{Merge, Removal, Sql, Sum, Writer},
};

/// The time. SQLite keeps it constant during a statement. It is rounded, because a floating-point
/// number does not represent three decimal places exactly.
const NOW: &str = "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";

pub(super) static SQL: Sql = Sql {
    now: NOW,
    statement_now: NOW,
    quote: '"',
    numbers_parameters: true,
    returns_rows: true,
    data_as_text: "data",
    text_as_data: "",
    size: "octet_length",
    path: ["$.\"", "\""],
    value: ["json_extract(data, ", ")"],
    removal: Removal::Null,
    upsert: postgres::SQL.upsert,
    delete_page: "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {condition} ORDER \
                  BY {order} LIMIT {limit})",
    schema: SCHEMA,
    schema_transaction: ["BEGIN IMMEDIATE;\n", "COMMIT;\n"],
    write_sum_is_integer,
    write_merged,
};

/// A strict table enforces the types of its columns. The table keeps its row ids, because SQLite
/// advises against `WITHOUT ROWID` for rows of kilobytes.
const SCHEMA: &str = r#"CREATE TABLE IF NOT EXISTS {table} (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL CHECK (version > 0),
    secret BLOB NOT NULL,
    generation INTEGER NOT NULL,
    since INTEGER NOT NULL,
    created INTEGER NOT NULL,
    rotated INTEGER,
    authenticated INTEGER,
    expires INTEGER NOT NULL,
    principal BLOB,
    attributes TEXT NOT NULL,
    former_secret BLOB,
    former_until INTEGER,
    format INTEGER NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data) AND json_type(data) = 'object')
) STRICT;
CREATE INDEX IF NOT EXISTS "{name}_expires" ON {table} (expires);
CREATE INDEX IF NOT EXISTS "{name}_principal" ON {table} (principal, id) WHERE principal IS NOT NULL;
"#;

fn write_text(writer: &mut Writer, sum: &mut Sum) {
    writer
        .write("trim(json_extract(data, ")
        .name(&mut sum.field)
        .write("), ' ' || char(9, 10, 13))");
}

/// Writes the sum. It is meaningful only if [`write_sum_is_integer`] holds.
fn write_sum(writer: &mut Writer, sum: &mut Sum) {
    writer.write("(coalesce(CAST(");
    write_text(writer, sum);
    writer.write(" AS INTEGER), 0) + ").name(&mut sum.by).write(")");
}

/// A text is an integer if SQLite writes the number that it reads as the same text. A sum that
/// needs more than 64 bits is a floating-point number.
fn write_sum_is_integer(writer: &mut Writer, sum: &mut Sum) {
    writer
        .write("(json_type(data, ")
        .name(&mut sum.field)
        .write(") IS NULL OR json_type(data, ")
        .name(&mut sum.field);
    writer.write(") = 'text' AND (");
    write_text(writer, sum);
    writer.write(" = CAST(CAST(");
    write_text(writer, sum);
    writer.write(" AS INTEGER) AS TEXT) OR ");
    write_text(writer, sum);
    writer.write(" = '-0')) AND typeof(");
    write_sum(writer, sum);
    writer.write(") = 'integer'");
}

fn write_merged(writer: &mut Writer, merge: &mut Merge) {
    if !merge.sums.is_empty() {
        writer.write("json_set(");
    }
    match &mut merge.patch {
        Some(patch) => writer.write("json_patch(data, ").name(patch).write(")"),
        None => writer.write("data"),
    };
    if !merge.sums.is_empty() {
        for sum in &mut merge.sums {
            writer.write(", ").name(&mut sum.field).write(", CAST(");
            write_sum(writer, sum);
            writer.write(" AS TEXT)");
        }
        writer.write(")");
    }
}
