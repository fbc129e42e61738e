//! A proxy that delays all traffic between a store and its server and can drop it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// A proxy for a server on 127.0.0.1. It delays each direction.
#[derive(Debug)]
pub(crate) struct Network {
    /// The address of the proxy.
    pub(crate) address: SocketAddr,
    is_silent: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Network {
    pub(crate) async fn to(port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (is_silent, silence) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                tokio::spawn(carry(here, port, delay, silence.clone()));
            }
        });
        Self { address, is_silent, accepting }
    }

    /// From now on no data arrives, and no end of a connection is reported. Existing connections
    /// and those made until [`recover`](Self::recover) stay silent for ever.
    pub(crate) fn fall_silent(&self) {
        self.is_silent.send_replace(true);
    }

    /// From now on new connections work again.
    pub(crate) fn recover(&self) {
        self.is_silent.send_replace(false);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(here: TcpStream, port: u16, delay: Duration, mut silence: watch::Receiver<bool>) {
    let there = TcpStream::connect(("127.0.0.1", port)).await.expect("the server accepts");
    let (requests, back) = here.into_split();
    let (answers, forth) = there.into_split();
    let flow = async { tokio::join!(flow(requests, forth, delay), flow(answers, back, delay)) };
    let silent = async { silence.wait_for(|is_silent| *is_silent).await.is_ok() };
    tokio::pin!(flow);
    tokio::select! {
        _ = &mut flow => {}
        silent = silent => {
            // The sockets stay open, because closing them would be visible to both ends. An error
            // means that the test is over.
            if silent {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn flow(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
