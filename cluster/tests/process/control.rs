use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use cluster::control::{Client, ControlError, ErrorCode, Reply, WorkerState};
use rustix::process::{Gid, Signal, Uid};
use serde_json::{Value, json};

use crate::harness::{Cluster, fixture, runs, until};
use crate::pid_file::{refusal, under_umask};
use crate::place::{Operator, Place};

/// What a client of another user sees. Linux knows the user of each thread.
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
fn the_socket_is_the_owners_alone_whatever_the_umask() {
    for umask in ["000", "777"] {
        let place = Place::new();
        let cluster = Cluster::run(under_umask(umask, &[("control", place.text())]));
        for name in ["control.sock", "control.sock.lock"] {
            let mode = fs::metadata(place.folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name} under umask {umask}");
        }
        assert_eq!(place.status()["pid"], cluster.pid());
    }
}

/// What the client says about the socket at `path`.
fn connected(path: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Client::connect(path)).map(drop).map_err(|error| error.to_string())
}

#[test]
fn s30_client_refuses_a_control_socket_of_another_user() {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can act as other users: run this test as root"
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
    // Root operates the primary of a service, whose folder belongs to the user of the service.
    chown(folder.path(), Some(65534), None).unwrap();
    connected(&path).unwrap();
    assert!(as_user(65533, || connected(&path)).is_err());
}

#[test]
fn only_the_primarys_user_and_root_are_answered() {
    let place = Place::new();
    if !rustix::process::geteuid().is_root() {
        let cluster = place.ready(&[]);
        assert_eq!(place.status()["pid"], cluster.pid());
        println!("not root: clients of other users are not tested");
        return;
    }
    let program = place.folder.path().join("fixture");
    fs::copy(env!("CARGO_BIN_EXE_cluster-fixture"), &program).unwrap();
    fs::set_permissions(place.folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let mut command = Command::new(program);
    command.env("FIXTURE_CONTROL", &place.path).uid(65534).gid(65534).current_dir("/");
    let cluster = Cluster::run(command);
    let status =
        || place.operator().ask(&json!({ "command": "status" }))["ok"]["status"]["pid"].clone();
    assert_eq!(status(), cluster.pid());
    assert_eq!(as_user(65534, status), cluster.pid());

    let stranger = || UnixStream::connect(&place.path).map_err(|e| e.kind());
    assert_eq!(as_user(65533, stranger).unwrap_err(), ErrorKind::PermissionDenied);
    // Even if somebody opens the door.
    fs::set_permissions(&place.path, Permissions::from_mode(0o666)).unwrap();
    let mut refused = as_user(65533, || place.operator());
    let answer = refused.hear();
    assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("uid 65533"), "{answer}");
    assert_eq!(refused.hear(), Value::Null);
}

#[test]
fn status_tells_what_is_and_no_secret() {
    let place = Place::new();
    let mut cluster = place.ready(&[
        ("workers", "2"),
        ("settings", "hunter2-of-the-settings"),
        ("base", "12000"),
    ]);
    let status = place.status();
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

    // The first death is answered at once, the second after the delay.
    for after in ["serving", "backing_off"] {
        let id = place.status()["slots"][0]["worker"].as_u64().unwrap();
        assert_eq!(
            place.ask(&json!({ "command": "kill", "id": id, "signal": "KILL" }))["ok"]["signalled"]
                ["id"],
            id
        );
        cluster.event_of("exited", id);
        until(after, || (place.status()["slots"][0]["state"] == after).then_some(()));
    }
    let slot = place.status()["slots"][0].clone();
    let expected = json!({ "slot": 0, "state": "backing_off", "worker": null, "delay_ms": 12_000, "deaths": 2, "last_exit": { "signalled": 9 } });
    assert_eq!(slot, expected);
}

