//! Every setting there is, once: its name, its default and its help.

/// One setting. Its flag is `--name`, its variable `DEMO_NAME`, its key in the file `name`, with
/// `_` where the flag has `-`.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    /// What holds if nobody says anything; empty if that depends on other settings.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
}

/// How a setting is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// A switch: the flag alone means `true`.
    Switch,
    /// Masked wherever settings are shown.
    Secret,
}

const fn key(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    Key { name, value, default, help, kind: Kind::Plain }
}

/// All settings, in the order of the help.
pub(crate) const KEYS: &[Key] = &[
    key("listen", "ADDR", "127.0.0.1:3000", "Address and port to serve; port 0 takes a free one"),
    key("workers", "N|auto", "auto", "Worker processes; auto = one for each core"),
    key("threads", "N", "1", "Threads in each worker process"),
    key(
        "max-connections",
        "N|auto",
        "auto",
        "Connections that each worker process serves at once, while more wait; auto = its limit of open files less 128, at most 25600",
    ),
    key(
        "body-timeout",
        "TIME",
        "10s",
        "How long a client may take to send the body of a request; then the answer is 408",
    ),
    key(
        "send-timeout",
        "TIME",
        "30s",
        "How long a client may leave an answer unread; then its connection is closed",
    ),
    key(
        "store",
        "STORE",
        "ipc",
        "Where sessions live: ipc (in the primary process), redis, mongo, sql, or memory (in the one worker)",
    ),
    key(
        "store-url",
        "URL",
        "",
        "The store's address, e.g. ipc:/run/demo.sock for an owner elsewhere, redis://127.0.0.1:6379/0, mongodb://127.0.0.1:27017/sessions, postgres://127.0.0.1/sessions, mysql://127.0.0.1/sessions or sqlite:sessions.db. With a password give it as DEMO_STORE_URL or in a file [default: the store's usual place]",
    ),
    key("deadline", "TIME", "2s", "How long a store call may take"),
    key(
        "max-sessions",
        "N",
        "1000000",
        "The most sessions that a store in memory holds: ipc in the primary, owner, or memory",
    ),
    key(
        "max-bytes",
        "N",
        "1073741824",
        "The most memory that the sessions of such a store take, in bytes, counted approximately",
    ),
    key(
        "cookie",
        "MODE",
        "",
        "secure (https only, __Host-id) or development (plain http, id) [default: secure with --trusted-proxy, else development on loopback]",
    ),
    Key {
        kind: Kind::Secret,
        ..key(
            "cookie-key",
            "KEY,...",
            "",
            "Keys that sign cookies, hex or base64, 32 bytes or more; the first signs. In the environment or a file other users cannot read it, as a flag they can [default: random]",
        )
    },
    key(
        "trusted-proxy",
        "NET,...",
        "",
        "TLS proxies whose X-Forwarded-Proto is believed, e.g. 10.0.0.0/8 [default: none]",
    ),
    key("idle-timeout", "TIME", "30m", "How long a session lives without being used"),
    key(
        "anonymous-idle-timeout",
        "TIME",
        "",
        "How long a session without a user lives without being used [default: as --idle-timeout]",
    ),
    key(
        "absolute-timeout",
        "TIME",
        "8h",
        "How long a session lives in all, counted from the sign-in",
    ),
    key(
        "rotation-grace",
        "TIME",
        "10s",
        "How long the former id may still read after a renewal: 0s to 60s",
    ),
    key(
        "rotation-settles",
        "TIME",
        "10s",
        "How long after a rotation a write with the former id is refused with 409",
    ),
    key(
        "on-superseded-id",
        "MODE",
        "report",
        "When an id is used that was replaced before that time: report (log it) or end (the session)",
    ),
    key(
        "persistence",
        "MODE",
        "browser",
        "How long browsers keep the cookie: browser (until closed) or persistent (Max-Age)",
    ),
    key(
        "on-gone",
        "MODE",
        "conflict",
        "A response whose session ended meanwhile: conflict (409) or serve (without its changes)",
    ),
    key(
        "drain",
        "TIME",
        "10s",
        "How long a worker may take to finish its requests when told to stop",
    ),
    key(
        "control",
        "PATH",
        "",
        "A Unix socket for `demo-server ctl`, which the server makes and `ctl` connects to [default: none]",
    ),
    key(
        "pid-file",
        "PATH",
        "",
        "A file with the process id of the primary, locked as long as it runs [default: none]",
    ),
    Key {
        kind: Kind::Switch,
        ..key("allow-crash", "BOOL", "false", "Offer POST /crash, which aborts the worker")
    },
    key(
        "metrics",
        "ADDR",
        "",
        "Address of this machine's loopback, such as 127.0.0.1:9100, where GET /metrics has the numbers of all workers for Prometheus [default: none]",
    ),
    key(
        "metrics-host",
        "NAME,...",
        "",
        "More host names that GET /metrics answers to, beside its address and localhost, e.g. metrics.internal; others get 421 [default: none]",
    ),
    key(
        "log",
        "LEVEL",
        "info",
        "What is logged on standard error: error, warn, info, debug or trace",
    ),
];

impl Key {
    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("DEMO_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// The key in a configuration file.
    pub(crate) fn in_file(&self) -> String {
        self.name.replace('-', "_")
    }
}
