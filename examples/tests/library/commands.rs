//! Every command that the front pages show, run. One that nothing here can run fails the test: what
//! stands there must work.

use std::process::Command;

use tests::{
    Browser, Demo, KEY, Setup,
    client::{Connection, Request},
    matrix::{Run, Table},
};

use crate::{
    app::App,
    page::{self, blocks},
};

/// What the commands of a page have started so far.
#[derive(Default)]
struct Shell {
    key: Option<String>,
    /// The last application that was started, which has the port of the pages, and what keeps its
    /// sessions.
    serving: Option<(Browser, Started, Option<Setup>)>,
}

enum Started {
    Demo { running: Demo },
    Example { _running: App },
}

impl Shell {
    /// Runs a command. What is changed: the binary of this profile is run at a free port, and a
    /// store's URL leads to a server of the test's.
    async fn run(&mut self, command: &str) {
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match &words[..] {
            ["cargo", "run", "--release", "-p", "demo-server", rest @ ..] => {
                let Some((flags, setup)) = with_server(rest).await else { return };
                let demo = Demo::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
                self.serve(Browser::new(demo.address), Started::Demo { running: demo }, setup)
                    .await;
            }
            ["cargo", "run", "-p", "examples", "--bin", name, rest @ ..] => {
                let Some((arguments, setup)) = with_server(rest).await else { return };
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let app =
                    App::start_with(example(name), &arguments, self.key.as_deref().unwrap_or(KEY))
                        .await;
                self.serve(Browser::new(app.address), Started::Example { _running: app }, setup)
                    .await;
            }
            ["curl", "-c", "jar", "-b", "jar", rest @ ..] => {
                let (request, url) = match rest {
                    ["-d", body, url] => (Request::post(target(url)).form(*body), url),
                    [url] => (Request::get(target(url)), url),
                    _ => panic!("{command}: curl is used in another way here"),
                };
                let (browser, ..) = self
                    .serving
                    .as_mut()
                    .unwrap_or_else(|| panic!("{command}: nothing serves {url}"));
                let _ = browser.send(request).await.expect(200);
                assert!(browser.has_cookie(), "{command}: no session");
            }
            ["curl", "http://127.0.0.1:9100/metrics"] => {
                let Some((_, Started::Demo { running }, _)) = &self.serving else {
                    panic!("{command}: no demo serves numbers")
                };
                let address = running
                    .process
                    .stdout
                    .after("  metrics  http://")
                    .and_then(|rest| rest.split('/').next()?.parse().ok());
                let mut connection = Connection::open(address.expect("the demo says where"))
                    .await
                    .expect("it accepts");
                let page = connection
                    .send(&Request::get("/metrics"))
                    .await
                    .expect("an answer")
                    .expect(200);
                assert!(page.text().contains("session_store_calls_total"), "{}", page.text());
            }
            ["export", setting]
                if setting.starts_with("COOKIE_KEY=")
                    || setting.starts_with("DEMO_COOKIE_KEY=") =>
            {
                let name = setting.split('=').next().unwrap_or_default();
                let script = format!("{command}; printf %s \"${name}\"");
                let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
                assert!(output.status.success(), "{command}: {output:?}");
                self.key = Some(String::from_utf8(output.stdout).expect("a key is text"));
            }
            // The command that runs this test, or commands that run beside it.
            ["scripts/test"] => assert_ci_has("scripts/test"),
            ["scripts/test", "--matrix"] => assert_makes_a_table(),
            [".ci/run"] => assert!(page::path(".ci/run").exists()),
            ["cargo", "doc", ..] => assert_ci_has("cargo doc"),
            _ => panic!(
                "the page shows a command that no test runs: {command}; have examples/tests/library/commands.rs run it"
            ),
        }
    }

    async fn serve(&mut self, mut browser: Browser, started: Started, setup: Option<Setup>) {
        let _ = browser.get("/").await.expect(200);
        assert!(browser.has_cookie(), "the first visit begins a session");
        self.serving = Some((browser, started, setup));
    }
}

