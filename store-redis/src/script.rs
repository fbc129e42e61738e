//! The scripts that run at the server, each as one step.

use std::sync::OnceLock;

use redis::{Cmd, Value};

use crate::{
    command::Request,
    error::ClientError,
    link::{Links, Repeat},
};

pub(crate) static CREATE: Script = Script::new(include_str!("../scripts/create.lua"));
pub(crate) static COMMIT: Script = Script::new(include_str!("../scripts/commit.lua"));
pub(crate) static DELETE: Script = Script::new(include_str!("../scripts/delete.lua"));
pub(crate) static DELETE_ALL: Script = Script::new(include_str!("../scripts/delete_all.lua"));
pub(crate) static LIST: Script = Script::new(include_str!("../scripts/list.lua"));
pub(crate) static INDEX: Script = Script::new(include_str!("../scripts/index.lua"));
pub(crate) static PRUNE: Script = Script::new(include_str!("../scripts/prune.lua"));

/// A script. It is sent by its digest, and by its text to a server that does not have it yet.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<Box<str>>,
}

/// When a script's effect counts.
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
    pub(crate) fn on<'k>(&self, keys: impl IntoIterator<Item = &'k str, IntoIter: ExactSizeIterator>, bytes: usize) -> Cmd {
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
    pub(crate) async fn run(&self, links: &Links, command: Cmd, repeat: Repeat, durability: Durability) -> Result<Value, ClientError> {
        let request = Request::One(command);
        if durability == Durability::Replicas && links.waits() {
            // With its text, because a server that does not know it would wait for replicas before it said so.
            return Box::pin(links.send_durably(&request.renamed("EVAL", self.text))).await;
        }
        match links.send(&request, repeat).await {
            Err(ClientError::NoScript) => Box::pin(self.teach(links, &request, repeat)).await,
            ran => ran,
        }
    }

    /// Restarted, failed over, or flushed: the text teaches the server anew, for all.
    async fn teach(&self, links: &Links, request: &Request, repeat: Repeat) -> Result<Value, ClientError> {
        links.send(&request.renamed("EVAL", self.text), repeat).await
    }
}
