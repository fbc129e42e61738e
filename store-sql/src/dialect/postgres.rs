//! The dialect of PostgreSQL 12 and later.

use super::sql::{Merge, Removal, Sql, Sum, Writer, write_in_range};

pub(super) static SQL: Sql = Sql {
    now: "(extract(epoch from clock_timestamp()) * 1000)::bigint",
    statement_now: "(extract(epoch from statement_timestamp()) * 1000)::bigint",
    quote: '"',
    numbers_parameters: true,
    returns_rows: true,
    data_as_text: "data::text",
    text_as_data: "::jsonb",
    size: "pg_column_size",
    path: ["", ""],
    value: ["data->>", ""],
    removal: Removal::List,
    upsert: [
        " ON CONFLICT (id) DO UPDATE SET ",
        "{column} = excluded.{column}, ",
        "expires = excluded.expires WHERE {table}.expires <= {now}",
    ],
    // The subquery locks the rows. It waits for a row that another transaction changes, and skips a
    // row that was deleted. So fewer rows than the limit mean the end.
    delete_page: "DELETE FROM {table} WHERE id = ANY(ARRAY(SELECT id FROM {table} WHERE \
                  {condition} ORDER BY {order} LIMIT {limit} FOR UPDATE{skip}))",
    schema: SCHEMA,
    // One simple query is one transaction, so the lock ends with it. Without the lock, two
    // transactions that create a table at the same time fail.
    schema_transaction: ["SELECT pg_advisory_xact_lock(5317896120045528611);\n", ""],
    write_sum_is_integer: |writer, sum| write_in_range(writer, sum, [write_base, write_sum]),
    write_merged,
};

/// The columns of a fixed width come first, so that no padding is needed. `fillfactor` leaves room
/// on each page for the next version of a row. An update that changes no indexed column then stays
/// on its page and touches no index (HOT).
const SCHEMA: &str = r#"CREATE TABLE IF NOT EXISTS {table} (
    version BIGINT NOT NULL CHECK (version > 0),
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    since BIGINT NOT NULL,
    rotated BIGINT,
    authenticated BIGINT,
    former_until BIGINT,
    format SMALLINT NOT NULL,
    id BYTEA NOT NULL PRIMARY KEY,
    secret BYTEA NOT NULL,
    former_secret BYTEA,
    principal BYTEA,
    attributes TEXT NOT NULL,
    data JSONB NOT NULL CHECK (jsonb_typeof(data) = 'object')
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS "{name}_expires" ON {table} (expires);
CREATE INDEX IF NOT EXISTS "{name}_principal" ON {table} (principal, id) WHERE principal IS NOT NULL;
"#;

/// JSON allows white space around a number. A backslash would have another meaning at a server with
/// `standard_conforming_strings=off`.
const IS_INTEGER: &str = "'^[[:space:]]*-?[0-9]{1,19}[[:space:]]*$'";

/// Writes the number that a sum starts from: null if the field is not the text of an integer. No
/// cast here can fail, because the server logs failed statements.
fn write_base(writer: &mut Writer, sum: &mut Sum) {
    let field = &mut sum.field;
    writer
        .write("CASE WHEN data->")
        .name(field)
        .write(" IS NULL THEN 0 WHEN jsonb_typeof(data->")
        .name(field);
    writer.write(") = 'string' AND data->>").name(field).write(" ~ ").write(IS_INTEGER);
    writer.write(" THEN (data->>").name(field).write(")::numeric END");
}

/// Writes the sum. It can be out of range, and it is null if the field is not the text of an
/// integer.
fn write_sum(writer: &mut Writer, sum: &mut Sum) {
    writer.write("(");
    write_base(writer, sum);
    writer.write(" + ").name(&mut sum.by).write("::bigint)");
}

fn write_merged(writer: &mut Writer, merge: &mut Merge) {
    writer.write("(data");
    if let Some(removed) = &mut merge.removed {
        writer.write(" - ARRAY(SELECT jsonb_array_elements_text(").name(removed).write("::jsonb))");
    }
    if let Some(patch) = &mut merge.patch {
        writer.write(" || ").name(patch).write("::jsonb");
    }
    if !merge.sums.is_empty() {
        writer.write(" || jsonb_build_object(");
        for (at, sum) in merge.sums.iter_mut().enumerate() {
            writer.write(if at == 0 { "" } else { ", " }).name(&mut sum.field).write("::text, ");
            write_sum(writer, sum);
            writer.write("::text");
        }
        writer.write(")");
    }
    writer.write(")");
}
