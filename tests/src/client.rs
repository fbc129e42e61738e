//! An HTTP/1.1 client that sends exactly the bytes it is given.
//!
//! Attacks need header bytes that ordinary clients refuse, and tests of workers choose the
//! connection of a request. So a [`Connection`] is one TCP connection that is kept alive, and a
//! test that needs a pool holds several.

use std::{io, net::SocketAddr, time::Duration};

use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::cookie::SetCookie;

/// After this long a request counts as hung. Every deadline under test is far shorter.
pub const HUNG: Duration = Duration::from_secs(20);
const MOST_HEADERS: usize = 64;

/// A request, as bytes.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// `GET`.
    #[must_use]
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// `POST` without a body.
    #[must_use]
    pub fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    /// `PUT` with a JSON body.
    #[must_use]
    pub fn put(target: impl Into<String>, json: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", target).json(json)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete(target: impl Into<String>) -> Self {
        Self::new("DELETE", target)
    }

    /// The same with one more header, any bytes.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with a `Cookie` header, any bytes.
    #[must_use]
    pub fn cookie(self, value: impl Into<Vec<u8>>) -> Self {
        self.header("Cookie", value)
    }

    /// The same with a body as `curl -d` sends it.
    #[must_use]
    pub fn form(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", "application/json")
    }

    /// The bytes that are sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if !self.body.is_empty() || self.method != "GET" {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All headers of this name.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The one `Set-Cookie`, if there is any.
    ///
    /// # Panics
    /// If there are several.
    #[must_use]
    pub fn set_cookie(&self) -> Option<SetCookie> {
        let all: Vec<_> = self.headers("set-cookie").collect();
        assert!(all.len() <= 1, "several cookies: {all:?}");
        all.first().map(|line| SetCookie::parse(line))
    }

    /// The worker process that answered: `<worker id>/<pid>`.
    ///
    /// # Panics
    /// If the response does not name it.
    #[must_use]
    pub fn worker(&self) -> &str {
        self.header("x-worker").unwrap_or_else(|| panic!("no X-Worker in {self:?}"))
    }

    /// The same response, if it has this status.
    ///
    /// # Panics
    /// If it has another.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?}", self.text(), self.headers);
        self
    }

    /// Whether the server will close the connection after it.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The error of the operating system.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream =
            timeout(HUNG, TcpStream::connect(address)).await.map_err(|_| hung("connect"))??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// The error of the operating system, `UnexpectedEof` if the server hangs up before the end of
    /// the response, `TimedOut` if nothing comes for [`HUNG`].
    pub async fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.to_bytes()).await?;
        self.response(request.method).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The error of the operating system.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(HUNG, self.stream.write_all(bytes)).await.map_err(|_| hung("write"))?
    }

    /// Reads the response to a request of this method.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn response(&mut self, method: &str) -> io::Result<Response> {
        self.response_within(method, HUNG).await
    }

    /// The same with another limit than [`HUNG`], for answers that take longer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn response_within(&mut self, method: &str, limit: Duration) -> io::Result<Response> {
        timeout(limit, self.read_response(method)).await.map_err(|_| hung("response"))?
    }

    /// Reads until the bytes contain `text`, and returns all of them: for streams.
    ///
    /// # Errors
    /// The error of the operating system, `UnexpectedEof` if the server hangs up before, `TimedOut`
    /// if it does not come within `limit`.
    pub async fn until(&mut self, text: &str, limit: Duration) -> io::Result<String> {
        let reading = async {
            loop {
                let seen = String::from_utf8_lossy(&self.unread).into_owned();
                if seen.contains(text) {
                    return Ok(seen);
                }
                self.fill().await?;
            }
        };
        timeout(limit, reading).await.map_err(|_| hung(text))?
    }

    /// Reads the rest until the server closes the connection or resets it.
    ///
    /// # Errors
    /// `TimedOut` if it does not within `limit`.
    pub async fn closed(&mut self, limit: Duration) -> io::Result<()> {
        let mut sink = [0; 4096];
        timeout(limit, async {
            while matches!(self.stream.read(&mut sink).await, Ok(count) if count > 0) {}
        })
        .await
        .map_err(|_| hung("the server to hang up"))
    }

    async fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let (status, headers) = self.read_head().await?;
        let mut response = Response { status, headers, body: Vec::new() };
        if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
            return Ok(response);
        }
        if response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            while let Some(chunk) = self.read_chunk().await? {
                response.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| io::Error::other("odd Content-Length"))?;
            response.body = self.read_exactly(length).await?;
        } else {
            while self.fill().await.is_ok() {}
            response.body = std::mem::take(&mut self.unread);
        }
        Ok(response)
    }

    async fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) =
                head.parse(&self.unread).map_err(io::Error::other)?
            {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let found = head
                    .headers
                    .iter()
                    .map(|header| (header.name.to_owned(), text(header.value)))
                    .collect();
                let status = head.code.unwrap_or_default();
                self.unread.drain(..length);
                return Ok((status, found));
            }
            self.fill().await?;
        }
    }

    /// One chunk of a chunked body; `None` for the last.
    async fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let httparse::Status::Complete((start, length)) =
                httparse::parse_chunk_size(&self.unread)
                    .map_err(|_| io::Error::other("odd chunk"))?
            {
                self.unread.drain(..start);
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let mut chunk = self.read_exactly(length + 2).await?;
                chunk.truncate(length);
                return Ok((length > 0).then_some(chunk));
            }
            self.fill().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill().await?;
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Sends one request on a new connection.
///
/// # Errors
/// As [`Connection::send`].
pub async fn send(address: SocketAddr, request: &Request) -> io::Result<Response> {
    Connection::open(address).await?.send(request).await
}

fn hung(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer in time: {what}"))
}
