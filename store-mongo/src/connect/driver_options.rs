//! The driver's options: resolved in their own task, and with the current password.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::{config::Config, error::ClientError};

/// The options for the clients of a store.
pub(crate) struct DriverOptions {
    pub(crate) config: Box<Config>,
    resolved: Arc<OnceLock<ClientOptions>>,
    resolution: Mutex<Option<Resolution>>,
    /// The password that replaces the one in `resolved`.
    renewed: Mutex<Option<String>>,
    /// The time of the slowest DNS lookup, in milliseconds.
    lookup: Arc<AtomicU64>,
    /// Whether a task measures the lookups.
    is_measuring: Arc<AtomicBool>,
    /// How often the password or the time to connect was renewed.
    generation: Arc<AtomicU64>,
}

/// The task that resolves the options. The DNS lookup of a `mongodb+srv` URL can take longer than a
/// call, so that the calls wait for the task and do not own it.
struct Resolution {
    task: AbortHandle,
    outcome: Shared<BoxFuture<'static, Result<(), ClientError>>>,
}

impl DriverOptions {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            config: Box::new(config.clone()),
            resolved: Arc::default(),
            resolution: Mutex::default(),
            renewed: Mutex::default(),
            lookup: Arc::default(),
            is_measuring: Arc::default(),
            generation: Arc::default(),
        }
    }

    /// The generation of the current options. Clients of an earlier generation are replaced.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// The current options, and their generation.
    pub(crate) async fn current(&self) -> Result<(ClientOptions, u64), ClientError> {
        if self.resolved.get().is_none() {
            let outcome = self.resolution();
            outcome.await?;
        }
        let resolved = self.resolved.get();
        let mut options = resolved.ok_or(ClientError::NoServer)?.clone();
        let lookup = Duration::from_millis(self.lookup.load(SeqCst));
        options.connect_timeout = self.config.connect_timeout(lookup).or(options.connect_timeout);
        let renewed = self.renewed.lock();
        if let Some(password) = &*renewed {
            options.credential.get_or_insert_with(Credential::default).password =
                Some(password.clone());
        }
        Ok((options, self.generation()))
    }

    /// The options if they have been resolved.
    pub(crate) fn resolved(&self) -> Option<&ClientOptions> {
        self.resolved.get()
    }

    /// The running resolution. Starts one if the last one failed, or none was started.
    fn resolution(&self) -> Shared<BoxFuture<'static, Result<(), ClientError>>> {
        let mut resolution = self.resolution.lock();
        if let Some(running) = &*resolution
            && !running.task.is_finished()
        {
            return running.outcome.clone();
        }
        let (config, resolved) = (self.config.clone(), Arc::clone(&self.resolved));
        let lookup = Arc::clone(&self.lookup);
        let task = tokio::spawn(async move {
            let options = config.client_options().await?;
            lookup.store(slowest_lookup(options.hosts.clone()).await, SeqCst);
            // Another runtime may have resolved them too. Both results are equally good.
            let _ = resolved.set(options);
            Ok(())
        });
        let handle = task.abort_handle();
        // The task ends early if its runtime ends.
        let ended = || Err(ClientError::Lost("the runtime of another call ended".to_owned()));
        let outcome = async move { task.await.unwrap_or_else(|_| ended()) }.boxed().shared();
        *resolution = Some(Resolution { task: handle, outcome: outcome.clone() });
        outcome
    }

    /// Measures the lookups again after the driver found no server. If they have become so slow
    /// that the driver cannot connect, later calls use a client with more time to connect.
    pub(crate) fn measure_lookups(&self) {
        let Some(options) = self.resolved.get() else { return };
        if self.is_measuring.swap(true, SeqCst) {
            return;
        }
        let (config, hosts) = (self.config.clone(), options.hosts.clone());
        let (lookup, generation) = (Arc::clone(&self.lookup), Arc::clone(&self.generation));
        let ended = ResetOnDrop(Arc::clone(&self.is_measuring));
        tokio::spawn(async move {
            let _ended = ended;
            let now = slowest_lookup(hosts).await;
            let timeout = |millis| config.connect_timeout(Duration::from_millis(millis));
            let used = timeout(lookup.load(SeqCst));
            // A lookup that leaves half of the time for the connection is fast enough.
            if timeout(now) > used && used.is_some_and(|used| used < Duration::from_millis(now * 2))
            {
                lookup.store(now, SeqCst);
                generation.fetch_add(1, SeqCst);
            }
        });
    }

    /// Reads the password file again after a server refused the password of generation `used`.
    /// Whether there is another password now.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn renew_password(&self, used: u64) -> Result<bool, ClientError> {
        let mut renewed = self.renewed.lock();
        if self.generation() != used {
            return Ok(true);
        }
        let password = self.config.password().map_err(ClientError::PasswordFile)?;
        let first = || self.resolved.get()?.credential.as_ref()?.password.as_deref();
        if password.is_none() || password.as_deref() == renewed.as_deref().or_else(first) {
            return Ok(false);
        }
        *renewed = password;
        self.generation.fetch_add(1, SeqCst);
        Ok(true)
    }
}

/// The time of the slowest DNS lookup of these servers, in milliseconds. A lookup that fails counts
/// as well: the next one may succeed after the same time.
async fn slowest_lookup(hosts: Vec<ServerAddress>) -> u64 {
    let begun = Instant::now();
    let lookups = hosts.into_iter().map(|server| async move {
        if let ServerAddress::Tcp { host, port } = server {
            // The driver looks the name up again, so that the addresses are not needed here.
            let _ = tokio::net::lookup_host((host, port.unwrap_or(27017))).await;
        }
    });
    join_all(lookups).await;
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Sets a flag to false at the end of a task, also if its runtime ends.
struct ResetOnDrop(Arc<AtomicBool>);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}
