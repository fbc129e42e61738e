//! `demo-server ctl` against a running server, as an operator uses it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything. Far above what is expected, so that a busy machine fails no test.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command without the settings of whoever runs the tests.
fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-server"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DEMO_"))
    {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A folder, and what is in it while a server runs.
struct Place {
    folder: tempfile::TempDir,
    control: String,
    pid_file: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (control, pid_file) = (path("control"), path("pid"));
        Self { folder, control, pid_file }
    }

    fn server(&self) -> Server {
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "2",
            "--control",
            &self.control,
            "--pid-file",
            &self.pid_file,
        ];
        let mut child = demo(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        // To the end, so that the server never waits for its reader.
        let stdout = child.stdout.take().unwrap();
        let (send, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(send.send(line)));
        });
        let first = told.recv_timeout(PATIENCE).unwrap();
        assert!(first.starts_with("listening on "), "{first}");
        Server(child)
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        demo(&[&["ctl", "--control", &self.control], arguments].concat()).output().unwrap()
    }

    /// What an order that is carried out prints.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        out
    }

    fn status(&self) -> Value {
        let status: Value = serde_json::from_str(&self.told(&["status", "--json"])).unwrap();
        status["status"].clone()
    }

    /// Waits until all of so many slots serve.
    fn serve(&self, slots: usize) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            let slots_do: Vec<_> = status["slots"]
                .as_array()
                .unwrap()
                .iter()
                .map(|slot| slot["state"].clone())
                .collect();
            if slots_do.len() == slots && slots_do.iter().all(|state| state == "serving") {
                return status;
            }
            assert!(Instant::now() < end, "{status}");
        }
    }
}

impl Drop for Place {
    /// Ends a server that took the place of the one that was started here.
    fn drop(&mut self) {
        if PathBuf::from(&self.control).exists() {
            let _ = self.ctl(&["stop", "--fast"]);
        }
    }
}

struct Server(Child);

