//! The settings: flags, environment, file and defaults, in this order of priority.

mod address_conflicts;
mod error;
mod flags;
mod invocation;
mod raw;
mod reader;
mod spec;
mod url;
mod values;

use std::{
    collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration,
};

use cluster::Workers;
use serde::{Deserialize, Serialize};
use session_core::{OnSessionEnded, OnSupersededId, Persistence, Policy, cookie::Key};
use tracing::level_filters::LevelFilter;

pub(crate) use error::SettingError;
pub(crate) use invocation::{CtlArgs, Invocation, OutputFormat};
use raw::{RawSetting, SettingOrigin};
use reader::SettingReader;
pub(crate) use url::mask_passwords;
use values::ProcessRole;
pub(crate) use values::{CookieMode, Keys, Listen, Store, TrustedProxies};

/// All settings of a server or an owner, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) listen: Listen,
    pub(crate) workers: Workers,
    pub(crate) threads: NonZeroUsize,
    /// `None` means the value that the limit of open files allows.
    pub(crate) max_connections: Option<NonZeroUsize>,
    pub(crate) body_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) store: Store,
    pub(crate) deadline: Duration,
    /// The connections to the database of each runtime of a worker. `None` means the store's
    /// default.
    connections: Option<NonZeroUsize>,
    pub(crate) max_sessions: NonZeroUsize,
    pub(crate) max_bytes: NonZeroUsize,
    pub(crate) cookie: CookieMode,
    pub(crate) keys: Keys,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) policy: Policy,
    pub(crate) drain: Duration,
    pub(crate) lead: Duration,
    pub(crate) control: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) allow_crash: bool,
    /// The address that serves the metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// More host names that the metrics server accepts, in lower case.
    pub(crate) metrics_hosts: Vec<String>,
    pub(crate) log: LevelFilter,
    texts: Texts,
}

/// The settings as texts. The primary sends them to the workers over a private channel.
#[derive(Clone, Serialize, Deserialize)]
struct Texts(BTreeMap<String, String>);

/// Omits the texts, because they contain the cookie keys.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({} settings)", self.0.len())
    }
}

impl Settings {
    fn parse(raw: &BTreeMap<&'static str, RawSetting>) -> Result<Self, SettingError> {
        let reader = SettingReader(raw);
        let workers = match reader.text("workers") {
            "auto" => Workers::Auto,
            _ => Workers::Exactly(
                reader.parse("workers", "use a whole number of 1 or more, or auto")?,
            ),
        };
        let listen = reader.listen()?;
        let store = reader.store()?;
        if store.scheme() == "memory" && workers != Workers::Exactly(NonZeroUsize::MIN) {
            let reason = "the store memory belongs to one process, so each of several workers \
                          would have other sessions; use --workers 1, or --store ipc to share them";
            return Err(SettingError::Invalid { reason: reason.to_owned() });
        }
        let threads = reader.parse("threads", "use a whole number of 1 or more")?;
        let connections = reader.connections(workers, threads)?;
        let choice = |name, choices: &[(&str, _)]| reader.choice(name, choices);
        let mut policy = Policy::default()
            .idle_timeout(reader.duration("idle-timeout")?)
            .rotation_grace(reader.duration_within(
                "rotation-grace",
                Duration::ZERO..=session_core::Limits::LONGEST_GRACE,
            )?)
            .rotation_settles(reader.duration_within(
                "rotation-settles",
                Duration::ZERO..=session_core::Limits::LONGEST_TTL,
            )?)
            .on_superseded_id(reader.choice(
                "on-superseded-id",
                &[("report", OnSupersededId::Report), ("end", OnSupersededId::EndSession)],
            )?)
            .absolute_timeout(reader.duration("absolute-timeout")?)
            .persistence(choice(
                "persistence",
                &[
                    ("browser", Persistence::BrowserSession),
                    ("persistent", Persistence::Persistent),
                ],
            )?)
            .on_session_ended(reader.choice(
                "on-session-ended",
                &[("conflict", OnSessionEnded::Conflict), ("serve", OnSessionEnded::Serve)],
            )?);
        if !reader.text("anonymous-idle-timeout").is_empty() {
            policy = policy.anonymous_idle_timeout(reader.duration("anonymous-idle-timeout")?);
        }
        Ok(Self {
            cookie: reader.cookie(&listen)?,
            listen: listen.clone(),
            workers,
            threads,
            connections,
            max_connections: match reader.text("max-connections") {
                "auto" => None,
                _ => Some(
                    reader.parse("max-connections", "use a whole number of 1 or more, or auto")?,
                ),
            },
            body_timeout: reader.duration("body-timeout")?,
            keep_alive: reader.duration("keep-alive")?,
            send_timeout: reader.duration("send-timeout")?,
            control: reader.control(&store)?,
            store,
            deadline: reader.duration("deadline")?,
            max_sessions: reader.parse("max-sessions", "use a whole number of 1 or more")?,
            max_bytes: reader
                .parse("max-bytes", "use a whole number of bytes, such as 1073741824")?,
            keys: reader.keys()?,
            trusted_proxies: reader.proxies()?,
            policy,
            drain: reader.duration("drain")?,
            lead: reader.duration_within("lead", Duration::ZERO..=Duration::from_hours(1))?,
            pid_file: reader.pid_file()?,
            allow_crash: reader.parse("allow-crash", "use true or false")?,
            metrics: reader.metrics(&listen)?,
            metrics_hosts: reader.metrics_hosts()?,
            log: reader.parse("log", "use error, warn, info, debug or trace")?,
            texts: Texts(
                raw.iter().map(|(name, raw)| ((*name).to_owned(), raw.text.clone())).collect(),
            ),
        })
    }

