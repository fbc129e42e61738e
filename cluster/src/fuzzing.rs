//! The internal functions that the fuzz targets of this repository call.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::BufReader;

use crate::{
    control::protocol::{
        self, Command, ReadLineError, Refusal, Reply, ResponseLine, parse_request,
    },
    wire::frame::{self, ToPrimary, ToWorker},
};

/// Parses a request, as the primary does.
///
/// # Errors
///
/// The refusal that the client gets.
pub fn request(line: &[u8]) -> Result<Command, Refusal> {
    parse_request(line)
}

/// Decodes a response, as a client does.
///
/// # Errors
///
/// The line is not a response.
pub fn answer(line: &[u8]) -> serde_json::Result<Result<Reply, Refusal>> {
    ResponseLine::decode(line)
}

/// Encodes a response, as the primary does.
#[must_use]
pub fn answered(result: Result<Reply, Refusal>) -> Vec<u8> {
    ResponseLine::encode(result)
}

/// The lines of a stream, of at most `max` bytes each, read `at_a_time` bytes at a time; and how
/// reading ended.
pub async fn lines(stream: &[u8], max: usize, at_a_time: usize) -> (Vec<Vec<u8>>, &'static str) {
    let mut stream = BufReader::with_capacity(at_a_time, stream);
    let mut lines = Vec::new();
    loop {
        match protocol::read_line(&mut stream, max).await {
            Ok(line) => lines.push(line),
            Err(ReadLineError::End) => return (lines, "end"),
            Err(ReadLineError::TooLong) => return (lines, "too long"),
            Err(ReadLineError::Failed(_)) => return (lines, "failed"),
        }
    }
}

/// The frames of a worker's stream, encoded again, and how reading ended.
pub async fn frames_of_worker(stream: &[u8]) -> (Vec<Vec<u8>>, io::Result<()>) {
    frames::<ToPrimary>(stream).await
}

/// The frames of a primary's stream, encoded again, and how reading ended.
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
