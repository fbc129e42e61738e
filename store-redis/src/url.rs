//! Reading a URL.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::{
    address::{Host, Servers},
    config::Config,
    error::ConfigError,
};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What helps if something behind the host looks like the end of a login.
const ENCODE: &str =
    "in user, password and settings, each of : / ? # [ ] @ % has to be percent-encoded";

/// Reads a URL and its settings.
pub(crate) fn read(url: &str) -> Result<Config, ConfigError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    // An `@` behind the host ends a password that holds a `/` or a `?` which nobody encoded: all in
    // front of it may be secret.
    if !address.starts_with("unix:") && (query.contains('@') || path(address).contains('@')) {
        return Err(wrong("login", ENCODE));
    }
    let mut config = match address.strip_prefix("unix:") {
        Some(path) => socket(path)?,
        None => network(address)?,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        config.set(key, &decoded(value, "settings")?)?;
    }
    config.check()?;
    Ok(config)
}

fn socket(path: &str) -> Result<Config, ConfigError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(wrong(
            "path",
            "unix: wants an absolute path, such as unix:/run/redis/redis.sock",
        ));
    }
    Ok(Config::at(Servers::Socket(PathBuf::from(path)), false))
}

/// What follows the host, without a query.
fn path(address: &str) -> &str {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    rest.split_once('/').map_or("", |(_, path)| path)
}

fn network(address: &str) -> Result<Config, ConfigError> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", ""));
    let (tls, kind) = match scheme {
        "redis" => (false, ""),
        "rediss" => (true, ""),
        "redis-cluster" => (false, "cluster"),
        "rediss-cluster" => (true, "cluster"),
        "redis-sentinel" => (false, "sentinel"),
        "rediss-sentinel" => (true, "sentinel"),
        _ => return Err(ConfigError::Scheme { scheme: shown(address) }),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // From the right, because a password may hold an @ that nobody encoded.
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
    let hosts =
        hosts.split(',').map(|host| self::host(host, port)).collect::<Result<Vec<_>, _>>()?;
    let servers = match (kind, <[Host; 1]>::try_from(hosts)) {
        ("cluster", hosts) => Servers::Cluster(hosts.map_or_else(|hosts| hosts, Vec::from)),
        ("sentinel", hosts) => {
            let primary = decoded(path, "name of the primary")?;
            if primary.is_empty() {
                return Err(wrong(
                    "name of the primary",
                    "a Sentinel URL ends with it: redis-sentinel://host1,host2,host3/mymaster",
                ));
            }
            Servers::Sentinel { sentinels: hosts.map_or_else(|hosts| hosts, Vec::from), primary }
        }
        (_, Ok([host])) => Servers::Node(host),
        (_, Err(_)) => {
            return Err(wrong(
                "host",
                "several hosts are a redis-cluster:// or a redis-sentinel://",
            ));
        }
    };
    let mut config = Config::at(servers, tls);
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    config.username = text(decoded(user, "user")?);
    config.password = text(decoded(password, "password")?);
    if kind.is_empty() && !path.is_empty() {
        config.set("db", path).map_err(|_| wrong("database", "it is a number: redis://host/0"))?;
    } else if kind == "cluster" && !path.is_empty() {
        return Err(wrong("path", "a Cluster has one database; leave the path out"));
    }
    Ok(config)
}

fn host(text: &str, port: u16) -> Result<Host, ConfigError> {
    let bad = || wrong("host", "hosts look like localhost, 10.0.0.1:6380 or [::1]:6379");
    let (name, digits) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((name, ""))) => (name, None),
        Some(Some((name, after))) => (name, Some(after.strip_prefix(':').ok_or_else(bad)?)),
        Some(None) => return Err(bad()),
        None => text.rsplit_once(':').map_or((text, None), |(name, digits)| (name, Some(digits))),
    };
    let port = digits.map_or(Ok(port), |digits| digits.parse().map_err(|_| bad()))?;
    let usable = |character: char| {
        character.is_alphanumeric() || matches!(character, '.' | '-' | '_' | ':' | '%')
    };
    if name.is_empty()
        || !name.chars().all(usable)
        || (!text.starts_with('[') && name.contains(':'))
        || port == 0
    {
        return Err(bad());
    }
    Ok(Host { name: name.to_owned(), port })
}

fn decoded(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| wrong(part, "after percent-decoding it must be UTF-8"))
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn wrong(part: &'static str, usable: &'static str) -> ConfigError {
    ConfigError::Url { part, usable }
}

/// The scheme of a URL, empty if it has none: letters, digits, `+`, `-` and `.` (RFC 3986), so that
/// nothing else is ever shown.
fn shown(url: &str) -> String {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.filter(|scheme| scheme.bytes().all(named)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn each_form_names_its_servers() {
        let servers = |url: &str| read(url).unwrap().servers;
        assert_eq!(servers("redis://localhost"), Servers::Node(host("localhost", 6379)));
        assert_eq!(servers("rediss://[::1]:6380/2"), Servers::Node(host("::1", 6380)));
        assert_eq!(servers("unix:/run/redis.sock"), Servers::Socket("/run/redis.sock".into()));
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

    #[test]
    fn a_url_sets_what_it_names_and_leaves_the_rest() {
        let config = read("rediss://app:p%40ss@host/3?prefix=shop%3A&deadline_ms=600&connections=2&wait_replicas=1").unwrap();
        assert_eq!(
            (config.username.as_deref(), config.password.as_deref()),
            (Some("app"), Some("p@ss"))
        );
        assert_eq!((config.database, config.tls, &*config.prefix), (3, true, "shop:"));
        assert_eq!(config.deadline, std::time::Duration::from_millis(600));
        assert_eq!(config.waits().map(|wait| wait.replicas.get()), Some(1));
        assert_eq!(read("redis://:se@cret@host").unwrap().password.as_deref(), Some("se@cret"));
        assert_eq!(read("redis://host").unwrap(), Config::new("redis://host").unwrap());
    }

    #[test]
    fn c45_no_error_and_no_debug_quotes_a_password() {
        for url in [
            "redis://app:42?hunter=ter@host",
            "redis://app:42?prefix=hun{ter@host",
            "redis://app:42?tls_ca=hunter@host",
            "redis://app:42/hunter@host",
            "redis-sentinel://app:42/hunter@host",
            "redis://app:hun@ter@host:x",
            "redis://app:hun%ffter@host",
        ] {
            let shown = format!("{:?}", read(url).map_err(|error| error.to_string()));
            assert!(!shown.contains("hun") && !shown.contains("ter@"), "{url}: {shown}");
        }
    }

    #[test]
    fn a_bad_url_says_which_part_and_what_would_do() {
        for (url, shown) in [
            ("http://host", "the scheme \"http\""),
            ("host:6379", "the scheme \"\""),
            ("redis://", "the host"),
            ("redis://a,b", "several hosts"),
            ("redis://host:0", "the host"),
            ("redis://host:s3cret", "the host"),
            ("redis://host/zero", "the database"),
            ("redis-sentinel://host", "the name of the primary"),
            ("redis-cluster://host/1", "one database"),
            ("unix:redis.sock", "absolute path"),
            ("redis://host?prefix=a%7Bb", "prefix cannot be \"a{b\""),
            ("redis://host?deadline=1", "no setting \"deadline\""),
            ("redis://host?deadline_ms=soon", "deadline_ms cannot be \"soon\""),
            ("redis://host?connections=0", "connections cannot be \"0\""),
            ("redis://host?tls_ca=/nowhere", "tls_ca needs a rediss"),
            ("redis://app:42?s3cret@host", "the login"),
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(error.contains(shown), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
