//! A history and its file format.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{Call, log::LogLine};

/// All calls of a run, and the faults during the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The store, without a password.
    pub store: String,
    /// The seed that chose calls and faults.
    pub seed: u64,
    /// The start of the run, in nanoseconds of [`now`](super::now).
    pub start: u64,
    /// The largest difference between the store's clock and this machine's clock, in milliseconds.
    pub tolerance: u64,
    /// The milliseconds before a crash in which the store may have shown writes that were not yet
    /// on disk. The crash may take them back, because the store had not acknowledged them. 0 for a
    /// store that shows a write only after it is on disk.
    pub unsynced: u64,
    /// The faults during the run.
    pub faults: Vec<Fault>,
    /// The failovers in which the former primary may have acknowledged writes that its successor
    /// does not have, in their order. Empty for a store that waits for a majority.
    #[serde(default)]
    pub failovers: Vec<Failover>,
    /// Whether a session and its list may be on different servers, so that a failover may undo one
    /// of them alone.
    #[serde(default)]
    pub apart: bool,
    /// The calls in the order of their beginnings. In the file each call is one line after this
    /// header.
    #[serde(skip)]
    pub calls: Vec<Call>,
}

/// A fault during the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The beginning, in nanoseconds of [`now`](super::now).
    pub begin: u64,
    /// The end.
    pub end: u64,
    /// Whether the store was killed.
    pub crash: bool,
    /// The description for reports.
    pub what: String,
}

/// A failover after which writes of the former primary may be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The last time at which no other server had taken over, in nanoseconds of
    /// [`now`](super::now). All answers before this time came from the former primary.
    pub until: u64,
    /// The spans in which the former primary may have served what its successor does not have.
    pub spans: Vec<(u64, u64)>,
    /// The description for reports: the ports of both servers.
    pub what: String,
}

/// A failure to read a history.
#[derive(Debug)]
pub enum HistoryError {
    /// The file cannot be read.
    Read(io::Error),
    /// A line does not have the expected form.
    Line {
        /// The number of the line, from 1.
        number: usize,
        /// The reason.
        source: serde_json::Error,
    },
}

impl History {
    /// Adds the calls from the log of one process, and returns how many there are.
    ///
    /// # Errors
    /// If the file cannot be read, or if a line other than the last one is malformed.
    pub fn add_log(&mut self, path: &Path) -> Result<usize, HistoryError> {
        let text = fs::read_to_string(path).map_err(HistoryError::Read)?;
        let mut places = HashMap::new();
        let before = self.calls.len();
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let line = match serde_json::from_str(line) {
                Ok(line) => line,
                // The process was killed while it wrote the line. The line is the beginning of a
                // call that was not made, or an answer that the process did not use.
                Err(_) if !line.ends_with('\n') => break,
                Err(source) => return Err(HistoryError::Line { number: at + 1, source }),
            };
            match line {
                LogLine::Begin { id, by, at, op } => {
                    places.insert(id, self.calls.len());
                    self.calls.push(Call { id, by, begin: at, end: None, op, answer: None });
                }
                LogLine::End { id, at, answer } => {
                    if let Some(place) = places.get(&id) {
                        let call = &mut self.calls[*place];
                        (call.end, call.answer) = (Some(at), Some(answer));
                    }
                }
            }
        }
        Ok(self.calls.len() - before)
    }

    /// Returns a copy without the calls.
    pub(crate) fn clone_head(&self) -> Self {
        Self {
            store: self.store.clone(),
            seed: self.seed,
            start: self.start,
            tolerance: self.tolerance,
            unsynced: self.unsynced,
            faults: self.faults.clone(),
            failovers: self.failovers.clone(),
            apart: self.apart,
            calls: Vec::new(),
        }
    }

    /// Sorts the calls by their beginnings, and numbers them.
    pub fn arrange(&mut self) {
        self.calls.sort_by_key(|call| call.begin);
        for (id, call) in (0..).zip(&mut self.calls) {
            call.id = id;
        }
    }

    /// Writes the history to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(fs::File::create(path)?);
        serde_json::to_writer(&mut file, self)?;
        for call in &self.calls {
            file.write_all(b"\n")?;
            serde_json::to_writer(&mut file, call)?;
        }
        file.write_all(b"\n")?;
        file.flush()
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read, or if a line is malformed.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let text = fs::read_to_string(path).map_err(HistoryError::Read)?;
        let (head, calls) = text.split_once('\n').unwrap_or((&text, ""));
        let mut history: Self = serde_json::from_str(head)
            .map_err(|source| HistoryError::Line { number: 1, source })?;
        for (at, line) in calls.lines().enumerate() {
            history.calls.push(
                serde_json::from_str(line)
                    .map_err(|source| HistoryError::Line { number: at + 2, source })?,
            );
        }
        Ok(history)
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("cannot read the history"),
            Self::Line { number, .. } => write!(f, "line {number} of the history is malformed"),
        }
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(source) => Some(source),
            Self::Line { source, .. } => Some(source),
        }
    }
}
