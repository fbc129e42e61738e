//! The settings and schemes in the URLs of other clients, and what to write instead.

/// A setting: the name, and what to do instead. The store has another name for it, or does not
/// need it.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("abortConnect", RETRY),
    ("addr", "write all hosts before the path, as in redis-cluster://host1,host2:7001"),
    ("auth", LOGIN),
    ("ca", "write tls_ca"),
    ("cafile", "write tls_ca"),
    ("cert", "write tls_cert"),
    ("charset", ENCODING),
    ("clientName", CLIENT_NAME),
    ("client_name", CLIENT_NAME),
    ("cluster", "write redis-cluster:// at the start of the URL"),
    ("commandTimeout", DEADLINE),
    ("command_timeout", DEADLINE),
    ("conn_max_idle_time", KEEPALIVE),
    ("conn_max_lifetime", KEEPALIVE),
    ("connectTimeout", DEADLINE),
    ("connect_timeout", DEADLINE),
    ("connectionName", CLIENT_NAME),
    ("connection_limit", POOL),
    ("connection_timeout", DEADLINE),
    ("database", DATABASE),
    ("decode_responses", ENCODING),
    ("defaultDatabase", DATABASE),
    ("dial_timeout", DEADLINE),
    ("enableOfflineQueue", RETRY),
    ("encoding", ENCODING),
    ("encoding_errors", ENCODING),
    ("family", ADDRESSES),
    ("health_check_interval", KEEPALIVE),
    ("host", HOST),
    ("idle_timeout", KEEPALIVE),
    ("insecure", VERIFICATION),
    ("keepAlive", KEEPALIVE),
    ("key", "write tls_key"),
    ("keyPrefix", "write prefix"),
    ("key_prefix", "write prefix"),
    ("lazyConnect", RETRY),
    ("libraryName", CLIENT_NAME),
    ("libraryVersion", CLIENT_NAME),
    ("masterName", PRIMARY),
    ("master_name", PRIMARY),
    ("maxRetriesPerRequest", RETRY),
    ("max_active_conns", POOL),
    ("max_connections", POOL),
    ("max_idle_conns", POOL),
    ("max_redirects", RETRY),
    ("max_retries", RETRY),
    ("max_retry_backoff", RETRY),
    ("min_idle_conns", POOL),
    ("min_retry_backoff", RETRY),
    (
        "name",
        "for a connection name: remove it; for Sentinel: write the name of the primary as the path, \
         as in redis-sentinel://host1,host2/mymaster",
    ),
    ("namespace", "write prefix"),
    ("noDelay", KEEPALIVE),
    ("pass", LOGIN),
    ("path", SOCKET),
    ("persistent", KEEPALIVE),
    ("poolSize", POOL),
    ("pool_size", POOL),
    ("pool_timeout", DEADLINE),
    ("port", HOST),
    ("readFrom", REPLICAS),
    ("read_only", REPLICAS),
    ("read_timeout", DEADLINE),
    ("read_write_timeout", DEADLINE),
    ("readonly", REPLICAS),
    ("rejectUnauthorized", VERIFICATION),
    ("resp", PROTOCOL),
    ("retry_on_error", RETRY),
    ("retry_on_timeout", RETRY),
    ("role", REPLICAS),
    ("route_by_latency", REPLICAS),
    ("route_randomly", REPLICAS),
    ("scaleReads", REPLICAS),
    ("sentinel", SENTINEL),
    ("sentinelMasterId", PRIMARY),
    ("sentinelPassword", "write sentinel_password"),
    ("sentinelUsername", "write sentinel_user"),
    ("sentinel_username", "write sentinel_user"),
    ("sentinels", SENTINEL),
    ("serverName", NAME),
    ("server_name", NAME),
    ("serviceName", PRIMARY),
    ("service_name", PRIMARY),
    ("skip_verify", VERIFICATION),
    ("socket_connect_timeout", DEADLINE),
    ("socket_keepalive", KEEPALIVE),
    ("socket_timeout", DEADLINE),
    ("ssl", TLS),
    ("sslHost", NAME),
    ("sslProtocols", TLS_VERSION),
    ("ssl_ca", "write tls_ca"),
    ("ssl_ca_certs", "write tls_ca"),
    ("ssl_ca_data", "write tls_ca, the path of a file with these certificates"),
    ("ssl_ca_path", "write tls_ca, the path of a file with all certificates of the folder"),
    ("ssl_cert", "write tls_cert"),
    ("ssl_cert_reqs", VERIFICATION),
    ("ssl_certfile", "write tls_cert"),
    ("ssl_check_hostname", VERIFICATION),
    ("ssl_ciphers", TLS_VERSION),
    ("ssl_key", "write tls_key"),
    ("ssl_keyfile", "write tls_key"),
    ("ssl_min_version", TLS_VERSION),
    ("ssl_password", "write tls_key with a key file that has no password"),
    ("ssl_verify", VERIFICATION),
    ("startTls", TLS),
    ("syncTimeout", DEADLINE),
    ("timeout", DEADLINE),
    ("tls", TLS),
    ("tls_insecure", VERIFICATION),
    ("unix_socket_path", SOCKET),
    ("useSsl", TLS),
    ("use_ssl", TLS),
    ("username", "write user, or write user and password before the host: app:secret@localhost"),
    ("verifyPeer", VERIFICATION),
    ("virtual_host", DATABASE),
    ("write_timeout", DEADLINE),
];

