//! What is wrong with a certificate that the driver does not trust, in words for an operator.

/// How the driver's errors about certificates start.
const UNTRUSTED: &str = "invalid peer certificate";

/// Part of the driver's text, and the reason with what would help. The first match counts.
const REASONS: &[(&str, &str)] = &[
    ("certificate expired", "it has expired; renew it at the server"),
    ("not valid yet", "it is not valid yet; check the clocks of this machine and of the server"),
    (
        "CaUsedAsEndEntity",
        "it is the certificate of an authority (CA:TRUE), as `openssl req -x509` makes it by \
         default; make one for a server, with -addext basicConstraints=critical,CA:FALSE and \
         -addext subjectAltName=DNS:name, and name it with tlsCAFile",
    ),
    (
        "UnsupportedCertVersion",
        "it has version 1 of X.509, as `openssl x509 -req` makes it without extensions; make one \
         with a subjectAltName",
    ),
    (
        "not valid for any names",
        "it names no host; make one with a subjectAltName, because the common name is not used",
    ),
    (
        "not valid for name",
        "it is for another host; use a name in its subjectAltName as the host, or add the host to \
         the certificate",
    ),
    (
        "UnknownIssuer",
        "the authority that signed it is unknown; name the authority's certificate with tlsCAFile, \
         or add it to the certificates of the system",
    ),
    (
        "BadSignature",
        "its signature is not valid; name the authority that signed it with tlsCAFile",
    ),
    ("Revoked", "it was revoked; renew it at the server"),
];

/// Why the driver does not trust the certificate of a server. `None` if the text of its error is
/// about something else.
pub(crate) fn distrust(text: &str) -> Option<String> {
    if !text.contains(UNTRUSTED) {
        return None;
    }
    let reason = REASONS.iter().find(|(part, _)| text.contains(part)).map(|(_, reason)| *reason);
    Some(reason.map_or_else(|| text.to_owned(), |reason| format!("{reason} ({text})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d08_distrust_names_the_reason_and_the_remedy() {
        let expired = distrust("I/O error: invalid peer certificate: certificate expired: …");
        assert!(expired.is_some_and(|text| text.starts_with("it has expired; renew")));
        let other = distrust("invalid peer certificate: BadEncoding");
        assert_eq!(other.as_deref(), Some("invalid peer certificate: BadEncoding"));
        assert_eq!(distrust("connection refused"), None);
    }
}
