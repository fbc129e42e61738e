//! Notices to the service manager.

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

use crate::harness::{Cluster, TIMEOUT, fixture};

/// Receives the notices of a primary in place of systemd.
struct ServiceManager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl ServiceManager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, options: &[(&str, &str)], variables: &[(&str, &str)]) -> Cluster {
        let mut command = fixture(options);
        command
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .envs(variables.iter().copied());
        Cluster::run(command)
    }

    fn receive(&self) -> String {
        let mut bytes = [0; 1024];
        let read = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    /// The next notice that changes the state of the service.
    fn next_state(&self) -> String {
        std::iter::repeat_with(|| self.receive())
            .find(|notice| !notice.starts_with("STATUS=") && notice != "WATCHDOG=1")
            .unwrap()
    }

    fn wait_for_status(&self, wanted: &str) {
        std::iter::repeat_with(|| self.receive())
            .find(|notice| notice == &format!("STATUS={wanted}"))
            .unwrap();
    }
}

fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[test]
fn readiness_reload_and_stop_are_notified_in_order() {
    let manager = ServiceManager::new();
    let mut cluster = manager.start(&[("workers", "2"), ("boot_block", "200")], &[]);
    assert_eq!(manager.next_state(), "READY=1");
    let status = cluster.command("status");
    assert!(
        status["slots"]
            .as_array()
            .unwrap()
            .iter()
            .all(|slot| slot["state"].as_str().unwrap().starts_with("Serving")),
        "{status}"
    );
    for _ in 0..2 {
        let asked = monotonic_micros();
        cluster.signal(Signal::HUP);
        let reloading = manager.next_state();
        let stamp: i64 = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap_or_else(|| panic!("{reloading}"))
            .parse()
            .unwrap();
        assert!((asked..=monotonic_micros()).contains(&stamp), "{stamp} is not after {asked}");
        assert_eq!(manager.next_state(), "READY=1");
        cluster.event("reloaded");
    }
    cluster.signal(Signal::TERM);
    assert_eq!(manager.next_state(), "STOPPING=1");
    assert_eq!(cluster.exit().code(), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    let rest: Vec<_> =
        std::iter::from_fn(|| manager.socket.recv(&mut [0; 1024]).ok().map(|_| ())).collect();
    assert!(rest.len() < 8, "{} more", rest.len());
}

#[test]
fn failed_reload_is_notified_as_over() {
    let manager = ServiceManager::new();
    let boot = manager.folder.path().join("boot");
    let mut cluster = manager.start(&[("boot_file", boot.to_str().unwrap())], &[]);
    assert_eq!(manager.next_state(), "READY=1");
    std::fs::write(&boot, "exit").unwrap();
    cluster.signal(Signal::HUP);
    assert!(manager.next_state().starts_with("RELOADING=1"));
    assert_eq!(manager.next_state(), "READY=1");
    cluster.event("not reloaded");
    assert_eq!(cluster.ask("identity")["id"], 1);
}

#[test]
fn no_readiness_is_notified_after_a_stop() {
    let manager = ServiceManager::new();
    let mut cluster = manager.start(&[("drain", "finish")], &[]);
    assert_eq!(manager.next_state(), "READY=1");
    let mut client = cluster.connect();
    client.begin("wait 1000");
    cluster.signal(Signal::HUP);
    assert!(manager.next_state().starts_with("RELOADING=1"));
    // The new worker serves, and the reload waits for the old one.
    cluster.event_of("draining", 1);
    cluster.signal(Signal::TERM);
    assert_eq!(manager.next_state(), "STOPPING=1");
    drop(client);
    assert_eq!(cluster.exit().code(), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    let mut bytes = [0; 1024];
    while let Ok(read) = manager.socket.recv(&mut bytes) {
        assert!(!bytes[..read].starts_with(b"READY"), "READY must not follow STOPPING");
    }
}

#[test]
fn upgrade_is_notified_with_the_new_main_pid() {
    let manager = ServiceManager::new();
    let mut cluster = manager.start(&[], &[]);
    assert_eq!(manager.next_state(), "READY=1");
    cluster.signal(Signal::USR2);
    cluster.follow();
    // In either order, because the service is already ready.
    let mut notices = [manager.next_state(), manager.next_state()];
    notices.sort();
    assert_eq!(notices, [format!("MAINPID={}", cluster.pid()), "READY=1".to_owned()]);
    assert_eq!(cluster.first_exit().code(), Some(0));
    cluster.signal(Signal::TERM);
    assert_eq!(manager.next_state(), "STOPPING=1");
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn status_line_shows_how_many_workers_serve() {
    let manager = ServiceManager::new();
    let mut cluster = manager.start(&[("workers", "2"), ("base", "100")], &[]);
    manager.wait_for_status("2 of 2 workers serve");
    cluster.command("scale 3");
    manager.wait_for_status("3 of 3 workers serve");
    cluster.signal(Signal::TERM);
    manager.wait_for_status("stopping, 0 workers are left");
}

#[test]
fn watchdog_is_notified_by_the_supervising_runtime() {
    let manager = ServiceManager::new();
    let mut cluster = manager.start(&[], &[("WATCHDOG_USEC", "200000")]);
    let mut beats = Vec::new();
    while beats.len() < 8 {
        if manager.receive() == "WATCHDOG=1" {
            beats.push(Instant::now());
        }
    }
    // The first notice comes at once, the others not before their time. Late notices are allowed,
    // because the machine may be busy.
    let took = beats[7] - beats[0];
    println!("8 watchdog notices in {took:?}");
    assert!(took >= Duration::from_millis(500), "{took:?}");

    // A blocked primary sends no notices.
    let blocked = std::thread::scope(|scope| {
        scope.spawn(|| cluster.command("block 700"));
        let mut last = Instant::now();
        loop {
            if manager.receive() == "WATCHDOG=1" {
                let gap = std::mem::replace(&mut last, Instant::now()).elapsed();
                if gap > Duration::from_millis(500) {
                    return gap;
                }
            }
        }
    });
    println!("gap between two notices: {blocked:?}");
}

#[test]
fn missing_service_manager_does_not_stop_the_primary() {
    for socket in ["/nowhere/notify", "@cluster-no-listener", "vsock:2:1234", "nonsense"] {
        let mut command = fixture(&[]);
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "20000");
        let mut cluster = Cluster::run(command);
        assert_eq!(cluster.event("settled")["error"], serde_json::Value::Null);
        let names = cluster.ask("child")["env"].to_string();
        assert!(!names.contains("NOTIFY_SOCKET") && !names.contains("WATCHDOG"), "{names}");
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.exit().code(), Some(0), "{socket}");
    }
}