/// A scheme of another client, as [`SETTINGS`].
const SCHEMES: &[(&str, &str)] = &[
    ("http", REST),
    ("https", REST),
    ("redis+cluster", "write redis-cluster://"),
    ("redis+sentinel", SENTINEL_SCHEME),
    ("redis+ssl", "write rediss://"),
    ("redis+tls", "write rediss://; the store does not support STARTTLS"),
    ("rediss+cluster", "write rediss-cluster://"),
    ("rediss+sentinel", "write rediss-sentinel://host1,host2/mymaster"),
    ("ssl", "write rediss://"),
    ("tcp", "write redis://"),
    ("tls", "write rediss://"),
    ("valkey-cluster", "write redis-cluster://"),
    ("valkey-sentinel", SENTINEL_SCHEME),
    ("valkeys-cluster", "write rediss-cluster://"),
    ("valkeys-sentinel", "write rediss-sentinel://host1,host2/mymaster"),
];

const ADDRESSES: &str = "remove it: the store uses any address of the host";
const CLIENT_NAME: &str = "remove it: the store does not name its connections";
const DATABASE: &str =
    "write the number of the database as the path, as in redis://localhost/0, or write db";
const DEADLINE: &str = "write deadline_ms, the longest time of a call in milliseconds";
const ENCODING: &str = "remove it: the store chooses the encoding of its keys and values";
const HOST: &str = "write host and port before the path, as in redis://localhost:6379/0";
const KEEPALIVE: &str = "remove it: the store checks and replaces connections itself";
const LOGIN: &str =
    "write password, or write user and password before the host: app:secret@localhost";
const NAME: &str = "write the name in the server's certificate as the host";
const POOL: &str = "write connections, the most connections to each server";
const PRIMARY: &str =
    "write the name of the primary as the path, as in redis-sentinel://host1,host2/mymaster";
const PROTOCOL: &str = "remove it: the store always uses RESP3";
const REPLICAS: &str = "remove it: the store reads from the primary, because replicas lag behind";
const REST: &str = "the store needs the URL for TCP, which begins with rediss://, and not the URL \
                    of an HTTP interface";
const RETRY: &str = "remove it: the store connects and tries again itself, within deadline_ms";
const SENTINEL: &str = "write the Sentinels as hosts, as in redis-sentinel://host1,host2/mymaster";
const SENTINEL_SCHEME: &str = "write redis-sentinel://host1,host2/mymaster";
const SOCKET: &str = "write unix:/run/redis/redis.sock for a Unix-domain socket";
const TLS: &str = "write rediss:// at the start of the URL for TLS, or redis:// for none";
const TLS_VERSION: &str = "remove it: the store uses TLS 1.2 or 1.3";
const VERIFICATION: &str = "remove it: with TLS the store always verifies the server's \
                            certificate; write tls_ca, the file of the authority that signed it";

/// What to do instead of the part behind a `#`.
pub(crate) const FRAGMENT: &str = "a # starts a fragment, which the store does not use: write %23 \
                                   for a # in a value, and the name of a primary as the path; \
                                   there is no #insecure, because with TLS the store always \
                                   verifies the server's certificate (tls_ca names an authority)";

/// What to do instead of a setting of another client.
pub(crate) fn setting_advice(key: &str) -> Option<&'static str> {
    advice(SETTINGS, key)
}

/// What to do instead of a URL with a scheme of another client, or of a text that is not a URL.
pub(crate) fn scheme_advice(scheme: &str, url: &str) -> Option<&'static str> {
    if url.starts_with("redis-cli ") {
        return Some("write only the URL behind -u; if there is --tls, begin it with rediss://");
    }
    if scheme.is_empty() && url.contains(",password=") {
        return Some("write host:6380,password=secret,ssl=True as rediss://:secret@host:6380");
    }
    advice(SCHEMES, scheme)
}

fn advice(rows: &'static [(&'static str, &'static str)], key: &str) -> Option<&'static str> {
    rows.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, advice)| *advice)
}
