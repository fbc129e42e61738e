//! Runs `demo-server ctl` against a running server, as an operator does.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, also in its helper functions")]

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The longest wait for a condition. It is far above the expected time, so that a busy machine does
/// not fail a test.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// A command without the `DEMO_*` variables of the environment of the tests.
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

/// A temporary folder with the control socket and the pid file of a server.
struct TestFolder {
    folder: tempfile::TempDir,
    control: String,
    pid_file: String,
}

impl TestFolder {
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
        // Reads to the end, so that the server never blocks on a full pipe.
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(send.send(line)));
        });
        let first = lines.recv_timeout(MAX_WAIT).unwrap();
        assert!(first.starts_with("listening on "), "{first}");
        Server(child)
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        demo(&[&["ctl", "--control", &self.control], arguments].concat()).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its output.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        out
    }

    fn status(&self) -> Value {
        let status: Value = serde_json::from_str(&self.succeed(&["status", "--json"])).unwrap();
        status["status"].clone()
    }

    /// Waits until there are `slots` slots and all of them serve.
    fn wait_until_serving(&self, slots: usize) -> Value {
        let end = Instant::now() + MAX_WAIT;
        loop {
            let status = self.status();
            let slot_states: Vec<_> = status["slots"]
                .as_array()
                .unwrap()
                .iter()
                .map(|slot| slot["state"].clone())
                .collect();
            if slot_states.len() == slots && slot_states.iter().all(|state| state == "serving") {
                return status;
            }
            assert!(Instant::now() < end, "{status}");
        }
    }
}

impl Drop for TestFolder {
    /// Stops a successor of the server that this test started.
    fn drop(&mut self) {
        if PathBuf::from(&self.control).exists() {
            let _ = self.ctl(&["stop", "--fast"]);
        }
    }
}

struct Server(Child);

