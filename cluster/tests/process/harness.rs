//! Starts the fixture, reads its output, and sends it commands and requests.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal,
    set_child_subreaper, waitpid,
};
use serde_json::Value;
use tempfile::TempDir;

#[path = "../../fixture/error_text.rs"]
mod error_text;

pub(crate) use self::error_text::with_sources;

/// Longest wait for anything. Far longer than expected, so that tests pass on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A running fixture. Dropping it kills the primary. Its workers then end by themselves.
pub(crate) struct Cluster {
    child: Child,
    /// The primary that took over, if any.
    successor: Option<Successor>,
    stdin: ChildStdin,
    lines: Receiver<Value>,
    // Lines that were read while waiting for another one.
    unread: VecDeque<Value>,
    pub(crate) addr: SocketAddr,
}

pub(crate) fn fixture(options: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-fixture"));
    for (name, value) in options {
        command.env(format!("FIXTURE_{}", name.to_uppercase()), value);
    }
    command
}

impl Cluster {
    pub(crate) fn start(options: &[(&str, &str)]) -> Self {
        Self::run(fixture(options))
    }

    pub(crate) fn run(mut command: Command) -> Self {
        // Orphans of the primary, for example its successor, become children of this process. So
        // this process can wait for them.
        set_child_subreaper(Some(getpid())).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let unread = VecDeque::new();
        let mut cluster = Self {
            child,
            successor: None,
            stdin,
            lines,
            unread,
            addr: SocketAddr::from(([0; 4], 0)),
        };
        let started = cluster.wait("started or failed", |line| {
            line["event"] == "started" || line.get("error").is_some()
        });
        cluster.addr = serde_json::from_value(started["addr"].clone())
            .unwrap_or_else(|_| panic!("not started: {started}"));
        cluster
    }

    /// Starts the fixture and waits until all workers serve.
    pub(crate) fn ready(options: &[(&str, &str)]) -> Self {
        let mut cluster = Self::start(options);
        let settled = cluster.event("settled");
        assert_eq!(settled["error"], Value::Null);
        cluster
    }

    /// Starts two slots. `slot` is given up because of the boot mode in a file. Returns the folder
    /// and the path of that file.
    pub(crate) fn given_up(slot: usize) -> (TempDir, PathBuf, Self) {
        let folder = tempfile::tempdir().unwrap();
        let mode = folder.path().join("boot");
        fs::write(&mode, format!("exit:{slot}")).unwrap();
        let mut cluster = Self::start(&[
            ("workers", "2"),
            ("boot_file", mode.to_str().unwrap()),
            ("give_up", "2"),
            ("base", "1"),
        ]);
        cluster.event("gave up");
        (folder, mode, cluster)
    }

    /// Checks that the slots serve with these workers, and returns the status.
    pub(crate) fn assert_serving(&mut self, workers: &[u64]) -> Value {
        let status = self.command("status");
        for (slot, worker) in workers.iter().enumerate() {
            assert_eq!(
                status["slots"][slot]["state"],
                format!("Serving(WorkerId({worker}))"),
                "{status}"
            );
        }
        status
    }

