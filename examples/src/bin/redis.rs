//! Sessions in Redis or Valkey. The argument is the URL.
use std::error::Error;

use store_redis::{Config, RedisStore};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = examples::argument("redis://127.0.0.1:6379/0");
    let store = RedisStore::connect(&Config::new(&url)?).await?;
    examples::serve(store).await
}
