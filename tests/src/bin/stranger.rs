//! Connects to the Unix-domain socket named by its first argument and says what came of it: a program to run as another user.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
    time::Duration,
};

#[expect(clippy::print_stdout, reason = "its output is its result")]
fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else { return ExitCode::from(2) };
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            println!("refused: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    // A well-formed hello, then a call: whoever is let in gets an answer to it.
    let _ = stream.write_all(b"sIPC\x01\0\0\0\0\0\x10\0");
    let mut bytes = Vec::new();
    let mut chunk = [0; 256];
    while let Ok(count) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        if count == 0 {
            println!("closed: {bytes:?}");
            return ExitCode::SUCCESS;
        }
    }
    println!("open: {bytes:?}");
    ExitCode::SUCCESS
}
