//! A site that listens, and what it answers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    web::{Data, ServiceConfig},
};
use session_actix::{SessionMiddleware, SessionMiddlewareBuilder};
use session_core::{
    Policy,
    cookie::{CookieCodec, CookieConfig, Key, KeyRing},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{log_capture, routes, store::Store};

/// A server with one worker; it ends with the test that started it.
pub(crate) struct Site {
    pub(crate) store: Arc<Store>,
    address: SocketAddr,
    server: ServerHandle,
}

impl Site {
    /// The routes of [`routes::common`] and some more, with signed cookies for plain http.
    pub(crate) fn start(more: fn(&mut ServiceConfig)) -> Self {
        Self::with_policy(Policy::default(), more)
    }

    pub(crate) fn with_policy(policy: Policy, more: fn(&mut ServiceConfig)) -> Self {
        let store = Arc::new(Store::new());
        let sessions = sessions(&store, Key::random().unwrap()).policy(policy);
        Self::over(&store, sessions.build().unwrap(), more)
    }

    pub(crate) fn over(
        store: &Arc<Store>,
        sessions: SessionMiddleware,
        more: fn(&mut ServiceConfig),
    ) -> Self {
        let data = Data::from(Arc::clone(store));
        let app = move || {
            App::new()
                .app_data(data.clone())
                .wrap(sessions.clone())
                .configure(routes::common)
                .configure(more)
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { store: Arc::clone(store), address, server: handle }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, b"").await
    }

    /// As a browser that has this cookie.
    pub(crate) async fn get_as(&self, cookie: &str, path: &str) -> Answer {
        self.ask("GET", path, format!("Cookie: {cookie}\r\n").as_bytes()).await
    }

    /// A new session with `n` = 1, and its cookie. Its store calls are not counted.
    pub(crate) async fn sign_on(&self) -> String {
        let cookie = self.get("/start").await.cookie().unwrap();
        self.store.calls();
        cookie
    }

    /// One request on its own connection. `head` are raw header lines.
    pub(crate) async fn ask(&self, method: &str, path: &str, head: &[u8]) -> Answer {
        let start = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let bytes = self.exchange(&[start.as_bytes(), head, b"\r\n"].concat()).await;
        Answer::parse(&String::from_utf8(bytes).unwrap())
    }

    /// The bytes that come back for a request, none if the server closes the connection.
    pub(crate) async fn ask_bytes(&self, path: &str, cookie: &str) -> Vec<u8> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        self.exchange(request.as_bytes()).await
    }

    async fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let exchange = async {
            let mut connection = TcpStream::connect(self.address).await.unwrap();
            connection.write_all(request).await.unwrap();
            let mut bytes = Vec::new();
            connection.read_to_end(&mut bytes).await.unwrap();
            bytes
        };
        tokio::time::timeout(Duration::from_secs(20), exchange).await.unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The call sends the command. The returned future only waits for the end of the server.
        drop(self.server.stop(false));
    }
}

/// The codec of a middleware that [`sessions`] makes with this key.
pub(crate) fn codec(key: &Key) -> CookieCodec {
    CookieCodec::signed(CookieConfig::development(), &key.clone().into()).unwrap()
}

/// The middleware of the tests: a cookie for plain http, and panics are caught.
pub(crate) fn sessions(store: &Arc<Store>, keys: impl Into<KeyRing>) -> SessionMiddlewareBuilder {
    log_capture::listen();
    SessionMiddleware::builder(Arc::clone(store), keys.into()).development().catch_panics()
}

/// A response, bodies in chunks as they came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .unwrap()
        };
        Self { status, headers: lines.map(header).collect(), body: body.to_owned() }
    }

    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(held, _)| held == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Its only value, if it has one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// What a browser would send from now on: name and value of the only `Set-Cookie`.
    pub(crate) fn cookie(&self) -> Option<String> {
        self.header("set-cookie").map(|cookie| cookie.split(';').next().unwrap().to_owned())
    }
}
