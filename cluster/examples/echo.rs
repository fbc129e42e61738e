//! A TCP echo server with one worker process per CPU. Run it, connect with `nc 127.0.0.1 7000`,
//! kill a worker, and try again.

use std::error::Error;

use cluster::{ListenSpec, Role, WorkerBoot};
use tokio::net::{TcpListener, TcpStream};
use tokio::{runtime::Runtime, task::JoinSet, time::timeout};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let port = std::env::var("PORT").unwrap_or_else(|_| "7000".to_owned());
    match cluster::role()? {
        Role::Worker(boot) => Runtime::new()?.block_on(serve(boot)),
        Role::Primary(builder) => Runtime::new()?.block_on(async {
            builder
                .listen("echo", ListenSpec::tcp(format!("127.0.0.1:{port}")))
                .start()
                .await?
                .wait()
                .await?;
            Ok(())
        }),
    }
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
            // Removes ended connections, so that the set does not grow.
            Some(_) = connections.join_next() => {}
        }
    };
    // Accept the connections in the kernel's queue, then close the port and wait for the open
    // connections.
    let _ = timeout(order.accept, async {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(echo(stream));
        }
    })
    .await;
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
    // A disconnected client is not an error of the server.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}
