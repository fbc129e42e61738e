//! Tests each side of a handover against a peer that ends, hangs or sends invalid messages at each
//! step, and against a real peer.

mod failing_successor;
mod support;

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream as StdUnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use session_core::{MemoryStore, NewRecord, SessionStore};

use self::support::{
    HOUR, LONG, SECRET, add, client, cut_off, fill, frame, generations, handed_over, hello, key,
    owner, pair, raw, read_hello, read_reply, store_with_session, successor_of,
};
use super::{
    clock::boot_time,
    error::{HandoverError, TakeoverError},
    message::Message,
    stream::{HandoverStream, Side, StreamError},
};
use crate::{
    IpcStore, Owner, OwnerError,
    wire::message::{Reply, Request},
};

#[tokio::test]
async fn forwarded_client_continues_after_the_handover() {
    let (store, session) = store_with_session(10).await;
    let (old, new) = generations(&store);
    let (forwarded, idle) = (client(&new), client(&new));
    assert_eq!(add(&forwarded, &session).await, 1);
    assert!(matches!(new.listen("/nowhere"), Err(OwnerError::AwaitingHandover)));
    assert!(matches!(new.attach_successor(pair().0), Err(OwnerError::AwaitingHandover)));
    let handed_over = handed_over(&old, &new).await;
    assert_eq!((handed_over.sessions, handed_over.connections), (1, 2));
    assert_eq!(add(&forwarded, &session).await, 2);
    assert_eq!(add(&idle, &session).await, 3);
    let late = client(&new);
    assert_eq!(add(&late, &session).await, 4);
    assert_eq!(add(&*store, &session).await, 2, "the old store is unchanged");
    assert_eq!((old.stats().connections, new.stats().connections), (0, 3));
    assert!(matches!(old.serve(pair().0), Err(OwnerError::Stopped)));
    assert!(matches!(old.handover(LONG).await, Err(HandoverError::Stopped)));
    old.shutdown();
    assert_eq!(add(&forwarded, &session).await, 5);
}

#[tokio::test]
async fn successor_hands_over_to_a_third_owner() {
    let (store, session) = store_with_session(10).await;
    let (first, second) = generations(&store);
    handed_over(&first, &second).await;
    let (one, other) = pair();
    second.attach_successor(one).unwrap();
    let third = successor_of(other);
    let forwarded = client(&third);
    assert_eq!(add(&forwarded, &session).await, 1);
    handed_over(&second, &third).await;
    assert_eq!(add(&forwarded, &session).await, 2);
}

/// Half a hello, half a request, and a request of which only the length arrived. The new owner
/// answers each when the rest arrives.
#[tokio::test]
async fn new_owner_answers_partly_received_requests() {
    let (store, session) = store_with_session(10).await;
    let (old, new) = generations(&store);
    let [mut silent, mut greeting, mut half, mut length] = std::array::from_fn(|_| raw(&new));
    greeting.write_all(&hello()[..5]).unwrap();
    let load = frame(9, &Request::Load(session));
    for (stream, part) in [(&mut half, 20), (&mut length, 4)] {
        stream.write_all(&hello()).unwrap();
        stream.write_all(&frame(8, &Request::Ping)).unwrap();
        stream.write_all(&load[..part]).unwrap();
        read_hello(stream);
        assert!(matches!(read_reply(stream), (8, Reply::Pong)));
    }
    read_hello(&mut greeting);
    assert_eq!(handed_over(&old, &new).await.connections, 4);
    old.shutdown();
    silent.write_all(&hello()).unwrap();
    read_hello(&mut silent);
    greeting.write_all(&hello()[5..]).unwrap();
    for stream in [&mut silent, &mut greeting] {
        stream.write_all(&load).unwrap();
    }
    half.write_all(&load[20..]).unwrap();
    length.write_all(&load[4..]).unwrap();
    for stream in [&mut silent, &mut greeting, &mut half, &mut length] {
        assert!(matches!(read_reply(stream), (9, Reply::Loaded(Some(_)))));
    }
    for mut stream in [silent, greeting, half, length] {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "no reply arrived twice");
    }
}

