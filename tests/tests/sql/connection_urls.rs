//! Connection URLs as providers and other clients write them: each works, or the start is refused
//! with the name of the setting and the remedy.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store_sql::{Config, SqlStore};
use tests::{
    Demo, KEY,
    service::{MariaDb, PASSWORD, Postgres, shared_files},
    session::with,
    with_sources,
};

use crate::{
    locks::{PATIENT, connect},
    tables::works,
};

/// URLs that are refused before the store connects, each with words of the error.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "postgres://u:p@h/db?sslmode=require&channel_binding=require",
        &["\"channel_binding\"", "write sslmode=verify-full"],
    ),
    ("postgres://u:p@h/db?pgbouncer=true", &["\"pgbouncer\"", "write statement-cache-capacity=0"]),
    ("postgres://u:p@h/db?connection_limit=1", &["\"connection_limit\"", "write connections"]),
    ("postgres://u:p@h/db?connect_timeout=10", &["\"connect_timeout\"", "write deadline_ms"]),
    (
        "postgres://u:p@h/db?target_session_attrs=read-write",
        &["\"target_session_attrs\"", "remove it", "the primary"],
    ),
    ("postgres://u:p@h/db?statement_cache_size=0", &["write statement-cache-capacity"]),
    ("postgres://u:p@h/db?ssl=true", &["\"ssl\"", "write sslmode=verify-full"]),
    ("postgres://u:p@h/db?sslaccept=strict", &["\"sslaccept\"", "write sslmode=verify-full"]),
    ("postgres://u:p@h/db?sslmode=no-verify", &["no-verify", "ssl_mode"]),
    ("postgres://u:p@h/db?sslmode=allow", &["sslmode", "\"allow\"", "require"]),
    ("postgres://u:p@h/db?sslmode=verify-ca", &["sslmode", "\"verify-ca\"", "verify-full"]),
    ("postgres://u:p@h/db?sslmode=require&sslrootcert=system", &["\"require\"", "verify-full"]),
    ("postgres://u:p@h/db?sslrootcert=/ca.pem&sslmode=prefer", &["\"prefer\"", "verify-full"]),
    ("postgres://u:p@h/db?schema=shop", &["\"schema\"", "write options=-c%20search_path"]),
    ("postgres://u:p@/db", &["host", "app@localhost", "host=/folder"]),
    ("postgres://h1,h2/db", &["host", "one server", "primary"]),
    ("postgres://h1:5432,h2:5432/db", &["host", "one server"]),
    ("postgres://u@/db?host=h1,h2", &["host", "one server"]),
    ("postgres://u@::1/db", &["host", "needs brackets"]),
    (
        "mysql://u:p@h/db?ssl={\"rejectUnauthorized\":true}",
        &["\"ssl\"", "ssl-mode=VERIFY_IDENTITY"],
    ),
    ("mysql://u:p@h/db?charset=utf8mb4&parseTime=true", &["\"charset\"", "utf8mb4"]),
    ("mysql://u:p@h/db?parseTime=true", &["\"parseTime\"", "remove it"]),
    ("mysql://u:p@h/db?sslaccept=strict", &["\"sslaccept\"", "ssl-mode=VERIFY_IDENTITY"]),
    ("mysql://u:p@h/db?tls=true", &["\"tls\"", "ssl-mode=VERIFY_IDENTITY"]),
    ("mysql://u:p@h/db?useSSL=true", &["\"useSSL\"", "ssl-mode=VERIFY_IDENTITY"]),
    ("mysql://u:p@h/db?sslmode=require", &["\"sslmode\"", "write ssl-mode"]),
    ("mysql://u:p@h/db?ssl-mode=VERIFY_CA", &["\"VERIFY_CA\"", "VERIFY_IDENTITY"]),
    ("mysql://u:p@h/db?ssl-ca=/ca.pem&ssl-mode=REQUIRED", &["\"REQUIRED\"", "VERIFY_IDENTITY"]),
    ("mysql://u:p@h/db?unix_socket=/cloudsql/a:b:c", &["\"unix_socket\"", "write socket"]),
    ("mysql://u:p@h1,h2/db", &["host", "one server"]),
    ("mysql://u:p@/db", &["host", "socket=/path"]),
];

#[test]
fn d05_urls_of_other_clients_are_refused_with_the_remedy() {
    for (url, words) in REFUSED {
        let error = Config::new(url).expect_err(url).to_string();
        for word in *words {
            assert!(error.contains(word), "{url}: {word} is missing in: {error}");
        }
    }
}

