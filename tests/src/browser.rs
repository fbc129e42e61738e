//! A visitor with a cookie jar. Each of its requests has a new connection, so that any worker can
//! answer it.

use std::{io, net::SocketAddr};

use crate::{
    client::{Request, Response, send},
    cookie::SetCookie,
};

/// A visitor of a site.
#[derive(Debug, Clone)]
pub struct Browser {
    address: SocketAddr,
    jar: Jar,
    headers: Vec<(&'static str, String)>,
}

impl Browser {
    /// A visitor without a cookie.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, jar: Jar::default(), headers: Vec::new() }
    }

    /// The same visitor at another address with the same jar: a site that was restarted.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same, sending this header with every request.
    #[must_use]
    pub fn always(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// A visitor with this cookie, of the name that the development setting uses.
    #[must_use]
    pub fn holding(address: SocketAddr, value: &str) -> Self {
        Self { jar: Jar::holding("id", value), ..Self::new(address) }
    }

    /// A visitor who has just signed in.
    pub async fn signed_in(address: SocketAddr, user: &str) -> Self {
        let mut browser = Self::new(address);
        let _ = browser.login(user).await.expect(200);
        browser
    }

    /// Keeps a cookie that came over another connection.
    pub fn insert_cookie(&mut self, cookie: &SetCookie) {
        self.jar = Jar::holding(&cookie.name, &cookie.value);
    }

    /// The cookie's value.
    ///
    /// # Panics
    /// If the jar is empty.
    #[must_use]
    pub fn cookie(&self) -> &str {
        self.jar.value().expect("the browser holds a cookie")
    }

    /// Whether there is a cookie.
    #[must_use]
    pub fn has_cookie(&self) -> bool {
        self.jar.value().is_some()
    }

    /// The `Cookie` header it sends.
    ///
    /// # Panics
    /// If the jar is empty.
    #[must_use]
    pub fn cookie_header(&self) -> String {
        self.jar.header().expect("the browser holds a cookie")
    }

    /// Adds the cookie of the jar and the headers of the visitor.
    #[must_use]
    pub fn dress(&self, mut request: Request) -> Request {
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        match self.jar.header() {
            Some(cookie) => request.cookie(cookie),
            None => request,
        }
    }

    /// Sends a request with the cookie and keeps the cookie of the response.
    ///
    /// # Errors
    /// As [`Connection::send`](crate::client::Connection::send).
    pub async fn try_send(&mut self, request: Request) -> io::Result<Response> {
        let response = send(self.address, &self.dress(request)).await?;
        self.jar.take_from(&response);
        Ok(response)
    }

    /// The same, for a request that must be answered.
    ///
    /// # Panics
    /// If the demo does not answer.
    pub async fn send(&mut self, request: Request) -> Response {
        let shown = format!("{request:?}");
        self.try_send(request).await.unwrap_or_else(|error| {
            panic!("{error}: no answer to {}", &shown[..shown.len().min(200)])
        })
    }

    /// `GET`.
    pub async fn get(&mut self, target: &str) -> Response {
        self.send(Request::get(target)).await
    }

    /// `POST` without a body.
    pub async fn post(&mut self, target: &str) -> Response {
        self.send(Request::post(target)).await
    }

    /// `PUT /session/{name}`.
    pub async fn insert(&mut self, name: &str, json: &str) -> Response {
        self.send(Request::put(format!("/session/{name}"), json)).await
    }

    /// `POST /login`.
    pub async fn login(&mut self, user: &str) -> Response {
        self.send(Request::post("/login").json(serde_json::json!({ "user": user }).to_string()))
            .await
    }

    /// `GET /session`, which must be answered.
    pub async fn page(&mut self) -> Page {
        self.get("/session").await.expect(200).json()
    }
}

/// The answer to `GET /session`.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Page {
    /// The session's public name; `None` for a visitor without a session.
    pub handle: Option<String>,
    /// The user who is signed in.
    pub principal: Option<String>,
    /// Seconds since its creation.
    pub age: Option<f64>,
    /// Seconds until it expires.
    pub ttl: Option<f64>,
    /// The values.
    pub data: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Page {
    /// Whether the visitor has no session.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.handle.is_none()
            && self.principal.is_none()
            && self.data.as_ref().is_none_or(serde_json::Map::is_empty)
    }

    /// A value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&serde_json::Value> {
        self.data.as_ref()?.get(name)
    }
}

/// A cookie jar with room for one cookie.
#[derive(Debug, Clone, Default)]
struct Jar {
    cookie: Option<(String, String)>,
}

impl Jar {
    /// A jar that holds this cookie.
    fn holding(name: &str, value: &str) -> Self {
        Self { cookie: Some((name.to_owned(), value.to_owned())) }
    }

    /// Stores or removes the cookie of a response, as a browser does.
    fn take_from(&mut self, response: &Response) {
        if let Some(cookie) = response.set_cookie() {
            self.cookie = (!cookie.removes()).then_some((cookie.name, cookie.value));
        }
    }

    /// The `Cookie` header to send.
    fn header(&self) -> Option<String> {
        self.cookie.as_ref().map(|(name, value)| format!("{name}={value}"))
    }

    /// The cookie's value.
    fn value(&self) -> Option<&str> {
        self.cookie.as_ref().map(|(_, value)| value.as_str())
    }
}
