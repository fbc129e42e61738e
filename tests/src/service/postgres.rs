//! One PostgreSQL server.

use std::path::Path;

use sqlx::PgPool;

use super::{
    cleanup::clean_up,
    kind::{Kind, POSTGRES},
    managed::{Continues, Engine, Managed},
    node::Node,
    ownership::ExternalServer,
    postgres_node::{PostgresNode, ask, make_database, product, root_url, user_url},
    shared::SharedServer,
    sql::{self, LOOK_WITHIN},
    url::{own_sql_database, with_database},
};

/// The names of all tables of a database.
const TABLES: &str = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \
                      ORDER BY 1";

/// One PostgreSQL server: `postgres://app:PASSWORD@127.0.0.1:PORT/DATABASE` with
/// [`PASSWORD`](super::PASSWORD), for a user who may do everything in its database and nothing
/// else. After a restart it holds what it had committed.
pub type Postgres = Managed<PostgresNode>;

impl Engine for PostgresNode {
    const KIND: &'static Kind = &POSTGRES;

    fn process(_folder: &Path, flags: &[&str], leaves_template: bool) -> Self {
        Self::new(flags, leaves_template)
    }

    fn new_database(_external: Option<&str>) -> String {
        own_sql_database()
    }

    fn url(node: &Node<Self>, database: &str) -> String {
        user_url(node.port, database)
    }

    fn root_url(node: &Node<Self>, database: &str) -> String {
        root_url(node.port, database)
    }

    fn shared_url(shared: &SharedServer, database: &str) -> String {
        user_url(shared.port(), database)
    }

    fn shared_root_url(shared: &SharedServer, database: &str) -> String {
        with_database(shared.url(), database)
    }

    fn external_url(url: &str, database: &str) -> String {
        with_database(url, database)
    }

    async fn prepare(node: &Node<Self>, database: &str) {
        node.make(database).await;
    }

    async fn prepare_shared(shared: &SharedServer, database: &str) {
        make_database(shared.url(), database).await.expect("the shared server makes a database");
    }

    async fn prepare_external(url: &str, database: &str) {
        let made = ask(url, &format!("CREATE DATABASE \"{database}\"")).await;
        made.unwrap_or_else(|error| {
            panic!("the server of {} makes no database: {error}", POSTGRES.url_variable)
        });
    }

    fn remove(url: &str, database: &str, _continues: Continues) {
        let statement = format!("DROP DATABASE \"{database}\" WITH (FORCE)");
        let url = url.to_owned();
        clean_up("the database", move || async move { ask(&url, &statement).await.map(drop) });
    }

    fn release(node: &Node<Self>) {
        node.release_memory();
    }

    async fn product(url: &str) -> Result<String, String> {
        product(url).await.map_err(|error| error.to_string())
    }
}

impl Postgres {
    /// Its URL through its Unix-domain socket.
    ///
    /// # Errors
    /// If the environment names the server.
    pub fn socket_url(&self) -> Result<String, ExternalServer> {
        Ok(self.node()?.socket_url(self.database()))
    }

    /// Connections to its database for the statements of the test, which wait at most five seconds
    /// for a server. Their user may do most.
    ///
    /// # Panics
    /// If the environment names a server by something that is not a URL of PostgreSQL.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        let options = sqlx::pool::PoolOptions::new().acquire_timeout(LOOK_WITHIN);
        // The error would show the password.
        options.connect_lazy(&self.root_url()).unwrap_or_else(|_| panic!("a URL of PostgreSQL"))
    }

    /// The rows that some statements give, as text: on a new connection of the user who may do
    /// most, within five seconds.
    ///
    /// # Errors
    /// If it refuses one of them or does not answer.
    pub async fn ask(&self, statements: &str) -> sqlx::Result<Vec<Vec<Option<String>>>> {
        Ok(ask(&self.root_url(), statements).await?.rows)
    }

    /// All rows of all tables of its database, one per line, with the names of the columns. Bytes
    /// that are letters appear as letters.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn dump(&self) -> String {
        let url = self.root_url();
        sql::dump(TABLES, async |statement| ask(&url, statement).await)
            .await
            .expect("the server answers")
    }
}
