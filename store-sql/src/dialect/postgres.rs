//! PostgreSQL, from version 12.

use super::{Merge, Sum};
use crate::statement::Writer;

pub(super) const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000)::bigint";

/// An index cannot be searched for what may change while it is.
pub(super) const NOW_FOR_INDEX: &str = "(extract(epoch from statement_timestamp()) * 1000)::bigint";

/// White space around the number is what JSON allows.
const IS_INTEGER: &str = r"'^[ \t\r\n]*-?[0-9]{1,19}[ \t\r\n]*$'";

/// Rows are found and locked first: `SKIP LOCKED` leaves to others what they are purging, and the lock's own look at the row leaves what was
/// extended meanwhile.
pub(super) const PURGE: &str = "DELETE FROM \"{table}\" WHERE id = ANY(ARRAY(SELECT id FROM \"{table}\" WHERE expires <= {now} \
                                ORDER BY expires LIMIT $1 FOR UPDATE SKIP LOCKED))";

/// Room on each page lets an update of data alone stay on its page, and then no index is touched.
pub(super) const MIGRATIONS: &[&str] = &[r#"
CREATE TABLE "{table}" (
    id BYTEA NOT NULL PRIMARY KEY,
    data JSONB NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    version BIGINT NOT NULL CHECK (version > 0),
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    principal BYTEA,
    lifetime TEXT NOT NULL,
    format BIGINT NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX "{table}_expires" ON "{table}" (expires);
CREATE INDEX "{table}_principal" ON "{table}" (principal, expires) WHERE principal IS NOT NULL;
"#];

/// What is added to; null if it is no integer's text. Nothing is cast that might fail: the server would log it.
fn write_base(writer: &mut Writer, sum: &mut Sum) {
    let field = &mut sum.field;
    writer.write("CASE WHEN data->").name(field).write(" IS NULL THEN 0 WHEN jsonb_typeof(data->").name(field);
    writer.write(") = 'string' AND data->>").name(field).write(" ~ ").write(IS_INTEGER);
    writer.write(" THEN (data->>").name(field).write(")::numeric END");
}

/// The sum: a number that may be out of range, or null if the field is no integer's text.
fn write_sum(writer: &mut Writer, sum: &mut Sum) {
    writer.write("(");
    write_base(writer, sum);
    writer.write(" + ").name(&mut sum.by).write("::bigint)");
}

pub(super) fn write_sum_is_integer(writer: &mut Writer, sum: &mut Sum) {
    const RANGE: &str = " BETWEEN -9223372036854775808 AND 9223372036854775807";
    writer.write("(");
    write_base(writer, sum);
    writer.write(")").write(RANGE).write(" AND ");
    write_sum(writer, sum);
    writer.write(RANGE);
}

pub(super) fn write_merged(writer: &mut Writer, merge: &mut Merge) {
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
