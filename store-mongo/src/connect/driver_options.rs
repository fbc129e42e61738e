//! The driver's options: resolved in their own task, and with the current password.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use mongodb::options::{ClientOptions, Credential};
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
    /// How often the password was renewed.
    generation: AtomicU64,
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
            generation: AtomicU64::new(0),
        }
    }

    /// The generation of the current password. Clients of an earlier generation are replaced.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// The options with the current password, and its generation.
    pub(crate) async fn current(&self) -> Result<(ClientOptions, u64), ClientError> {
        if self.resolved.get().is_none() {
            let outcome = self.resolution();
            outcome.await?;
        }
        let resolved = self.resolved.get();
        let mut options = resolved.ok_or(ClientError::NoServer)?.clone();
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
        let task = tokio::spawn(async move {
            let options = config.client_options().await?;
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
