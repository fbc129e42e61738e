//! Certificates that the store does not trust: the start is refused with the remedy.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use store_sql::{Config, SqlStore};
use tempfile::TempDir;
use tests::{
    Demo, KEY,
    service::{MariaDb, Postgres, shared_files},
    session::with,
    with_sources,
};

use crate::{
    locks::{PATIENT, connect},
    tables::works,
};

/// The certificates of the servers, each with its key, in a folder that the servers can read.
struct Certificates(TempDir);

/// A kind of certificate, and words of the error.
const UNTRUSTED: &[(&str, &[&str])] = &[
    ("unknown", &["UnknownIssuer", "set sslrootcert", "ssl-ca"]),
    ("expired", &["expired", "renew it at the server"]),
    ("early", &["not valid yet", "compare the clocks"]),
    ("nameless", &["it has no name", "subjectAltName"]),
    ("other", &["DnsName(\"db.example\")", "write a name of the certificate as the host"]),
    ("authority", &["CaUsedAsEndEntity", "basicConstraints=critical,CA:FALSE"]),
];

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir_in(shared_files()).expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder");
        let made = Self(folder);
        let names = |names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
            CertificateParams::new(names).expect("names")
        };
        let authority = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let mut parameters = names(&[]);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(DnType::CommonName, name);
            let certificate = parameters.self_signed(&key).expect("a certificate");
            (certificate.pem(), Issuer::new(parameters, key))
        };
        let (ca, known) = authority("known");
        let (_, unknown) = authority("unknown");
        made.write("ca.pem", &ca);
        let mut expired = names(&["127.0.0.1"]);
        expired.not_after = date_time_ymd(2021, 1, 1);
        let mut early = names(&["127.0.0.1"]);
        early.not_before = date_time_ymd(3000, 1, 1);
        for (file, parameters, issuer) in [
            ("good", names(&["127.0.0.1"]), &known),
            ("unknown", names(&["127.0.0.1"]), &unknown),
            ("expired", expired, &known),
            ("early", early, &known),
            ("nameless", names(&[]), &known),
            ("other", names(&["db.example"]), &known),
        ] {
            let key = KeyPair::generate().expect("a key");
            let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
            made.write(&format!("{file}.pem"), &certificate.pem());
            made.write(&format!("{file}.key"), &key.serialize_pem());
        }
        // As `openssl req -x509` makes it.
        let key = KeyPair::generate().expect("a key");
        let mut parameters = names(&["127.0.0.1"]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        made.write("authority.pem", &certificate.pem());
        made.write("authority.key", &key.serialize_pem());
        let both = format!("{ca}{}", certificate.pem());
        made.write("ca.pem", &both);
        made
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.path(file);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file");
        if rustix::process::geteuid().is_root() {
            // A server that root starts runs as `nobody`.
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("a file");
        }
    }

    /// The settings of a server with this certificate, in the words of its product.
    fn flags(&self, certificate: &str, key: &str, of: &str) -> [String; 2] {
        let file = |kind: &str| self.path(&format!("{of}.{kind}")).display().to_string();
        [format!("{certificate}={}", file("pem")), format!("{key}={}", file("key"))]
    }
}

async fn refusal(url: &str) -> String {
    let opened = SqlStore::connect(&Config::new(url).expect("a URL")).await;
    let refused = opened.err().unwrap_or_else(|| panic!("{url} is refused"));
    with_sources(&refused)
}

fn assert_words(shown: &str, words: &[&str]) {
    for word in words {
        assert!(shown.contains(word), "{word} is missing in: {shown}");
    }
}

