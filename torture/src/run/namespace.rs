//! Starts the program again in a network namespace, so that a run can cut its network.

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

/// Prepares a new namespace.
const PREPARE: &str = "ip link set lo up";
/// Tries whether the new namespace can drop packets.
const TRY: &str = "ip link set lo up && nft add table ip attempt && \
                   nft 'add chain ip attempt arriving \
                   { type filter hook input priority 0; }' && \
                   nft add rule ip attempt arriving tcp dport 1 drop";
/// The options of `unshare` for root, and for other users. Other users need a user namespace, in
/// which they keep their id and may configure the network.
const AS_ROOT: &[&str] = &["--net"];
const AS_USER: &[&str] = &["--user", "--map-current-user", "--keep-caps", "--net"];

/// The variables that name running servers. These servers are outside of the namespace, so no
/// process in it can reach them.
const OUTSIDE_SERVER_VARIABLES: &[&str] = &[
    "TEST_REDIS_URL",
    "TEST_REDIS_CLUSTER_URL",
    "TEST_REDIS_SENTINEL_URL",
    "TEST_MONGO_URL",
    "TEST_MONGO_SET_URL",
    "TEST_POSTGRES_URL",
    "TEST_MARIADB_URL",
];

/// No network namespace can be made here, so a run cannot cut the network.
#[derive(Debug)]
pub struct NamespaceError(String);

/// Replaces this process by the same program, with the same arguments, in a new network namespace.
/// Returns without an effect if the process already is in one.
///
/// # Errors
/// [`NamespaceError`] if the system makes no namespace or a tool is missing. The text names the
/// reason.
pub fn enter_namespace() -> Result<(), BoxError> {
    if env::var_os(OUTER_NAMESPACE).is_some() {
        return PacketFilter::of_own_namespace().map(drop);
    }
    let outside = name_of("self")?;
    let option_sets = if geteuid().is_root() { &[AS_ROOT, AS_USER][..] } else { &[AS_USER] };
    let mut failures = Vec::new();
    for options in option_sets {
        // A first attempt, because a failure of `unshare` in the real call would look like a
        // verdict.
        let attempt = Command::new("unshare")
            .args(*options)
            .args(["sh", "-c", TRY])
            .stdin(Stdio::null())
            .output();
        match attempt {
            Ok(done) if done.status.success() => {
                let script = format!("{PREPARE} && exec \"$0\" \"$@\"");
                let mut again = Command::new("unshare");
                again
                    .args(*options)
                    .args(["sh", "-c", &script])
                    .arg(env::current_exe()?)
                    .args(env::args_os().skip(1));
                // A server in a container would be outside of the namespace.
                again.env(OUTER_NAMESPACE, outside).env("TEST_SERVICES_FROM", "path");
                for variable in OUTSIDE_SERVER_VARIABLES {
                    again.env_remove(variable);
                }
                return Err(again.exec().into());
            }
            Ok(done) => failures.push(format!(
                "unshare {}: {}",
                options.join(" "),
                String::from_utf8_lossy(&done.stderr).trim()
            )),
            Err(error) => failures.push(format!("unshare: {error}")),
        }
    }
    Err(NamespaceError(failures.join("; ")).into())
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(
            f,
            "no cut here: {why}; a cut needs a network namespace (as root or with user \
             namespaces) and the programs unshare, ip and nft; leave cut out of --faults"
        )
    }
}

impl Error for NamespaceError {}
