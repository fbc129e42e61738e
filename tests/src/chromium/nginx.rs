//! An nginx that speaks TLS in front of a demo.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
};

use rcgen::{CertificateParams, KeyPair};
use serde::Deserialize;
use tempfile::TempDir;

use super::programs::Programs;
use crate::{
    demo::PATIENCE,
    process::Process,
    service::ports::{self, Port},
    wait,
};

/// The site whose sessions are under test.
const SITE: &str = "site.test";

/// Other origins, which serve an empty page: one of another site, and one of the same site, to
/// which a browser sends `SameSite` cookies.
const OTHERS: [&str; 2] = ["evil.test", "sub.site.test"];

/// A running nginx. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    tls: Port,
    plain: Port,
    folder: TempDir,
}

/// A line of the access log. nginx writes it when the request has ended.
#[derive(Debug, Clone, Deserialize)]
pub struct Access {
    /// The host that the request names, without a port.
    pub host: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `HTTP/2.0` for example.
    pub protocol: String,
    /// The number of the client's connection.
    pub connection: String,
    /// The request's method.
    pub method: String,
    /// The request's path and query.
    pub target: String,
    /// The answer's status.
    pub status: String,
    /// The request's `Origin`.
    pub origin: String,
    /// The request's `Upgrade`.
    pub upgrade: String,
    /// `yes` or `no`: whether the request has a cookie of the name `__Host-id`.
    pub cookie: String,
}

impl Nginx {
    /// Starts one on a free port with a new certificate. It passes requests for `site.test` to this
    /// address. It answers on a second port without TLS, with an empty page for every host.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn start(programs: &Programs, upstream: SocketAddr) -> Self {
        let folder =
            tempfile::Builder::new().prefix("nginx-").tempdir().expect("a temporary folder");
        let [tls, plain] = <[Port; 2]>::try_from(ports::free(2)).expect("two ports");
        let key = KeyPair::generate().expect("a key");
        let names =
            [&[SITE], &OTHERS[..]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let certificate = CertificateParams::new(names)
            .expect("valid names")
            .self_signed(&key)
            .expect("a certificate");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("the folder is writable");
        };
        write("site.pem", certificate.pem());
        write("site.key", key.serialize_pem());
        write("nginx.conf", configuration(tls.number, plain.number, upstream));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let arguments = ["-p", &path(""), "-c", &path("nginx.conf"), "-e", "stderr"];
        let mut process = Process::start(&programs.nginx, &arguments, &[]);
        wait::until_true("nginx to listen", PATIENCE, || {
            if let Some(status) = process.ended() {
                panic!("nginx ended with {status}: {}", process.stderr.text());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, tls.number)).is_ok()
        })
        .await;
        Self { process, tls, plain, folder }
    }

    /// The origin of the site.
    #[must_use]
    pub fn site(&self) -> String {
        self.origin(SITE)
    }

    /// The origin of this host over TLS.
    #[must_use]
    pub fn origin(&self, host: &str) -> String {
        format!("https://{host}:{}", self.tls.number)
    }

    /// The origin of the site's host without TLS.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("http://{SITE}:{}", self.plain.number)
    }

    /// The access log so far.
    ///
    /// # Panics
    /// If nginx does not write it in the expected form.
    #[must_use]
    pub fn accesses(&self) -> Vec<Access> {
        let text = fs::read_to_string(self.log()).expect("nginx makes its log when it starts");
        // The last line is incomplete as long as nginx writes it.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| {
                serde_json::from_str(line).expect("a line in the form of the configuration")
            })
            .collect()
    }

    fn log(&self) -> impl AsRef<Path> + use<> {
        self.folder.path().join("access.log")
    }
}

impl Drop for Nginx {
    /// A failed test shows the log of nginx.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("nginx: {}", self.process.stderr.text());
        }
    }
}

/// One process, so that its end is the end of all, and it runs as the user of the test, who can
/// read the folder.
fn configuration(tls: u16, plain: u16, upstream: SocketAddr) -> String {
    let others = OTHERS.join(" ");
    format!(
        r#"daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    log_format line escape=json '{{"host":"$host","scheme":"$scheme","protocol":"$server_protocol","connection":"$connection",'
        '"method":"$request_method","target":"$request_uri","status":"$status","origin":"$http_origin",'
        '"upgrade":"$http_upgrade","cookie":"$has_cookie"}}';
    access_log access.log line;
    map $http_cookie $has_cookie {{ default no; "~__Host-id=" yes; }}
    map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
    keepalive_requests 1000000;
    default_type text/html;
    ssl_certificate site.pem;
    ssl_certificate_key site.key;
    upstream demo {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        server_name {SITE};
        location / {{
            proxy_pass http://demo;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_header;
        }}
    }}
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        server_name {others};
        return 200 "<!doctype html><title>other</title>";
    }}
    server {{
        listen 127.0.0.1:{plain};
        return 200 "<!doctype html><title>plain</title>";
    }}
}}
"#
    )
}