/// The settings that demand a certificate of this authority.
fn full(ca: &Path) -> String {
    format!("sslmode=verify-full&sslrootcert={}", ca.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_untrusted_certificate_of_postgres_ends_the_start() {
    let certificates = Certificates::make();
    let ca = certificates.path("ca.pem");
    for (kind, words) in UNTRUSTED {
        let [certificate, key] = certificates.flags("ssl_cert_file", "ssl_key_file", kind);
        let flags = ["-c", "ssl=on", "-c", &certificate, "-c", &key];
        let Some(postgres) = Postgres::start_with(&flags).await else { return };
        ours!(postgres.port());
        let url = with(&postgres.url(), &full(&ca));
        assert_words(&refusal(&url).await, words);
        // The demo ends, and shows the remedy.
        let arguments = ["--listen", "127.0.0.1:0", "--cookie-key", KEY, "--store", "sql"];
        let store = ["--store-url", &url];
        let ended = Demo::run(&[&arguments[..], &store].concat(), &[]).await;
        assert!(!ended.status.success(), "{}", ended.stderr);
        assert_words(&ended.stderr, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_untrusted_certificate_of_mariadb_ends_the_start() {
    let certificates = Certificates::make();
    let ca = certificates.path("ca.pem");
    let settings = format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={}", ca.display());
    for (kind, words) in UNTRUSTED {
        let flags = certificates.flags("--ssl-cert", "--ssl-key", kind);
        let Some(mariadb) = MariaDb::start_with(&[&flags[0], &flags[1]]).await else { return };
        ours!(mariadb.port());
        assert_words(&refusal(&with(&mariadb.url(), &settings)).await, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_authorities_of_the_system_are_the_default() {
    let certificates = Certificates::make();
    let [certificate, key] = certificates.flags("ssl_cert_file", "ssl_key_file", "good");
    let flags = ["-c", "ssl=on", "-c", &certificate, "-c", &key];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let url = with(&postgres.url(), "sslmode=verify-full");
    assert_words(&refusal(&url).await, &["UnknownIssuer"]);
    // The system of this demo has the authority.
    let ca = certificates.path("ca.pem").display().to_string();
    let arguments = ["--listen", "127.0.0.1:0", "--cookie-key", KEY, "--store", "sql"];
    let demo = Demo::start_with(
        &[&arguments[..], &["--store-url", &url]].concat(),
        &[("SSL_CERT_FILE", &ca)],
    )
    .await;
    assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_unusable_tls_files_end_the_start() {
    let certificates = Certificates::make();
    let [certificate, key] = certificates.flags("ssl_cert_file", "ssl_key_file", "good");
    let flags = ["-c", "ssl=on", "-c", &certificate, "-c", &key];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let path = |file: &str| certificates.path(file).display().to_string();
    certificates.write("text.pem", "not a certificate\n");
    let with_client = |certificate: &str, key: &str| {
        let base = with(&postgres.url(), &full(&certificates.path("ca.pem")));
        with(&base, &format!("sslcert={}&sslkey={}", path(certificate), path(key)))
    };
    works(&connect(&with(&with_client("good.pem", "good.key"), PATIENT)).await).await;
    for (url, words) in [
        (with(&postgres.url(), &full(Path::new("/nowhere/ca.pem"))), ["sslrootcert", "/nowhere"]),
        (with_client("none.pem", "good.key"), ["sslcert", "none.pem"]),
        (with_client("good.pem", "none.key"), ["sslkey", "none.key"]),
        (with_client("good.pem", "other.key"), ["sslkey", "TLS does not work"]),
        (with_client("good.pem", "text.pem"), ["sslkey", "one of the files"]),
        (with_client("text.pem", "good.key"), ["sslcert", "TLS does not work"]),
    ] {
        assert_words(&refusal(&url).await, &words);
    }
    let text = with(&postgres.url(), &full(&certificates.path("text.pem")));
    assert_words(&refusal(&text).await, &["sslrootcert"]);
}

/// A server that accepts the user of the store with TLS only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_server_that_demands_tls_ends_the_start_without_it() {
    let certificates = Certificates::make();
    let rules = "local all all trust\nhostssl all app all scram-sha-256\nhost all rig all \
                 scram-sha-256\n";
    certificates.write("hba.conf", rules);
    let [certificate, key] = certificates.flags("ssl_cert_file", "ssl_key_file", "good");
    let rules = format!("hba_file={}", certificates.path("hba.conf").display());
    let flags = ["-c", "ssl=on", "-c", &certificate, "-c", &key, "-c", &rules];
    let Some(postgres) = Postgres::start_with(&flags).await else { return };
    ours!(postgres.port());
    let shown = refusal(&with(&postgres.url(), "sslmode=disable")).await;
    assert_words(&shown, &["demands TLS", "sslmode=verify-full"]);
    let ca = certificates.path("ca.pem");
    works(&connect(&with(&with(&postgres.url(), &full(&ca)), PATIENT)).await).await;
}
