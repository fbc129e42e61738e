//! [`SettingReader`]: parses and checks single settings.

use std::{
    collections::BTreeMap, fmt::Display, net::SocketAddr, num::NonZeroUsize, ops::RangeInclusive,
    path::PathBuf, str::FromStr, time::Duration,
};

use cluster::Workers;
use ipnet::IpNet;
use session_core::cookie::Key;

use super::{
    SettingError, address_conflicts,
    raw::{RawSetting, SettingOrigin},
    url,
    values::{CookieMode, Keys, Listen, Store, TrustedProxies},
};

/// Parses and checks single settings.
pub(super) struct SettingReader<'r>(pub(super) &'r BTreeMap<&'static str, RawSetting>);

impl<'r> SettingReader<'r> {
    pub(super) fn text(&self, name: &'static str) -> &'r str {
        self.0.get(name).map_or("", |raw| raw.text.as_str())
    }

    fn origin(&self, name: &'static str) -> String {
        match self.0.get(name).map(|raw| &raw.origin) {
            Some(SettingOrigin::Default) | None => format!("--{name}"),
            Some(origin) => origin.to_string(),
        }
    }

    fn invalid(&self, name: &'static str, reason: impl Display) -> SettingError {
        SettingError::InvalidValue {
            origin: self.origin(name),
            value: url::redact(self.text(name)),
            reason: reason.to_string(),
        }
    }

    pub(super) fn is_given(&self, name: &'static str) -> bool {
        !matches!(self.0.get(name).map(|raw| &raw.origin), Some(SettingOrigin::Default) | None)
    }

    pub(super) fn unused(&self, name: &'static str, reason: &str) -> SettingError {
        SettingError::Invalid { reason: format!("{} has no effect: {reason}", self.origin(name)) }
    }

    pub(super) fn parse<T: FromStr>(
        &self,
        name: &'static str,
        advice: &str,
    ) -> Result<T, SettingError> {
        self.text(name).parse().map_err(|_| self.invalid(name, advice))
    }

    pub(super) fn duration(&self, name: &'static str) -> Result<Duration, SettingError> {
        self.duration_within(name, Duration::from_millis(1)..=session_core::Limits::LONGEST_TTL)
    }

    pub(super) fn duration_within(
        &self,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, SettingError> {
        let advice = "use a number with a unit, such as 500ms, 90s, 30m, 8h or 2d";
        let duration =
            humantime::parse_duration(self.text(name)).map_err(|_| self.invalid(name, advice))?;
        let (least, most) =
            (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
        if range.contains(&duration) {
            Ok(duration)
        } else {
            Err(self.invalid(name, format!("use {least} to {most}")))
        }
    }

    /// The connections to the database of each runtime of a worker. A worker has a runtime for each
    /// thread and one more.
    pub(super) fn connections(
        &self,
        workers: Workers,
        threads: NonZeroUsize,
    ) -> Result<Option<NonZeroUsize>, SettingError> {
        if self.text("store-connections") == "auto" {
            return Ok(None);
        }
        let most: NonZeroUsize =
            self.parse("store-connections", "use a whole number of 1 or more, or auto")?;
        let runtimes = workers.count().saturating_mul(threads.get() + 1);
        let share = NonZeroUsize::new(most.get() / runtimes);
        let reason = format!(
            "the workers have {runtimes} runtimes, and each needs a connection; use {runtimes} or \
             more, or fewer workers or threads"
        );
        share.map(Some).ok_or_else(|| self.invalid("store-connections", reason))
    }

    pub(super) fn path(&self, name: &'static str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    pub(super) fn choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, SettingError> {
        let found = choices.iter().find(|(text, _)| *text == self.text(name));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let texts: Vec<_> = choices.iter().map(|(text, _)| *text).collect();
            self.invalid(name, format!("use {}", texts.join(" or ")))
        })
    }

    pub(super) fn store(&self) -> Result<Store, SettingError> {
        let (name, url) = (self.text("store"), self.text("store-url"));
        let Some(backend) = store_any::backends().iter().find(|backend| backend.name == name)
        else {
            let names: Vec<_> = store_any::backends().iter().map(|backend| backend.name).collect();
            return Err(self.invalid("store", format!("use one of {}", names.join(", "))));
        };
        if url.is_empty() || (name == "ipc" && url == "ipc:") {
            // Without the URL of another owner, the primary owns the sessions of ipc.
            return Ok(backend.usual_url.map_or(Store::Primary, |url| Store::Url(url.to_owned())));
        }
        let scheme = url.split_once(':').map_or("none", |(scheme, _)| scheme);
        if !backend.schemes.contains(&scheme) {
            // The rest of a URL can contain a password, so the error has only its scheme.
            let schemes = backend.schemes.join(": or ");
            let hint = store_any::backend(scheme).map_or_else(String::new, |other| {
                format!("; for this URL use --store {}", other.name)
            });
            let reason = format!(
                "the URL must start with {schemes}:, because --store is {name}; its scheme is \
                 {scheme}{hint}"
            );
            return Err(SettingError::InvalidSecret { origin: self.origin("store-url"), reason });
        }
        let invalid_url = |error: store_any::ConnectError| SettingError::InvalidSecret {
            origin: self.origin("store-url"),
            reason: error.to_string(),
        };
        let with_deadline =
            || Ok(url::add_setting(url, "deadline_ms", self.duration("deadline")?.as_millis()));
        let checked = if name == "memory" { Ok(url.to_owned()) } else { with_deadline() };
        store_any::check_url(&checked?).map_err(invalid_url)?;
        Ok(Store::Url(url.to_owned()))
    }

    pub(super) fn listen(&self) -> Result<Listen, SettingError> {
        let text = self.text("listen");
        let mode = self.text("listen-mode");
        let Some(path) = text.strip_prefix("unix:") else {
            if self.is_given("listen-mode") {
                let reason = "only a Unix-domain socket has permissions; use --listen unix:PATH";
                return Err(self.unused("listen-mode", reason));
            }
            let usable = "use an address and a port, such as 127.0.0.1:3000 or [::1]:3000, or a \
                          socket, such as unix:/run/demo.sock";
            return self.parse("listen", usable).map(Listen::Tcp);
        };
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        // With one of these characters it may be the URL of a store, which can contain a password.
        if !path.is_absolute() || text.contains(['?', '@']) {
            let usable = "use an absolute path without ? and @, such as unix:/run/demo.sock";
            return Err(self.invalid("listen", usable));
        }
        let is_octal = mode.len() <= 4;
        match u32::from_str_radix(mode, 8).ok().filter(|mode| is_octal && *mode <= 0o777) {
            Some(mode) => Ok(Listen::Unix { path, mode }),
            None => Err(self.invalid("listen-mode", "use three octal digits, such as 660")),
        }
    }

    pub(super) fn cookie(&self, listen: &Listen) -> Result<CookieMode, SettingError> {
        if !self.text("cookie").is_empty() {
            return self.choice(
                "cookie",
                &[("secure", CookieMode::Secure), ("development", CookieMode::Development)],
            );
        }
        // Browsers use https to a TLS proxy, also if the proxy connects to this server over
        // loopback.
        if self.proxies()? != TrustedProxies::default() {
            return Ok(CookieMode::Secure);
        }
        let reached_by = match listen {
            Listen::Tcp(address) if address.ip().is_loopback() => {
                return Ok(CookieMode::Development);
            }
            Listen::Tcp(_) => "other machines",
            Listen::Unix { .. } => "a proxy",
        };
        let reason = format!(
            "{reached_by} can reach {listen}, so the cookie mode must be set: --trusted-proxy or \
             --cookie secure behind a TLS proxy, or --cookie development on a test network where \
             every user may read the cookies"
        );
        Err(SettingError::Invalid { reason })
    }

    pub(super) fn keys(&self) -> Result<Keys, SettingError> {
        let text = self.text("cookie-key");
        if text.is_empty() && !self.is_given("cookie-key") {
            return Ok(Keys::Missing);
        }
        let keys = text.split(',').map(Key::parse).collect::<Result<_, _>>();
        keys.map(Keys::Configured).map_err(|error| SettingError::InvalidSecret {
            origin: self.origin("cookie-key"),
            reason: error.to_string(),
        })
    }

    pub(super) fn metrics(&self, listen: &Listen) -> Result<Option<SocketAddr>, SettingError> {
        if self.text("metrics").is_empty() {
            return Ok(None);
        }
        let address: SocketAddr = self
            .parse("metrics", "use an address and a port, such as 127.0.0.1:9100 or [::1]:9100")?;
        if !address.ip().is_loopback() {
            let reason = "other machines could read the metrics; use a loopback address, such as \
                          127.0.0.1:9100, and publish it with a proxy that authenticates its \
                          clients";
            return Err(self.invalid("metrics", reason));
        }
        if matches!(listen, Listen::Tcp(public) if address_conflicts::overlap(address, *public)) {
            return Err(self.invalid(
                "metrics",
                format!("--listen {listen} includes this address; use another port"),
            ));
        }
        Ok(Some(address))
    }

    pub(super) fn metrics_hosts(&self) -> Result<Vec<String>, SettingError> {
        let names =
            self.text("metrics-host").split(',').map(str::trim).filter(|name| !name.is_empty());
        let is_name = |name: &str| {
            let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            name.bytes().all(is_label) || name.parse::<std::net::IpAddr>().is_ok()
        };
        let checked =
            names.map(|name| if is_name(name) { Ok(name.to_ascii_lowercase()) } else { Err(()) });
        checked.collect::<Result<_, _>>().map_err(|()| {
            self.invalid("metrics-host", "use host names without a port, such as metrics.internal")
        })
    }

    /// The pid file, which must not be the control socket or its lock file.
    pub(super) fn pid_file(&self) -> Result<Option<PathBuf>, SettingError> {
        let (Some(pid_file), control) = (self.path("pid-file"), self.path("control")) else {
            return Ok(None);
        };
        let reason = match control {
            Some(control) if address_conflicts::same_file(&pid_file, &control) => {
                "the control socket has this path; use another path"
            }
            Some(control)
                if address_conflicts::same_file(
                    &pid_file,
                    &cluster::control::lock_path(&control),
                ) =>
            {
                "the lock file of the control socket has this path; use another path"
            }
            _ => return Ok(Some(pid_file)),
        };
        Err(self.invalid("pid-file", reason))
    }

    /// The control socket, which must not be the socket of the owner.
    pub(super) fn control(&self, store: &Store) -> Result<Option<PathBuf>, SettingError> {
        let Some(control) = self.path("control") else { return Ok(None) };
        let owner = match store {
            Store::Url(url) => store_ipc::Config::from_url(url).ok(),
            Store::Primary => None,
        };
        if owner.is_some_and(|owner| address_conflicts::same_file(&control, owner.path())) {
            return Err(self.invalid(
                "control",
                "the owner of the sessions listens at this path; use another path",
            ));
        }
        Ok(Some(control))
    }

    pub(super) fn proxies(&self) -> Result<TrustedProxies, SettingError> {
        let net = |text: &str| {
            text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        };
        let (unix, networks): (Vec<_>, Vec<_>) = self
            .text("trusted-proxy")
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .partition(|text| *text == "unix");
        let networks: Result<Vec<IpNet>, _> = networks.into_iter().map(net).collect();
        match networks {
            Ok(networks) => Ok(TrustedProxies { networks, unix: !unix.is_empty() }),
            Err(_) => Err(self.invalid(
                "trusted-proxy",
                "use addresses or networks, such as 10.0.0.0/8,::1, or unix for a proxy that \
                 connects to --listen unix:PATH",
            )),
        }
    }
}
