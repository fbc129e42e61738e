//! The worker processes of a run.

use std::path::{Path, PathBuf};

use tests::process::Process;

use super::{WorkerSettings, error::BoxError};

/// The environment variable with the settings of a worker process.
pub(super) const WORKER: &str = "TORTURE_WORKER";

/// The worker processes of a run. Drop kills them.
#[derive(Debug)]
pub(super) struct Workers<'a> {
    program: &'a Path,
    folder: &'a Path,
    settings: WorkerSettings,
    processes: Vec<Worker>,
    logs: Vec<PathBuf>,
}

#[derive(Debug)]
struct Worker {
    process: Option<Process>,
    starts: usize,
}

impl<'a> Workers<'a> {
    pub(super) fn start_all(
        program: &'a Path,
        folder: &'a Path,
        settings: WorkerSettings,
        count: usize,
    ) -> Result<Self, BoxError> {
        let processes = (0..count).map(|_| Worker { process: None, starts: 0 }).collect();
        let mut workers = Self { program, folder, settings, processes, logs: Vec::new() };
        (0..count).try_for_each(|number| workers.start(number))?;
        Ok(workers)
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Starts a worker that is not running.
    pub(super) fn start(&mut self, number: usize) -> Result<(), BoxError> {
        let worker = &mut self.processes[number];
        let log = self.folder.join(format!("calls-{number}-{}", worker.starts));
        let settings = WorkerSettings {
            number,
            restarts: worker.starts,
            log: log.clone(),
            ..self.settings.clone()
        };
        worker.process = Some(Process::start(
            self.program,
            &["worker"],
            &[(WORKER, &serde_json::to_string(&settings)?)],
        ));
        worker.starts += 1;
        self.logs.push(log);
        Ok(())
    }

    /// Kills a worker.
    pub(super) fn kill(&mut self, number: usize) {
        self.processes[number].process = None;
    }

    /// Freezes a worker.
    pub(super) fn freeze(&self, number: usize) {
        self.processes[number].process.iter().for_each(Process::freeze);
    }

    /// Lets a frozen worker continue.
    pub(super) fn thaw(&self, number: usize) {
        self.processes[number].process.iter().for_each(Process::thaw);
    }

    /// Checks that each worker runs or has ended with success.
    pub(super) fn check_running(&mut self) -> Result<(), BoxError> {
        for (number, worker) in self.processes.iter_mut().enumerate() {
            let Some(process) = &mut worker.process else { continue };
            if let Some(status) = process.ended().filter(|status| !status.success()) {
                return Err(format!(
                    "worker {number} ended with {status}: {}",
                    process.stderr.text()
                )
                .into());
            }
        }
        Ok(())
    }

    /// Returns whether all workers have ended with success.
    pub(super) fn has_ended(&mut self) -> Result<bool, BoxError> {
        self.check_running()?;
        Ok(self
            .processes
            .iter_mut()
            .filter_map(|worker| worker.process.as_mut())
            .all(|process| process.ended().is_some()))
    }

    /// Returns the logs of all workers, one for each start.
    pub(super) fn logs(&self) -> &[PathBuf] {
        &self.logs
    }
}