/// The new owner delivers the replies that the old owner could not write, and answers the requests
/// that the old owner could not start.
#[tokio::test]
async fn forwarded_client_that_does_not_read_loses_no_reply() {
    let store = Arc::new(MemoryStore::new());
    let sessions = fill(&store, 1, 60_000).await;
    let (old, new) = generations(&store);
    let mut forwarded = raw(&new);
    forwarded.write_all(&hello()).unwrap();
    let requests = 400;
    for id in 0..requests {
        forwarded.write_all(&frame(id, &Request::Load(sessions[0].clone()))).unwrap();
    }
    // 24 MB of replies exceed the socket and the buffer. The buffer is full when the owner starts
    // no more requests.
    let (mut before, begun) = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = old.stats().requests;
        if now > 0 && now == before {
            break;
        }
        before = now;
        assert!(begun.elapsed() < LONG);
    }
    assert!(before < requests, "{before} of {requests}");
    handed_over(&old, &new).await;
    old.shutdown();
    read_hello(&mut forwarded);
    for id in 0..requests {
        let (received, reply) = read_reply(&mut forwarded);
        assert_eq!(received, id);
        assert!(matches!(reply, Reply::Loaded(Some(_))));
    }
}

#[tokio::test]
async fn handover_extends_no_session() {
    let store = Arc::new(MemoryStore::new());
    let (short, dead) = (key(), key());
    let _ = store.create(&dead, NewRecord::new(SECRET, Duration::from_millis(1))).await.unwrap();
    let ttl = Duration::from_secs(30);
    let _ = store.create(&short, NewRecord::new(SECRET, ttl)).await.unwrap();
    let created = Instant::now();
    let (old, new) = generations(&store);
    let forwarded = client(&new);
    while forwarded.load(&dead).await.unwrap().is_some() {}
    assert_eq!(handed_over(&old, &new).await.sessions, 1);
    let asked = Instant::now();
    let record = forwarded.load(&short).await.unwrap().unwrap().into_record();
    assert!(record.ttl <= (created + ttl).saturating_duration_since(asked), "{:?}", record.ttl);
    assert!(record.age >= asked.saturating_duration_since(created), "{:?}", record.age);
    assert_eq!(forwarded.load(&dead).await.unwrap(), None);
}

#[tokio::test]
async fn other_clients_are_closed_after_their_replies() {
    let (store, session) = store_with_session(10).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let (old, new) = generations(&store);
    old.listen(&path).unwrap();
    let (given, connected) = (client(&old), IpcStore::connect(&path));
    assert_eq!((add(&given, &session).await, add(&connected, &session).await), (1, 2));
    handed_over(&old, &new).await;
    cut_off(&given).await;
    cut_off(&connected).await;
    new.listen(&path).unwrap();
    assert_eq!(add(&IpcStore::connect(&path), &session).await, 3);
}

#[tokio::test]
async fn path_client_that_does_not_read_delays_no_handover() {
    let (store, session) = store_with_session(60_000).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let (one, other) = pair();
    let old = Owner::memory(Arc::clone(&store))
        .drain_deadline(LONG)
        .build()
        .unwrap()
        .spawn_thread()
        .unwrap();
    old.attach_successor(one).unwrap();
    let new = successor_of(other);
    old.listen(&path).unwrap();
    let mut client = StdUnixStream::connect(&path).unwrap();
    client.write_all(&hello()).unwrap();
    for id in 0..50 {
        client.write_all(&frame(id, &Request::Load(session.clone()))).unwrap();
    }
    // 3 MB of replies exceed the socket and the buffer. The buffer is full when the owner starts no
    // more requests.
    let (mut before, begun) = (0, Instant::now());
    while before == 0 || old.stats().requests > before {
        before = old.stats().requests;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(begun.elapsed() < LONG);
    }
    assert!(before < 50, "{before}");
    let took = handed_over(&old, &new).await.took;
    // The client may read the rest later. Nothing else waits for it.
    assert_eq!(old.stats().connections, 1, "the client is still connected");
    assert!(took < LONG / 2, "{took:?}");
    read_hello(&mut client);
    for id in 0..before {
        assert_eq!(read_reply(&mut client).0, id, "no answered reply is lost");
    }
    new.listen(&path).unwrap();
}

#[tokio::test]
async fn handover_needs_a_memory_store_and_a_successor() {
    let plain = Owner::builder(Arc::new(MemoryStore::new()));
    let old = plain.clone().build().unwrap().spawn_thread().unwrap();
    assert!(matches!(old.attach_successor(pair().0), Err(OwnerError::NotInMemory)));
    assert!(matches!(plain.build_successor(pair().0), Err(OwnerError::NotInMemory)));
    assert!(matches!(old.handover(LONG).await, Err(HandoverError::NoSuccessor(None))));
    client(&old).ping().await.unwrap();
    old.wait_for_handover().await.unwrap();
}

