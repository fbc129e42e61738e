//! [`RedisStore`] passes the conformance suite on one server, through a trait object, on a Cluster,
//! and on a server that refuses undeclared keys. The servers are stopped and frozen during the
//! suite.

use async_trait::async_trait;
use session_core::{BoxError, StoreKey, conformance::Purge};
use store_redis::{Config, RedisStore};
use tests::service::{AnyRedis, Durability, ExternalServer, Stoppable};

use crate::{
    server_fixture::{Product, ServerFixture, direct, through_arc_dyn},
    strict_server::StrictServer,
};

type RedisFixture = ServerFixture<AnyRedis>;

/// A namespace is a prefix.
#[async_trait]
impl Product for AnyRedis {
    type Store = RedisStore;
    type Config = Config;

    const PURGE: Purge = Purge::ByItself;
    const BULK: usize = 50_000;
    const UNBOUNDED: &'static str =
        "maxmemory limits the whole server, and it has no classes of sessions";

    fn new_namespace() -> String {
        format!("conformance-{:016x}:", fastrand::u64(..))
    }

    fn namespace_settings(prefix: &str) -> String {
        format!("prefix={prefix}")
    }

    fn config(url: &str) -> Result<Config, BoxError> {
        Ok(Config::new(url)?)
    }

    fn config_in(config: Config, prefix: &str, name: &str) -> Config {
        config.prefix(&format!("{prefix}{name}"))
    }

    async fn connect(config: &Config) -> Result<RedisStore, BoxError> {
        Ok(RedisStore::connect(config).await?)
    }

    async fn corrupt(&self, prefix: &str, key: &StoreKey) {
        write_head(self, prefix, key, "no head of any version").await;
    }

    async fn future_format(&self, prefix: &str, key: &StoreKey) {
        write_head(self, prefix, key, &format!("\u{3}{}", "x".repeat(30))).await;
    }

    async fn stored_bytes(&self, prefix: &str) -> Vec<u8> {
        let dump = self.dump(&format!("{prefix}*")).await;
        dump.into_iter().flat_map(|(name, bytes)| [name.into_bytes(), bytes].concat()).collect()
    }

    async fn stored_records(&self, prefix: &str) -> u64 {
        self.dump(&format!("{prefix}s}}*")).await.len() as u64
    }
}

async fn write_head(server: &AnyRedis, prefix: &str, key: &StoreKey, head: &str) {
    let name = format!("{prefix}s}}{}", key.as_str());
    server.ask(&["HSET", &name, "", head]).await;
}

mod server {
    use super::{AnyRedis, Durability, RedisFixture, direct};

    session_core::conformance_tests!(|check| async {
        let own = AnyRedis::own_server(Durability::None);
        RedisFixture::connect(check, own, AnyRedis::server(), direct).await
    });
}

mod server_through_arc_dyn {
    use super::{AnyRedis, Durability, RedisFixture, through_arc_dyn};

    session_core::conformance_tests!(|check| async {
        let own = AnyRedis::own_server(Durability::None);
        RedisFixture::connect(check, own, AnyRedis::server(), through_arc_dyn).await
    });
}

mod cluster {
    use super::{AnyRedis, Durability, RedisFixture, direct};

    session_core::conformance_tests!(|check| async {
        let own = AnyRedis::own_cluster(Durability::None);
        RedisFixture::connect(check, own, AnyRedis::cluster(), direct).await
    });
}

/// A server that refuses scripts which access keys that they do not declare.
struct Strict {
    redis: AnyRedis,
    proxy: StrictServer,
}

impl Strict {
    async fn before(redis: impl Future<Output = Option<AnyRedis>>) -> Option<Self> {
        let redis = redis.await?;
        let proxy = StrictServer::before(&redis.url("")).await;
        Some(Self { redis, proxy })
    }
}

impl Stoppable for Strict {
    fn url(&self, settings: &str) -> String {
        self.proxy.through(&self.redis.url(&format!("declared_keys=true&{settings}")))
    }

    fn stop(&mut self) -> impl Future<Output = Result<(), ExternalServer>> + Send {
        self.redis.stop()
    }

    fn start_again(&mut self) -> impl Future<Output = Result<(), ExternalServer>> {
        self.redis.start_again()
    }

    fn freeze(&self) -> impl Future<Output = Result<(), ExternalServer>> + Send {
        self.redis.freeze()
    }

    fn thaw(&self) -> impl Future<Output = Result<(), ExternalServer>> + Send {
        self.redis.thaw()
    }
}

#[async_trait]
impl Product for Strict {
    type Store = RedisStore;
    type Config = Config;

    const PURGE: Purge = AnyRedis::PURGE;
    const BULK: usize = AnyRedis::BULK;
    const UNBOUNDED: &'static str = AnyRedis::UNBOUNDED;

    fn new_namespace() -> String {
        AnyRedis::new_namespace()
    }

    fn namespace_settings(prefix: &str) -> String {
        AnyRedis::namespace_settings(prefix)
    }

    fn config(url: &str) -> Result<Config, BoxError> {
        AnyRedis::config(url)
    }

    fn config_in(config: Config, prefix: &str, name: &str) -> Config {
        AnyRedis::config_in(config, prefix, name)
    }

    async fn connect(config: &Config) -> Result<RedisStore, BoxError> {
        <AnyRedis as Product>::connect(config).await
    }

    async fn corrupt(&self, prefix: &str, key: &StoreKey) {
        self.redis.corrupt(prefix, key).await;
    }

    async fn future_format(&self, prefix: &str, key: &StoreKey) {
        self.redis.future_format(prefix, key).await;
    }

    async fn stored_bytes(&self, prefix: &str) -> Vec<u8> {
        self.redis.stored_bytes(prefix).await
    }

    async fn stored_records(&self, prefix: &str) -> u64 {
        self.redis.stored_records(prefix).await
    }
}

mod server_with_declared_keys {
    use super::{AnyRedis, Durability, ServerFixture, Strict, direct};

    session_core::conformance_tests!(|check| async {
        let own = Strict::before(AnyRedis::own_server(Durability::None));
        let shared = Strict::before(AnyRedis::server());
        ServerFixture::<Strict>::connect(check, own, shared, direct).await
    });
}
