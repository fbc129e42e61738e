//! Sessions in PostgreSQL. The argument is the URL.
use std::{error::Error, sync::Arc, time::Duration};

use session_actix::spawn_sweeper;
use store_sql::{Config, SqlStore};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = examples::argument("postgres://user:password@127.0.0.1/sessions");
    let store = Arc::new(SqlStore::connect(&Config::new(&url)?).await?);
    // The database does not remove expired sessions by itself.
    let _sweeper = spawn_sweeper(store.clone(), Duration::from_mins(1), 1_000);
    examples::serve(store).await
}