impl Server {
    fn exit(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(Instant::now() < end, "the server does not end"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs a command that shall fail with this code, and returns what it says.
fn failure(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {out}{err}");
    err
}

#[test]
fn an_operator_sees_and_changes_a_server() {
    let place = Place::new();
    let mut server = place.server();
    let pid = server.0.id();
    assert_eq!(std::fs::read_to_string(&place.pid_file).unwrap(), format!("{pid}\n"));

    let status = place.told(&["status"]);
    let lines: Vec<Vec<&str>> =
        status.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines[0].join(" ").contains(&format!("primary {pid}, cluster ")), "{status}");
    assert_eq!(lines[4], ["0", "serving", "1", "0", "-"], "{status}");
    assert_eq!(lines[8][..2], ["1", "0"], "{status}");

    assert_eq!(place.told(&["scale", "3"]), "scaled to 3\n");
    place.serve(3);
    assert_eq!(place.told(&["scale", "2"]), "scaled to 2\n");
    assert_eq!(place.told(&["drain", "1"]), "worker 1 has left: requested\n");
    let second = place.serve(2)["slots"][1]["worker"].to_string();
    assert_eq!(
        place.told(&["kill", &second, "--signal", "kill"]),
        format!("worker {second} was sent the signal\n")
    );
    let end = Instant::now() + PATIENCE;
    while place.status()["slots"][1]["last_exit"]["signalled"] != 9 {
        assert!(Instant::now() < end, "{}", place.status());
    }
    place.serve(2);
    let reloaded = place.told(&["reload"]);
    assert!(reloaded.starts_with("replaced 2 in ") && reloaded.lines().count() == 3, "{reloaded}");

    let output = place.ctl(&["drain", "99", "--json"]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"]["code"], "gone");
    assert!(err.contains("no worker 99"), "{err}");

    let held = failure(demo(&["--listen", "127.0.0.1:0", "--pid-file", &place.pid_file]), 1);
    assert!(held.contains(&place.pid_file) && held.contains(&format!("process {pid}")), "{held}");
    let held = failure(demo(&["--listen", "127.0.0.1:0", "--control", &place.control]), 1);
    assert!(held.contains(&place.control) && held.contains(&format!("process {pid}")), "{held}");

    let upgraded = place.told(&["upgrade"]);
    assert_eq!(server.exit().code(), Some(0));
    let pid = place.status()["pid"].to_string();
    assert_eq!(
        upgraded,
        format!("primary {pid} has taken over; the workers of the one that was asked leave\n")
    );
    assert_eq!(std::fs::read_to_string(&place.pid_file).unwrap(), format!("{pid}\n"));

    let stopped = place.told(&["stop", "--fast"]);
    assert!(stopped.starts_with("stopped 2 in "), "{stopped}");
    // The last process that has them removes them, a moment after its reply.
    let end = Instant::now() + PATIENCE;
    while std::fs::read_dir(place.folder.path()).unwrap().count() > 0 {
        assert!(Instant::now() < end, "files are left");
    }
    let gone = failure(demo(&["ctl", "status", "--control", &place.control]), 1);
    assert!(
        gone.contains(&place.control) && gone.contains("check that the primary runs"),
        "{gone}"
    );
}

#[test]
fn a_server_whose_output_nobody_reads_any_more_can_be_upgraded() {
    let place = Place::new();
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--control",
        &place.control,
        "--log",
        "error",
    ];
    let mut child = demo(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut server = Server(child);
    let upgraded = place.told(&["upgrade"]);
    assert_eq!(server.exit().code(), Some(0));
    assert!(
        upgraded.contains(&format!("primary {} has taken over", place.status()["pid"])),
        "{upgraded}"
    );
    place.serve(1);
}

#[test]
fn a_server_that_is_stopped_is_given_up_and_answers_when_it_goes_on() {
    let place = Place::new();
    let server = place.server();
    place.serve(2);
    let signal = |signal| {
        rustix::process::kill_process(rustix::process::Pid::from_child(&server.0), signal).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    // Far fewer than the queue of connections has room for.
    let ask = |arguments: &[&str]| {
        demo(&[arguments, &["--control", &place.control]].concat())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let orders = [
        &["ctl", "status"][..],
        &["ctl", "reload"],
        &["ctl", "scale", "3"],
        &["ctl", "drain", "1"],
    ]
    .map(ask);
    for order in orders {
        let output = order.wait_with_output().unwrap();
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(&place.control) && err.contains("does not answer"), "{err}");
    }
    signal(rustix::process::Signal::CONT);
    assert!(place.told(&["status"]).contains("primary "));
}

#[test]
fn where_the_server_is_comes_from_flag_environment_or_file() {
    let place = Place::new();
    let config = PathBuf::from(&place.control).with_extension("toml");
    std::fs::write(&config, format!("control = {:?}\n", place.control)).unwrap();
    let mut environment = demo(&["ctl", "status"]);
    // A setting that the order does not need may be wrong.
    environment.env("DEMO_CONTROL", &place.control).env("DEMO_WORKERS", "zero");
    for command in [
        demo(&["ctl", "status", "--control", &place.control]),
        demo(&["--control", &place.control, "ctl", "status"]),
        demo(&["ctl", "status", "--config", config.to_str().unwrap()]),
        environment,
    ] {
        let missing = failure(command, 1);
        assert!(
            missing.contains(&place.control) && missing.contains("no such socket"),
            "{missing}"
        );
    }
}

#[test]
fn settings_are_printed_instead_of_anything_else() {
    for arguments in [
        &["--print-config"][..],
        &["owner", "--print-config"],
        &["--print-config", "owner"],
        &["--print-config", "ctl", "stop"],
    ] {
        let output = demo(&[arguments, &["--control", "/x"]].concat()).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        assert!(out.contains("control = \"/x\"") && out.contains("pid_file = \"\""), "{out}");
    }
}

#[test]
fn a_mistake_ends_with_2_and_says_what_would_do() {
    for (arguments, word) in [
        (&["ctl", "status"][..], "--control /path"),
        (&["ctl"], "Usage"),
        (&["ctl", "dance", "--control", "/x"], "dance"),
        (&["ctl", "scale", "0", "--control", "/x"], "'0'"),
        (&["ctl", "scale", "--control", "/x"], "<N>"),
        (&["ctl", "drain", "one", "--control", "/x"], "'one'"),
        (&["ctl", "kill", "1", "--signal", "LOUD", "--control", "/x"], "KILL"),
        (&["ctl", "reload", "--fast", "--control", "/x"], "--fast"),
        (&["ctl", "stop", "--print-config", "--control", "/x"], "--print-config"),
    ] {
        let said = failure(demo(arguments), 2);
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}
