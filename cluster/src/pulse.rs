use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::frame::{self, ToPrimary};
use crate::outbox::Outbox;

/// The heartbeat of one event loop, and the count of what it served. From
/// [`Worker::pulse`](crate::Worker::pulse).
///
/// Cloning is cheap; all clones are the same pulse. When the last one is dropped, or the event loop
/// ends, the worker no longer waits for that loop: a thread that stopped serving is not a hung one.
#[derive(Clone)]
pub struct Pulse(Arc<Beating>);

struct Beating {
    id: u64,
    hearts: Arc<Hearts>,
    requests: Arc<AtomicU64>,
    answering: AbortHandle,
}

impl Pulse {
    /// Counts one request, for [`WorkerInfo::requests`](crate::WorkerInfo::requests) and
    /// [`Recycle::max_requests`](crate::Recycle::max_requests). What a request is, is up to the
    /// program.
    pub fn count(&self) {
        // A number and nothing else: no other memory depends on it.
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("requests", &self.0.requests).finish_non_exhaustive()
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        // Not only by the end of the task: a loop that is blocked would not get to it.
        self.hearts.leave(self.id);
        self.answering.abort();
    }
}

/// All event loops of a worker that beat. In each round every one of them is asked, and the beat
/// goes out when all have answered.
#[derive(Debug, Default)]
pub(crate) struct Hearts {
    loops: Mutex<Loops>,
    round: watch::Sender<u64>,
    /// Woken by each answer, and by each loop that leaves.
    answered: Notify,
}

#[derive(Debug, Default)]
struct Loops {
    last_id: u64,
    live: BTreeMap<u64, Loop>,
    /// Requests counted by loops that have left.
    before: u64,
}

#[derive(Debug)]
struct Loop {
    /// The last round that it answered.
    round: u64,
    requests: Arc<AtomicU64>,
}

impl Hearts {
    /// Adds the event loop that runs this call.
    pub(crate) fn pulse(self: &Arc<Self>) -> Pulse {
        let requests = Arc::new(AtomicU64::new(0));
        // A round that is under way does not wait for it.
        let entry = Loop { round: *self.round.borrow(), requests: Arc::clone(&requests) };
        let id = self.loops().add(entry);
        let answering = tokio::spawn(answer(Place { id, hearts: Arc::clone(self) })).abort_handle();
        Pulse(Arc::new(Beating { id, hearts: Arc::clone(self), requests, answering }))
    }

    /// Beats until the primary has gone. It runs on the event loop that is asked without having a
    /// pulse: the one of the control connection.
    ///
    /// One beat at most waits for a primary that does not read: the next round begins when it is
    /// out.
    pub(crate) async fn beat(self: Arc<Self>, every: Duration, outbox: Outbox) {
        loop {
            sleep(every).await;
            self.ask_all().await;
            let Ok(beat) = frame::encode(&ToPrimary::Beat { requests: self.requests() }) else {
                return;
            };
            if outbox.deliver(beat).await.is_err() {
                return;
            }
        }
    }

    /// Waits until every loop has answered. As long as one is blocked, that is for ever.
    async fn ask_all(&self) {
        let round = *self.round.borrow() + 1;
        self.round.send_replace(round);
        while self.loops().live.values().any(|of| of.round < round) {
            // An answer between the look and the wait is not lost: it leaves a permit.
            self.answered.notified().await;
        }
    }

    fn answer(&self, id: u64, round: u64) {
        if let Some(of) = self.loops().live.get_mut(&id) {
            of.round = round;
        }
        self.answered.notify_one();
    }

    fn leave(&self, id: u64) {
        let mut loops = self.loops();
        if let Some(gone) = loops.live.remove(&id) {
            loops.before += gone.requests.load(Ordering::Relaxed);
        }
        drop(loops);
        self.answered.notify_one();
    }

    fn requests(&self) -> u64 {
        let loops = self.loops();
        loops.before
            + loops.live.values().map(|of| of.requests.load(Ordering::Relaxed)).sum::<u64>()
    }

    /// Whole after every instruction, so a panic elsewhere does not spoil it. Held for a few
    /// instructions.
    fn loops(&self) -> MutexGuard<'_, Loops> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loops {
    fn add(&mut self, entry: Loop) -> u64 {
        self.last_id += 1;
        self.live.insert(self.last_id, entry);
        self.last_id
    }
}

/// The place of a loop among those that are asked. Given back when the loop ends and drops its
/// tasks.
struct Place {
    id: u64,
    hearts: Arc<Hearts>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hearts.leave(self.id);
    }
}

