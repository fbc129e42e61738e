//! Every kept input, given to its target once more: what the engine found stays found without it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot do its part fails, and shows which input it was"
)]

use std::{fs, path::Path};

fn replay(name: &str) {
    let target = fuzz::target(name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown if it fails.
        println!("{}", path.display());
        target.run(&fs::read(path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 5, "{} has only {inputs} inputs", folder.display());
    target.run(&[]);
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn none_is_left_out() {
            let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replayed! { cookie formats ipc handover redis mongo sql url demo cluster }
