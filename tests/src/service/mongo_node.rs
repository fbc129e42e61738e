//! One `mongod`: a single server, or a member of a replica set.

use std::time::Duration;

use mongodb::{
    Client,
    bson::{Document, doc},
    error::{Error, Result},
    options::ClientOptions,
};
use tokio::time::timeout;

use super::{
    kind::PASSWORD,
    node::{Node, Server, line, quoted},
};

/// How long a question to a server may take, so that a test does not wait for a frozen one.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// How long a server may take to make a user. It writes to its disk, which may be
/// busy.
const MAKE_WITHIN: Duration = Duration::from_secs(20);

/// The user who may do everything, on a server with `--auth`.
const ROOT: &str = "rig";

/// The user who may read and write one database, on a server with `--auth`.
const USER: &str = "app";

/// The flags of every `mongod`: small in memory and on disk, because several run at once, and with
/// no file in a shared folder.
const FLAGS: &[&str] = &[
    "--bind_ip",
    "127.0.0.1",
    "--nounixsocket",
    "--wiredTigerCacheSizeGB",
    "0.25",
    "--wiredTigerEngineConfigString",
    "log=(prealloc=false)",
    "--setParameter",
    "diagnosticDataCollectionEnabled=false",
    // It would log the content of each operation that takes longer than a tenth of a second, which
    // on a busy machine can be any. Tests search the log for secrets.
    "--slowms",
    "60000",
];

/// The settings of a `mongod`.
#[derive(Debug)]
pub struct MongoNode {
    /// Further flags of its command line.
    flags: Vec<String>,
}

impl MongoNode {
    /// One with these flags.
    pub(super) fn new(flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(ToString::to_string).collect() }
    }

    /// Whether clients need a user.
    fn has_users(&self) -> bool {
        self.flags.iter().any(|flag| flag == "--auth")
    }
}

impl Server for MongoNode {
    const PORT_TAKEN: &'static str = "Address already in use";
    const REFUSALS: &'static [&'static str] = &["Error parsing command line", r#""s":"F""#];

    fn set_up(node: &Node<Self>, program: &str) -> String {
        let data = node.data().display().to_string();
        let own = ["--port".to_owned(), node.port.to_string(), "--dbpath".to_owned(), data.clone()];
        let words = own
            .into_iter()
            .chain(FLAGS.iter().map(ToString::to_string))
            .chain(node.server.flags.iter().cloned());
        format!("mkdir -p {} && exec {}", quoted(&data), line(program, words))
    }

    async fn answers(node: &Node<Self>) -> bool {
        // The last line of its log before it accepts connections. Another server at its port would
        // not write to this log.
        node.said().contains("Waiting for connections")
    }
}

impl Node<MongoNode> {
    /// The credentials of the user of one database, as they stand in a URL.
    pub(super) fn credentials(&self) -> String {
        if self.server.has_users() { format!("{USER}:{PASSWORD}@") } else { String::new() }
    }

    /// The URL of this node alone, for the user who may do everything.
    pub(super) fn url(&self) -> String {
        let root =
            if self.server.has_users() { format!("{ROOT}:{PASSWORD}@") } else { String::new() };
        format!("mongodb://{root}127.0.0.1:{}/admin?directConnection=true", self.port)
    }

    /// Makes the users of a new server with `--auth`. Without that flag it needs none.
    ///
    /// # Panics
    /// If it refuses.
    pub(super) async fn make_users(&self, database: &str) {
        if !self.server.has_users() {
            return;
        }
        // Without users any client on its machine may make the first one.
        let nobody =
            client(&format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)).await;
        let root = doc! { "createUser": ROOT, "pwd": PASSWORD, "roles": ["root"] };
        command_within(MAKE_WITHIN, &nobody, "admin", root)
            .await
            .expect("a server without users accepts the first");
        make_user(&client(&self.url()).await, database).await;
    }
}

/// Makes the user of one database, on a server that has users.
///
/// # Panics
/// If the server refuses.
pub(super) async fn make_user(root: &Client, database: &str) {
    let user = doc! { "createUser": USER, "pwd": PASSWORD, "roles": ["readWrite"] };
    command_within(MAKE_WITHIN, root, database, user).await.expect("the server makes a user");
}

/// The URL of the user of one database, on a server that has users.
pub(super) fn user_url(port: u16, database: &str) -> String {
    format!("mongodb://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
}

/// A client that gives up after [`LOOK_WITHIN`].
///
/// # Panics
/// If it is not a URL of MongoDB.
pub(super) async fn client(url: &str) -> Client {
    // The error would have the password in it.
    let mut options =
        ClientOptions::parse(url).await.unwrap_or_else(|_| panic!("a URL of MongoDB"));
    options.connect_timeout = Some(LOOK_WITHIN);
    options.server_selection_timeout = Some(LOOK_WITHIN);
    Client::with_options(options).expect("options that were a URL")
}

/// A server's answer to one command.
pub(super) async fn command(
    client: &Client,
    database: &str,
    command: Document,
) -> Result<Document> {
    command_within(LOOK_WITHIN, client, database, command).await
}

async fn command_within(
    limit: Duration,
    client: &Client,
    database: &str,
    command: Document,
) -> Result<Document> {
    let answer = timeout(limit, client.database(database).run_command(command)).await;
    answer.unwrap_or_else(|_| Err(Error::custom(format!("no answer within {limit:?}"))))
}

/// The product and its version, as `mongo 7.0.14`.
pub(super) async fn product(url: &str) -> Result<String> {
    let built = command(&client(url).await, "admin", doc! { "buildInfo": 1 }).await?;
    Ok(format!("mongo {}", built.get_str("version").map_err(Error::custom)?))
}
