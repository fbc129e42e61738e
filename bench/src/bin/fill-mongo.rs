//! Inserts the sessions of the baseline into MongoDB: `fill-mongo URL`, with one id per line on
//! standard input.

use std::{error::Error, io};

use mongodb::{
    Client,
    bson::{Document, doc},
};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("usage: fill-mongo URL, with one id per line on standard input")?;
    let sessions: Vec<Document> = io::stdin()
        .lines()
        .map(|id| Ok(doc! { "_id": id?, "n": 1_i64 }))
        .collect::<io::Result<_>>()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = Client::with_uri_str(url).await?;
        let database = client
            .default_database()
            .ok_or("the URL has no database; use mongodb://HOST:PORT/DATABASE")?;
        database.collection::<Document>("baseline").insert_many(sessions).await?;
        Ok(())
    })
}
