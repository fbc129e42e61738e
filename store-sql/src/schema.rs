//! The table: its SQL, and how the store creates and checks it.

use std::sync::Arc;

use crate::{
    codec::COLUMNS,
    connect::{Engine, Statement},
    dialect::Dialect,
    error::ClientError,
};

impl Dialect {
    /// Returns the SQL that creates the table and its indexes. Run it yourself if `migrate` is
    /// false.
    ///
    /// # Panics
    /// If the name does not consist of 1 to 40 letters, digits and underscores.
    #[must_use]
    pub fn schema(self, table: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(
            (1..=40).contains(&table.len()) && table.bytes().all(plain),
            "a table name must consist of 1 to 40 letters, digits and underscores"
        );
        self.sql().schema.replace("{table}", &self.sql().quoted(table)).replace("{name}", table)
    }
}

/// Creates the table if it is missing, and refuses a table that has other columns.
pub(crate) async fn prepare(
    engine: &Engine,
    table: &str,
    migrate: bool,
) -> Result<(), ClientError> {
    let (dialect, sql) = (engine.dialect(), engine.sql());
    engine.open_file().await?;
    let text: Arc<str> =
        format!("SELECT id, {} FROM {} WHERE 1 = 0", COLUMNS.join(", "), sql.quoted(table)).into();
    let check = Statement::new(&text, []);
    match engine.rows(&check).await {
        Err(ClientError::NoTable(_)) if migrate => {
            // Any number of processes may create the table at the same time.
            let [begin, end] = sql.schema_transaction;
            engine.create(begin.to_owned() + &dialect.schema(table) + end).await?;
            engine.rows(&check).await.map(drop)
        }
        found => found.map(drop),
    }
}
