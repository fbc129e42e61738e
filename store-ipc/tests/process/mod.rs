//! Starts and ends the fixture processes of the tests.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_ipc-fixture");

/// A fixture process that is ready. Dropping it kills the process.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(role: &str, path: &Path) -> Self {
        let mut command = Command::new(FIXTURE);
        command.arg(role).arg(path);
        Self::ready(command)
    }

    /// Runs `command` and waits until it prints a line.
    pub(crate) fn ready(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Self(child);
        assert_eq!(line.trim(), "ready", "the fixture did not start");
        process
    }

    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.0.id());
        // The state is the first word after the name in parentheses.
        let stopped = || {
            std::fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().starts_with('T')
        };
        while !stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process, which has no chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also ends a frozen process. Fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
