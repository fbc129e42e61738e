//! The Lua scripts. The server runs each of them as one atomic step.

use std::sync::OnceLock;

use redis::{Cmd, Value};

use super::{
    command::{Request, renamed},
    connections::{Connections, Retry},
};
use crate::error::ClientError;

/// The texts of these files, one after the other.
macro_rules! scripts {
    ($($name:literal)+) => {
        concat!($(include_str!(concat!("../../scripts/", $name, ".lua")), "\n"),+)
    };
}

pub(crate) static CREATE: Script = Script::new(scripts!("head" "shared" "create"));
pub(crate) static COMMIT: Script =
    Script::new(concat!("local SINGLE = nil\n", scripts!("head" "shared" "commit")));
/// A commit that sets one value.
pub(crate) static SET_ONE: Script =
    Script::new(concat!("local SINGLE = 's'\n", scripts!("head" "fast_path" "shared" "commit")));
/// A commit that adds to one value.
pub(crate) static ADD_ONE: Script =
    Script::new(concat!("local SINGLE = 'a'\n", scripts!("head" "fast_path" "shared" "commit")));
pub(crate) static DELETE: Script = Script::new(scripts!("head" "shared" "delete"));
pub(crate) static DELETE_ALL: Script = Script::new(scripts!("head" "shared" "delete_all"));
pub(crate) static LIST: Script = Script::new(scripts!("head" "shared" "list"));
pub(crate) static INDEX: Script = Script::new(scripts!("head" "shared" "index"));

/// A script. The store sends its digest, and its text only to a server that does not have it yet.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<Box<str>>,
}

/// Where a change must be before the store acknowledges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On the primary.
    Primary,
    /// On as many replicas as the settings ask for.
    Replicas,
}

impl Script {
    const fn new(text: &'static str) -> Self {
        Self { text, digest: OnceLock::new() }
    }

    /// A command that runs the script on these keys. The caller adds arguments of about `bytes` in
    /// total.
    pub(crate) fn on<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str, IntoIter: ExactSizeIterator>,
        bytes: usize,
    ) -> Cmd {
        let keys = keys.into_iter();
        let digest = self.digest.get_or_init(|| redis::Script::new(self.text).get_hash().into());
        let mut command = Cmd::with_capacity(16, 256 + bytes);
        command.arg("EVALSHA").arg(&**digest).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }

    /// Runs a command that [`Self::on`] made.
    pub(crate) async fn run(
        &self,
        connections: &Connections,
        command: Cmd,
        retry: Retry,
    ) -> Result<Value, ClientError> {
        match connections.send(&Request::Single(&command), retry).await {
            // A restart, a failover or `SCRIPT FLUSH` removed the script. `EVAL` stores it again.
            Err(ClientError::NoScript) => {
                let by_text = async {
                    connections.send(&Request::Single(&self.by_text(&command)), retry).await
                };
                Box::pin(by_text).await
            }
            ran => ran,
        }
    }

    /// Runs a command that ends, signs in or rotates a session, and waits until as many replicas
    /// have the change as the settings ask for.
    pub(crate) async fn run_durably(
        &self,
        connections: &Connections,
        command: Cmd,
    ) -> Result<Value, ClientError> {
        if connections.waits_for_replicas() {
            // Sends the text: a server without the script would wait for replicas before it
            // reported that.
            let by_text = async { connections.send_durably(self.by_text(&command)).await };
            return Box::pin(by_text).await;
        }
        self.run(connections, command, Retry::Never).await
    }

    fn by_text(&self, command: &Cmd) -> Cmd {
        renamed(command, "EVAL", self.text)
    }
}
