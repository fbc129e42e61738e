//! K14: log lines of many processes on one pipe. The test is a program of its own, because it is
//! the workers as well.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "it speaks as the test harness does")]

use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::time::Instant;

use cluster::{Event, Role, Shutdown, WorkerBoot, Workers};
use tokio::runtime::Builder;

const NAME: &str = "k14_log_lines_of_eight_workers_are_whole_and_in_order";
const WORKERS: usize = 8;
const LINES: usize = 10_000;

fn main() {
    if env::var_os("LINES_CLUSTER").is_some() {
        return be_cluster();
    }
    // What a test runner asks of a test program.
    let given: Vec<String> = env::args().skip(1).collect();
    let has = |option: &str| given.iter().any(|arg| arg == option);
    let wanted = given.iter().rfind(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err());
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
    } else if !has("--ignored") && wanted.is_none_or(|wanted| NAME.contains(wanted.as_str())) {
        whole_and_in_order();
        println!("test {NAME} ... ok");
    }
}

fn whole_and_in_order() {
    let begun = Instant::now();
    let (read, write) = io::pipe().unwrap();
    // Two pages, so that it is full all the time.
    rustix::pipe::fcntl_setpipe_size(&write, 8192).unwrap();
    let mut cluster = Command::new(env::current_exe().unwrap())
        .env("LINES_CLUSTER", "yes")
        .stdin(Stdio::null())
        .stdout(write.try_clone().unwrap())
        .stderr(write)
        .spawn()
        .unwrap();
    let mut next = BTreeMap::<(String, String), usize>::new();
    let mut longest = 0;
    for line in BufReader::new(read).lines().map(Result::unwrap) {
        let words: Vec<&str> = line.split(' ').collect();
        let (way, worker, n, filler) = match words[..] {
            ["said", worker, n, filler] => ("said", worker, n, filler),
            [time, "", "INFO", worker, n, filler] if time.len() == 27 => {
                ("logged", worker, n, filler)
            }
            _ => panic!("torn: {line}"),
        };
        let expected = next.entry((way.to_owned(), worker.to_owned())).or_default();
        assert!(
            n == expected.to_string() && filler == fill(*expected),
            "line {expected} of worker {worker}, {way}: {line}"
        );
        *expected += 1;
        longest = longest.max(line.len() + 1);
    }
    assert!(cluster.wait().unwrap().success());
    assert_eq!(next.len(), 2 * WORKERS, "{next:?}");
    assert!(next.values().all(|&count| count == LINES), "{next:?}");
    println!(
        "{} lines, the longest of {longest} bytes, in {:?}",
        2 * WORKERS * LINES,
        begun.elapsed()
    );
}

/// Up to 4,096 bytes with the rest of its line, which is what a pipe takes whole.
fn fill(n: usize) -> String {
    "x".repeat(if n.is_multiple_of(50) { 4_054 } else { 1 + n % 150 })
}

fn be_cluster() {
    let role = cluster::role().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match role {
            Role::Primary(builder) => {
                let workers = Workers::Exactly(NonZeroUsize::new(WORKERS).unwrap());
                let cluster = builder.workers(workers).start().await.unwrap();
                let (mut events, mut done) = (cluster.events(), 0);
                while done < WORKERS {
                    match events.next().await.unwrap() {
                        Event::Message { .. } => done += 1,
                        Event::Exited { id, status, .. } => panic!("worker {id} ended: {status}"),
                        _ => {}
                    }
                }
                cluster.shutdown(Shutdown::Graceful).await;
            }
            Role::Worker(boot) => write_lines(boot).await,
        }
    });
}

async fn write_lines(boot: WorkerBoot) {
    // As the demo logs.
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_target(false).init();
    let worker = boot.connect().await.unwrap();
    worker.ready().await.unwrap();
    let id = worker.id();
    for n in 0..LINES {
        let filler = fill(n);
        tracing::info!("{id} {n} {filler}");
        io::stdout().write_all(format!("said {id} {n} {filler}\n").as_bytes()).unwrap();
    }
    worker.send("done").await.unwrap();
    worker.drain_requested().await;
}
