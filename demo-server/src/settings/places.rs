//! Whether two settings lead to the same place.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf, absolute},
};

/// Whether this machine cannot have a socket at each of the two addresses. An address of all of
/// IPv6 is one of all of IPv4 as well, as Linux has it unless it is told otherwise.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (here, there) = (one.ip().to_canonical(), other.ip().to_canonical());
    let takes_in = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    // The system draws a free port for 0.
    one.port() == other.port()
        && one.port() != 0
        && (here == there || takes_in(here, there) || takes_in(there, here))
}

/// Whether both paths name one file, there or not.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    whole(one) == whole(other)
}

/// The path with its folder as the system knows it, if that is there. The last name is taken as it
/// is: it will be made, or replaced.
fn whole(path: &Path) -> PathBuf {
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
    fn addresses_overlap_if_one_takes_in_the_other() {
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
    fn a_file_has_one_place_however_it_is_called() {
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
