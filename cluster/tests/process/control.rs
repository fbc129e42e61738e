//! The control socket of a primary.

use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Write},
    net::Shutdown,
    os::unix::fs::{PermissionsExt, chown},
    os::unix::net::{UnixListener, UnixStream},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    thread,
};

use cluster::control::{Client, ControlError, ErrorCode, Reply, WorkerState};
use rustix::process::{Gid, Signal, Uid};
use serde_json::{Value, json};

use crate::{
    control_dir::{ControlDir, Operator},
    harness::{Cluster, fixture, runs, until, with_sources},
    pid_file::{refusal, under_umask},
};

/// Runs `act` as another user, on a separate thread. On Linux each thread has its own user.
fn as_user<T: Send>(id: u32, act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let (group, user) = (Gid::from_raw(id), Uid::from_raw(id));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            act()
        });
        acting.join().unwrap()
    })
}

#[test]
fn socket_is_private_under_any_umask() {
    for umask in ["000", "777"] {
        let dir = ControlDir::new();
        let cluster = Cluster::run(under_umask(umask, &[("control", dir.text())]));
        for name in ["control.sock", "control.sock.lock"] {
            let mode = fs::metadata(dir.folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name} under umask {umask}");
        }
        assert_eq!(dir.status()["pid"], cluster.pid());
    }
}

/// Connects to the socket at `path`.
fn connected(path: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Client::connect(path)).map(drop).map_err(|error| with_sources(&error))
}

#[test]
fn s30_client_refuses_a_control_socket_of_another_user() {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can act as other users; run this test as root"
    );
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let path = folder.path().join("control.sock");
    let _planted = as_user(65534, || UnixListener::bind(&path).unwrap());
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    for user in [0, 65533] {
        let refusal = as_user(user, || connected(&path)).unwrap_err();
        assert!(
            refusal.contains(path.to_str().unwrap()) && refusal.contains("uid 65534 listens there"),
            "{refusal}"
        );
        assert!(refusal.contains(&format!("runs as uid {user};")), "{refusal}");
    }
    as_user(65534, || connected(&path)).unwrap();
    // Root can control the primary of a service whose folder belongs to the user of the service.
    chown(folder.path(), Some(65534), None).unwrap();
    connected(&path).unwrap();
    assert!(as_user(65533, || connected(&path)).is_err());
}

#[test]
fn only_the_user_of_the_primary_and_root_are_served() {
    let dir = ControlDir::new();
    if !rustix::process::geteuid().is_root() {
        let cluster = dir.ready(&[]);
        assert_eq!(dir.status()["pid"], cluster.pid());
        println!("not root: clients of other users are not tested");
        return;
    }
    let program = dir.folder.path().join("fixture");
    fs::copy(env!("CARGO_BIN_EXE_cluster-fixture"), &program).unwrap();
    fs::set_permissions(dir.folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let mut command = Command::new(program);
    command.env("FIXTURE_CONTROL", &dir.path).uid(65534).gid(65534).current_dir("/");
    let cluster = Cluster::run(command);
    let status =
        || dir.operator().ask(&json!({ "command": "status" }))["ok"]["status"]["pid"].clone();
    assert_eq!(status(), cluster.pid());
    assert_eq!(as_user(65534, status), cluster.pid());

    let connect = || UnixStream::connect(&dir.path).map_err(|e| e.kind());
    assert_eq!(as_user(65533, connect).unwrap_err(), ErrorKind::PermissionDenied);
    // Even if the mode of the socket allows other users.
    fs::set_permissions(&dir.path, Permissions::from_mode(0o666)).unwrap();
    let mut refused = as_user(65533, || dir.operator());
    let answer = refused.receive();
    assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("uid 65533"), "{answer}");
    assert_eq!(refused.receive(), Value::Null);
}

