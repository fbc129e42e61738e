//! The file through which the clients of all processes share their sessions.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// The size of a slot in bytes. An id is shorter.
const WIDTH: usize = 128;

/// The key of a session and one of its secrets, as in a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionId {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) generation: u32,
}

impl SessionId {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (key, secret, generation) =
            (parts.next()?.to_owned(), parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some(Self { key, secret, generation })
    }
}

/// A file with a slot for each shared session. A slot holds the id that a client published last.
///
/// A read during a write may return a mixture of two ids. For the store that is a missing session
/// or a wrong secret.
#[derive(Debug)]
pub(super) struct SharedKeys(File);

impl SharedKeys {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Returns the id in a slot.
    pub(super) fn read(&self, slot: usize) -> Option<SessionId> {
        let mut text = [0; WIDTH];
        self.0.read_exact_at(&mut text, Self::offset(slot)).ok()?;
        SessionId::parse(String::from_utf8_lossy(&text).trim_end_matches(['\0', ' ']))
    }

    /// Writes an id into a slot.
    pub(super) fn write(&self, slot: usize, id: &SessionId) -> io::Result<()> {
        let text = format!("{} {} {}", id.key, id.secret, id.generation);
        self.0.write_all_at(format!("{text:WIDTH$}").as_bytes(), Self::offset(slot))
    }

    fn offset(slot: usize) -> u64 {
        (slot * WIDTH) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{SessionId, SharedKeys};

    #[test]
    fn slot_holds_the_last_id() {
        let id = |key: &str| SessionId {
            key: key.to_owned(),
            secret: "w0.0/c1-7".to_owned(),
            generation: 3,
        };
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (
            SharedKeys::open(&folder.path().join("shared_keys")).unwrap(),
            SharedKeys::open(&folder.path().join("shared_keys")).unwrap(),
        );
        assert_eq!(other.read(3), None);
        one.write(3, &id("a-long-key")).unwrap();
        one.write(3, &id("key")).unwrap();
        assert_eq!(other.read(3), Some(id("key")));
        assert_eq!(other.read(2), None);
    }
}
