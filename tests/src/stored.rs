//! What a server outside the demos holds of their sessions.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mongodb::bson::{Bson, Document};
use session_core::SessionStore;
use store_ipc::IpcStore;

use crate::{
    demo::Owner,
    service::{AnyMongo, AnyRedis, AnySql},
};

/// How many sessions of an owner are asked for at once.
const PAGE: usize = 1_000;

/// What somebody who can read the server sees.
#[derive(Debug)]
pub struct Stored {
    /// The keys of the sessions.
    pub sessions: Vec<String>,
    /// What else stands in a session's record and in no other's: of a document the hash of its
    /// secret and its `mark`.
    pub marks: Vec<String>,
    /// The names of what there is beside sessions.
    pub others: Vec<String>,
    /// All of it, names too.
    pub bytes: Vec<u8>,
}

impl Stored {
    /// All records of an owner, by the scan that it offers to everybody who may connect.
    pub(crate) async fn in_owner(owner: &Owner) -> Self {
        let mut stored =
            Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        let store = IpcStore::connect(owner.path());
        let mut cursor = None;
        loop {
            let page = store.scan(cursor, PAGE).await.expect("the owner answers");
            for (key, record) in page.records {
                let record = serde_json::to_string(&record).expect("a record is JSON");
                stored.bytes.extend([key.as_str(), "\n", &record, "\n"].concat().into_bytes());
                stored.sessions.push(key.as_str().to_owned());
            }
            cursor = page.next;
            if cursor.is_none() {
                return stored;
            }
        }
    }

    /// What Redis has under a prefix.
    pub(crate) async fn in_redis(redis: &AnyRedis, prefix: &str) -> Self {
        let mut stored =
            Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        for (name, content) in redis.dump(&format!("{prefix}*")).await {
            let name = &name[prefix.len()..];
            match name.strip_prefix("s}") {
                Some(key) => stored.sessions.push(key.to_owned()),
                None => stored.others.push(name.to_owned()),
            }
            stored.bytes.extend([name.as_bytes(), b"\n", &content, b"\n"].concat());
        }
        stored
    }

    /// All documents of a MongoDB's database. What is no session counts as other.
    pub(crate) async fn in_mongo(mongo: &AnyMongo) -> Self {
        let mut stored =
            Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        for document in mongo.dump().await {
            match document.get_binary_generic("_id") {
                Ok(key) => stored.sessions.push(String::from_utf8_lossy(key).into_owned()),
                Err(_) => stored.others.push(text(&document, "_id")),
            }
            stored.marks.extend(["secret", "mark"].map(|field| text(&document, field)));
            stored.bytes.extend(document.to_vec().expect("what was BSON is BSON"));
        }
        stored
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

/// A field as the shell shows it; nothing if the document has none.
fn text(document: &Document, field: &str) -> String {
    match document.get(field) {
        None => String::new(),
        Some(Bson::Binary(binary)) => URL_SAFE_NO_PAD.encode(&binary.bytes),
        Some(other) => other.to_string(),
    }
}
