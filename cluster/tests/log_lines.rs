//! K14: log lines of many processes on one pipe. The test has its own `main`, because the test
//! program is also the primary and the workers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "it prints in the format of the test harness")]

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead, BufReader, Write},
    num::NonZeroUsize,
    process::{Command, Stdio},
    time::Instant,
};

use cluster::{Event, Role, Shutdown, WorkerBoot, Workers};
use tokio::runtime::Builder;

const NAME: &str = "k14_log_lines_of_eight_workers_are_whole_and_in_order";
const WORKERS: usize = 8;
const LINES: usize = 10_000;

fn main() {
    if env::var_os("LINES_CLUSTER").is_some() {
        return run_cluster();
    }
    // The arguments of a test runner.
    let given: Vec<String> = env::args().skip(1).collect();
    let has = |option: &str| given.iter().any(|arg| arg == option);
    let wanted = given.iter().rfind(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err());
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
    } else if !has("--ignored") && wanted.is_none_or(|wanted| NAME.contains(wanted.as_str())) {
        check_lines();
        println!("test {NAME} ... ok");
    }
}

fn check_lines() {
    let begun = Instant::now();
    let (read, write) = io::pipe().unwrap();
    // Two pages, so that the pipe is full all the time.
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
        let (writer, worker, n, filler) = match words[..] {
            ["wrote", worker, n, filler] => ("wrote", worker, n, filler),
            [time, "", "INFO", worker, n, filler] if time.len() == 27 => {
                ("logged", worker, n, filler)
            }
            _ => panic!("line is not whole: {line}"),
        };
        let expected = next.entry((writer.to_owned(), worker.to_owned())).or_default();
        assert!(
            n == expected.to_string() && filler == fill(*expected),
            "line {expected} of worker {worker}, {writer}: {line}"
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

/// Filler text. The longest line has 4,096 bytes, which a pipe still writes in one piece.
fn fill(n: usize) -> String {
    "x".repeat(if n.is_multiple_of(50) { 4_054 } else { 1 + n % 150 })
}

fn run_cluster() {
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
    // As the demo server logs.
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_target(false).init();
    let worker = boot.connect().await.unwrap();
    worker.ready().await.unwrap();
    let id = worker.id();
    for n in 0..LINES {
        let filler = fill(n);
        tracing::info!("{id} {n} {filler}");
        io::stdout().write_all(format!("wrote {id} {n} {filler}\n").as_bytes()).unwrap();
    }
    worker.send("done").await.unwrap();
    worker.drain_requested().await;
}
