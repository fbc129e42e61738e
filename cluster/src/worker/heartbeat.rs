//! The heartbeat of a worker: the worker sends it only while all its event loops run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::sleep,
};

use crate::{
    lock::lock,
    wire::{
        frame::{self, ToPrimary},
        outbox::Outbox,
    },
};

/// The part of one event loop in the heartbeat of the worker, and the count of its requests. From
/// [`Worker::heartbeat`](crate::Worker::heartbeat). [`HeartbeatPolicy`](crate::HeartbeatPolicy)
/// sets the times.
///
/// Cloning is cheap; all clones refer to the same event loop. When the last clone is dropped, or
/// the event loop ends, the heartbeat of the worker no longer waits for that loop. So a thread that
/// stopped serving does not count as hung.
#[derive(Clone)]
pub struct Heartbeat(Arc<HeartbeatInner>);

struct HeartbeatInner {
    id: u64,
    loops: Arc<EventLoops>,
    requests: Arc<AtomicU64>,
    answering: AbortHandle,
}

impl Heartbeat {
    /// Counts one request, for [`WorkerInfo::requests`](crate::WorkerInfo::requests) and
    /// [`RecyclePolicy::max_requests`](crate::RecyclePolicy::max_requests). The program decides
    /// what a request is.
    pub fn count(&self) {
        // Relaxed: no other memory depends on this number.
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("requests", &self.0.requests).finish_non_exhaustive()
    }
}

impl Drop for HeartbeatInner {
    fn drop(&mut self) {
        // Here too, and not only at the end of the task: a blocked loop would not run its task.
        self.loops.remove(self.id);
        self.answering.abort();
    }
}

/// All event loops of a worker that take part in the heartbeat. In each round every loop is asked,
/// and the heartbeat is sent when all have answered.
#[derive(Debug, Default)]
pub(super) struct EventLoops {
    loops: Mutex<Loops>,
    round: watch::Sender<u64>,
    /// Notified by each answer, and by each loop that is removed.
    answered: Notify,
}

#[derive(Debug, Default)]
struct Loops {
    last_id: u64,
    live: BTreeMap<u64, EventLoop>,
    /// Requests that removed loops have counted.
    removed_requests: u64,
}

#[derive(Debug)]
struct EventLoop {
    /// The last round that it answered.
    round: u64,
    requests: Arc<AtomicU64>,
}

impl EventLoops {
    /// Adds the event loop that runs this call.
    pub(super) fn heartbeat(self: &Arc<Self>) -> Heartbeat {
        let requests = Arc::new(AtomicU64::new(0));
        // The current round does not wait for it.
        let entry = EventLoop { round: *self.round.borrow(), requests: Arc::clone(&requests) };
        let id = self.loops().add(entry);
        let registration = Registration { id, loops: Arc::clone(self) };
        let answering = tokio::spawn(answer_rounds(registration)).abort_handle();
        Heartbeat(Arc::new(HeartbeatInner { id, loops: Arc::clone(self), requests, answering }))
    }

    /// Sends heartbeats until the primary has ended. It runs on the event loop of the control
    /// connection, so that loop takes part without a [`Heartbeat`].
    ///
    /// At most one heartbeat waits for a primary that does not read: the next round begins when
    /// the heartbeat is written.
    pub(super) async fn send_heartbeats(self: Arc<Self>, every: Duration, outbox: Outbox) {
        loop {
            sleep(every).await;
            self.ask_all().await;
            let Ok(beat) = frame::encode(&ToPrimary::Beat { requests: self.requests() }) else {
                return;
            };
            if outbox.send(beat).await.is_err() {
                return;
            }
        }
    }

    /// Waits until every loop has answered. It never ends while one loop is blocked.
    async fn ask_all(&self) {
        let round = *self.round.borrow() + 1;
        self.round.send_replace(round);
        while self.loops().live.values().any(|event_loop| event_loop.round < round) {
            // An answer between the check and the wait is not lost: it leaves a permit.
            self.answered.notified().await;
        }
    }

    fn answer(&self, id: u64, round: u64) {
        if let Some(event_loop) = self.loops().live.get_mut(&id) {
            event_loop.round = round;
        }
        self.answered.notify_one();
    }

    fn remove(&self, id: u64) {
        let mut loops = self.loops();
        if let Some(removed) = loops.live.remove(&id) {
            loops.removed_requests += removed.requests.load(Ordering::Relaxed);
        }
        drop(loops);
        self.answered.notify_one();
    }

    fn requests(&self) -> u64 {
        let loops = self.loops();
        let live = loops.live.values().map(|of| of.requests.load(Ordering::Relaxed));
        loops.removed_requests + live.sum::<u64>()
    }

    /// Held for a few instructions.
    fn loops(&self) -> MutexGuard<'_, Loops> {
        lock(&self.loops)
    }
}

impl Loops {
    fn add(&mut self, entry: EventLoop) -> u64 {
        self.last_id += 1;
        self.live.insert(self.last_id, entry);
        self.last_id
    }
}

/// Removes an event loop when its task is dropped, which happens when the loop ends.
struct Registration {
    id: u64,
    loops: Arc<EventLoops>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.loops.remove(self.id);
    }
}

