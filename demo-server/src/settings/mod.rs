//! What the program was told: flags, environment, file, defaults.

mod error;
mod flags;
mod key;
mod places;
mod raw;
mod url;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::{self, Display},
    net::SocketAddr,
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::ArgMatches;
use cluster::Workers;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use session_core::{OnSessionEnded, OnSupersededId, Persistence, Policy, cookie::Key};
use tracing::level_filters::LevelFilter;

use crate::ctl::{Form, Order};
pub(crate) use error::SettingError;
use raw::{Origin, Raw};
pub(crate) use url::without_password;

/// What the program shall do.
#[derive(Debug)]
pub(crate) enum Task {
    Serve(Settings),
    Own(Settings),
    PrintConfig(String),
    Order(Order),
}

/// Where sessions live.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// In the primary, reached over an inherited socket pair.
    Primary,
    /// At a URL that `store-any` opens.
    Url(String),
}

impl Store {
    /// The scheme of the URL; empty for sessions in the primary.
    fn scheme(&self) -> &str {
        match self {
            Self::Primary => "",
            Self::Url(url) => url.split(':').next().unwrap_or_default(),
        }
    }
}

/// A URL can hold a password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("Primary"),
            Self::Url(url) => f.debug_tuple("Url").field(&without_password(url)).finish(),
        }
    }
}

/// How the cookie travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieMode {
    Secure,
    Development,
}

/// Every setting, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: Workers,
    pub(crate) threads: NonZeroUsize,
    /// `None` if the limit of open files decides.
    pub(crate) max_connections: Option<NonZeroUsize>,
    pub(crate) body_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) store: Store,
    pub(crate) deadline: Duration,
    pub(crate) max_sessions: NonZeroUsize,
    pub(crate) max_bytes: NonZeroUsize,
    pub(crate) cookie: CookieMode,
    pub(crate) keys: Keys,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) policy: Policy,
    pub(crate) drain: Duration,
    pub(crate) control: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) allow_crash: bool,
    /// Where numbers are served.
    pub(crate) metrics: Option<SocketAddr>,
    /// Names that the numbers are served under, in lower case, beside those of the address.
    pub(crate) metrics_hosts: Vec<String>,
    pub(crate) log: LevelFilter,
    texts: Texts,
}

/// The keys that sign cookies.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    Configured(Vec<Key>),
    /// None was given; the primary draws one.
    Missing,
}

/// The settings as texts, for handing them to the workers over a private channel.
#[derive(Clone, Serialize, Deserialize)]
struct Texts(BTreeMap<String, String>);

/// The texts hold the cookie keys.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({} settings)", self.0.len())
    }
}

impl Task {
    /// Reads command line, environment and file.
    ///
    /// # Errors
    /// [`SettingError`]. A command line that clap refuses ends the program at once with its own
    /// message and code 2.
    pub(crate) fn from_process() -> Result<Self, SettingError> {
        Self::from_arguments(std::env::args_os()).unwrap_or_else(|refused| refused.exit())
    }

    /// The same for these arguments, the first of which is the program's name. The outer error is
    /// clap's.
    pub(crate) fn from_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> clap::error::Result<Result<Self, SettingError>> {
        Ok(Self::of(&flags::command().try_get_matches_from(arguments)?))
    }

    fn of(matches: &ArgMatches) -> Result<Self, SettingError> {
        let print = matches.get_flag("print-config");
        if let (Some(("ctl", ctl)), false) = (matches.subcommand(), print) {
            return order(ctl).map(Self::Order);
        }
        let matches_of_task = matches.subcommand().map_or(matches, |(_, matches)| matches);
        let mut raw = raw::layered(matches_of_task)?;
        let settings = Settings::parse(&raw)?;
        let owns = matches.subcommand_name() == Some("owner");
        settings.check_used(&Reader(&raw), owns)?;
        if print || matches_of_task.get_flag("print-config") {
            settings.resolve(&mut raw);
            return Ok(Self::PrintConfig(raw::shown(&raw)));
        }
        Ok(if owns { Self::Own(settings) } else { Self::Serve(settings) })
    }
}

/// Reads what `ctl` shall say. Settings that it does not need may be wrong.
fn order(ctl: &ArgMatches) -> Result<Order, SettingError> {
    let missing = || {
        SettingError::Together {
        why: "ctl needs to know where the server takes orders: give both the same --control /path (or DEMO_CONTROL, or control in a file)"
            .to_owned(),
    }
    };
    // clap does not let it go without.
    let (name, matches) = ctl.subcommand().unwrap_or(("status", ctl));
    let path = Reader(&raw::layered(matches)?).path("control").ok_or_else(missing)?;
    let form = if matches.get_flag("json") { Form::Json } else { Form::People };
    Ok(Order { path, command: flags::command_of(name, matches), form })
}

