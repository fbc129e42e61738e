//! Where people deploy the store: connection URLs of providers, TLS, DNS and changed passwords.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::bson::doc;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use session_core::{SessionStore, StoreError};
use store_mongo::{Config, MongoStore};
use tempfile::TempDir;
use tests::{
    Demo, KEY, PATIENCE,
    client::Request,
    service::{Mongo, MongoSet, PASSWORD, shared_files},
    wait, with_sources,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use crate::session::{PATIENT, Session, connect, with};

/// URLs that are refused before the store connects, each with words of the error.
const REFUSED: &[(&str, &[&str])] = &[
    ("mongodb://u:p@h/db?tlsInsecure=true", &["tlsInsecure=true", "remove it", "tlsCAFile"]),
    ("mongodb://u:p@h/db?tls=true&tlsAllowInvalidCertificates=true", &["remove it", "tlsCAFile"]),
    ("mongodb://u:p@h/db?tlsAllowInvalidHostnames=true", &["tlsAllowInvalidHostnames", "remove"]),
    ("mongodb://u:p@h/db?readPreference=secondaryPreferred", &["readPreference", "remove it"]),
    ("mongodb://u:p@h/db?maxStalenessSeconds=90", &["\"maxStalenessSeconds\"", "remove it"]),
    ("mongodb://u:p@h/db?authMechanism=MONGODB-AWS", &["authMechanism", "SCRAM-SHA-256", "AWS"]),
    ("mongodb://u:p@h/db?authMechanism=GSSAPI", &["authMechanism", "Kerberos"]),
    ("mongodb://u@h/db?authMechanism=MONGODB-OIDC", &["authMechanism", "OIDC"]),
    ("mongodb://u:p@h/db?socketTimeoutMS=360000", &["\"socketTimeoutMS\"", "write deadline_ms"]),
    ("mongodb://u:p@h/db?waitQueueTimeoutMS=100", &["\"waitQueueTimeoutMS\"", "deadline_ms"]),
    ("mongodb://u:p@h/db?ssl_ca_certs=rds.pem", &["\"ssl_ca_certs\"", "write tlsCAFile"]),
    ("mongodb://u:p@h/db?sslValidate=false", &["\"sslValidate\"", "remove it", "tlsCAFile"]),
    ("mongodb://u:p@h/db?tlsCertificateKeyFilePassword=x", &["has no password"]),
    ("mongodb://u:p@h/db?useUnifiedTopology=true", &["\"useUnifiedTopology\"", "remove it"]),
    ("mongodb://u:p@h/db?proxyHost=proxy", &["\"proxyHost\"", "remove it"]),
    ("mongodb+srv://u:p@h.example.net/admin?tls=true", &["\"admin\"", "authSource=admin"]),
    ("mongodb://u:p@h1,h2/?loadBalanced=true&replicaSet=rs", &["loadBalanced"]),
    ("mongodb+srv://u:p@h.example.net:27017/db", &["port", "mongodb+srv"]),
    ("mongodb://app:pass/word@h/db", &["login", "percent-encoded"]),
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

/// URLs as the consoles of the providers print them, with a database.
const PRINTED: &[&str] = &[
    "mongodb+srv://u:p@c0.ab1cd.mongodb.net/?retryWrites=true&w=majority&appName=Cluster0",
    "mongodb+srv://u:p@c0.ab1cd.mongodb.net/shop?retryWrites=true&w=majority&compressors=zstd",
    "mongodb://u:p@a:27017,b:27017,c:27017/shop?ssl=true&replicaSet=atlas-x-shard-0\
     &authSource=admin&retryWrites=true&w=majority&compressors=snappy,zlib&zlibCompressionLevel=6",
    "mongodb://u:p@c.docdb.amazonaws.com:27017/?tls=true&replicaSet=rs0&retryWrites=false\
     &tlsCAFile=global-bundle.pem",
    "mongodb://shop:k%2FEy%3D%3D@shop.mongo.cosmos.azure.com:10255/?ssl=true&replicaSet=globaldb\
     &retrywrites=false&maxIdleTimeMS=120000&appName=@shop@",
    "mongodb+srv://u:p@shop.mongocluster.cosmos.azure.com/?tls=true&authMechanism=SCRAM-SHA-256\
     &retrywrites=false&maxIdleTimeMS=120000",
    "mongodb+srv://doadmin:p@db-mongo.db.ondigitalocean.com/shop?tls=true&authSource=admin\
     &replicaSet=db-mongo",
    "mongodb://u:p@ferretdb/shop?authMechanism=SCRAM-SHA-256&uuidRepresentation=standard",
    "mongodb://127.0.0.1:27017/?directConnection=true&serverSelectionTimeoutMS=2000\
     &appName=mongosh+2.3.1",
    "mongodb://u:p@proxy/shop?loadBalanced=true&maxPoolSize=5&tlsDisableOCSPEndpointCheck=true",
    "mongodb://u:p@h/shop?tls=true&tlsInsecure=false&tlsAllowInvalidHostnames=false",
];

#[test]
fn d05_urls_as_providers_print_them_are_accepted() {
    for url in PRINTED {
        let config = Config::new(url);
        assert!(config.is_ok(), "{url}: {config:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_mongo_works_with_the_settings_of_providers() {
    let Some(mongo) = Mongo::start_with(&["--auth"]).await else { return };
    ours!(mongo.port());
    for settings in [
        "compressors=zstd",
        "compressors=snappy,zlib&zlibCompressionLevel=6&appName=@shop@",
        "retryWrites=true&w=majority&appName=Cluster0",
        "ssl=false&maxIdleTimeMS=120000&retrywrites=false",
        "authMechanism=SCRAM-SHA-256&uuidRepresentation=standard&maxPoolSize=2",
        "directConnection=true&tlsDisableOCSPEndpointCheck=true&serverSelectionTimeoutMS=60000",
    ] {
        works(&connect(&with(&mongo.url(), &format!("{settings}&{PATIENT}"))).await).await;
    }
    let refused = connect_error(&with(&mongo.url(), &format!("loadBalanced=true&{PATIENT}"))).await;
    let refused = refused.expect("loadBalanced needs a router");
    assert!(refused.contains("remove loadBalanced=true"), "{refused}");
    let Some(set) = MongoSet::start().await else { return };
    works(&connect(&with(&set.url(), &format!("retryWrites=true&w=majority&{PATIENT}"))).await)
        .await;
}

/// Checks that a store keeps a session.
async fn works(store: &MongoStore) {
    let session = Session::new();
    let _ = store.create(&session.key, session.record()).await.expect("the store responds");
    assert!(store.load(&session.key).await.expect("the store responds").is_some());
}

/// The error of a start. `None` if the store starts, also if it waits for the server.
async fn connect_error(url: &str) -> Option<String> {
    let opened = MongoStore::connect(&Config::new(url).expect("a valid URL")).await;
    opened.err().map(|error| with_sources(&error))
}

/// A folder with an authority and certificates, which servers in containers can read.
struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes an authority in `ca.pem`.
    fn new() -> Self {
        let folder = tempfile::tempdir_in(shared_files()).expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = parameters.self_signed(&key).expect("a certificate").pem();
        let made = Self { folder, issuer: Issuer::new(parameters, key) };
        made.write("ca.pem", &authority);
        made
    }

    /// Makes a certificate and its key, in one PEM file.
    fn make(&self, file: &str, names: &[&str], change: impl Fn(&mut CertificateParams)) -> String {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let certificate = match parameters.is_ca {
            IsCa::Ca(_) => parameters.self_signed(&key),
            _ => parameters.signed_by(&key, &self.issuer),
        };
        let pem = certificate.expect("a certificate").pem() + &key.serialize_pem();
        self.write(file, &pem)
    }

    fn write(&self, file: &str, content: &str) -> String {
        let path = self.path(file);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file");
        if rustix::process::geteuid().is_root() {
            // A server that root starts runs as `nobody`.
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("a file");
        }
        path.display().to_string()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

/// A server with this certificate.
async fn server_with(certificate: &str, flags: &[&str]) -> Option<Mongo> {
    let own = ["--tlsMode", "allowTLS", "--tlsCertificateKeyFile", certificate];
    Mongo::start_with(&[&own, flags].concat()).await
}

/// A server that answers the TLS handshake with this certificate and does nothing else. `mongod`
/// itself refuses to start with some of the certificates. Returns its port.
fn handshake_server(certificate: &str) -> u16 {
    let pem = fs::read(certificate).expect("a file");
    let chain = CertificateDer::pem_slice_iter(&pem).map(|part| part.expect("a certificate"));
    let key = PrivateKeyDer::from_pem_slice(&pem).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .expect("a certificate with its key");
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, config) = (stream.expect("a connection"), Arc::clone(&config));
            std::thread::spawn(move || {
                let mut tls = rustls::ServerConnection::new(config).expect("a connection");
                // Ends when the client ends the connection.
                while tls.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {}
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_untrusted_certificate_ends_the_start_with_the_cure() {
    let made = Certificates::new();
    let ca = made.path("ca.pem").display().to_string();
    let host = ["127.0.0.1"];
    let good = made.make("good.pem", &host, |_| {});
    let expired = made.make("expired.pem", &host, |parameters| {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
    });
    let nameless = made.make("nameless.pem", &[], |_| {});
    let other = made.make("other.pem", &["db.example.net"], |_| {});
    let self_signed = made.make("self.pem", &host, |parameters| {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    for (certificate, authority, expected) in [
        (&good, None, "the authority that signed it is unknown"),
        (&expired, Some(&ca), "it has expired; renew it"),
        (&nameless, Some(&ca), "it names no host"),
        (&other, Some(&ca), "it is for another host"),
        (&self_signed, Some(&self_signed), "CA:FALSE"),
        (&self_signed, None, "CA:FALSE"),
    ] {
        let authority = authority.map(|file| format!("&tlsCAFile={file}")).unwrap_or_default();
        let port = handshake_server(certificate);
        let url = format!("mongodb://127.0.0.1:{port}/shop?tls=true{authority}");
        let refused = connect_error(&url).await;
        let refused = refused.unwrap_or_else(|| panic!("{certificate}: the store starts"));
        for word in ["does not trust the certificate", "tlsCAFile", expected] {
            assert!(refused.contains(word), "{certificate}: {word} is missing in: {refused}");
        }
        // A store that is open already names the reason too.
        let store = MongoStore::new(&Config::new(&url).expect("a valid URL")).expect("a store");
        let later = store.ping().await.expect_err("no certificate is trusted");
        assert!(matches!(later, StoreError::Other { .. }), "{later:?}");
    }
    let Some(mongo) = server_with(&good, &[]).await else { return };
    ours!(mongo.port());
    works(&connect(&with(&mongo.url(), &format!("tls=true&tlsCAFile={ca}&{PATIENT}"))).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_one_side_without_tls_ends_the_start_with_the_cure() {
    let made = Certificates::new();
    let ca = made.path("ca.pem").display().to_string();
    let good = made.make("good.pem", &["127.0.0.1"], |_| {});
    let Some(plain) = Mongo::start().await else { return };
    ours!(plain.port());
    for settings in ["tls=true".to_owned(), format!("tls=true&tlsCAFile={ca}&loadBalanced=true")] {
        let refused = connect_error(&with(&plain.url(), &settings)).await;
        let refused = refused.expect("the server has no TLS");
        for word in ["does not use TLS", "net.tls.mode", "tls=false"] {
            assert!(refused.contains(word), "{settings}: {word} is missing in: {refused}");
        }
    }
    let Some(secure) = server_with(&good, &["--tlsCAFile", &ca]).await else { return };
    let port = ours!(secure.port());
    // From now on the server demands TLS and a certificate of the client.
    let demand = doc! { "setParameter": 1, "tlsMode": "preferTLS" };
    secure.command(demand).await.expect("the server changes its mode");
    let demand = doc! { "setParameter": 1, "tlsMode": "requireTLS" };
    secure.command(demand).await.expect("the server changes its mode");
    let url = format!("mongodb://127.0.0.1:{port}/{}", secure.database());
    let refused = connect_error(&url).await.expect("the server demands TLS");
    for word in ["demands TLS", "tls=true"] {
        assert!(refused.contains(word), "{word} is missing in: {refused}");
    }
    let files = format!("tls=true&tlsCAFile={ca}");
    let refused = connect_error(&with(&url, &files)).await;
    let refused = refused.expect("the server demands a certificate of the client");
    assert!(refused.contains("tlsCertificateKeyFile"), "{refused}");
    let client = made.make("client.pem", &["client"], |_| {});
    let files = format!("{files}&tlsCertificateKeyFile={client}&{PATIENT}");
    works(&connect(&with(&url, &files)).await).await;
}

#[tokio::test]
async fn d08_unusable_tls_files_end_the_start_with_their_path() {
    let made = Certificates::new();
    let text = made.write("text.pem", "not a certificate");
    let key_only = made.write("key.pem", &KeyPair::generate().expect("a key").serialize_pem());
    let folder = made.folder.path().display().to_string();
    for (settings, words) in [
        ("tlsCAFile=/nowhere/ca.pem".to_owned(), ["tlsCAFile", "/nowhere/ca.pem", "No such file"]),
        (format!("tlsCAFile={folder}"), ["tlsCAFile", &folder, "directory"]),
        (format!("tlsCAFile={text}"), ["tlsCAFile", &text, "certificates of authorities"]),
        (
            "tlsCertificateKeyFile=/nowhere/c.pem".to_owned(),
            ["tlsCertificateKeyFile", "/nowhere/c.pem", "No such file"],
        ),
        (
            format!("tlsCertificateKeyFile={key_only}"),
            ["tlsCertificateKeyFile", &key_only, "certificate and its private key"],
        ),
    ] {
        let refused = connect_error(&format!("mongodb://127.0.0.1:9/shop?{settings}")).await;
        let refused = refused.unwrap_or_else(|| panic!("{settings}: the store starts"));
        for word in words {
            assert!(refused.contains(word), "{settings}: {word} is missing in: {refused}");
        }
    }
}

/// Starts a demo that sees the file `content` at `target`, in its own mount namespace.
async fn demo_with_file(target: &str, content: &Path, url: &str) -> Demo {
    let mount = format!("mount --bind {} {target} && exec \"$0\" \"$@\"", content.display());
    let mut arguments = vec!["--mount"];
    if !rustix::process::geteuid().is_root() {
        arguments.extend(["--user", "--map-root-user"]);
    }
    let program = tests::demo_server().display().to_string();
    arguments.extend(["sh", "-c", &mount, &program]);
    arguments.extend(["--listen", "127.0.0.1:0", "--store", "mongo", "--store-url", url]);
    Demo::start_as(Path::new("unshare"), &arguments, &[("DEMO_COOKIE_KEY", KEY)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_certificates_of_the_system_are_trusted_by_default() {
    let made = Certificates::new();
    let good = made.make("good.pem", &["127.0.0.1"], |_| {});
    let Some(mongo) = server_with(&good, &[]).await else { return };
    ours!(mongo.port());
    let url = with(&mongo.url(), "tls=true");
    assert!(connect_error(&url).await.is_some(), "the authority is unknown");
    // The demo reads it as another user.
    let authority = made.path("ca.pem");
    fs::set_permissions(&authority, fs::Permissions::from_mode(0o644)).expect("a file");
    let demo = demo_with_file(SYSTEM_AUTHORITIES, &authority, &url).await;
    let principal = demo.signed_in("bob").await.page().await.principal;
    assert_eq!(principal.as_deref(), Some("bob"));
}

/// The certificates of the system on Debian.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Listens at this address and fills the queue of connections, so that the system drops the packets
/// of further clients.
async fn dead_address(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
    let socket = socket.expect("a socket");
    socket.bind(address).expect("a free port");
    let listener = socket.listen(1).expect("the socket listens");
    let mut queued = Vec::new();
    for _ in 0..64 {
        match timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(connected) => queued.push(connected.expect("the queue has room")),
            Err(_) => return (listener, queued),
        }
    }
    panic!("{address} accepts every connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_dead_first_address_of_a_host_is_skipped() {
    let Some(mongo) = Mongo::start().await else { return };
    let port = ours!(mongo.port());
    // The driver tries addresses of IPv6 first.
    let _dead = dead_address(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n::1 db.shop.test\n127.0.0.1 db.shop.test\n")
        .expect("a file");
    let url = format!("mongodb://db.shop.test:{port}/{}", mongo.database());
    let demo = demo_with_file("/etc/hosts", &hosts, &url).await;
    let mut visitor = demo.browser();
    wait::until("the sign-in", PATIENCE, async || {
        (visitor.login("bob").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(visitor.page().await.principal.as_deref(), Some("bob"));
}

/// How long the name server of the tests takes for each answer.
const SLOW: Duration = Duration::from_secs(5);

/// The longest time of a call in the tests with slow DNS, with a reserve for a busy machine.
const IN_TIME: Duration = Duration::from_secs(4);

/// Answers each question about the domain `shop.test` after [`SLOW`]. The server is at `port`.
async fn slow_name_server(port: u16) -> Ipv4Addr {
    let address = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(1..255));
    let socket = UdpSocket::bind((address, 53)).await.expect("port 53 needs root");
    let socket = Arc::new(socket);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let (question, socket) = (buffer[..length].to_vec(), Arc::clone(&socket));
            tokio::spawn(async move {
                tokio::time::sleep(SLOW).await;
                let _ = socket.send_to(&dns_answer(&question, port), client).await;
            });
        }
    });
    address
}

/// The answer to a question in a DNS message (RFC 1035).
fn dns_answer(question: &[u8], port: u16) -> Vec<u8> {
    let names = 12..question.len();
    let end = names.start + question[names.clone()].iter().position(|byte| *byte == 0).expect("0");
    let kind = u16::from_be_bytes([question[end + 1], question[end + 2]]);
    let record = match kind {
        // A
        1 => Some(Ipv4Addr::LOCALHOST.octets().to_vec()),
        // SRV: priority, weight, port, name.
        33 => {
            let mut record = vec![0, 0, 0, 0];
            record.extend(port.to_be_bytes());
            record.extend(b"\x02db\x04shop\x04test\0");
            Some(record)
        }
        // TXT
        16 => Some(b"\x10authSource=admin".to_vec()),
        _ => None,
    };
    let mut answer = question[..2].to_vec();
    // A response without an error, one question, and zero or one record.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    answer.extend(&question[12..end + 5]);
    if let Some(record) = record {
        // The name of the question, the kind, the class, and a lifetime of 60 s.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60, 0]);
        answer.push(u8::try_from(record.len()).expect("a short record"));
        answer.extend(record);
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_slow_dns_delays_the_first_sign_in_only() {
    if std::env::var("TEST_NAMESPACES").is_ok_and(|value| value == "none") {
        eprintln!("SKIPPED, TEST_NAMESPACES=none: the system makes no namespaces");
        return;
    }
    let Some(mongo) = Mongo::start().await else { return };
    let port = ours!(mongo.port());
    let server = slow_name_server(port).await;
    let folder = tempfile::tempdir().expect("a folder");
    let names = folder.path().join("resolv.conf");
    fs::write(&names, format!("nameserver {server}\noptions timeout:10\n")).expect("a file");
    let database = mongo.database();
    let urls = [
        format!("mongodb://db.shop.test:{port}/{database}"),
        format!("mongodb+srv://cluster.shop.test/{database}?tls=false"),
    ];
    let begun = Instant::now();
    let demos = urls.each_ref().map(|url| demo_with_file("/etc/resolv.conf", &names, url));
    for demo in futures_util::future::join_all(demos).await {
        let mut visitor = demo.browser();
        let mut failed = 0;
        wait::until("the sign-in", 3 * PATIENCE, async || {
            let call = Instant::now();
            let status = visitor.login("bob").await.status;
            assert!(call.elapsed() < IN_TIME, "a call took {:?}", call.elapsed());
            assert!(matches!(status, 200 | 503), "{status}");
            failed += usize::from(status == 503);
            (status == 200).then_some(())
        })
        .await;
        eprintln!("signed in after {:?} and {failed} outages", begun.elapsed());
        assert!(failed > 0 && begun.elapsed() >= SLOW, "the name server was not asked");
        // Each worker connects for itself. From then on no call fails.
        let mut successes = 0;
        wait::until("all workers to have connections", 3 * PATIENCE, async || {
            let call = Instant::now();
            let page = visitor.try_send(Request::get("/session")).await;
            assert!(call.elapsed() < IN_TIME, "a call took {:?}", call.elapsed());
            let has_succeeded = page.is_ok_and(|page| page.status == 200);
            successes = if has_succeeded { successes + 1 } else { 0 };
            (successes == 50).then_some(())
        })
        .await;
        assert_eq!(visitor.page().await.principal.as_deref(), Some("bob"));
    }
}

/// Calls the store on a new runtime, which has no connection yet and has to log in.
async fn ping_with_a_new_login(store: &MongoStore) -> Result<(), StoreError> {
    let store = store.clone();
    let call = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(store.ping())
    });
    tokio::task::spawn_blocking(|| call.join().expect("the call ends")).await.expect("a thread")
}

/// Changes the password of the user.
async fn change_password(mongo: &Mongo, password: &str) {
    let change = doc! { "updateUser": "app", "pwd": password };
    let root = mongo.client().await;
    root.database(mongo.database()).run_command(change).await.expect("the password changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_changed_password_is_read_from_its_file() {
    let Some(mongo) = Mongo::start_with(&["--auth"]).await else { return };
    ours!(mongo.port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
    let without = mongo.url().replace(&format!(":{PASSWORD}@"), "@");
    let url = with(&without, &format!("password_file={}&{PATIENT}", file.display()));
    let store = connect(&url).await;
    works(&store).await;
    // The file has the new password before the server has it: nothing fails.
    fs::write(&file, "correct horse 2").expect("a file");
    works(&store).await;
    change_password(&mongo, "correct horse 2").await;
    ping_with_a_new_login(&store).await.expect("the store reads the file again");
    works(&store).await;
    // The server has the new password first: an outage, until the file has it too.
    change_password(&mongo, "correct horse 3").await;
    let refused = ping_with_a_new_login(&store).await.expect_err("the password is wrong");
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    let text = with_sources(&refused);
    assert!(text.contains("write the new password into the file"), "{text}");
    fs::write(&file, "correct horse 3").expect("a file");
    ping_with_a_new_login(&store).await.expect("the store reads the file again");
    wait::until("the first runtime to log in", PATIENCE, async || store.ping().await.ok()).await;
    // A file that is missing during the change is an outage as well.
    fs::remove_file(&file).expect("a file");
    change_password(&mongo, "correct horse 4").await;
    let refused = ping_with_a_new_login(&store).await.expect_err("the password is wrong");
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    let text = with_sources(&refused);
    assert!(text.contains("does not exist"), "{text}");
    assert!(!text.contains("horse"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_refused_login_ends_the_start_and_later_is_an_outage() {
    let Some(mongo) = Mongo::start_with(&["--auth"]).await else { return };
    ours!(mongo.port());
    let store = connect(&with(&mongo.url(), PATIENT)).await;
    change_password(&mongo, "another").await;
    let later = ping_with_a_new_login(&store).await.expect_err("the password is wrong");
    assert!(matches!(later, StoreError::Unavailable { .. }), "{later:?}");
    let refused = connect_error(&mongo.url()).await.expect("the password is wrong");
    for word in ["rejected the login", "authSource", "password_file"] {
        assert!(refused.contains(word), "{word} is missing in: {refused}");
    }
    let unopened = MongoStore::new(&Config::new(&mongo.url()).expect("a URL")).expect("a store");
    let first = unopened.ping().await.expect_err("the password is wrong");
    assert!(matches!(first, StoreError::Other { .. }), "{first:?}");
}

#[tokio::test]
async fn d11_unusable_password_file_ends_the_start_with_the_cure() {
    let folder = tempfile::tempdir().expect("a folder");
    let (empty, missing) = (folder.path().join("empty"), folder.path().join("missing"));
    fs::write(&empty, "\n").expect("a file");
    for (file, cure) in [(&empty, "it is empty; write the password"), (&missing, "create it")] {
        let url = format!("mongodb://app@127.0.0.1:9/shop?password_file={}", file.display());
        let refused = connect_error(&url).await.expect("the file is unusable");
        let path = file.display().to_string();
        for word in ["password_file", &path, cure] {
            assert!(refused.contains(word), "{word} is missing in: {refused}");
        }
    }
    let both = Config::new("mongodb://app:secret@h/shop?password_file=/run/password");
    let both = both.expect_err("two passwords").to_string();
    assert!(both.contains("a URL without a password") && !both.contains("secret"), "{both}");
}
