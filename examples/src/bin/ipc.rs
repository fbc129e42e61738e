//! Sessions in the process of `ipc_owner`. The argument is its socket.
use std::error::Error;

use store_ipc::IpcStore;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = IpcStore::connect(examples::argument("sessions.sock"));
    examples::serve(store).await
}
