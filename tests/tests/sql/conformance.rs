//! [`SqlStore`] passes the conformance suite: on PostgreSQL, on MariaDB through a shared trait
//! object, and on an SQLite file. Some checks kill and freeze the servers.

use async_trait::async_trait;
use session_core::{BoxError, StoreKey, conformance::Purge};
use store_sql::{Config, SqlStore};
use tests::service::{AnySql, Durability};

use crate::server_fixture::{Product, ServerFixture, blocking, direct, through_arc_dyn};

type SqlFixture = ServerFixture<AnySql>;

/// A namespace is a table. Each fixture has its own database.
#[async_trait]
impl Product for AnySql {
    type Store = SqlStore;
    type Config = Config;

    const PURGE: Purge = Purge::ByCall;
    const BULK: usize = 4_000;
    const UNBOUNDED: &'static str = "a database has no cap on its rows";

    fn new_namespace() -> String {
        "sessions".to_owned()
    }

    fn namespace_settings(table: &str) -> String {
        format!("table={table}")
    }

    fn config(url: &str) -> Result<Config, BoxError> {
        Ok(Config::new(url)?)
    }

    fn config_in(config: Config, _table: &str, name: &str) -> Config {
        // A table name consists of letters, digits and underscores.
        config.table(&format!("s_{}", hex(name)))
    }

    async fn connect(config: &Config) -> Result<SqlStore, BoxError> {
        Ok(SqlStore::connect(config).await?)
    }

    /// The types of the columns and the check on `data` allow only some forms of corruption.
    async fn corrupt(&self, table: &str, key: &StoreKey) {
        blocking(set(self, table, key, "attributes = 'no words', format = 0"));
    }

    async fn future_format(&self, table: &str, key: &StoreKey) {
        blocking(set(self, table, key, "format = 3"));
    }

    async fn stored_bytes(&self, _table: &str) -> Vec<u8> {
        blocking(self.dump()).into_bytes()
    }

    async fn stored_records(&self, table: &str) -> u64 {
        let count = format!("SELECT count(*) FROM {table}");
        let rows = blocking(self.ask(&count)).expect("the database answers");
        rows[0][0].as_deref().and_then(|count| count.parse().ok()).expect("a count")
    }
}

/// Sets columns of a row.
async fn set(database: &AnySql, table: &str, key: &StoreKey, columns: &str) {
    let hex = hex(key.as_str());
    let literal = if matches!(database, AnySql::Postgres(_)) {
        format!("'\\x{hex}'::bytea")
    } else {
        format!("x'{hex}'")
    };
    let ask = format!(
        "UPDATE {table} SET {columns} WHERE id = {literal}; SELECT count(*) FROM {table} \
         WHERE format <> 2"
    );
    let rows = database.ask(&ask).await.expect("the database answers");
    assert_eq!(rows.last().expect("a count")[0].as_deref(), Some("1"), "the row exists");
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

mod postgres {
    use super::{AnySql, Durability, SqlFixture, direct};

    session_core::conformance_tests!(|check| async {
        let own = AnySql::own_postgres(Durability::Full);
        SqlFixture::connect(check, own, AnySql::postgres(), direct).await
    });
}

mod mariadb_through_arc_dyn {
    use super::{AnySql, Durability, SqlFixture, through_arc_dyn};

    session_core::conformance_tests!(|check| async {
        let own = AnySql::own_mariadb(Durability::Full);
        SqlFixture::connect(check, own, AnySql::mariadb(), through_arc_dyn).await
    });
}

mod sqlite {
    use super::{AnySql, SqlFixture, direct};

    session_core::conformance_tests!(|check| async {
        SqlFixture::connect(check, AnySql::sqlite(), AnySql::sqlite(), direct).await
    });
}
