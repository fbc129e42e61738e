//! Passes a secret text from one primary to its successor, over a socket pair.

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

/// Writes the text into a socket pair, and returns the end to read it from. Only the process that
/// gets this descriptor can read the text.
pub(crate) fn write(text: &str) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    // The text fits into the buffer of the socket, so this write does not wait for a reader. `ours`
    // is closed on return, which marks the end of the text.
    (&ours).write_all(text.as_bytes())?;
    Ok(theirs.into())
}

/// Reads the text that [`write()`] wrote.
pub(crate) fn read(descriptor: OwnedFd) -> io::Result<String> {
    let mut text = String::new();
    UnixStream::from(descriptor).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_secret_is_read_back() {
        assert_eq!(read(write("a key").unwrap()).unwrap(), "a key");
    }
}
