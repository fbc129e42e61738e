//! TLS: the files of certificates and keys, and the search for a server that differs in TLS.

use std::{fs, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, ClientTlsConfig, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult, TlsCertificates, aio::MultiplexedConnection,
};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject},
    },
    sign::CertifiedKey,
};
use store_support::tls_failure::TlsFailure;

use super::address::Host;
use crate::{
    config::Config,
    error::{ConfigError, TLS_WORDS},
};

/// How long a host may take to answer to the search for TLS.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the files of certificates and keys, and checks them. `None` without TLS.
pub(super) fn certificates(config: &Config) -> Result<Option<TlsCertificates>, ConfigError> {
    if !config.tls {
        return Ok(None);
    }
    install_cryptography();
    let root_cert = match &config.tls_ca {
        Some(path) => Some(authorities(path)?),
        None => None,
    };
    let client_tls = match (&config.tls_cert, &config.tls_key) {
        (Some(certificate), Some(key)) => Some(client_certificate(certificate, key)?),
        _ => None,
    };
    Ok(Some(TlsCertificates { client_tls, root_cert }))
}

/// Checks that the driver can load the certificates of the system's authorities. The driver loads
/// them at each connect, also if there is a `tls_ca`.
pub(super) fn check_system_authorities(config: &Config) -> Result<(), ConfigError> {
    if !config.tls {
        return Ok(());
    }
    let loaded = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let mut refused = None;
    for certificate in &loaded.certs {
        refused = refused.or(store.add(certificate.clone()).err().map(|error| error.to_string()));
    }
    let why = loaded.errors.first().map(ToString::to_string).or(refused);
    let is_missing = store.is_empty() && config.tls_ca.is_none();
    match why.or(is_missing.then(|| "there are none".to_owned())) {
        Some(why) => Err(ConfigError::SystemAuthorities { why }),
        None => Ok(()),
    }
}

/// The reason why none of these hosts can be reached, if one of them answers without TLS to a store
/// that uses it, or with TLS to a store that does not. The store sends no login.
///
/// Without this search there is only a timeout or a lost connection: a server without TLS waits for
/// the end of a line, and a server with TLS closes the connection.
pub(super) async fn find_mismatch(hosts: &[Host], uses_tls: bool) -> Option<TlsFailure> {
    install_cryptography();
    for host in hosts {
        let connecting = connect_without_login(host, !uses_tls);
        let Ok(connected) = tokio::time::timeout(SEARCH_TIMEOUT, connecting).await else {
            continue;
        };
        let is_answer = connected.map_or_else(
            |error| match error.kind() {
                ErrorKind::Server(_) | ErrorKind::Extension => true,
                _ => {
                    let failure = TlsFailure::of_text(&error.to_string(), &TLS_WORDS);
                    failure.is_some_and(|found| !matches!(found, TlsFailure::NotSpoken { .. }))
                }
            },
            |_| true,
        );
        if is_answer {
            let without_tls = TLS_WORDS.without_tls;
            let not_spoken = TlsFailure::NotSpoken { without_tls };
            return Some(if uses_tls { not_spoken } else { TlsFailure::demanded(&TLS_WORDS) });
        }
    }
    None
}

async fn connect_without_login(host: &Host, tls: bool) -> RedisResult<MultiplexedConnection> {
    let info = host.address(tls).into_connection_info()?;
    let info = info.set_redis_settings(
        RedisConnectionInfo::default().set_protocol(redis::ProtocolVersion::RESP3),
    );
    let settings =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let client = redis::Client::open(info)?;
    client.get_multiplexed_async_connection_with_config(&settings).await
}

/// rustls needs a provider of cryptography. A provider that the application has installed stays.
fn install_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed a provider meanwhile.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let file = read("tls_ca", path)?;
    let unusable = |why: &str| unusable("tls_ca", path, why);
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&file) {
        let added = certificate.ok().and_then(|certificate| store.add(certificate).ok());
        added.ok_or_else(|| unusable("a certificate in it is damaged"))?;
    }
    if store.is_empty() {
        return Err(unusable(NO_CERTIFICATE));
    }
    Ok(file)
}

fn client_certificate(certificate: &Path, key: &Path) -> Result<ClientTlsConfig, ConfigError> {
    let (client_cert, client_key) = (read("tls_cert", certificate)?, read("tls_key", key)?);
    let chain = CertificateDer::pem_slice_iter(&client_cert).collect::<Result<Vec<_>, _>>();
    let chain =
        chain.map_err(|_| unusable("tls_cert", certificate, "a certificate in it is damaged"))?;
    if chain.is_empty() {
        return Err(unusable("tls_cert", certificate, NO_CERTIFICATE));
    }
    let der = PrivateKeyDer::from_pem_slice(&client_key).map_err(|error| {
        let has_password = client_key.windows(9).any(|text| text == b"ENCRYPTED");
        let why = match error {
            PemError::NoItemsFound if has_password => {
                "the key has a password; write one without: openssl pkey -in FILE -out FILE"
            }
            PemError::NoItemsFound => "it contains no private key in the form PEM",
            _ => "the key in it is damaged",
        };
        unusable("tls_key", key, why)
    })?;
    let provider = CryptoProvider::get_default()
        .ok_or_else(|| unusable("tls_key", key, "there is no provider of cryptography"))?;
    match CertifiedKey::from_der(chain, der, provider) {
        Ok(_) => Ok(ClientTlsConfig { client_cert, client_key }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(unusable(
            "tls_key",
            key,
            "the key does not belong to the certificate of tls_cert; use the key with which the \
             certificate was made",
        )),
        Err(error) => Err(unusable("tls_cert", certificate, &error.to_string())),
    }
}

const NO_CERTIFICATE: &str =
    "it contains no certificate in the form PEM (-----BEGIN CERTIFICATE-----)";

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| unusable(key, path, &error.to_string()))
}

fn unusable(key: &'static str, path: &Path, why: &str) -> ConfigError {
    ConfigError::File { key, path: path.display().to_string(), why: why.to_owned() }
}
