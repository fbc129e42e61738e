//! The settings in the URLs of other clients, and what to write instead.

/// For PostgreSQL: the name, and what to do instead. The driver ignores these settings, or does not
/// do what they ask.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES: &[(&str, &str)] = &[
    ("channel_binding", BINDING),
    ("client_encoding", "remove it: the connection always uses UTF-8"),
    ("charset", "remove it: the connection always uses UTF-8"),
    ("connect_timeout", DEADLINE),
    ("connection_limit", "write connections, the most connections of each tokio runtime"),
    ("connection_timeout", DEADLINE),
    ("currentSchema", SCHEMA),
    ("dbname", "write the database after the host, as in postgres://app@localhost/shop"),
    ("gssencmode", ENCRYPTION),
    ("hostaddr", "write the address as the host, before the database"),
    ("keepalives", KEEPALIVE),
    ("keepalives_count", KEEPALIVE),
    ("keepalives_idle", KEEPALIVE),
    ("keepalives_interval", KEEPALIVE),
    ("load_balance_hosts", PRIMARY),
    ("max_conns", "write connections, the most connections of each tokio runtime"),
    ("passfile", "put the file at ~/.pgpass, or name it in the variable PGPASSFILE"),
    ("password", LOGIN),
    ("pgbouncer", POOLER),
    ("pool_max_conns", "write connections, the most connections of each tokio runtime"),
    ("pool_timeout", DEADLINE),
    ("port", "write it after the host, as in postgres://app@localhost:5432/shop"),
    ("prepareThreshold", POOLER),
    ("prepared_statements", POOLER),
    ("prepared_statement_cache_size", "write statement-cache-capacity"),
    ("require_auth", ENCRYPTION),
    ("schema", SCHEMA),
    ("search_path", SCHEMA),
    ("service", "write host, user and database into the URL"),
    ("socket_timeout", DEADLINE),
    ("ssl", ENCRYPTION),
    ("ssl-ca", "write sslrootcert"),
    ("ssl-cert", "write sslcert"),
    ("ssl-key", "write sslkey"),
    ("ssl-mode", "write sslmode"),
    ("ssl_min_protocol_version", "remove it: the driver uses TLS 1.2 or 1.3"),
    ("sslaccept", ENCRYPTION),
    ("sslcrl", ENCRYPTION),
    ("sslcrldir", ENCRYPTION),
    ("sslidentity", "write sslcert and sslkey, each a PEM file"),
    ("sslnegotiation", "remove it: the driver asks the server for TLS first"),
    ("sslpassword", "write sslkey with a key file that has no password"),
    ("statement_cache_capacity", "write statement-cache-capacity"),
    ("statement_cache_mode", POOLER),
    ("statement_cache_size", "write statement-cache-capacity"),
    ("statement_timeout", "write options=-c%20statement_timeout%3D2s"),
    ("supa", POOLER),
    ("target_session_attrs", PRIMARY),
    ("tcp_user_timeout", KEEPALIVE),
    ("tls", ENCRYPTION),
    ("user", LOGIN),
    ("uselibpqcompat", ENCRYPTION),
    ("workaround", POOLER),
];

/// For MySQL and MariaDB, as [`POSTGRES`].
#[cfg(feature = "mysql")]
pub(crate) const MYSQL: &[(&str, &str)] = &[
    ("allowNativePasswords", AUTHENTICATION),
    ("allowPublicKeyRetrieval", AUTHENTICATION),
    ("autoReconnect", "remove it: the store opens a new connection itself"),
    ("charset", "remove it: the connection always uses utf8mb4"),
    ("characterEncoding", "remove it: the connection always uses utf8mb4"),
    ("collation", "remove it: the table sets its own collation"),
    ("connect_timeout", DEADLINE),
    ("connectTimeout", DEADLINE),
    ("connection_limit", "write connections, the most connections of each tokio runtime"),
    ("connectionLimit", "write connections, the most connections of each tokio runtime"),
    ("database", "write it after the host, as in mysql://app@localhost/shop"),
    ("host", "write socket, the path of the server's Unix-domain socket"),
    ("loc", TIME_ZONE),
    ("multiStatements", "remove it: the store does not need it"),
    ("parseTime", "remove it: the store keeps times as numbers"),
    ("password", LOGIN),
    ("pool_timeout", DEADLINE),
    ("port", "write it after the host, as in mysql://app@localhost:3306/shop"),
    ("readTimeout", DEADLINE),
    ("requireSSL", MYSQL_ENCRYPTION),
    ("serverTimezone", TIME_ZONE),
    ("socketTimeout", DEADLINE),
    ("socket_timeout", DEADLINE),
    ("ssl", MYSQL_ENCRYPTION),
    ("ssl_ca", "write ssl-ca"),
    ("ssl_cert", "write ssl-cert"),
    ("ssl_key", "write ssl-key"),
    ("sslca", "write ssl-ca"),
    ("sslcert", "write ssl-cert"),
    ("sslkey", "write ssl-key"),
    ("sslaccept", MYSQL_ENCRYPTION),
    ("sslidentity", "write ssl-cert and ssl-key, each a PEM file"),
    ("sslmode", "write ssl-mode"),
    ("ssl_mode", "write ssl-mode"),
    ("sslrootcert", "write ssl-ca"),
    ("statement_cache_size", "write statement-cache-capacity"),
    ("timeout", DEADLINE),
    ("timezone", TIME_ZONE),
    ("tls", MYSQL_ENCRYPTION),
    ("unix_socket", "write socket"),
    ("unixSocket", "write socket"),
    ("useSSL", MYSQL_ENCRYPTION),
    ("useUnicode", "remove it: the connection always uses utf8mb4"),
    ("user", LOGIN),
    ("verifyServerCertificate", MYSQL_ENCRYPTION),
    ("writeTimeout", DEADLINE),
];

#[cfg(any(feature = "postgres", feature = "mysql"))]
const DEADLINE: &str = "write deadline_ms, the longest time of a call in milliseconds";
#[cfg(any(feature = "postgres", feature = "mysql"))]
const LOGIN: &str = "write user and password before the host, as in app:secret@localhost";
#[cfg(feature = "postgres")]
const BINDING: &str = "the driver has no channel binding; write sslmode=verify-full instead, which \
                       checks the server's certificate";
#[cfg(feature = "postgres")]
const ENCRYPTION: &str = "write sslmode=verify-full to demand TLS and check the certificate, or \
                          sslmode=disable";
#[cfg(feature = "postgres")]
const KEEPALIVE: &str = "remove it: the store checks idle connections itself";
#[cfg(feature = "postgres")]
const POOLER: &str = "write statement-cache-capacity=0, which works with any pooler";
#[cfg(feature = "postgres")]
const PRIMARY: &str = "remove it, and name one server: the primary, or a name that always leads to \
                       the primary";
#[cfg(feature = "postgres")]
const SCHEMA: &str = "write options=-c%20search_path%3Dshop for the schema shop";
#[cfg(feature = "mysql")]
const AUTHENTICATION: &str = "remove it: the server and the driver agree on the login";
#[cfg(feature = "mysql")]
const MYSQL_ENCRYPTION: &str = "write ssl-mode=VERIFY_IDENTITY to demand TLS and check the \
                                certificate, or ssl-mode=DISABLED";
#[cfg(feature = "mysql")]
const TIME_ZONE: &str = "remove it: the connection always uses UTC";

/// What to do instead of a setting of another client.
pub(crate) fn advice(
    table: &'static [(&'static str, &'static str)],
    key: &str,
) -> Option<&'static str> {
    table.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, advice)| *advice)
}
