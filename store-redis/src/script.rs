//! The scripts that run at the server, each as one step.

use std::sync::OnceLock;

use redis::{Cmd, Value};

use crate::{
    command::{Request, renamed},
    error::ClientError,
    link::{Links, Repeat},
};

/// The texts of these files, one after the other.
macro_rules! scripts {
    ($($name:literal)+) => { concat!($(include_str!(concat!("../scripts/", $name, ".lua")), "\n"),+) };
}

pub(crate) static CREATE: Script = Script::new(scripts!("shared" "create"));
pub(crate) static COMMIT: Script =
    Script::new(concat!("local ONE = nil\n", scripts!("shared" "commit")));
/// A commit that sets one value.
pub(crate) static SET_ONE: Script =
    Script::new(concat!("local ONE = 's'\n", scripts!("one" "shared" "commit")));
/// A commit that adds to one value.
pub(crate) static ADD_ONE: Script =
    Script::new(concat!("local ONE = 'a'\n", scripts!("one" "shared" "commit")));
pub(crate) static DELETE: Script = Script::new(scripts!("shared" "delete"));
pub(crate) static DELETE_ALL: Script = Script::new(scripts!("shared" "delete_all"));
pub(crate) static LIST: Script = Script::new(scripts!("shared" "list"));
pub(crate) static INDEX: Script = Script::new(scripts!("shared" "index"));

/// A script. It is sent by its digest, and by its text to a server that does not have it yet.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<Box<str>>,
}

/// When an effect counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Once the primary has it.
    Primary,
    /// Once as many replicas have it as the settings ask for.
    Replicas,
}

impl Script {
    const fn new(text: &'static str) -> Self {
        Self { text, digest: OnceLock::new() }
    }

    /// The command that runs it on these keys; arguments follow, `bytes` of them in all.
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

    /// Runs the command that [`Self::on`] began.
    pub(crate) async fn run(
        &self,
        links: &Links,
        command: Cmd,
        repeat: Repeat,
    ) -> Result<Value, ClientError> {
        match links.send(&Request::One(&command), repeat).await {
            // Restarted, failed over, or flushed: the text teaches the server anew, for all.
            Err(ClientError::NoScript) => {
                Box::pin(async { links.send(&Request::One(&self.whole(&command)), repeat).await })
                    .await
            }
            ran => ran,
        }
    }

    /// Runs a command that ends, signs in or rotates a session: it counts once as many replicas
    /// have it as the settings ask for.
    pub(crate) async fn run_durably(
        &self,
        links: &Links,
        command: Cmd,
    ) -> Result<Value, ClientError> {
        if links.waits() {
            // With its text, because a server that does not know it would wait for replicas before
            // it said so.
            return Box::pin(async { links.send_durably(self.whole(&command)).await }).await;
        }
        self.run(links, command, Repeat::Never).await
    }

    fn whole(&self, command: &Cmd) -> Cmd {
        renamed(command, "EVAL", self.text)
    }
}
