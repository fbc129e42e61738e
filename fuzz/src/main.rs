//! The program of the fuzz targets. In the build of `scripts/fuzz` it is the libFuzzer engine, and
//! `FUZZ_TARGET` names the target. In every other build it runs the target of the first argument
//! with each of the files that follow: `fuzz TARGET FILE…`.
#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(not(fuzzing), forbid(unsafe_code))]

use fuzz::{TARGETS, Target};

/// Returns the target with this name, or ends the program.
#[expect(clippy::print_stderr, reason = "a command-line program reports errors on standard error")]
fn target(name: Option<&str>) -> &'static Target {
    name.and_then(fuzz::target).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("unknown target {name:?}; use one of {}", names.join(", "));
        std::process::exit(2);
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: std::sync::OnceLock<&Target> = std::sync::OnceLock::new();
    TARGET.get_or_init(|| target(std::env::var("FUZZ_TARGET").ok().as_deref())).run(bytes);
});

#[cfg(not(fuzzing))]
#[expect(clippy::print_stdout, reason = "a command-line program prints on standard output")]
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let target = target(arguments.next().as_deref());
    for file in arguments {
        println!("{file}");
        target.run(&std::fs::read(file)?);
    }
    Ok(())
}
