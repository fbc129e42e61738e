use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::drain::{DrainOrder, DrainPolicy};

/// Version of the frames below. It changes with any of them; `Hello` stays the first variant so
/// that the number of another build can still be read.
pub(crate) const PROTOCOL: u16 = 2;

/// Largest body of one frame: 1 MiB. A length above it is treated as a broken peer.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// Bytes of a frame that carry no payload, at most: variants, number of the request and length of
/// the content.
pub(crate) const OVERHEAD: usize = 16;

/// What a primary says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    Hello { protocol: u16, drain: DrainPolicy, settings: Vec<u8>, beat: Option<Duration> },
    Drain(DrainOrder),
    Message(Vec<u8>),
    Talk(Talk),
}

/// What a worker says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToPrimary {
    Hello {
        protocol: u16,
    },
    Listening {
        name: String,
        addr: std::net::SocketAddr,
    },
    Ready,
    Draining,
    Message(Vec<u8>),
    Talk(Talk),
    /// Every event loop of the worker has run since the last one. With the count of all requests so
    /// far.
    Beat {
        requests: u64,
    },
}

/// Requests and replies, which are the same in both directions. Each side numbers its own requests.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Talk {
    Request { id: u64, body: Vec<u8> },
    Reply { id: u64, answer: Result<Vec<u8>, Refusal> },
}

/// Why a request gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Nobody reads requests.
    NobodyListens,
    /// Too many wait for an answer.
    Busy,
    /// It was read, and dropped without a reply.
    NotAnswered,
}

/// Why something cannot become a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unframed {
    #[error("a frame of {0} bytes is too large, at most {MAX_FRAME} are allowed")]
    TooLarge(usize),
    #[error("a frame cannot be encoded")]
    Encode(#[source] postcard::Error),
}

/// One frame as bytes: the length of the body in four bytes, big-endian, then the body.
pub(crate) fn encode(frame: &impl Serialize) -> Result<Vec<u8>, Unframed> {
    let bytes = postcard::to_extend(frame, vec![0; 4]).map_err(Unframed::Encode)?;
    let body = bytes.len() - 4;
    match u32::try_from(body) {
        Ok(length) if body <= MAX_FRAME => Ok(with_length(bytes, length)),
        _ => Err(Unframed::TooLarge(body)),
    }
}

fn with_length(mut bytes: Vec<u8>, length: u32) -> Vec<u8> {
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads one frame; `None` when the peer closed between two frames.
///
/// Not cancel safe: a dropped read loses the place in the stream. Each stream has one task that
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
    async fn k13_a_frame_above_the_cap_is_neither_written_nor_read() {
        let Err(Unframed::TooLarge(size)) = encode(&ToWorker::Message(vec![0; MAX_FRAME])) else {
            panic!("accepted")
        };
        assert!(size > MAX_FRAME);
        assert!(encode(&ToWorker::Message(vec![0; MAX_FRAME - OVERHEAD])).is_ok());
        let reply = Talk::Reply { id: u64::MAX, answer: Ok(vec![0; MAX_FRAME - OVERHEAD]) };
        assert!(encode(&ToWorker::Talk(reply)).is_ok());
        let mut stream: &[u8] = &u32::MAX.to_be_bytes();
        assert_eq!(
            read::<ToWorker>(&mut stream).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error_not_an_end() {
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
