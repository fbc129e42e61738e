//! A server that runs as one process, of whichever engine.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    durability::Durability,
    kind::Kind,
    node::{Node, Server},
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    shared::SharedServer,
};

/// What differs between the engines of servers that run as one process.
#[expect(
    async_fn_in_trait,
    reason = "the futures are awaited in the tests of this workspace, on the thread that makes them"
)]
pub trait Engine: Server {
    /// Where such a server can be had.
    const KIND: &'static Kind;

    /// A process with these flags, whose files are in this folder. The first one of several leaves
    /// a copy of its new files as their template.
    fn process(folder: &Path, flags: &[&str], leaves_template: bool) -> Self;

    /// A name for a database that no other test has, on a new server or on the one of this URL.
    fn new_database(external: Option<&str>) -> String;

    /// The URL of the user of this database.
    fn url(node: &Node<Self>, database: &str) -> String;

    /// The URL of the user who may do everything.
    fn root_url(node: &Node<Self>, database: &str) -> String;

    /// The URL of the user of this database on a shared server.
    fn shared_url(shared: &SharedServer, database: &str) -> String;

    /// The URL of the user who may do everything on a shared server.
    fn shared_root_url(shared: &SharedServer, database: &str) -> String;

    /// The URL of this database on the server of this URL, which the environment names.
    fn external_url(url: &str, database: &str) -> String;

    /// Makes the users and the database on a server that is new and empty.
    async fn prepare(node: &Node<Self>, database: &str);

    /// Makes the database on a shared server.
    async fn prepare_shared(shared: &SharedServer, database: &str);

    /// Makes the database on the server of this URL, which the environment names.
    async fn prepare_external(url: &str, database: &str);

    /// Removes the database at the end of a test, from a server that continues.
    fn remove(url: &str, database: &str, continues: Continues);

    /// Releases what a killed process leaves behind in the memory of this machine.
    fn release(node: &Node<Self>);

    /// The product and its version, as `postgres 16.4`.
    ///
    /// # Errors
    /// The error of the driver, as text.
    async fn product(url: &str) -> Result<String, String>;
}

/// A server that continues after the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continues {
    /// The tests of this run share it.
    Shared,
    /// The environment names it.
    External,
}

/// A server that runs as one process. Dropping it ends it if it is the test's own, and removes the
/// database of the test if it is not.
#[derive(Debug)]
pub struct Managed<S: Engine> {
    server: ServerOwnership<S>,
    durability: Durability,
    database: String,
    version: String,
}

