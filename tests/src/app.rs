//! An application in the process of the test, for behaviour that the demo has no route for: failing
//! handlers, panics, streams, upgrades.
//!
//! It listens on a real socket and answers the paths of the demo for reading and writing in the
//! same way. Its store is that of any setup; it counts its calls and fails on request.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use actix_web::{
    App as ActixApp, HttpRequest, HttpResponse, HttpServer, Responder,
    body::{BodyStream, BoxBody},
    dev::ServerHandle,
    http::{StatusCode, header},
    middleware::{Compat, DefaultHeaders},
    web,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use session_actix::{Error, Session, SessionMiddleware};
use session_core::{Principal, SessionStore, cookie::Key};
use store_ipc::IpcStore;
use tokio::sync::{oneshot, watch};

use crate::{
    browser::Browser,
    demo::KEY,
    setup::Setup,
    watched::{Watched, WatchedOwner},
};

/// A running application. Dropping it stops it.
#[derive(Debug)]
pub struct App {
    /// Its address.
    pub address: SocketAddr,
    /// Its sessions.
    pub store: Arc<Watched>,
    /// Handlers under `/gate` wait until this is true.
    pub gate: watch::Sender<bool>,
    server: ServerHandle,
    _owner: Option<WatchedOwner>,
}

impl App {
    /// Starts one over the store of this setup. If the setup keeps its sessions in the demo, the
    /// application reads them over a socket, as the workers of the demo do.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(setup: &Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let store = Arc::new(Watched::over(setup.open().await));
        let owner = (setup.store() == "ipc").then(|| WatchedOwner::start(&store));
        let reached: Arc<dyn SessionStore> = match &owner {
            Some(owner) => Arc::new(IpcStore::connect(owner.path())),
            None => Arc::clone(&store) as _,
        };
        let sessions = SessionMiddleware::builder(reached, Key::parse(KEY).expect("a strong key"))
            .development()
            .catch_panics()
            .build()
            .expect("a valid cookie");
        let (gate, open) = watch::channel(false);
        let (started, handle) = oneshot::channel();
        thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    ActixApp::new()
                        .app_data(web::Data::new(open.clone()))
                        .wrap(Compat::new(sessions.clone()))
                        .wrap(DefaultHeaders::new().add(("X-Worker", "0/0")))
                        .configure(routes)
                })
                .workers(2)
                .disable_signals()
                .listen(listener)
                .expect("a bound socket can listen")
                .run();
                let _ = started.send(server.handle());
                let _ = server.await;
            });
        });
        let server = handle.await.expect("the server starts");
        Self { address, store, gate, server, _owner: owner }
    }

    /// A visitor without a cookie.
    #[must_use]
    pub fn browser(&self) -> Browser {
        Browser::new(self.address)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // The command is sent by the call; the future only waits for its end.
        drop(self.server.stop(false));
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", web::get().to(async || "up"))
        .route("/session", web::get().to(page))
        .route("/session/{name}", web::put().to(insert))
        .route("/session/{name}/add", web::post().to(add))
        .route("/login", web::post().to(login))
        .route("/logout", web::post().to(logout))
        .route("/fail/{status}", web::post().to(fail))
        .route("/error/{status}", web::post().to(error))
        .route("/panic", web::post().to(panic))
        .route(
            "/panic-at-once",
            web::post().to(|_: Session| -> std::future::Ready<&str> {
                panic!("before there is a future")
            }),
        )
        .route("/restart", web::post().to(restart))
        .route("/stream", web::get().to(stream_body))
        .route("/endless", web::get().to(endless))
        .route("/late", web::get().to(late))
        .route("/head", web::head().to(async |session: Session| mark(&session, HttpResponse::Ok())))
        .route(
            "/not-modified",
            web::get().to(async |session: Session| mark(&session, HttpResponse::NotModified())),
        )
        .route(
            "/redirect",
            web::get().to(async |session: Session| {
                mark(&session, HttpResponse::SeeOther()).map(|mut response| {
                    response
                        .headers_mut()
                        .insert(header::LOCATION, header::HeaderValue::from_static("/session"));
                    response
                })
            }),
        )
        .route("/websocket", web::get().to(websocket))
        .route("/gate/{first}/{second}", web::post().to(gated));
}

async fn page(session: Session) -> Result<impl Responder, Error> {
    let mut data = serde_json::Map::new();
    for name in session.names().await? {
        data.insert(
            name.as_str().to_owned(),
            session.get(name.as_str()).await?.unwrap_or_default(),
        );
    }
    Ok(web::Json(serde_json::json!({
        "handle": session.handle().await?.map(|handle| handle.to_string()),
        "principal": session.principal().await?.map(|principal| principal.as_str().to_owned()),
        "age": session.age().await?.map(|age| age.as_secs_f64()),
        "ttl": session.ttl().await?.map(|ttl| ttl.as_secs_f64()),
        "data": data,
    })))
}

