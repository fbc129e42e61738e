use session_core::*;
use std::{sync::Arc, time::Duration};
use store_ipc::*;
#[tokio::test]
async fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let owner = Owner::builder(Arc::new(MemoryStore::new())).build().unwrap().spawn_thread().unwrap();
    owner.listen(&path).unwrap();
    let store = IpcStore::connect(&path);
    store.ping().await.unwrap();
    let key = SessionId::random().unwrap().store_key();
    let _ = store.create(&key, NewRecord::new(Duration::from_secs(60))).await.unwrap();
    assert!(store.load(&key).await.unwrap().is_some());
    owner.shutdown();
    println!("{:?}", store.ping().await);
    println!("{:?} {:?}", store, owner);
}
