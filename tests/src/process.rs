//! A child process whose output is kept, and which ends with its test.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal,
        set_child_subreaper, waitpid,
    },
};

use crate::wait;

/// How long the system may take to end a process that was killed.
const GONE_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The lines that a process has written so far.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                kept.lock().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
        lines
    }

    /// All of them as one text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().join("\n")
    }

    /// What follows `prefix` in the first line that starts with it.
    #[must_use]
    pub fn after(&self, prefix: &str) -> Option<String> {
        self.lock().iter().find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that a child has started to take its place.
#[derive(Debug)]
struct Successor {
    pid: Pid,
    /// Refers to this process even if another one gets its id.
    handle: OwnedFd,
}

/// A running child process. Dropping it kills it and the children it has then.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The process that took its place, if one has.
    successor: Option<Successor>,
    /// What it wrote to standard output.
    pub stdout: Lines,
    /// What it wrote to standard error.
    pub stderr: Lines,
}

impl Process {
    /// Starts a program, without the settings of the demo in the environment of the test.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DEMO_"))
        {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        // Processes that it leaves behind, such as a successor, become children of this process,
        // which can then wait for them.
        set_child_subreaper(Some(getpid())).expect("every process may adopt");
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: cannot start {}", program.display()));
        let stdout = Lines::follow(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::follow(child.stderr.take().expect("stderr is piped"));
        Self { child, successor: None, stdout, stderr }
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never: a child's id is a valid one.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.successor
            .as_ref()
            .map_or_else(|| Pid::from_child(&self.child), |successor| successor.pid)
    }

    /// Waits for the end of the process, and refers to its successor from now on.
    ///
    /// # Panics
    /// If the process does not end with 0 within `limit`, or if the successor does not run.
    pub async fn succeeded_by(&mut self, pid: Pid, limit: Duration) {
        let handle = pidfd_open(pid, PidfdFlags::empty()).expect("the process lives");
        let status = self.end(limit).await;
        assert!(status.success(), "{status}: {}", self.stderr.text());
        self.successor = Some(Successor { pid, handle });
    }

    /// Sends it a signal. It may have ended: it stays a zombie until the test waits for it, so its
    /// id is still its own.
    pub fn signal(&self, signal: Signal) {
        let _ = match &self.successor {
            Some(successor) => pidfd_send_signal(&successor.handle, signal),
            None => kill_process(self.pid(), signal),
        };
    }

    /// Freezes it, and returns when all its threads have stopped, which takes a moment after the
    /// signal.
    ///
    /// # Panics
    /// If one of them still runs after ten seconds.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let begun = Instant::now();
        while threads(self.pid()).iter().any(|state| !matches!(state, 'T' | 'Z' | 'X')) {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "a process still runs after SIGSTOP"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it continue.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        match &self.successor {
            Some(successor) => {
                let ended = waitpid(Some(successor.pid), WaitOptions::NOHANG).ok().flatten()?;
                Some(ExitStatus::from_raw(ended.1.as_raw()))
            }
            None => self.child.try_wait().ok().flatten(),
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub async fn end(&mut self, limit: Duration) -> ExitStatus {
        let pid = self.pid();
        wait::until(&format!("the end of process {}", pid.as_raw_nonzero()), limit, async || {
            self.ended()
        })
        .await
    }

    /// The processes it has started that still live.
    #[must_use]
    pub fn children(&self) -> Vec<Pid> {
        children_of(self.pid())
    }

    /// Its children. They are killed when the returned value is dropped.
    #[must_use]
    pub fn hold_children(&self) -> Children {
        Children::hold(self.children())
    }

    /// All its descendants, likewise.
    #[must_use]
    pub fn hold_descendants(&self) -> Children {
        let mut found = self.children();
        let mut looked_at = 0;
        while let Some(parent) = found.get(looked_at) {
            found.extend(children_of(*parent));
            looked_at += 1;
        }
        Children::hold(found)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let children = self.hold_children();
        self.signal(Signal::KILL);
        if let Some(successor) = &self.successor {
            let _ = poll(&mut [PollFd::new(&successor.handle, PollFlags::IN)], Some(&GONE_WITHIN));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(children);
    }
}

/// Children of a process. They are killed when this value is dropped, even if the process has
/// ended.
#[derive(Debug)]
pub struct Children(Vec<OwnedFd>);

impl Children {
    /// Opens handles, because the system can give the id of an ended process to another.
    fn hold(pids: Vec<Pid>) -> Self {
        Self(pids.into_iter().filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect())
    }
}

impl Drop for Children {
    /// Returns when they are gone, so that their folder can be removed.
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = pidfd_send_signal(child, Signal::KILL);
        }
        for child in &self.0 {
            // The handle becomes readable when the process has ended. After the limit this gives
            // up.
            let _ = poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&GONE_WITHIN));
        }
    }
}

/// Sends a signal to a process that a [`Process`] has started.
pub fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

/// Whether a process runs: it exists and is not a zombie.
#[must_use]
pub fn runs(pid: Pid) -> bool {
    stat(pid.as_raw_nonzero().get()).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// The processes that run and have this parent.
fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        stat(*pid).is_some_and(|(state, of)| of == parent.as_raw_nonzero().get() && state != 'Z')
    })
    .filter_map(Pid::from_raw)
    .collect()
}

/// A process's state letter and parent.
fn stat(pid: i32) -> Option<(char, i32)> {
    of_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The state letters of a process's threads.
fn threads(pid: Pid) -> Vec<char> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return Vec::new();
    };
    let stats =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats.filter_map(|text| of_stat(&text)).map(|(state, _)| state).collect()
}

/// The state letter and the parent in a `stat` of `/proc`.
fn of_stat(text: &str) -> Option<(char, i32)> {
    // The name is in parentheses and may hold anything, so count from its end.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
