//! The check of an owner: whether it answers, who may use its socket, and that its sessions work.

use std::{
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};

use session_core::{
    SessionStore, StoreError,
    report::{Check, CheckReport},
};
use store_support::check::{self, Endpoint, names, push_operations};

use crate::{
    config::Config,
    error::{ClientError, STORE},
    store::IpcStore,
    trusted_owner::TrustedOwner,
};

const SOCKET: &str = "socket";
const DURABILITY: &str = "durability";

/// The time limit of the trial, in deadlines.
const TRIAL: u32 = 3;

/// Connects once and reports whether the owner answers, which users can reach its socket, and
/// whether its sessions work.
///
/// The trial of the operations creates a session and ends it. All of this takes at most eight times
/// [`Config::deadline`].
///
/// # Panics
/// Outside a tokio runtime.
pub async fn check(config: &Config) -> CheckReport {
    let path = config.path();
    let mut report = CheckReport::new(STORE, path.display().to_string());
    report.push(socket(path, config.trusted_owner()));
    let store = match IpcStore::connect_with(config) {
        Ok(store) => store,
        Err(error) => {
            report.push(Check::failed(names::CONNECTION, error.to_string(), "correct the URL"));
            report.push_not_checked(&[names::OPERATIONS], "there is no connection");
            return report;
        }
    };
    let begun = Instant::now();
    if let Err(error) = store.ping().await {
        report.push(unreachable(config, &error).await);
        report.push_not_checked(&[names::OPERATIONS], "there is no connection");
    } else {
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let took = Duration::from_millis(took);
        report.push(Check::ok(names::CONNECTION, format!("the owner answered in {took:?}")));
        let tried = check::try_operations(&store, STORE, config.deadline * TRIAL).await;
        push_operations(&mut report, &tried, |failed| remedy(config, &failed.error));
    }
    report.push(check::same_clock());
    report.push(Check::warning(
        DURABILITY,
        "the owner keeps the sessions in memory: they end with its process, unless it hands them \
         over to a successor",
        "for sessions that survive a restart of the machine use a database: --store redis, mongo \
         or sql",
    ));
    report
}

/// The check of the socket's file.
fn socket(path: &Path, trusted: TrustedOwner) -> Check {
    let file = match path.metadata() {
        Ok(file) => file,
        Err(error) => {
            let found = match error.kind() {
                io::ErrorKind::NotFound => format!("{} does not exist", path.display()),
                _ => format!("cannot look at {}: {error}", path.display()),
            };
            let remedy = format!(
                "start the owner: demo-server owner --store-url ipc:{}; or correct the path",
                path.display()
            );
            return Check::failed(SOCKET, found, remedy);
        }
    };
    if !file.file_type().is_socket() {
        let found = format!("{} is not a socket", path.display());
        return Check::failed(SOCKET, found, "correct the path in the URL");
    }
    rights(path, file.permissions().mode() & 0o777, file.uid(), trusted)
}

fn rights(path: &Path, mode: u32, uid: u32, trusted: TrustedOwner) -> Check {
    let found = format!("mode {mode:04o}, uid {uid}");
    if !trusted.includes(uid) {
        let found = format!("{found}; the owner must run as {trusted}");
        let remedy = format!("write owner_uid={uid} into the URL if that user is right");
        return Check::failed(SOCKET, found, remedy);
    }
    if mode & 0o007 != 0 {
        let found = format!("{found}: every user of this machine can connect to the owner");
        return Check::warning(SOCKET, found, format!("chmod 600 {}", path.display()));
    }
    Check::ok(SOCKET, found)
}

fn client_error(error: &StoreError) -> Option<&ClientError> {
    match error {
        StoreError::Unavailable { source, .. } | StoreError::Other { source, .. } => {
            source.downcast_ref()
        }
        _ => None,
    }
}

/// The check of a connection that failed with this error.
async fn unreachable(config: &Config, error: &StoreError) -> Check {
    if let Some(ClientError::Connect { .. }) = client_error(error) {
        let endpoint = Endpoint::Socket(config.path());
        if let Some(check) = endpoint.why_unreachable(config.deadline, "the path").await {
            return check;
        }
    }
    Check::failed(names::CONNECTION, check::reason(error), remedy(config, error))
}

/// What to do about a call that failed.
fn remedy(config: &Config, error: &StoreError) -> String {
    match client_error(error) {
        Some(ClientError::UserNotAllowed) => format!(
            "run this program as the user of the owner, or let the owner accept uid {}: \
             OwnerBuilder::allow_uid",
            rustix::process::geteuid().as_raw()
        ),
        Some(ClientError::UntrustedOwner { uid, .. }) => {
            format!("write owner_uid={uid} into the URL if that user is right")
        }
        Some(ClientError::TooManyConnections) => {
            "raise max_connections of the owner: OwnerBuilder::max_connections".to_owned()
        }
        Some(ClientError::Protocol(_) | ClientError::UnexpectedReply) => format!(
            "run the same version of this program as the owner, and check that the owner listens \
             at {}",
            config.path().display()
        ),
        _ if matches!(error, StoreError::Rejected(_)) => {
            "start the owner with a larger --max-sessions or --max-bytes".to_owned()
        }
        _ => "the owner is stopped or overloaded; its log has the reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use session_core::{MemoryStore, report::Outcome};

    use super::*;
    use crate::Owner;

    #[tokio::test]
    async fn check_of_an_owner_leaves_no_session_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let sessions = Arc::new(MemoryStore::new());
        let owner = Owner::builder(sessions.clone()).build().unwrap().spawn_thread().unwrap();
        owner.listen(&path).unwrap();
        let report = check(&Config::new(&path)).await;
        assert!(report.is_ok(), "{report}");
        let names: Vec<_> = report.checks.iter().map(|check| (check.name, check.outcome)).collect();
        assert_eq!(
            names,
            [
                (SOCKET, Outcome::Ok),
                (names::CONNECTION, Outcome::Ok),
                (names::OPERATIONS, Outcome::Ok),
                (names::CLOCK, Outcome::Ok),
                (DURABILITY, Outcome::Warning),
            ]
        );
        assert!(sessions.scan(None, 10).await.unwrap().records.is_empty());
    }

    #[tokio::test]
    async fn missing_owner_is_named_with_the_remedy() {
        let report = check(&Config::new("/nowhere/s.sock")).await;
        assert_eq!(report.failed(), 2, "{report}");
        let remedy = "start the owner: demo-server owner --store-url ipc:/nowhere/s.sock";
        assert!(report.to_string().contains(remedy), "{report}");
    }

    #[test]
    fn socket_of_another_user_or_for_all_users_is_reported() {
        let check = |mode, uid| rights(Path::new("/s"), mode, uid, TrustedOwner::UserOrRoot(7));
        assert_eq!(check(0o600, 7), Check::ok(SOCKET, "mode 0600, uid 7"));
        assert_eq!(check(0o666, 7).remedy.as_deref(), Some("chmod 600 /s"));
        let foreign = check(0o600, 8);
        assert_eq!(foreign.outcome, Outcome::Failed);
        assert!(foreign.remedy.is_some_and(|remedy| remedy.contains("owner_uid=8")));
    }
}
