//! The check of an SQLite file, its folder and its disk.

use std::{path::Path, time::Instant};

use rustix::fs::{Access, access, statfs, statvfs};
use session_core::report::{Check, CheckReport};
use store_support::check::{names, same_clock};
use tokio::time::timeout;

use super::questions::{MissingRight, Questions, since};
use crate::{config::Config, error::ClientError};

const FOLDER: &str = "folder";
const DISK: &str = "disk";
const FILE_SYSTEM: &str = "file system";
const JOURNAL: &str = "journal_mode";
const SYNCHRONOUS: &str = "synchronous";

/// Less free space than this is a warning.
const MIN_FREE_BYTES: u64 = 100 << 20;

/// The file systems on other machines, by the magic numbers of Linux. SQLite's locks and its shared
/// memory do not work on them.
const NETWORK: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x517b, "SMB"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
];
const FUSE: u64 = 0x6573_5546;

pub(super) async fn check(config: &Config, path: &Path, report: &mut CheckReport) {
    let questions = Questions::new(config);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let begun = Instant::now();
    let opened = match timeout(config.deadline, questions.client.database.open_file()).await {
        Ok(Ok(())) => questions.values("SELECT sqlite_version()").await,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ClientError::Busy(format!("no answer within {:?}", config.deadline))),
    };
    match &opened {
        Ok([version]) => {
            report.push(Check::ok(names::CONNECTION, format!("opened in {:?}", since(begun))));
            report.push(Check::ok(names::VERSION, format!("SQLite {version}")));
            questions.push_operations(report, |missing| grant(missing, path, folder)).await;
        }
        Err(error) => {
            report.push(Check::failed(
                names::CONNECTION,
                error.to_string(),
                not_open(error, path, folder),
            ));
            let rest = [names::VERSION, names::OPERATIONS];
            report.push_not_checked(&rest, "the file is not open");
        }
    }
    report.push(same_clock());
    report.push(writable(folder));
    report.push(space(folder));
    report.push(file_system(folder));
    if opened.is_ok() {
        let journal = questions.values("PRAGMA journal_mode").await;
        report.push(match &journal {
            Ok([mode]) => journal_mode(mode, path),
            Err(error) => Check::not_checked(JOURNAL, error.to_string()),
        });
        let level = questions.rows("PRAGMA synchronous").await;
        report.push(match level.map(|rows| rows.first().map(|row| row.integer(0))) {
            Ok(Some(Ok(level))) => synchronous(level),
            _ => Check::not_checked(SYNCHRONOUS, "the database does not tell it"),
        });
    } else {
        report.push_not_checked(&[JOURNAL, SYNCHRONOUS], "the file is not open");
    }
}

/// The command that gives the folder to the user of the server.
fn own(folder: &Path) -> String {
    let folder = folder.display();
    format!("as root: install -d -m 700 -o <user of the server> {folder}")
}

/// What to do about a file that cannot be opened.
fn not_open(error: &ClientError, path: &Path, folder: &Path) -> String {
    match error {
        ClientError::File(_) => own(folder),
        ClientError::Refused(_) => {
            format!("write another path into the URL, or move {} away", path.display())
        }
        _ => {
            format!("stop the program that locks the file; `fuser -v {}` shows it", path.display())
        }
    }
}

fn grant(_: MissingRight, path: &Path, folder: &Path) -> String {
    let (path, folder) = (path.display(), folder.display());
    format!("as root: chown <user of the server> {folder} {path} {path}-wal {path}-shm {path}.lock")
}

/// SQLite creates files beside the database.
fn writable(folder: &Path) -> Check {
    match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok(FOLDER, format!("{} is writable", folder.display())),
        Err(error) => Check::failed(
            FOLDER,
            format!(
                "this user cannot write to {}: {}",
                folder.display(),
                std::io::Error::from(error)
            ),
            own(folder),
        ),
    }
}

fn space(folder: &Path) -> Check {
    let free = match statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return Check::not_checked(DISK, std::io::Error::from(error).to_string()),
    };
    free_space(free, folder)
}

fn free_space(free: u64, folder: &Path) -> Check {
    let found = format!("{} MiB are free", free >> 20);
    if free < MIN_FREE_BYTES {
        let remedy = format!("free space on the disk of {}; `df -h` shows it", folder.display());
        return Check::warning(DISK, format!("{found}: a full disk refuses sign-ins"), remedy);
    }
    Check::ok(DISK, found)
}

fn file_system(folder: &Path) -> Check {
    match statfs(folder) {
        // The type of this field depends on the machine.
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "a magic number")]
        Ok(system) => kind(system.f_type as u64 & 0xffff_ffff),
        Err(error) => Check::not_checked(FILE_SYSTEM, std::io::Error::from(error).to_string()),
    }
}

fn kind(magic: u64) -> Check {
    const LOCAL: &str = "move the file to a disk of this machine, or use PostgreSQL or MySQL";
    if let Some((_, name)) = NETWORK.iter().find(|(known, _)| *known == magic) {
        let found = format!("{name}: the locks of SQLite do not work on a network");
        return Check::failed(FILE_SYSTEM, found, LOCAL);
    }
    if magic == FUSE {
        let found = "FUSE: if it leads to another machine, the locks of SQLite do not work";
        return Check::warning(FILE_SYSTEM, found, LOCAL);
    }
    Check::ok(FILE_SYSTEM, "on this machine")
}

fn journal_mode(mode: &str, path: &Path) -> Check {
    if mode.eq_ignore_ascii_case("wal") {
        return Check::ok(JOURNAL, "wal");
    }
    Check::warning(
        JOURNAL,
        format!("{mode}: each change blocks all reads"),
        format!("stop the servers, and: sqlite3 {} 'PRAGMA journal_mode=WAL'", path.display()),
    )
}

fn synchronous(level: i64) -> Check {
    match level {
        2 | 3 => Check::ok(SYNCHRONOUS, "full"),
        level => Check::warning(
            SYNCHRONOUS,
            format!(
                "{}: a power failure undoes the last changes, also sign-outs",
                if level == 1 { "normal" } else { "off" }
            ),
            "remove synchronous from the URL",
        ),
    }
}

#[cfg(test)]
mod tests {
    use session_core::report::Outcome;

    use super::*;

    #[test]
    fn disk_file_system_and_settings_have_a_remedy() {
        let folder = Path::new("/var/lib/app");
        for (check, expected, words) in [
            (free_space(MIN_FREE_BYTES, folder), Outcome::Ok, "100 MiB"),
            (free_space(MIN_FREE_BYTES - 1, folder), Outcome::Warning, "99 MiB"),
            (kind(0x6969), Outcome::Failed, "NFS"),
            (kind(FUSE), Outcome::Warning, "FUSE"),
            (kind(0xef53), Outcome::Ok, "this machine"),
            (journal_mode("wal", folder), Outcome::Ok, "wal"),
            (journal_mode("delete", folder), Outcome::Warning, "blocks all reads"),
            (synchronous(2), Outcome::Ok, "full"),
            (synchronous(1), Outcome::Warning, "normal"),
        ] {
            assert_eq!(check.outcome, expected, "{check:?}");
            assert!(check.found.contains(words), "{check:?}");
            assert_eq!(check.remedy.is_some(), expected != Outcome::Ok, "{check:?}");
        }
    }

    #[test]
    fn folder_that_is_missing_is_not_writable() {
        let check = writable(Path::new("/nowhere/at/all"));
        assert_eq!(check.outcome, Outcome::Failed);
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("/nowhere/at/all")));
    }
}
