//! The dialect of MySQL 8.0.16 and later and of MariaDB 10.5 and later.

use super::sql::{Merge, Removal, Sql, Sum, Writer, sum_variable, write_in_range};

pub(super) static SQL: Sql = Sql {
    // The driver sets each connection to UTC, where no hour occurs twice.
    now: "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    statement_now: "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
    quote: '`',
    numbers_parameters: false,
    returns_rows: false,
    data_as_text: "data",
    text_as_data: "",
    size: "LENGTH",
    path: ["$.\"", "\""],
    value: ["JSON_UNQUOTE(JSON_EXTRACT(data, ", "))"],
    // Nulls in the patch do not work: if a null removes the first field of the data, MariaDB
    // ignores the other fields of the patch.
    removal: Removal::Paths,
    // The number of affected rows is 1 for a new row and also for an unchanged row.
    // LAST_INSERT_ID(1) distinguishes them: the answer to the statement carries the 1.
    upsert: [
        " ON DUPLICATE KEY UPDATE ",
        "{column} = IF(expires <= {now}, VALUES({column}), {column}), ",
        "expires = IF(expires <= {now}, VALUES(expires), expires + 0 * LAST_INSERT_ID(1))",
    ],
    delete_page: "DELETE FROM {table} WHERE {condition} ORDER BY {order} LIMIT {limit}",
    schema: SCHEMA,
    schema_transaction: ["", ""],
    write_sum_is_integer: |writer, sum| write_in_range(writer, sum, [write_base, write_sum]),
    write_merged,
};

/// One statement, so that the table never lacks an index. Keys, hashes and users are bytes, so no
/// collation makes two different ones equal.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS {table} (
    id VARBINARY(128) NOT NULL PRIMARY KEY,
    data MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL \
    CHECK (JSON_VALID(data) AND JSON_TYPE(data) = 'OBJECT'),
    version BIGINT NOT NULL CHECK (version > 0),
    secret BINARY(32) NOT NULL,
    generation BIGINT NOT NULL,
    since BIGINT NOT NULL,
    created BIGINT NOT NULL,
    rotated BIGINT,
    authenticated BIGINT,
    expires BIGINT NOT NULL,
    principal VARBINARY(256),
    attributes VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    former_secret BINARY(32),
    former_until BIGINT,
    format SMALLINT NOT NULL,
    INDEX `{name}_expires` (expires),
    INDEX `{name}_principal` (principal, id)
) ENGINE = InnoDB;
";

/// JSON allows white space around a number and never within it.
const IS_INTEGER: &str = "'^[[:space:]]*-?[0-9]{1,19}[[:space:]]*$'";

fn write_text(writer: &mut Writer, sum: &mut Sum) {
    writer.write("JSON_UNQUOTE(JSON_EXTRACT(data, ").name(&mut sum.field).write("))");
}

/// Writes the number that a sum starts from: null if the field is not the text of an integer.
fn write_base(writer: &mut Writer, sum: &mut Sum) {
    writer
        .write("CASE WHEN JSON_EXTRACT(data, ")
        .name(&mut sum.field)
        .write(") IS NULL THEN 0 WHEN JSON_TYPE(JSON_EXTRACT(data, ");
    writer.name(&mut sum.field).write(")) = 'STRING' AND ");
    write_text(writer, sum);
    writer.write(" REGEXP ").write(IS_INTEGER).write(" THEN CAST(REGEXP_REPLACE(");
    write_text(writer, sum);
    writer.write(", '[[:space:]]', '') AS DECIMAL(20, 0)) END");
}

/// Writes the sum. It can be out of range, and it is null if the field is not the text of an
/// integer.
fn write_sum(writer: &mut Writer, sum: &mut Sum) {
    writer.write("((");
    write_base(writer, sum);
    // A bound number has no fixed type, and a type other than DECIMAL could overflow.
    writer.write(") + CAST(").name(&mut sum.by).write(" AS DECIMAL(20, 0)))");
}

fn write_merged(writer: &mut Writer, merge: &mut Merge) {
    if !merge.sums.is_empty() {
        writer.write("JSON_SET(");
    }
    if merge.patch.is_some() {
        writer.write("JSON_MERGE_PATCH(");
    }
    if merge.removed_paths.is_empty() {
        writer.write("data");
    } else {
        writer.write("JSON_REMOVE(data");
        for path in &mut merge.removed_paths {
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
            if merge.stores_sums {
                writer.write("(").write(&sum_variable(at)).write(" := ");
            }
            writer.write("CAST(");
            write_sum(writer, sum);
            writer.write(if merge.stores_sums { " AS CHAR))" } else { " AS CHAR)" });
        }
        writer.write(")");
    }
}
