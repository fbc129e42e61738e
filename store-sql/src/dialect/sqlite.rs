//! SQLite, from version 3.43; the driver brings a newer one.

use super::{Merge, Sum};
use crate::statement::Writer;

/// Rounded: three digits after the point are not exact in a floating-point number.
pub(super) const NOW: &str = "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";

/// One statement has the database for itself.
pub(super) const PURGE: &str =
    "DELETE FROM \"{table}\" WHERE id IN (SELECT id FROM \"{table}\" WHERE expires <= {now} ORDER BY expires LIMIT $1)";

/// A strict table holds the types that its columns have.
pub(super) const MIGRATIONS: &[&str] = &[r#"
CREATE TABLE "{table}" (
    id BLOB NOT NULL PRIMARY KEY,
    data TEXT NOT NULL CHECK (json_valid(data) AND json_type(data) = 'object'),
    version INTEGER NOT NULL CHECK (version > 0),
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    principal BLOB,
    lifetime TEXT NOT NULL,
    format INTEGER NOT NULL
) STRICT;
CREATE INDEX "{table}_expires" ON "{table}" (expires);
CREATE INDEX "{table}_principal" ON "{table}" (principal, expires) WHERE principal IS NOT NULL;
"#];

fn write_text(writer: &mut Writer, sum: &mut Sum) {
    writer.write("trim(json_extract(data, ").name(&mut sum.field).write("), ' ' || char(9, 10, 13))");
}

/// The sum: a number that may be out of range, or null if the field is no integer's text.
fn write_sum(writer: &mut Writer, sum: &mut Sum) {
    writer.write("(coalesce(CAST(");
    write_text(writer, sum);
    writer.write(" AS INTEGER), 0) + ").name(&mut sum.by).write(")");
}

/// A text is an integer's if it is what its number is written as; a sum that leaves 64 bits is a floating-point number.
pub(super) fn write_sum_is_integer(writer: &mut Writer, sum: &mut Sum) {
    writer.write("(json_type(data, ").name(&mut sum.field).write(") IS NULL OR json_type(data, ").name(&mut sum.field);
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

pub(super) fn write_merged(writer: &mut Writer, merge: &mut Merge) {
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
