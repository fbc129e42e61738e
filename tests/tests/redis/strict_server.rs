//! A proxy that makes a Redis refuse scripts that access keys which their command does not declare.
//!
//! Some compatible servers do that, such as Dragonfly. The proxy puts a check in front of the text
//! of each script. The real server runs both, so it checks each access of a script.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// The error of Dragonfly.
const REFUSAL: &str = "script tried accessing undeclared key";

/// The check. It also refuses accesses with `redis.pcall`, whose errors a script could ignore. All
/// commands of the scripts have one key, the first argument, except `TIME`.
const CHECK: &str = "local redis = (function(real, keys) \
    local declared = {} for _, key in ipairs(keys) do declared[key] = true end \
    local function checked(run) return function(command, key, ...) \
    if command ~= 'TIME' and not declared[key] then error('REFUSAL') end \
    if command == 'TIME' then return run(command) end return run(command, key, ...) end end \
    return setmetatable({ call = checked(real.call), pcall = checked(real.pcall) }, \
    { __index = real }) end)(redis, KEYS) ";

/// A digest that no script has.
const UNKNOWN: &[u8] = b"0000000000000000000000000000000000000000";

/// The digests of the scripts with the check, by those of the scripts.
type Digests = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// The proxy.
#[derive(Debug)]
pub(crate) struct StrictServer {
    address: String,
    server: String,
    accepting: JoinHandle<()>,
}

impl StrictServer {
    /// Opens a proxy in front of the single server of this URL.
    pub(crate) async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let (_, rest) = url.split_once("://").expect("a URL has a scheme");
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let server = authority.rsplit('@').next().unwrap_or_default().to_owned();
        let accepting = tokio::spawn(accept(listener, server.clone()));
        Self { address, server, accepting }
    }

    /// The URL through the proxy.
    pub(crate) fn through(&self, url: &str) -> String {
        url.replacen(&self.server, &self.address, 1)
    }
}

impl Drop for StrictServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String) {
    let digests = Digests::default();
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, digests) = (server.clone(), Arc::clone(&digests));
        connections.spawn(async move {
            // A stopped server: the client sees the end of its connection.
            let Ok(server) = TcpStream::connect(server).await else { return };
            for stream in [&client, &server] {
                stream.set_nodelay(true).expect("a TCP socket");
            }
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let requests = async {
                let mut unread = Vec::new();
                while from_client.read_buf(&mut unread).await.is_ok_and(|count| count > 0) {
                    let (mut rest, mut checked) = (unread.as_slice(), Vec::new());
                    while let Some((words, after)) = command(rest) {
                        write(&mut checked, &with_check(&words, &digests));
                        rest = after;
                    }
                    let whole = unread.len() - rest.len();
                    unread.drain(..whole);
                    if to_server.write_all(&checked).await.is_err() {
                        return;
                    }
                }
            };
            // The end of one direction ends both.
            tokio::select! {
                () = requests => {}
                _ = copy(&mut from_server, &mut to_client) => {}
            }
        });
    }
}

/// The command that runs the same script with the check.
fn with_check(words: &[&[u8]], digests: &Digests) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
    let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
    match words[0].to_ascii_uppercase().as_slice() {
        b"EVAL" => {
            let text = String::from_utf8(words[1].clone()).expect("the text of a script");
            let checked = [&CHECK.replace("REFUSAL", REFUSAL), text.as_str()].concat();
            let digest = |text: &str| redis::Script::new(text).get_hash().as_bytes().to_vec();
            digests.insert(digest(&text), digest(&checked));
            words[1] = checked.into_bytes();
        }
        b"EVALSHA" => {
            words[1] = digests.get(&words[1]).map_or_else(|| UNKNOWN.to_vec(), Clone::clone);
        }
        b"FCALL" | b"SCRIPT" | b"FUNCTION" => panic!("the proxy does not check this command"),
        _ => {}
    }
    words
}

/// The words of the first command, and the rest. `None` if the command is incomplete.
fn command(bytes: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (count, mut rest) = number(b'*', bytes)?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, text) = number(b'$', rest)?;
        words.push(text.get(..length)?);
        rest = text.get(length + 2..)?;
    }
    Some((words, rest))
}

/// The number in a line with this mark, and the rest.
fn number(mark: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let digits = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix(char::from(mark));
    let number = digits.and_then(|digits| digits.parse().ok()).expect("a command of Redis");
    Some((number, &bytes[end + 2..]))
}

fn write(bytes: &mut Vec<u8>, words: &[Vec<u8>]) {
    bytes.extend(format!("*{}\r\n", words.len()).into_bytes());
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
}
