use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::*;
use crate::error::ReplyError;
use crate::frame;
use crate::message;

const LONG: Duration = Duration::from_secs(60);

/// One side of a connection.
struct Side {
    line: Arc<Line>,
    desk: Arc<Desk>,
    reading: JoinHandle<()>,
}

impl Side {
    fn new(socket: UnixStream) -> Self {
        let (mut from, to) = socket.into_split();
        let line = Line::new(Outbox::start(to), |talk| frame::encode(&talk), Room::default());
        let desk = Arc::default();
        let ear = Ear::new(&line, &desk, None);
        let reading = tokio::spawn(async move {
            while let Ok(Some(talk)) = frame::read(&mut from).await {
                ear.hear(talk);
            }
        });
        Self { line, desk, reading }
    }

    fn pair() -> (Self, Self) {
        let (left, right) = UnixStream::pair().unwrap();
        (Self::new(left), Self::new(right))
    }

    async fn ask<R: DeserializeOwned>(
        &self,
        request: &str,
        within: Duration,
    ) -> Result<R, RequestError> {
        self.line.ask(message::encode(request)?, within, WhenFull::Wait).await
    }

    fn waits(&self) -> usize {
        self.line.asked().waiting.len()
    }
}

/// Asks in a task of its own.
fn ask(side: &Side, request: String) -> JoinHandle<Result<String, RequestError>> {
    let line = Arc::clone(&side.line);
    tokio::spawn(async move { line.ask(message::encode(&request)?, LONG, WhenFull::Wait).await })
}

#[tokio::test]
async fn k13_ten_thousand_requests_at_once_get_each_its_own_reply() {
    const COUNT: usize = 10_000;
    let (near, far) = Side::pair();
    let mut requests = far.desk.sit();
    let mut asked = JoinSet::new();
    for n in 0..COUNT {
        let line = Arc::clone(&near.line);
        asked.spawn(async move {
            let reply: usize =
                line.ask(message::encode(&n).unwrap(), LONG, WhenFull::Wait).await.unwrap();
            assert_eq!(reply, n + 1);
        });
    }
    // The last is answered first.
    let mut calls = Vec::new();
    for n in 0..COUNT {
        let call = requests.next().await.unwrap();
        assert_eq!(call.decode::<usize>().unwrap(), n, "requests come in order");
        calls.push(call);
    }
    while let Some(call) = calls.pop() {
        let n: usize = call.decode().unwrap();
        call.reply(&(n + 1)).unwrap();
    }
    assert_eq!(asked.join_all().await.len(), COUNT);
    assert_eq!(near.waits(), 0);
    assert_eq!(far.line.room.0.available_permits(), BUDGET);
}

#[tokio::test]
async fn k13_who_is_not_answered_is_told_at_once_why() {
    let (near, far) = Side::pair();
    assert!(matches!(near.ask::<()>("nobody", LONG).await, Err(RequestError::NobodyListens)));

    let mut requests = far.desk.sit();
    let dropped = ask(&near, "dropped".into());
    drop(requests.next().await.unwrap());
    assert!(matches!(dropped.await.unwrap(), Err(RequestError::NotAnswered)));

    let unread = ask(&near, "unread".into());
    while requests.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(requests);
    assert!(matches!(unread.await.unwrap(), Err(RequestError::NotAnswered)));
    assert!(matches!(near.ask::<()>("left", LONG).await, Err(RequestError::NobodyListens)));
}

