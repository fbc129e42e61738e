//! Tests of requests and replies between two sides of a socket pair.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    calls::RequestQueue,
    channel::{BUDGET, ByteBudget, COST, RpcChannel, WhenFull},
    dispatcher::RpcDispatcher,
};
use crate::{
    error::{ReplyError, RequestError},
    model::Message,
    wire::{
        frame::{self, RpcFrame, RpcRefusal},
        message,
        outbox::Outbox,
    },
};

const LONG: Duration = Duration::from_secs(60);

/// One side of a connection.
struct Side {
    channel: Arc<RpcChannel>,
    queue: Arc<RequestQueue>,
    reading: JoinHandle<()>,
}

impl Side {
    fn new(socket: UnixStream) -> Self {
        let (mut from, to) = socket.into_split();
        let channel = RpcChannel::new(
            Outbox::start(to),
            |frame| frame::encode(&frame),
            ByteBudget::default(),
        );
        let queue = Arc::default();
        let dispatcher = RpcDispatcher::new(&channel, &queue, None);
        let reading = tokio::spawn(async move {
            while let Ok(Some(frame)) = frame::read(&mut from).await {
                dispatcher.dispatch(frame);
            }
        });
        Self { channel, queue, reading }
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
        self.channel.request(message::encode(request)?, within, WhenFull::Wait).await
    }

    fn waits(&self) -> usize {
        self.channel.waiting()
    }
}

/// Sends a request from a separate task.
fn ask(side: &Side, request: String) -> JoinHandle<Result<String, RequestError>> {
    let channel = Arc::clone(&side.channel);
    tokio::spawn(
        async move { channel.request(message::encode(&request)?, LONG, WhenFull::Wait).await },
    )
}

#[tokio::test]
async fn k13_ten_thousand_parallel_requests_get_their_own_replies() {
    const COUNT: usize = 10_000;
    let (near, far) = Side::pair();
    let mut requests = far.queue.subscribe();
    let mut asked = JoinSet::new();
    for n in 0..COUNT {
        let channel = Arc::clone(&near.channel);
        asked.spawn(async move {
            let reply: usize =
                channel.request(message::encode(&n).unwrap(), LONG, WhenFull::Wait).await.unwrap();
            assert_eq!(reply, n + 1);
        });
    }
    // Answer the last request first.
    let mut calls = Vec::new();
    for n in 0..COUNT {
        let call = requests.next().await.unwrap();
        assert_eq!(call.decode::<usize>().unwrap(), n, "requests arrive in order");
        calls.push(call);
    }
    while let Some(call) = calls.pop() {
        let n: usize = call.decode().unwrap();
        call.reply(&(n + 1)).unwrap();
    }
    assert_eq!(asked.join_all().await.len(), COUNT);
    assert_eq!(near.waits(), 0);
    assert_eq!(far.channel.budget.0.available_permits(), BUDGET);
}

#[tokio::test]
async fn k13_unanswered_request_fails_at_once_with_its_reason() {
    let (near, far) = Side::pair();
    assert!(matches!(near.ask::<()>("no reader", LONG).await, Err(RequestError::NoReader)));

    let mut requests = far.queue.subscribe();
    let dropped = ask(&near, "dropped".into());
    drop(requests.next().await.unwrap());
    assert!(matches!(dropped.await.unwrap(), Err(RequestError::NotAnswered)));

    let unread = ask(&near, "unread".into());
    while requests.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(requests);
    assert!(matches!(unread.await.unwrap(), Err(RequestError::NotAnswered)));
    assert!(matches!(near.ask::<()>("left", LONG).await, Err(RequestError::NoReader)));
}

#[tokio::test]
async fn k13_new_reader_ends_the_previous_one() {
    let (near, far) = Side::pair();
    let mut first = far.queue.subscribe();
    let mut second = far.queue.subscribe();
    assert!(first.next().await.is_none());
    // It is not the reader any more, so dropping it changes nothing.
    drop(first);
    let asked = ask(&near, "q".into());
    second.next().await.unwrap().reply("a").unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn k13_pending_requests_fail_at_once_when_the_peer_ends() {
    let (near, far) = Side::pair();
    let mut requests = far.queue.subscribe();
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
    assert!(near.queue.subscribe().next().await.is_none(), "no more requests can come");
}

#[tokio::test(start_paused = true)]
async fn k13_late_reply_is_dropped_and_cancelled_requests_leave_nothing() {
    let (near, far) = Side::pair();
    let mut requests = far.queue.subscribe();
    let late = near.ask::<()>("late", Duration::from_secs(5)).await;
    assert!(matches!(late, Err(RequestError::TimedOut(time)) if time == Duration::from_secs(5)));
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
async fn k13_reply_of_wrong_type_or_size_is_an_error() {
    let (near, far) = Side::pair();
    let mut requests = far.queue.subscribe();
    let channel = Arc::clone(&near.channel);
    let number = tokio::spawn(async move {
        channel.request::<u64>(b"\"q\"".to_vec(), LONG, WhenFull::Refuse).await
    });
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
async fn k13_endless_requests_of_a_peer_are_bounded() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let side = Side::new(ours);
    let mut requests = side.queue.subscribe();
    let (_unread, mut hostile) = theirs.into_split();
    // As many as fit, and 5,000 that are refused. The peer reads no reply.
    let fit = BUDGET / (COST + 1);
    let mut asked = Vec::new();
    for id in 0..fit as u64 + 5_000 {
        asked.extend(frame::encode(&RpcFrame::Request { id, body: b"1".to_vec() }).unwrap());
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
async fn k13_unread_replies_are_bounded_and_the_rest_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let side = Side::new(ours);
    let mut requests = side.queue.subscribe();
    let (mut from, mut to) = theirs.into_split();
    for id in 0..24 {
        to.write_all(&frame::encode(&RpcFrame::Request { id, body: b"1".to_vec() }).unwrap())
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
        let Some(RpcFrame::Reply { id: of, answer }) = frame::read(&mut from).await.unwrap() else {
            panic!("no reply")
        };
        assert_eq!(of, id);
        refused += usize::from(answer == Err(RpcRefusal::NotAnswered));
    }
    assert_eq!(refused, full);
}

#[tokio::test]
async fn k13_unanswered_requests_are_busy_until_one_is_answered() {
    let (near, far) = Side::pair();
    let mut requests = far.queue.subscribe();
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
async fn k13_full_queue_refuses_at_once_or_waits_until_the_timeout() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let side = Side::new(ours);
    let body = || vec![b'1'; 64 << 10];
    let mut waiting = JoinSet::new();
    let asked = loop {
        let channel = Arc::clone(&side.channel);
        let mut refused =
            Box::pin(async move { channel.request::<u64>(body(), LONG, WhenFull::Refuse).await });
        tokio::select! {
            biased;
            refused = &mut refused => break refused,
            () = sleep(Duration::from_millis(1)) => drop(waiting.spawn(refused)),
        }
        assert!(waiting.len() < 1_000, "the queue has no bound");
    };
    assert!(matches!(asked, Err(RequestError::Full)));
    assert!(waiting.len() >= 60, "refused after {} requests of 64 KiB", waiting.len());
    let waited = side.channel.request::<u64>(body(), Duration::from_secs(1), WhenFull::Wait).await;
    assert!(matches!(waited, Err(RequestError::TimedOut(_))));
    assert_eq!(side.waits(), waiting.len());
    theirs.shutdown().await.unwrap();
    for end in waiting.join_all().await {
        assert!(matches!(end, Err(RequestError::Gone)));
    }
}
