//! Connects to the Unix-domain socket of its first argument and prints the result. Tests run it as
//! another user. With `half` as its second argument it sends half a frame and
//! waits to be killed.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
    time::Duration,
};

#[expect(clippy::print_stdout, reason = "the output of the program is its result")]
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
    if std::env::args().nth(2).as_deref() == Some("half") {
        let _ = stream.write_all(b"sIPC\x01\0\0\0\0\0\x10\0\xe8\x03\0\0half of it");
        println!("sent");
        std::thread::sleep(Duration::from_mins(1));
        return ExitCode::SUCCESS;
    }
    // A valid hello: an accepted client stays connected.
    let _ = stream.write_all(b"sIPC\x01\0\0\0\0\0\x10\0");
    let mut bytes = Vec::new();
    let mut chunk = [0; 256];
    let end = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break "closed",
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break "open",
            // A reset: the other side closed without reading what was sent.
            Err(_) => break "closed",
        }
    };
    println!("{end}: {bytes:?}");
    ExitCode::SUCCESS
}
