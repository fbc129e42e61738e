//! Sessions in the memory of this process. They end with it.
use std::{error::Error, sync::Arc, time::Duration};

use session_actix::{MemoryStore, spawn_sweeper};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let _sweeper = spawn_sweeper(store.clone(), Duration::from_mins(1), 1_000);
    examples::serve(store).await
}
