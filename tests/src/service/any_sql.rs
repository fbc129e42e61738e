//! PostgreSQL, MariaDB and SQLite, with the same methods.

use super::{Durability, ExternalServer, MariaDb, Postgres, Sqlite, url::with_settings};
use crate::{PATIENCE, wait};

/// A database of PostgreSQL, MariaDB or SQLite.
#[derive(Debug)]
pub enum AnySql {
    /// One server of PostgreSQL.
    Postgres(Postgres),
    /// One server of MariaDB.
    MariaDb(MariaDb),
    /// A file. It has no server: [`Sqlite`] says what replaces a stopped and a frozen one.
    Sqlite(Sqlite),
}

/// Makes a call on the server, or the other call on the file.
macro_rules! on_server_or_file {
    ($database:expr, $on_server:ident, $on_file:ident) => {
        match $database {
            Self::Postgres(postgres) => postgres.$on_server().await,
            Self::MariaDb(mariadb) => mariadb.$on_server().await,
            Self::Sqlite(sqlite) => {
                sqlite.$on_file().await;
                Ok(())
            }
        }
    };
}

impl AnySql {
    /// PostgreSQL. Other tests may use the server at the same time; the test has its own database.
    /// The URL has a password.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub async fn postgres() -> Option<Self> {
        match Postgres::shared().await {
            Some(shared) => Some(Self::Postgres(shared)),
            None => Postgres::start().await.map(Self::Postgres),
        }
    }

    /// MariaDB; as [`postgres`](Self::postgres).
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub async fn mariadb() -> Option<Self> {
        match MariaDb::shared().await {
            Some(shared) => Some(Self::MariaDb(shared)),
            None => MariaDb::start().await.map(Self::MariaDb),
        }
    }

    /// SQLite.
    ///
    /// # Panics
    /// As [`Sqlite::start`].
    pub async fn sqlite() -> Option<Self> {
        Sqlite::start().await.map(Self::Sqlite)
    }

    /// The test's own PostgreSQL. If the environment names one, the test is skipped.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub async fn own_postgres(kept: Durability) -> Option<Self> {
        let postgres = Postgres::start_keeping(kept, &[]).await?;
        is_ours(postgres.port()).then_some(Self::Postgres(postgres))
    }

    /// The test's own MariaDB. If the environment names one, the test is skipped.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub async fn own_mariadb(kept: Durability) -> Option<Self> {
        let mariadb = MariaDb::start_keeping(kept, &[]).await?;
        is_ours(mariadb.port()).then_some(Self::MariaDb(mariadb))
    }

    /// The URL with these settings, which may be empty.
    #[must_use]
    pub fn url(&self, settings: &str) -> String {
        let url = match self {
            Self::Postgres(postgres) => postgres.url(),
            Self::MariaDb(mariadb) => mariadb.url(),
            Self::Sqlite(sqlite) => sqlite.url(),
        };
        with_settings(url, settings)
    }

    /// The product and its version, as `postgres 16.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::Postgres(postgres) => postgres.version(),
            Self::MariaDb(mariadb) => mariadb.version(),
            Self::Sqlite(sqlite) => sqlite.version(),
        }
    }

    /// The port of its server on 127.0.0.1.
    ///
    /// # Errors
    /// If the environment names the server, or if the database is a file.
    pub fn port(&self) -> Result<u16, ExternalServer> {
        match self {
            Self::Postgres(postgres) => postgres.port(),
            Self::MariaDb(mariadb) => mariadb.port(),
            Self::Sqlite(_) => Err(ExternalServer::File),
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// If the environment names it.
    pub async fn stop(&mut self) -> Result<(), ExternalServer> {
        on_server_or_file!(self, stop, stop)
    }

    /// Starts it again at the same address.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
        on_server_or_file!(self, start_again, go_on)
    }

    /// Freezes it: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If the environment names it.
    pub async fn freeze(&self) -> Result<(), ExternalServer> {
        on_server_or_file!(self, freeze, freeze)
    }

    /// Lets it continue.
    ///
    /// # Errors
    /// If the environment names it.
    pub async fn thaw(&self) -> Result<(), ExternalServer> {
        on_server_or_file!(self, thaw, go_on)
    }

    /// Makes it refuse writes; SQLite lets writers wait instead. It serves reads.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn take_no_writes(&self) -> Result<(), ExternalServer> {
        self.read_only("on").await
    }

    /// Makes it accept writes again.
    ///
    /// # Errors
    /// If the environment names it.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn take_writes(&self) -> Result<(), ExternalServer> {
        self.read_only("off").await
    }

    /// `on` or `off`.
    async fn read_only(&self, is: &str) -> Result<(), ExternalServer> {
        match self {
            Self::Postgres(_) => {
                self.port()?;
                self.tell(&format!("ALTER SYSTEM SET default_transaction_read_only = {is}")).await;
                self.tell("SELECT pg_reload_conf()").await;
                // Each process of the server reads its settings by itself.
                let shown = async || self.tell("SHOW default_transaction_read_only").await == is;
                wait::until("the server to read its settings", PATIENCE, async || {
                    shown().await.then_some(())
                })
                .await;
            }
            Self::MariaDb(_) => {
                self.port()?;
                self.tell(&format!("SET GLOBAL read_only = {is}")).await;
            }
            Self::Sqlite(sqlite) if is == "on" => sqlite.take_no_writes().await,
            Self::Sqlite(sqlite) => sqlite.go_on().await,
        }
        Ok(())
    }

    /// The first value of the answer.
    async fn tell(&self, statement: &str) -> String {
        let rows = self.ask(statement).await.expect("the server answers");
        rows.into_iter().flatten().next().flatten().unwrap_or_default()
    }

    /// All that its processes have written; empty if the environment names it.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::Postgres(postgres) => postgres.output(),
            Self::MariaDb(mariadb) => mariadb.output(),
            Self::Sqlite(_) => Err(ExternalServer::File),
        }
        .unwrap_or_default()
    }

    /// The rows that some statements give, as text: on a new connection of the user who may do
    /// most, within five seconds.
    ///
    /// # Errors
    /// If it refuses one of them or does not answer.
    pub async fn ask(&self, statements: &str) -> sqlx::Result<Vec<Vec<Option<String>>>> {
        match self {
            Self::Postgres(postgres) => postgres.ask(statements).await,
            Self::MariaDb(mariadb) => mariadb.ask(statements).await,
            Self::Sqlite(sqlite) => sqlite.ask(statements).await,
        }
    }

    /// All rows of all tables of its database, one per line, with the names of the columns. Bytes
    /// that are letters appear as letters.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn dump(&self) -> String {
        match self {
            Self::Postgres(postgres) => postgres.dump().await,
            Self::MariaDb(mariadb) => mariadb.dump().await,
            Self::Sqlite(sqlite) => sqlite.dump().await,
        }
    }
}

/// Whether the test may stop this server. Otherwise its output says that it is skipped.
fn is_ours(port: Result<u16, ExternalServer>) -> bool {
    port.inspect_err(|not_ours| {
        eprintln!("SKIPPED, this test stops and starts its server: {not_ours}");
    })
    .is_ok()
}
