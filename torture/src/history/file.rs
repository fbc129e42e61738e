//! A whole history, and the file that keeps it.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{Call, log::LogLine};

/// All calls of a run, and what was done to the processes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Which store, without a password.
    pub store: String,
    /// What chose the calls.
    pub seed: u64,
    /// When the run began, in nanoseconds of [`now`](super::now).
    pub start: u64,
    /// By how much a store's clock may differ from ours, in milliseconds.
    pub tolerance: u64,
    /// For how long before its end, in milliseconds, a store that is killed may have shown what its
    /// end takes back, because nobody had been told yet that it was written. 0 for a store that
    /// shows nothing before it is on disk.
    pub unsynced: u64,
    /// What was done to the processes.
    pub faults: Vec<Fault>,
    /// Which servers took over from others that had not yet passed on all that they had
    /// acknowledged, in the order in which they did so. Empty for a store that waits until it
    /// cannot be undone.
    #[serde(default)]
    pub failovers: Vec<Failover>,
    /// Whether a session and the list that it is in may be on different servers, so that a failover
    /// undoes what is in one alone.
    #[serde(default)]
    pub apart: bool,
    /// The calls, in the order of their beginnings. In a file they follow, one a line.
    #[serde(skip)]
    pub calls: Vec<Call>,
}

/// Something that was done to a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it began, in nanoseconds of [`now`](super::now).
    pub begin: u64,
    /// When it was over.
    pub end: u64,
    /// Whether the store was killed.
    pub crash: bool,
    /// What was done, for people.
    pub what: String,
}

/// A server took over from another, and what that one served last may be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// By then nobody had taken over, in nanoseconds of [`now`](super::now): whatever was answered
    /// before was answered by the former one.
    pub until: u64,
    /// When the former one may have served what its successor does not have: from here to there.
    pub spans: Vec<(u64, u64)>,
    /// Who from whom, for people.
    pub what: String,
}

/// A history cannot be read.
#[derive(Debug)]
pub enum HistoryError {
    /// The file cannot be read.
    Read(io::Error),
    /// A line is not what it should be.
    Line {
        /// Which, from 1.
        number: usize,
        /// Why.
        source: serde_json::Error,
    },
}

impl History {
    /// Adds the calls that the log of one process tells of, and says how many.
    ///
    /// # Errors
    /// If the file cannot be read, or a line that is not its last is no line of a log.
    pub fn add_log(&mut self, path: &Path) -> Result<usize, HistoryError> {
        let text = fs::read_to_string(path).map_err(HistoryError::Read)?;
        let mut places = HashMap::new();
        let before = self.calls.len();
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let line = match serde_json::from_str(line) {
                Ok(line) => line,
                // Its process was killed while it wrote: a call that it did not make, or an answer
                // that nobody saw.
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

    /// The same without calls.
    pub(crate) fn clone_head(&self) -> Self {
        let Self { store, seed, start, tolerance, unsynced, faults, failovers, apart, calls: _ } =
            self;
        let (store, faults, failovers) = (store.clone(), faults.clone(), failovers.clone());
        let (seed, start, tolerance, unsynced, apart) =
            (*seed, *start, *tolerance, *unsynced, *apart);
        Self {
            store,
            seed,
            start,
            tolerance,
            unsynced,
            faults,
            failovers,
            apart,
            calls: Vec::new(),
        }
    }

    /// Brings the calls into the order of their beginnings, and numbers them.
    pub fn arrange(&mut self) {
        self.calls.sort_by_key(|call| call.begin);
        for (id, call) in (0..).zip(&mut self.calls) {
            call.id = id;
        }
    }

    /// Writes it down.
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

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no history.
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
            Self::Read(_) => f.write_str("the history cannot be read"),
            Self::Line { number, .. } => write!(f, "line {number} is none of a history"),
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
