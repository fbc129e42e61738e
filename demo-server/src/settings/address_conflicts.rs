//! Detects settings that name the same address or the same file.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf, absolute},
};

/// Whether two sockets cannot listen on both addresses at the same time. The address `[::]`
/// includes all IPv4 addresses, as is the default of Linux.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (here, there) = (one.ip().to_canonical(), other.ip().to_canonical());
    let includes = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    // For port 0 the system chooses a free port.
    one.port() == other.port()
        && one.port() != 0
        && (here == there || includes(here, there) || includes(there, here))
}

/// Whether both paths name the same file. The file need not exist.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    resolve(one) == resolve(other)
}

/// Resolves the folder of the path if it exists. The file name stays as it is, because the program
/// creates or replaces that file.
fn resolve(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.parent().and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_if_one_includes_the_other() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[::ffff:0.0.0.0]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(
                (overlap(one, other), overlap(other, one)),
                (expected, expected),
                "{one} and {other}"
            );
        }
    }

    #[test]
    fn different_paths_of_one_file_are_equal() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(same_file(&folder.path().join("a"), &link.join("a")));
        assert!(same_file(&folder.path().join("a"), &folder.path().join("./link/a")));
        assert!(same_file(Path::new("a"), Path::new("./a")));
        assert!(!same_file(&folder.path().join("a"), &folder.path().join("b")));
        assert!(same_file(Path::new("/nowhere/at/all"), Path::new("/nowhere/at/all")));
    }
}
