//! MySQL from version 8.0.16 and MariaDB from version 10.5.

use super::{Merge, Sum, sum_variable};
use crate::statement::Writer;

/// The time of the moment, also after a wait for a lock. Connections of this crate are set to UTC, where no hour comes twice.
pub(super) const NOW: &str = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)";

/// An index cannot be searched for what may change while it is.
pub(super) const NOW_FOR_INDEX: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)";

pub(super) const PURGE: &str = "DELETE FROM `{table}` WHERE expires <= {now} ORDER BY expires LIMIT ?";

/// Statements that create commit by themselves, so each can be repeated. Keys and users are bytes: no collation makes two of them one.
pub(super) const MIGRATIONS: &[&str] = &["
CREATE TABLE IF NOT EXISTS `{table}` (
    id VARBINARY(128) NOT NULL PRIMARY KEY,
    data MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL CHECK (JSON_VALID(data) AND JSON_TYPE(data) = 'OBJECT'),
    version BIGINT NOT NULL CHECK (version > 0),
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    principal VARBINARY(256),
    lifetime VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    format BIGINT NOT NULL,
    INDEX `{table}_expires` (expires),
    INDEX `{table}_principal` (principal, expires)
) ENGINE = InnoDB;
"];

/// White space around the number is what JSON allows; between digits there is none in what is JSON.
const IS_INTEGER: &str = "'^[[:space:]]*-?[0-9]{1,19}[[:space:]]*$'";

fn write_text(writer: &mut Writer, sum: &mut Sum) {
    writer.write("JSON_UNQUOTE(JSON_EXTRACT(data, ").name(&mut sum.field).write("))");
}

/// What is added to; null if it is no integer's text.
fn write_base(writer: &mut Writer, sum: &mut Sum) {
    writer.write("CASE WHEN JSON_EXTRACT(data, ").name(&mut sum.field).write(") IS NULL THEN 0 WHEN JSON_TYPE(JSON_EXTRACT(data, ");
    writer.name(&mut sum.field).write(")) = 'STRING' AND ");
    write_text(writer, sum);
    writer.write(" REGEXP ").write(IS_INTEGER).write(" THEN CAST(REGEXP_REPLACE(");
    write_text(writer, sum);
    writer.write(", '[[:space:]]', '') AS DECIMAL(20, 0)) END");
}

/// The sum: a number that may be out of range, or null if the field is no integer's text.
fn write_sum(writer: &mut Writer, sum: &mut Sum) {
    writer.write("((");
    write_base(writer, sum);
    // A bound number has no fixed type, and what is no decimal could overflow.
    writer.write(") + CAST(").name(&mut sum.by).write(" AS DECIMAL(20, 0)))");
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
    if !merge.sums.is_empty() {
        writer.write("JSON_SET(");
    }
    if merge.patch.is_some() {
        writer.write("JSON_MERGE_PATCH(");
    }
    // Not by nulls in the patch: where one takes out the first field of the data, MariaDB leaves other fields of the patch unread, and what
    // was to be set or removed stays as it was.
    if merge.taken.is_empty() {
        writer.write("data");
    } else {
        writer.write("JSON_REMOVE(data");
        for path in &mut merge.taken {
            writer.write(", ").name(path);
        }
        writer.write(")");
    }
    if let Some(patch) = &mut merge.patch {
        writer.write(", ").name(patch).write(")");
    }
    if !merge.sums.is_empty() {
        for (at, sum) in merge.sums.iter_mut().enumerate() {
            writer.write(", ").name(&mut sum.field).write(", ");
            if merge.noted {
                writer.write("(").write(&sum_variable(at)).write(" := ");
            }
            writer.write("CAST(");
            write_sum(writer, sum);
            writer.write(if merge.noted { " AS CHAR))" } else { " AS CHAR)" });
        }
        writer.write(")");
    }
}