/// Answers each round from the event loop that is asked.
async fn answer_rounds(registration: Registration) {
    let mut rounds = registration.loops.round.subscribe();
    // A round may have begun since the registration; `changed` alone would not report it.
    rounds.mark_changed();
    while rounds.changed().await.is_ok() {
        let round = *rounds.borrow_and_update();
        registration.loops.answer(registration.id, round);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
        sync::mpsc,
        thread,
    };

    use actix_web::{
        App, HttpServer,
        web::{Data, get},
    };
    use tokio::{
        net::{UnixStream, unix::OwnedReadHalf},
        runtime::Builder,
        time::timeout,
    };

    use super::*;

    const EVERY: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(200);

    fn start() -> (Arc<EventLoops>, OwnedReadHalf) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let event_loops = Arc::new(EventLoops::default());
        tokio::spawn(
            Arc::clone(&event_loops).send_heartbeats(EVERY, Outbox::start(ours.into_split().1)),
        );
        (event_loops, theirs.into_split().0)
    }

    /// The count of requests in the next beat.
    async fn next(from: &mut OwnedReadHalf) -> u64 {
        match timeout(LONG, frame::read(from)).await.unwrap().unwrap() {
            Some(ToPrimary::Beat { requests }) => requests,
            other => panic!("expected a heartbeat, got {other:?}"),
        }
    }

    async fn until_live(event_loops: &EventLoops, count: usize) {
        let reached = async {
            while event_loops.loops().live.len() != count {
                sleep(EVERY).await;
            }
        };
        timeout(LONG, reached).await.unwrap();
    }

    /// Reads heartbeats until none follows for a while.
    async fn drain(from: &mut OwnedReadHalf) {
        let mut beats = 0;
        // A heartbeat is written at once, so the timeout cuts none.
        while timeout(SHORT, frame::read::<ToPrimary>(from)).await.is_ok() {
            beats += 1;
            assert!(beats < 10_000, "the heartbeats do not stop");
        }
    }

    /// Starts a thread with another event loop. The loop is blocked until the first signal and ends
    /// after the second.
    fn blocked_thread(
        event_loops: &Arc<EventLoops>,
    ) -> (Heartbeat, mpsc::Sender<()>, thread::JoinHandle<()>) {
        let (event_loops, (heartbeat, heartbeats), (signal, signals)) =
            (Arc::clone(event_loops), mpsc::channel(), mpsc::channel());
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                heartbeat.send(event_loops.heartbeat()).unwrap();
                signals.recv().unwrap();
                while signals.try_recv().is_err() {
                    sleep(EVERY).await;
                }
            });
        });
        (heartbeats.recv().unwrap(), signal, thread)
    }

    #[tokio::test]
    async fn k08_one_blocked_loop_of_several_stops_the_heartbeat() {
        let (event_loops, mut beats) = start();
        let _here = event_loops.heartbeat();
        next(&mut beats).await;
        let (_heartbeat, signal, thread) = blocked_thread(&event_loops);
        drain(&mut beats).await;
        signal.send(()).unwrap();
        next(&mut beats).await;
        next(&mut beats).await;
        // An ended loop does not block the heartbeat, although its `Heartbeat` is still held.
        signal.send(()).unwrap();
        thread.join().unwrap();
        next(&mut beats).await;
        next(&mut beats).await;
    }

    #[actix_web::test]
    async fn k08_heartbeat_of_the_actix_app_factory_is_of_the_serving_thread() {
        let (event_loops, mut beats) = start();
        let (signal, signals) = mpsc::channel::<()>();
        let (signals, loops) = (Arc::new(Mutex::new(signals)), Arc::clone(&event_loops));
        let app = move || {
            let signals = Arc::clone(&signals);
            let blocks = move |heartbeat: Data<Heartbeat>| {
                heartbeat.count();
                let signals = Arc::clone(&signals);
                async move { signals.lock().unwrap().recv().map_or("gone", |()| "unblocked") }
            };
            App::new().app_data(Data::new(loops.heartbeat())).route("/", get().to(blocks))
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            HttpServer::new(app).workers(2).disable_signals().listen(listener).unwrap().run();
        let (handle, serving) = (server.handle(), tokio::spawn(server));
        until_live(&event_loops, 2).await;
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();

        drain(&mut beats).await;
        signal.send(()).unwrap();
        while next(&mut beats).await == 0 {}
        handle.stop(true).await;
        serving.await.unwrap().unwrap();
        // The heartbeat does not wait for stopped threads.
        until_live(&event_loops, 0).await;
        next(&mut beats).await;
        next(&mut beats).await;
    }

    #[tokio::test]
    async fn last_clone_removes_a_blocked_loop_and_its_count_stays() {
        let (event_loops, mut beats) = start();
        let (heartbeat, signal, thread) = blocked_thread(&event_loops);
        drain(&mut beats).await;
        let clone = heartbeat.clone();
        heartbeat.count();
        clone.count();
        drop(heartbeat);
        assert!(timeout(SHORT, frame::read::<ToPrimary>(&mut beats)).await.is_err());
        drop(clone);
        assert_eq!(next(&mut beats).await, 2);
        signal.send(()).unwrap();
        signal.send(()).unwrap();
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn k13_primary_that_does_not_read_gets_at_most_a_full_socket() {
        let (event_loops, mut beats) = start();
        let mut before = 0;
        for look in 0.. {
            sleep(SHORT).await;
            let round = *event_loops.round.borrow();
            if round > 0 && round == before {
                break;
            }
            assert!(round < 10_000 && look < 300, "heartbeats accumulate, or do not begin");
            before = round;
        }
        for _ in 0..before + 10 {
            next(&mut beats).await;
        }
    }
}
