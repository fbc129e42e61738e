//! A network namespace for a run, so that its network can be cut.

use std::{
    env,
    error::Error,
    fmt,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use super::{
    error::BoxError,
    packet_filter::{OUTER_NAMESPACE, PacketFilter, name_of},
};

/// What a new one needs before it can be used.
const PREPARE: &str = "ip link set lo up";
/// Whether packets can be dropped in it.
const TRY: &str = "ip link set lo up && nft add table ip attempt && nft 'add chain ip attempt arriving { type filter hook input priority 0; }' && \
                   nft add rule ip attempt arriving tcp dport 1 drop";
/// Root makes one alone; others make it with a namespace of users, in which they stay who they are
/// and may do everything in the network.
const AS_ROOT: &[&str] = &["--net"];
const AS_ANYBODY: &[&str] = &["--user", "--map-current-user", "--keep-caps", "--net"];

/// Where the tests are told of servers that are there already: outside, so that nothing in a
/// namespace reaches them.
const OUTSIDE_SERVERS: &[&str] = &[
    "TEST_REDIS_URL",
    "TEST_REDIS_CLUSTER_URL",
    "TEST_REDIS_SENTINEL_URL",
    "TEST_MONGO_URL",
    "TEST_MONGO_SET_URL",
    "TEST_POSTGRES_URL",
    "TEST_MARIADB_URL",
];

/// There can be no network namespace here, and so no cut.
#[derive(Debug)]
pub struct NamespaceError(String);

/// Goes on in a network namespace of its own: this program is started again in one, with the same
/// words, in place of this process. Does nothing if it is in one.
///
/// # Errors
/// [`NamespaceError`] if there can be none here, or the tools are not there; says which.
pub fn enter_namespace() -> Result<(), BoxError> {
    if env::var_os(OUTER_NAMESPACE).is_some() {
        return PacketFilter::of_own_namespace().map(drop);
    }
    let outside = name_of("self")?;
    let option_sets = if geteuid().is_root() { &[AS_ROOT, AS_ANYBODY][..] } else { &[AS_ANYBODY] };
    let mut refusals = Vec::new();
    for options in option_sets {
        // A failure of `unshare` itself would look like a verdict.
        let tried = Command::new("unshare")
            .args(*options)
            .args(["sh", "-c", TRY])
            .stdin(Stdio::null())
            .output();
        match tried {
            Ok(done) if done.status.success() => {
                let script = format!("{PREPARE} && exec \"$0\" \"$@\"");
                let mut again = Command::new("unshare");
                again
                    .args(*options)
                    .args(["sh", "-c", &script])
                    .arg(env::current_exe()?)
                    .args(env::args_os().skip(1));
                // Servers in containers would be outside of it.
                again.env(OUTER_NAMESPACE, outside).env("TEST_SERVICES_FROM", "path");
                for variable in OUTSIDE_SERVERS {
                    again.env_remove(variable);
                }
                return Err(again.exec().into());
            }
            Ok(done) => refusals.push(format!(
                "unshare {}: {}",
                options.join(" "),
                String::from_utf8_lossy(&done.stderr).trim()
            )),
            Err(error) => refusals.push(format!("unshare: {error}")),
        }
    }
    Err(NamespaceError(refusals.join("; ")).into())
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(
            f,
            "no cut here: it takes a network namespace of its own (root, or user namespaces for everybody) and the programs unshare, ip and \
             nft: {why}; leave cut out of --faults"
        )
    }
}

impl Error for NamespaceError {}
