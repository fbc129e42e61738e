//! Orders to a primary, its answers, and the frames between it and its workers.

use cluster::fuzzing::{answer, answered, frames_of_primary, frames_of_worker, lines, request};

/// A byte that says what the others are.
pub(crate) fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => order(bytes),
        1 => reply(bytes),
        2 => frames(bytes, |bytes| block_on(frames_of_worker(bytes))),
        3 => frames(bytes, |bytes| block_on(frames_of_primary(bytes))),
        _ => stream(bytes),
    }
}

fn order(line: &[u8]) {
    match request(line) {
        Ok(command) => {
            let written = serde_json::to_vec(&command).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(request(&written), Ok(command), "an order does not come back");
        }
        Err(refusal) => {
            let answered = answered(Err(refusal.clone()));
            assert_eq!(
                answered.iter().position(|byte| *byte == b'\n'),
                Some(answered.len() - 1),
                "an answer is one line"
            );
            assert!(
                answered.len() < 16 * line.len() + 1_024,
                "the answer to {} bytes has {}",
                line.len(),
                answered.len()
            );
            assert_eq!(answer(&answered).ok().map(Result::err), Some(Some(refusal)));
        }
    }
}

fn reply(line: &[u8]) {
    let Ok(read) = answer(line) else { return };
    let written = answered(read);
    assert_eq!(
        written.iter().position(|byte| *byte == b'\n'),
        Some(written.len() - 1),
        "an answer is one line"
    );
    let again =
        answer(&written).unwrap_or_else(|error| panic!("an answer does not come back: {error}"));
    assert_eq!(answered(again), written);
}

type Read = (Vec<Vec<u8>>, std::io::Result<()>);

fn frames(stream: &[u8], read: impl Fn(&[u8]) -> Read) {
    let (frames, _) = read(stream);
    let written = frames.concat();
    let (again, ended) = read(&written);
    assert!(ended.is_ok(), "what was written is not read");
    assert!(again == frames, "a frame does not come back");
}

/// Lines come the same however they are cut on the way.
fn stream(bytes: &[u8]) {
    const MOST: usize = 64;
    let mut expected: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    // What has no end is no line.
    let rest = expected.pop().unwrap_or_default();
    let long = expected.iter().position(|line| line.len() > MOST);
    let ended = if long.is_some() || rest.len() > MOST { "too long" } else { "end" };
    expected.truncate(long.unwrap_or(expected.len()));
    for at_a_time in [1, 7, 8_192] {
        let (lines, end) = block_on(lines(bytes, MOST, at_a_time));
        assert!(lines == expected && end == ended, "other lines, {at_a_time} bytes at a time");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(future)
}
