//! Measures the processor time that a Redis server needs for each call of the store.
//!
//! `cargo run --release -p bench --bin redis-script-cost [-- SESSIONS]`. The program starts a
//! server. It records the bytes that the store sends for one call on each session. Then it sends
//! these bytes repeatedly in pipelines, and reads `used_cpu_user` and `used_cpu_sys`. It compares
//! each call with `HINCRBY` on the same hashes, so the ratio depends little on the machine.
#![expect(clippy::print_stdout, reason = "a program that prints measurements")]
#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^52")]

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bench::RedisServer;
use futures_util::{StreamExt, TryStreamExt, stream};
use session_core::{
    Change, Commit, Data, Json, Name, NewRecord, Outcome, Principal, Rotation, SecretHash,
    SessionStore, StoreKey,
};
use store_redis::{Config, RedisStore};

type BoxError = Box<dyn Error>;

/// The number of calls per session in a measured round.
const CALLS_PER_SESSION: usize = 20;
const ROUNDS: usize = 15;
const CONCURRENT_CALLS: usize = 64;
const DAY: Duration = Duration::from_hours(24);
/// The secret of all sessions. A rotation sets the same secret, so the program can send a rotation
/// repeatedly.
const SECRET: SecretHash = SecretHash::from_bytes([0xa5; SecretHash::BYTES]);

fn main() -> Result<(), BoxError> {
    let sessions = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse())?;
    let server = RedisServer::start()?;
    let address: SocketAddr =
        server.url().trim_start_matches("redis://").trim_end_matches("/0").parse()?;
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(record(address, sessions))?;
    let mut replay = Replay::connect(address)?;
    let mut times = vec![Vec::with_capacity(ROUNDS); measured.len()];
    // The calls take turns, so other work on the machine affects all of them.
    for _ in 0..ROUNDS {
        for ((_, bytes), times) in measured.iter().zip(&mut times) {
            let before = replay.used_cpu()?;
            for _ in 0..CALLS_PER_SESSION {
                replay.send(bytes, sessions)?;
            }
            times.push((replay.used_cpu()? - before) / (CALLS_PER_SESSION * sessions) as f64 * 1e6);
        }
    }
    println!(
        "µs of processor time of the server per call, in pipelines of {sessions}: median and \
         minimum of {ROUNDS} rounds"
    );
    let baseline = median(&mut times[0]);
    for ((name, _), times) in measured.iter().zip(&mut times) {
        let median = median(times);
        println!(
            "{name:<34} {median:>6.2} {:>6.2}   {:>5.1} x HINCRBY",
            times[0],
            median / baseline
        );
    }
    Ok(())
}

/// Sorts the times and returns the median.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// For each call its name, and the bytes that the store sends to make the call once on each
/// session.
async fn record(
    server: SocketAddr,
    sessions: usize,
) -> Result<Vec<(&'static str, Vec<u8>)>, BoxError> {
    let proxy = RecordingProxy::start(server)?;
    let config = Config::new(&format!("redis://{}", proxy.address))?
        .connections(std::num::NonZeroUsize::MIN);
    let store = RedisStore::connect(&config).await?;
    let data: Data = [
        (Name::new("user")?, Json::encode("0123456789")?),
        (Name::new("n")?, Json::integer(1_000_000)),
    ]
    .into_iter()
    .collect();
    let (mut anonymous, mut signed_in) = (Vec::new(), Vec::new());
    for number in 0..sessions {
        for (keys, principal) in [
            (&mut anonymous, None),
            (&mut signed_in, Some(Principal::new(format!("user-{number}"))?)),
        ] {
            let key = session_core::SessionId::random()?.key();
            let mut new = NewRecord::new(SECRET, DAY).data(data.clone());
            if let Some(principal) = principal {
                new = new.principal(principal);
            }
            let _ = store.create(&key, new).await?;
            keys.push(key);
        }
    }
    let n = Name::new("n")?;
    let commit = || Commit::new(SECRET);
    let set = || commit().change(n.clone(), Change::Set(Json::integer(7_777_777)));
    let add = || commit().change(n.clone(), Change::Add(1));
    let rotation = Rotation { secret: SECRET, generation: 1, grace: None };
    let mut measured = vec![("HINCRBY", increments(&anonymous))];
    measured.push((
        "load (HGETALL)",
        proxy
            .record(each(&anonymous, async |key| {
                store.load(key).await?.map(drop).ok_or(MISSING.into())
            }))
            .await?,
    ));
    for (name, keys, commit) in [
        ("set one value", &anonymous, set()),
        ("add to one value", &anonymous, add()),
        ("set one value, signed in", &signed_in, set()),
        ("add to one value, signed in", &signed_in, add()),
        (
            "set two values",
            &anonymous,
            set().change(Name::new("m")?, Change::Set(Json::integer(1))),
        ),
        ("longer life", &anonymous, commit().ttl(DAY)),
        ("longer life, signed in", &signed_in, commit().ttl(DAY)),
        ("rotation", &signed_in, commit().rotate(rotation)),
    ] {
        // Two calls, so that the server has loaded the script and the store knows the server's
        // time.
        for _ in 0..2 {
            let _ = store.commit(&keys[0], commit.clone()).await?;
        }
        let call = async |key: &StoreKey| match store.commit(key, commit.clone()).await? {
            Outcome::Done(_) => Ok(()),
            other => Err(format!("the outcome of a commit is {other:?}").into()),
        };
        measured.push((name, proxy.record(each(keys, call)).await?));
    }
    Ok(measured)
}

