//! The list of all settings: name, default and help text of each.

/// One setting. Its flag is `--name` and its environment variable `DEMO_NAME`. Its key in the file
/// is `name` with `_` for `-`.
#[derive(Debug)]
pub(crate) struct SettingSpec {
    pub(crate) name: &'static str,
    /// The placeholder of the value in the help.
    pub(crate) placeholder: &'static str,
    /// The text that applies without any other. Empty if the default depends on other settings.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: SettingKind,
}

/// How a setting is parsed and printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingKind {
    Plain,
    /// A switch: the flag alone means `true`.
    Switch,
    /// Masked in all output.
    Secret,
}

const fn plain(
    name: &'static str,
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
) -> SettingSpec {
    SettingSpec { name, placeholder, default, help, kind: SettingKind::Plain }
}

/// All settings, in the order of the help.
pub(crate) const SETTINGS: &[SettingSpec] = &[
    plain(
        "listen",
        "ADDR",
        "127.0.0.1:3000",
        "Address and port to listen on, or unix:PATH for a Unix-domain socket; with port 0 the \
         system chooses a free port",
    ),
    plain(
        "listen-mode",
        "MODE",
        "660",
        "Permissions of the Unix-domain socket; users with the right to write to it can connect",
    ),
    plain("workers", "N|auto", "auto", "Number of worker processes; auto means one for each core"),
    plain("threads", "N", "1", "Threads in each worker process"),
    plain(
        "max-connections",
        "N|auto",
        "auto",
        "Maximum number of open connections in each worker process; further clients wait; auto \
         means the limit of open files minus 128, at most 25600",
    ),
    plain(
        "body-timeout",
        "TIME",
        "10s",
        "Time for a client to send the body of a request; a later body gets 408",
    ),
    plain(
        "keep-alive",
        "TIME",
        "5s",
        "Time that a connection without a request stays open. Behind a proxy that keeps connections \
         use more than the proxy's own time, or some requests get 502 there",
    ),
    plain(
        "send-timeout",
        "TIME",
        "30s",
        "Time for a client to read sent data; then its connection is closed",
    ),
    plain(
        "store",
        "STORE",
        "ipc",
        "Where sessions are kept: ipc (in the primary process), redis, mongo, sql, or memory (in \
         the only worker)",
    ),
    plain(
        "store-url",
        "URL",
        "",
        "Address of the store, e.g. ipc:/run/demo.sock for a separate owner, \
         redis://127.0.0.1:6379/0, mongodb://127.0.0.1:27017/sessions, \
         postgres://127.0.0.1/sessions, mysql://127.0.0.1/sessions or sqlite:sessions.db. Put a \
         URL with a password into DEMO_STORE_URL or a file [default: the usual local address of \
         --store]",
    ),
    plain("deadline", "TIME", "2s", "Time limit of a store call"),
    plain(
        "store-connections",
        "N|auto",
        "auto",
        "Maximum number of connections of all workers to the database of --store sql; auto means 8 \
         for each runtime, and each worker has a runtime for each thread and one more. During a \
         reload old workers have connections too",
    ),
    plain(
        "max-sessions",
        "N",
        "1000000",
        "Maximum number of sessions in a store in memory: ipc in the primary, owner, or memory",
    ),
    plain(
        "max-bytes",
        "N",
        "1073741824",
        "Approximate maximum of the memory of these sessions, in bytes",
    ),
    plain(
        "cookie",
        "MODE",
        "",
        "secure (https only, __Host-id) or development (plain http, id) [default: secure with \
         --trusted-proxy, else development on loopback]",
    ),
    SettingSpec {
        kind: SettingKind::Secret,
        ..plain(
            "cookie-key",
            "KEY,...",
            "",
            "Keys that sign cookies, in hex or base64, at least 32 bytes each; the first key \
             signs, all keys verify. Other users can read a flag, but not the environment or a \
             private file [default: random; required for a store that several servers can use]",
        )
    },
    plain(
        "trusted-proxy",
        "NET,...",
        "",
        "TLS proxies whose X-Forwarded-Proto is trusted, e.g. 10.0.0.0/8, or unix for a proxy that \
         connects to the Unix-domain socket of --listen [default: none]",
    ),
    plain("idle-timeout", "TIME", "30m", "Lifetime of a session without requests"),
    plain(
        "anonymous-idle-timeout",
        "TIME",
        "",
        "Lifetime of a session without a user and without requests [default: as --idle-timeout]",
    ),
    plain("absolute-timeout", "TIME", "8h", "Maximum lifetime of a session after its sign-in"),
    plain(
        "rotation-grace",
        "TIME",
        "10s",
        "Time in which the previous id of a session can still read after a renewal: 0s to 60s",
    ),
    plain(
        "rotation-settles",
        "TIME",
        "10s",
        "Time after a rotation in which a write with the previous id gets 409",
    ),
    plain(
        "on-superseded-id",
        "MODE",
        "report",
        "Reaction to a previous id that is used after that time: report (log it) or end (end the \
         session)",
    ),
    plain(
        "persistence",
        "MODE",
        "browser",
        "How long browsers keep the cookie: browser (until closed) or persistent (Max-Age)",
    ),
    plain(
        "on-session-ended",
        "MODE",
        "conflict",
        "Response if the session ended during the request: conflict (409) or serve (without saving \
         its changes)",
    ),
    plain("drain", "TIME", "10s", "Time for a worker to finish its requests before it stops"),
    plain(
        "lead",
        "TIME",
        "0s",
        "Time after TERM in which GET /readyz gets 503 and all other requests are served",
    ),
    plain(
        "control",
        "PATH",
        "",
        "Unix socket for `demo-server ctl`: the server listens there, ctl connects to it \
         [default: none]",
    ),
    plain(
        "pid-file",
        "PATH",
        "",
        "File for the process id of the primary, locked while the primary runs [default: none]",
    ),
    SettingSpec {
        kind: SettingKind::Switch,
        ..plain("allow-crash", "BOOL", "false", "Enable POST /crash, which aborts the worker")
    },
    plain(
        "metrics",
        "ADDR",
        "",
        "Loopback address for GET /metrics, such as 127.0.0.1:9100: the metrics of all workers, \
         for Prometheus [default: none]",
    ),
    plain(
        "metrics-host",
        "NAME,...",
        "",
        "Host names that GET /metrics accepts besides its address and localhost, e.g. \
         metrics.internal; other names get 421 [default: none]",
    ),
    plain(
        "log",
        "LEVEL",
        "info",
        "Level of the log on standard error: error, warn, info, debug or trace",
    ),
];

impl SettingSpec {
    /// The name of the environment variable.
    pub(crate) fn environment_variable(&self) -> String {
        format!("DEMO_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// The key in a configuration file.
    pub(crate) fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }
}
