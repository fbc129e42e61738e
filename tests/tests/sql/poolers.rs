//! Connections without a cache of statements, as proxies in transaction mode need them.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use futures_util::future::join_all;
use session_core::SessionStore;
use store_sql::{Config, SqlStore};
use tempfile::TempDir;
use tests::{
    PATIENCE,
    service::{PASSWORD, Postgres},
    session::{Session, is_done, with},
    wait, with_sources,
};

use crate::{
    locks::{PATIENT, connect, counter},
    tables::works,
};

/// The memory of a process of this machine that belongs to it alone, in KiB.
fn memory(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d01_memory_of_postgres_is_constant_without_a_cache() {
    const READS: u32 = 12_000;
    /// What the server may need for its own caches, in KiB.
    const MOST_KIB: u64 = 4 * 1024;
    let Some(postgres) = Postgres::start().await else { return };
    ours!(postgres.port());
    let settings = format!("statement-cache-capacity=0&connections=1&{PATIENT}");
    let store = connect(&with(&postgres.url(), &settings)).await;
    works(&store).await;
    let session = Session::signed_in(&store, "bob").await;
    let of_store = "SELECT pid::text FROM pg_stat_activity WHERE usename = 'app'";
    let rows = postgres.ask(of_store).await.expect("the server answers");
    let process = rows[0][0].clone().expect("the connection of the store");
    let Some(before) = memory(&process) else {
        return eprintln!("SKIPPED, the processes of the server belong to another machine");
    };
    for _ in 0..READS {
        assert!(store.load(&session.key).await.expect("an answer").is_some());
    }
    let after = memory(&process).expect("the store kept its connection");
    eprintln!("{READS} reads: {before} KiB before, {after} KiB after");
    assert!(after < before + MOST_KIB, "{before} KiB before, {after} KiB after");
}

/// A `pgbouncer` in transaction mode in front of a server. A drop ends it.
pub(crate) struct PgBouncer {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl PgBouncer {
    /// `None` if the tests with a pooler are switched off.
    ///
    /// # Panics
    /// If the program is missing.
    pub(crate) async fn start(server: u16) -> Option<Self> {
        if std::env::var_os("TEST_POOLER").is_some_and(|value| value == "none") {
            eprintln!("SKIPPED, TEST_POOLER=none leaves the tests with a pooler out");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = \
             127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = \
             {path}/users\npool_mode = transaction\ndefault_pool_size = 3\n"
        );
        fs::write(folder.path().join("users"), format!("\"app\" \"{PASSWORD}\"\n"))
            .expect("a file");
        fs::write(folder.path().join("pgbouncer.ini"), settings).expect("a file");
        let mut command = Command::new("pgbouncer");
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            command.args(["--user", "nobody"]);
        }
        command.arg(folder.path().join("pgbouncer.ini"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("{error}: cannot start pgbouncer; install it, or set TEST_POOLER=none")
        });
        let bouncer = Self { process, port, _folder: folder };
        wait::until("pgbouncer to listen", PATIENCE, async || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        Some(bouncer)
    }

    pub(crate) fn url(&self, postgres: &Postgres, settings: &str) -> String {
        let database = postgres.database();
        let url = format!("postgres://app:{PASSWORD}@127.0.0.1:{}/{database}", self.port);
        with(&url, &format!("{settings}&{PATIENT}"))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d01_store_works_behind_pgbouncer_in_transaction_mode() {
    const ADDS: i64 = 100;
    let Some(postgres) = Postgres::start().await else { return };
    let Some(bouncer) = PgBouncer::start(ours!(postgres.port())).await else { return };
    let url = bouncer.url(&postgres, "statement-cache-capacity=0&connections=4");
    let stores = [connect(&url).await, connect(&url).await, connect(&url).await];
    works(&stores[0]).await;
    // The stores share fewer connections to the server than they have.
    let sessions =
        [Session::signed_in(&stores[0], "bob").await, Session::anonymous(&stores[0]).await];
    let adds = stores.iter().flat_map(|store| {
        sessions.iter().map(async |session| {
            for _ in 0..ADDS {
                let outcome = store.commit(&session.key, session.add("n", 1)).await;
                assert!(is_done(&outcome), "{outcome:?}");
                assert!(store.load(&session.key).await.expect("an answer").is_some());
            }
        })
    });
    join_all(adds).await;
    for session in &sessions {
        assert_eq!(counter(&stores[1], session).await, 3 * ADDS);
    }
    let url = bouncer.url(&postgres, "options=-c%20search_path%3Dpublic");
    let refused = SqlStore::connect(&Config::new(&url).expect("a URL")).await;
    let error = with_sources(&refused.expect_err("pgbouncer refuses the parameter"));
    for word in ["ignore_startup_parameters", "remove the setting options"] {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
}

/// A version of pgbouncer that manages prepared statements works with the default. Any other
/// version loses them, and an error names the remedy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d01_lost_prepared_statements_are_an_error_with_a_remedy() {
    let Some(postgres) = Postgres::start().await else { return };
    let Some(bouncer) = PgBouncer::start(ours!(postgres.port())).await else { return };
    let url = bouncer.url(&postgres, "connections=4");
    for _ in 0..20 {
        let refused = SqlStore::connect(&Config::new(&url).expect("a URL")).await;
        let Err(error) = refused else { continue };
        let error = with_sources(&error);
        assert!(error.contains("statement-cache-capacity=0"), "{error}");
        return;
    }
    eprintln!("not applicable: this pgbouncer manages prepared statements");
}
