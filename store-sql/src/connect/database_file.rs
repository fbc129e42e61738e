//! Notices that the file of an SQLite database was removed or replaced.
//!
//! A connection to a removed file continues to work. Its changes are lost, and processes that
//! connect later see another file. So the store compares the path with the file that it uses.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::error::ClientError;

/// The store looks at the path at most once in this time.
const PAUSE: Duration = Duration::from_millis(250);

/// The file at the path of a database.
pub(crate) struct DatabaseFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When the file was last at the path.
    at: Option<Instant>,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

/// What is at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// The same file as at the last look.
    Same,
    /// Another file. The connections to the old file must not be used any more.
    Replaced,
}

impl DatabaseFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: Mutex::default() }
    }

    /// Looks at the path.
    ///
    /// # Errors
    /// [`ClientError::FileRemoved`] if the file was there and is not there now.
    pub(crate) fn look(&self) -> Result<FileState, ClientError> {
        let mut seen = self.seen.lock();
        if seen.at.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(FileState::Same);
        }
        match std::fs::metadata(&self.path) {
            Ok(file) => {
                let identity = (file.dev(), file.ino());
                let before = seen.identity.replace(identity);
                seen.at = Some(Instant::now());
                Ok(match before {
                    Some(before) if before != identity => FileState::Replaced,
                    _ => FileState::Same,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && seen.identity.is_some() => {
                seen.at = None;
                Err(ClientError::FileRemoved(self.path.display().to_string()))
            }
            // SQLite reports all other problems itself.
            Err(_) => Ok(FileState::Same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d10_removed_and_replaced_files_are_noticed() {
        let folder = std::env::temp_dir().join(format!("database-file-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (path, moved) = (folder.join("a"), folder.join("b"));
        let file = DatabaseFile::new(&path);
        let look = || {
            file.seen.lock().at = None;
            file.look()
        };
        assert!(matches!(look(), Ok(FileState::Same)), "the first file is not there yet");
        std::fs::write(&path, "first").unwrap();
        assert!(matches!(look(), Ok(FileState::Same)));
        std::fs::rename(&path, &moved).unwrap();
        assert!(matches!(file.look(), Ok(FileState::Same)), "a look too early");
        assert!(matches!(look(), Err(ClientError::FileRemoved(_))));
        assert!(matches!(file.look(), Err(ClientError::FileRemoved(_))), "each call looks again");
        std::fs::rename(&moved, &path).unwrap();
        assert!(matches!(file.look(), Ok(FileState::Same)), "the same file is back");
        std::fs::write(&moved, "second").unwrap();
        std::fs::rename(&moved, &path).unwrap();
        assert!(matches!(look(), Ok(FileState::Replaced)));
        assert!(matches!(look(), Ok(FileState::Same)));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
