//! Where the clients of all processes find the shared sessions.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// How many bytes a place has; a key is shorter.
const WIDTH: usize = 128;

/// A file with a place for each shared session, in which stands the key that somebody knew last.
///
/// It promises nothing: who reads while another writes may find a key that never was, which is just a key without a session.
#[derive(Debug)]
pub(super) struct Board(File);

impl Board {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// The key at this place.
    pub(super) fn read(&self, place: usize) -> Option<String> {
        let mut text = [0; WIDTH];
        self.0.read_exact_at(&mut text, Self::offset(place)).ok()?;
        let text = String::from_utf8_lossy(&text);
        let key = text.trim_end_matches(['\0', ' ']);
        (!key.is_empty()).then(|| key.to_owned())
    }

    /// Puts a key there.
    pub(super) fn write(&self, place: usize, key: &str) -> io::Result<()> {
        self.0.write_all_at(format!("{key:WIDTH$}").as_bytes(), Self::offset(place))
    }

    fn offset(place: usize) -> u64 {
        (place * WIDTH) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Board;

    #[test]
    fn a_place_holds_the_last_key() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Board::open(&folder.path().join("board")).unwrap(), Board::open(&folder.path().join("board")).unwrap());
        assert_eq!(other.read(3), None);
        one.write(3, "a long key").unwrap();
        one.write(3, "key").unwrap();
        assert_eq!(other.read(3).as_deref(), Some("key"));
        assert_eq!(other.read(2), None);
    }
}
