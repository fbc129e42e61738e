//! Faults of an SQLite database. It has no server to stop or freeze, so the faults apply to its
//! files.

use std::{
    fs::{File, OpenOptions},
    os::{fd::IntoRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::sql;

/// Where the second copy of the head of the index of the log stands, and in it a counter.
const COUNTER: u64 = 48 + 8;

/// How long the head of the log is.
const LOG_HEAD: u64 = 32;

/// What lasts until it is ended.
#[derive(Debug)]
pub(super) enum Fault {
    /// A disk that gives nothing back: of the log, which has what was written last, only the head
    /// is left. Whoever reads or writes gets an I/O error at once.
    Cut {
        log: PathBuf,
        content: Vec<u8>,
        /// Keeps the database open. The first process that opens a database, and the last that
        /// closes it, would change the log.
        _open: SqliteConnection,
    },
    /// A process that stands still in the middle of a commit, with the lock of writers and one of
    /// two copies of the index's head written. Whoever reads or writes waits.
    Torn { writer: SqliteConnection, index: File, whole: [u8; 1] },
    /// A process that has begun to write and does not end. Whoever writes waits.
    Held { writer: SqliteConnection },
}

impl Fault {
    /// Cuts the log of this database.
    pub(super) async fn cut(options: &SqliteConnectOptions) -> sqlx::Result<Self> {
        let mut open = connect(options).await?;
        // The first page is read by everybody, and after this it is in the log. Nobody has it in
        // his cache: it is another one now.
        sql::sqlite(&mut open, "PRAGMA wal_autocheckpoint = 0").await?;
        let version = sql::sqlite(&mut open, "PRAGMA user_version").await?.only();
        let next = version.parse::<u32>().unwrap_or_default() + 1;
        sql::sqlite(&mut open, &format!("PRAGMA user_version = {next}")).await?;
        let log = beside(options.get_filename(), "-wal");
        let content = std::fs::read(&log)?;
        OpenOptions::new().write(true).open(&log)?.set_len(LOG_HEAD)?;
        Ok(Self::Cut { log, content, _open: open })
    }

    /// Stands still in the middle of a commit.
    pub(super) async fn tear(options: &SqliteConnectOptions) -> sqlx::Result<Self> {
        let writer = begin(options).await?;
        let index = OpenOptions::new()
            .read(true)
            .write(true)
            .open(beside(options.get_filename(), "-shm"))?;
        let mut whole = [0];
        index.read_exact_at(&mut whole, COUNTER)?;
        index.write_all_at(&[!whole[0]], COUNTER)?;
        Ok(Self::Torn { writer, index, whole })
    }

    /// Begins to write.
    pub(super) async fn hold(options: &SqliteConnectOptions) -> sqlx::Result<Self> {
        Ok(Self::Held { writer: begin(options).await? })
    }

    /// Makes it as it was.
    pub(super) async fn end(self) -> sqlx::Result<()> {
        match self {
            Self::Cut { log, content, _open } => {
                // Not made anew: others have it open.
                OpenOptions::new().write(true).open(log)?.write_all_at(&content, 0)?;
            }
            Self::Torn { mut writer, index, whole } => {
                index.write_all_at(&whole, COUNTER)?;
                // To close a file on which this process has locks of SQLite's would give them up.
                let _ = index.into_raw_fd();
                sql::sqlite(&mut writer, "ROLLBACK").await?;
            }
            Self::Held { mut writer } => {
                sql::sqlite(&mut writer, "ROLLBACK").await?;
            }
        }
        Ok(())
    }

    /// Leaves everything as it is, and lets go of the locks.
    pub(super) async fn die(self) -> sqlx::Result<()> {
        match self {
            Self::Torn { writer, index, .. } => {
                // As above.
                let _ = index.into_raw_fd();
                writer.close().await
            }
            Self::Held { writer } => writer.close().await,
            Self::Cut { .. } => panic!("a disk does not die twice"),
        }
    }
}

async fn begin(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let mut writer = connect(options).await?;
    sql::sqlite(&mut writer, "BEGIN IMMEDIATE").await?;
    Ok(writer)
}

async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    options.clone().journal_mode(SqliteJournalMode::Wal).connect().await
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}
