//! What a server outside the demos holds of their sessions.

use mongodb::bson::{Bson, Document};

use crate::service::{AnyMongo, AnyRedis, AnySql};

/// What somebody who can read the server sees.
#[derive(Debug)]
pub struct Stored {
    /// The keys of the sessions.
    pub sessions: Vec<String>,
    /// What else stands in a session's record and in no other's: of a document its `_id` and `mark`.
    pub marks: Vec<String>,
    /// The names of what there is beside sessions.
    pub others: Vec<String>,
    /// All of it, names too.
    pub bytes: Vec<u8>,
}

impl Stored {
    /// What Redis has under a prefix.
    pub(crate) async fn in_redis(redis: &AnyRedis, prefix: &str) -> Self {
        let mut stored = Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        for (name, content) in redis.dump(&format!("{prefix}*")).await {
            let name = &name[prefix.len()..];
            match name.strip_prefix('{') {
                Some(key) => stored.sessions.push(key.replacen('}', "", 1)),
                None => stored.others.push(name.to_owned()),
            }
            stored.bytes.extend([name.as_bytes(), b"\n", &content, b"\n"].concat());
        }
        stored
    }

    /// All documents of a MongoDB's database. What is no session counts as other.
    pub(crate) async fn in_mongo(mongo: &AnyMongo) -> Self {
        let mut stored = Self { sessions: Vec::new(), marks: Vec::new(), others: Vec::new(), bytes: Vec::new() };
        for document in mongo.dump().await {
            match document.get_str("key") {
                Ok(key) => stored.sessions.push(key.to_owned()),
                Err(_) => stored.others.push(text(&document, "_id")),
            }
            stored.marks.extend(["_id", "mark"].map(|field| text(&document, field)));
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
        let rows = sql.ask(&format!("SELECT {text} FROM {table}")).await.expect("the database answers");
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
        Some(Bson::ObjectId(id)) => id.to_hex(),
        Some(other) => other.to_string(),
    }
}
