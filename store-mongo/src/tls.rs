//! The files of TLS settings, and the certificate authorities of the system.

use std::path::{Path, PathBuf};

use mongodb::options::TlsOptions;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use store_support::settings::invalid;

use crate::error::ConfigError;

/// Checks that the files can be read and contain what the settings ask for. The driver skips parts
/// of a file that it cannot parse, and then rejects the server's certificate.
pub(crate) fn check_files(files: &TlsOptions) -> Result<(), ConfigError> {
    if let Some(path) = &files.ca_file_path {
        let authorities = certificates("tlsCAFile", path)?;
        if authorities == 0 {
            return unusable("tlsCAFile", path, "a PEM file with the certificates of authorities");
        }
    }
    if let Some(path) = &files.cert_key_file_path {
        const NAME: &str = "tlsCertificateKeyFile";
        let has_certificate = certificates(NAME, path)? > 0;
        let has_key = PrivateKeyDer::from_pem_file(path).is_ok();
        if !has_certificate || !has_key {
            let usable =
                "a PEM file with the client's certificate and its private key without a password";
            return unusable(NAME, path, usable);
        }
    }
    Ok(())
}

/// The file with the certificate authorities of the system, or the file that the variable
/// `SSL_CERT_FILE` names. `None` if the system has no such file. Then the driver uses its own list.
pub(crate) fn system_authorities() -> Option<PathBuf> {
    let path = openssl_probe::probe().cert_file?;
    certificates("tlsCAFile", &path).is_ok_and(|count| count > 0).then_some(path)
}

/// The number of certificates in a file.
fn certificates(setting: &'static str, path: &Path) -> Result<usize, ConfigError> {
    let content = std::fs::read(path).or_else(|error| {
        let usable = format!("the path of a PEM file that this user can read ({error})");
        unusable(setting, path, &usable)
    })?;
    Ok(CertificateDer::pem_slice_iter(&content).flatten().count())
}

fn unusable<T>(setting: &'static str, path: &Path, usable: &str) -> Result<T, ConfigError> {
    invalid(setting, &path.display(), usable)
}