#[tokio::test]
async fn new_successor_detaches_the_former_one() {
    let (store, session) = store_with_session(10).await;
    let (old, former) = generations(&store);
    let left = client(&former);
    assert_eq!(add(&left, &session).await, 1);
    let (one, other) = pair();
    old.attach_successor(one).unwrap();
    assert!(matches!(former.wait_for_handover().await, Err(TakeoverError::PredecessorEnded(_))));
    cut_off(&left).await;
    let new = successor_of(other);
    let forwarded = client(&new);
    handed_over(&old, &new).await;
    assert_eq!(add(&forwarded, &session).await, 2);
}

type Expected = fn(&TakeoverError) -> bool;

/// A predecessor that ends at each step, or sends an unexpected message.
#[tokio::test]
async fn failing_predecessor_leaves_no_client_served() {
    let snapshot = || Message::Snapshot { taken_at: Duration::from_secs(1), stamp: boot_time() };
    let end = |sessions, connections| Message::End { sessions, connections };
    let connection =
        |client, request_bytes| Message::Connection { client, request_bytes, reply_bytes: None };
    let prepare = || Message::Prepare(LONG);
    let lost: Expected = |error| matches!(error, TakeoverError::PredecessorEnded(_));
    let refused: Expected = |error| matches!(error, TakeoverError::Protocol(_));
    let late: Expected = |error| matches!(error, TakeoverError::Timeout(_));
    let store = Arc::new(MemoryStore::new());
    fill(&store, 1, 10).await;
    let session = || store.export().batch(1);
    let future = Message::Snapshot { taken_at: Duration::ZERO, stamp: boot_time() + HOUR };
    let cases: Vec<(&str, Vec<Message>, Expected)> = vec![
        ("at once", vec![], lost),
        ("after the preparation", vec![prepare()], lost),
        ("after the snapshot's head", vec![prepare(), snapshot()], lost),
        ("after a connection", vec![prepare(), snapshot(), connection(1, 1 << 20)], lost),
        ("before the activation", vec![prepare(), snapshot(), end(0, 0)], lost),
        ("hangs", vec![Message::Prepare(Duration::ZERO), snapshot()], late),
        ("activates at once", vec![Message::Activate], refused),
        ("activates before the end", vec![prepare(), snapshot(), Message::Activate], refused),
        ("does not activate", vec![prepare(), snapshot(), end(0, 0), Message::Prepared], refused),
        ("sends a wrong count", vec![prepare(), snapshot(), end(1, 0)], refused),
        ("names an unknown client", vec![prepare(), snapshot(), connection(7, 1 << 20)], refused),
        (
            "names a client twice",
            vec![prepare(), snapshot(), connection(1, 1 << 20), connection(1, 1 << 20)],
            refused,
        ),
        ("has frames of 1 byte", vec![prepare(), snapshot(), connection(1, 1)], refused),
        (
            "has an unlimited frame size",
            vec![prepare(), snapshot(), connection(1, u64::MAX)],
            refused,
        ),
        (
            "sends bytes without a connection",
            vec![prepare(), snapshot(), Message::Unread(vec![1])],
            refused,
        ),
        ("sends a snapshot from the future", vec![prepare(), future], refused),
        (
            "sends an invalid session",
            vec![prepare(), snapshot(), Message::Sessions(session())],
            refused,
        ),
    ];
    for (case, messages, expected) in cases {
        let (one, other) = pair();
        let new = successor_of(other);
        let forwarded = client(&new);
        let mut stream = HandoverStream::open(one, Side::Predecessor).await.unwrap();
        // The client is forwarded when the predecessor accepts the stream.
        let Some((Message::Client(1), Some(held))) = stream.receive().await.unwrap() else {
            panic!("{case}: no client was forwarded")
        };
        for message in messages {
            // The successor may have given up before the last message.
            let _ = stream.send(&message).await;
        }
        // A predecessor that violates the protocol keeps its stream open.
        let ends = expected(&TakeoverError::PredecessorEnded(None));
        let _alive = Some(stream).filter(|_| !ends);
        let error =
            tokio::time::timeout(LONG, new.wait_for_handover()).await.expect(case).expect_err(case);
        assert!(expected(&error), "{case}: {error:?}");
        // The client is closed although the test still holds a duplicate of its stream.
        cut_off(&forwarded).await;
        assert!(matches!(new.serve(pair().0), Err(OwnerError::Stopped)), "{case}");
        drop(held);
    }
}

