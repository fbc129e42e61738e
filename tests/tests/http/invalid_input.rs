//! Wrong flags, variables, files and requests: each gets an error that names the input and the
//! allowed values. No data is lost.

use std::fs;

use session_core::SessionId;
use tests::{Demo, KEY, PATIENCE, client::Request, wait};

/// Arguments with a mistake, and the words that the message must contain.
type Mistake = (&'static [&'static str], &'static [&'static str]);

const MISTAKES: &[Mistake] = &[
    (&["--nonsense"], &["--nonsense", "--help"]),
    (&["--workers", "0"], &["--workers", "\"0\"", "auto"]),
    (&["--workers", "many"], &["--workers", "\"many\"", "auto"]),
    (&["--threads", "x"], &["--threads", "\"x\""]),
    (&["--store", "floppy"], &["--store", "\"floppy\"", "ipc", "memory"]),
    (&["--store-url", "gopher://x"], &["--store-url", "ipc:", "gopher"]),
    (&["--store-url", "ipc:relative.sock"], &["ipc:/"]),
    (&["--store-url", "ipc:/x?deadline=1"], &["deadline", "deadline_ms"]),
    (&["--store", "memory", "--workers", "2"], &["memory", "--workers 1", "--store ipc"]),
    (&["--listen", "nonsense"], &["--listen", "\"nonsense\"", "127.0.0.1:3000"]),
    (&["--listen", "127.0.0.1:99999"], &["--listen", "99999"]),
    (&["--listen", "0.0.0.0:0"], &["--cookie secure", "--cookie development"]),
    (&["--idle-timeout", "5"], &["--idle-timeout", "\"5\"", "30m"]),
    (&["--absolute-timeout", "0s"], &["--absolute-timeout", "\"0s\""]),
    (&["--deadline", "soon"], &["--deadline", "\"soon\"", "500ms"]),
    (&["--max-sessions", "0"], &["--max-sessions", "\"0\""]),
    (&["--trusted-proxy", "1.2.3"], &["--trusted-proxy", "\"1.2.3\"", "10.0.0.0/8"]),
    (&["--persistence", "forever"], &["--persistence", "browser", "persistent"]),
    (&["--on-session-ended", "panic"], &["--on-session-ended", "conflict", "serve"]),
    (&["--log", "loud"], &["--log", "\"loud\"", "debug"]),
    (&["--cookie", "none"], &["--cookie", "secure", "development"]),
    (&["--config", "/nowhere/demo.toml"], &["/nowhere/demo.toml", "No such file"]),
    (&["owner"], &["--store-url", "ipc:/"]),
    (&["owner", "--store-url", "redis://x"], &["--store-url", "ipc:"]),
];