    /// The variables of the environment whose names begin like those of settings but that are not
    /// settings.
    pub(crate) fn unknown_variables() -> Vec<String> {
        raw::unknown_variables()
    }

    /// Replaces empty texts by the values that were derived from other settings.
    fn insert_resolved(&self, raw: &mut BTreeMap<&'static str, RawSetting>) {
        let store_url = match &self.store {
            Store::Primary => "ipc:",
            Store::Url(url) => url,
        };
        let cookie = match self.cookie {
            CookieMode::Secure => "secure",
            CookieMode::Development => "development",
        };
        for (name, resolved) in [("store-url", store_url), ("cookie", cookie)] {
            if let Some(raw) = raw.get_mut(name) {
                resolved.clone_into(&mut raw.text);
            }
        }
    }

    /// The store's URL with the deadline or the limits of these settings. Settings in the URL
    /// itself have priority.
    pub(crate) fn store_url(&self) -> Option<String> {
        match &self.store {
            Store::Primary => None,
            Store::Url(url) if self.store.scheme() == "memory" => Some(url::add_setting(
                &url::add_setting(url, "max_sessions", self.max_sessions),
                "max_bytes",
                self.max_bytes,
            )),
            Store::Url(url) => {
                let url = url::add_setting(url, "deadline_ms", self.deadline.as_millis());
                Some(match self.connections {
                    Some(connections) => url::add_setting(&url, "connections", connections),
                    None => url,
                })
            }
        }
    }

    /// Refuses a setting that has no effect with the other settings.
    ///
    /// The store memory accepts a deadline, although its calls never wait.
    fn check_used(
        &self,
        reader: &SettingReader<'_>,
        role: ProcessRole,
    ) -> Result<(), SettingError> {
        let url = match &self.store {
            Store::Primary => "",
            Store::Url(url) => url.as_str(),
        };
        let memory = self.store.scheme() == "memory";
        for (name, key) in [("max-sessions", "max_sessions"), ("max-bytes", "max_bytes")] {
            let has_limit = role == ProcessRole::Owner || memory || self.store == Store::Primary;
            if reader.is_given(name) && !has_limit {
                let reason = match self.store.scheme() {
                    "ipc" => "the owner at --store-url has this limit; start `demo-server owner` \
                              with it"
                        .to_owned(),
                    _ => format!(
                        "the store {} does not have this limit; remove the setting, or use \
                         --store ipc or memory",
                        self.store_name()
                    ),
                };
                return Err(reader.unused(name, &reason));
            }
            if reader.is_given(name) && memory && url::has_setting(url, key) {
                return Err(
                    reader.unused(name, &format!("--store-url has {key}; use one of the two"))
                );
            }
        }
        if reader.is_given("deadline") && url::has_setting(url, "deadline_ms") {
            return Err(
                reader.unused("deadline", "--store-url has deadline_ms; use one of the two")
            );
        }
        if reader.is_given("store-connections") {
            let is_server = self.store_name() == "sql" && self.store.scheme() != "sqlite";
            if !is_server {
                let reason = "only a database server of --store sql has this limit; remove it";
                return Err(reader.unused("store-connections", reason));
            }
            if url::has_setting(url, "connections") {
                return Err(reader.unused(
                    "store-connections",
                    "--store-url has connections, for each runtime; use one of the two",
                ));
            }
        }
        if self.trusted_proxies.unix && !self.listen.is_unix() {
            let reason = "unix is a proxy that connects to a Unix-domain socket; use --listen \
                          unix:PATH, or the address of the proxy";
            return Err(reader.unused("trusted-proxy", reason));
        }
        if reader.is_given("metrics-host") && self.metrics.is_none() {
            return Err(
                reader.unused("metrics-host", "the server does not serve metrics; add --metrics")
            );
        }
        Ok(())
    }

    /// The name of the store, as in `--store`.
    pub(crate) fn store_name(&self) -> &'static str {
        match &self.store {
            Store::Primary => "ipc",
            Store::Url(_) => {
                store_any::backend(self.store.scheme()).map_or("other", |backend| backend.name)
            }
        }
    }

    /// These settings with this key for signing cookies.
    pub(crate) fn with_key(mut self, key: Key, text: String) -> Self {
        self.keys = Keys::Configured(vec![key]);
        self.texts.0.insert("cookie-key".to_owned(), text);
        self
    }

    /// The settings as bytes, including the keys. They must only go through a private channel.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Serializing a map of texts cannot fail.
        serde_json::to_vec(&self.texts).unwrap_or_default()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, SettingError> {
        let invalid = |_| SettingError::Invalid {
            reason: "cannot decode the settings from the primary".to_owned(),
        };
        let Texts(texts) = serde_json::from_slice(bytes).map_err(invalid)?;
        let raw = spec::SETTINGS.iter().map(|spec| {
            // A primary of an earlier build does not send a setting that is new.
            let text = texts.get(spec.name).map_or(spec.default, String::as_str).to_owned();
            (spec.name, RawSetting { text, origin: SettingOrigin::Default })
        });
        Self::parse(&raw.collect())
    }
}

#[cfg(test)]
pub(crate) mod tests;
