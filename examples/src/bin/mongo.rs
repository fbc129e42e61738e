//! Sessions in MongoDB. The argument is the URL.
use std::error::Error;

use store_mongo::{Config, MongoStore};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = examples::argument("mongodb://127.0.0.1:27017/sessions");
    let store = MongoStore::connect(&Config::new(&url)?).await?;
    examples::serve(store).await
}
