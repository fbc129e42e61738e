//! A proxy that records what a client sends to its Redis.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
};

use super::url::hosts_of;

/// The names of the commands of one round trip.
pub type RoundTrip = Vec<String>;

/// A proxy in front of a server, which forwards everything and records the commands. Unlike the
/// counters of the server it leaves out other clients and the commands of scripts, and it sees
/// which commands were sent together.
#[derive(Debug)]
pub struct Tap {
    url: String,
    heard: Heard,
    accepting: JoinHandle<()>,
}

type Heard = Arc<Mutex<Vec<RoundTrip>>>;

impl Tap {
    /// Opens a proxy in front of the single server of this URL.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let here = listener.local_addr().expect("a bound socket has an address").to_string();
        let host = hosts_of(url).remove(0);
        let server = if host.contains(':') { host.clone() } else { format!("{host}:6379") };
        let heard = Heard::default();
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&heard)));
        Self { url: url.replacen(&host, &here, 1), heard, accepting }
    }

    /// The URL of the server through the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The round trips since the last call of this. They are exact as long as a connection sends
    /// one request at a time.
    #[must_use]
    pub fn heard(&self) -> Vec<RoundTrip> {
        std::mem::take(&mut *lock(&self.heard))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(heard: &Heard) -> std::sync::MutexGuard<'_, Vec<RoundTrip>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, server: String, heard: Heard) {
    let mut lines = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(upstream) = TcpStream::connect(&server).await else { continue };
        for stream in [&client, &upstream] {
            stream.set_nodelay(true).expect("a TCP socket");
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = upstream.into_split();
        // Whether the server has sent something since the client last did. Then the next command
        // begins a round trip.
        let answered = Arc::new(Mutex::new(true));
        lines.spawn(requests(from_client, to_server, Arc::clone(&answered), Arc::clone(&heard)));
        lines.spawn(answers(from_server, to_client, answered));
    }
}

/// Forwards what the client sends, and records its commands before the server can answer.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    answered: Arc<Mutex<bool>>,
    heard: Heard,
) {
    let mut unread = Vec::new();
    while client.read_buf(&mut unread).await.is_ok_and(|count| count > 0) {
        let mut rest = unread.as_slice();
        while let Some((name, after)) = command(rest) {
            let begins =
                std::mem::take(&mut *answered.lock().unwrap_or_else(PoisonError::into_inner));
            let mut heard = lock(&heard);
            match heard.last_mut().filter(|_| !begins) {
                Some(trip) => trip.push(name),
                None => heard.push(vec![name]),
            }
            drop(heard);
            rest = after;
        }
        let whole = unread.len() - rest.len();
        if server.write_all(&unread[..whole]).await.is_err() {
            return;
        }
        unread.drain(..whole);
    }
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    answered: Arc<Mutex<bool>>,
) {
    let mut bytes = Vec::new();
    while server.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        *answered.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if client.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

/// The name of the first command, which is a list of length-prefixed texts, and the rest; `None` if
/// it is incomplete.
fn command(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (count, mut rest) = number(b'*', bytes)?;
    let mut name = None;
    for _ in 0..count {
        let (length, text) = number(b'$', rest)?;
        name.get_or_insert(text.get(..length)?);
        rest = text.get(length + 2..)?;
    }
    Some((String::from_utf8_lossy(name?).to_ascii_uppercase(), rest))
}

/// The number in a line with this mark, and the rest.
fn number(mark: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let digits = line
        .strip_prefix(char::from(mark))
        .unwrap_or_else(|| panic!("a command of Redis does not begin with {line:?}"));
    Some((digits.parse().expect("a length is a number"), &bytes[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn commands_are_separated_and_half_a_command_is_none() {
        let bytes = b"*2\r\n$7\r\nHGETALL\r\n$3\r\na\r\n\r\n*1\r\n$4\r\ntime\r\n*2\r\n$3\r\nGET\r\n$5\r\nab";
        let (first, rest) = command(bytes).expect("a whole command");
        let (second, rest) = command(rest).expect("a whole command");
        assert_eq!((first.as_str(), second.as_str()), ("HGETALL", "TIME"));
        assert!(command(rest).is_none());
    }
}
