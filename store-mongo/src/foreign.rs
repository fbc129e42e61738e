//! The settings in the URLs of providers and other clients: those that this crate ignores, those
//! that weaken the check of certificates, and those to replace.

/// The settings that change nothing that the store does. A URL may contain them.
///
/// Compression is a choice of the client, and this build does not compress. The store keeps no
/// UUIDs. The driver asks no authority whether it has revoked a certificate.
const IGNORED: &[&str] = &[
    "compressors",
    "tlsDisableCertificateRevocationCheck",
    "tlsDisableOCSPEndpointCheck",
    "uuidRepresentation",
    "zlibCompressionLevel",
];

/// The settings that switch off the check of the server's certificate. Without the check, any
/// server in the network could read and change the sessions. The value `false` is the default.
const UNSAFE: &[(&str, &str)] = &[
    ("sslAllowInvalidCertificates", "setting sslAllowInvalidCertificates=true"),
    ("sslAllowInvalidHostnames", "setting sslAllowInvalidHostnames=true"),
    ("sslInsecure", "setting sslInsecure=true"),
    ("tlsAllowInvalidCertificates", "setting tlsAllowInvalidCertificates=true"),
    ("tlsAllowInvalidHostnames", "setting tlsAllowInvalidHostnames=true"),
    ("tlsInsecure", "setting tlsInsecure=true"),
];

/// What to do instead of a setting in [`UNSAFE`].
pub(crate) const CHECKED: &str = "remove it, because the connection would accept any certificate; \
                                  name the authority that signed the certificate with tlsCAFile, \
                                  and use the name in the certificate as the host";

/// The settings that the driver does not have or does not apply: the name, and what to do instead.
const FOREIGN: &[(&str, &str)] = &[
    ("authenticationDatabase", "write authSource"),
    ("connect", "write directConnection=true for one server, or replicaSet for a replica set"),
    ("gssapiServiceName", LOGIN),
    ("maxIdleTime", "write maxIdleTimeMS"),
    ("maxStalenessSeconds", PRIMARY),
    ("password", "write user and password before the host, as in app:secret@localhost"),
    ("poolSize", "write maxPoolSize"),
    ("proxyHost", PROXY),
    ("proxyPassword", PROXY),
    ("proxyPort", PROXY),
    ("proxyUsername", PROXY),
    ("readPreferenceTags", PRIMARY),
    ("safe", "remove it: the store waits until a majority has each write"),
    ("serverSelectionTryOnce", "remove it: deadline_ms limits every call"),
    ("slaveOk", PRIMARY),
    ("socketTimeoutMS", DEADLINE),
    ("sslCAFile", "write tlsCAFile"),
    ("sslCertificateAuthorityFile", "write tlsCAFile"),
    ("sslCertificateKeyFile", "write tlsCertificateKeyFile"),
    ("sslCertificateKeyFilePassword", KEY_PASSWORD),
    ("sslClientCertificateKeyFile", "write tlsCertificateKeyFile"),
    ("sslClientCertificateKeyPassword", KEY_PASSWORD),
    ("sslCRLFile", REVOCATION),
    ("sslValidate", CERTIFICATE),
    ("sslVerifyCertificate", CERTIFICATE),
    ("ssl_ca_certs", "write tlsCAFile"),
    ("ssl_cert_reqs", CERTIFICATE),
    ("ssl_certfile", KEY_FILE),
    ("ssl_keyfile", KEY_FILE),
    ("ssl_match_hostname", CERTIFICATE),
    ("timeoutMS", DEADLINE),
    ("tlsCertificateFile", KEY_FILE),
    ("tlsCertificateKeyFilePassword", KEY_PASSWORD),
    ("tlsCRLFile", REVOCATION),
    ("useNewUrlParser", "remove it: this driver does not need it"),
    ("useUnifiedTopology", "remove it: this driver does not need it"),
    ("user", "write user and password before the host, as in app:secret@localhost"),
    ("waitQueueMultiple", QUEUE),
    ("waitQueueSize", QUEUE),
    ("waitQueueTimeoutMS", DEADLINE),
    ("wtimeout", "write wtimeoutMS"),
];

const CERTIFICATE: &str = "remove it: the driver always checks the certificate; name the authority \
                           that signed it with tlsCAFile";
const DEADLINE: &str = "write deadline_ms, the longest time of a call in milliseconds";
const KEY_FILE: &str = "write tlsCertificateKeyFile, one PEM file with the certificate and its key";
const KEY_PASSWORD: &str = "write tlsCertificateKeyFile with a key that has no password";
const PRIMARY: &str = "remove it: the store reads from the primary, because a secondary may lack \
                       acknowledged writes";
const PROXY: &str = "remove it: this build connects without a SOCKS proxy";
const QUEUE: &str = "remove it: a call waits for a connection for half of deadline_ms";
const REVOCATION: &str =
    "remove it: the driver reads no list of revoked certificates; use a proxy that does";
const LOGIN: &str = "remove it: this build cannot log in with Kerberos";

/// The ways to log in that this build has.
pub(crate) const MECHANISMS: &[&str] = &["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "MONGODB-X509"];

/// What to do instead of another way to log in.
pub(crate) const OTHER_MECHANISM: &str = "use SCRAM-SHA-256, SCRAM-SHA-1, PLAIN or MONGODB-X509; this build cannot log in with AWS, \
     Kerberos or OIDC, so create a database user with a password";

/// Whether a URL may contain the setting although it has no effect.
pub(crate) fn is_ignored(key: &str) -> bool {
    IGNORED.iter().any(|name| name.eq_ignore_ascii_case(key))
}

/// The name of a setting that switches off the check of certificates, as an error shows it.
pub(crate) fn unsafe_setting(key: &str) -> Option<&'static str> {
    UNSAFE.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, part)| *part)
}

/// What to do instead of a setting of another client.
pub(crate) fn advice(key: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_no_setting_is_in_two_tables() {
        let mut names: Vec<String> = IGNORED
            .iter()
            .chain(UNSAFE.iter().map(|(name, _)| name))
            .chain(FOREIGN.iter().map(|(name, _)| name))
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