#[test]
fn each_order_is_carried_out_and_then_answered() {
    let place = Place::new();
    let mut cluster = place.ready(&[]);
    let mut operator = place.operator();
    assert_eq!(
        operator.ask(&json!({ "command": "scale", "workers": 3 })),
        json!({ "version": 1, "ok": { "scaled": { "workers": 3 } } })
    );
    // Those that were added may still start.
    place.serve(3);
    assert_eq!(
        operator.ask(&json!({ "command": "scale", "workers": 2 }))["ok"]["scaled"]["workers"],
        2
    );
    assert_eq!(place.status()["workers"].as_array().unwrap().len(), 2);

    let pid = place.status()["workers"][0]["pid"].as_u64().unwrap();
    assert_eq!(
        operator.ask(&json!({ "command": "drain", "id": 1 }))["ok"],
        json!({ "drained": { "id": 1, "cause": "requested" } })
    );
    assert!(!runs(u32::try_from(pid).unwrap()));
    let gone = operator.ask(&json!({ "command": "drain", "id": 1 }));
    assert_eq!((&gone["error"]["code"], gone["version"].as_u64()), (&"gone".into(), Some(1)));
    assert_eq!(operator.ask(&json!({ "command": "kill", "id": 1 }))["error"]["code"], "gone");

    place.serve(2);
    let before = place.status()["slots"].clone();
    let reloaded = operator.ask(&json!({ "command": "reload" }))["ok"]["reloaded"].clone();
    let after = place.status()["slots"].clone();
    for n in 0..2 {
        let of = &reloaded["replaced"][n];
        assert_eq!(
            (&of["slot"], &of["old"], &of["new"]),
            (&n.into(), &before[n]["worker"], &after[n]["worker"]),
            "{reloaded}"
        );
        assert_ne!(of["old"], of["new"]);
    }

    // With TERM, the signal without a name, a worker drains.
    let id = after[0]["worker"].as_u64().unwrap();
    assert_eq!(operator.ask(&json!({ "command": "kill", "id": id }))["ok"]["signalled"]["id"], id);
    assert_eq!(cluster.event_of("exited", id)["cause"], "Requested");
    until("its replacement serves", || {
        (place.status()["slots"][0]["state"] == "serving").then_some(())
    });

    let stopped = operator.ask(&json!({ "command": "stop" }))["ok"]["stopped"].clone();
    assert_eq!((stopped["workers"].as_array().unwrap().len(), &stopped["killed"]), (2, &json!([])));
    assert_eq!(
        (&stopped["workers"][0]["cause"], &stopped["workers"][0]["code"]),
        (&"requested".into(), &0.into())
    );
    assert_eq!(operator.hear(), Value::Null);
    cluster.event("stopped");
    assert_eq!(place.left(), 0);
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn a_stop_can_be_hurried_and_says_whom_it_killed() {
    let place = Place::new();
    let mut cluster = place.ready(&[("drain", "ignore"), ("fast", "200"), ("deadline", "60000")]);
    let mut patient = place.operator();
    patient.write(b"{\"command\":\"stop\",\"mode\":\"graceful\"}\n");
    cluster.event("draining");
    let status = place.status();
    assert_eq!(
        (&status["phase"], &status["workers"][0]["state"]),
        (&"stopping".into(), &"draining".into())
    );
    for refused in [json!({ "command": "reload" }), json!({ "command": "scale", "workers": 3 })] {
        assert_eq!(place.ask(&refused)["error"]["code"], "stopping");
    }
    let hurried = place.ask(&json!({ "command": "stop", "mode": "fast" }));
    assert_eq!(hurried["ok"]["stopped"]["killed"], json!([1]));
    assert_eq!(
        hurried["ok"]["stopped"]["workers"][0],
        json!({ "id": 1, "slot": 0, "cause": "deadline_killed", "code": null, "signal": 9 })
    );
    assert_eq!(patient.hear(), hurried);
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn k06_a_reload_that_fails_says_why() {
    let place = Place::new();
    let boot = place.folder.path().join("boot");
    let cluster = place.ready(&[("boot_file", boot.to_str().unwrap())]);
    fs::write(&boot, "exit").unwrap();
    let refused = place.ask(&json!({ "command": "reload" }))["error"].clone();
    assert_eq!(refused["code"], "failed");
    assert!(
        refused["message"].as_str().unwrap().contains("ended before it was ready"),
        "{refused}"
    );
    assert_eq!(cluster.ask("who")["id"], 1);
}

#[test]
fn what_is_no_request_is_refused_and_harms_nobody() {
    let place = Place::new();
    // A reload takes longer than until it is looked whether its client is still there.
    let _cluster = place.ready(&[("boot_block", "500")]);
    let mut operator = place.operator();
    for garbage in [
        &b"\n"[..],
        b"GET / HTTP/1.1\n",
        b"\xff\x00\xfe\n",
        b"{\"command\":\"dance\"}\n",
        b"{\"command\":\"scale\",\"workers\":-1}\n",
    ] {
        operator.write(garbage);
        assert_eq!(operator.hear()["error"]["code"], "malformed");
    }
    assert_eq!(
        operator.ask(&json!({ "command": "status", "version": 2 }))["error"]["code"],
        "version"
    );
    // The longest line is still read as one.
    operator.write(&[&vec![b'x'; 64 << 10][..], b"\n"].concat());
    assert_eq!(operator.hear()["error"]["code"], "malformed");
    operator.write(&vec![b'x'; (64 << 10) + 1]);
    assert_eq!(operator.hear()["error"]["code"], "too_large");
    assert_eq!(operator.hear(), Value::Null);

    // Half an order is none.
    let mut cut = place.operator();
    cut.write(b"{\"command\":\"stop\"}");
    cut.0.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(cut.hear(), Value::Null);
    assert_eq!(place.status()["phase"], "running");

    // Several requests in one piece are several requests, and their sender may have nothing more to
    // say.
    let mut piped = place.operator();
    piped.write(b"{\"command\":\"status\"}\n{\"command\":\"reload\"}\n{\"command\":\"status\"}\n");
    piped.0.get_mut().shutdown(Shutdown::Write).unwrap();
    let replies: Vec<Value> = (0..4).map(|_| piped.hear()).collect();
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
fn slow_and_many_clients_keep_nobody_out_for_long() {
    let place = Place::new();
    let cluster = place.ready(&[]);
    let mut slow: Vec<Operator> = (0..16).map(|_| place.operator()).collect();
    for operator in &mut slow {
        operator.write(b"{\"command\":");
    }
    let mut refused = place.operator();
    assert_eq!(refused.hear()["error"]["code"], "busy");
    assert_eq!(refused.hear(), Value::Null);
    // Slow is not wrong.
    slow[0].write(b"\"status\"}\n");
    assert_eq!(slow[0].hear()["ok"]["status"]["pid"], cluster.pid());
    drop(slow);
    until("there is room again", || (place.status()["pid"] == cluster.pid()).then_some(()));
}

#[test]
fn who_hangs_up_takes_no_order_back_and_no_place() {
    let place = Place::new();
    let mut cluster = place.ready(&[
        ("workers", "2"),
        ("drain", "ignore"),
        ("deadline", "60000"),
        ("fast", "100"),
    ]);
    place.operator().write(b"{\"command\":\"drain\",\"id\":1}\n");
    cluster.event_of("draining", 1);
    for _ in 0..20 {
        until("there is room", || {
            let mut operator = place.operator();
            operator.write(b"{\"command\":\"status\"}\n");
            (operator.hear()["error"] == Value::Null)
                .then(|| operator.write(b"{\"command\":\"drain\",\"id\":1}\n"))
        });
    }
    until("there is room", || (place.status()["workers"][0]["state"] == "draining").then_some(()));
    place.operator().write(b"{\"command\":\"stop\",\"mode\":\"fast\"}\n");
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_does_not_hold_the_end_up() {
    let place = Place::new();
    let mut cluster = place.ready(&[]);
    let mut deaf = place.operator();
    deaf.0.get_mut().set_write_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    while deaf.0.get_mut().write_all(&b"{\"command\":\"status\"}\n".repeat(100)).is_ok() {}
    assert_eq!(place.ask(&json!({ "command": "stop" }))["ok"]["stopped"]["killed"], json!([]));
    assert_eq!(cluster.exit().code(), Some(0));
    assert_eq!(place.left(), 0);
}

#[test]
fn k15_a_second_primary_is_refused_and_the_first_unharmed() {
    let place = Place::new();
    let mut first = place.ready(&[]);
    let refused = refusal(fixture(&[("control", place.text())]));
    assert!(
        refused.contains(place.text())
            && refused.contains(&format!("served by process {}", first.pid())),
        "{refused}"
    );
    // Not even if somebody has removed the lock.
    fs::remove_file(place.folder.path().join("control.sock.lock")).unwrap();
    let refused = refusal(fixture(&[("control", place.text())]));
    assert!(refused.contains("served by another process"), "{refused}");
    assert_eq!(place.status()["pid"], first.pid());

    first.signal(Signal::KILL);
    first.exit();
    assert!(place.path.exists());
    let second = place.ready(&[]);
    assert_eq!(place.status()["pid"], second.pid());
}

#[test]
fn k15_a_path_that_cannot_be_had_is_named() {
    let place = Place::new();
    fs::write(&place.path, "a letter").unwrap();
    let long = place.folder.path().join("x".repeat(120));
    let nowhere = place.folder.path().join("no/folder");
    for (path, word) in
        [(place.path.as_path(), "no socket"), (&long, "SUN_LEN"), (&nowhere, "No such file")]
    {
        let refused = refusal(fixture(&[("control", path.to_str().unwrap())]));
        assert!(refused.contains(path.to_str().unwrap()) && refused.contains(word), "{refused}");
    }
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "a letter");
    assert_eq!(place.left(), 1);
}

#[test]
fn the_files_go_when_the_cluster_ends_by_itself_and_strange_ones_stay() {
    let place = Place::new();
    let mut cluster = Cluster::start(&[
        ("control", place.text()),
        ("boot", "exit"),
        ("give_up", "2"),
        ("base", "1"),
    ]);
    assert_eq!(cluster.exit().code(), Some(1));
    assert_eq!(place.left(), 0);

    let mut cluster = place.ready(&[]);
    fs::remove_file(&place.path).unwrap();
    fs::write(&place.path, "a letter").unwrap();
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.exit().code(), Some(0));
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "a letter");
    assert_eq!(place.left(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_says_what_the_page_says() {
    let place = Place::new();
    let missing = Client::connect(&place.path).await.unwrap_err().to_string();
    assert!(missing.contains(place.text()) && missing.contains("no such socket"), "{missing}");
    let mut cluster = place.ready(&[]);
    let mut client = Client::connect(&place.path).await.unwrap();
    let Reply::Status(status) = client.call(&cluster::control::Command::Status).await.unwrap()
    else {
        panic!("no status")
    };
    assert_eq!((status.pid, status.workers[0].state), (cluster.pid(), WorkerState::Serving));
    let nobody = cluster::control::Command::Drain { id: "99".parse().unwrap() };
    let Err(ControlError::Refused(refused)) = client.call(&nobody).await else {
        panic!("not refused")
    };
    assert_eq!(refused.code, ErrorCode::Gone);

    // Who is refused at the door learns so, although nobody reads what it says.
    let crowd: Vec<Operator> = (0..15).map(|_| place.operator()).collect();
    let mut late = Client::connect(&place.path).await.unwrap();
    let Err(ControlError::Refused(refused)) = late.call(&cluster::control::Command::Reload).await
    else {
        panic!("not refused")
    };
    assert_eq!(refused.code, ErrorCode::Busy);
    drop(crowd);

    cluster.signal(Signal::KILL);
    cluster.exit();
    let lost = client.call(&cluster::control::Command::Status).await.unwrap_err();
    assert!(matches!(lost, ControlError::Lost(_)), "{lost}");
    let dead = Client::connect(&place.path).await.unwrap_err().to_string();
    assert!(dead.contains("nobody listens there"), "{dead}");
}
