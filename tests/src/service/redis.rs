//! One Redis server.

use std::{path::PathBuf, time::Instant};

use redis::{RedisResult, Value};

use super::{
    kind::REDIS,
    nodes::Nodes,
    origin::Origin,
    ownership::{ExternalServer, ServerOwnership},
    redis_node::{RedisNode, command, product},
    shared::SharedServer,
};

/// One Redis server. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    server: ServerOwnership<RedisNode>,
    version: String,
}

impl Redis {
    /// Starts one, new and empty, or takes the one of `TEST_REDIS_URL`. `None` means that the test
    /// is to return: it is skipped, and its output says why.
    ///
    /// # Panics
    /// If there is none and `REQUIRE_SERVICES` asks for it, or if it does not start.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Takes the one that the tests of this run share, or `None` if there is none.
    ///
    /// # Panics
    /// If it does not answer.
    pub(super) async fn shared() -> Option<Self> {
        Some(Self::of(ServerOwnership::Shared(SharedServer::find(&REDIS)?)).await)
    }

    /// The same with further flags, as `["--maxmemory", "8mb"]`. With `["--requirepass", "…"]`,
    /// [`url`](Self::url) has the password too; it has to be of plain letters. A server that is not
    /// ours cannot be set up, so with `TEST_REDIS_URL` and flags the test is skipped.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(flags: &[&str]) -> Option<Self> {
        let began = Instant::now();
        let server = match Origin::find(&REDIS).await? {
            Origin::Theirs(url) => ServerOwnership::external(url, &REDIS, flags)?,
            origin => ServerOwnership::Own(start(&origin, flags).await),
        };
        let redis = Self::of(server).await;
        eprintln!(
            "{} {}, there after {:?}",
            redis.version,
            redis.server.description(),
            began.elapsed()
        );
        Some(redis)
    }

    async fn of(server: ServerOwnership<RedisNode>) -> Self {
        let mut redis = Self { server, version: String::new() };
        let version = product(&redis.url()).await;
        redis.version = version.unwrap_or_else(|error| {
            panic!("{}: cannot ask it for its version: {error}", redis.server.description())
        });
        redis
    }

    /// Its URL: `redis://127.0.0.1:PORT/0`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            ServerOwnership::Own(nodes) => nodes.list()[0].url(),
            ServerOwnership::Shared(shared) => shared.url().to_owned(),
            ServerOwnership::External { url, .. } => url.clone(),
        }
    }

    /// Its URL through its Unix-domain socket: `redis+unix:///…/redis.sock`.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn socket_url(&self) -> Result<String, ExternalServer> {
        let nodes = self.server.own()?;
        let socket = nodes.host.folder().join("redis.sock");
        Ok(format!(
            "redis+unix://{}{}",
            socket.display(),
            nodes.list()[0].password().map(|pass| format!("?pass={pass}")).unwrap_or_default()
        ))
    }

    /// The URL by which other tests can share it, and the folder with its files.
    pub(super) fn shared_as(&self) -> (String, PathBuf) {
        self.server.shared_as(self.url())
    }

    /// Its port on 127.0.0.1.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn port(&self) -> Result<u16, ExternalServer> {
        Ok(self.server.own()?.list()[0].port)
    }

    /// All that it has written.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn output(&self) -> Result<String, ExternalServer> {
        self.server.output()
    }

    /// What it is, as `redis 7.0.15`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Kills it. What it held is lost, unless its flags say otherwise. Fine if it is stopped.
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
        let port = self.port()?;
        self.server.own_mut()?.start_again(port).await;
        Ok(())
    }

    /// Makes it hang: it keeps its connections and answers nothing.
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

    /// Its answer to one command, for looking around: on a connection of its own, within two
    /// seconds.
    ///
    /// # Errors
    /// If it refuses the command or does not answer.
    ///
    /// # Panics
    /// If there is no word.
    pub async fn command(&self, words: &[&str]) -> RedisResult<Value> {
        command(&self.url(), words).await
    }
}

async fn start(origin: &Origin, flags: &[&str]) -> Nodes<RedisNode> {
    Nodes::start(&REDIS, origin, 1, |folder, _| {
        let socket = format!("unixsocket {}", folder.join("redis.sock").display());
        vec![RedisNode::new(vec![r#"save """#.to_owned(), socket], flags)]
    })
    .await
}