#[tokio::test]
async fn shutdown_ends_the_wait_for_a_handover() {
    let (_one, other) = pair();
    let new = successor_of(other);
    let forwarded = client(&new);
    new.shutdown();
    assert!(matches!(new.wait_for_handover().await, Err(TakeoverError::Stopped)));
    cut_off(&forwarded).await;
}

#[tokio::test]
async fn both_sides_reject_other_versions_and_garbage() {
    let mut older = *b"sHND\x01\0\x02\0";
    let mut older_clients = *b"sHND\x02\0\x01\0";
    for (bytes, says) in [
        (&mut older[..], "handover version 1"),
        (&mut older_clients[..], "client protocol version 1"),
        (&mut b"GET / HTTP/1.1\r\n\r\n".to_vec()[..], "does not use the handover protocol"),
        (&mut b"sHND\x02\0\x02\0\xff\xff\xff\xff".to_vec()[..], "4294967295 bytes"),
        (&mut b"sHND\x02\0\x02\0\x01\0\0\0\x77".to_vec()[..], "does not follow"),
        (&mut b"sHND\x02\0\x02\0\x02\0\0\0\0\x05".to_vec()[..], "without its stream"),
    ] {
        let (mut one, other) = pair();
        let new = successor_of(other);
        one.write_all(bytes).unwrap();
        let error = new.wait_for_handover().await.unwrap_err();
        let TakeoverError::Protocol(source) = &error else { panic!("{says}: {error:?}") };
        assert!(source.to_string().contains(says), "{says}: {source}");

        let store = Arc::new(MemoryStore::new());
        let old = owner(&store);
        let (mut one, other) = pair();
        old.attach_successor(other).unwrap();
        one.write_all(bytes).unwrap();
        // The old owner closes the stream and continues to serve.
        one.set_read_timeout(Some(LONG)).unwrap();
        one.read_to_end(&mut Vec::new()).unwrap();
        assert!(matches!(old.handover(LONG).await, Err(HandoverError::NoSuccessor(_))), "{says}");
        client(&old).ping().await.unwrap();
    }
}

/// A descriptor of a file instead of a client's stream.
#[tokio::test]
async fn descriptor_that_is_not_a_stream_is_rejected() {
    let store = Arc::new(MemoryStore::new());
    let old = owner(&store);
    let (one, other) = pair();
    old.attach_successor(one).unwrap();
    let mut stream = HandoverStream::open(other, Side::Successor).await.unwrap();
    let file = std::os::fd::OwnedFd::from(tempfile::tempfile().unwrap());
    stream.send_client(1, &StdUnixStream::from(file)).await.unwrap();
    // The hello may arrive before the end.
    assert!(matches!(stream.receive().await, Ok(None) | Err(StreamError::Io(_))));
    client(&old).ping().await.unwrap();
}

/// A change of this encoding needs a new [`HANDOVER_VERSION`](super::stream::HANDOVER_VERSION).
#[test]
fn session_encoding_matches_handover_version_2() {
    let session = session_bytes();
    let exported: session_core::Exported = postcard::from_bytes(&session).unwrap();
    let bytes = postcard::to_stdvec(&Message::Sessions(vec![exported])).unwrap();
    assert_eq!(bytes, [b"\x04\x01".to_vec(), session].concat());
}

/// A session with every field, in the order of the type.
fn session_bytes() -> Vec<u8> {
    let key_data_version = b"\x03key\x01\x01n\x017\x02";
    let generation_since_created_rotated_deadline = b"\x04\x03\x05\x06\x07";
    let former = [&b"\x01"[..], &[8; 32], b"\x06"].concat();
    let user = b"\x01\x03bob\x05";
    let attributes = b"\x01\x01\x01\0\0\x01\x01\x01\x03mfa\0\x01\x02\x01\0";
    [
        &key_data_version[..],
        &[9; 32],
        generation_since_created_rotated_deadline,
        &former,
        user,
        attributes,
    ]
    .concat()
}