#[tokio::test]
async fn k13_a_reader_that_takes_over_ends_the_one_before() {
    let (near, far) = Side::pair();
    let mut first = far.desk.sit();
    let mut second = far.desk.sit();
    assert!(first.next().await.is_none());
    // It has no seat to give up.
    drop(first);
    let asked = ask(&near, "q".into());
    second.next().await.unwrap().reply("a").unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn k13_all_who_wait_for_a_peer_that_ends_are_told_at_once() {
    let (near, far) = Side::pair();
    let mut requests = far.desk.sit();
    let asked: Vec<_> = (0..100).map(|n| ask(&near, n.to_string())).collect();
    let mut calls = Vec::new();
    while calls.len() < 100 {
        calls.push(requests.next().await.unwrap());
    }
    let ended = Instant::now();
    near.reading.abort();
    for asked in asked {
        assert!(matches!(asked.await.unwrap(), Err(RequestError::Gone)));
    }
    assert!(matches!(near.ask::<()>("after the end", LONG).await, Err(RequestError::Gone)));
    assert!(ended.elapsed() < LONG / 2);
    assert_eq!(near.waits(), 0);
    assert!(near.desk.sit().next().await.is_none(), "nobody can ask any more");
}

#[tokio::test(start_paused = true)]
async fn k13_a_late_reply_is_dropped_and_nothing_is_kept_of_who_gave_up() {
    let (near, far) = Side::pair();
    let mut requests = far.desk.sit();
    let late = near.ask::<()>("late", Duration::from_secs(5)).await;
    assert!(matches!(late, Err(RequestError::Late(time)) if time == Duration::from_secs(5)));
    assert_eq!(near.waits(), 0);
    let call = requests.next().await.unwrap();

    let cancelled = ask(&near, "cancelled".into());
    let second = requests.next().await.unwrap();
    assert_eq!(near.waits(), 1);
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    assert_eq!(near.waits(), 0);

    call.reply("too late").unwrap();
    second.reply("not wanted").unwrap();
    let third = ask(&near, "third".into());
    requests.next().await.unwrap().reply("its own").unwrap();
    assert_eq!(third.await.unwrap().unwrap(), "its own");
}

#[tokio::test]
async fn k13_a_reply_that_is_not_what_was_asked_for_and_one_that_cannot_be_sent_are_errors() {
    let (near, far) = Side::pair();
    let mut requests = far.desk.sit();
    let line = Arc::clone(&near.line);
    let number =
        tokio::spawn(
            async move { line.ask::<u64>(b"\"q\"".to_vec(), LONG, WhenFull::Refuse).await },
        );
    let call = requests.next().await.unwrap();
    assert!(call.decode::<u64>().is_err());
    call.reply("text").unwrap();
    assert!(matches!(number.await.unwrap(), Err(RequestError::Decode(_))));

    let large = ask(&near, "large".into());
    let refused = requests.next().await.unwrap().reply(&"x".repeat(Message::MAX));
    assert!(matches!(refused, Err(ReplyError::TooLarge { len, .. }) if len == Message::MAX + 2));
    assert!(matches!(large.await.unwrap(), Err(RequestError::NotAnswered)));
    let refused = near.ask::<()>(&"x".repeat(Message::MAX), LONG).await;
    assert!(matches!(refused, Err(RequestError::TooLarge { len, .. }) if len == Message::MAX + 2));
}

#[tokio::test]
async fn k13_a_peer_that_asks_without_end_is_bounded() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let side = Side::new(ours);
    let mut requests = side.desk.sit();
    let (_unread, mut hostile) = theirs.into_split();
    // As many as fit, and some that are refused. No answer is read.
    let fit = BUDGET / (COST + 1);
    let mut asked = Vec::new();
    for id in 0..fit as u64 + 5_000 {
        asked.extend(frame::encode(&Talk::Request { id, body: b"1".to_vec() }).unwrap());
    }
    hostile.write_all(&asked).await.unwrap();
    drop(hostile);
    side.reading.await.unwrap();
    let mut calls = Vec::new();
    while let Some(call) = requests.next().await {
        calls.push(call);
    }
    assert_eq!(calls.len(), fit);
}

#[tokio::test]
async fn k13_replies_that_are_not_read_are_bounded_and_the_refused_are_told_so() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let side = Side::new(ours);
    let mut requests = side.desk.sit();
    let (mut from, mut to) = theirs.into_split();
    for id in 0..24 {
        to.write_all(&frame::encode(&Talk::Request { id, body: b"1".to_vec() }).unwrap())
            .await
            .unwrap();
    }
    let reply = "x".repeat(512 << 10);
    let mut full = 0;
    for _ in 0..24 {
        full += usize::from(matches!(
            requests.next().await.unwrap().reply(&reply),
            Err(ReplyError::Full)
        ));
    }
    assert!((8..=10).contains(&full), "{full} of 24 replies of 512 KiB were refused");
    let mut refused = 0;
    for id in 0..24 {
        let Some(Talk::Reply { id: of, answer }) = frame::read(&mut from).await.unwrap() else {
            panic!("no reply")
        };
        assert_eq!(of, id);
        refused += usize::from(answer == Err(Refusal::NotAnswered));
    }
    assert_eq!(refused, full);
}

#[tokio::test]
async fn k13_too_many_unanswered_requests_are_busy_until_one_is_answered() {
    let (near, far) = Side::pair();
    let mut requests = far.desk.sit();
    let large = "x".repeat(1 << 19);
    let mut asked: Vec<_> = (0..15).map(|_| ask(&near, large.clone())).collect();
    let mut calls = Vec::new();
    while calls.len() < 15 {
        calls.push(requests.next().await.unwrap());
    }
    assert!(matches!(near.ask::<String>(&large, LONG).await, Err(RequestError::Busy)));
    calls.remove(0).reply("room").unwrap();
    assert_eq!(asked.remove(0).await.unwrap().unwrap(), "room");
    let again = ask(&near, large);
    requests.next().await.unwrap().reply("taken").unwrap();
    assert_eq!(again.await.unwrap().unwrap(), "taken");
}

#[tokio::test(start_paused = true)]
async fn k13_a_peer_that_does_not_read_is_refused_at_once_or_waited_for_within_the_time() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let side = Side::new(ours);
    let body = || vec![b'1'; 64 << 10];
    let mut waiting = JoinSet::new();
    let asked = loop {
        let line = Arc::clone(&side.line);
        let mut refused =
            Box::pin(async move { line.ask::<u64>(body(), LONG, WhenFull::Refuse).await });
        tokio::select! {
            biased;
            refused = &mut refused => break refused,
            () = sleep(Duration::from_millis(1)) => drop(waiting.spawn(refused)),
        }
        assert!(waiting.len() < 1_000, "the queue has no bound");
    };
    assert!(matches!(asked, Err(RequestError::Full)));
    assert!(waiting.len() >= 60, "refused after {} requests of 64 KiB", waiting.len());
    let waited = side.line.ask::<u64>(body(), Duration::from_secs(1), WhenFull::Wait).await;
    assert!(matches!(waited, Err(RequestError::Late(_))));
    assert_eq!(side.waits(), waiting.len());
    theirs.shutdown().await.unwrap();
    for end in waiting.join_all().await {
        assert!(matches!(end, Err(RequestError::Gone)));
    }
}
