//! Where the demo server's binary is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| match env::var_os("DEMO_SERVER_BIN") {
    Some(path) => path.into(),
    None => build(),
});

/// The binary of the demo server: that of `DEMO_SERVER_BIN`, or one that is built now beside this
/// test and in the same profile.
#[must_use]
pub fn demo_server() -> &'static Path {
    &BINARY
}

/// Cargo without the variables about the package of this test. Build scripts that depend on these
/// variables would run again on each change between the two cargos, and all that depends on them
/// would be rebuilt.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_the_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| of_the_package(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo
}

/// Builds the demo server, once for each run of nextest, where each test is its own process.
fn build() -> PathBuf {
    let test = env::current_exe().expect("a process knows its binary");
    let profile = test.ancestors().nth(2).expect("tests are in <target>/<profile>/deps");
    let binary = profile.join("demo-server");
    let run = env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let lock =
        fs::File::create(profile.join("demo-server.lock")).expect("the target folder is writable");
    lock.lock().expect("a file can be locked");
    let stamp = profile.join("demo-server.run");
    let is_built =
        !run.is_empty() && fs::read_to_string(&stamp).is_ok_and(|of| of == run) && binary.exists();
    if !is_built {
        let name = match profile
            .file_name()
            .and_then(|name| name.to_str())
            .expect("profiles have names")
        {
            "debug" => "dev",
            name => name,
        };
        let status = cargo()
            .args([
                "build",
                "--quiet",
                "--package",
                "demo-server",
                "--profile",
                name,
                "--target-dir",
            ])
            .arg(profile.parent().expect("a profile is in the target folder"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the demo server does not build");
        fs::write(stamp, run).expect("the target folder is writable");
    }
    binary
}