#[test]
fn status_shows_the_state_and_no_secrets() {
    let dir = ControlDir::new();
    let mut cluster =
        dir.ready(&[("workers", "2"), ("settings", "hunter2-of-the-settings"), ("base", "12000")]);
    let status = dir.status();
    assert_eq!((&status["phase"], &status["pid"]), (&"running".into(), &cluster.pid().into()));
    assert_eq!(
        (&status["version"], &status["addresses"]["main"]),
        (&env!("CARGO_PKG_VERSION").into(), &cluster.addr.to_string().into())
    );
    assert!(
        status["uptime_ms"].as_u64().unwrap()
            >= status["workers"][0]["uptime_ms"].as_u64().unwrap(),
        "{status}"
    );
    let slot = |n: u64| json!({ "slot": n, "state": "serving", "worker": n + 1, "delay_ms": null, "deaths": 0, "last_exit": null });
    assert_eq!(status["slots"], json!([slot(0), slot(1)]));
    let pids = cluster.worker_pids();
    for (worker, id) in status["workers"].as_array().unwrap().iter().zip(1..) {
        assert_eq!(
            (&worker["id"], &worker["slot"], &worker["state"]),
            (&json!(id), &json!(id - 1), &"serving".into())
        );
        assert!(pids.contains(&u32::try_from(worker["pid"].as_u64().unwrap()).unwrap()));
        assert_eq!(worker["refused_messages"], 0);
    }
    assert!(
        !status.to_string().contains("hunter2")
            && !status.to_string().to_lowercase().contains("fixture"),
        "{status}"
    );

    // After the first death the worker is replaced at once, after the second with a delay.
    for after in ["serving", "backing_off"] {
        let id = dir.status()["slots"][0]["worker"].as_u64().unwrap();
        assert_eq!(
            dir.ask(&json!({ "command": "kill", "id": id, "signal": "KILL" }))["ok"]["signalled"]["id"],
            id
        );
        cluster.event_of("exited", id);
        until(after, || (dir.status()["slots"][0]["state"] == after).then_some(()));
    }
    let slot = dir.status()["slots"][0].clone();
    let expected = json!({ "slot": 0, "state": "backing_off", "worker": null, "delay_ms": 12_000, "deaths": 2, "last_exit": { "signalled": 9 } });
    assert_eq!(slot, expected);
}

