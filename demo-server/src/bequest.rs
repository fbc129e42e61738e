//! What a primary leaves to the one that takes its place.

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

/// A text on its way: what is written here is read there, and nowhere else.
pub(crate) fn leave(text: &str) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    // It is short, so the socket takes all of it without a reader. Its end is the end of the text.
    (&ours).write_all(text.as_bytes())?;
    Ok(theirs.into())
}

/// The text that was left.
pub(crate) fn read(left: OwnedFd) -> io::Result<String> {
    let mut text = String::new();
    UnixStream::from(left).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read() {
        assert_eq!(read(leave("a key").unwrap()).unwrap(), "a key");
    }
}
