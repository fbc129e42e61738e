//! One Redis server.

use std::path::Path;

use redis::{RedisResult, Value};

use super::{
    cleanup::clean_up,
    kind::{Kind, REDIS},
    managed::{Continues, Engine, Managed},
    node::Node,
    ownership::ExternalServer,
    redis_node::{RedisNode, command, product},
    shared::SharedServer,
    url::with_database,
};

/// The number of databases of a shared server. A scan reads only the database of its test.
pub(super) const SHARED_DATABASES: u16 = 10_000;

/// One Redis server: `redis://127.0.0.1:PORT/0`. With the flags `--requirepass PASSWORD` its URL
/// has the password too, which has to consist of letters. After a restart it is empty, unless its
/// flags say otherwise.
pub type Redis = Managed<RedisNode>;

impl Engine for RedisNode {
    const KIND: &'static Kind = &REDIS;

    fn process(folder: &Path, flags: &[&str], _leaves_template: bool) -> Self {
        let socket = format!("unixsocket {}", folder.join("redis.sock").display());
        Self::new(vec![r#"save """#.to_owned(), socket], flags)
    }

    /// The number of a database on a shared server. On others tests have prefixes only.
    fn new_database(_external: Option<&str>) -> String {
        fastrand::u16(1..SHARED_DATABASES).to_string()
    }

    fn url(node: &Node<Self>, _database: &str) -> String {
        node.url()
    }

    fn root_url(node: &Node<Self>, _database: &str) -> String {
        node.url()
    }

    fn shared_url(shared: &SharedServer, database: &str) -> String {
        with_database(shared.url(), database)
    }

    fn shared_root_url(shared: &SharedServer, database: &str) -> String {
        with_database(shared.url(), database)
    }

    fn external_url(url: &str, _database: &str) -> String {
        url.to_owned()
    }

    async fn prepare(_node: &Node<Self>, _database: &str) {}

    async fn prepare_shared(_shared: &SharedServer, _database: &str) {}

    async fn prepare_external(_url: &str, _database: &str) {}

    fn remove(url: &str, database: &str, continues: Continues) {
        if continues == Continues::Shared {
            let url = with_database(url, database);
            clean_up("the database", move || async move { command(&url, &["FLUSHDB"]).await });
        }
    }

    fn release(_node: &Node<Self>) {}

    async fn product(url: &str) -> Result<String, String> {
        product(url).await.map_err(|error| error.to_string())
    }
}

impl Redis {
    /// Its URL through its Unix-domain socket: `redis+unix:///…/redis.sock`.
    ///
    /// # Errors
    /// If the environment names the server.
    pub fn socket_url(&self) -> Result<String, ExternalServer> {
        let node = self.node()?;
        let socket = node.folder.join("redis.sock");
        let password = node.password().map(|password| format!("?pass={password}"));
        Ok(format!("redis+unix://{}{}", socket.display(), password.unwrap_or_default()))
    }

    /// The response to one command, for diagnosis: on a new connection, within two seconds.
    ///
    /// # Errors
    /// If it refuses the command or does not answer.
    ///
    /// # Panics
    /// If `words` is empty.
    pub async fn command(&self, words: &[&str]) -> RedisResult<Value> {
        command(&self.url(), words).await
    }
}
