//! A TCP echo server of four worker processes. Run it, then `nc 127.0.0.1 7000`; kill a worker and try again.

use std::error::Error;
use std::num::NonZeroUsize;

use cluster::{ClusterBuilder, ListenSpec, Role, WorkerBoot, Workers};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    match cluster::role()? {
        Role::Primary(builder) => Runtime::new()?.block_on(supervise(builder)),
        Role::Worker(boot) => Runtime::new()?.block_on(serve(boot)),
    }
}

async fn supervise(builder: ClusterBuilder) -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "7000".to_owned());
    let workers = Workers::Exactly(NonZeroUsize::MIN.saturating_add(3));
    let cluster = builder.workers(workers).listen("echo", ListenSpec::tcp(format!("127.0.0.1:{port}"))).start().await?;
    cluster.ready().await?;
    tracing::info!(address = %cluster.addresses()["echo"], "serving");
    cluster.wait().await?;
    Ok(())
}

async fn serve(mut boot: WorkerBoot) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::from_std(boot.take_listener("echo")?)?;
    let worker = boot.connect().await?;
    worker.ready().await?;
    let mut connections = JoinSet::new();
    let mut order = loop {
        tokio::select! {
            order = worker.drain_requested() => break order,
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(echo(stream))),
            // Collects what has ended, so that the set does not grow.
            Some(_) = connections.join_next() => {}
        }
    };
    // Accept what the kernel has queued, then close the port and let the open connections end.
    let quiet = sleep(order.accept);
    tokio::pin!(quiet);
    while let Some((stream, _)) = tokio::select! { c = listener.accept() => c.ok(), () = &mut quiet => None } {
        connections.spawn(echo(stream));
    }
    drop(listener);
    let ended = connections.join_all();
    tokio::pin!(ended);
    // A newer order may give less time.
    while let Some(newer) = tokio::select! {
        _ = timeout(order.deadline.saturating_sub(order.accept), &mut ended) => None,
        newer = worker.order_changed(order) => Some(newer),
    } {
        order = newer;
    }
    Ok(())
}

async fn echo(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    // A client that goes away is no error of the server.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}