/// Answers each round from the event loop that is asked.
async fn answer(place: Place) {
    let mut rounds = place.hearts.round.subscribe();
    // One may have begun since the place was taken, which `changed` would not tell.
    rounds.mark_changed();
    while rounds.changed().await.is_ok() {
        let round = *rounds.borrow_and_update();
        place.hearts.answer(place.id, round);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;

    use actix_web::web::{Data, get};
    use actix_web::{App, HttpServer};
    use tokio::net::UnixStream;
    use tokio::net::unix::OwnedReadHalf;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    const EVERY: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(200);

    fn beating() -> (Arc<Hearts>, OwnedReadHalf) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let hearts = Arc::new(Hearts::default());
        tokio::spawn(Arc::clone(&hearts).beat(EVERY, Outbox::start(ours.into_split().1)));
        (hearts, theirs.into_split().0)
    }

    /// The count of requests in the next beat.
    async fn next(from: &mut OwnedReadHalf) -> u64 {
        match timeout(LONG, frame::read(from)).await.unwrap().unwrap() {
            Some(ToPrimary::Beat { requests }) => requests,
            other => panic!("no beat but {other:?}"),
        }
    }

    async fn until_live(hearts: &Hearts, loops: usize) {
        let reached = async {
            while hearts.loops().live.len() != loops {
                sleep(EVERY).await;
            }
        };
        timeout(LONG, reached).await.unwrap();
    }

    /// Reads what is out until nothing follows for a while.
    async fn drain(from: &mut OwnedReadHalf) {
        let mut beats = 0;
        // A beat is written at once, so none is cut by the end of the time.
        while timeout(SHORT, frame::read::<ToPrimary>(from)).await.is_ok() {
            beats += 1;
            assert!(beats < 10_000, "the beats go on");
        }
    }

    /// Another thread with an event loop that beats. It is blocked until the first word, and ends
    /// with the second.
    fn blocked_thread(hearts: &Arc<Hearts>) -> (Pulse, mpsc::Sender<()>, thread::JoinHandle<()>) {
        let (hearts, (tell, told), (word, words)) =
            (Arc::clone(hearts), mpsc::channel(), mpsc::channel());
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                tell.send(hearts.pulse()).unwrap();
                words.recv().unwrap();
                while words.try_recv().is_err() {
                    sleep(EVERY).await;
                }
            });
        });
        (told.recv().unwrap(), word, thread)
    }

    #[tokio::test]
    async fn k08_one_blocked_loop_of_several_stops_the_beats() {
        let (hearts, mut beats) = beating();
        let _here = hearts.pulse();
        next(&mut beats).await;
        let (_pulse, word, thread) = blocked_thread(&hearts);
        drain(&mut beats).await;
        word.send(()).unwrap();
        next(&mut beats).await;
        next(&mut beats).await;
        // Its end is no blockade, although the pulse is still held.
        word.send(()).unwrap();
        thread.join().unwrap();
        next(&mut beats).await;
        next(&mut beats).await;
    }

    #[actix_web::test]
    async fn k08_a_pulse_of_the_app_factory_of_actix_is_of_the_thread_that_serves() {
        let (hearts, mut beats) = beating();
        let (word, words) = mpsc::channel::<()>();
        let (words, pulses) = (Arc::new(Mutex::new(words)), Arc::clone(&hearts));
        let app = move || {
            let words = Arc::clone(&words);
            let blocks = move |pulse: Data<Pulse>| {
                pulse.count();
                let words = Arc::clone(&words);
                async move { words.lock().unwrap().recv().map_or("gone", |()| "unblocked") }
            };
            App::new().app_data(Data::new(pulses.pulse())).route("/", get().to(blocks))
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            HttpServer::new(app).workers(2).disable_signals().listen(listener).unwrap().run();
        let (handle, serving) = (server.handle(), tokio::spawn(server));
        until_live(&hearts, 2).await;
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();

        drain(&mut beats).await;
        word.send(()).unwrap();
        while next(&mut beats).await == 0 {}
        handle.stop(true).await;
        serving.await.unwrap().unwrap();
        // Threads that have stopped are not waited for.
        until_live(&hearts, 0).await;
        next(&mut beats).await;
        next(&mut beats).await;
    }

    #[tokio::test]
    async fn the_last_clone_gives_the_place_of_a_blocked_loop_back_and_its_count_stays() {
        let (hearts, mut beats) = beating();
        let (pulse, word, thread) = blocked_thread(&hearts);
        drain(&mut beats).await;
        let clone = pulse.clone();
        pulse.count();
        clone.count();
        drop(pulse);
        assert!(timeout(SHORT, frame::read::<ToPrimary>(&mut beats)).await.is_err());
        drop(clone);
        assert_eq!(next(&mut beats).await, 2);
        word.send(()).unwrap();
        word.send(()).unwrap();
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn k13_a_primary_that_does_not_read_is_sent_no_more_than_the_socket_holds() {
        let (hearts, mut beats) = beating();
        let mut before = 0;
        for look in 0.. {
            sleep(SHORT).await;
            let round = *hearts.round.borrow();
            if round > 0 && round == before {
                break;
            }
            assert!(round < 10_000 && look < 300, "beats pile up, or do not begin");
            before = round;
        }
        for _ in 0..before + 10 {
            next(&mut beats).await;
        }
    }
}
