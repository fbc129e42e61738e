//! The frames between the primary and a worker, and how they are written and read.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::{DrainOrder, DrainPolicy, ListenAddress, Message};

/// Version of the frames below. It changes with any of them. `Hello` stays the first variant, so
/// that every build can read the version of another build.
pub(crate) const PROTOCOL: u16 = 2;

/// Largest body of one frame: 1 MiB. A longer length is an error of the peer.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// Most bytes of a frame without payload: variants, request number, length of the content.
pub(crate) const OVERHEAD: usize = 16;

const _: () = assert!(Message::MAX == MAX_FRAME - OVERHEAD);

/// A frame from the primary.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    Hello { protocol: u16, drain: DrainPolicy, settings: Vec<u8>, beat: Option<Duration> },
    Drain(DrainOrder),
    Message(Vec<u8>),
    Rpc(RpcFrame),
}

/// A frame from a worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToPrimary {
    Hello {
        protocol: u16,
    },
    Listening {
        name: String,
        addr: ListenAddress,
    },
    Ready,
    Draining,
    Message(Vec<u8>),
    Rpc(RpcFrame),
    /// Every event loop of the worker has run since the last heartbeat. With the count of all
    /// requests so far.
    Beat {
        requests: u64,
    },
}

/// A request or a reply, the same in both directions. Each side numbers its own requests.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum RpcFrame {
    Request { id: u64, body: Vec<u8> },
    Reply { id: u64, answer: RpcResult },
}

/// The body of a reply, or why there is none.
pub(crate) type RpcResult = Result<Vec<u8>, RpcRefusal>;

/// Why a request gets no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RpcRefusal {
    /// The receiver does not read requests.
    NoReader,
    /// Too many requests wait for a reply.
    Busy,
    /// The receiver read the request and dropped it without a reply.
    NotAnswered,
}

/// Why a value cannot become a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("a frame of {0} bytes is too large, at most {MAX_FRAME} are allowed")]
    TooLarge(usize),
    #[error("a frame cannot be encoded")]
    Encode(#[source] postcard::Error),
}

/// Encodes one frame: the length of the body in four bytes, big-endian, then the body.
pub(crate) fn encode(frame: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let bytes = postcard::to_extend(frame, vec![0; 4]).map_err(EncodeError::Encode)?;
    let body = bytes.len() - 4;
    match u32::try_from(body) {
        Ok(length) if body <= MAX_FRAME => Ok(with_length(bytes, length)),
        _ => Err(EncodeError::TooLarge(body)),
    }
}

fn with_length(mut bytes: Vec<u8>, length: u32) -> Vec<u8> {
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads one frame; `None` when the peer closed the stream between two frames.
///
/// Not cancel safe: a dropped read loses the position in the stream. Each stream has one task that
/// only reads.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of {length} bytes, at most {MAX_FRAME} are allowed"),
        ));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn k13_frames_arrive_in_order_and_end_cleanly() {
        let mut stream = Vec::new();
        for n in 0..3u8 {
            stream.extend(encode(&ToWorker::Message(vec![n; n.into()])).unwrap());
        }
        let mut stream = stream.as_slice();
        for n in 0..3u8 {
            assert_eq!(
                read(&mut stream).await.unwrap(),
                Some(ToWorker::Message(vec![n; n.into()]))
            );
        }
        assert_eq!(read::<ToWorker>(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn k13_too_large_frame_is_neither_written_nor_read() {
        let Err(EncodeError::TooLarge(size)) = encode(&ToWorker::Message(vec![0; MAX_FRAME]))
        else {
            panic!("accepted")
        };
        assert!(size > MAX_FRAME);
        assert!(encode(&ToWorker::Message(vec![0; MAX_FRAME - OVERHEAD])).is_ok());
        let reply = RpcFrame::Reply { id: u64::MAX, answer: Ok(vec![0; MAX_FRAME - OVERHEAD]) };
        assert!(encode(&ToWorker::Rpc(reply)).is_ok());
        let mut stream: &[u8] = &u32::MAX.to_be_bytes();
        assert_eq!(
            read::<ToWorker>(&mut stream).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[tokio::test]
    async fn truncated_frame_is_an_error() {
        let frame = encode(&ToPrimary::Hello { protocol: PROTOCOL }).unwrap();
        for cut in 1..frame.len() {
            let mut stream = &frame[..cut];
            assert_eq!(
                read::<ToPrimary>(&mut stream).await.unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof,
                "cut at {cut}"
            );
        }
    }
}
