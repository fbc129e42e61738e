//! Samples the replication state of Redis nodes during a run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ::tests::service::PASSWORD;
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};
use tokio::task::JoinHandle;

use super::{
    downtime::Downtime,
    error::BoxError,
    failovers::{ReplicationSample, find_failovers},
};
use crate::history::{Failover, now};

/// The interval between two samples of a node.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// The time in which a node must answer. After that the monitor asks again.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// The time in which a node must give its last sample.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Commands that do not read or write a session, so a failover undoes none of their answers.
const OTHER_COMMANDS: &[&str] = &[
    "auth",
    "client",
    "cluster",
    "command",
    "config",
    "exec",
    "hello",
    "info",
    "multi",
    "ping",
    "psync",
    "publish",
    "replconf",
    "replicaof",
    "role",
    "script",
    "select",
    "slaveof",
    "subscribe",
];

/// Samples Redis nodes until [`end`](Self::end).
#[derive(Debug)]
pub(super) struct ReplicationMonitor {
    ports: Vec<u16>,
    tasks: Vec<JoinHandle<()>>,
    samples: Arc<Mutex<Vec<ReplicationSample>>>,
    is_over: Arc<AtomicBool>,
}

impl ReplicationMonitor {
    pub(super) fn begin(ports: &[u16]) -> Self {
        let (samples, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let tasks = ports
            .iter()
            .map(|port| tokio::spawn(follow(*port, Arc::clone(&samples), Arc::clone(&is_over))))
            .collect();
        Self { ports: ports.to_vec(), tasks, samples, is_over }
    }

    /// Takes a last sample of each node, and returns the failovers. The workers must have made
    /// their last call.
    ///
    /// # Errors
    /// If there are too few samples of a server.
    pub(super) async fn end(self, downtimes: &[Downtime]) -> Result<Vec<Failover>, BoxError> {
        let over = now();
        self.is_over.store(true, Relaxed);
        for task in self.tasks {
            let _ = task.await;
        }
        find_failovers(&self.samples.lock(), downtimes, &self.ports, over)
    }
}

async fn follow(port: u16, samples: Arc<Mutex<Vec<ReplicationSample>>>, is_over: Arc<AtomicBool>) {
    let mut connection = None;
    let mut last: Option<ReplicationSample> = None;
    let mut final_since = None;
    loop {
        if final_since.is_none() && is_over.load(Relaxed) {
            final_since = Some(Instant::now());
        }
        let from = now();
        let text = tokio::time::timeout(ANSWER_WITHIN, ask(port, &mut connection))
            .await
            .unwrap_or_default();
        if text.is_none() {
            connection = None;
        }
        let answer = text.and_then(|text| read(port, from, now(), &text));
        let has_answered = answer.is_some();
        if let Some(sample) = answer {
            // Of equal samples in a row, the first and the last are enough.
            let mut all = samples.lock();
            let is_new = last.as_ref().is_none_or(|last| !last.has_same_state(&sample));
            if is_new {
                all.extend(last.take());
                all.push(sample.clone());
            }
            last = Some(sample);
        }
        if final_since.is_some_and(|begun| has_answered || begun.elapsed() > LAST_ANSWER_WITHIN) {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    samples.lock().extend(last);
}

async fn ask(port: u16, connection: &mut Option<MultiplexedConnection>) -> Option<String> {
    if connection.is_none() {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let client = Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{port}/0")).ok()?;
        *connection = client.get_multiplexed_async_connection_with_config(&limits).await.ok();
    }
    redis::cmd("INFO").arg("all").query_async(connection.as_mut()?).await.ok()
}

/// Reads a sample from the output of `INFO`.
fn read(port: u16, from: u64, to: u64, text: &str) -> Option<ReplicationSample> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name))
            .map(|(_, value)| value.trim())
    };
    let commands =
        text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let commands = commands
        .filter(|(name, _)| !OTHER_COMMANDS.contains(&name.split('|').next().unwrap_or_default()));
    let count = |(_, rest): (&str, &str)| {
        rest.split(',').next().and_then(|digits| digits.parse::<u64>().ok()).unwrap_or_default()
    };
    Some(ReplicationSample {
        port,
        from,
        to,
        run_id: field("run_id")?.to_owned(),
        replication_id: field("master_replid")?.to_owned(),
        former_replication_id: field("master_replid2")?.to_owned(),
        diverged_at: field("second_repl_offset")?.parse().unwrap_or(-1),
        offset: field("master_repl_offset")?.parse().ok()?,
        is_primary: field("role")? == "master",
        session_commands: commands.map(count).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn info_gives_replication_state_and_session_commands() {
        let text = "# Server\r\nrun_id:aa\r\nrole:master\r\n\
                    master_replid:bb\r\nmaster_replid2:cc\r\nmaster_repl_offset:70\r\n\
                    second_repl_offset:61\r\ncmdstat_evalsha:calls=5,usec=9\r\n\
                    cmdstat_client|setinfo:calls=2,usec=1\r\n\
                    cmdstat_hgetall:calls=3,usec=9\r\ncmdstat_info:calls=4,usec=9\r\n";
        let sample = read(1, 2, 3, text).unwrap();
        assert_eq!(
            (sample.session_commands, sample.offset, sample.diverged_at, sample.is_primary),
            (8, 70, 61, true)
        );
        assert_eq!(
            (sample.replication_id.as_str(), sample.former_replication_id.as_str()),
            ("bb", "cc")
        );
    }
}
