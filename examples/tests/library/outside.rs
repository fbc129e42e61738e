//! Crates outside this workspace, made of what the pages show and of nothing else: an application,
//! and a store.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use tests::{Browser, KEY, PATIENCE, client::Request, process::Process, wait};

use crate::{
    app::front,
    page::{self, block},
};

/// A crate outside this workspace.
struct Outside {
    folder: PathBuf,
    target: PathBuf,
}

impl Outside {
    /// One with these dependencies, whose paths lead from `checkout` into this repository. It
    /// always lies in the same folder, and what it depends on is built where this workspace's own
    /// is, so that a later run finds it built.
    fn new(name: &str, dependencies: &str, checkout: &str) -> Self {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let outside = Self {
            folder: temporary.join(name),
            target: temporary.parent().expect("a folder of the target folder").to_owned(),
        };
        let here = page::path("").canonicalize().expect("this repository");
        let dependencies = dependencies
            .replace(&format!("path = \"{checkout}"), &format!("path = \"{}/", here.display()));
        // Optimised as here, or all would be built twice.
        let workspace = page::text("Cargo.toml");
        let profile = &workspace[workspace.find("[profile.dev]").expect("a profile")
            ..workspace.find("[profile.release]").expect("another")];
        let package = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n"
        );
        outside.write("Cargo.toml", &format!("{package}\n{dependencies}\n{profile}"));
        // The versions that are here already, so that nothing has to be fetched.
        outside.write("Cargo.lock", &page::text("Cargo.lock"));
        outside
    }

    /// Writes a file, unless it is as it should be: then what was built of it is, too.
    fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return;
        }
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("the target folder is writable");
        fs::write(path, text).expect("the target folder is writable");
    }

    /// Runs cargo there.
    fn cargo(&self, arguments: &[&str]) -> Output {
        let mut cargo = tests::cargo();
        cargo
            .args(arguments)
            .arg("--offline")
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target);
        let output = cargo.output().expect("cargo runs");
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "cargo {arguments:?}: {}\n{out}\n{err}", output.status);
        output
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_of_the_readme_builds_outside_the_workspace() {
    let front_page = page::text("README.md");
    let outside =
        Outside::new("outside-application", &block(&front_page, "toml"), "../session-layer/");
    let fixed = "\"127.0.0.1:3000\"";
    let shown = block(&front_page, "rust,no_run");
    assert!(shown.contains(fixed), "the example serves on {fixed}");
    outside.write("src/main.rs", &shown.replace(fixed, "std::env::var(\"LISTEN\")?"));
    outside.cargo(&["build"]);

    // A loopback address that no other process uses, because the example's port is fixed.
    let [_, a, b, c] = fastrand::u32(..).to_be_bytes();
    let address = format!("127.{}.{}.{}:3000", a, b, c.clamp(1, 254));
    let program = outside.target.join("debug/outside-application");
    let mut process =
        Process::start(&program, &[""; 0], &[("COOKIE_KEY", KEY), ("LISTEN", &address)]);
    let mut browser = Browser::new(address.parse().expect("an address"));
    wait::until("the application to serve", PATIENCE, async || {
        if let Some(status) = process.ended() {
            panic!("it ended with {status}: {}", process.stderr.text());
        }
        browser.try_send(Request::get("/no-such-page")).await.ok()
    })
    .await;
    assert_eq!(front(&mut browser).await, "visit 1");
    assert_eq!(front(&mut browser).await, "visit 2");
}

#[test]
fn a_store_of_ones_own_is_proved_outside_the_workspace() {
    let outside = Outside::new(
        "outside-store",
        &block(&page::text("session-core/OWN_STORE.md"), "toml"),
        "../",
    );
    let toy = page::text("session-core/examples/toy_store.rs");
    let (store, _) = toy.split_once("#[tokio::main").expect("the example has a main");
    outside.write("src/lib.rs", store);
    outside.write("tests/toy_fixture/mod.rs", &page::text("session-core/tests/toy_fixture/mod.rs"));
    outside.write(
        "tests/conformance.rs",
        "use outside_store as toy_store;\n\nmod toy_fixture;\n\nsession_core::conformance_tests!(async { toy_fixture::ToyFixture::default() });\n",
    );
    let output = outside.cargo(&["test", "--test", "conformance"]);
    let told = String::from_utf8_lossy(&output.stdout);
    let passed = told
        .split("test result: ok. ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(passed, Some(session_core::conformance::CHECKS.len()), "{told}");
}
