//! The content of a server that keeps the sessions of the demos.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mongodb::bson::{Bson, Document};
use session_core::SessionStore;
use store_ipc::IpcStore;

use crate::{
    demo::Owner,
    service::{AnyMongo, AnyRedis, AnySql},
};

/// The size of a page of the scan of an owner.
const PAGE: usize = 1_000;

/// All that a reader of the server sees.
#[derive(Debug)]
pub struct ServerContent {
    /// The keys of the sessions.
    pub sessions: Vec<String>,
    /// Further values that only one session has: the hash of its secret and the `mark` of a
    /// document.
    pub marks: Vec<String>,
    /// The names of entries that are not sessions.
    pub others: Vec<String>,
    /// All bytes, with the names.
    pub bytes: Vec<u8>,
}

impl ServerContent {
    /// All records of an owner, by a scan.
    pub(crate) async fn in_owner(owner: &Owner) -> Self {
        let mut content =
            Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        let store = IpcStore::connect(owner.path());
        let mut cursor = None;
        loop {
            let page = store.scan(cursor, PAGE).await.expect("the owner answers");
            for (key, record) in page.records {
                let record = serde_json::to_string(&record).expect("a record is JSON");
                content.bytes.extend([key.as_str(), "\n", &record, "\n"].concat().into_bytes());
                content.sessions.push(key.as_str().to_owned());
            }
            cursor = page.next;
            if cursor.is_none() {
                return content;
            }
        }
    }

    /// All keys of Redis with a prefix.
    pub(crate) async fn in_redis(redis: &AnyRedis, prefix: &str) -> Self {
        let mut content =
            Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        for (name, value) in redis.dump(&format!("{prefix}*")).await {
            let name = &name[prefix.len()..];
            match name.strip_prefix("s}") {
                Some(key) => content.sessions.push(key.to_owned()),
                None => content.others.push(name.to_owned()),
            }
            content.bytes.extend([name.as_bytes(), b"\n", &value, b"\n"].concat());
        }
        content
    }

    /// All documents of a database of MongoDB.
    pub(crate) async fn in_mongo(mongo: &AnyMongo) -> Self {
        let mut content =
            Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        for document in mongo.dump().await {
            match document.get_binary_generic("_id") {
                Ok(key) => content.sessions.push(String::from_utf8_lossy(key).into_owned()),
                Err(_) => content.others.push(text(&document, "_id")),
            }
            content.marks.extend(["secret", "mark"].map(|field| text(&document, field)));
            content.bytes.extend(document.to_vec().expect("a document is valid BSON"));
        }
        content
    }

    /// All rows of an SQL database, whose sessions are in `table`.
    pub(crate) async fn in_sql(sql: &AnySql, table: &str) -> Self {
        let text = match sql {
            AnySql::Postgres(_) => "convert_from(id, 'UTF8')",
            AnySql::MariaDb(_) => "CAST(id AS CHAR)",
            AnySql::Sqlite(_) => "CAST(id AS TEXT)",
        };
        let rows =
            sql.ask(&format!("SELECT {text} FROM {table}")).await.expect("the database answers");
        let dump = sql.dump().await;
        Self {
            sessions: rows.into_iter().flatten().flatten().collect(),
            marks: Vec::new(),
            others: dump.lines().filter(|line| !line.contains(table)).map(str::to_owned).collect(),
            bytes: dump.into_bytes(),
        }
    }
}

/// A field as the shell of MongoDB shows it; empty if the document has none.
fn text(document: &Document, field: &str) -> String {
    match document.get(field) {
        None => String::new(),
        Some(Bson::Binary(binary)) => URL_SAFE_NO_PAD.encode(&binary.bytes),
        Some(other) => other.to_string(),
    }
}
