//! One `mariadbd`.

use std::fs;

use rustix::process::geteuid;
use sqlx::{Connection, MySqlConnection};

use super::{
    any_redis::PASSWORD,
    node::{Node, line, quoted},
    server::Server,
    sql::{self, Answer, LOOK_WITHIN},
};

/// Who may do everything.
const ROOT: &str = "rig";

/// Who may do everything in the test's database.
const USER: &str = "app";

/// What makes the folder of a `mariadbd`.
const INSTALL: &str = "mariadb-install-db";

/// What every `mariadbd` is started with, and its folder made with: small in memory and on disk, as
/// there are many at once. It gives what it acknowledges to the system, so that its own end loses
/// nothing of it, and does not wait for the disk: no test turns the machine off.
const FLAGS: &[&str] = &[
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=2",
];

/// What a `mariadbd` is to be.
#[derive(Debug)]
pub(super) struct MariaDbNode {
    /// The test's database.
    database: String,
    /// Further words of its command line.
    flags: Vec<String>,
}

impl MariaDbNode {
    /// One with these flags, in which there is this database.
    pub(super) fn new(database: &str, flags: &[&str]) -> Self {
        Self {
            database: database.to_owned(),
            flags: flags.iter().map(ToString::to_string).collect(),
        }
    }

    /// Makes the users and the database. It is not the server that is told, in whose log that could
    /// be, but what makes its folder.
    fn first_statements(&self) -> String {
        let database = &self.database;
        [
            // Users can be made only by who knows of users.
            "FLUSH PRIVILEGES".to_owned(),
            format!("CREATE DATABASE `{database}`"),
            format!("CREATE USER {ROOT}@'%' IDENTIFIED BY '{PASSWORD}'"),
            format!("GRANT ALL ON *.* TO {ROOT}@'%' WITH GRANT OPTION"),
            format!("CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'"),
            format!("GRANT ALL ON `{database}`.* TO {USER}@'%'"),
        ]
        .map(|statement| statement + ";\n")
        .concat()
    }
}

impl Server for MariaDbNode {
    const PORT_TAKEN: &'static str = "Bind on TCP/IP port";
    const REFUSALS: &'static [&'static str] =
        &["[ERROR] Aborting", "FATAL ERROR", "Installation of system tables failed"];

    fn set_up(node: &Node<Self>, program: &str) -> String {
        let (data, first) = (node.data(), node.file("sql"));
        fs::write(&first, node.server.first_statements())
            .expect("a temporary folder can be written to");
        // It refuses to run as root unless it is told to.
        let user = geteuid().is_root().then_some("--user=root");
        let both = |further: Vec<String>| {
            let plain = ["--no-defaults"]
                .into_iter()
                .chain(user)
                .chain(FLAGS.iter().copied())
                .map(str::to_owned);
            // One that starts takes the temporary tables that lie about for its own of an earlier
            // life.
            let own = [
                format!("--datadir={}", data.display()),
                format!("--tmpdir={}", node.folder.display()),
            ];
            plain.chain(own).chain(further).collect::<Vec<_>>()
        };
        let initialise = both(vec![
            "--skip-test-db".to_owned(),
            "--force".to_owned(),
            format!("--extra-file={}", first.display()),
        ]);
        let own = vec![
            "--bind-address=127.0.0.1".to_owned(),
            format!("--port={}", node.port),
            format!("--socket={}", data.join("socket").display()),
            format!("--pid-file={}", data.join("pid").display()),
        ];
        let serve = both(own).into_iter().chain(node.server.flags.iter().cloned());
        format!(
            "[ -e {} ] || {} >/dev/null && exec {}",
            quoted(&data.display().to_string()),
            line(INSTALL, initialise),
            line(program, serve)
        )
    }

    async fn answers(node: &Node<Self>) -> bool {
        // Its own word for it, which nobody else at its port can give.
        node.said().contains("ready for connections")
    }
}

impl Node<MariaDbNode> {
    /// The URL of who has the test's database.
    pub(super) fn url(&self) -> String {
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{}", self.port, self.server.database)
    }

    /// The same through its Unix-domain socket.
    pub(super) fn socket_url(&self) -> String {
        let socket = self.data().join("socket");
        format!(
            "mysql://{USER}:{PASSWORD}@localhost/{}?socket={}",
            self.server.database,
            socket.display()
        )
    }

    /// The URL for who may do everything.
    pub(super) fn root_url(&self) -> String {
        format!("mysql://{ROOT}:{PASSWORD}@127.0.0.1:{}/{}", self.port, self.server.database)
    }
}

/// A server's answer to some statements on a connection of its own.
pub(super) async fn ask(url: &str, statements: &str) -> sqlx::Result<Answer> {
    sql::within(LOOK_WITHIN, async {
        let mut connection = MySqlConnection::connect(url).await?;
        let answer = sql::mariadb(&mut connection, statements).await;
        connection.close().await.and(answer)
    })
    .await
}

/// What the server is, as `mariadb 11.4.3`, or `mysql 8.0.36`.
pub(super) async fn product(url: &str) -> sqlx::Result<String> {
    let version = ask(url, "SELECT version()").await?.only();
    let product = if version.to_lowercase().contains("mariadb") { "mariadb" } else { "mysql" };
    Ok(format!("{product} {}", version.split('-').next().unwrap_or_default()))
}
