//! An actix-web server whose worker processes drain without losing an accepted connection.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, rt, web};
use cluster::{DrainOrder, Heartbeat, ListenSpec, Role, WorkerBoot};

static DRAINING: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    match cluster::role()? {
        Role::Worker(boot) => rt::System::new().block_on(serve(boot)),
        Role::Primary(builder) => tokio::runtime::Runtime::new()?.block_on(async {
            Ok(builder
                .listen("http", ListenSpec::tcp(address))
                .start()
                .await?
                .wait()
                .await
                .map(drop)?)
        }),
    }
}

async fn serve(mut boot: WorkerBoot) -> Result<(), Box<dyn Error>> {
    let listener = boot.take_listener("http")?;
    let worker = boot.connect().await?;
    let factory_worker = worker.clone();
    let app = move || {
        App::new()
            .app_data(web::Data::new(factory_worker.heartbeat()))
            .route("/", web::get().to(greet))
    };
    // One thread that serves, because the processes are the parallelism. No signals, because the
    // primary decides.
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
    let (handle, _serving) = (server.handle(), rt::spawn(server));
    worker.ready().await?;
    let mut order = worker.drain_requested().await;
    DRAINING.store(true, Ordering::Relaxed);
    // A newer order may give less time, so it replaces the older one at once. After the deadline
    // the primary kills this process.
    while let Some(newer) = tokio::select! {
        _ = rt::time::timeout(order.deadline, drain(&handle, order)) => None,
        newer = worker.order_changed(order) => Some(newer),
    } {
        order = newer;
    }
    Ok(())
}

async fn drain(server: &ServerHandle, order: DrainOrder) {
    if !order.accept.is_zero() {
        server.resume().await;
        rt::time::sleep(order.accept).await;
    }
    server.pause().await;
    rt::time::sleep(order.quiet).await;
    server.stop(true).await;
}

async fn greet(heartbeat: web::Data<Heartbeat>) -> HttpResponse {
    heartbeat.count();
    let mut answer = HttpResponse::Ok();
    if DRAINING.load(Ordering::Relaxed) {
        // The client then connects to another worker. With more routes, do this and the count in a
        // middleware.
        answer.force_close();
    }
    answer.body(format!("hello from worker process {}\n", std::process::id()))
}
