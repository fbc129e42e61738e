//! Finds out why a server closes every connection: only one side uses TLS, or the server asks for a
//! certificate of the client.
//!
//! In these cases a server closes the connection without a reason, as a crashing server does. The
//! start therefore asks such a server once in another way.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use mongodb::{
    bson::doc,
    options::{ClientOptions, ServerAddress, Tls, TlsOptions},
};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, SignatureScheme, WantsVerifier,
    client::ResolvesClientCert,
    crypto,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{connect::faults::Faults, error::ClientError};

/// The number of the request in [`plain_hello`].
const REQUEST: i32 = 1;

/// The error for a server that closes the connections of this client because of TLS. `None` if
/// there is no such server.
pub(crate) async fn tls_mismatch(
    options: &ClientOptions,
    faults: &Faults,
    limit: Duration,
) -> Option<ClientError> {
    // The driver does not monitor a load balancer.
    let is_unmonitored = options.load_balanced == Some(true);
    for server in &options.hosts {
        let ServerAddress::Tcp { host, port } = server else { continue };
        if !is_unmonitored && !faults.has_closed(server) {
            continue;
        }
        let address = (host.as_str(), port.unwrap_or(27017));
        let found = async {
            match &options.tls {
                Some(Tls::Enabled(files)) => with_tls(server, address, files).await,
                _ => Ok(speaks_tls(address)
                    .await?
                    .then(|| ClientError::TlsDemanded(server.to_string()))),
            }
        };
        if let Ok(Ok(Some(mismatch))) = timeout(limit, found).await {
            return Some(mismatch);
        }
    }
    None
}

/// The error for a server that closes connections with TLS.
async fn with_tls(
    server: &ServerAddress,
    address: (&str, u16),
    files: &TlsOptions,
) -> io::Result<Option<ClientError>> {
    // The server does not respond to a command without TLS if it closes the connection.
    if matches!(speaks_plain(address).await, Ok(true)) {
        return Ok(Some(ClientError::NoTls(server.to_string())));
    }
    if files.cert_key_file_path.is_some() {
        return Ok(None);
    }
    let Some(authorities) = &files.ca_file_path else { return Ok(None) };
    let asks = asks_for_certificate(address, authorities).await?;
    Ok(asks.then_some(ClientError::ClientCertificate))
}

/// Whether the server asks for a certificate of the client.
async fn asks_for_certificate((host, port): (&str, u16), authorities: &Path) -> io::Result<bool> {
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(authorities).map_err(io::Error::other)?;
    roots.add_parsable_certificates(found.flatten());
    let asked = Arc::new(CertificateQuestion::default());
    let resolver = Arc::clone(&asked) as Arc<dyn ResolvesClientCert>;
    let config = versions()?.with_root_certificates(roots).with_client_cert_resolver(resolver);
    let mut connection = connection(config, host)?;
    let mut stream = TcpStream::connect((host, port)).await?;
    let mut received = vec![0; 16 * 1024];
    while connection.is_handshaking() {
        let mut message = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut message)?;
        }
        stream.write_all(&message).await?;
        let length = stream.read(&mut received).await?;
        if length == 0 {
            break;
        }
        connection.read_tls(&mut &received[..length])?;
        connection.process_new_packets().map_err(io::Error::other)?;
        if asked.was_asked.load(SeqCst) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records that the server asks for a certificate of the client, and has none.
#[derive(Debug, Default)]
struct CertificateQuestion {
    was_asked: AtomicBool,
}

impl ResolvesClientCert for CertificateQuestion {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Whether the server responds to a command without TLS.
async fn speaks_plain(address: (&str, u16)) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&plain_hello()?).await?;
    // Length, number of the response, number of the request, kind of message.
    let mut header = [0; 16];
    stream.read_exact(&mut header).await?;
    let [_, _, responds_to, _] = [0, 4, 8, 12]
        .map(|at| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    Ok(responds_to == REQUEST)
}

/// The command `hello`, as a message without TLS.
fn plain_hello() -> io::Result<Vec<u8>> {
    let command = doc! { "hello": 1, "$db": "admin" }.to_vec().map_err(io::Error::other)?;
    let length = i32::try_from(16 + 4 + 1 + command.len()).map_err(io::Error::other)?;
    // `OP_MSG`, without flags.
    let mut message: Vec<u8> =
        [length, REQUEST, 0, 2013, 0].into_iter().flat_map(i32::to_le_bytes).collect();
    message.push(0);
    message.extend(command);
    Ok(message)
}

/// Whether the server responds to the first message of a TLS handshake.
async fn speaks_tls((host, port): (&str, u16)) -> io::Result<bool> {
    // The handshake does not get to the certificate.
    let roots = RootCertStore::empty();
    let config = versions()?.with_root_certificates(roots).with_no_client_auth();
    let mut connection = connection(config, host)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(&hello).await?;
    let mut record = [0; 2];
    stream.read_exact(&mut record).await?;
    // A message of the handshake or an alert, of version 3.
    Ok(matches!(record, [0x15 | 0x16, 3]))
}

fn versions() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    let provider = Arc::new(crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)
}

fn connection(config: ClientConfig, host: &str) -> io::Result<ClientConnection> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}
