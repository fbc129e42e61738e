//! Runs each target with every input of its corpus, without the engine.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test helpers may panic, and print the input that fails"
)]

use std::{fs, path::Path};

fn replay(name: &str) {
    let target = fuzz::target(name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The test output shows the path of the input that fails.
        println!("{}", path.display());
        target.run(&fs::read(path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 5, "{} has only {inputs} inputs, 5 are required", folder.display());
    target.run(&[]);
}

macro_rules! replay_tests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replay_tests! { cookie formats ipc handover redis mongo sql url demo cluster }
