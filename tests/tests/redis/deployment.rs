//! Connection URLs as providers and other clients write them, and certificates: each works, or the
//! start is refused with what is wrong and the remedy.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use session_core::{SessionStore, StoreError};
use store_redis::{Config, RedisStore};
use tests::{
    Demo, KEY, PATIENCE,
    service::{PASSWORD, Redis, shared_files},
    wait, with_sources,
};

use crate::session::{Session, connect, with};

/// URLs that are refused before the store connects, each with words of the error.
const REFUSED: &[(&str, &[&str])] = &[
    ("redis://h?protocol=2", &["protocol", "\"2\"", "3, because the store needs RESP3"]),
    ("redis://h?protocol=resp2", &["protocol", "\"resp2\"", "3, because"]),
    ("rediss://h?ssl_cert_reqs=none", &["\"ssl_cert_reqs\"", "always verifies", "tls_ca"]),
    ("rediss://h?skip_verify=true", &["\"skip_verify\"", "tls_ca"]),
    ("rediss://h?verifyPeer=NONE", &["\"verifyPeer\"", "tls_ca"]),
    ("rediss://h?insecure=true", &["\"insecure\"", "tls_ca"]),
    ("rediss://h?tls_insecure=true", &["\"tls_insecure\"", "tls_ca"]),
    ("rediss://h:6379/0#insecure", &["fragment", "#insecure", "tls_ca"]),
    ("rediss://h#insecure", &["fragment", "#insecure"]),
    ("redis://h?prefix=a#b", &["fragment", "%23"]),
    ("redis://h?ssl=true", &["\"ssl\"", "rediss://"]),
    ("redis://h?tls=true", &["\"tls\"", "rediss://"]),
    ("rediss://h?ssl_ca_certs=/ca.pem", &["\"ssl_ca_certs\"", "write tls_ca"]),
    ("redis://h?timeout=5s", &["\"timeout\"", "write deadline_ms"]),
    ("redis://h?socket_timeout=5", &["\"socket_timeout\"", "write deadline_ms"]),
    ("redis://h?connect_timeout=5", &["\"connect_timeout\"", "write deadline_ms"]),
    ("redis://h?dial_timeout=5s", &["\"dial_timeout\"", "write deadline_ms"]),
    ("redis://h?max_connections=5", &["\"max_connections\"", "write connections"]),
    ("redis://h?pool_size=5", &["\"pool_size\"", "write connections"]),
    ("redis://h?database=1", &["\"database\"", "redis://localhost/0", "write db"]),
    ("redis://h/1?db=2", &["db", "\"2\"", "1, the number in the path"]),
    ("redis://h?username=app", &["\"username\"", "write user"]),
    ("redis+unix:///run/redis.sock?pass=x", &["\"pass\"", "write password"]),
    ("redis://h?name=shop", &["\"name\"", "remove it"]),
    ("redis://h?client_name=shop", &["\"client_name\"", "remove it"]),
    ("redis://h?clientName=shop", &["\"clientName\"", "remove it"]),
    ("redis://h?family=6", &["\"family\"", "remove it"]),
    ("redis://h?keyPrefix=shop:", &["\"keyPrefix\"", "write prefix"]),
    ("redis://h?decode_responses=True", &["\"decode_responses\"", "remove it"]),
    ("redis-sentinel://h1,h2/0?sentinelMasterId=m", &["\"sentinelMasterId\"", "as the path"]),
    ("redis-sentinel://h1,h2/0#mymaster", &["fragment", "name of a primary as the path"]),
    ("redis-sentinel://h1,h2", &["name of the primary", "/mymaster"]),
    ("redis+sentinel://h/mymaster/0", &["redis+sentinel", "redis-sentinel://"]),
    ("redis://h?master_name=m&addr=h2:26379", &["\"master_name\"", "redis-sentinel://"]),
    ("redis://h?sentinels=h1,h2", &["\"sentinels\"", "redis-sentinel://"]),
    ("redis-sentinel://h/m?sentinelPassword=x", &["write sentinel_password"]),
    ("redis+tls://h", &["redis+tls", "write rediss://"]),
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

async fn works(store: &RedisStore) {
    let session = Session::signed_in(store, "bob").await;
    assert!(store.load(&session.key).await.expect("an answer").is_some());
}

/// The error of a start. `None` if the store starts, also if it waits for the server.
async fn connect_error(url: &str) -> Option<String> {
    let opened = RedisStore::connect(&Config::new(url).expect("a URL")).await;
    opened.err().map(|error| with_sources(&error))
}

/// Expects that the start fails at once, with these words.
async fn is_refused(url: &str, words: &[&str]) {
    let begun = Instant::now();
    let error = connect_error(url).await.unwrap_or_else(|| panic!("{url} is accepted"));
    eprintln!("{error}");
    for word in words {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "the error took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_redis_works_with_the_urls_of_other_clients() {
    let Some(redis) = Redis::start_with(&["--requirepass", PASSWORD]).await else { return };
    let socket = ours!(redis.socket_url());
    let path = socket.strip_prefix("redis+unix://").and_then(|path| path.split('?').next());
    let path = path.expect("a path");
    for url in [
        format!("redis+unix://{path}?password={PASSWORD}"),
        format!("redis+socket://{path}?password={PASSWORD}&db=2"),
        format!("unix://{path}?user=default&password={PASSWORD}&db=2"),
        redis.url().replace("redis://", "valkey://"),
        redis.url().replace("redis://:", "redis://default:"),
        with(&redis.url(), "protocol=3"),
        with(&redis.url(), "protocol=resp3&db=0"),
    ] {
        works(&connect(&url).await).await;
        // The demo chooses the store by the scheme.
        let arguments = ["--listen", "127.0.0.1:0", "--store", "redis", "--store-url", &url];
        let demo = Demo::start_with(&arguments, &[("DEMO_COOKIE_KEY", KEY)]).await;
        assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
    }
    is_refused(&redis.url().replace("/0", "/99999"), &["database of the URL", "smaller"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_server_of_another_kind_is_refused() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.port());
    let cluster = redis.url().replace("redis://", "redis-cluster://").replace("/0", "");
    is_refused(&cluster, &["not a node of a Cluster", "redis://"]).await;
    let sentinel = redis.url().replace("redis://", "redis-sentinel://").replace("/0", "/mymaster");
    is_refused(&sentinel, &["not a Sentinel", "redis://"]).await;
}

/// The files of an authority and its certificates, which servers can read.
struct Certificates {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// A new authority.
    fn new() -> Self {
        Self::of("authority")
    }

    /// A new authority with this name.
    fn of(name: &str) -> Self {
        let folder = tempfile::tempdir_in(shared_files()).expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let made = Self { folder, issuer: Issuer::new(parameters, key) };
        made.write("ca.pem", &certificate.pem());
        made
    }

    /// A certificate of this authority: `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        parameters.distinguished_name.push(DnType::CommonName, name);
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Runs `openssl` in the folder.
    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).current_dir(self.folder.path());
        let output = openssl.output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments}: {output:?}");
        for file in fs::read_dir(self.folder.path()).expect("a folder") {
            Self::open_to_servers(&file.expect("a file").path());
        }
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.folder.path().join(file);
        fs::write(&path, content).expect("a file");
        Self::open_to_servers(&path);
    }

    /// A server in a container has another user.
    fn open_to_servers(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a file");
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }
}

