//! A successor that ends or hangs at each step.

use std::{io::Read, net::Shutdown, os::unix::net::UnixStream as StdUnixStream, sync::Arc};

use session_core::{MemoryStore, SessionStore};

use super::support::{
    LONG, SHORT, add, client, cut_off, fill, handed_over, owner, pair, successor_of,
};
use crate::{
    OwnerError,
    handover::{
        error::HandoverError,
        message::Message,
        stream::{HandoverStream, Side},
    },
};

/// The last step of a successor before it ends or hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Started,
    ClientSent,
    PrepareSent,
    Prepared,
    SomeSessions,
    AllSessions,
    Imported,
    Activated,
}

/// Acts as a successor up to `step`, with one forwarded client. Returns the stream and the client's
/// other end.
async fn successor(stream: StdUnixStream, step: Step) -> (Option<HandoverStream>, StdUnixStream) {
    let (forwarded, given) = pair();
    if step == Step::Started {
        return (None, forwarded);
    }
    let mut stream = HandoverStream::open(stream, Side::Successor).await.unwrap();
    stream.send_client(1, &given).await.unwrap();
    if step == Step::ClientSent {
        return (Some(stream), forwarded);
    }
    assert!(matches!(stream.receive().await.unwrap().unwrap().0, Message::Prepare(_)));
    if step >= Step::Prepared {
        stream.send(&Message::Prepared).await.unwrap();
    }
    if step >= Step::SomeSessions {
        for _ in 0..2 {
            stream.receive().await.unwrap().unwrap();
        }
    }
    if step >= Step::AllSessions {
        while !matches!(stream.receive().await.unwrap().unwrap().0, Message::End { .. }) {}
    }
    if step >= Step::Imported {
        stream.send(&Message::Imported).await.unwrap();
    }
    if step >= Step::Activated {
        assert!(matches!(stream.receive().await.unwrap().unwrap().0, Message::Activate));
    }
    (Some(stream), forwarded)
}

/// Every step, once with a successor that ends and once with one that hangs.
#[tokio::test]
async fn failing_successor_is_reported_and_never_serves_too() {
    use Step::{
        Activated, AllSessions, ClientSent, Imported, PrepareSent, Prepared, SomeSessions, Started,
    };
    for step in
        [Started, ClientSent, PrepareSent, Prepared, SomeSessions, AllSessions, Imported, Activated]
    {
        for ends in [true, false] {
            // A successor that hangs right after its confirmation has been activated. The next step
            // covers that.
            if !ends && step == Imported {
                continue;
            }
            let store = Arc::new(MemoryStore::new());
            // More than the socket holds, so that not everything is sent at once.
            let session = fill(&store, 40, 60_000).await.remove(0);
            let old = owner(&store);
            let worker = client(&old);
            worker.ping().await.unwrap();
            let (one, other) = pair();
            old.attach_successor(one).unwrap();
            let keep = other.try_clone().unwrap();
            let (ended, (stream, mut forwarded)) =
                tokio::join!(old.handover(if ends { LONG } else { SHORT }), async {
                    let (stream, forwarded) = successor(other, step).await;
                    if ends {
                        let _ = keep.shutdown(Shutdown::Both);
                        return (None, forwarded);
                    }
                    (stream, forwarded)
                });
            let error = ended.unwrap_err();
            let case = format!("{step:?}, ends: {ends}: {error}");
            forwarded.set_nonblocking(false).unwrap();
            forwarded.set_read_timeout(Some(SHORT)).unwrap();
            let mut bytes = Vec::new();
            let forwarded_ended = forwarded.read_to_end(&mut bytes).is_ok();
            if step < Prepared {
                assert!(
                    matches!(error, HandoverError::NoSuccessor(_)) && error.still_serves(),
                    "{case}"
                );
                assert_eq!(add(&worker, &session).await, 1, "{case}");
                assert!(forwarded_ended || step == Started, "{case}");
                // Another attempt with a new successor succeeds.
                let (one, other) = pair();
                old.attach_successor(one).unwrap();
                let new = successor_of(other);
                let forwarded = client(&new);
                assert_eq!(handed_over(&old, &new).await.sessions, 40, "{case}");
                assert_eq!(add(&forwarded, &session).await, 2, "{case}");
                continue;
            }
            match step {
                Activated => assert!(matches!(error, HandoverError::Unconfirmed(_)), "{case}"),
                // `Activate` may have been sent before the end was noticed.
                Imported => assert!(
                    matches!(error, HandoverError::Unconfirmed(_) | HandoverError::Failed(_)),
                    "{case}"
                ),
                _ => assert!(matches!(error, HandoverError::Failed(_)), "{case}"),
            }
            if matches!(error, HandoverError::Failed(_)) {
                assert!(forwarded_ended, "{case}");
            }
            assert!(!error.still_serves(), "{case}");
            cut_off(&worker).await;
            assert!(matches!(old.serve(pair().0), Err(OwnerError::Stopped)), "{case}");
            assert!(matches!(old.attach_successor(pair().0), Err(OwnerError::Stopped)), "{case}");
            assert_eq!(store.held_sessions(), 40, "{case}");
            drop(stream);
        }
    }
}
