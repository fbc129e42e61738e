//! One `postgres`: the process that listens, and the processes that it starts for its clients.

use std::{fs, process::Command, time::Duration};

use rustix::process::geteuid;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use super::{
    kind::{PASSWORD, POSTGRES},
    node::{Node, Server, line, quoted},
    shared::{self, template_in},
    sql::{self, Answer, LOOK_WITHIN, MAKE_WITHIN, ROOT, USER},
};

/// The user id of `nobody`, who runs the server for a test of root: it refuses to run as root.
const NOBODY: &str = "65534";

/// The settings of every `postgres`: small in memory, because several run at once, and with no file
/// in a shared folder. It hands what it acknowledges to the system, so that a killed server loses
/// nothing, and does not wait for the disk, because no test turns the machine off.
const FLAGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "shared_buffers=16MB",
    "dynamic_shared_memory_type=mmap",
    "fsync=off",
    "synchronous_commit=on",
];

/// The settings of a `postgres`.
#[derive(Debug)]
pub struct PostgresNode {
    /// Further flags of its command line.
    flags: Vec<String>,
    /// Whether it leaves a copy of its new files, for other servers to begin with.
    leaves_template: bool,
}

impl PostgresNode {
    /// One with these flags, which may leave a copy of its new files.
    pub(super) fn new(flags: &[&str], leaves_template: bool) -> Self {
        Self { flags: flags.iter().map(ToString::to_string).collect(), leaves_template }
    }
}

impl Server for PostgresNode {
    const PORT_TAKEN: &'static str = "could not bind IPv4 address";
    const REFUSALS: &'static [&'static str] = &[
        "initdb: error",
        "FATAL:  unrecognized configuration parameter",
        "FATAL:  invalid value for parameter",
        "FATAL:  could not ",
        "FATAL:  -",
        "FATAL:  data directory ",
        "Try \"postgres --help\"",
    ];

    fn set_up(node: &Node<Self>, program: &str) -> String {
        let (data, password) = (node.data().display().to_string(), node.file("password"));
        fs::write(&password, PASSWORD).expect("a temporary folder can be written to");
        let initdb = format!("{}initdb", program.strip_suffix("postgres").unwrap_or_default());
        let plain = [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--no-instructions",
        ];
        let own = [
            format!("--username={ROOT}"),
            format!("--pwfile={}", password.display()),
            format!("--pgdata={data}"),
        ];
        let initialise = line(&initdb, plain.map(str::to_owned).into_iter().chain(own));

        let settings = FLAGS
            .iter()
            .map(ToString::to_string)
            .chain([format!("unix_socket_directories={data}")]);
        let words = ["-D".to_owned(), data.clone(), "-p".to_owned(), node.port.to_string()];
        let words = words
            .into_iter()
            .chain(settings.flat_map(|setting| ["-c".to_owned(), setting]))
            .chain(node.server.flags.iter().cloned());
        let serve = line(program, words);

        shared::copy_template(&POSTGRES, &node.data());
        let leave = if node.server.leaves_template {
            format!(" && cp -a {} {}", quoted(&data), quoted(&template_in(&node.folder)))
        } else {
            String::new()
        };
        let (data, folder) = (quoted(&data), quoted(&node.folder.display().to_string()));
        let (as_nobody, hand_over) = if geteuid().is_root() {
            let as_nobody = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups ");
            (as_nobody, format!("chown {NOBODY}:{NOBODY} {data} && "))
        } else {
            (String::new(), String::new())
        };
        // The tests search its output for errors, so they must be in English.
        format!(
            "export LC_ALL=C; chmod a+x {folder}; [ -e {data} ] || {{ mkdir -m 700 {data} && {hand_over}{as_nobody}{initialise} >/dev/null{leave}; }} && \
             exec {as_nobody}{serve}"
        )
    }

    async fn answers(node: &Node<Self>) -> bool {
        // Another server at its port would not write to this log.
        node.said().contains("database system is ready to accept connections")
    }
}

impl Node<PostgresNode> {
    /// The URL of the user of this database through the server's Unix-domain socket.
    pub(super) fn socket_url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@localhost:{}/{database}?host={}",
            self.port,
            self.data().display()
        )
    }

    /// Makes the user and the database of a server that has neither.
    ///
    /// # Panics
    /// If it refuses.
    pub(super) async fn make(&self, database: &str) {
        // The password is not in a statement, which could be in the log that a test searches:
        // `initdb` reads it from a file. It is faster to rename the first database than to make
        // another.
        let statements = format!(
            "CREATE ROLE {USER} LOGIN;
             UPDATE pg_authid SET rolpassword = (SELECT rolpassword FROM pg_authid WHERE rolname = '{ROOT}') WHERE rolname = '{USER}';
             ALTER DATABASE postgres RENAME TO \"{database}\";
             ALTER DATABASE \"{database}\" OWNER TO {USER}"
        );
        let made = ask_within(MAKE_WITHIN, &root_url(self.port, "template1"), &statements).await;
        made.expect("a new server makes a user and a database");
    }

    /// Releases the shared memory that marks its folder as used, after its last process has ended.
    /// A killed server leaves it behind, and the system has room for a few thousand.
    pub(super) fn release_memory(&self) {
        let known = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        // The line has the key and the id of the memory.
        if let Some(id) = known.lines().nth(6).and_then(|pair| pair.split_whitespace().nth(1)) {
            let _ = Command::new("ipcrm").args(["-m", id]).output();
        }
    }
}

/// Makes a database of the user, on a server that has one.
pub(super) async fn make_database(root: &str, database: &str) -> sqlx::Result<()> {
    let statement = format!("CREATE DATABASE \"{database}\" OWNER {USER}");
    ask_within(MAKE_WITHIN, root, &statement).await.map(drop)
}

/// The URL of the user who owns this database.
pub(super) fn user_url(port: u16, database: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
}

/// The URL of the user who may do everything.
pub(super) fn root_url(port: u16, database: &str) -> String {
    format!("postgres://{ROOT}:{PASSWORD}@127.0.0.1:{port}/{database}")
}

/// Runs statements on a new connection and returns the response of the server.
pub(super) async fn ask(url: &str, statements: &str) -> sqlx::Result<Answer> {
    ask_within(LOOK_WITHIN, url, statements).await
}

async fn ask_within(limit: Duration, url: &str, statements: &str) -> sqlx::Result<Answer> {
    sql::within(limit, async {
        // Bytes that are letters appear as letters.
        let options = url.parse::<PgConnectOptions>()?.options([("bytea_output", "escape")]);
        let mut connection = PgConnection::connect_with(&options).await?;
        let answer = sql::postgres(&mut connection, statements).await;
        connection.close().await.and(answer)
    })
    .await
}

/// The product and its version, as `postgres 16.4`.
pub(super) async fn product(url: &str) -> sqlx::Result<String> {
    let version = ask(url, "SHOW server_version").await?.only();
    Ok(format!("postgres {}", version.split_whitespace().next().unwrap_or_default()))
}