/// Makes a server listen for TLS on another port, with the certificate of this name. Returns the
/// URL.
async fn speak_tls(redis: &Redis, certificates: &Certificates, name: &str) -> String {
    present(redis, certificates, name).await;
    let port = wait::until("a free port", PATIENCE, async || {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let set = redis.command(&["CONFIG", "SET", "tls-port", &port.to_string()]).await;
        set.is_ok().then_some(port)
    })
    .await;
    format!("rediss://127.0.0.1:{port}")
}

/// Makes a server present the certificate of this name.
async fn present(redis: &Redis, certificates: &Certificates, name: &str) {
    let [certificate, key] = ["pem", "key"].map(|end| certificates.path(&format!("{name}.{end}")));
    let authority = certificates.path("ca.pem");
    for words in [
        &["CONFIG", "SET", "tls-auth-clients", "no"][..],
        &[
            "CONFIG",
            "SET",
            "tls-cert-file",
            &certificate,
            "tls-key-file",
            &key,
            "tls-ca-cert-file",
            &authority,
        ],
    ] {
        redis.command(words).await.expect("a server with TLS");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_bad_certificate_of_the_server_ends_the_start() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.port());
    let (files, other) = (Certificates::new(), Certificates::new());
    let stranger = Certificates::of("stranger");
    files.sign("good", |_| {});
    files.sign("expired", |parameters| {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
    });
    files.sign("future", |parameters| {
        parameters.not_before = date_time_ymd(2200, 1, 1);
        parameters.not_after = date_time_ymd(2201, 1, 1);
    });
    files.sign("nameless", |parameters| parameters.subject_alt_names.clear());
    // As manuals make them, with the defaults of openssl.
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -subj /CN=shop");
    files.openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout named.key -out named.pem -subj /CN=shop -addext \
         subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
    );
    files.openssl("req -newkey rsa:2048 -nodes -keyout old.key -out old.csr -subj /CN=127.0.0.1");
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca2.key -out ca2.pem -subj /CN=ca2");
    files.openssl(
        "x509 -req -in old.csr -CA ca2.pem -CAkey ca2.key -CAcreateserial -out old.pem -days 9",
    );
    let url = speak_tls(&redis, &files, "good").await;
    let trusting = |file: &str| format!("{url}?tls_ca={}", files.path(file));
    works(&connect(&trusting("ca.pem")).await).await;
    works(&connect(&trusting("ca.pem").replace("rediss://", "valkeys://")).await).await;
    let unknown = ["does not trust the server's certificate", "UnknownIssuer", "set tls_ca"];
    is_refused(&url, &unknown).await;
    is_refused(&format!("{url}?tls_ca={}", stranger.path("ca.pem")), &unknown).await;
    // An authority that was made anew with the same name.
    let renewed = ["BadSignature", "another key; set tls_ca"];
    is_refused(&format!("{url}?tls_ca={}", other.path("ca.pem")), &renewed).await;
    let localhost = trusting("ca.pem").replace("127.0.0.1", "localhost");
    is_refused(&localhost, &["not valid for name \"localhost\"", "subjectAltName"]).await;
    for (name, authority, words) in [
        ("expired", "ca.pem", &["certificate expired", "renew it"][..]),
        ("future", "ca.pem", &["not valid yet", "clocks"]),
        ("nameless", "ca.pem", &["it has no name", "-addext subjectAltName"]),
        ("own", "own.pem", &["authority (CA:TRUE)", "basicConstraints=critical,CA:FALSE"]),
        ("named", "ca.pem", &["UnknownIssuer", "of the server if it is self-signed"]),
        ("old", "ca2.pem", &["it has no extensions", "-extfile"]),
    ] {
        present(&redis, &files, name).await;
        is_refused(&trusting(authority), words).await;
    }
    present(&redis, &files, "named").await;
    works(&connect(&trusting("named.pem")).await).await;
    // As the README makes them.
    let manual = Certificates::new();
    let readme = include_str!("../../../store-redis/README.md");
    let commands = readme.lines().filter_map(|line| line.strip_prefix("openssl "));
    for command in commands {
        manual.openssl(&command.replace("DNS:redis.example", "IP:127.0.0.1"));
    }
    present(&redis, &manual, "server").await;
    works(&connect(&format!("{url}?tls_ca={}", manual.path("ca.pem"))).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_plain_server_and_tls_server_are_told_apart() {
    let Some(redis) = Redis::start_with(&["--requirepass", PASSWORD]).await else { return };
    ours!(redis.port());
    let files = Certificates::new();
    files.sign("server", |_| {});
    let tls = speak_tls(&redis, &files, "server").await.replace("//", &format!("//:{PASSWORD}@"));
    let ca = format!("tls_ca={}", files.path("ca.pem"));
    works(&connect(&with(&tls, &ca)).await).await;
    let plain = redis.url();
    let encrypted = with(&plain.replace("redis://", "rediss://"), &ca);
    is_refused(&encrypted, &["does not speak TLS at this port", "redis://"]).await;
    let unencrypted = tls.replace("rediss://", "redis://");
    is_refused(&unencrypted, &["demands TLS at this port", "rediss://"]).await;
    // A Cluster and Sentinels alike.
    let cluster = |url: &str, scheme: &str| {
        let (_, rest) = url.split_once("://").expect("a scheme");
        format!("{scheme}://{}", rest.replacen("/0", "", 1))
    };
    is_refused(&cluster(&encrypted, "rediss-cluster"), &["does not speak TLS"]).await;
    is_refused(&cluster(&unencrypted, "redis-cluster"), &["demands TLS"]).await;
    is_refused(&cluster(&tls, "rediss-cluster"), &["UnknownIssuer", "set tls_ca"]).await;
    let sentinel = |url: &str, scheme: &str| {
        let (rest, query) = url.split_once('?').unwrap_or((url, ""));
        format!("{}/mymaster?{query}", cluster(rest, scheme))
    };
    is_refused(&sentinel(&encrypted, "rediss-sentinel"), &["does not speak TLS"]).await;
    is_refused(&sentinel(&unencrypted, "redis-sentinel"), &["demands TLS"]).await;
    is_refused(&sentinel(&tls, "rediss-sentinel"), &["UnknownIssuer", "set tls_ca"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_server_that_is_away_does_not_end_the_start() {
    // A listener that accepts and closes, as a proxy without a server behind it does.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let accepting = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let files = Certificates::new();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("rediss://127.0.0.1:{port}?tls_ca={}", files.path("ca.pem")),
    ] {
        assert_eq!(connect_error(&url).await, None, "{url}");
    }
    accepting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_client_certificate_that_the_server_refuses() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.port());
    let (files, other) = (Certificates::new(), Certificates::new());
    files.sign("server", |_| {});
    files.sign("client", |_| {});
    other.sign("client", |_| {});
    let url = speak_tls(&redis, &files, "server").await;
    redis.command(&["CONFIG", "SET", "tls-auth-clients", "yes"]).await.expect("a server with TLS");
    let without = format!("{url}?tls_ca={}", files.path("ca.pem"));
    let with_client = |of: &Certificates| {
        format!("{without}&tls_cert={}&tls_key={}", of.path("client.pem"), of.path("client.key"))
    };
    works(&connect(&with_client(&files)).await).await;
    let words = ["refuses the client's certificate", "tls_cert and tls_key"];
    is_refused(&without, &words).await;
    is_refused(&with_client(&other), &words).await;
}

/// Closes all connections to a server, so that the store has to connect again.
async fn disconnect(redis: &Redis) {
    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
    redis.command(&kill).await.expect("the server answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_certificate_that_expires_later_is_reported() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.port());
    let files = Certificates::new();
    files.sign("good", |_| {});
    files.sign("expired", |parameters| parameters.not_after = date_time_ymd(2021, 1, 1));
    let url = speak_tls(&redis, &files, "good").await;
    let store = connect(&format!("{url}?tls_ca={}", files.path("ca.pem"))).await;
    works(&store).await;
    present(&redis, &files, "expired").await;
    works(&store).await;
    disconnect(&redis).await;
    let error = wait::until("an error", PATIENCE, async || store.ping().await.err()).await;
    let StoreError::Other { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("renew it at the server"), "{source}");
    // The store needs no restart.
    present(&redis, &files, "good").await;
    wait::until("the store to connect", PATIENCE, async || store.ping().await.ok()).await;
    works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_certificates_rotate_without_a_restart() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.port());
    let (first, second) = (Certificates::new(), Certificates::of("successor"));
    for of in [&first, &second] {
        of.sign("server", |_| {});
        of.sign("client", |_| {});
    }
    let url = speak_tls(&redis, &first, "server").await;
    let demand = ["CONFIG", "SET", "tls-auth-clients", "yes"];
    redis.command(&demand).await.expect("a server with TLS");
    let mounted = Certificates::new();
    let mount = |from: &Certificates| {
        for file in ["ca.pem", "client.pem", "client.key"] {
            fs::copy(from.path(file), mounted.path(file)).expect("a file");
        }
    };
    mount(&first);
    let store = connect(&format!(
        "{url}?tls_ca={}&tls_cert={}&tls_key={}",
        mounted.path("ca.pem"),
        mounted.path("client.pem"),
        mounted.path("client.key")
    ))
    .await;
    works(&store).await;
    present(&redis, &second, "server").await;
    redis.command(&demand).await.expect("a server with TLS");
    mount(&second);
    disconnect(&redis).await;
    wait::until("the store to connect", PATIENCE, async || store.ping().await.ok()).await;
    works(&store).await;
    // While the files are replaced, there is an outage.
    fs::remove_file(mounted.path("client.key")).expect("a file");
    disconnect(&redis).await;
    let error = wait::until("an error", PATIENCE, async || store.ping().await.err()).await;
    let StoreError::Unavailable { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("client.key"), "{source}");
    mount(&second);
    wait::until("the store to connect", PATIENCE, async || store.ping().await.ok()).await;
    works(&store).await;
}

#[test]
fn d08_unusable_tls_files_end_the_start() {
    let files = Certificates::new();
    files.sign("client", |_| {});
    files.sign("other", |_| {});
    files.write("text.pem", "this is not a certificate\n");
    files.write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.openssl("pkey -in client.key -out locked.key -aes256 -passout pass:secret");
    let pair = |certificate: &str, key: &str| {
        format!("tls_cert={}&tls_key={}", files.path(certificate), files.path(key))
    };
    for (settings, words) in [
        ("tls_ca=/nowhere/ca.pem".to_owned(), &["tls_ca", "/nowhere/ca.pem", "No such file"][..]),
        (format!("tls_ca={}", files.path("text.pem")), &["tls_ca", "text.pem", "PEM"]),
        (format!("tls_ca={}", files.path("damaged.pem")), &["tls_ca", "damaged"]),
        (format!("tls_ca={}", files.path("client.key")), &["tls_ca", "no certificate"]),
        (pair("missing.pem", "client.key"), &["tls_cert", "missing.pem", "No such file"]),
        (pair("text.pem", "client.key"), &["tls_cert", "text.pem", "no certificate"]),
        (pair("client.pem", "missing.key"), &["tls_key", "missing.key", "No such file"]),
        (pair("client.pem", "text.pem"), &["tls_key", "text.pem", "no private key"]),
        (pair("client.pem", "other.key"), &["tls_key", "does not belong to the certificate"]),
        (pair("client.pem", "locked.key"), &["tls_key", "openssl pkey"]),
    ] {
        for scheme in ["rediss", "rediss-cluster"] {
            let config = Config::new(&format!("{scheme}://localhost?{settings}")).expect("a URL");
            let error = with_sources(&RedisStore::new(&config).expect_err(&settings));
            for word in words {
                assert!(error.contains(word), "{settings}: {word} is missing in: {error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_system_authorities_verify_servers_by_default() {
    let Some(redis) = Redis::start().await else { return };
    ours!(redis.port());
    let (files, other) = (Certificates::new(), Certificates::of("stranger"));
    files.sign("server", |_| {});
    let url = speak_tls(&redis, &files, "server").await;
    let trusted = files.path("ca.pem");
    let arguments = ["--listen", "127.0.0.1:0", "--store", "redis", "--store-url", &url];
    // These variables name the certificates of the system's authorities.
    let empty = tempfile::tempdir().expect("a folder");
    let system = |file| {
        let folder = empty.path().to_str().expect("a path");
        [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder), ("DEMO_COOKIE_KEY", KEY)]
    };
    let variables = system(&*trusted);
    let demo = Demo::start_with(&arguments, &variables).await;
    assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
    let untrusted = other.path("ca.pem");
    for (authorities, words) in [
        (&*untrusted, &["UnknownIssuer", "set tls_ca"][..]),
        ("/nowhere/ca.pem", &["system's authorities", "/nowhere/ca.pem", "SSL_CERT_FILE"]),
        ("/dev/null", &["there are none", "ca-certificates"]),
    ] {
        let variables = system(authorities);
        let ended = Demo::run(&arguments, &variables).await;
        assert!(!ended.status.success(), "{authorities}");
        for word in words {
            let shown = &ended.stderr;
            assert!(shown.contains(word), "{authorities}: {word} is missing in: {shown}");
        }
    }
}
