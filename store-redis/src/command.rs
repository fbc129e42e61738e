//! What is sent.

use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, RedisError, ServerErrorKind, Value, cluster_routing::SingleNodeRoutingInfo};

use crate::opener::Connection;

/// What goes to a server in one round trip.
pub(crate) enum Request {
    One(Cmd),
    /// The answer is a list; each of its answers may be an error.
    All(Pipeline, usize),
    /// The same to one node of a Cluster, whatever the commands are.
    To(SingleNodeRoutingInfo, Pipeline, usize),
}

impl Request {
    /// Several commands in one round trip.
    pub(crate) fn all(commands: impl IntoIterator<Item = Cmd>) -> Self {
        let mut pipeline = Pipeline::new();
        let mut count = 0;
        for command in commands {
            pipeline.add_command(command);
            count += 1;
        }
        Self::All(pipeline, count)
    }

    /// The same, followed by a wait for replicas.
    pub(crate) fn and_wait(&self, replicas: usize, within: Duration) -> Self {
        let mut wait = redis::cmd("WAIT");
        wait.arg(replicas).arg(millis(within));
        match self {
            Self::One(command) => Self::all([command.clone(), wait]),
            Self::All(commands, count) => {
                let mut commands = commands.clone();
                commands.add_command(wait);
                Self::All(commands, count + 1)
            }
            Self::To(node, commands, count) => {
                let mut commands = commands.clone();
                commands.add_command(wait);
                Self::To(node.clone(), commands, count + 1)
            }
        }
    }

    /// The same with another name and first argument of each command.
    pub(crate) fn renamed(&self, name: &str, first: &str) -> Self {
        match self {
            Self::One(command) => Self::One(renamed(command, name, first)),
            Self::All(commands, _) | Self::To(_, commands, _) => {
                Self::all(commands.cmd_iter().map(|command| renamed(command, name, first)))
            }
        }
    }

    pub(crate) async fn send(&self, connection: &mut Connection) -> Result<Value, RedisError> {
        let sent = self.send_plainly(connection).await;
        let Err(error) = &sent else { return sent };
        let asked = error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::Ask);
        match (asked, error.redirect_node(), &mut *connection) {
            // The slot is moving to that node, which takes commands for it only if it is told so.
            (true, Some((address, _)), Connection::Cluster(cluster)) => {
                let Some((host, port)) = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
                    return sent;
                };
                let node = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
                let (commands, single) = self.asking();
                let count = commands.len();
                let answers = Box::pin(cluster.route_pipeline(commands, 0, count, node)).await?;
                let mut answers = answers.into_iter().skip(1).step_by(2);
                if single { answers.next().unwrap_or_default().extract_error() } else { Ok(Value::Array(answers.collect())) }
            }
            _ => sent,
        }
    }

    async fn send_plainly(&self, connection: &mut Connection) -> Result<Value, RedisError> {
        match (self, connection) {
            (Self::One(command), connection) => connection.send(command).await,
            (Self::To(node, commands, count), Connection::Cluster(cluster)) => {
                executed(Box::pin(cluster.route_pipeline(commands.clone(), 0, *count, node.clone())).await?)
            }
            (Self::All(commands, count) | Self::To(_, commands, count), connection) => {
                executed(connection.send_all(commands, *count).await?)
            }
        }
    }

    /// Each command after an `ASKING`, and whether there is only one.
    fn asking(&self) -> (Pipeline, bool) {
        let mut asking = Pipeline::new();
        let mut add = |command: &Cmd| {
            asking.add_command(redis::cmd("ASKING"));
            asking.add_command(command.clone());
        };
        match self {
            Self::One(command) => add(command),
            Self::All(commands, _) | Self::To(_, commands, _) => commands.cmd_iter().for_each(add),
        }
        (asking, matches!(self, Self::One(_)))
    }
}

/// The answers of a pipeline whose first command is the one that matters: if the server could not execute that one just now, it is the
/// error of all, so that all are sent again.
fn executed(mut answers: Vec<Value>) -> Result<Value, RedisError> {
    let refused = |kind: ServerErrorKind| {
        use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
        matches!(kind, Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain)
    };
    match answers.first() {
        Some(Value::ServerError(error)) if error.kind().is_some_and(refused) => std::mem::take(&mut answers[0]).extract_error(),
        _ => Ok(Value::Array(answers)),
    }
}

/// The command with another name and first argument, and all that follows.
fn renamed(command: &Cmd, name: &str, first: &str) -> Cmd {
    let mut renamed = redis::cmd(name);
    renamed.arg(first);
    for argument in command.args_iter().skip(2) {
        if let Arg::Simple(bytes) = argument {
            renamed.arg(bytes);
        }
    }
    renamed
}

/// A duration in whole milliseconds, as every time that is sent.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Value {
        redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn what_was_not_executed_is_an_error_and_what_was_refused_is_an_answer() {
        for line in ["-LOADING it is", "-READONLY it is", "-MOVED 1 host:1", "-MASTERDOWN it is"] {
            assert!(executed(vec![answer(line), answer("+OK")]).is_err(), "{line}");
        }
        for line in ["-WRONGTYPE it is", "-NOSCRIPT it is", "+OK"] {
            assert!(executed(vec![answer(line), answer("+OK")]).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_script_by_text_keeps_keys_and_arguments() {
        let mut command = redis::cmd("EVALSHA");
        command.arg("digest").arg(1).arg("key").arg("value");
        let renamed = renamed(&command, "EVAL", "return 1");
        assert_eq!(renamed.get_packed_command(), b"*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n$5\r\nvalue\r\n");
    }
}
