use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf, absolute};
use std::process;

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// How often a file that was removed while it was being locked is opened anew. Each time is the end
/// of another holder.
const ATTEMPTS: usize = 100;

/// Longest content that a file of ours can have: two numbers, if its writer died between the two
/// steps of writing.
const LONGEST: usize = 32;

/// A file that tells the number of the process that holds its lock.
///
/// The kernel unlocks it when the last copy of the descriptor is closed, however the process ends,
/// so a file that was left behind by a crash stops nobody.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: File,
    path: PathBuf,
    stays: bool,
}

/// Why something that only one process may hold is not ours.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// By whom, if that can be told.
    Taken(Option<u32>),
    Failed(io::Error),
}

impl From<io::Error> for NotHeld {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl PidFile {
    /// Opens the file, or makes it, and locks it without waiting.
    pub(crate) fn open(path: &Path, mode: u32) -> Result<Self, NotHeld> {
        let path = absolute(path)?;
        check_folder(&path)?;
        // The open below must not follow a symbolic link that another user placed at the path.
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        for _ in 0..ATTEMPTS {
            // The kernel may refuse to open a foreign file in a sticky folder
            // (fs.protected_regular), and its error names no owner.
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
                Err(TryLockError::WouldBlock) => return Err(NotHeld::Taken(number_in(&file))),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // The holder before us may have removed it in between. Then somebody else can hold the
            // one that is there now.
            if leads_to(&path, &file) {
                // The umask may have taken rights away. A file that another user made keeps its
                // mode.
                let _ = file.set_permissions(Permissions::from_mode(mode));
                return Ok(Self { file, path, stays: false });
            }
        }
        Err(io::Error::other("it is removed again and again while it is being locked").into())
    }

    /// A file whose lock another process handed on. Until [`take_charge`](Self::take_charge) it is
    /// that one's.
    pub(crate) fn of_predecessor(file: File, path: PathBuf) -> Self {
        Self { file, path, stays: true }
    }

    /// From now on it is this process's.
    pub(crate) fn take_charge(&mut self) -> io::Result<()> {
        self.stays = false;
        self.write_own_pid()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the file that is at this path.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        leads_to(path, &self.file)
    }

    /// Another descriptor with the same lock.
    pub(crate) fn copy(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes the number of this process. At no moment is the file empty, or its first line not a
    /// number.
    pub(crate) fn write_own_pid(&self) -> io::Result<()> {
        let line = format!("{}\n", process::id());
        self.file.write_all_at(line.as_bytes(), 0)?;
        self.file.set_len(line.len() as u64)
    }

    /// Leaves the file there, for the process that has a copy of the descriptor.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
    }

    pub(crate) fn stays(&self) -> bool {
        self.stays
    }
}

/// A file that nobody holds any more is not left behind.
impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.stays && leads_to(&self.path, &self.file) {
            // Still locked, so nobody else counts on it.
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::warn!(path = %self.path.display(), %error, "a file of the primary stays behind");
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
            "every user can replace files in {}; set the sticky bit of that folder, or choose a folder that only this user can write to",
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
            "it belongs to uid {owner} and this process runs as uid {user}; remove it, or choose another file"
        )));
    }
    if file.file_type().is_symlink() {
        return Err(refused("it is a symbolic link; remove it, or choose another file"));
    }
    // No name at all means that the last holder has just removed it. Then the caller opens the path
    // again.
    if file.nlink() > 1 {
        return Err(refused(
            "it has several hard links, so writing to it changes another file; remove it, or choose another file",
        ));
    }
    Ok(())
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.into())
}

/// Whether a file is empty or holds what [`PidFile`] writes. A mistyped path must not destroy what
/// is there.
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
            Err(NotHeld::Taken(by)) => by,
            other => panic!("not refused as taken: {other:?}"),
        }
    }

    #[test]
    fn the_second_is_told_who_holds_it() {
        let (_folder, path) = folder();
        let held = PidFile::open(&path, 0o644).unwrap();
        assert_eq!(taken(&path), None);
        held.write_own_pid().unwrap();
        assert_eq!(taken(&path), Some(process::id()));
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_crash_left_is_taken_over_whole() {
        let (_folder, path) = folder();
        fs::write(&path, "4194303999\n").unwrap();
        let held = PidFile::open(&path, 0o644).unwrap();
        held.write_own_pid().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
    }

    #[test]
    fn a_file_that_is_no_pid_file_is_left_alone() {
        let (folder, path) = folder();
        fs::write(&path, "root:x:0:0\n").unwrap();
        let NotHeld::Failed(error) = PidFile::open(&path, 0o644).unwrap_err() else {
            panic!("taken")
        };
        assert!(error.to_string().contains("something else than a process id"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "root:x:0:0\n");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(matches!(PidFile::open(&link, 0o644), Err(NotHeld::Failed(_))));
        assert!(!folder.path().join("elsewhere").exists());
    }

    fn refusal(path: &Path) -> String {
        match PidFile::open(path, 0o644) {
            Err(NotHeld::Failed(error)) => error.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn s30_pid_file_of_another_user_is_refused() {
        let (_folder, path) = folder();
        for content in ["", "4194303999\n"] {
            fs::write(&path, content).unwrap();
            chown(&path, Some(65_534), Some(65_534))
                .expect("only root can give a file away: run this test as root");
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
    fn a_lock_on_a_file_that_was_removed_meanwhile_does_not_count() {
        let (_folder, path) = folder();
        // Holders come and go while others try: at no time do two of them hold the path.
        let holders = std::sync::atomic::AtomicUsize::new(0);
        let turns = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while turns.load(std::sync::atomic::Ordering::SeqCst) < 150 {
                        let Ok(held) = PidFile::open(&path, 0o644) else { continue };
                        let others = holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0, "two hold it");
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
    fn a_successor_with_the_descriptor_keeps_lock_and_file() {
        let (_folder, path) = folder();
        let mut held = PidFile::open(&path, 0o644).unwrap();
        held.write_own_pid().unwrap();
        // One that does not take charge leaves everything as it was.
        drop(PidFile::of_predecessor(held.copy().unwrap(), path.clone()));
        assert_eq!(taken(&path), Some(process::id()));
        let mut heir = PidFile::of_predecessor(held.copy().unwrap(), path.clone());
        held.stay();
        drop(held);
        assert!(path.exists());
        assert_eq!(taken(&path), Some(process::id()));
        heir.take_charge().unwrap();
        drop(heir);
        assert!(!path.exists());
        PidFile::open(&path, 0o644).unwrap();
    }
}
