use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::{Command, Reply};

/// Version of the protocol that the module describes.
const VERSION: u64 = 1;

/// Longest request, its end of line not counted.
pub(crate) const MAX_REQUEST: usize = 64 << 10;

/// One line that the primary says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    version: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok(Reply),
    Error(Refusal),
}

/// What the primary did not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refusal {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, and what would help, for people.
    pub message: String,
}

/// Why an order is refused. The [module](super#errors) says what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the page of the module has them in a table")]
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
    /// One that this build does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    pub(crate) fn because(self, message: impl Into<String>) -> Refusal {
        Refusal { code: self, message: message.into() }
    }
}

impl Answer {
    /// The answer as a line.
    pub(crate) fn line(result: Result<Reply, Refusal>) -> Vec<u8> {
        let verdict = match result {
            Ok(reply) => Verdict::Ok(reply),
            Err(refusal) => Verdict::Error(refusal),
        };
        // Every type of a reply has a JSON form. Without one the line is empty, which no client
        // takes for an answer.
        let mut line = serde_json::to_vec(&Self { version: VERSION, verdict }).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Reads what [`line`](Self::line) wrote.
    pub(crate) fn read(line: &[u8]) -> serde_json::Result<Result<Reply, Refusal>> {
        Ok(match serde_json::from_slice::<Self>(line)?.verdict {
            Verdict::Ok(reply) => Ok(reply),
            Verdict::Error(refusal) => Err(refusal),
        })
    }
}

/// Reads a request.
pub(crate) fn request(line: &[u8]) -> Result<Command, Refusal> {
    let malformed =
        |error: serde_json::Error| ErrorCode::Malformed.because(format!("not a request: {error}"));
    let mut request: Value = serde_json::from_slice(line).map_err(malformed)?;
    match request.as_object_mut().and_then(|fields| fields.remove("version")) {
        Some(version) if version != VERSION => Err(ErrorCode::Version.because(format!(
            "this primary speaks version {VERSION} of the protocol, not {version}"
        ))),
        _ => serde_json::from_value(request).map_err(malformed),
    }
}

/// What came instead of a line.
#[derive(Debug)]
pub(crate) enum NoLine {
    /// The peer has ended, perhaps in the middle of a line.
    End,
    TooLong,
    Failed(io::Error),
}

/// Reads a line of at most so many bytes, without its end.
///
/// Not cancel safe: what was read is lost.
pub(crate) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    most: usize,
) -> Result<Vec<u8>, NoLine> {
    let mut line = Vec::new();
    loop {
        let read = from.fill_buf().await.map_err(NoLine::Failed)?;
        if read.is_empty() {
            return Err(NoLine::End);
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        let part = end.unwrap_or(read.len());
        if line.len() + part > most {
            return Err(NoLine::TooLong);
        }
        line.extend_from_slice(&read[..part]);
        from.consume(part + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// A time as whole milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// A time, or none, as whole milliseconds.
pub(super) mod maybe_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes it so")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use rustix::process::Signal;

    use super::super::StopMode;
    use super::*;
    use crate::id::WorkerId;

    #[test]
    fn requests_are_what_the_page_says() {
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
            assert_eq!(request(line.as_bytes()), Ok(command), "{line}");
            assert_eq!(request(&serde_json::to_vec(&command).unwrap()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_named() {
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
            let refusal = request(line).unwrap_err();
            assert_eq!(refusal.code, code, "{refusal:?}");
            assert!(refusal.message.contains(word), "{refusal:?}");
        }
    }

    #[test]
    fn answers_survive_the_wire_and_unknown_codes_do_not_break_them() {
        let line = Answer::line(Ok(Reply::Scaled { workers: NonZeroUsize::MIN }));
        assert_eq!(line, b"{\"version\":1,\"ok\":{\"scaled\":{\"workers\":1}}}\n");
        assert!(matches!(Answer::read(&line), Ok(Ok(Reply::Scaled { .. }))));
        let refusal = ErrorCode::Gone.because("no");
        assert_eq!(
            Answer::read(&Answer::line(Err(refusal.clone()))).unwrap().unwrap_err(),
            refusal
        );
        let later = br#"{"version":1,"more":1,"error":{"code":"later","message":"m","more":1}}"#;
        assert_eq!(Answer::read(later).unwrap().unwrap_err().code, ErrorCode::Unknown);
    }
}