impl Settings {
    fn parse(raw: &BTreeMap<&'static str, Raw>) -> Result<Self, SettingError> {
        let reader = Reader(raw);
        let workers = match reader.text("workers") {
            "auto" => Workers::Auto,
            _ => Workers::Exactly(
                reader.parse("workers", "use a whole number of 1 or more, or auto")?,
            ),
        };
        let listen: SocketAddr = reader
            .parse("listen", "use an address and a port, such as 127.0.0.1:3000 or [::1]:3000")?;
        let store = reader.store()?;
        if store.scheme() == "memory" && workers != Workers::Exactly(NonZeroUsize::MIN) {
            let why = "the store memory lives inside one process, so several workers would each have sessions of their own; use --workers 1, \
                       or --store ipc to share them";
            return Err(SettingError::Together { why: why.to_owned() });
        }
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
                "on-gone",
                &[("conflict", OnSessionEnded::Conflict), ("serve", OnSessionEnded::Serve)],
            )?);
        if !reader.text("anonymous-idle-timeout").is_empty() {
            policy = policy.anonymous_idle_timeout(reader.duration("anonymous-idle-timeout")?);
        }
        Ok(Self {
            cookie: reader.cookie(&listen)?,
            listen,
            workers,
            threads: reader.parse("threads", "use a whole number of 1 or more")?,
            max_connections: match reader.text("max-connections") {
                "auto" => None,
                _ => Some(
                    reader.parse("max-connections", "use a whole number of 1 or more, or auto")?,
                ),
            },
            body_timeout: reader.duration("body-timeout")?,
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

    /// Puts what was decided in place of what nobody said.
    fn resolve(&self, raw: &mut BTreeMap<&'static str, Raw>) {
        let store_url = match &self.store {
            Store::Primary => "ipc:",
            Store::Url(url) => url,
        };
        let cookie = match self.cookie {
            CookieMode::Secure => "secure",
            CookieMode::Development => "development",
        };
        for (name, decided) in [("store-url", store_url), ("cookie", cookie)] {
            if let Some(raw) = raw.get_mut(name) {
                decided.clone_into(&mut raw.text);
            }
        }
    }

    /// The store's URL with the deadline or the caps of these settings, unless it names its own.
    pub(crate) fn store_url(&self) -> Option<String> {
        match &self.store {
            Store::Primary => None,
            Store::Url(url) if self.store.scheme() == "memory" => Some(url::with(
                &url::with(url, "max_sessions", self.max_sessions),
                "max_bytes",
                self.max_bytes,
            )),
            Store::Url(url) => Some(url::with(url, "deadline_ms", self.deadline.as_millis())),
        }
    }

    /// Refuses a setting that was given and that this store does not use. `owns` says that the
    /// process only owns sessions.
    ///
    /// A deadline is fine for the store memory, whose calls never wait.
    fn check_used(&self, reader: &Reader, owns: bool) -> Result<(), SettingError> {
        let url = match &self.store {
            Store::Primary => "",
            Store::Url(url) => url.as_str(),
        };
        let memory = self.store.scheme() == "memory";
        for (name, key) in [("max-sessions", "max_sessions"), ("max-bytes", "max_bytes")] {
            if reader.is_given(name) && !owns && !memory && self.store != Store::Primary {
                let why = match self.store.scheme() {
                    "ipc" => {
                        "the owner at --store-url has this cap; give it to `demo-server owner`"
                            .to_owned()
                    }
                    _ => format!(
                        "the store {} has no such cap; remove this setting, or use --store ipc or memory",
                        self.store_name()
                    ),
                };
                return Err(reader.unused(name, &why));
            }
            if reader.is_given(name) && memory && url::sets(url, key) {
                return Err(
                    reader.unused(name, &format!("--store-url has {key}; give one of the two"))
                );
            }
        }
        if reader.is_given("deadline") && url::sets(url, "deadline_ms") {
            return Err(
                reader.unused("deadline", "--store-url has deadline_ms; give one of the two")
            );
        }
        if reader.is_given("metrics-host") && self.metrics.is_none() {
            return Err(reader.unused("metrics-host", "no metrics are served; give --metrics too"));
        }
        Ok(())
    }

    /// What the store's kind is called.
    pub(crate) fn store_name(&self) -> &'static str {
        match &self.store {
            Store::Primary => "ipc",
            Store::Url(_) => {
                store_any::backend(self.store.scheme()).map_or("other", |backend| backend.name)
            }
        }
    }

    /// The settings with this key to sign cookies with.
    pub(crate) fn with_key(mut self, key: Key, text: String) -> Self {
        self.keys = Keys::Configured(vec![key]);
        self.texts.0.insert("cookie-key".to_owned(), text);
        self
    }

    /// The settings as bytes, keys included: only for a channel that nobody else reads.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // A map of texts always has a JSON form.
        serde_json::to_vec(&self.texts).unwrap_or_default()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, SettingError> {
        let broken = |_| SettingError::Together {
            why: "the settings from the primary cannot be read".to_owned(),
        };
        let Texts(texts) = serde_json::from_slice(bytes).map_err(broken)?;
        let raw = key::KEYS.iter().map(|key| {
            // A primary of an earlier build does not hand over a setting that is new.
            let text = texts.get(key.name).map_or(key.default, String::as_str).to_owned();
            (key.name, Raw { text, origin: Origin::Default })
        });
        Self::parse(&raw.collect())
    }
}

