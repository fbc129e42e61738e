//! Requests: what the store sends in one round trip, and how it is routed.

use std::time::{Duration, Instant};

use redis::{
    Arg, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value, aio::ConnectionLike,
    cluster_async::ClusterConnection, cluster_routing::SingleNodeRoutingInfo,
};

use super::{
    clock::{ServerClock, ServerTime},
    connector::Connection,
    decode,
};
use crate::error::ask_target;

/// What goes to a server in one round trip.
pub(crate) enum Request<'c> {
    /// One command.
    Single(&'c Cmd),
    /// One command and the server's time. The answer is a list: the command's answer, which may be
    /// an error, and milliseconds. The time may come from the cache.
    WithTime(&'c Cmd),
    /// Like `WithTime`, but the server tells the time in this round trip.
    WithFreshTime(&'c Cmd),
    /// Several commands for one server. The answer is a list, in which each answer may be an error.
    Pipeline(&'c [Cmd]),
    /// Like `Pipeline`, for this node of a Cluster. The keys of the commands do not matter.
    PipelineTo(SingleNodeRoutingInfo, &'c [Cmd]),
}

impl Request<'_> {
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        clock: &ServerClock,
    ) -> Result<Value, RedisError> {
        // Most calls take one of the first two arms. The rarer ones are in a box, so that they do
        // not enlarge the future of every call.
        match (self, &mut *connection) {
            (Self::Single(command), node @ Connection::Node(_)) => node.send(command).await,
            (Self::WithTime(command), node @ Connection::Node(_)) => match clock.for_load() {
                Some(now) => Ok(with_time(executed(node.send_raw(command).await?)?, now)),
                None => Box::pin(self.send_rare(connection, clock)).await,
            },
            _ => Box::pin(self.send_rare(connection, clock)).await,
        }
    }

    async fn send_rare(
        &self,
        connection: &mut Connection,
        clock: &ServerClock,
    ) -> Result<Value, RedisError> {
        match (self, connection) {
            (Self::Single(command), Connection::Cluster(cluster)) => {
                match cluster.req_packed_command(command).await {
                    Err(error) if is_ask(&error) => send_asking(cluster, &[command], error)
                        .await?
                        .pop()
                        .unwrap_or_default()
                        .extract_error(),
                    answer => answer?.extract_error(),
                }
            }
            (Self::Single(command), node) => node.send(command).await,
            (
                Self::WithTime(command) | Self::WithFreshTime(command),
                node @ Connection::Node(_),
            ) => {
                let asked_at = Instant::now();
                let both = pipeline([*command, &redis::cmd("TIME")]);
                let (answer, now) = answer_and_micros(node.send_all(&both, 2).await?)?;
                clock.record(ServerTime::new(asked_at, now));
                Ok(with_time(answer, now))
            }
            // Each node has its own clock, and only the driver knows which node answers.
            (
                Self::WithTime(command) | Self::WithFreshTime(command),
                Connection::Cluster(cluster),
            ) => {
                let both = [*command, &redis::cmd("TIME")];
                let (answer, now) = answer_and_micros(send_all(cluster, &both).await?)?;
                Ok(with_time(answer, now))
            }
            (Self::Pipeline(commands), Connection::Cluster(cluster)) => {
                send_all(cluster, &commands.iter().collect::<Vec<_>>()).await.map(Value::Array)
            }
            (Self::PipelineTo(node, commands), Connection::Cluster(cluster)) => {
                let answers = cluster
                    .route_pipeline(pipeline(*commands), 0, commands.len(), node.clone())
                    .await?;
                first_executed(answers).map(Value::Array)
            }
            (Self::Pipeline(commands) | Self::PipelineTo(_, commands), node) => {
                let answers = node.send_all(&pipeline(*commands), commands.len()).await?;
                first_executed(answers).map(Value::Array)
            }
        }
    }
}

/// The command with another name and first argument; all other arguments stay.
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

/// A duration in whole milliseconds, the unit of all times in commands.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sends commands for one slot to the node that serves the slot.
async fn send_all(
    cluster: &mut ClusterConnection,
    commands: &[&Cmd],
) -> Result<Vec<Value>, RedisError> {
    match cluster.req_packed_commands(&pipeline(commands.iter().copied()), 0, commands.len()).await
    {
        Err(error) if is_ask(&error) => send_asking(cluster, commands, error).await,
        answers => first_executed(answers?),
    }
}

/// Whether the slot is moving to another node.
fn is_ask(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Ask)
}

/// Sends commands to the node to which their slot is moving. That node accepts each of them only
/// after an `ASKING`.
async fn send_asking(
    cluster: &mut ClusterConnection,
    commands: &[&Cmd],
    error: RedisError,
) -> Result<Vec<Value>, RedisError> {
    let Some((host, port)) = ask_target(&error) else { return Err(error) };
    let node = SingleNodeRoutingInfo::ByAddress { host, port };
    let asking = redis::cmd("ASKING");
    let commands: Vec<&Cmd> = commands.iter().flat_map(|command| [&asking, *command]).collect();
    let answers =
        cluster.route_pipeline(pipeline(commands.iter().copied()), 0, commands.len(), node).await?;
    first_executed(answers.into_iter().skip(1).step_by(2).collect())
}

/// The answer of a `WithTime` request, in the form that [`decode::answer_and_time`] reads.
fn with_time(answer: Value, micros: u64) -> Value {
    Value::Array(vec![answer, Value::Int((micros / 1000).cast_signed())])
}

fn pipeline<'c>(commands: impl IntoIterator<Item = &'c Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}

/// The answers of a command and of `TIME`. The time is in microseconds.
fn answer_and_micros(answers: Vec<Value>) -> Result<(Value, u64), RedisError> {
    let shape = || {
        RedisError::from((ErrorKind::UnexpectedReturnType, "a command and TIME have two answers"))
    };
    let [answer, time] = <[Value; 2]>::try_from(first_executed(answers)?).map_err(|_| shape())?;
    Ok((answer, decode::time(&time.extract_error()?).ok_or_else(shape)?))
}

/// The answers of a pipeline. If the server could not execute the first command, its error is the
/// error of the whole pipeline, so that the store sends all commands again.
fn first_executed(mut answers: Vec<Value>) -> Result<Vec<Value>, RedisError> {
    if let Some(first) = answers.first_mut() {
        *first = executed(std::mem::take(first))?;
    }
    Ok(answers)
}

/// The answer, or an error if the server could not execute the command at the moment. Any other
/// error of the server is an answer.
fn executed(answer: Value) -> Result<Value, RedisError> {
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
    fn only_an_unexecuted_first_command_fails_the_pipeline() {
        for line in ["-LOADING it is", "-READONLY it is", "-MOVED 1 host:1", "-MASTERDOWN it is"] {
            assert!(first_executed(vec![answer(line), answer("+OK")]).is_err(), "{line}");
        }
        for line in ["-WRONGTYPE it is", "-NOSCRIPT it is", "+OK"] {
            assert!(first_executed(vec![answer(line), answer("+OK")]).is_ok(), "{line}");
        }
    }

    #[test]
    fn renamed_command_keeps_keys_and_arguments() {
        let mut command = redis::cmd("EVALSHA");
        command.arg("digest").arg(1).arg("key").arg("value");
        let renamed = renamed(&command, "EVAL", "return 1");
        assert_eq!(
            renamed.get_packed_command(),
            b"*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"
        );
    }
}
