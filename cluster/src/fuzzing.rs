//! What the fuzz targets of this repository reach.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::BufReader;

use crate::control::{self, Answer, Command, NoLine, Refusal, Reply};
use crate::frame::{self, ToPrimary, ToWorker};

/// Reads an order, as the primary does.
///
/// # Errors
/// What the client is answered.
pub fn request(line: &[u8]) -> Result<Command, Refusal> {
    control::request(line)
}

/// Reads an answer, as a client does.
///
/// # Errors
/// If it is none.
pub fn answer(line: &[u8]) -> serde_json::Result<Result<Reply, Refusal>> {
    Answer::read(line)
}

/// Writes an answer, as the primary does.
#[must_use]
pub fn answered(result: Result<Reply, Refusal>) -> Vec<u8> {
    Answer::line(result)
}

/// The lines of a stream up to its end, of at most `most` bytes each, read so many bytes at a time.
/// With what ended it.
pub async fn lines(stream: &[u8], most: usize, at_a_time: usize) -> (Vec<Vec<u8>>, &'static str) {
    let mut stream = BufReader::with_capacity(at_a_time, stream);
    let mut lines = Vec::new();
    loop {
        match control::read_line(&mut stream, most).await {
            Ok(line) => lines.push(line),
            Err(NoLine::End) => return (lines, "end"),
            Err(NoLine::TooLong) => return (lines, "too long"),
            Err(NoLine::Failed(_)) => return (lines, "failed"),
        }
    }
}

/// The frames of a worker's stream, each as it would be written, and how reading ended.
pub async fn frames_of_worker(stream: &[u8]) -> (Vec<Vec<u8>>, io::Result<()>) {
    frames::<ToPrimary>(stream).await
}

/// The frames of a primary's stream, each as it would be written, and how reading ended.
pub async fn frames_of_primary(stream: &[u8]) -> (Vec<Vec<u8>>, io::Result<()>) {
    frames::<ToWorker>(stream).await
}

async fn frames<T: DeserializeOwned + Serialize>(
    mut stream: &[u8],
) -> (Vec<Vec<u8>>, io::Result<()>) {
    let mut frames = Vec::new();
    loop {
        match frame::read::<T>(&mut stream).await {
            Ok(Some(frame)) => match frame::encode(&frame) {
                Ok(bytes) => frames.push(bytes),
                Err(error) => return (frames, Err(io::Error::other(error))),
            },
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}