    /// Waits for the first unread line that matches. Other lines stay unread.
    pub(crate) fn wait(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.unread.iter().position(&matches) {
            return self.unread.remove(index).unwrap();
        }
        let end = Instant::now() + TIMEOUT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line matches {what:?}; unread: {:#?}", self.unread)
            };
            if matches(&line) {
                return line;
            }
            self.unread.push_back(line);
        }
    }

    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.wait(name, |line| line["event"] == name)
    }

    pub(crate) fn event_of(&mut self, name: &str, id: u64) -> Value {
        self.wait(&format!("{name} of {id}"), |line| line["event"] == name && line["id"] == id)
    }

    /// The unread lines, and all lines until the output ends.
    pub(crate) fn rest(mut self) -> (Vec<Value>, ExitStatus) {
        let status = self.exit();
        let mut rest: Vec<Value> = self.unread.drain(..).collect();
        while let Ok(line) = self.lines.recv_timeout(TIMEOUT) {
            rest.push(line);
        }
        (rest, status)
    }

    /// Sends the primary a command and returns its reply.
    pub(crate) fn command(&mut self, command: &str) -> Value {
        self.send(command);
        let name = command.split(' ').next().unwrap().to_owned();
        self.wait(command, |line| line["reply"] == name.as_str())
    }

    pub(crate) fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    /// The process id of the primary.
    pub(crate) fn pid(&self) -> u32 {
        self.successor.as_ref().map_or_else(
            || self.child.id(),
            |successor| successor.pid.as_raw_nonzero().get().unsigned_abs(),
        )
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match &self.successor {
            // The descriptor refers to that process, even if its id was reused.
            Some(successor) => pidfd_send_signal(&successor.fd, signal).unwrap(),
            // It is not reaped yet, so its id cannot be reused.
            None => kill_process(Pid::from_child(&self.child), signal).unwrap(),
        }
    }

    /// Waits for the end of the primary.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        match &self.successor {
            // It becomes a child of this process when its own parent has ended.
            Some(successor) => until("the new primary ends", || {
                let ended =
                    waitpid(Some(successor.pid), WaitOptions::NOHANG).unwrap_or_default()?;
                Some(ExitStatus::from_raw(ended.1.as_raw()))
            }),
            None => until("the primary ends", || self.child.try_wait().unwrap()),
        }
    }

    /// Waits for the next primary that starts. All methods refer to that primary from now on.
    pub(crate) fn follow(&mut self) -> Value {
        let started = self.wait("a new primary", |line| line["event"] == "started");
        self.follow_to(&started["pid"]);
        started
    }

    /// All methods refer to the primary with this process id from now on.
    pub(crate) fn follow_to(&mut self, pid: &Value) {
        let pid = Pid::from_raw(i32::try_from(pid.as_u64().unwrap()).unwrap()).unwrap();
        // It is alive: it waits for its workers, or for this test.
        self.successor = Some(Successor { pid, fd: pidfd_open(pid, PidfdFlags::empty()).unwrap() });
    }

    /// Waits for the end of the primary that was started first.
    pub(crate) fn first_exit(&mut self) -> ExitStatus {
        until("the first primary ends", || self.child.try_wait().unwrap())
    }

    /// The process ids of the live workers: the children of the primary.
    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    pub(crate) fn ask(&self, request: &str) -> Value {
        self.connect().ask(request)
    }

    /// Connects until a connection reaches the wanted worker.
    pub(crate) fn client_of(&self, id: u64) -> Client {
        until("a connection reaches the worker", || {
            let mut client = self.connect();
            (client.ask("identity")["id"] == id).then_some(client)
        })
    }
}

/// A primary that another primary has started.
struct Successor {
    pid: Pid,
    fd: OwnedFd,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(successor) = &self.successor {
            let _ = pidfd_send_signal(&successor.fd, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection to some worker.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    }

    /// Sends a long request, and returns when the worker has begun with it.
    pub(crate) fn begin(&mut self, request: &str) {
        assert_eq!(self.ask(request), "begun");
    }

    /// The reply, or `Null` if the connection ended.
    pub(crate) fn receive(&mut self) -> Value {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(read) if read > 0 => serde_json::from_str(&line).unwrap(),
            Ok(_) => Value::Null,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Value::Null,
            Err(e) => panic!("no reply: {e}"),
        }
    }

    pub(crate) fn ask(&mut self, request: &str) -> Value {
        self.send(request);
        self.receive()
    }
}

/// Calls `look` until it returns a value. Panics after [`TIMEOUT`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "timed out waiting until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the process runs. A zombie does not run; its parent has only not reaped it yet.
pub(crate) fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
    })
}

pub(crate) fn is_free(addr: SocketAddr) -> bool {
    TcpListener::bind(addr).is_ok()
}
