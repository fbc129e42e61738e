//! An actix-web server of worker processes that leave without losing an accepted connection.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::Service;
use actix_web::http::ConnectionType;
use actix_web::rt::time::{sleep, timeout};
use actix_web::{App, HttpServer, web};
use cluster::{ClusterBuilder, ListenSpec, Role, WorkerBoot};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    match cluster::role()? {
        Role::Primary(builder) => tokio::runtime::Runtime::new()?.block_on(supervise(builder)),
        Role::Worker(boot) => actix_web::rt::System::new().block_on(serve(boot)),
    }
}

async fn supervise(builder: ClusterBuilder) -> Result<(), Box<dyn Error>> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let cluster = builder.listen("http", ListenSpec::tcp(address)).start().await?;
    cluster.ready().await?;
    tracing::info!(address = %cluster.addresses()["http"], "serving");
    let report = cluster.wait().await?;
    tracing::info!(?report, "stopped");
    Ok(())
}

async fn serve(mut boot: WorkerBoot) -> Result<(), Box<dyn Error>> {
    let listener = boot.take_listener("http")?;
    let worker = boot.connect().await?;
    let hello = format!("hello from worker {}\n", worker.id());
    let leaving = Arc::new(AtomicBool::new(false));
    let leaves = Arc::clone(&leaving);
    let app = move || {
        let (hello, leaves) = (hello.clone(), Arc::clone(&leaves));
        let notice = move |req, next: &_| {
            let (leaves, answer) = (Arc::clone(&leaves), Service::call(next, req));
            async move {
                let mut answer: actix_web::dev::ServiceResponse<_> = answer.await?;
                if leaves.load(Ordering::Relaxed) {
                    answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
                }
                Ok(answer)
            }
        };
        App::new().wrap_fn(notice).route("/", web::get().to(move || std::future::ready(hello.clone())))
    };
    // One thread, because the processes are the parallelism; no signals, because the primary decides.
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    worker.ready().await?;

    let order = worker.drain_requested().await;
    leaving.store(true, Ordering::Relaxed);
    sleep(order.accept).await;
    handle.pause().await;
    sleep(order.quiet).await;
    // Past the deadline the primary kills this process, so waiting longer would be in vain.
    let rest = order.deadline.saturating_sub(order.accept + order.quiet);
    let _ = timeout(rest, handle.stop(true)).await;
    serving.abort();
    Ok(())
}