async fn insert(
    session: Session,
    name: web::Path<String>,
    value: web::Json<serde_json::Value>,
) -> Result<HttpResponse, Error> {
    // Reads first, as an application that depends on the old value does. So the session sees that
    // an equal value is not a change.
    session.contains(&name).await?;
    session.insert(&name, &*value)?;
    Ok(HttpResponse::NoContent().finish())
}

async fn add(session: Session, name: web::Path<String>) -> Result<impl Responder, Error> {
    Ok(web::Json(session.add(&name, 1).await?))
}

async fn login(
    session: Session,
    body: web::Json<serde_json::Value>,
) -> Result<&'static str, Error> {
    if let Some(user) = body["user"].as_str().and_then(|user| Principal::new(user).ok()) {
        session.sign_in(user);
    }
    Ok("signed in")
}

async fn logout(session: Session) -> Result<HttpResponse, Error> {
    session.destroy().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Inserts `mark`, then responds.
fn mark(
    session: &Session,
    mut response: actix_web::HttpResponseBuilder,
) -> Result<HttpResponse, Error> {
    session.insert("mark", &1)?;
    Ok(response.finish())
}

/// A response of a status, after an insert and a sign-in.
async fn fail(session: Session, status: web::Path<u16>) -> Result<HttpResponse, Error> {
    session.sign_in(Principal::new("bob").expect("a name"));
    let status = StatusCode::from_u16(*status).expect("a status");
    mark(&session, HttpResponse::build(status))
}

/// An error that becomes a response of a status, after an insert.
async fn error(session: Session, status: web::Path<u16>) -> Result<HttpResponse, actix_web::Error> {
    session.insert("mark", &1)?;
    let status = StatusCode::from_u16(*status).expect("a status");
    Err(actix_web::error::InternalError::new("refused", status).into())
}

async fn panic(session: Session) -> Result<HttpResponse, Error> {
    session.insert("mark", &1)?;
    session.names().await?;
    panic!("as a handler with a bug does");
}

/// Ends the session and starts another in the same request.
async fn restart(session: Session) -> Result<HttpResponse, Error> {
    session.destroy().await?;
    session.insert("flash", "signed out")?;
    Ok(HttpResponse::NoContent().finish())
}

async fn stream_body(session: Session) -> Result<HttpResponse, Error> {
    session.insert("mark", &1)?;
    let chunks = stream::iter(0..5).then(|n| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, std::io::Error>(Bytes::from(format!("{n}\n")))
    });
    Ok(HttpResponse::Ok().streaming(chunks))
}

/// A body that never ends, so that the client has only the head.
async fn endless(session: Session) -> Result<HttpResponse, Error> {
    session.insert("mark", &1)?;
    Ok(HttpResponse::Ok().streaming(stream::pending::<Result<Bytes, std::io::Error>>()))
}

/// A body that inserts after the head has left, and commits by itself.
async fn late(session: Session) -> Result<HttpResponse, Error> {
    session.names().await?;
    let body = stream::once(async move {
        let saved = match session.insert("late", &1) {
            Ok(()) => session.commit().await,
            Err(error) => Err(error),
        };
        Ok::<_, std::io::Error>(Bytes::from_static(if saved.is_ok() {
            b"saved"
        } else {
            b"refused"
        }))
    });
    Ok(HttpResponse::Ok().streaming(body))
}

async fn websocket(
    session: Session,
    request: HttpRequest,
) -> Result<HttpResponse, actix_web::Error> {
    session.insert("mark", &1)?;
    let mut switching =
        actix_http::ws::handshake(request.head()).map_err(actix_web::error::ErrorBadRequest)?;
    let silence = BodyStream::new(stream::pending::<Result<Bytes, std::io::Error>>());
    Ok(switching.message_body(BoxBody::new(silence))?.into())
}

/// Inserts one value, waits for the gate, inserts the other.
async fn gated(
    session: Session,
    names: web::Path<(String, String)>,
    gate: web::Data<watch::Receiver<bool>>,
) -> Result<HttpResponse, Error> {
    session.insert(&names.0, &1)?;
    let _ = gate.as_ref().clone().wait_for(|open| *open).await;
    session.insert(&names.1, &1)?;
    Ok(HttpResponse::NoContent().finish())
}
