//! The table, and how it is created.

use std::sync::Arc;

use crate::{
    dialect::Dialect, engine::Engine, error::ClientError, record::COLUMNS, statement::Statement,
};

impl Dialect {
    /// The SQL that creates the table, for operators who run it themselves and set `migrate` to
    /// false.
    ///
    /// # Panics
    /// If [`Config::table`](crate::Config::table) would refuse the name.
    #[must_use]
    pub fn schema(self, table: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(
            (1..=40).contains(&table.len()) && table.bytes().all(plain),
            "a table's name has 1 to 40 letters, digits and underscores"
        );
        self.sql().schema.replace("{table}", &self.sql().quoted(table)).replace("{name}", table)
    }
}

/// Creates the table if it is missing, and refuses one that has other columns.
pub(crate) async fn prepare(
    engine: &Engine,
    table: &str,
    migrate: bool,
) -> Result<(), ClientError> {
    let dialect = engine.dialect();
    #[cfg(feature = "sqlite")]
    #[allow(
        irrefutable_let_patterns,
        reason = "in a build with SQLite alone the pattern always matches"
    )]
    if let Engine::Sqlite { queue, .. } = engine {
        queue.open().await?;
    }
    let text: Arc<str> = format!(
        "SELECT id, {} FROM {} WHERE 1 = 0",
        COLUMNS.join(", "),
        dialect.sql().quoted(table)
    )
    .into();
    let look = Statement::new(&text, []);
    match engine.rows(&look).await {
        Err(ClientError::NoTable(_)) if migrate => {
            // Any number of processes may do this at the same time.
            let [begin, end] = dialect.sql().schema_step;
            engine.create(begin.to_owned() + &dialect.schema(table) + end).await?;
            engine.rows(&look).await.map(drop)
        }
        found => found.map(drop),
    }
}