impl<S: Engine> Managed<S> {
    /// Starts a server, new and empty, or takes the one that the environment names. `None` means
    /// that the test has to return: it is skipped, and its output says why.
    ///
    /// # Panics
    /// If no server can be had and `REQUIRE_SERVICES` asks for one, or if it does not start.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further flags for the program. A server that the environment names cannot be
    /// configured: with flags the test is skipped.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        Self::start_keeping(Durability::Full, flags).await
    }

    /// The same, with what the server holds after a restart. A Redis holds what its flags say.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_keeping(durability: Durability, flags: &[&str]) -> Option<Self> {
        Self::start_process(durability, flags, false).await
    }

    /// Starts a server whose new files are the template of other servers: to make them takes
    /// seconds, a copy takes none.
    pub(super) async fn start_to_share(flags: &[&str]) -> Option<Self> {
        Self::start_process(Durability::Full, flags, true).await
    }

    /// Takes the server that the tests of this run share, with a new database, or `None` if there
    /// is none.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn shared() -> Option<Self> {
        let shared = SharedServer::find(S::KIND)?;
        let database = S::new_database(None);
        S::prepare_shared(&shared, &database).await;
        Some(Self::with(ServerOwnership::Shared(shared), Durability::Full, database).await)
    }

    async fn start_process(
        durability: Durability,
        flags: &[&str],
        leaves_template: bool,
    ) -> Option<Self> {
        let began = Instant::now();
        let (server, database) = match Origin::find(S::KIND).await? {
            Origin::External(url) => {
                let database = S::new_database(Some(&url));
                let server = ServerOwnership::external(url.clone(), S::KIND, flags)?;
                S::prepare_external(&url, &database).await;
                (server, database)
            }
            origin => {
                let database = S::new_database(None);
                let nodes = Nodes::start(S::KIND, &origin, 1, |folder, _| {
                    vec![S::process(folder, flags, leaves_template)]
                })
                .await;
                S::prepare(&nodes.list()[0], &database).await;
                (ServerOwnership::Own(Box::new(nodes)), database)
            }
        };
        let started = Self::with(server, durability, database).await;
        eprintln!(
            "{} {}, there after {:?}",
            started.version,
            started.server.description(),
            began.elapsed()
        );
        Some(started)
    }

    async fn with(server: ServerOwnership<S>, durability: Durability, database: String) -> Self {
        let mut started = Self { server, durability, database, version: String::new() };
        started.version = S::product(&started.root_url()).await.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", started.server.description())
        });
        started
    }

    /// The URL of the user of its database.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => S::url(&nodes.list()[0], &self.database),
            ServerOwnership::Shared(shared) => S::shared_url(shared, &self.database),
            ServerOwnership::External { url, .. } => S::external_url(url, &self.database),
        }
    }

    /// The URL of the user who may do most.
    pub(super) fn root_url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => S::root_url(&nodes.list()[0], &self.database),
            ServerOwnership::Shared(shared) => S::shared_root_url(shared, &self.database),
            ServerOwnership::External { url, .. } => S::external_url(url, &self.database),
        }
    }

    /// The URL by which other tests can share it, and the folder with its files.
    pub(super) fn shared_as(&self) -> (String, PathBuf) {
        self.server.shared_as(self.root_url())
    }

    /// The database of its URL, which only this test uses. Tests of Redis have prefixes instead.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The process that the test has started.
    ///
    /// # Errors
    /// If the environment names the server.
    pub(super) fn node(&self) -> Result<&Node<S>, ExternalServer> {
        Ok(&self.server.own()?.list()[0])
    }

    /// Its port on 127.0.0.1.
    ///
    /// # Errors
    /// If the environment names the server.
    pub fn port(&self) -> Result<u16, ExternalServer> {
        Ok(self.node()?.port)
    }

    /// All that it has written, which is its log. On a shared server that is what it has written
    /// since the test began.
    ///
    /// # Errors
    /// If the environment names the server.
    pub fn output(&self) -> Result<String, ExternalServer> {
        self.server.output()
    }

    /// The product and its version, as `redis 7.0.15`, `mongo 7.0.14`, `postgres 16.4` or
    /// `mariadb 11.4.3`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Kills it, with the processes that it has for its clients. What it holds afterwards is its
    /// [`Durability`]. A stopped server stays stopped.
    ///
    /// # Errors
    /// If the environment names the server.
    pub async fn stop(&mut self) -> Result<(), ExternalServer> {
        let port = self.port()?;
        self.server.own_mut()?.stop(port).await;
        Ok(())
    }

    /// Starts it again after [`stop`](Self::stop), at the same address with the same flags.
    ///
    /// # Errors
    /// If the environment names the server.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
        let node = self.node()?;
        if node.is_running() {
            return Ok(());
        }
        let (port, is_emptied) = (node.port, self.durability == Durability::None);
        if is_emptied {
            self.release();
            node.empty();
        }
        self.server.own_mut()?.start_again(port).await;
        if is_emptied {
            S::prepare(self.node()?, &self.database).await;
        }
        Ok(())
    }

    /// Freezes it, with the processes that it has for its clients: it keeps its connections and
    /// answers nothing. The system still accepts new connections for it.
    ///
    /// # Errors
    /// If the environment names the server.
    pub async fn freeze(&self) -> Result<(), ExternalServer> {
        self.server.own()?.freeze(self.port()?).await;
        Ok(())
    }

    /// Lets it continue after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// If the environment names the server.
    pub async fn thaw(&self) -> Result<(), ExternalServer> {
        self.server.own()?.thaw(self.port()?).await;
        Ok(())
    }

    /// What a killed process leaves in the memory of a container ends with the container.
    fn release(&self) {
        if let ServerOwnership::Own(nodes) = &self.server
            && nodes.host.is_here()
        {
            S::release(&nodes.list()[0]);
        }
    }
}

impl<S: Engine> Drop for Managed<S> {
    fn drop(&mut self) {
        match &self.server {
            ServerOwnership::Own(_) => self.release(),
            ServerOwnership::Shared(shared) => {
                S::remove(shared.url(), &self.database, Continues::Shared);
            }
            ServerOwnership::External { url, .. } => {
                S::remove(url, &self.database, Continues::External);
            }
        }
    }
}
