//! Servers that the tests of one run share.
//!
//! `scripts/test` runs the tests below the program `shared_servers`. It starts one server of each
//! kind, and names them in environment variables. A test that only reads and writes takes such a
//! server with its own prefix or database. A test that stops, freezes, fills or configures a server
//! starts its own.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{kind::Kind, url::hosts_of};

/// The name of the folder that holds the files of a new server, ready to be copied.
const TEMPLATE: &str = "template";

/// A server that other tests use at the same time.
#[derive(Debug)]
pub struct SharedServer {
    /// The URL of the user who may do everything.
    url: String,
    /// The log files of its processes, each with its length when the test began.
    logs: Vec<(PathBuf, usize)>,
    /// The service, as `REQUIRE_SERVICES` calls it.
    name: &'static str,
}

impl SharedServer {
    /// The shared server of this kind, if there is one. A server that the user names goes first.
    pub(super) fn find(kind: &Kind) -> Option<Self> {
        if kind.url().is_some() {
            return None;
        }
        let url = env::var(variable(kind, "URL")).ok()?;
        let logs = logs_in(&folder(kind)?);
        Some(Self { url, logs, name: kind.name })
    }

    /// The URL of the user who may do everything.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The port of its first process on 127.0.0.1.
    ///
    /// # Panics
    /// If its URL has no port.
    pub(super) fn port(&self) -> u16 {
        let hosts = hosts_of(&self.url);
        let port = hosts.first().and_then(|host| host.rsplit(':').next()?.parse().ok());
        port.expect("the URL of a shared server has a port")
    }

    /// All that its processes have written since the test began, for all tests.
    pub(super) fn output(&self) -> String {
        let read = |(path, before): &(PathBuf, usize)| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(bytes.get(*before..).unwrap_or_default()).into_owned()
        };
        self.logs.iter().map(read).collect()
    }

    /// Ends a test that would disturb the other tests.
    ///
    /// # Panics
    /// Always.
    pub(super) fn refuse(&self) -> ! {
        panic!(
            "this test stops, freezes or configures a {} that other tests use at the same time: \
             start its own server instead",
            self.name
        )
    }
}

/// The environment variables that name a server to the tests: its URL, and the folder with its
/// logs.
pub(super) fn variables(kind: &Kind, url: &str, folder: &Path) -> [(String, OsString); 2] {
    [(variable(kind, "URL"), url.into()), (variable(kind, "FOLDER"), folder.into())]
}

/// Copies the files of a new server of this kind to `data`, if the shared one left them.
pub(super) fn copy_template(kind: &Kind, data: &Path) {
    let template = folder(kind).map(|folder| folder.join(TEMPLATE));
    let Some(template) = template.filter(|template| template.is_dir()) else { return };
    // The owners of the files have to stay the same.
    let copied = Command::new("cp").arg("-a").arg(template).arg(data).status();
    if !copied.is_ok_and(|status| status.success()) {
        // The server makes its files itself.
        let _ = fs::remove_dir_all(data);
    }
}

/// The place for such files in the folder of a service.
pub(super) fn template_in(folder: &Path) -> String {
    folder.join(TEMPLATE).display().to_string()
}

fn folder(kind: &Kind) -> Option<PathBuf> {
    env::var_os(variable(kind, "FOLDER")).map(PathBuf::from)
}

/// `TEST_SHARED_REDIS_CLUSTER_URL`.
fn variable(kind: &Kind, what: &str) -> String {
    format!("TEST_SHARED_{}_{what}", kind.name.replace('-', "_").to_uppercase())
}

fn logs_in(folder: &Path) -> Vec<(PathBuf, usize)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let logs = paths.filter(|path| path.extension().is_some_and(|kind| kind == "out"));
    let length = |path: &PathBuf| {
        fs::metadata(path).map_or(0, |data| usize::try_from(data.len()).unwrap_or_default())
    };
    logs.map(|path| (path.clone(), length(&path))).collect()
}
