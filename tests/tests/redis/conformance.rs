//! [`RedisStore`] passes the conformance suite on one server, through a trait object, and on a
//! Cluster. The servers are stopped and frozen during the suite.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use session_core::{
    BoxError, Limits, SessionStore, StoreKey,
    conformance::{Fixture, Purge, Supported},
};
use store_redis::{Config, RedisStore};
use tests::{
    conformance::{deadline, takes_backend_down, warm_up},
    service::{AnyRedis, Durability, ExternalServer, PASSWORD},
};
use tokio::{runtime::Handle, sync::RwLock};

const NOT_OURS: &str = "the server is external, so the test must not stop it";

/// A store with its own prefix.
struct RedisFixture {
    server: RwLock<AnyRedis>,
    url: String,
    prefix: String,
    deadline: Duration,
    store: Arc<dyn SessionStore>,
}

impl RedisFixture {
    async fn server(check: &str, wrap: fn(RedisStore) -> Arc<dyn SessionStore>) -> Option<Self> {
        let server = if takes_backend_down(check) {
            AnyRedis::own_server(Durability::None).await?
        } else {
            AnyRedis::server().await?
        };
        Some(Self::on(server, check, wrap).await)
    }

    async fn cluster(check: &str, wrap: fn(RedisStore) -> Arc<dyn SessionStore>) -> Option<Self> {
        let server = if takes_backend_down(check) {
            AnyRedis::own_cluster(Durability::None).await?
        } else {
            AnyRedis::cluster().await?
        };
        Some(Self::on(server, check, wrap).await)
    }

    async fn on(
        server: AnyRedis,
        check: &str,
        wrap: fn(RedisStore) -> Arc<dyn SessionStore>,
    ) -> Self {
        let prefix = format!("conformance-{:016x}:", fastrand::u64(..));
        let deadline = deadline(check);
        let settings = format!("prefix={prefix}&deadline_ms={}", deadline.as_millis());
        let url = server.url(&settings);
        let store = RedisStore::connect(&Config::new(&url).expect("a URL"))
            .await
            .expect("a server to connect to");
        warm_up(&store).await;
        Self { server: RwLock::new(server), url, prefix, deadline, store: wrap(store) }
    }

    fn named(&self, key: &StoreKey) -> String {
        format!("{}s}}{}", self.prefix, key.as_str())
    }

    async fn write_head(&self, key: &StoreKey, head: &str) -> Supported {
        self.server.read().await.ask(&["HSET", &self.named(key), "", head]).await;
        Supported::Done(())
    }
}

#[async_trait]
impl Fixture for RedisFixture {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    async fn open(&self) -> Result<Arc<dyn SessionStore>, BoxError> {
        Ok(Arc::new(RedisStore::connect(&Config::new(&self.url)?).await?))
    }

    async fn open_namespace(&self, name: &str) -> Result<Arc<dyn SessionStore>, BoxError> {
        let config = Config::new(&self.url)?.prefix(&format!("{}{name}", self.prefix));
        Ok(Arc::new(RedisStore::connect(&config).await?))
    }

    async fn bounded(&self) -> Supported<Arc<dyn SessionStore>> {
        Supported::NotApplicable(
            "maxmemory limits the whole server, and it has no classes of sessions",
        )
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
        Purge::ByItself
    }

    fn secret(&self) -> Supported<String> {
        Supported::Done(PASSWORD.to_owned())
    }

    fn settings_text(&self) -> Supported<String> {
        Supported::Done(format!("{:?}", Config::new(&self.url).expect("a URL")))
    }

    async fn corrupt(&self, key: &StoreKey) -> Supported {
        self.write_head(key, "no head of any version").await
    }

    async fn future_format(&self, key: &StoreKey) -> Supported {
        self.write_head(key, &format!("\u{3}{}", "x".repeat(30))).await
    }

    async fn stop(&self) -> Supported {
        done(self.server.write().await.stop().await)
    }

    async fn start(&self) -> Supported {
        let mut server = self.server.write().await;
        // The future contains an async closure, and the compiler cannot prove that it is `Send`.
        done(tokio::task::block_in_place(|| Handle::current().block_on(server.start_again())))
    }

    async fn freeze(&self) -> Supported {
        done(self.server.read().await.freeze().await)
    }

    async fn thaw(&self) -> Supported {
        done(self.server.read().await.thaw().await)
    }

    async fn dump(&self) -> Supported<Vec<u8>> {
        let dump = self.server.read().await.dump(&format!("{}*", self.prefix)).await;
        Supported::Done(
            dump.into_iter()
                .flat_map(|(name, bytes)| [name.into_bytes(), bytes].concat())
                .collect(),
        )
    }

    async fn physical_count(&self) -> Supported<u64> {
        Supported::Done(
            self.server.read().await.dump(&format!("{}s}}*", self.prefix)).await.len() as u64
        )
    }
}

fn done(action: Result<(), ExternalServer>) -> Supported {
    action.map_or(Supported::NotApplicable(NOT_OURS), Supported::Done)
}

mod server {
    use super::{Arc, RedisFixture};

    session_core::conformance_tests!(|check| async {
        RedisFixture::server(check, |store| Arc::new(store)).await
    });
}

mod server_through_arc_dyn {
    use session_core::SessionStore;

    use super::{Arc, RedisFixture};

    session_core::conformance_tests!(|check| async {
        RedisFixture::server(check, |store| {
            let erased: Arc<dyn SessionStore> = Arc::new(store);
            Arc::new(erased)
        })
        .await
    });
}

mod cluster {
    use super::{Arc, RedisFixture};

    session_core::conformance_tests!(|check| async {
        RedisFixture::cluster(check, |store| Arc::new(store)).await
    });
}