#[test]
fn commands_are_carried_out_and_then_answered() {
    let dir = ControlDir::new();
    let mut cluster = dir.ready(&[]);
    let mut operator = dir.operator();
    assert_eq!(
        operator.ask(&json!({ "command": "scale", "workers": 3 })),
        json!({ "version": 1, "ok": { "scaled": { "workers": 3 } } })
    );
    // Added slots may still start.
    dir.wait_until_serving(3);
    assert_eq!(
        operator.ask(&json!({ "command": "scale", "workers": 2 }))["ok"]["scaled"]["workers"],
        2
    );
    assert_eq!(dir.status()["workers"].as_array().unwrap().len(), 2);

    let pid = dir.status()["workers"][0]["pid"].as_u64().unwrap();
    assert_eq!(
        operator.ask(&json!({ "command": "drain", "id": 1 }))["ok"],
        json!({ "drained": { "id": 1, "cause": "requested" } })
    );
    assert!(!runs(u32::try_from(pid).unwrap()));
    let gone = operator.ask(&json!({ "command": "drain", "id": 1 }));
    assert_eq!((&gone["error"]["code"], gone["version"].as_u64()), (&"gone".into(), Some(1)));
    assert_eq!(operator.ask(&json!({ "command": "kill", "id": 1 }))["error"]["code"], "gone");

    dir.wait_until_serving(2);
    let before = dir.status()["slots"].clone();
    let reloaded = operator.ask(&json!({ "command": "reload" }))["ok"]["reloaded"].clone();
    let after = dir.status()["slots"].clone();
    for n in 0..2 {
        let of = &reloaded["replaced"][n];
        assert_eq!(
            (&of["slot"], &of["old"], &of["new"]),
            (&n.into(), &before[n]["worker"], &after[n]["worker"]),
            "{reloaded}"
        );
        assert_ne!(of["old"], of["new"]);
    }

    // TERM, the default signal, drains a worker.
    let id = after[0]["worker"].as_u64().unwrap();
    assert_eq!(operator.ask(&json!({ "command": "kill", "id": id }))["ok"]["signalled"]["id"], id);
    assert_eq!(cluster.event_of("exited", id)["cause"], "Requested");
    until("its replacement serves", || {
        (dir.status()["slots"][0]["state"] == "serving").then_some(())
    });

    let stopped = operator.ask(&json!({ "command": "stop" }))["ok"]["stopped"].clone();
    assert_eq!((stopped["workers"].as_array().unwrap().len(), &stopped["killed"]), (2, &json!([])));
    assert_eq!(
        (&stopped["workers"][0]["cause"], &stopped["workers"][0]["code"]),
        (&"requested".into(), &0.into())
    );
    assert_eq!(operator.receive(), Value::Null);
    cluster.event("stopped");
    assert_eq!(dir.files(), 0);
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn stop_can_become_fast_and_names_killed_workers() {
    let dir = ControlDir::new();
    let mut cluster = dir.ready(&[("drain", "ignore"), ("fast", "200"), ("deadline", "60000")]);
    let mut graceful_stop = dir.operator();
    graceful_stop.write(b"{\"command\":\"stop\",\"mode\":\"graceful\"}\n");
    cluster.event("draining");
    let status = dir.status();
    assert_eq!(
        (&status["phase"], &status["workers"][0]["state"]),
        (&"stopping".into(), &"draining".into())
    );
    for refused in [json!({ "command": "reload" }), json!({ "command": "scale", "workers": 3 })] {
        assert_eq!(dir.ask(&refused)["error"]["code"], "stopping");
    }
    let fast_stop = dir.ask(&json!({ "command": "stop", "mode": "fast" }));
    assert_eq!(fast_stop["ok"]["stopped"]["killed"], json!([1]));
    assert_eq!(
        fast_stop["ok"]["stopped"]["workers"][0],
        json!({ "id": 1, "slot": 0, "cause": "deadline_killed", "code": null, "signal": 9 })
    );
    assert_eq!(graceful_stop.receive(), fast_stop);
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn k06_failed_reload_returns_its_reason() {
    let dir = ControlDir::new();
    let boot = dir.folder.path().join("boot");
    let cluster = dir.ready(&[("boot_file", boot.to_str().unwrap())]);
    fs::write(&boot, "exit").unwrap();
    let refused = dir.ask(&json!({ "command": "reload" }))["error"].clone();
    assert_eq!(refused["code"], "failed");
    assert!(
        refused["message"].as_str().unwrap().contains("ended before it was ready"),
        "{refused}"
    );
    assert_eq!(cluster.ask("identity")["id"], 1);
}

#[test]
fn invalid_requests_are_refused_without_harm() {
    let dir = ControlDir::new();
    // A reload takes longer than the interval of the hang-up check.
    let _cluster = dir.ready(&[("boot_block", "500")]);
    let mut operator = dir.operator();
    for invalid in [
        &b"\n"[..],
        b"GET / HTTP/1.1\n",
        b"\xff\x00\xfe\n",
        b"{\"command\":\"dance\"}\n",
        b"{\"command\":\"scale\",\"workers\":-1}\n",
    ] {
        operator.write(invalid);
        assert_eq!(operator.receive()["error"]["code"], "malformed");
    }
    assert_eq!(
        operator.ask(&json!({ "command": "status", "version": 2 }))["error"]["code"],
        "version"
    );
    // The longest allowed line is read as one line.
    operator.write(&[&vec![b'x'; 64 << 10][..], b"\n"].concat());
    assert_eq!(operator.receive()["error"]["code"], "malformed");
    operator.write(&vec![b'x'; (64 << 10) + 1]);
    assert_eq!(operator.receive()["error"]["code"], "too_large");
    assert_eq!(operator.receive(), Value::Null);

    // An incomplete command has no effect.
    let mut cut = dir.operator();
    cut.write(b"{\"command\":\"stop\"}");
    cut.0.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(cut.receive(), Value::Null);
    assert_eq!(dir.status()["phase"], "running");

    // Several requests can arrive in one piece, and the client may close its sending side.
    let mut piped = dir.operator();
    piped.write(b"{\"command\":\"status\"}\n{\"command\":\"reload\"}\n{\"command\":\"status\"}\n");
    piped.0.get_mut().shutdown(Shutdown::Write).unwrap();
    let replies: Vec<Value> = (0..4).map(|_| piped.receive()).collect();
    assert_eq!(
        replies[1]["ok"]["reloaded"]["replaced"].as_array().unwrap().len(),
        1,
        "{replies:?}"
    );
    assert_eq!(
        (&replies[2]["ok"]["status"]["slots"][0]["worker"], &replies[3]),
        (&2.into(), &Value::Null)
    );
}

#[test]
fn slow_clients_block_others_only_until_they_disconnect() {
    let dir = ControlDir::new();
    let cluster = dir.ready(&[]);
    let mut slow: Vec<Operator> = (0..16).map(|_| dir.operator()).collect();
    for operator in &mut slow {
        operator.write(b"{\"command\":");
    }
    let mut refused = dir.operator();
    assert_eq!(refused.receive()["error"]["code"], "busy");
    assert_eq!(refused.receive(), Value::Null);
    // A slow request is still served.
    slow[0].write(b"\"status\"}\n");
    assert_eq!(slow[0].receive()["ok"]["status"]["pid"], cluster.pid());
    drop(slow);
    until("a connection is accepted again", || {
        (dir.status()["pid"] == cluster.pid()).then_some(())
    });
}

#[test]
fn hang_up_cancels_no_command_and_frees_the_connection() {
    let dir = ControlDir::new();
    let mut cluster =
        dir.ready(&[("workers", "2"), ("drain", "ignore"), ("deadline", "60000"), ("fast", "100")]);
    dir.operator().write(b"{\"command\":\"drain\",\"id\":1}\n");
    cluster.event_of("draining", 1);
    for _ in 0..20 {
        until("a connection is accepted", || {
            let mut operator = dir.operator();
            operator.write(b"{\"command\":\"status\"}\n");
            (operator.receive()["error"] == Value::Null)
                .then(|| operator.write(b"{\"command\":\"drain\",\"id\":1}\n"))
        });
    }
    until("a connection is accepted", || {
        (dir.status()["workers"][0]["state"] == "draining").then_some(())
    });
    // The connection of the status can still be in use, so this one can be refused.
    let mut operator = until("a connection is accepted", || {
        let mut operator = dir.operator();
        operator.write(b"{\"command\":\"status\"}\n");
        (operator.receive()["error"] == Value::Null).then_some(operator)
    });
    operator.write(b"{\"command\":\"stop\",\"mode\":\"fast\"}\n");
    drop(operator);
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn client_that_does_not_read_does_not_delay_the_end() {
    let dir = ControlDir::new();
    let mut cluster = dir.ready(&[]);
    let mut client = dir.operator();
    client.0.get_mut().set_write_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    while client.0.get_mut().write_all(&b"{\"command\":\"status\"}\n".repeat(100)).is_ok() {}
    assert_eq!(dir.ask(&json!({ "command": "stop" }))["ok"]["stopped"]["killed"], json!([]));
    assert_eq!(cluster.exit().code(), Some(0));
    assert_eq!(dir.files(), 0);
}

#[test]
fn k15_second_primary_is_refused_and_the_first_continues() {
    let dir = ControlDir::new();
    let mut first = dir.ready(&[]);
    let refused = refusal(fixture(&[("control", dir.text())]));
    assert!(
        refused.contains(dir.text())
            && refused.contains(&format!("served by process {}", first.pid())),
        "{refused}"
    );
    // Also after the lock file was removed.
    fs::remove_file(dir.folder.path().join("control.sock.lock")).unwrap();
    let refused = refusal(fixture(&[("control", dir.text())]));
    assert!(refused.contains("served by another process"), "{refused}");
    assert_eq!(dir.status()["pid"], first.pid());

    first.signal(Signal::KILL);
    first.exit();
    assert!(dir.path.exists());
    let second = dir.ready(&[]);
    assert_eq!(dir.status()["pid"], second.pid());
}

#[test]
fn k15_unusable_socket_path_is_named() {
    let dir = ControlDir::new();
    fs::write(&dir.path, "some text").unwrap();
    let long = dir.folder.path().join("x".repeat(120));
    let nowhere = dir.folder.path().join("no/folder");
    for (path, word) in
        [(dir.path.as_path(), "not a socket"), (&long, "SUN_LEN"), (&nowhere, "No such file")]
    {
        let refused = refusal(fixture(&[("control", path.to_str().unwrap())]));
        assert!(refused.contains(path.to_str().unwrap()) && refused.contains(word), "{refused}");
    }
    assert_eq!(fs::read_to_string(&dir.path).unwrap(), "some text");
    assert_eq!(dir.files(), 1);
}

#[test]
fn own_files_are_removed_at_the_end_and_others_stay() {
    let dir = ControlDir::new();
    let mut cluster = Cluster::start(&[
        ("control", dir.text()),
        ("boot", "exit"),
        ("give_up", "2"),
        ("base", "1"),
    ]);
    assert_eq!(cluster.exit().code(), Some(1));
    assert_eq!(dir.files(), 0);

    let mut cluster = dir.ready(&[]);
    fs::remove_file(&dir.path).unwrap();
    fs::write(&dir.path, "some text").unwrap();
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.exit().code(), Some(0));
    assert_eq!(fs::read_to_string(&dir.path).unwrap(), "some text");
    assert_eq!(dir.files(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_implements_the_documented_protocol() {
    let dir = ControlDir::new();
    let missing = Client::connect(&dir.path).await.unwrap_err().to_string();
    assert!(missing.contains(dir.text()) && missing.contains("no such socket"), "{missing}");
    let mut cluster = dir.ready(&[]);
    let mut client = Client::connect(&dir.path).await.unwrap();
    let Reply::Status(status) = client.call(&cluster::control::Command::Status).await.unwrap()
    else {
        panic!("no status")
    };
    assert_eq!((status.pid, status.workers[0].state), (cluster.pid(), WorkerState::Serving));
    let unknown = cluster::control::Command::Drain { id: "99".parse().unwrap() };
    let Err(ControlError::Refused(refused)) = client.call(&unknown).await else {
        panic!("not refused")
    };
    assert_eq!(refused.code, ErrorCode::Gone);

    // A refused client gets the reason, although the primary does not read its request.
    let crowd: Vec<Operator> = (0..15).map(|_| dir.operator()).collect();
    let mut late = Client::connect(&dir.path).await.unwrap();
    let Err(ControlError::Refused(refused)) = late.call(&cluster::control::Command::Reload).await
    else {
        panic!("not refused")
    };
    assert_eq!(refused.code, ErrorCode::Busy);
    drop(crowd);

    cluster.signal(Signal::KILL);
    cluster.exit();
    let lost = client.call(&cluster::control::Command::Status).await.unwrap_err();
    assert!(matches!(lost, ControlError::ConnectionLost(_)), "{lost}");
    let dead = Client::connect(&dir.path).await.unwrap_err().to_string();
    assert!(dead.contains("no process listens there"), "{dead}");
}
