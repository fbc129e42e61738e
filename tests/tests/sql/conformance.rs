//! [`SqlStore`] passes the conformance suite: on PostgreSQL, on MariaDB through a shared trait
//! object, and on an SQLite file. Some checks kill and freeze the servers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use session_core::{
    BoxError, Limits, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
};
use store_sql::{Config, SqlStore};
use tests::{
    conformance::{deadline, takes_backend_down, warm_up},
    service::{AnySql, Durability, ExternalServer, PASSWORD},
};
use tokio::{runtime::Handle, sync::RwLock};

/// A store with its own table.
struct SqlFixture {
    database: RwLock<AnySql>,
    url: String,
    deadline: Duration,
    store: Arc<dyn SessionStore>,
}

impl SqlFixture {
    async fn postgres(check: &str, wrap: fn(SqlStore) -> Arc<dyn SessionStore>) -> Option<Self> {
        let database = if takes_backend_down(check) {
            AnySql::own_postgres(Durability::Full).await?
        } else {
            AnySql::postgres().await?
        };
        Some(Self::on(database, check, wrap).await)
    }

    async fn mariadb(check: &str, wrap: fn(SqlStore) -> Arc<dyn SessionStore>) -> Option<Self> {
        let database = if takes_backend_down(check) {
            AnySql::own_mariadb(Durability::Full).await?
        } else {
            AnySql::mariadb().await?
        };
        Some(Self::on(database, check, wrap).await)
    }

    async fn on(
        database: AnySql,
        check: &str,
        wrap: fn(SqlStore) -> Arc<dyn SessionStore>,
    ) -> Self {
        let deadline = deadline(check);
        let url = database.url(&format!("table=sessions&deadline_ms={}", deadline.as_millis()));
        let store = SqlStore::connect(&Config::new(&url).expect("a URL"))
            .await
            .expect("a database to connect to");
        warm_up(&store).await;
        Self { database: RwLock::new(database), url, deadline, store: wrap(store) }
    }

    /// Sets columns of a row.
    async fn set(&self, key: &StoreKey, columns: &str) -> Supported {
        let database = self.database.read().await;
        let hex = hex(key.as_str());
        let literal = if matches!(*database, AnySql::Postgres(_)) {
            format!("'\\x{hex}'::bytea")
        } else {
            format!("x'{hex}'")
        };
        let ask = format!(
            "UPDATE sessions SET {columns} WHERE id = {literal}; SELECT count(*) FROM sessions \
             WHERE format <> 2"
        );
        let rows = database.ask(&ask).await.expect("the database answers");
        assert_eq!(rows.last().expect("a count")[0].as_deref(), Some("1"), "the row exists");
        Supported::Done(())
    }

    /// Runs a future whose type the compiler does not recognize as `Send`, because the wait for an
    /// answer is an async closure.
    fn blocking<T>(work: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| Handle::current().block_on(work))
    }
}

#[async_trait]
impl Fixture for SqlFixture {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(Arc::new(SqlStore::connect(&Config::new(&self.url)?).await?))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        // A table name consists of letters, digits and underscores.
        let name = hex(name);
        Ok(Arc::new(SqlStore::connect(&Config::new(&self.url)?.table(&format!("s_{name}"))).await?))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::NotApplicable("a database has no cap on its rows")
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn tolerance(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn purge(&self) -> Purge {
        Purge::ByCall
    }

    fn bulk(&self) -> usize {
        4_000
    }

    fn secret(&self) -> Supported<String> {
        if self.url.contains(PASSWORD) {
            return Supported::Done(PASSWORD.to_owned());
        }
        Supported::NotApplicable("a file has no password")
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", Config::new(&self.url).expect("a URL")))
    }

    /// The types of the columns and the check on `data` allow only some forms of corruption.
    async fn corrupt(&self, key: &StoreKey) -> Supported {
        Self::blocking(self.set(key, "attributes = 'no words', format = 0"))
    }

    async fn future_format(&self, key: &StoreKey) -> Supported {
        Self::blocking(self.set(key, "format = 3"))
    }

    async fn stop(&self) -> Supported {
        done(self.database.write().await.stop().await)
    }

    async fn start(&self) -> Supported {
        let mut database = self.database.write().await;
        done(Self::blocking(database.start_again()))
    }

    async fn freeze(&self) -> Supported {
        done(self.database.read().await.freeze().await)
    }

    async fn thaw(&self) -> Supported {
        done(self.database.read().await.thaw().await)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        let database = self.database.read().await;
        Supported::Done(Self::blocking(database.dump()).into_bytes())
    }

    async fn physical_count(&self) -> Supported<u64> {
        let database = self.database.read().await;
        let rows = Self::blocking(database.ask("SELECT count(*) FROM sessions"))
            .expect("the database answers");
        Supported::Done(
            rows[0][0].as_deref().and_then(|count| count.parse().ok()).expect("a count"),
        )
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn done(result: Result<(), ExternalServer>) -> Supported {
    match result {
        Ok(()) => Supported::Done(()),
        Err(ExternalServer::File) => Supported::NotApplicable("a file has no server to stop"),
        Err(ExternalServer::Named { .. }) => {
            Supported::NotApplicable("the tests do not own the server that the environment names")
        }
    }
}

mod postgres {
    use super::{Arc, SqlFixture};

    session_core::conformance_tests!(|check| async {
        SqlFixture::postgres(check, |store| Arc::new(store)).await
    });
}

mod mariadb_through_arc_dyn {
    use session_core::SessionStore;

    use super::{Arc, SqlFixture};

    session_core::conformance_tests!(|check| async {
        SqlFixture::mariadb(check, |store| {
            let erased: Arc<dyn SessionStore> = Arc::new(store);
            Arc::new(erased)
        })
        .await
    });
}

mod sqlite {
    use super::{AnySql, Arc, SqlFixture};

    session_core::conformance_tests!(|check| async {
        Some(SqlFixture::on(AnySql::sqlite().await?, check, |store| Arc::new(store)).await)
    });
}
