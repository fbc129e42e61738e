//! How a connection is opened: the password of a file, and the addresses of a host.

use std::{future::pending, path::Path, pin::pin, sync::Arc, time::Duration};

use sqlx::{ConnectOptions, Connection, Database};
use store_support::password_file;
use tokio::time::timeout;

use crate::error::ClientError;

/// How long the driver may take before the other addresses of the host are tried. The driver tries
/// one address after the other, and waits minutes for one that does not answer.
const OTHER_ADDRESSES_AFTER: Duration = Duration::from_millis(300);

/// The time between the attempts at two addresses; see RFC 8305, section 5.
#[cfg(any(feature = "mysql", feature = "postgres"))]
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

pub(crate) type Options<D> = <<D as Database>::Connection as Connection>::Options;

/// What the three drivers do differently when a connection is opened.
pub(crate) trait ConnectOver: Database {
    /// Sets the password.
    fn with_password(options: Options<Self>, password: &str) -> Options<Self>;

    /// The host and port of a TCP connection. `None` for a socket or a file.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn host(options: &Options<Self>) -> Option<(String, u16)>;

    /// Sets what a new connection needs before its first call.
    fn set_up(
        _: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + use<'_, Self> {
        async { Ok(()) }
    }

    /// Connects over a Unix-domain socket in `folder`. The host stays the name in certificates.
    /// The second value is the path of the socket.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn over_socket(options: Options<Self>, folder: &Path) -> (Options<Self>, std::path::PathBuf);
}

#[cfg(feature = "postgres")]
impl ConnectOver for sqlx::Postgres {
    fn with_password(options: Options<Self>, password: &str) -> Options<Self> {
        options.password(password)
    }

    fn host(options: &Options<Self>) -> Option<(String, u16)> {
        let host = options.get_host();
        let is_tcp = options.get_socket().is_none() && !host.starts_with('/');
        is_tcp.then(|| (host.to_owned(), options.get_port()))
    }

    fn over_socket(options: Options<Self>, folder: &Path) -> (Options<Self>, std::path::PathBuf) {
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        (options.socket(folder), socket)
    }
}

#[cfg(feature = "mysql")]
impl ConnectOver for sqlx::MySql {
    /// Without `autocommit` no change would be committed. Some modes change what a value means, such
    /// as `EMPTY_STRING_IS_NULL`.
    async fn set_up(connection: &mut Self::Connection) -> Result<(), sqlx::Error> {
        const STATEMENT: &str = "SET SESSION autocommit = 1, SESSION sql_mode = \
                                 'PIPES_AS_CONCAT,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";
        sqlx::raw_sql(STATEMENT).execute(connection).await.map(drop)
    }

    fn with_password(options: Options<Self>, password: &str) -> Options<Self> {
        options.password(password)
    }

    fn host(options: &Options<Self>) -> Option<(String, u16)> {
        let is_tcp = options.get_socket().is_none();
        is_tcp.then(|| (options.get_host().to_owned(), options.get_port()))
    }

    fn over_socket(options: Options<Self>, folder: &Path) -> (Options<Self>, std::path::PathBuf) {
        let socket = folder.join("mysql.sock");
        (options.socket(&socket), socket)
    }
}

#[cfg(feature = "sqlite")]
impl ConnectOver for sqlx::Sqlite {
    fn with_password(options: Options<Self>, _: &str) -> Options<Self> {
        options
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn host(_: &Options<Self>) -> Option<(String, u16)> {
        None
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn over_socket(options: Options<Self>, folder: &Path) -> (Options<Self>, std::path::PathBuf) {
        (options, folder.to_owned())
    }
}

/// Opens the connections of a store.
pub(crate) struct Connector<D: Database> {
    options: Arc<Options<D>>,
    /// The file with the password, which is read for each connection.
    password_file: Option<Arc<Path>>,
}

impl<D: Database> Clone for Connector<D> {
    fn clone(&self) -> Self {
        Self { options: Arc::clone(&self.options), password_file: self.password_file.clone() }
    }
}

impl<D: ConnectOver> Connector<D> {
    pub(crate) fn new(options: Options<D>, password_file: Option<&Path>) -> Self {
        Self { options: Arc::new(options), password_file: password_file.map(Arc::from) }
    }

    /// Opens a connection. The caller limits the time.
    pub(crate) async fn connect(&self) -> Result<D::Connection, ClientError> {
        let mut options = Options::<D>::clone(&self.options);
        if let Some(path) = &self.password_file {
            let password = password_file::read(path)
                .map_err(|error| ClientError::PasswordFile(error.to_string()))?;
            options = D::with_password(options, &password);
        }
        let mut by_driver = pin!(options.connect());
        let result = if let Ok(result) = timeout(OTHER_ADDRESSES_AFTER, &mut by_driver).await {
            result
        } else {
            tokio::select! {
                result = by_driver => result,
                result = over_other_address::<D>(&options) => result,
            }
        };
        let mut connection = result.map_err(ClientError::of_connecting)?;
        D::set_up(&mut connection).await?;
        Ok(connection)
    }
}

/// Connects to the first of the host's other addresses that answers. This never ends if there is
/// none.
#[cfg(any(feature = "mysql", feature = "postgres"))]
async fn over_other_address<D: ConnectOver>(
    options: &Options<D>,
) -> Result<D::Connection, sqlx::Error> {
    let Some((host, port)) = D::host(options) else { return pending().await };
    let Ok(addresses) = tokio::net::lookup_host((host, port)).await else {
        return pending().await;
    };
    // The driver tries the first one.
    let mut attempts = tokio::task::JoinSet::new();
    for (at, address) in (0..).zip(addresses.skip(1)) {
        attempts.spawn(async move {
            tokio::time::sleep(NEXT_ADDRESS_AFTER * at).await;
            tokio::net::TcpStream::connect(address).await
        });
    }
    while let Some(attempt) = attempts.join_next().await {
        if let Ok(Ok(stream)) = attempt {
            return over_stream::<D>(options, stream).await;
        }
    }
    pending().await
}

#[cfg(not(any(feature = "mysql", feature = "postgres")))]
async fn over_other_address<D: ConnectOver>(_: &Options<D>) -> Result<D::Connection, sqlx::Error> {
    pending().await
}

/// Connects over a TCP connection that exists. The driver opens its connection itself, so it gets
/// a Unix-domain socket, and a task copies between the two. The driver still checks the
/// certificate for the name of the host.
#[cfg(any(feature = "mysql", feature = "postgres"))]
async fn over_stream<D: ConnectOver>(
    options: &Options<D>,
    mut stream: tokio::net::TcpStream,
) -> Result<D::Connection, sqlx::Error> {
    // Only this user can enter the folder.
    let folder = tempfile::Builder::new().prefix("store-sql").tempdir()?;
    let (options, path) = D::over_socket(options.clone(), folder.path());
    let listener = tokio::net::UnixListener::bind(path)?;
    stream.set_nodelay(true)?;
    let copying = async move {
        let Ok((mut socket, _)) = listener.accept().await else { return };
        drop((listener, folder));
        // An error is the end of one of the connections, which the driver notices.
        let _ = tokio::io::copy_bidirectional(&mut socket, &mut stream).await;
    };
    let copying = tokio::spawn(copying);
    let result = options.connect().await;
    if result.is_err() {
        copying.abort();
    }
    result
}
