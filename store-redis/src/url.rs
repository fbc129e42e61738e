//! Splits a URL into servers, login, database and settings.

use std::path::PathBuf;

use store_support::url::{
    contains_login_end, percent_decoded, printable_scheme, query_pairs, split_login,
};

use crate::{
    connect::address::{Host, Servers},
    error::{ConfigError, SCHEMES},
    foreign,
};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The schemes of a Unix-domain socket: ours, and those of other clients.
const SOCKET_SCHEMES: [&str; 5] =
    ["unix", "redis+unix", "redis+socket", "redis-socket", "valkey+unix"];

/// The advice if a text behind the host looks like the end of a login.
const ENCODE: &str = "in user, password and settings, percent-encode each of : / ? # [ ] @ %";

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlParts<'u> {
    pub(crate) servers: Servers,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// The number of the database in the path.
    pub(crate) database: Option<i64>,
    query: &'u str,
}

impl<'u> UrlParts<'u> {
    /// Reads a URL. It does not check the settings.
    pub(crate) fn read(url: &'u str) -> Result<Self, ConfigError> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let socket = SOCKET_SCHEMES.iter().find_map(|scheme| {
            address.strip_prefix(scheme).and_then(|path| path.strip_prefix(':'))
        });
        let parts = match socket {
            Some(path) => Self::socket(path)?,
            None if contains_login_end(path(address), query) => {
                return Err(invalid("login", ENCODE));
            }
            None => Self::network(address)?,
        };
        if query.contains('#') {
            return Err(invalid("fragment", foreign::FRAGMENT));
        }
        Ok(Self { query, ..parts })
    }

    /// The settings behind the `?`, percent-decoded.
    pub(crate) fn settings(
        &self,
    ) -> impl Iterator<Item = Result<(&'u str, String), ConfigError>> + use<'u> {
        query_pairs(self.query).map(|(key, value)| Ok((key, decoded(value, "settings")?)))
    }

    fn socket(path: &str) -> Result<Self, ConfigError> {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(invalid(
                "path",
                "use an absolute path behind unix:, such as unix:/run/redis/redis.sock",
            ));
        }
        Ok(Self::at(Servers::Socket(PathBuf::from(path)), false))
    }

    fn network(address: &str) -> Result<Self, ConfigError> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("", ""));
        let (tls, kind) = match scheme {
            "redis" | "valkey" => (false, Kind::Node),
            "rediss" | "valkeys" => (true, Kind::Node),
            "redis-cluster" => (false, Kind::Cluster),
            "rediss-cluster" => (true, Kind::Cluster),
            "redis-sentinel" => (false, Kind::Sentinel),
            "rediss-sentinel" => (true, Kind::Sentinel),
            _ => {
                let scheme = printable_scheme(address, "://").to_owned();
                let usable = foreign::scheme_advice(&scheme, address).unwrap_or(SCHEMES);
                return Err(ConfigError::Scheme { scheme, usable: usable.to_owned() });
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = split_login(authority);
        if hosts.contains('#') || path.contains('#') {
            return Err(invalid("fragment", foreign::FRAGMENT));
        }
        let port = if kind == Kind::Sentinel { SENTINEL_PORT } else { PORT };
        let hosts =
            hosts.split(',').map(|host| self::host(host, port)).collect::<Result<Vec<_>, _>>()?;
        let servers = match (kind, <[Host; 1]>::try_from(hosts)) {
            (Kind::Cluster, hosts) => Servers::Cluster(hosts.map_or_else(|hosts| hosts, Vec::from)),
            (Kind::Sentinel, hosts) => {
                let primary = decoded(path, "name of the primary")?;
                if primary.is_empty() {
                    return Err(invalid(
                        "name of the primary",
                        "a Sentinel URL ends with it: \
                         redis-sentinel://host1,host2,host3/mymaster",
                    ));
                }
                let sentinels = hosts.map_or_else(|hosts| hosts, Vec::from);
                Servers::Sentinel { sentinels, primary }
            }
            (Kind::Node, Ok([host])) => Servers::Node(host),
            (Kind::Node, Err(_)) => {
                return Err(invalid(
                    "host",
                    "for several hosts use redis-cluster:// or redis-sentinel://",
                ));
            }
        };
        let mut parts = Self::at(servers, tls);
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        parts.username = non_empty(decoded(user, "user")?);
        parts.password = non_empty(decoded(password, "password")?);
        if kind == Kind::Node && !path.is_empty() {
            let number =
                path.parse().map_err(|_| invalid("database", "use a number: redis://host/0"))?;
            parts.database = Some(number);
        } else if kind == Kind::Cluster && !path.is_empty() {
            return Err(invalid("path", "a Cluster has one database; remove the path"));
        }
        Ok(parts)
    }

    fn at(servers: Servers, tls: bool) -> Self {
        Self { servers, tls, username: None, password: None, database: None, query: "" }
    }
}

