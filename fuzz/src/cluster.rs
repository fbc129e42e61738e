//! The commands to a primary, its replies, and the frames between the primary and its workers.

use cluster::fuzzing::{answer, answered, frames_of_primary, frames_of_worker, lines, request};

/// The first byte of the input selects the format of the rest.
pub(crate) fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => check_command(bytes),
        1 => check_reply(bytes),
        2 => check_frames(bytes, |bytes| block_on(frames_of_worker(bytes))),
        3 => check_frames(bytes, |bytes| block_on(frames_of_primary(bytes))),
        _ => check_lines(bytes),
    }
}

fn check_command(line: &[u8]) {
    match request(line) {
        Ok(command) => {
            let written = serde_json::to_vec(&command).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                request(&written),
                Ok(command),
                "a command changes when it is encoded and decoded"
            );
        }
        Err(refusal) => {
            let answered = answered(Err(refusal.clone()));
            assert_eq!(
                answered.iter().position(|byte| *byte == b'\n'),
                Some(answered.len() - 1),
                "a reply is not exactly one line"
            );
            assert!(
                answered.len() < 16 * line.len() + 1_024,
                "the reply to {} bytes has {} bytes",
                line.len(),
                answered.len()
            );
            assert_eq!(answer(&answered).ok().map(Result::err), Some(Some(refusal)));
        }
    }
}

fn check_reply(line: &[u8]) {
    let Ok(read) = answer(line) else { return };
    let written = answered(read);
    assert_eq!(
        written.iter().position(|byte| *byte == b'\n'),
        Some(written.len() - 1),
        "a reply is not exactly one line"
    );
    let again =
        answer(&written).unwrap_or_else(|error| panic!("an encoded reply cannot be read: {error}"));
    assert_eq!(answered(again), written);
}

type FramesRead = (Vec<Vec<u8>>, std::io::Result<()>);

fn check_frames(stream: &[u8], read: impl Fn(&[u8]) -> FramesRead) {
    let (frames, _) = read(stream);
    let written = frames.concat();
    let (again, ended) = read(&written);
    assert!(ended.is_ok(), "the encoded frames cannot be read");
    assert!(again == frames, "a frame changes when it is encoded and decoded");
}

/// The reader returns the same lines, however the bytes are split into reads.
fn check_lines(bytes: &[u8]) {
    const MAX_LINE: usize = 64;
    let mut expected: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    // The reader drops a last line without a line end.
    let rest = expected.pop().unwrap_or_default();
    let long = expected.iter().position(|line| line.len() > MAX_LINE);
    let ended = if long.is_some() || rest.len() > MAX_LINE { "too long" } else { "end" };
    expected.truncate(long.unwrap_or(expected.len()));
    for at_a_time in [1, 7, 8_192] {
        let (lines, end) = block_on(lines(bytes, MAX_LINE, at_a_time));
        assert!(
            lines == expected && end == ended,
            "the lines differ with {at_a_time} bytes per read"
        );
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(future)
}