/// Reads single settings.
struct Reader<'r>(&'r BTreeMap<&'static str, Raw>);

impl<'r> Reader<'r> {
    fn text(&self, name: &'static str) -> &'r str {
        self.0.get(name).map_or("", |raw| raw.text.as_str())
    }

    fn origin(&self, name: &'static str) -> String {
        match self.0.get(name).map(|raw| &raw.origin) {
            Some(Origin::Default) | None => format!("--{name}"),
            Some(origin) => origin.to_string(),
        }
    }

    fn wrong(&self, name: &'static str, why: impl Display) -> SettingError {
        SettingError::Value {
            origin: self.origin(name),
            value: url::quotable(self.text(name)),
            why: why.to_string(),
        }
    }

    fn is_given(&self, name: &'static str) -> bool {
        !matches!(self.0.get(name).map(|raw| &raw.origin), Some(Origin::Default) | None)
    }

    fn unused(&self, name: &'static str, why: &str) -> SettingError {
        SettingError::Together { why: format!("{} does nothing here: {why}", self.origin(name)) }
    }

    fn parse<T: FromStr>(&self, name: &'static str, would_do: &str) -> Result<T, SettingError> {
        self.text(name).parse().map_err(|_| self.wrong(name, would_do))
    }

    fn duration(&self, name: &'static str) -> Result<Duration, SettingError> {
        self.duration_within(name, Duration::from_millis(1)..=session_core::Limits::LONGEST_TTL)
    }

    fn duration_within(
        &self,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, SettingError> {
        let would_do = "use a number with a unit, such as 500ms, 90s, 30m, 8h or 2d";
        let duration =
            humantime::parse_duration(self.text(name)).map_err(|_| self.wrong(name, would_do))?;
        let (least, most) =
            (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
        if range.contains(&duration) {
            Ok(duration)
        } else {
            Err(self.wrong(name, format!("use {least} to {most}")))
        }
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, SettingError> {
        let found = choices.iter().find(|(text, _)| *text == self.text(name));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let texts: Vec<_> = choices.iter().map(|(text, _)| *text).collect();
            self.wrong(name, format!("use {}", texts.join(" or ")))
        })
    }

    fn store(&self) -> Result<Store, SettingError> {
        let (name, url) = (self.text("store"), self.text("store-url"));
        let Some(backend) = store_any::backends().iter().find(|backend| backend.name == name)
        else {
            let names: Vec<_> = store_any::backends().iter().map(|backend| backend.name).collect();
            return Err(self.wrong("store", format!("this build has {}", names.join(", "))));
        };
        if url.is_empty() || (name == "ipc" && url == "ipc:") {
            // The sessions of ipc live in the primary unless somebody says where else.
            return Ok(backend.usual_url.map_or(Store::Primary, |url| Store::Url(url.to_owned())));
        }
        let scheme = url.split_once(':').map_or("none", |(scheme, _)| scheme);
        if !backend.schemes.contains(&scheme) {
            // The rest of a URL can hold a password, so only its scheme is quoted.
            let schemes = backend.schemes.join(": or ");
            let hint = store_any::backend(scheme).map_or_else(String::new, |other| {
                format!("; for that URL say --store {}", other.name)
            });
            let why = format!(
                "the URL must start with {schemes}:, because --store is {name}; its scheme is {scheme}{hint}"
            );
            return Err(SettingError::Secret { origin: self.origin("store-url"), why });
        }
        let unusable = |why: store_any::ConnectError| SettingError::Secret {
            origin: self.origin("store-url"),
            why: why.to_string(),
        };
        let with_deadline =
            || Ok(url::with(url, "deadline_ms", self.duration("deadline")?.as_millis()));
        let checked = if name == "memory" { Ok(url.to_owned()) } else { with_deadline() };
        store_any::check(&checked?).map_err(unusable)?;
        Ok(Store::Url(url.to_owned()))
    }

    fn cookie(&self, listen: &SocketAddr) -> Result<CookieMode, SettingError> {
        if !self.text("cookie").is_empty() {
            return self.choice(
                "cookie",
                &[("secure", CookieMode::Secure), ("development", CookieMode::Development)],
            );
        }
        // Browsers reach a server behind a TLS proxy over https, also if the proxy reaches it over
        // loopback.
        if !self.proxies()?.is_empty() {
            return Ok(CookieMode::Secure);
        }
        if listen.ip().is_loopback() {
            return Ok(CookieMode::Development);
        }
        let why = format!(
            "{listen} can be reached by others, so say how the cookie travels: --trusted-proxy or --cookie secure behind a TLS proxy, or \
             --cookie development if this is a test network and everybody on it may read the cookies"
        );
        Err(SettingError::Together { why })
    }

    fn keys(&self) -> Result<Keys, SettingError> {
        let text = self.text("cookie-key");
        if text.is_empty() && !self.is_given("cookie-key") {
            return Ok(Keys::Missing);
        }
        let keys = text.split(',').map(Key::parse).collect::<Result<_, _>>();
        keys.map(Keys::Configured).map_err(|why| SettingError::Secret {
            origin: self.origin("cookie-key"),
            why: why.to_string(),
        })
    }

    fn metrics(&self, listen: &SocketAddr) -> Result<Option<SocketAddr>, SettingError> {
        if self.text("metrics").is_empty() {
            return Ok(None);
        }
        let address: SocketAddr = self
            .parse("metrics", "use an address and a port, such as 127.0.0.1:9100 or [::1]:9100")?;
        if !address.ip().is_loopback() {
            let why = "others could read it; use a loopback address, such as 127.0.0.1:9100, and let a proxy that knows its callers pass it on";
            return Err(self.wrong("metrics", why));
        }
        if places::overlap(address, *listen) {
            return Err(self.wrong(
                "metrics",
                format!("--listen takes in this address with {listen}; use another port"),
            ));
        }
        Ok(Some(address))
    }

    fn metrics_hosts(&self) -> Result<Vec<String>, SettingError> {
        let names =
            self.text("metrics-host").split(',').map(str::trim).filter(|name| !name.is_empty());
        let is_name = |name: &str| {
            let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            name.bytes().all(is_label) || name.parse::<std::net::IpAddr>().is_ok()
        };
        let checked =
            names.map(|name| if is_name(name) { Ok(name.to_ascii_lowercase()) } else { Err(()) });
        checked.collect::<Result<_, _>>().map_err(|()| {
            self.wrong("metrics-host", "use host names without a port, such as metrics.internal")
        })
    }

    /// Where the primary's own number goes, which is not where it takes orders.
    fn pid_file(&self) -> Result<Option<PathBuf>, SettingError> {
        let (Some(pid_file), control) = (self.path("pid-file"), self.path("control")) else {
            return Ok(None);
        };
        let why = match control {
            Some(control) if places::same_file(&pid_file, &control) => {
                "the control socket is there; use another path"
            }
            Some(control)
                if places::same_file(&pid_file, &cluster::control::lock_path(&control)) =>
            {
                "the lock of the control socket is there; use another path"
            }
            _ => return Ok(Some(pid_file)),
        };
        Err(self.wrong("pid-file", why))
    }

    /// Where orders are taken, which is not where an owner of sessions serves.
    fn control(&self, store: &Store) -> Result<Option<PathBuf>, SettingError> {
        let Some(control) = self.path("control") else { return Ok(None) };
        let owner = match store {
            Store::Url(url) => store_ipc::Config::from_url(url).ok(),
            Store::Primary => None,
        };
        if owner.is_some_and(|owner| places::same_file(&control, owner.path())) {
            return Err(
                self.wrong("control", "the owner of the sessions serves there; use another path")
            );
        }
        Ok(Some(control))
    }

    fn proxies(&self) -> Result<Vec<IpNet>, SettingError> {
        let net = |text: &str| {
            text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        };
        let nets = self
            .text("trusted-proxy")
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(net);
        nets.collect::<Result<_, _>>().map_err(|_| {
            self.wrong("trusted-proxy", "use addresses or networks, such as 10.0.0.0/8,::1")
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