/// What the scheme of a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Cluster,
    Sentinel,
}

/// The path behind the host, without the query.
fn path(address: &str) -> &str {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    rest.split_once('/').map_or("", |(_, path)| path)
}

fn host(text: &str, port: u16) -> Result<Host, ConfigError> {
    let bad = || invalid("host", "use a host such as localhost, 10.0.0.1:6380 or [::1]:6379");
    let (name, digits) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((name, ""))) => (name, None),
        Some(Some((name, after))) => (name, Some(after.strip_prefix(':').ok_or_else(bad)?)),
        Some(None) => return Err(bad()),
        None => text.rsplit_once(':').map_or((text, None), |(name, digits)| (name, Some(digits))),
    };
    let port = digits.map_or(Ok(port), |digits| digits.parse().map_err(|_| bad()))?;
    let is_allowed = |character: char| {
        character.is_alphanumeric() || matches!(character, '.' | '-' | '_' | ':' | '%')
    };
    if name.is_empty()
        || !name.chars().all(is_allowed)
        || (!text.starts_with('[') && name.contains(':'))
        || port == 0
    {
        return Err(bad());
    }
    Ok(Host { name: name.to_owned(), port })
}

fn decoded(text: &str, part: &'static str) -> Result<String, ConfigError> {
    percent_decoded(text).ok_or_else(|| invalid(part, "use UTF-8, percent-encoded"))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn invalid(part: &'static str, expected: &'static str) -> ConfigError {
    ConfigError::Url { part, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn each_url_form_names_its_servers() {
        let servers = |url: &str| UrlParts::read(url).unwrap().servers;
        assert_eq!(servers("redis://localhost"), Servers::Node(host("localhost", 6379)));
        assert_eq!(servers("rediss://[::1]:6380/2"), Servers::Node(host("::1", 6380)));
        for socket in [
            "unix:/run/redis.sock",
            "unix:///run/redis.sock",
            "redis+unix:///run/redis.sock",
            "redis+socket:///run/redis.sock?db=1",
            "redis-socket:///run/redis.sock",
            "valkey+unix:///run/redis.sock",
        ] {
            assert_eq!(servers(socket), Servers::Socket("/run/redis.sock".into()), "{socket}");
        }
        assert_eq!(servers("valkey://localhost"), servers("redis://localhost"));
        assert!(UrlParts::read("valkeys://localhost").unwrap().tls);
        assert_eq!(
            servers("redis-cluster://a,b:7001"),
            Servers::Cluster(vec![host("a", 6379), host("b", 7001)])
        );
        let sentinel = Servers::Sentinel {
            sentinels: vec![host("a", 26379), host("b", 1)],
            primary: "mymaster".to_owned(),
        };
        assert_eq!(servers("redis-sentinel://a,b:1/mymaster"), sentinel);
        assert_eq!(servers("redis-cluster://a"), Servers::Cluster(vec![host("a", 6379)]));
    }
}
