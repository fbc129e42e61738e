//! A successor that dies or hangs at each step.

use std::{io::Read, net::Shutdown, os::unix::net::UnixStream as StdUnixStream, sync::Arc};

use session_core::{MemoryStore, SessionStore};

use super::super::{
    error::HandOverError,
    message::Message,
    wire::{Side, Wire},
};
use super::rig::{LONG, SHORT, add, client, cut_off, fill, handed_over, heir, owner, pair};
use crate::OwnerError;

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

/// Plays a successor up to `step`, with one guest, and gives back the wire and the guest's other
/// end.
async fn successor(stream: StdUnixStream, step: Step) -> (Option<Wire>, StdUnixStream) {
    let (guest, given) = pair();
    if step == Step::Started {
        return (None, guest);
    }
    let mut wire = Wire::open(stream, Side::Successor).await.unwrap();
    wire.send_guest(1, &given).await.unwrap();
    if step == Step::Greeted {
        return (Some(wire), guest);
    }
    assert!(matches!(wire.receive().await.unwrap().unwrap().0, Message::Prepare(_)));
    if step >= Step::Prepared {
        wire.send(&Message::Prepared).await.unwrap();
    }
    if step >= Step::SomeSessions {
        for _ in 0..2 {
            wire.receive().await.unwrap().unwrap();
        }
    }
    if step >= Step::AllSessions {
        while !matches!(wire.receive().await.unwrap().unwrap().0, Message::End { .. }) {}
    }
    if step >= Step::Imported {
        wire.send(&Message::Imported).await.unwrap();
    }
    if step >= Step::Told {
        assert!(matches!(wire.receive().await.unwrap().unwrap().0, Message::Go));
    }
    (Some(wire), guest)
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
            old.succession(one).unwrap();
            let keep = other.try_clone().unwrap();
            let (ended, (wire, mut guest)) =
                tokio::join!(old.hand_over(if dies { LONG } else { SHORT }), async {
                    let (wire, guest) = successor(other, step).await;
                    if dies {
                        let _ = keep.shutdown(Shutdown::Both);
                        return (None, guest);
                    }
                    (wire, guest)
                });
            let error = ended.unwrap_err();
            let case = format!("{step:?}, dies: {dies}: {error}");
            guest.set_nonblocking(false).unwrap();
            guest.set_read_timeout(Some(SHORT)).unwrap();
            let mut bytes = Vec::new();
            let guest_ended = guest.read_to_end(&mut bytes).is_ok();
            if step < Prepared {
                assert!(
                    matches!(error, HandOverError::NoSuccessor(_)) && error.still_serves(),
                    "{case}"
                );
                assert_eq!(add(&worker, &session).await, 1, "{case}");
                assert!(guest_ended || step == Started, "{case}");
                // It is tried again, and goes well.
                let (one, other) = pair();
                old.succession(one).unwrap();
                let new = heir(other);
                let guest = client(&new);
                assert_eq!(handed_over(&old, &new).await.sessions, 40, "{case}");
                assert_eq!(add(&guest, &session).await, 2, "{case}");
                continue;
            }
            match step {
                Told => assert!(matches!(error, HandOverError::Unconfirmed(_)), "{case}"),
                // The word may have gone out before the end was seen.
                Imported => assert!(
                    matches!(error, HandOverError::Unconfirmed(_) | HandOverError::Failed(_)),
                    "{case}"
                ),
                _ => assert!(matches!(error, HandOverError::Failed(_)), "{case}"),
            }
            if matches!(error, HandOverError::Failed(_)) {
                assert!(guest_ended, "{case}");
            }
            assert!(!error.still_serves(), "{case}");
            cut_off(&worker).await;
            assert!(matches!(old.serve(pair().0), Err(OwnerError::Stopped)), "{case}");
            assert!(matches!(old.succession(pair().0), Err(OwnerError::Stopped)), "{case}");
            assert_eq!(store.held_sessions(), 40, "{case}");
            drop(wire);
        }
    }
}
