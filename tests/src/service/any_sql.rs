//! SQL databases of any engine, behind one set of hands.

use super::{Durability, ExternalServer, MariaDb, Postgres, Sqlite, url::with_settings};
use crate::{PATIENCE, wait};

/// An SQL database, of whichever engine.
#[derive(Debug)]
pub enum AnySql {
    /// One server of PostgreSQL.
    Postgres(Postgres),
    /// One server of MariaDB.
    MariaDb(MariaDb),
    /// A file. It has no server; [`Sqlite`] says what stands for a stopped and for a hanging one.
    Sqlite(Sqlite),
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

    /// MariaDB, likewise.
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

    /// PostgreSQL of the test's own: with one that the environment names the test is skipped.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub async fn own_postgres(kept: Durability) -> Option<Self> {
        let postgres = Postgres::start_keeping(kept, &[]).await?;
        is_ours(postgres.port()).then_some(Self::Postgres(postgres))
    }

    /// MariaDB, likewise.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub async fn own_mariadb(kept: Durability) -> Option<Self> {
        let mariadb = MariaDb::start_keeping(kept, &[]).await?;
        is_ours(mariadb.port()).then_some(Self::MariaDb(mariadb))
    }

    /// The URL, with settings, which may be none.
    #[must_use]
    pub fn url(&self, settings: &str) -> String {
        let url = match self {
            Self::Postgres(postgres) => postgres.url(),
            Self::MariaDb(mariadb) => mariadb.url(),
            Self::Sqlite(sqlite) => sqlite.url(),
        };
        with_settings(url, settings)
    }

    /// What it is, as `postgres 16.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::Postgres(postgres) => postgres.version(),
            Self::MariaDb(mariadb) => mariadb.version(),
            Self::Sqlite(sqlite) => sqlite.version(),
        }
    }

    /// Its server's port on 127.0.0.1.
    ///
    /// # Errors
    /// If it is not ours, or if there is no server.
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
    /// If it is not ours.
    pub async fn stop(&mut self) -> Result<(), ExternalServer> {
        match self {
            Self::Postgres(postgres) => postgres.stop().await,
            Self::MariaDb(mariadb) => mariadb.stop().await,
            Self::Sqlite(sqlite) => {
                sqlite.stop().await;
                Ok(())
            }
        }
    }

    /// Starts it again at the same address.
    ///
    /// # Errors
    /// If it is not ours.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
        match self {
            Self::Postgres(postgres) => postgres.start_again().await,
            Self::MariaDb(mariadb) => mariadb.start_again().await,
            Self::Sqlite(sqlite) => {
                sqlite.go_on().await;
                Ok(())
            }
        }
    }

    /// Makes it hang: it holds its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn freeze(&self) -> Result<(), ExternalServer> {
        match self {
            Self::Postgres(postgres) => postgres.freeze().await,
            Self::MariaDb(mariadb) => mariadb.freeze().await,
            Self::Sqlite(sqlite) => {
                sqlite.freeze().await;
                Ok(())
            }
        }
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn thaw(&self) -> Result<(), ExternalServer> {
        match self {
            Self::Postgres(postgres) => postgres.thaw().await,
            Self::MariaDb(mariadb) => mariadb.thaw().await,
            Self::Sqlite(sqlite) => {
                sqlite.go_on().await;
                Ok(())
            }
        }
    }

    /// Lets it refuse whatever changes something, or, with SQLite, wait; reads are served.
    ///
    /// # Errors
    /// If it is not ours.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn take_no_writes(&self) -> Result<(), ExternalServer> {
        self.read_only("on").await
    }

    /// Lets it take writes again.
    ///
    /// # Errors
    /// If it is not ours.
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
                // Each process of the server hears of it by itself; a new one has it from its
                // start.
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

    /// The only value of an answer.
    async fn tell(&self, statement: &str) -> String {
        let rows = self.ask(statement).await.expect("who may do everything is answered");
        rows.into_iter().flatten().next().flatten().unwrap_or_default()
    }

    /// All that its processes have written, if they are the test's own.
    #[must_use]
    pub fn output(&self) -> String {
        match self {
            Self::Postgres(postgres) => postgres.output(),
            Self::MariaDb(mariadb) => mariadb.output(),
            Self::Sqlite(_) => Err(ExternalServer::File),
        }
        .unwrap_or_default()
    }

    /// The rows that some statements give, as text, for looking around: on a connection of its own,
    /// within five seconds. On a server of ours they may do everything.
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

    /// All rows of all tables of its database, a line for each, with the names of the columns.
    /// Bytes that are letters are letters.
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

/// Whether a test that stops its server can go on with this one. Otherwise its output says that it
/// is skipped.
fn is_ours(port: Result<u16, ExternalServer>) -> bool {
    port.inspect_err(|not_ours| {
        eprintln!("SKIPPED, this test stops and starts its server: {not_ours}")
    })
    .is_ok()
}
