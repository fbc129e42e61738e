//! Failures of TLS that no waiting ends, and how the texts of the TLS library map to them.
//!
//! The drivers report such a failure as a text, so the text decides.

/// How a store names what a remedy is about.
#[derive(Debug, Clone, Copy)]
pub struct TlsWords {
    /// The setting for the file of the authority, for example `tls_ca`.
    pub authority: &'static str,
    /// The settings for the certificate and the key of the client.
    pub client: &'static str,
    /// What to write for a connection with TLS.
    pub with_tls: &'static str,
    /// What to write for a connection without TLS.
    pub without_tls: &'static str,
}

/// Why server and store cannot use TLS together. The text contains the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The store does not trust the certificate of the server.
    #[error("the store does not trust the server's certificate ({found}); {remedy}")]
    Certificate {
        /// What the TLS library found.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// The server does not accept the client without another certificate.
    #[error(
        "the server refuses the client's certificate, or demands one; set {settings} to a valid \
         certificate of an authority that the server trusts and to its key ({found})"
    )]
    ClientCertificate {
        /// The alert of the server.
        found: String,
        /// The settings for certificate and key.
        settings: &'static str,
    },
    /// Server and store have no version or cipher in common.
    #[error(
        "the server and the store have no version or cipher of TLS in common; the store uses TLS \
         1.2 and 1.3 ({0})"
    )]
    NoCommonVersion(String),
    /// The server does not answer with TLS.
    #[error(
        "the server does not speak TLS at this port; use the port at which it does, or write \
         {without_tls}"
    )]
    NotSpoken {
        /// What to write for a connection without TLS.
        without_tls: &'static str,
    },
    /// The server answers with TLS only.
    #[error("the server demands TLS at this port; write {with_tls}")]
    Demanded {
        /// What to write for a connection with TLS.
        with_tls: &'static str,
    },
}

/// How texts of rustls about the server's certificate start.
const UNTRUSTED: &str = "invalid peer certificate: ";
/// How texts of rustls start about bytes that are not TLS.
const NO_TLS: &str = "received corrupt message of type InvalidContentType";
/// How texts of rustls start about an alert of the server.
const ALERT: &str = "received fatal alert: ";

/// A part of the text about the server's certificate, and what to do.
const REMEDIES: &[(&str, &str)] = &[
    (
        "UnknownIssuer",
        "set {authority} to the file (PEM) with the certificate of the authority that signed it, or \
         of the server if it is self-signed",
    ),
    (
        "BadSignature",
        "an authority has the name of the one that signed it, and another key; set {authority} to \
         the file (PEM) with the present certificate of the authority",
    ),
    (
        "CaUsedAsEndEntity",
        "it is the certificate of an authority (CA:TRUE), as openssl req -x509 makes it; use it to \
         sign one for the server, or make it with -addext basicConstraints=critical,CA:FALSE -addext \
         subjectAltName=DNS:HOST",
    ),
    (
        "UnsupportedCertVersion",
        "it has no extensions; make one with the server's name: -addext subjectAltName=DNS:HOST with \
         openssl req, -extfile with openssl x509",
    ),
    (
        "not valid for any names",
        "it has no name; make one with -addext subjectAltName=DNS:HOST (an address: \
         subjectAltName=IP:ADDRESS)",
    ),
    ("not valid for name", NAME),
    ("NotValidForName", NAME),
    ("expired", "renew it at the server"),
    ("Expired", "renew it at the server"),
    ("not valid yet", CLOCK),
    ("NotValidYet", CLOCK),
];
const NAME: &str = "write a name of the certificate as the host, or add the host to the \
                    certificate's subjectAltName";
const CLOCK: &str = "compare the clocks of this machine and of the one that made it";
const OTHER: &str = "replace it at the server";

/// Alerts about the client's certificate.
const CLIENT_ALERTS: [&str; 9] = [
    "AccessDenied",
    "BadCertificate",
    "CertificateExpired",
    "CertificateRequired",
    "CertificateRevoked",
    "CertificateUnknown",
    "DecryptError",
    "UnknownCA",
    "UnsupportedCertificate",
];
/// Alerts about versions and ciphers.
const VERSION_ALERTS: [&str; 3] = ["HandshakeFailure", "InsufficientSecurity", "ProtocolVersion"];

