//! The parts of a server's URL.

/// The `host:port` pairs of a URL that names several.
pub(super) fn hosts_of(url: &str) -> Vec<String> {
    authority(url).rsplit('@').next().unwrap_or_default().split(',').map(str::to_owned).collect()
}

/// What stands before the hosts of a URL, with its `@`; empty if there is nothing.
pub(super) fn credentials_of(url: &str) -> &str {
    let authority = authority(url);
    authority.rfind('@').map_or("", |at| &authority[..=at])
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{credentials_of, hosts_of};

    #[test]
    fn a_url_names_several_hosts_and_one_password() {
        assert_eq!(hosts_of("redis-cluster://a:1,b:2"), ["a:1", "b:2"]);
        assert_eq!(hosts_of("redis-sentinel://:secret@a:1,b:2/mymaster"), ["a:1", "b:2"]);
        assert_eq!(credentials_of("redis-sentinel://:secret@a:1,b:2/mymaster"), ":secret@");
        assert_eq!(credentials_of("redis-cluster://a:1"), "");
    }
}
