use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::harness::{Cluster, PATIENCE, fixture};

/// What hears a primary in the place of systemd.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, options: &[(&str, &str)], variables: &[(&str, &str)]) -> Cluster {
        let mut command = fixture(options);
        command
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .envs(variables.iter().copied());
        Cluster::run(command)
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 1024];
        let read = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    /// The next word that changes the state of a service.
    fn step(&self) -> String {
        std::iter::repeat_with(|| self.hear())
            .find(|said| !said.starts_with("STATUS=") && said != "WATCHDOG=1")
            .unwrap()
    }

    fn status(&self, wanted: &str) {
        std::iter::repeat_with(|| self.hear())
            .find(|said| said == &format!("STATUS={wanted}"))
            .unwrap();
    }
}

fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[test]
fn systemd_hears_of_readiness_reload_and_stop_in_order() {
    let manager = Manager::new();
    let mut cluster = manager.start(&[("workers", "2"), ("boot_block", "200")], &[]);
    assert_eq!(manager.step(), "READY=1");
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
        let reloading = manager.step();
        let stamp: i64 = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap_or_else(|| panic!("{reloading}"))
            .parse()
            .unwrap();
        assert!((asked..=monotonic_micros()).contains(&stamp), "{stamp} is not after {asked}");
        assert_eq!(manager.step(), "READY=1");
        cluster.event("reloaded");
    }
    cluster.signal(Signal::TERM);
    assert_eq!(manager.step(), "STOPPING=1");
    assert_eq!(cluster.exit().code(), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    let rest: Vec<_> =
        std::iter::from_fn(|| manager.socket.recv(&mut [0; 1024]).ok().map(|_| ())).collect();
    assert!(rest.len() < 8, "{} more", rest.len());
}

#[test]
fn a_reload_that_fails_is_over_for_systemd_as_well() {
    let manager = Manager::new();
    let boot = manager.folder.path().join("boot");
    let mut cluster = manager.start(&[("boot_file", boot.to_str().unwrap())], &[]);
    assert_eq!(manager.step(), "READY=1");
    std::fs::write(&boot, "exit").unwrap();
    cluster.signal(Signal::HUP);
    assert!(manager.step().starts_with("RELOADING=1"));
    assert_eq!(manager.step(), "READY=1");
    cluster.event("not reloaded");
    assert_eq!(cluster.ask("who")["id"], 1);
}

#[test]
fn after_a_stop_nothing_is_ready_any_more() {
    let manager = Manager::new();
    let mut cluster = manager.start(&[("drain", "finish")], &[]);
    assert_eq!(manager.step(), "READY=1");
    let mut client = cluster.connect();
    client.begin("wait 1000");
    cluster.signal(Signal::HUP);
    assert!(manager.step().starts_with("RELOADING=1"));
    // The new one serves, and the reload waits for the old one.
    cluster.event_of("draining", 1);
    cluster.signal(Signal::TERM);
    assert_eq!(manager.step(), "STOPPING=1");
    drop(client);
    assert_eq!(cluster.exit().code(), Some(0));
    manager.socket.set_nonblocking(true).unwrap();
    let mut bytes = [0; 1024];
    while let Ok(read) = manager.socket.recv(&mut bytes) {
        assert!(!bytes[..read].starts_with(b"READY"), "the state is that of a stop");
    }
}

#[test]
fn systemd_follows_an_upgrade_to_the_new_primary() {
    let manager = Manager::new();
    let mut cluster = manager.start(&[], &[]);
    assert_eq!(manager.step(), "READY=1");
    cluster.signal(Signal::USR2);
    cluster.follow();
    // In either order: the service is ready already.
    let mut said = [manager.step(), manager.step()];
    said.sort();
    assert_eq!(said, [format!("MAINPID={}", cluster.pid()), "READY=1".to_owned()]);
    assert_eq!(cluster.first_exit().code(), Some(0));
    cluster.signal(Signal::TERM);
    assert_eq!(manager.step(), "STOPPING=1");
    assert_eq!(cluster.exit().code(), Some(0));
}

#[test]
fn people_read_in_the_status_how_many_serve() {
    let manager = Manager::new();
    let mut cluster = manager.start(&[("workers", "2"), ("base", "100")], &[]);
    manager.status("2 of 2 workers serve");
    cluster.command("scale 3");
    manager.status("3 of 3 workers serve");
    cluster.signal(Signal::TERM);
    manager.status("stopping, 0 workers are left");
}

#[test]
fn the_watchdog_is_beaten_by_the_runtime_that_supervises() {
    let manager = Manager::new();
    let mut cluster = manager.start(&[], &[("WATCHDOG_USEC", "200000")]);
    let mut beats = Vec::new();
    while beats.len() < 8 {
        if manager.hear() == "WATCHDOG=1" {
            beats.push(Instant::now());
        }
    }
    // The first comes at once, and each other not before its time; what comes late is no fault of
    // ours.
    let took = beats[7] - beats[0];
    println!("8 beats in {took:?}");
    assert!(took >= Duration::from_millis(500), "{took:?}");

    // What blocks the primary stops the beat.
    let blocked = std::thread::scope(|scope| {
        scope.spawn(|| cluster.command("block 700"));
        let mut last = Instant::now();
        loop {
            if manager.hear() == "WATCHDOG=1" {
                let gap = std::mem::replace(&mut last, Instant::now()).elapsed();
                if gap > Duration::from_millis(500) {
                    return gap;
                }
            }
        }
    });
    println!("a gap of {blocked:?}");
}

#[test]
fn a_service_manager_that_is_not_there_stops_nothing() {
    for socket in ["/nowhere/notify", "@cluster-nobody-listens", "vsock:2:1234", "nonsense"] {
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
