//! Where the servers are, for people.

use std::fmt;

use mongodb::options::HostInfo;

/// The servers that a URL names, without login.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Servers(pub(crate) HostInfo);

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostInfo::HostIdentifiers(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                f.write_str(&hosts.join(","))
            }
            HostInfo::DnsRecord(name) => f.write_str(name),
            _ => f.write_str("a server"),
        }
    }
}
