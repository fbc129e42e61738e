//! A file that names the process that holds its lock.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf, absolute},
    process,
};

use rustix::{fs::OFlags, process::geteuid};

/// How often the file is opened again after its last holder removed it during the attempt to lock
/// it.
const ATTEMPTS: usize = 100;

/// Longest valid content: two numbers, if the writer died between the two steps of writing.
const LONGEST: usize = 32;

/// A file that contains the id of the process that holds its lock.
///
/// The kernel unlocks it when the last copy of the descriptor is closed, however the process ends.
/// So a file that a crash left behind blocks no later process.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: File,
    path: PathBuf,
    /// Whether the file stays when this value is dropped.
    keep: bool,
}

/// Why an exclusive file could not be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process holds it; its id, if known.
    Taken(Option<u32>),
    Failed(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl PidFile {
    /// Opens or creates the file, and locks it without waiting.
    pub(crate) fn open(path: &Path, mode: u32) -> Result<Self, LockError> {
        let path = absolute(path)?;
        check_folder(&path)?;
        // The open below must not follow a symbolic link that another user placed at the path.
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        for _ in 0..ATTEMPTS {
            // The kernel may refuse to open a foreign file in a sticky folder
            // (fs.protected_regular), and its error does not name the owner.
            if let Ok(found) = fs::symlink_metadata(&path) {
                check_file(&found)?;
            }
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(mode)
                .custom_flags(no_link)
                .open(&path)?;
            // The file may have been replaced since the check above.
            check_file(&file.metadata()?)?;
            if !holds_pid(&file)? {
                let text = "it holds something else than a process id; choose another file";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text).into());
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::Taken(number_in(&file))),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // The previous holder may have removed the file before it was locked here. Then
            // another process can hold a new file at the same path.
            if leads_to(&path, &file) {
                // The umask may have removed permissions. A file of another user keeps its mode.
                let _ = file.set_permissions(Permissions::from_mode(mode));
                return Ok(Self { file, path, keep: false });
            }
        }
        Err(io::Error::other("other processes removed it during each attempt to lock it").into())
    }

    /// A file whose lock another process passed on. It belongs to that process until
    /// [`take_charge`](Self::take_charge).
    pub(crate) fn of_predecessor(file: File, path: PathBuf) -> Self {
        Self { file, path, keep: true }
    }

    /// Makes this process the owner of the file.
    pub(crate) fn take_charge(&mut self) -> io::Result<()> {
        self.keep = false;
        self.write_own_pid()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this file is the one at `path`.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        leads_to(path, &self.file)
    }

    /// Another descriptor with the same lock.
    pub(crate) fn copy(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes the id of this process. At every moment the first line of the file is a number.
    pub(crate) fn write_own_pid(&self) -> io::Result<()> {
        let line = format!("{}\n", process::id());
        self.file.write_all_at(line.as_bytes(), 0)?;
        self.file.set_len(line.len() as u64)
    }

    /// Leaves the file to the process that has a copy of the descriptor.
    pub(crate) fn leave_to_successor(&mut self) {
        self.keep = true;
    }

    /// Whether the file stays when this value is dropped.
    pub(crate) fn is_kept(&self) -> bool {
        self.keep
    }
}

/// Removes the file, unless it is left to another process.
impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.keep && leads_to(&self.path, &self.file) {
            // The lock is still held, so no other process uses the file.
            if let Err(error) = fs::remove_file(&self.path) {
                let path = self.path.display();
                tracing::warn!(%path, %error, "cannot remove a file of the primary");
            }
        }
    }
}

/// Refuses a folder in which every user can replace the file. The sticky bit limits removing and
/// renaming to the owner of a file.
fn check_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let mode = fs::metadata(folder)?.mode();
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(refused(format!(
            "every user can replace files in {}; set the sticky bit of that folder, or choose a \
             folder that only this user can write to",
            folder.display()
        )));
    }
    Ok(())
}

/// Refuses a file that another user controls, and one that is also reached by another name.
fn check_file(file: &fs::Metadata) -> io::Result<()> {
    let (owner, user) = (file.uid(), geteuid().as_raw());
    // Root controls every file, so a file of root adds no risk.
    if owner != user && owner != 0 {
        return Err(refused(format!(
            "it belongs to uid {owner} and this process runs as uid {user}; remove it, or choose \
             another file"
        )));
    }
    if file.file_type().is_symlink() {
        return Err(refused("it is a symbolic link; remove it, or choose another file"));
    }
    // Zero links mean that the last holder has just removed the file. Then the caller opens the
    // path again.
    if file.nlink() > 1 {
        return Err(refused(
            "it has several hard links, so writing to it changes another file; remove it, or \
             choose another file",
        ));
    }
    Ok(())
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.into())
}

