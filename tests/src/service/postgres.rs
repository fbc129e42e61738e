//! One PostgreSQL server.

use std::{path::PathBuf, thread, time::Instant};

use sqlx::PgPool;

use super::{
    Durability,
    kind::POSTGRES,
    node::Node,
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    postgres_node::{PostgresNode, ask, make_database, product, user_url},
    shared::SharedServer,
    sql::{self, LOOK_WITHIN},
    url::{own_sql_database, with_database},
};

/// The names of all tables of a database.
const TABLES: &str = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \
                      ORDER BY 1";

/// One PostgreSQL server. Dropping it ends it; of a server that is not ours it drops the test's
/// database.
#[derive(Debug)]
pub struct Postgres {
    server: ServerOwnership<PostgresNode>,
    kept: Durability,
    database: String,
    version: String,
}

impl Postgres {
    /// Starts one, new and empty, or takes the one of `TEST_POSTGRES_URL`, with a database of the
    /// test's own. `None` means that the test is to return: it is skipped, and its output says why.
    ///
    /// # Panics
    /// If there is none and `REQUIRE_SERVICES` asks for it, or if it does not start.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Takes the one that the tests of this run share, with a new database, or `None` if there is
    /// none.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn shared() -> Option<Self> {
        let shared = SharedServer::find(&POSTGRES)?;
        Some(Self::of(ServerOwnership::Shared(shared), Durability::Full).await)
    }

    /// The same with further flags, as `["-c", "max_connections=20"]`. A server that is not ours
    /// cannot be set up, so with `TEST_POSTGRES_URL` and flags the test is skipped.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        Self::start_keeping(Durability::Full, flags).await
    }

    /// Starts one whose files other servers begin with: making them takes seconds, a copy none.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub(super) async fn start_to_share(flags: &[&str]) -> Option<Self> {
        Self::start_node(Durability::Full, &|| PostgresNode::new(flags).leaving_template(), flags)
            .await
    }

    /// The same, with what it holds after a restart.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_keeping(kept: Durability, flags: &[&str]) -> Option<Self> {
        Self::start_node(kept, &|| PostgresNode::new(flags), flags).await
    }

    async fn start_node(
        kept: Durability,
        node: &dyn Fn() -> PostgresNode,
        flags: &[&str],
    ) -> Option<Self> {
        let began = Instant::now();
        let server = match Origin::find(&POSTGRES).await? {
            Origin::Theirs(url) => ServerOwnership::external(url, &POSTGRES, flags)?,
            origin => {
                ServerOwnership::Own(Nodes::start(&POSTGRES, &origin, 1, |_, _| vec![node()]).await)
            }
        };
        let started = Self::of(server, kept).await;
        eprintln!(
            "{} {}, there after {:?}",
            started.version,
            started.server.description(),
            began.elapsed()
        );
        Some(started)
    }

    async fn of(server: ServerOwnership<PostgresNode>, kept: Durability) -> Self {
        let database = own_sql_database();
        let mut started = Self { server, kept, database, version: String::new() };
        started.make_database().await;
        let version = product(&started.own_url()).await;
        started.version = version.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", started.server.description())
        });
        started
    }

    /// Its URL: `postgres://app:PASSWORD@127.0.0.1:PORT/DATABASE` with
    /// [`PASSWORD`](super::PASSWORD), for a user who owns its database and may do nothing else.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.list()[0].url(&self.database),
            ServerOwnership::Shared(shared) => user_url(shared.port(), &self.database),
            ServerOwnership::External { url, .. } => with_database(url, &self.database),
        }
    }

    /// The same through its Unix-domain socket.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn socket_url(&self) -> Result<String, ExternalServer> {
        Ok(self.node()?.socket_url(&self.database))
    }

    /// The database of its URL, which is this test's alone.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The URL by which other tests can share it, and the folder with its files.
    pub(super) fn shared_as(&self) -> (String, PathBuf) {
        self.server.shared_as(self.own_url())
    }

    /// Its port on 127.0.0.1.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn port(&self) -> Result<u16, ExternalServer> {
        Ok(self.node()?.port)
    }

    /// All that it has written: its log.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn output(&self) -> Result<String, ExternalServer> {
        self.server.output()
    }

    /// What it is, as `postgres 16.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Kills it, and with it the processes that it has for its clients and for itself. What it had
    /// acknowledged is kept, unless it was to keep nothing. Fine if it is stopped.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn stop(&mut self) -> Result<(), ExternalServer> {
        let port = self.port()?;
        self.server.own_mut()?.stop(port).await;
        Ok(())
    }

    /// Starts it again after [`stop`](Self::stop), at the same address with the same flags.
    ///
    /// # Errors
    /// If it is not ours.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
        let node = self.node()?;
        if node.is_running() {
            return Ok(());
        }
        let (port, is_emptied) = (node.port, self.kept == Durability::None);
        if is_emptied {
            self.release_memory();
            node.empty();
        }
        self.server.own_mut()?.start_again(port).await;
        if is_emptied {
            self.make_database().await;
        }
        Ok(())
    }

    /// Makes it hang, and with it the processes that it has for its clients and for itself: it
    /// keeps its connections and answers nothing. The system still takes new ones for it.
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn freeze(&self) -> Result<(), ExternalServer> {
        self.server.own()?.freeze(self.port()?).await;
        Ok(())
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// If it is not ours.
    pub async fn thaw(&self) -> Result<(), ExternalServer> {
        self.server.own()?.thaw(self.port()?).await;
        Ok(())
    }

    /// Connections to its database for the test's own statements, which do not wait longer than
    /// five seconds for a server. On one of ours they may do everything.
    ///
    /// # Panics
    /// If the URL of a server that is not ours is none.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        let options = sqlx::pool::PoolOptions::new().acquire_timeout(LOOK_WITHIN);
        // The error would have the password in it.
        options.connect_lazy(&self.own_url()).unwrap_or_else(|_| panic!("a URL of PostgreSQL"))
    }

    /// The rows that some statements give, as text, for looking around: on a connection of its own,
    /// within five seconds. On a server of ours they may do everything.
    ///
    /// # Errors
    /// If it refuses one of them or does not answer.
    pub async fn ask(&self, statements: &str) -> sqlx::Result<Vec<Vec<Option<String>>>> {
        Ok(ask(&self.own_url(), statements).await?.rows)
    }

    /// All rows of all tables of its database, a line for each, with the names of the columns.
    /// Bytes that are letters are letters.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn dump(&self) -> String {
        let url = self.own_url();
        sql::dump(TABLES, async |statement| ask(&url, statement).await)
            .await
            .expect("the server answers")
    }

    async fn make_database(&self) {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.list()[0].make(&self.database).await,
            ServerOwnership::Shared(shared) => make_database(shared.url(), &self.database)
                .await
                .expect("who may do everything makes a database"),
            ServerOwnership::External { url, .. } => {
                let made = ask(url, &format!("CREATE DATABASE \"{}\"", self.database)).await;
                made.unwrap_or_else(|error| {
                    panic!("{}: no database for this test: {error}", self.server.description())
                });
            }
        }
    }

    /// What it leaves behind in the memory of this machine goes with its last process. That of a
    /// container goes with the container.
    fn release_memory(&self) {
        if let ServerOwnership::Own(nodes) = &self.server
            && nodes.host.is_here()
        {
            nodes.list()[0].release_memory();
        }
    }

    /// The URL of who may do most.
    fn own_url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.list()[0].root_url(&self.database),
            ServerOwnership::Shared(shared) => with_database(shared.url(), &self.database),
            ServerOwnership::External { .. } => self.url(),
        }
    }

    fn drop_database(&self, url: &str) {
        let dropped = format!("DROP DATABASE \"{}\" WITH (FORCE)", self.database);
        ask_blocking(url.to_owned(), dropped);
    }

    fn node(&self) -> Result<&Node<PostgresNode>, ExternalServer> {
        Ok(&self.server.own()?.list()[0])
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match &self.server {
            ServerOwnership::Own(_) => self.release_memory(),
            ServerOwnership::Shared(shared) => self.drop_database(shared.url()),
            ServerOwnership::External { url, .. } => self.drop_database(url),
        }
    }
}

/// Has somebody's server do one statement, for the end of a test, where nothing can be awaited.
fn ask_blocking(url: String, statement: String) {
    // A thread of its own, since the runtime of the test may be on this one.
    let asked = thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(ask(&url, &statement)).map(drop)
    });
    match asked.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("the test's database stays: {error}"),
        Err(_) => eprintln!("the test's database stays"),
    }
}
