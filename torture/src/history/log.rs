//! What a worker writes down.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Answer, Op, now};

/// The log of one process. A line goes to the operating system before the call is made, and one
/// after its answer, so that a process which is killed leaves a call without an answer.
#[derive(Debug)]
pub struct CallLog(Mutex<File>);

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum LogLine {
    Begin { id: u64, by: String, at: u64, op: Op },
    End { id: u64, at: u64, answer: Answer },
}

impl CallLog {
    /// A new one.
    ///
    /// # Errors
    /// If the file cannot be made, or is there already.
    pub fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)
            .map(|file| Self(Mutex::new(file)))
    }

    /// A call is about to be made.
    ///
    /// # Errors
    /// If the file cannot be written to.
    pub fn begin(&self, id: u64, by: &str, op: Op) -> io::Result<()> {
        let mut file = self.0.lock();
        write(&mut file, &LogLine::Begin { id, by: by.to_owned(), at: now(), op })
    }

    /// Its answer came at this time.
    ///
    /// # Errors
    /// If the file cannot be written to.
    pub fn end(&self, id: u64, at: u64, answer: Answer) -> io::Result<()> {
        write(&mut self.0.lock(), &LogLine::End { id, at, answer })
    }
}

fn write(file: &mut File, line: &LogLine) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    // In one go, so that a kill leaves a whole line or, at worst, a last one that its reader passes
    // over.
    file.write_all(&text)
}
