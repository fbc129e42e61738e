//! The log that a worker writes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Answer, Op, now};

/// The log of one process. The process writes a line before each call, and a line after its answer.
/// So a process that is killed leaves a call without an answer.
#[derive(Debug)]
pub struct CallLog(Mutex<File>);

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum LogLine {
    Begin { id: u64, by: String, at: u64, op: Op },
    End { id: u64, at: u64, answer: Answer },
}

impl CallLog {
    /// Creates the file of a log.
    ///
    /// # Errors
    /// If the file exists, or cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)
            .map(|file| Self(Mutex::new(file)))
    }

    /// Records that a call is about to be made.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&self, id: u64, by: &str, op: Op) -> io::Result<()> {
        let mut file = self.0.lock();
        write(&mut file, &LogLine::Begin { id, by: by.to_owned(), at: now(), op })
    }

    /// Records the answer of a call, and its time.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&self, id: u64, at: u64, answer: Answer) -> io::Result<()> {
        write(&mut self.0.lock(), &LogLine::End { id, at, answer })
    }
}

fn write(file: &mut File, line: &LogLine) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    // One write call for the whole line, so that at most the last line of a killed process is
    // incomplete. The reader ignores that line.
    file.write_all(&text)
}