/// The binary of an example.
fn example(name: &str) -> &'static str {
    match name {
        "memory" => env!("CARGO_BIN_EXE_memory"),
        "ipc" => env!("CARGO_BIN_EXE_ipc"),
        "redis" => env!("CARGO_BIN_EXE_redis"),
        "mongo" => env!("CARGO_BIN_EXE_mongo"),
        "postgres" => env!("CARGO_BIN_EXE_postgres"),
        "sqlite" => env!("CARGO_BIN_EXE_sqlite"),
        _ => panic!("unknown example {name}"),
    }
}

/// The arguments behind `--`, with a server of the test's own in place of the one that they name.
/// `None` if there is no such server, and then the output says why.
async fn with_server(rest: &[&str]) -> Option<(Vec<String>, Option<Setup>)> {
    let arguments = match rest {
        [] => rest,
        ["--", arguments @ ..] => arguments,
        _ => panic!("{rest:?} would be cargo's own"),
    };
    let mut setup = None;
    let mut given = Vec::new();
    for argument in arguments {
        let found = match argument.split(':').next().filter(|scheme| scheme.len() < argument.len())
        {
            Some("redis") => Setup::redis().await,
            Some("mongodb") => Setup::mongo().await,
            Some("postgres") => Setup::postgres().await,
            Some("sqlite") => Setup::sqlite().await,
            // The port of the numbers: a free one.
            Some("127.0.0.1") => {
                given.push("127.0.0.1:0".to_owned());
                continue;
            }
            Some(scheme) => panic!("{argument}: no test server has the scheme {scheme}"),
            None => {
                given.push((*argument).to_owned());
                continue;
            }
        };
        let found = found?;
        given.push(found.url().to_owned());
        setup = Some(found);
    }
    Some((given, setup))
}

/// The words of a command, as a shell splits one without variables.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for character in command.chars() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().expect("there is a word").push(character),
        }
    }
    assert!(quote.is_none(), "{command}: an open quote");
    words.retain(|word| !word.is_empty());
    words
}

/// The path of a URL that leads to the port of the pages.
fn target(url: &str) -> &str {
    url.strip_prefix("http://127.0.0.1:3000")
        .unwrap_or_else(|| panic!("{url}: all serve on 127.0.0.1:3000"))
}

fn assert_ci_has(command: &str) {
    let ci = page::text(".ci/run");
    assert!(
        ci.lines().any(|line| line.contains(command) && !line.starts_with("step ")),
        ".ci/run does not run {command}"
    );
}

/// That the script knows the flag, and that what it runs then makes a table of what tests print.
fn assert_makes_a_table() {
    let refused = Command::new(page::path("scripts/test"))
        .args(["--matrix", "more"])
        .output()
        .expect("a shell");
    let says = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(2) && says.contains("--matrix takes no further arguments"),
        "{refused:?}"
    );
    assert!(page::text("scripts/test").contains("\"$built/matrix\" \""));
    let mut run = Run::default();
    assert!(run.take("        PASS [   0.010s] (1/1) tests::http hostile_requests::mongo::s15_s16_hostile_text_is_stored_as_plain_data"));
    let table = Table::of(&run, "2026-11-26");
    assert!(
        !table.is_whole()
            && table
                .to_string()
                .contains("| MISSING | MISSING | MISSING | 1 | MISSING | MISSING | MISSING |\n"),
        "{table}"
    );
}

async fn all_of(file: &str) {
    let mut shell = Shell::default();
    let text = page::text(file);
    let unknown: Vec<_> = page::languages(&text)
        .into_iter()
        .filter(|language| !["rust,no_run", "sh", "text", "toml"].contains(language))
        .collect();
    assert!(
        unknown.is_empty(),
        "{file} has code blocks of {unknown:?}; a command stands in one of sh, so that it is run"
    );
    let blocks = blocks(&text, "sh");
    assert!(!blocks.is_empty(), "{file} shows commands");
    for command in blocks.iter().flat_map(|block| block.lines()).filter(|line| !line.is_empty()) {
        shell.run(command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_front_page_works() {
    all_of("README.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_test_matrix_page_works() {
    all_of("docs/test-matrix.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_demos_page_works() {
    all_of("demo-server/README.md").await;
}