const MISSING: &str = "a session is missing";

async fn each(
    keys: &[StoreKey],
    call: impl AsyncFn(&StoreKey) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    stream::iter(keys.iter().map(|key| call(key)))
        .buffer_unordered(CONCURRENT_CALLS)
        .try_for_each(async |()| Ok(()))
        .await
}

fn increments(keys: &[StoreKey]) -> Vec<u8> {
    let increment = |key: &StoreKey| {
        redis::cmd("HINCRBY")
            .arg(format!("session:s}}{}", key.as_str()))
            .arg("n")
            .arg(1)
            .get_packed_command()
    };
    keys.iter().flat_map(increment).collect()
}

/// A proxy that records the bytes that a client sends to a server.
struct RecordingProxy {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl RecordingProxy {
    fn start(server: SocketAddr) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, sent) = (listener.local_addr()?, Arc::<Mutex<Vec<u8>>>::default());
        let recorded = Arc::clone(&sent);
        // The threads end with the process.
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(upstream) = TcpStream::connect(server) else { return };
                let (Ok(from_server), Ok(to_client)) = (upstream.try_clone(), client.try_clone())
                else {
                    return;
                };
                let recorded = Arc::clone(&recorded);
                thread::spawn(move || forward(from_server, to_client, |_| {}));
                thread::spawn(move || {
                    forward(client, upstream, |bytes| {
                        recorded.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
                    });
                });
            }
        });
        Ok(Self { address, sent })
    }

    /// Runs `work` and returns the bytes that the client sends meanwhile, without `TIME` commands.
    async fn record(
        &self,
        work: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<Vec<u8>, BoxError> {
        let take =
            || std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = take();
        work.await?;
        let (time, mut sent) = (redis::cmd("TIME").get_packed_command(), take());
        while let Some(at) = sent.windows(time.len()).position(|window| window == time) {
            sent.drain(at..at + time.len());
        }
        Ok(sent)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut observe: impl FnMut(&[u8])) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        observe(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// A plain connection to the server, which sends recorded commands.
struct Replay {
    stream: TcpStream,
    parser: redis::Parser,
}

impl Replay {
    fn connect(server: SocketAddr) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, parser: redis::Parser::new() })
    }

    /// Sends commands in one pipeline and reads this number of replies.
    fn send(&mut self, bytes: &[u8], replies: usize) -> Result<(), BoxError> {
        thread::scope(|scope| {
            // Writes on another thread. A server that cannot send its replies stops reading.
            let mut writer = self.stream.try_clone()?;
            let written = scope.spawn(move || writer.write_all(bytes));
            for _ in 0..replies {
                self.parser.parse_value(&mut self.stream)?.extract_error()?;
            }
            written.join().map_err(|_| "the writer panicked")??;
            Ok(())
        })
    }

    /// The processor time that the server has used, in seconds.
    fn used_cpu(&mut self) -> Result<f64, BoxError> {
        self.stream.write_all(&redis::cmd("INFO").arg("cpu").get_packed_command())?;
        let info: String = redis::from_redis_value(self.parser.parse_value(&mut self.stream)?)?;
        let seconds = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
        };
        Ok(seconds("used_cpu_user:")
            .zip(seconds("used_cpu_sys:"))
            .map(|(user, sys)| user + sys)
            .ok_or("no used_cpu in INFO")?)
    }
}
