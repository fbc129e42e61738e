//! Encodes and decodes requests and responses as lines of JSON.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::{command::Command, reply::Reply};

/// Version of the protocol that the module describes.
const VERSION: u64 = 1;

/// Longest request in bytes, without its line end.
pub(crate) const MAX_REQUEST: usize = 64 << 10;

/// One line of the primary: the version, and a reply or a refusal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResponseLine {
    version: u64,
    #[serde(flatten)]
    body: ResponseBody,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResponseBody {
    Ok(Reply),
    Error(Refusal),
}

/// Why the primary did not carry out a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refusal {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason and a remedy, for people.
    pub message: String,
}

/// The kind of a refusal. The [module](crate::control#errors) describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module documentation has them in a table")]
pub enum ErrorCode {
    Malformed,
    Version,
    TooLarge,
    TooSlow,
    Busy,
    Forbidden,
    Gone,
    Failed,
    Stopping,
    /// A code that this build does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    pub(crate) fn because(self, message: impl Into<String>) -> Refusal {
        Refusal { code: self, message: message.into() }
    }
}

impl ResponseLine {
    /// Encodes a result as a line.
    pub(crate) fn encode(result: Result<Reply, Refusal>) -> Vec<u8> {
        let body = match result {
            Ok(reply) => ResponseBody::Ok(reply),
            Err(refusal) => ResponseBody::Error(refusal),
        };
        // All replies have a JSON form. If that ever fails, the line is empty, and the client
        // reports an unreadable reply.
        let mut line = serde_json::to_vec(&Self { version: VERSION, body }).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Decodes a line of [`encode`](Self::encode).
    pub(crate) fn decode(line: &[u8]) -> serde_json::Result<Result<Reply, Refusal>> {
        Ok(match serde_json::from_slice::<Self>(line)?.body {
            ResponseBody::Ok(reply) => Ok(reply),
            ResponseBody::Error(refusal) => Err(refusal),
        })
    }
}

/// Parses a request.
pub(crate) fn parse_request(line: &[u8]) -> Result<Command, Refusal> {
    let malformed =
        |error: serde_json::Error| ErrorCode::Malformed.because(format!("not a request: {error}"));
    let mut request: Value = serde_json::from_slice(line).map_err(malformed)?;
    match request.as_object_mut().and_then(|fields| fields.remove("version")) {
        Some(version) if version != VERSION => Err(ErrorCode::Version.because(format!(
            "this primary uses version {VERSION} of the protocol, not {version}"
        ))),
        _ => serde_json::from_value(request).map_err(malformed),
    }
}

/// Why no line was read.
#[derive(Debug)]
pub(crate) enum ReadLineError {
    /// The stream ended, possibly within a line.
    End,
    TooLong,
    Failed(io::Error),
}

/// Reads a line of at most `max` bytes and returns it without its line end.
///
/// Not cancel safe: dropping the future loses the bytes that were read.
pub(crate) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> Result<Vec<u8>, ReadLineError> {
    let mut line = Vec::new();
    loop {
        let read = from.fill_buf().await.map_err(ReadLineError::Failed)?;
        if read.is_empty() {
            return Err(ReadLineError::End);
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        let part = end.unwrap_or(read.len());
        if line.len() + part > max {
            return Err(ReadLineError::TooLong);
        }
        line.extend_from_slice(&read[..part]);
        from.consume(part + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use rustix::process::Signal;

    use super::{super::command::StopMode, *};
    use crate::model::WorkerId;

    #[test]
    fn requests_match_the_documentation() {
        let id = WorkerId::new(7);
        for (line, command) in [
            (r#"{"command":"status"}"#, Command::Status),
            (r#"{"version":1,"command":"reload"}"#, Command::Reload),
            (
                r#"{"command":"scale","workers":4}"#,
                Command::Scale { workers: NonZeroUsize::new(4).unwrap() },
            ),
            (r#"{"command":"drain","id":7}"#, Command::Drain { id }),
            (r#"{"command":"kill","id":7}"#, Command::Kill { id, signal: Signal::TERM }),
            (
                r#"{"command":"kill","id":7,"signal":"SIGKILL"}"#,
                Command::Kill { id, signal: Signal::KILL },
            ),
            (r#"{"command":"stop"}"#, Command::Stop { mode: StopMode::Graceful }),
            (r#"{"mode":"fast","command":"stop"}"#, Command::Stop { mode: StopMode::Fast }),
        ] {
            assert_eq!(parse_request(line.as_bytes()), Ok(command), "{line}");
            assert_eq!(
                parse_request(&serde_json::to_vec(&command).unwrap()),
                Ok(command),
                "{line}"
            );
        }
    }

    #[test]
    fn invalid_requests_are_refused_with_a_reason() {
        for (line, code, word) in [
            (&b""[..], ErrorCode::Malformed, "EOF"),
            (b"\xff\xfe", ErrorCode::Malformed, "not a request"),
            (b"[]", ErrorCode::Malformed, "command"),
            (br#"{"command":"dance"}"#, ErrorCode::Malformed, "dance"),
            (br#"{"command":"scale","workers":0}"#, ErrorCode::Malformed, "nonzero"),
            (br#"{"command":"stop","mood":"fast"}"#, ErrorCode::Malformed, "mood"),
            (br#"{"command":"kill","id":1,"signal":"NONE"}"#, ErrorCode::Malformed, "TERM, KILL"),
            (br#"{"version":2,"command":"status"}"#, ErrorCode::Version, "version 1"),
            (&b"[".repeat(10_000), ErrorCode::Malformed, "recursion"),
        ] {
            let refusal = parse_request(line).unwrap_err();
            assert_eq!(refusal.code, code, "{refusal:?}");
            assert!(refusal.message.contains(word), "{refusal:?}");
        }
    }

    #[test]
    fn responses_round_trip_and_unknown_codes_are_accepted() {
        let line = ResponseLine::encode(Ok(Reply::Scaled { workers: NonZeroUsize::MIN }));
        assert_eq!(line, b"{\"version\":1,\"ok\":{\"scaled\":{\"workers\":1}}}\n");
        assert!(matches!(ResponseLine::decode(&line), Ok(Ok(Reply::Scaled { .. }))));
        let refusal = ErrorCode::Gone.because("no");
        assert_eq!(
            ResponseLine::decode(&ResponseLine::encode(Err(refusal.clone()))).unwrap().unwrap_err(),
            refusal
        );
        let later = br#"{"version":1,"more":1,"error":{"code":"later","message":"m","more":1}}"#;
        assert_eq!(ResponseLine::decode(later).unwrap().unwrap_err().code, ErrorCode::Unknown);
    }
}