/// The URL of the server's socket without a host, as `postgres://u:p@/db?host=/folder`.
fn without_host(url: &str) -> String {
    let (login, rest) = url.split_once('@').expect("a login");
    let (_, rest) = rest.split_once('/').expect("a database");
    format!("{login}@/{rest}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_postgres_works_with_the_settings_of_providers() {
    let Some(postgres) = Postgres::start().await else { return };
    let port = ours!(postgres.port());
    let socket = ours!(postgres.socket_url());
    let folder = socket.split_once("?host=").expect("a folder").1.to_owned();
    let database = postgres.database();
    for settings in [
        "application_name=shop",
        "options=-c%20application_name%3Dshop",
        "statement-cache-capacity=0",
        "statement-cache-capacity=10&sslmode=prefer",
    ] {
        let store = connect(&with(&postgres.url(), &format!("{settings}&{PATIENT}"))).await;
        works(&store).await;
        let named = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'";
        let rows = postgres.ask(named).await.expect("the server answers");
        let is_named = rows[0][0].as_deref() != Some("0");
        assert_eq!(is_named, settings.contains("shop"), "{settings}");
    }
    // The socket of a server at another port than 5432 has the port in its name.
    let refused = connect_error(&with(&without_host(&socket), "table=a")).await;
    assert!(refused.is_none(), "the store waits for the socket: {refused:?}");
    let with_port = format!("postgres://app:{PASSWORD}@localhost:{port}/{database}?host={folder}");
    works(&connect(&with(&with_port, PATIENT)).await).await;
    let link = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(
        format!("{folder}/.s.PGSQL.{port}"),
        link.path().join(".s.PGSQL.5432"),
    )
    .expect("a link");
    let url = format!("postgres://app:{PASSWORD}@/{database}?host={}", link.path().display());
    works(&connect(&with(&url, PATIENT)).await).await;
    // A URL without a host uses the variables of libpq, or the local server.
    let port = port.to_string();
    let variables = [
        ("PGHOST", &*folder),
        ("PGPORT", &*port),
        ("PGUSER", "app"),
        ("PGPASSWORD", PASSWORD),
        ("DEMO_COOKIE_KEY", KEY),
    ];
    let url = format!("postgres:///{database}");
    let arguments = ["--listen", "127.0.0.1:0", "--store", "sql", "--store-url", &url];
    let demo = Demo::start_with(&arguments, &variables).await;
    assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
    // Without TLS on the server, a URL that demands TLS ends the start.
    for mode in ["require", "verify-full"] {
        let refused = connect_error(&with(&postgres.url(), &format!("sslmode={mode}"))).await;
        assert!(refused.as_ref().is_some_and(|text| text.contains("TLS")), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_mariadb_works_with_the_settings_of_providers() {
    let Some(mariadb) = MariaDb::start().await else { return };
    let socket = ours!(mariadb.socket_url());
    works(&connect(&with(&socket, PATIENT)).await).await;
    works(&connect(&with(&without_host(&socket), PATIENT)).await).await;
    works(&connect(&with(&mariadb.url(), &format!("statement-cache-capacity=0&{PATIENT}"))).await)
        .await;
    for mode in ["REQUIRED", "VERIFY_IDENTITY"] {
        let refused = connect_error(&with(&mariadb.url(), &format!("ssl-mode={mode}"))).await;
        assert!(refused.as_ref().is_some_and(|text| text.contains("TLS")), "{refused:?}");
    }
}

/// The error of a start. `None` if the store starts, also if it waits for the database.
async fn connect_error(url: &str) -> Option<String> {
    let opened = SqlStore::connect(&Config::new(url).expect("a URL")).await;
    opened.err().map(|error| with_sources(&error))
}

/// Makes an authority, and a certificate of the server for these names. Returns the certificate of
/// the authority.
pub(crate) fn make_certificates(folder: &Path, name: &str) -> String {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a folder");
    let authority_key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(parameters, authority_key);
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    for (file, content) in [
        ("ca.pem", authority.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        let path = folder.join(file);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file");
        if rustix::process::geteuid().is_root() {
            // A server that root starts runs as `nobody`.
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("a file");
        }
    }
    folder.join("ca.pem").display().to_string()
}

/// Expects that the store checks certificates as the settings say. `modes` are the mode without a
/// check and the strictest one, `authority` is the name of the setting for an authority.
async fn checks_certificates(url: &str, mode: &str, modes: [&str; 2], authority: &str, ca: &str) {
    let [require, full] = modes;
    works(&connect(&with(url, &format!("{mode}={require}&{PATIENT}"))).await).await;
    // An authority is checked also without a mode.
    for settings in [format!("{mode}={full}&{authority}={ca}"), format!("{authority}={ca}")] {
        works(&connect(&with(url, &format!("{settings}&{PATIENT}"))).await).await;
        let other_name = with(&url.replace("127.0.0.1", "localhost"), &settings);
        let refused = connect_error(&other_name).await;
        assert!(
            refused
                .as_ref()
                .is_some_and(|text| text.contains("does not trust the server's certificate")),
            "{settings}: {refused:?}"
        );
    }
    let refused = connect_error(&with(url, &format!("{mode}={full}"))).await;
    assert!(
        refused.as_ref().is_some_and(|text| text.contains(authority)),
        "the authority is unknown: {refused:?}"
    );
    let missing = connect_error(&with(url, &format!("{authority}=/nowhere/ca.pem"))).await;
    let missing = missing.expect("the file does not exist");
    assert!(missing.contains(authority) && missing.contains("/nowhere/ca.pem"), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_tls_of_postgres_is_as_strict_as_the_url() {
    let folder = tempfile::tempdir_in(shared_files()).expect("a folder");
    let ca = make_certificates(folder.path(), "127.0.0.1");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let certificate = format!("ssl_cert_file={}", file("server.pem"));
    let key = format!("ssl_key_file={}", file("server.key"));
    let flags = ["-c", "ssl=on", "-c", &certificate, "-c", &key];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let url = postgres.url();
    checks_certificates(&url, "sslmode", ["require", "verify-full"], "sslrootcert", &ca).await;
    for settings in ["sslrootcert=system", "sslrootcert=system&sslmode=verify-full"] {
        let refused = connect_error(&with(&url, settings)).await;
        assert!(refused.is_some(), "no public authority signed the certificate");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_tls_of_mariadb_is_as_strict_as_the_url() {
    let folder = tempfile::tempdir_in(shared_files()).expect("a folder");
    let ca = make_certificates(folder.path(), "127.0.0.1");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let certificate = format!("--ssl-cert={}", file("server.pem"));
    let key = format!("--ssl-key={}", file("server.key"));
    let Some(mariadb) = MariaDb::start_with(&[&certificate, &key]).await else { return };
    ours!(mariadb.port());
    let modes = ["REQUIRED", "VERIFY_IDENTITY"];
    checks_certificates(&mariadb.url(), "ssl-mode", modes, "ssl-ca", &ca).await;
}