impl TlsFailure {
    /// The failure that a text of the TLS library reports, also inside a longer text. `None` if the
    /// text is about something else.
    #[must_use]
    pub fn of_text(text: &str, words: &TlsWords) -> Option<Self> {
        let behind = |start| text.split_once(start).map(|(_, rest): (&str, &str)| rest.to_owned());
        if let Some(found) = behind(UNTRUSTED) {
            let remedy = REMEDIES.iter().find(|(part, _)| found.contains(part));
            let remedy = remedy.map_or(OTHER, |(_, remedy)| remedy);
            let remedy = remedy.replace("{authority}", words.authority);
            return Some(Self::Certificate { found, remedy });
        }
        if text.contains(NO_TLS) {
            return Some(Self::NotSpoken { without_tls: words.without_tls });
        }
        let found = behind(ALERT)?;
        let is_one_of = |alerts: &[&str]| alerts.iter().any(|known| found.starts_with(known));
        if is_one_of(&CLIENT_ALERTS) {
            return Some(Self::ClientCertificate { found, settings: words.client });
        }
        is_one_of(&VERSION_ALERTS).then_some(Self::NoCommonVersion(found))
    }

    /// The failure of a store without TLS at a server that answers with TLS only.
    #[must_use]
    pub fn demanded(words: &TlsWords) -> Self {
        Self::Demanded { with_tls: words.with_tls }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use rustls::{
        AlertDescription, CertificateError, Error, InvalidMessage, OtherError,
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    const WORDS: TlsWords = TlsWords {
        authority: "tls_ca",
        client: "tls_cert and tls_key",
        with_tls: "rediss://",
        without_tls: "redis://",
    };

    fn untrusted(error: CertificateError) -> String {
        Error::InvalidCertificate(error).to_string()
    }

    /// The texts come from rustls, so an update that changes them fails this test.
    #[test]
    fn d08_each_failure_of_rustls_has_its_remedy() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("localhost").unwrap(),
            presented: presented.iter().map(ToString::to_string).collect(),
        };
        for (text, remedy) in [
            (untrusted(CertificateError::UnknownIssuer), "set tls_ca"),
            (
                untrusted(CertificateError::ExpiredContext { time: at(9), not_after: at(5) }),
                "renew it",
            ),
            (untrusted(CertificateError::Expired), "renew it"),
            (
                untrusted(CertificateError::NotValidYetContext { time: at(5), not_before: at(9) }),
                "clocks",
            ),
            (untrusted(name(&["DnsName(\"shop\")"])), "as the host"),
            (untrusted(name(&[])), "it has no name"),
            (untrusted(CertificateError::NotValidForName), "as the host"),
            (untrusted(CertificateError::BadSignature), "another key; set tls_ca"),
            (untrusted(CertificateError::Revoked), "replace it"),
            (
                untrusted(CertificateError::Other(OtherError(Arc::new(std::io::Error::other(
                    "CaUsedAsEndEntity",
                ))))),
                "CA:FALSE",
            ),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType).to_string(), "redis://"),
            (Error::AlertReceived(AlertDescription::CertificateRequired).to_string(), "tls_cert"),
            (Error::AlertReceived(AlertDescription::UnknownCA).to_string(), "tls_cert"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion).to_string(), "TLS 1.2"),
        ] {
            let failure = TlsFailure::of_text(&format!("Failed to connect - Io: {text}"), &WORDS);
            let shown = failure.expect(&text).to_string();
            assert!(shown.contains(remedy), "{text}: {shown}");
        }
        let closed = Error::AlertReceived(AlertDescription::InternalError).to_string();
        for text in ["connection reset by peer", "tls handshake eof", &closed] {
            assert_eq!(TlsFailure::of_text(text, &WORDS), None, "{text}");
        }
    }
}