fn assert_says(stderr: &str, words: &[&str]) {
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_flags_are_named_with_the_allowed_values() {
    for (flags, words) in MISTAKES {
        let ended = Demo::run(flags, &[]).await;
        assert_eq!(ended.status.code(), Some(2), "{flags:?}: {}", ended.stderr);
        assert_says(&ended.stderr, words);
        assert!(!ended.stdout.contains("listening"), "{flags:?}");
    }
    println!(
        "usage: {} mistakes on the command line, each ends with 2 and names the remedy",
        MISTAKES.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_variables_and_files_are_named_with_the_allowed_values() {
    let ended = Demo::run(&[], &[("DEMO_WORKERS", "zero")]).await;
    assert_eq!(ended.status.code(), Some(2));
    assert_says(&ended.stderr, &["DEMO_WORKERS", "\"zero\"", "auto"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("demo.toml");
    let path = file.to_str().expect("a plain path");
    let files: [(&str, &[&str]); 4] = [
        ("cookie_kee = \"x\"", &["cookie_kee", path, "--help"]),
        ("workers = ", &[path, "TOML"]),
        ("workers = \"x\"", &["workers", path, "\"x\""]),
        ("cookie_key = \"hunter2\"", &["cookie_key", path, "openssl rand"]),
    ];
    for (content, words) in files {
        fs::write(&file, content).expect("a writable file");
        let ended = Demo::run(&["--config", path], &[]).await;
        assert_eq!(ended.status.code(), Some(2), "{content}: {}", ended.stderr);
        assert_says(&ended.stderr, words);
        assert!(!ended.stderr.contains("hunter2"), "a key is printed: {}", ended.stderr);
    }
    let unreadable = folder.path().to_str().expect("a plain path");
    let ended = Demo::run(&["--config", unreadable], &[]).await;
    assert_eq!(ended.status.code(), Some(2));
    assert_says(&ended.stderr, &[unreadable]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_weak_keys_are_refused_and_never_printed() {
    let short = "c2hvcnQtYW5kLXNlY3JldA==";
    let no_encoding = "not a key, surely; swordfish!";
    let repetitive = "ab".repeat(32);
    for (keys, secret) in [
        (short.to_owned(), short),
        (no_encoding.to_owned(), "swordfish"),
        (repetitive.clone(), repetitive.as_str()),
        (format!("{KEY},{short}"), short),
        (format!("{KEY},{short}"), KEY),
    ] {
        for (flags, environment) in [
            (vec!["--cookie-key", &keys], None),
            (vec![], Some(("DEMO_COOKIE_KEY", keys.as_str()))),
        ] {
            let ended = Demo::run(&flags, environment.as_slice()).await;
            assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
            assert_says(&ended.stderr, &["key", "openssl rand"]);
            assert!(
                !ended.stderr.contains(secret) && !ended.stdout.contains(secret),
                "a key is printed: {}",
                ended.stderr
            );
        }
    }
    let shown = Demo::run(&["--print-config", "--cookie-key", KEY], &[]).await;
    assert!(shown.status.success());
    assert!(!shown.stdout.contains(KEY) && !shown.stderr.contains(KEY), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_override_environment_file_and_defaults_in_this_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("demo.toml");
    fs::write(&file, "workers = 3\nthreads = 3\nidle_timeout = \"3m\"").expect("a writable file");
    let path = file.to_str().expect("a plain path");
    let environment = [("DEMO_WORKERS", "2"), ("DEMO_THREADS", "2")];
    let shown =
        Demo::run(&["--print-config", "--config", path, "--workers", "1"], &environment).await;
    assert!(shown.status.success(), "{}", shown.stderr);
    let set = |key: &str| {
        shown
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{key} ")))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(set("workers").contains("= 1 "), "{}", shown.stdout);
    assert!(set("threads").contains("= 2 "), "{}", shown.stdout);
    assert!(set("idle_timeout").contains("= \"3m\" "), "{}", shown.stdout);
    assert!(set("absolute_timeout").contains("= \"8h\" "), "{}", shown.stdout);
    assert_eq!(
        toml_keys(&shown.stdout),
        toml_keys(&Demo::run(&["--print-config"], &[]).await.stdout)
    );
}

fn toml_keys(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| Some(line.split_once(" =")?.0.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_get_a_reason_and_change_nothing() {
    let demo = Demo::start(&["--workers", "2"]).await;
    let mut bob = demo.signed_in("bob").await;
    let _ = bob.insert("n", "7").await.expect(204);
    let _ = bob.insert("text", "\"seven\"").await.expect(204);
    let _ = bob.insert("most", &i64::MAX.to_string()).await.expect(204);
    let before = bob.page().await.data;
    let too_large = serde_json::json!("x".repeat(65 * 1024)).to_string();
    let much_too_large = serde_json::json!("x".repeat(3 * 1024 * 1024)).to_string();
    let long_name = "n".repeat(129);
    let requests = [
        (Request::put("/session/n", "{broken"), 400),
        (Request::put("/session/n", ""), 400),
        (Request::put("/session/n", "7 8"), 400),
        (Request::put("/session/n", &b"\"\xff\""[..]), 400),
        (Request::put("/session/n", "[".repeat(5_000)), 400),
        (Request::put("/session/n", too_large), 413),
        (Request::put("/session/n", much_too_large), 413),
        (Request::put(format!("/session/{long_name}"), "1"), 400),
        (Request::put("/session/%00", "1"), 400),
        (Request::put("/session/%0a", "1"), 400),
        (Request::post("/session/text/add?by=1"), 400),
        (Request::post("/session/most/add?by=1"), 400),
        (Request::post("/session/n/add?by=x"), 400),
        (Request::post("/session/n/add?by=99999999999999999999"), 400),
        (Request::post("/session/text/update"), 400),
        (Request::post("/login").json("{}"), 400),
        (Request::post("/login").json("nobody"), 400),
        (Request::post("/login").json(r#"{"user":""}"#), 400),
        (Request::get("/slow?ms=99999"), 400),
        (Request::get("/slow?ms=x"), 400),
        (Request::get("/nowhere"), 404),
        (Request::post("/crash"), 404),
        (Request::new("PATCH", "/session/n"), 405),
        (Request::delete("/devices/nonsense"), 404),
    ];
    let count = requests.len();
    let mut wrong = Vec::new();
    for (request, status) in requests {
        let response = bob.send(request.clone()).await;
        let shown: String = format!("{request:?}").chars().take(90).collect();
        if response.status != status {
            wrong.push(format!("{} instead of {status}: {shown}", response.status));
        }
        assert!(response.set_cookie().is_none(), "{shown}");
        assert!(
            !response.text().contains("panicked") && !response.text().contains("src/"),
            "{}",
            response.text()
        );
        if matches!(response.status, 400 | 413) && response.text().trim().is_empty() {
            wrong.push(format!("no reason is given: {shown}"));
        }
    }
    assert_eq!(bob.page().await.data, before, "the data is unchanged");
    let unknown = format!(
        "id=1.{}.{}",
        String::from_utf8_lossy(&SessionId::random().expect("random bytes").to_text()),
        "A".repeat(43)
    );
    let _ = demo.browser().send(Request::get("/session").cookie(unknown)).await.expect(200);
    assert_eq!(wrong, Vec::<String>::new());
    println!("usage: {count} wrong requests, each refused with a reason, no data lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_utf8_are_refused() {
    let demo = Demo::start(&["--workers", "1"]).await;
    let mut bob = demo.signed_in("bob").await;
    for name in ["%ff", "%fe", "a%80", "%c3%28", "%ed%a0%80"] {
        let response = bob.insert(name, "1").await;
        assert_eq!(response.status, 400, "{name} became {:?}", bob.page().await.data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_refuses_the_path_of_a_running_owner() {
    let owner = tests::Owner::start().await;
    let url = owner.url();
    let ended = Demo::run(&["owner", "--store-url", &url], &[]).await;
    assert!(!ended.status.success());
    assert_says(&ended.stderr, &[owner.path().to_str().expect("a plain path")]);
    let demo = Demo::start(&["--workers", "1", "--store-url", &url]).await;
    assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_starts_before_its_owner_and_serves_once_it_runs() {
    let mut owner = tests::Owner::start().await;
    owner.stop();
    let url = owner.url();
    let demo = Demo::start(&["--workers", "2", "--store-url", &url, "--deadline", "500ms"]).await;
    let _ = demo.browser().get("/healthz").await.expect(200);
    let _ = demo.browser().get("/readyz").await.expect(503);
    owner.restart().await;
    demo.ready().await;
    let mut browser = demo.browser();
    wait::until("a sign-in", PATIENCE, async || {
        (browser.login("bob").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(browser.page().await.principal.as_deref(), Some("bob"));
}
