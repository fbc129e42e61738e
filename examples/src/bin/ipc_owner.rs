//! The process that owns the sessions of `ipc`; the argument is the socket to listen on.
use std::{env, sync::Arc, time::Duration};

use session_core::MemoryStore;
use store_ipc::Owner;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = env::args().nth(1).unwrap_or("sessions.sock".into());
    let owner = Owner::builder(Arc::new(MemoryStore::new()))
        .sweep(Duration::from_mins(1))
        .build()?
        .spawn_thread()?;
    owner.listen(&path)?;
    println!("owner listening on {path}");
    // The owner lives until its handle is dropped.
    loop {
        std::thread::park();
    }
}
