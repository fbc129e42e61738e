//! D03: the demo at a Unix-domain socket, behind a real nginx and without a proxy.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tests::{
    Browser, Demo, KEY, PATIENCE,
    client::{Request, send},
    demo_server,
    process::Process,
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// A demo at a socket.
struct Site {
    process: Process,
    folder: TempDir,
}

impl Site {
    async fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), flags).await
    }

    async fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        // nginx runs as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder");
        let listen = format!("unix:{}", folder.path().join("app.sock").display());
        let arguments = ["--listen", &listen, "--cookie-key", KEY, "--workers", "2"];
        let process = Process::start(demo_server(), &[&arguments[..], flags].concat(), &[]);
        let mut site = Self { process, folder };
        wait::until("the demo to listen", PATIENCE, async || {
            if let Some(status) = site.process.ended() {
                panic!("the demo ended with {status}: {}", site.process.stderr.text());
            }
            site.process.stdout.after("listening on unix:")
        })
        .await;
        site
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("app.sock")
    }

    /// The files in the folder of the socket.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// An nginx in front of a socket. A drop ends it.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    async fn before(socket: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let path = folder.path().display();
        // As a proxy that has ended TLS.
        let configuration = format!(
            "daemon off; pid {path}/pid; error_log stderr warn; {user}\nevents {{}}\nhttp {{\n  \
             access_log off;\n  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; \
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n  \
             upstream app {{ server unix:{socket}; keepalive 16; }}\n  server {{\n    listen \
             {address};\n    location / {{\n      proxy_pass http://app;\n      \
             proxy_http_version 1.1; proxy_set_header Connection \"\";\n      proxy_set_header \
             Host $http_host; proxy_set_header X-Forwarded-Proto https;\n      \
             proxy_next_upstream error timeout non_idempotent; proxy_next_upstream_tries 3;\n    \
             }}\n  }}\n}}\n",
            user = if rustix::process::geteuid().is_root() { "user root;" } else { "" },
            socket = socket.display(),
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("nginx starts; install it");
        let nginx = Self { process, address, _folder: folder };
        wait::until("nginx to listen", PATIENCE, async || {
            std::net::TcpStream::connect(address).ok()
        })
        .await;
        nginx
    }

    /// A visitor who has signed in over https.
    async fn signed_in(&self) -> Browser {
        let mut browser = self.browser();
        assert_eq!(browser.login("bob").await.status, 200);
        assert!(browser.cookie_header().starts_with("__Host-id="), "{}", browser.cookie_header());
        browser
    }

    /// A visitor whose forms come from a page of the site.
    fn browser(&self) -> Browser {
        Browser::new(self.address).always("Origin", "https://localhost")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM lets it end its workers.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_secure_cookie_works_behind_nginx_with_one_setting() {
    let site = Site::start(&["--trusted-proxy", "unix"]).await;
    let nginx = Nginx::before(&site.socket()).await;
    let mut bob = nginx.signed_in().await;
    assert_eq!(bob.page().await.principal.as_deref(), Some("bob"));
    assert_eq!(bob.insert("n", "1").await.status, 204);
    assert_eq!(bob.post("/renew").await.status, 204);
    assert_eq!(bob.page().await.value("n"), Some(&serde_json::json!(1)));
    let foreign = Browser::new(nginx.address).always("Origin", "https://other.example");
    let foreign = foreign.dress(Request::post("/logout")).cookie(bob.cookie_header());
    assert_eq!(send(nginx.address, &foreign).await.expect("an answer").status, 403);
    assert!(bob.post("/logout").await.status < 300);
    assert!(bob.page().await.is_anonymous());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_log_names_the_setting_for_an_untrusted_unix_proxy() {
    let site = Site::start(&["--cookie", "secure"]).await;
    let nginx = Nginx::before(&site.socket()).await;
    assert_eq!(nginx.browser().login("bob").await.status, 403);
    wait::until("a line in the log", PATIENCE, async || {
        let log = site.process.stderr.text();
        log.contains("name the TLS proxy as trusted").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_socket_without_a_proxy_serves_http() {
    let mut site = Site::start(&["--cookie", "development", "--listen-mode", "600"]).await;
    let mode = fs::metadata(site.socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(site.socket()).await.expect("the demo accepts");
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(site.files(), ["app.sock", "app.sock.lock"]);
    site.process.signal(Signal::TERM);
    assert_eq!(site.process.end(PATIENCE).await.code(), Some(0));
    assert!(site.files().is_empty(), "{:?}", site.files());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_reload_and_upgrade_at_a_socket_fail_no_request() {
    let mut site = Site::start(&["--trusted-proxy", "unix"]).await;
    let nginx = Nginx::before(&site.socket()).await;
    let bob = nginx.signed_in().await;
    let request = bob.dress(Request::get("/session"));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (request, stopped, address) = (request.clone(), stopped.clone(), nginx.address);
            tokio::spawn(async move {
                let (mut served, mut failed) = (0, Vec::new());
                while !*stopped.borrow() {
                    let response = send(address, &request).await.expect("an answer");
                    if response.status == 200 { served += 1 } else { failed.push(response.status) }
                }
                (served, failed)
            })
        })
        .collect();
    let before = site.process.children();
    site.process.signal(Signal::HUP);
    wait::until("other workers", PATIENCE, async || {
        let now = site.process.children();
        (now.len() == 2 && now.iter().all(|pid| !before.contains(pid))).then_some(())
    })
    .await;
    site.process.signal(Signal::USR2);
    let successor = wait::until("another primary", PATIENCE, async || {
        let pid = fs::read_to_string(site.folder.path().join("app.sock.lock")).ok()?;
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().ok()?)?;
        (pid != site.process.pid()).then_some(pid)
    })
    .await;
    site.process.succeeded_by(successor, PATIENCE).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.send_replace(true);
    let mut total = 0;
    for client in clients {
        let (served, failed) = client.await.expect("the client ends");
        assert!(failed.is_empty(), "{failed:?}");
        total += served;
    }
    println!("d03: {total} requests during a reload and an upgrade, 0 failed");
    assert!(total > 50);
    assert!(fs::metadata(site.socket()).expect("the socket").file_type().is_socket());
    site.process.signal(Signal::TERM);
    wait::until("the files to be removed", PATIENCE, async || {
        site.files().is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_socket_of_a_dead_server_is_replaced() {
    let mut site = Site::start(&["--cookie", "development"]).await;
    let listen = format!("unix:{}", site.socket().display());
    let arguments = ["--listen", &listen, "--cookie", "development", "--cookie-key", KEY];
    // A running server is not replaced.
    let refused = Demo::run(&arguments, &[]).await;
    assert!(!refused.status.success(), "{}", refused.stdout);
    assert!(refused.stderr.contains("is served by process"), "{}", refused.stderr);
    site.process.signal(Signal::KILL);
    let _ = site.process.end(PATIENCE).await;
    assert_eq!(site.files(), ["app.sock", "app.sock.lock"]);
    let site = Site::start_in(site.folder, &["--cookie", "development"]).await;
    let _ = UnixStream::connect(site.socket()).await.expect("the new demo accepts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_unusable_paths_and_settings_end_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes.txt");
    fs::write(&file, "my notes").expect("a file");
    let at = |path: &Path| format!("unix:{}", path.display());
    let long = folder.path().join("a".repeat(120));
    let usable = at(&folder.path().join("app.sock"));
    let development = ["--cookie", "development"];
    for (listen, flags, words) in [
        (at(&file), &development[..], "not a socket"),
        (at(&long), &development, "must be shorter"),
        (at(&folder.path().join("none/app.sock")), &development, "No such file"),
        ("unix:app.sock".to_owned(), &development, "absolute path"),
        (usable.clone(), &["--cookie", "development", "--listen-mode", "999"], "octal"),
        (usable, &[], "--trusted-proxy"),
        ("127.0.0.1:0".to_owned(), &["--trusted-proxy", "unix"], "--listen unix:PATH"),
        ("127.0.0.1:0".to_owned(), &["--listen-mode", "600"], "--listen unix:PATH"),
    ] {
        let arguments = ["--listen", &listen, "--cookie-key", KEY];
        let ended = Demo::run(&[&arguments[..], flags].concat(), &[]).await;
        assert!(!ended.status.success(), "{listen} {flags:?}");
        assert!(ended.stderr.contains(words), "{words} is missing in: {}", ended.stderr);
    }
    assert_eq!(fs::read_to_string(&file).expect("the file"), "my notes");
}
