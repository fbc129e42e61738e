//! One `mariadbd`.

use std::{fs, time::Duration};

use rustix::process::geteuid;
use sqlx::{Connection, MySqlConnection};

use super::{
    kind::{MARIADB, PASSWORD},
    node::{Node, Server, line, quoted},
    shared::{self, template_in},
    sql::{self, Answer, LOOK_WITHIN, MAKE_WITHIN, ROOT, USER},
};

/// The program that makes the folder of a `mariadbd`.
const INSTALL: &str = "mariadb-install-db";

/// The flags of every `mariadbd`, also for making its folder: small in memory and on disk, because
/// several run at once. It hands what it acknowledges to the system, so that a killed server loses
/// nothing, and does not wait for the disk, because no test turns the machine off.
const FLAGS: &[&str] = &[
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=2",
];

/// The settings of a `mariadbd`.
#[derive(Debug)]
pub struct MariaDbNode {
    /// Further flags of its command line.
    flags: Vec<String>,
    /// Whether it leaves a copy of its new files, for other servers to begin with.
    leaves_template: bool,
}

impl MariaDbNode {
    /// One with these flags, which may leave a copy of its new files.
    pub(super) fn new(flags: &[&str], leaves_template: bool) -> Self {
        Self { flags: flags.iter().map(ToString::to_string).collect(), leaves_template }
    }
}

/// Makes the users. The program that makes the folder executes this, because the server could
/// write it into its log.
fn first_statements() -> String {
    [
        // Users can be made only after the server has loaded its list of users.
        "FLUSH PRIVILEGES".to_owned(),
        format!("CREATE USER {ROOT}@'%' IDENTIFIED BY '{PASSWORD}'"),
        format!("GRANT ALL ON *.* TO {ROOT}@'%' WITH GRANT OPTION"),
        format!("CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'"),
    ]
    .map(|statement| statement + ";\n")
    .concat()
}

impl Server for MariaDbNode {
    const PORT_TAKEN: &'static str = "Bind on TCP/IP port";
    const REFUSALS: &'static [&'static str] =
        &["[ERROR] Aborting", "FATAL ERROR", "Installation of system tables failed"];

    fn set_up(node: &Node<Self>, program: &str) -> String {
        let (data, first) = (node.data(), node.file("sql"));
        fs::write(&first, first_statements()).expect("a temporary folder can be written to");
        shared::copy_template(&MARIADB, &data);
        let leave = if node.server.leaves_template {
            let data = quoted(&data.display().to_string());
            format!(" && cp -a {data} {}", quoted(&template_in(&node.folder)))
        } else {
            String::new()
        };
        // It refuses to run as root unless it is told to.
        let user = geteuid().is_root().then_some("--user=root");
        let both = |further: Vec<String>| {
            let plain = ["--no-defaults"]
                .into_iter()
                .chain(user)
                .chain(FLAGS.iter().copied())
                .map(str::to_owned);
            // A server that starts would take the temporary tables of others in a shared folder for
            // its own.
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
            "[ -e {} ] || {{ {} >/dev/null{leave}; }} && exec {}",
            quoted(&data.display().to_string()),
            line(INSTALL, initialise),
            line(program, serve)
        )
    }

    async fn answers(node: &Node<Self>) -> bool {
        // Another server at its port would not write to this log.
        node.said().contains("ready for connections")
    }
}

impl Node<MariaDbNode> {
    /// The URL of the user of this database through the server's Unix-domain socket.
    pub(super) fn socket_url(&self, database: &str) -> String {
        let socket = self.data().join("socket");
        format!("mysql://{USER}:{PASSWORD}@localhost/{database}?socket={}", socket.display())
    }
}

/// The URL of the user of this database.
pub(super) fn user_url(port: u16, database: &str) -> String {
    format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
}

/// The URL of the user who may do everything.
pub(super) fn root_url(port: u16, database: &str) -> String {
    format!("mysql://{ROOT}:{PASSWORD}@127.0.0.1:{port}/{database}")
}

/// Makes a database, in which the user may do everything.
pub(super) async fn make_database(root: &str, database: &str) -> sqlx::Result<()> {
    let statements = format!(
        "CREATE DATABASE `{database}`; GRANT ALL ON `{}`.* TO {USER}@'%'",
        // In a grant an underscore stands for any letter.
        database.replace('_', "\\_")
    );
    ask_within(MAKE_WITHIN, root, &statements).await.map(drop)
}

/// Runs statements on a new connection and returns the response of the server.
pub(super) async fn ask(url: &str, statements: &str) -> sqlx::Result<Answer> {
    ask_within(LOOK_WITHIN, url, statements).await
}

async fn ask_within(limit: Duration, url: &str, statements: &str) -> sqlx::Result<Answer> {
    sql::within(limit, async {
        let mut connection = MySqlConnection::connect(url).await?;
        let answer = sql::mariadb(&mut connection, statements).await;
        connection.close().await.and(answer)
    })
    .await
}

/// The product and its version, as `mariadb 11.4.3` or `mysql 8.0.36`.
pub(super) async fn product(url: &str) -> sqlx::Result<String> {
    let version = ask(url, "SELECT version()").await?.only();
    let product = if version.to_lowercase().contains("mariadb") { "mariadb" } else { "mysql" };
    Ok(format!("{product} {}", version.split('-').next().unwrap_or_default()))
}
