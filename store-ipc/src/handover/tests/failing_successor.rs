//! A successor that dies or hangs at each step.

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

/// How far a successor goes before it is silent or dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Started,
    Greeted,
    Asked,
    Prepared,
    SomeSessions,
    AllSessions,
    Imported,
    Told,
}

/// Plays a successor up to `step`, with one forwarded, and gives back the stream and the forwarded's other
/// end.
async fn successor(stream: StdUnixStream, step: Step) -> (Option<HandoverStream>, StdUnixStream) {
    let (forwarded, given) = pair();
    if step == Step::Started {
        return (None, forwarded);
    }
    let mut stream = HandoverStream::open(stream, Side::Successor).await.unwrap();
    stream.send_client(1, &given).await.unwrap();
    if step == Step::Greeted {
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
    if step >= Step::Told {
        assert!(matches!(stream.receive().await.unwrap().unwrap().0, Message::Activate));
    }
    (Some(stream), forwarded)
}

/// Every step, once with a successor that dies and once with one that hangs.
#[tokio::test]
async fn a_successor_that_fails_is_known_and_never_a_second_owner() {
    use Step::{AllSessions, Asked, Greeted, Imported, Prepared, SomeSessions, Started, Told};
    for step in [Started, Greeted, Asked, Prepared, SomeSessions, AllSessions, Imported, Told] {
        for dies in [true, false] {
            // One that hangs right after it confirmed has been told; that case is the next one.
            if !dies && step == Imported {
                continue;
            }
            let store = Arc::new(MemoryStore::new());
            // More than the socket holds, so that not all is on its way at once.
            let session = fill(&store, 40, 60_000).await.remove(0);
            let old = owner(&store);
            let worker = client(&old);
            worker.ping().await.unwrap();
            let (one, other) = pair();
            old.attach_successor(one).unwrap();
            let keep = other.try_clone().unwrap();
            let (ended, (stream, mut forwarded)) =
                tokio::join!(old.handover(if dies { LONG } else { SHORT }), async {
                    let (stream, forwarded) = successor(other, step).await;
                    if dies {
                        let _ = keep.shutdown(Shutdown::Both);
                        return (None, forwarded);
                    }
                    (stream, forwarded)
                });
            let error = ended.unwrap_err();
            let case = format!("{step:?}, dies: {dies}: {error}");
            forwarded.set_nonblocking(false).unwrap();
            forwarded.set_read_timeout(Some(SHORT)).unwrap();
            let mut bytes = Vec::new();
            let guest_ended = forwarded.read_to_end(&mut bytes).is_ok();
            if step < Prepared {
                assert!(
                    matches!(error, HandoverError::NoSuccessor(_)) && error.still_serves(),
                    "{case}"
                );
                assert_eq!(add(&worker, &session).await, 1, "{case}");
                assert!(guest_ended || step == Started, "{case}");
                // It is tried again, and goes well.
                let (one, other) = pair();
                old.attach_successor(one).unwrap();
                let new = successor_of(other);
                let forwarded = client(&new);
                assert_eq!(handed_over(&old, &new).await.sessions, 40, "{case}");
                assert_eq!(add(&forwarded, &session).await, 2, "{case}");
                continue;
            }
            match step {
                Told => assert!(matches!(error, HandoverError::Unconfirmed(_)), "{case}"),
                // The word may have gone out before the end was seen.
                Imported => assert!(
                    matches!(error, HandoverError::Unconfirmed(_) | HandoverError::Failed(_)),
                    "{case}"
                ),
                _ => assert!(matches!(error, HandoverError::Failed(_)), "{case}"),
            }
            if matches!(error, HandoverError::Failed(_)) {
                assert!(guest_ended, "{case}");
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