impl Server {
    fn exit(&mut self) -> ExitStatus {
        let end = Instant::now() + MAX_WAIT;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(Instant::now() < end, "the server did not exit"),
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

/// Runs a command that must fail with this exit code, and returns its error text.
fn fail(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {out}{err}");
    err
}

#[test]
fn ctl_commands_show_and_change_a_server() {
    let folder = TestFolder::new();
    let mut server = folder.server();
    let pid = server.0.id();
    assert_eq!(std::fs::read_to_string(&folder.pid_file).unwrap(), format!("{pid}\n"));

    let status = folder.succeed(&["status"]);
    let lines: Vec<Vec<&str>> =
        status.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines[0].join(" ").contains(&format!("primary {pid}, cluster ")), "{status}");
    assert_eq!(lines[4], ["0", "serving", "1", "0", "-"], "{status}");
    assert_eq!(lines[8][..2], ["1", "0"], "{status}");

    assert_eq!(folder.succeed(&["scale", "3"]), "scaled to 3\n");
    folder.wait_until_serving(3);
    assert_eq!(folder.succeed(&["scale", "2"]), "scaled to 2\n");
    assert_eq!(folder.succeed(&["drain", "1"]), "worker 1 has exited: requested\n");
    let second = folder.wait_until_serving(2)["slots"][1]["worker"].to_string();
    assert_eq!(
        folder.succeed(&["kill", &second, "--signal", "kill"]),
        format!("sent the signal to worker {second}\n")
    );
    let end = Instant::now() + MAX_WAIT;
    while folder.status()["slots"][1]["last_exit"]["signalled"] != 9 {
        assert!(Instant::now() < end, "{}", folder.status());
    }
    folder.wait_until_serving(2);
    let reloaded = folder.succeed(&["reload"]);
    assert!(reloaded.starts_with("replaced 2 in ") && reloaded.lines().count() == 3, "{reloaded}");

    let output = folder.ctl(&["drain", "99", "--json"]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"]["code"], "gone");
    assert!(err.contains("no worker 99"), "{err}");

    let held = fail(demo(&["--listen", "127.0.0.1:0", "--pid-file", &folder.pid_file]), 1);
    assert!(held.contains(&folder.pid_file) && held.contains(&format!("process {pid}")), "{held}");
    let held = fail(demo(&["--listen", "127.0.0.1:0", "--control", &folder.control]), 1);
    assert!(held.contains(&folder.control) && held.contains(&format!("process {pid}")), "{held}");

    let upgraded = folder.succeed(&["upgrade"]);
    assert_eq!(server.exit().code(), Some(0));
    let pid = folder.status()["pid"].to_string();
    assert_eq!(
        upgraded,
        format!("primary {pid} has taken over; the workers of the old primary are stopping\n")
    );
    assert_eq!(std::fs::read_to_string(&folder.pid_file).unwrap(), format!("{pid}\n"));

    let stopped = folder.succeed(&["stop", "--fast"]);
    assert!(stopped.starts_with("stopped 2 in "), "{stopped}");
    // The last process removes its files shortly after its reply.
    let end = Instant::now() + MAX_WAIT;
    while std::fs::read_dir(folder.folder.path()).unwrap().count() > 0 {
        assert!(Instant::now() < end, "the server did not remove its files");
    }
    let gone = fail(demo(&["ctl", "status", "--control", &folder.control]), 1);
    assert!(
        gone.contains(&folder.control) && gone.contains("check that the primary runs"),
        "{gone}"
    );
}

#[test]
fn server_with_closed_output_can_be_upgraded() {
    let folder = TestFolder::new();
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--control",
        &folder.control,
        "--log",
        "error",
    ];
    let mut child = demo(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut server = Server(child);
    let upgraded = folder.succeed(&["upgrade"]);
    assert_eq!(server.exit().code(), Some(0));
    assert!(
        upgraded.contains(&format!("primary {} has taken over", folder.status()["pid"])),
        "{upgraded}"
    );
    folder.wait_until_serving(1);
}

#[test]
fn ctl_gives_up_on_a_stopped_server() {
    let folder = TestFolder::new();
    let server = folder.server();
    folder.wait_until_serving(2);
    let signal = |signal| {
        rustix::process::kill_process(rustix::process::Pid::from_child(&server.0), signal).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    // The queue of the socket has room for many more connections.
    let start = |arguments: &[&str]| {
        demo(&[arguments, &["--control", &folder.control]].concat())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let commands = [
        &["ctl", "status"][..],
        &["ctl", "reload"],
        &["ctl", "scale", "3"],
        &["ctl", "drain", "1"],
    ]
    .map(start);
    for command in commands {
        let output = command.wait_with_output().unwrap();
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(&folder.control) && err.contains("does not answer"), "{err}");
    }
    signal(rustix::process::Signal::CONT);
    assert!(folder.succeed(&["status"]).contains("primary "));
}

#[test]
fn control_path_comes_from_flag_environment_or_file() {
    let folder = TestFolder::new();
    let config = PathBuf::from(&folder.control).with_extension("toml");
    std::fs::write(&config, format!("control = {:?}\n", folder.control)).unwrap();
    let mut environment = demo(&["ctl", "status"]);
    // `ctl` does not check the settings that it does not use.
    environment.env("DEMO_CONTROL", &folder.control).env("DEMO_WORKERS", "zero");
    for command in [
        demo(&["ctl", "status", "--control", &folder.control]),
        demo(&["--control", &folder.control, "ctl", "status"]),
        demo(&["ctl", "status", "--config", config.to_str().unwrap()]),
        environment,
    ] {
        let missing = fail(command, 1);
        assert!(
            missing.contains(&folder.control) && missing.contains("no such socket"),
            "{missing}"
        );
    }
}

#[test]
fn print_config_has_priority_over_other_tasks() {
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
fn usage_error_exits_with_2_and_names_the_remedy() {
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
        let error = fail(demo(arguments), 2);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
}