/// Whether a file is empty or holds what [`PidFile`] writes. This protects the content of other
/// files from a mistyped path.
fn holds_pid(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LONGEST as u64 {
        return Ok(false);
    }
    Ok(first_bytes(file)?.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n'))
}

fn number_in(file: &File) -> Option<u32> {
    let bytes = first_bytes(file).ok()?;
    str::from_utf8(&bytes).ok()?.lines().next()?.parse().ok()
}

fn first_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = [0; LONGEST];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(bytes[..read].to_vec())
}

fn leads_to(path: &Path, file: &File) -> bool {
    let same = |at: fs::Metadata| {
        file.metadata().is_ok_and(|of| (at.dev(), at.ino()) == (of.dev(), of.ino()))
    };
    fs::symlink_metadata(path).is_ok_and(same)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        (folder, path)
    }

    fn taken(path: &Path) -> Option<u32> {
        match PidFile::open(path, 0o644) {
            Err(LockError::Taken(by)) => by,
            other => panic!("not refused as taken: {other:?}"),
        }
    }

    #[test]
    fn second_process_learns_the_holder() {
        let (_folder, path) = folder();
        let held = PidFile::open(&path, 0o644).unwrap();
        assert_eq!(taken(&path), None);
        held.write_own_pid().unwrap();
        assert_eq!(taken(&path), Some(process::id()));
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn file_left_by_a_crash_is_taken_over() {
        let (_folder, path) = folder();
        fs::write(&path, "4194303999\n").unwrap();
        let held = PidFile::open(&path, 0o644).unwrap();
        held.write_own_pid().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
    }

    #[test]
    fn other_files_are_refused_and_unchanged() {
        let (folder, path) = folder();
        fs::write(&path, "root:x:0:0\n").unwrap();
        let LockError::Failed(error) = PidFile::open(&path, 0o644).unwrap_err() else {
            panic!("the file is not refused")
        };
        assert!(error.to_string().contains("something else than a process id"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "root:x:0:0\n");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(matches!(PidFile::open(&link, 0o644), Err(LockError::Failed(_))));
        assert!(!folder.path().join("elsewhere").exists());
    }

    fn refusal(path: &Path) -> String {
        match PidFile::open(path, 0o644) {
            Err(LockError::Failed(error)) => error.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn s30_pid_file_of_another_user_is_refused() {
        let (_folder, path) = folder();
        for content in ["", "4194303999\n"] {
            fs::write(&path, content).unwrap();
            chown(&path, Some(65_534), Some(65_534))
                .expect("only root can change the owner of a file; run this test as root");
            let refusal = refusal(&path);
            assert!(
                refusal.contains("belongs to uid 65534") && refusal.contains("uid 0;"),
                "{refusal}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().uid(), 65_534);
        }
    }

    #[test]
    fn s30_pid_file_with_another_hard_link_is_refused() {
        let (folder, path) = folder();
        let counter = folder.path().join("counter");
        fs::write(&counter, "42").unwrap();
        fs::hard_link(&counter, &path).unwrap();
        let refusal = refusal(&path);
        assert!(refusal.contains("several hard links"), "{refusal}");
        assert_eq!(fs::read_to_string(&counter).unwrap(), "42");
    }

    #[test]
    fn s30_symbolic_link_as_pid_file_is_refused() {
        let (folder, path) = folder();
        let target = folder.path().join("target");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let refusal = refusal(&path);
        assert!(refusal.contains("it is a symbolic link;"), "{refusal}");
        assert!(!target.exists());
    }

    #[test]
    fn s30_pid_file_in_a_folder_open_to_all_needs_the_sticky_bit() {
        let (folder, path) = folder();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let refusal = refusal(&path);
        assert!(
            refusal.contains("sticky bit") && refusal.contains(folder.path().to_str().unwrap()),
            "{refusal}"
        );
        assert!(!path.exists());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        PidFile::open(&path, 0o644).unwrap();
    }

    #[test]
    fn lock_on_a_removed_file_is_retried() {
        let (_folder, path) = folder();
        // Threads lock and remove the file concurrently. At no time do two of them hold the path.
        let holders = std::sync::atomic::AtomicUsize::new(0);
        let turns = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while turns.load(std::sync::atomic::Ordering::SeqCst) < 150 {
                        let Ok(held) = PidFile::open(&path, 0o644) else { continue };
                        let others = holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0, "two threads hold the lock");
                        turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::yield_now();
                        holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
    }

    #[test]
    fn successor_keeps_lock_and_file() {
        let (_folder, path) = folder();
        let mut held = PidFile::open(&path, 0o644).unwrap();
        held.write_own_pid().unwrap();
        // A successor that does not take charge changes nothing.
        drop(PidFile::of_predecessor(held.copy().unwrap(), path.clone()));
        assert_eq!(taken(&path), Some(process::id()));
        let mut successor = PidFile::of_predecessor(held.copy().unwrap(), path.clone());
        held.leave_to_successor();
        drop(held);
        assert!(path.exists());
        assert_eq!(taken(&path), Some(process::id()));
        successor.take_charge().unwrap();
        drop(successor);
        assert!(!path.exists());
        PidFile::open(&path, 0o644).unwrap();
    }
}
