//! What is sent.

use std::time::{Duration, Instant};

use redis::{
    Arg, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value, aio::ConnectionLike,
    cluster_async::ClusterConnection, cluster_routing::SingleNodeRoutingInfo,
};

use crate::{
    answer,
    clock::{ServerClock, ServerTime},
    error::moving_to,
    opener::Connection,
};

/// What goes to a server in one round trip.
pub(crate) enum Request<'c> {
    /// One command.
    One(&'c Cmd),
    /// One command, and what time it is at the server. Answered by a list of the command's answer,
    /// which may be an error, and milliseconds.
    Timed(&'c Cmd),
    /// The same, and the time is the server's own word, not computed from an earlier one.
    Told(&'c Cmd),
    /// Several commands for one server. Answered by a list; each answer may be an error.
    All(&'c [Cmd]),
    /// The same for a node of a Cluster, whatever the commands are.
    To(SingleNodeRoutingInfo, &'c [Cmd]),
}

impl Request<'_> {
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        clock: &ServerClock,
    ) -> Result<Value, RedisError> {
        // The two that most calls are. What is rarer is in a box, so that it weighs on no other
        // call.
        match (self, &mut *connection) {
            (Self::One(command), node @ Connection::Node(_)) => node.send(command).await,
            (Self::Timed(command), node @ Connection::Node(_)) => match clock.for_load() {
                Some(now) => Ok(at(done(node.send_plainly(command).await?)?, now)),
                None => Box::pin(self.send_rarer(connection, clock)).await,
            },
            _ => Box::pin(self.send_rarer(connection, clock)).await,
        }
    }

    async fn send_rarer(
        &self,
        connection: &mut Connection,
        clock: &ServerClock,
    ) -> Result<Value, RedisError> {
        match (self, connection) {
            (Self::One(command), Connection::Cluster(cluster)) => match cluster
                .req_packed_command(command)
                .await
            {
                Err(asked) if is_ask(&asked) => {
                    ask(cluster, &[command], asked).await?.pop().unwrap_or_default().extract_error()
                }
                answer => answer?.extract_error(),
            },
            (Self::One(command), node) => node.send(command).await,
            (Self::Timed(command) | Self::Told(command), node @ Connection::Node(_)) => {
                let asked = Instant::now();
                let (answer, now) =
                    timed(node.send_all(&pipeline([*command, &redis::cmd("TIME")]), 2).await?)?;
                clock.note(ServerTime::new(asked, now));
                Ok(at(answer, now))
            }
            // Every node has a clock of its own, and which one answers is the driver's to know.
            (Self::Timed(command) | Self::Told(command), Connection::Cluster(cluster)) => {
                let (answer, now) =
                    timed(send_all(cluster, &[*command, &redis::cmd("TIME")]).await?)?;
                Ok(at(answer, now))
            }
            (Self::All(commands), Connection::Cluster(cluster)) => {
                send_all(cluster, &commands.iter().collect::<Vec<_>>()).await.map(Value::Array)
            }
            (Self::To(node, commands), Connection::Cluster(cluster)) => executed(
                cluster
                    .route_pipeline(pipeline(*commands), 0, commands.len(), node.clone())
                    .await?,
            )
            .map(Value::Array),
            (Self::All(commands) | Self::To(_, commands), node) => {
                executed(node.send_all(&pipeline(*commands), commands.len()).await?)
                    .map(Value::Array)
            }
        }
    }
}

/// The command with another name and first argument, and all that follows.
pub(crate) fn renamed(command: &Cmd, name: &str, first: &str) -> Cmd {
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

/// Sends commands for one slot to whoever serves it.
async fn send_all(
    cluster: &mut ClusterConnection,
    commands: &[&Cmd],
) -> Result<Vec<Value>, RedisError> {
    match cluster.req_packed_commands(&pipeline(commands.iter().copied()), 0, commands.len()).await
    {
        Err(asked) if is_ask(&asked) => ask(cluster, commands, asked).await,
        answers => executed(answers?),
    }
}

/// Whether the slot is on its way to another node.
fn is_ask(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Ask)
}

/// Sends commands to the node that a slot is moving to, which takes commands for it only if it is
/// told so.
async fn ask(
    cluster: &mut ClusterConnection,
    commands: &[&Cmd],
    asked: RedisError,
) -> Result<Vec<Value>, RedisError> {
    let Some((host, port)) = moving_to(&asked) else { return Err(asked) };
    let node = SingleNodeRoutingInfo::ByAddress { host, port };
    let asking = redis::cmd("ASKING");
    let commands: Vec<&Cmd> = commands.iter().flat_map(|command| [&asking, *command]).collect();
    let answers =
        cluster.route_pipeline(pipeline(commands.iter().copied()), 0, commands.len(), node).await?;
    executed(answers.into_iter().skip(1).step_by(2).collect())
}

/// An answer and the server's time, in milliseconds from now on, as records have it.
fn at(answer: Value, micros: u64) -> Value {
    Value::Array(vec![answer, Value::Int((micros / 1000).cast_signed())])
}

fn pipeline<'c>(commands: impl IntoIterator<Item = &'c Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}

/// The answer of a command and the time that came with it, in microseconds.
fn timed(answers: Vec<Value>) -> Result<(Value, u64), RedisError> {
    let shape = || {
        RedisError::from((ErrorKind::UnexpectedReturnType, "a command and TIME have two answers"))
    };
    let [answer, time] = <[Value; 2]>::try_from(executed(answers)?).map_err(|_| shape())?;
    Ok((answer, answer::time(&time.extract_error()?).ok_or_else(shape)?))
}

/// The answers of commands of which the first is the one that matters: if the server could not
/// execute that one just now, it is the error of all, so that all are sent again.
fn executed(mut answers: Vec<Value>) -> Result<Vec<Value>, RedisError> {
    if let Some(first) = answers.first_mut() {
        *first = done(std::mem::take(first))?;
    }
    Ok(answers)
}

/// An answer, unless it says that the server could not execute the command just now; a refusal is
/// an answer.
fn done(answer: Value) -> Result<Value, RedisError> {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match &answer {
        Value::ServerError(error)
            if error.code() == "BUSY"
                || matches!(
                    error.kind(),
                    Some(
                        Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain
                    )
                ) =>
        {
            answer.extract_error()
        }
        _ => Ok(answer),
    }
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
        assert_eq!(
            renamed.get_packed_command(),
            b"*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"
        );
    }
}
