//! Under `scripts/fuzz` the engine, with the target that `FUZZ_TARGET` names. In every other build:
//! gives the target that is named first the files that are named after it, one after the other.
#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(not(fuzzing), forbid(unsafe_code))]

use fuzz::{TARGETS, Target};

/// The target of this name.
#[expect(
    clippy::print_stderr,
    reason = "what a command-line program says on standard error is its interface"
)]
fn target(name: Option<&str>) -> &'static Target {
    name.and_then(fuzz::target).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("there is no target {name:?}; use one of {}", names.join(", "));
        std::process::exit(2);
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static CHOSEN: std::sync::OnceLock<&Target> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| target(std::env::var("FUZZ_TARGET").ok().as_deref())).run(bytes);
});

#[cfg(not(fuzzing))]
#[expect(
    clippy::print_stdout,
    reason = "what a command-line program says on standard output is its interface"
)]
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let target = target(arguments.next().as_deref());
    for file in arguments {
        println!("{file}");
        target.run(&std::fs::read(file)?);
    }
    Ok(())
}
