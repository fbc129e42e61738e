use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// How often a message that counts is tried, while the service manager does not read, and the pause
/// between.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// The way to the service manager that started this process: datagrams to the socket that
/// `NOTIFY_SOCKET` names.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    warned: AtomicBool,
}

/// What a service manager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// All slots serve, or a reload is over.
    Ready,
    /// A reload begins.
    Reloading,
    /// The cluster stops.
    Stopping,
    /// The primary is not stuck.
    Alive,
    /// A line for people.
    Status(String),
    /// From now on another process is the primary.
    MainPid(u32),
}

impl Notifier {
    /// The service manager of this process, if there is one.
    pub(crate) fn of_this_process() -> Option<Self> {
        let path = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        let watchdog = watchdog(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
            process::id(),
        );
        match Self::new(&path, watchdog) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!(socket = ?path, %error, "the service manager cannot be told anything: NOTIFY_SOCKET is not usable");
                None
            }
        }
    }

    fn new(path: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(path)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "it is neither an absolute path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, watchdog, warned: AtomicBool::new(false) })
    }

    /// How often [`Notice::Alive`] is expected: half of the time after which the service manager
    /// takes the primary for stuck.
    pub(crate) fn beat(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says something. If the service manager does not read, what changes its view of the service
    /// is tried for half a second.
    pub(crate) async fn tell(&self, notice: &Notice) {
        let counts = !matches!(notice, Notice::Alive | Notice::Status(_));
        let mut tries = if counts { TRIES } else { 1 };
        loop {
            tries -= 1;
            match self.socket.send_to_addr(notice.text().as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries > 0 => {
                    sleep(PAUSE).await
                }
                Err(error) => {
                    if !self.warned.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, ?notice, "the service manager does not hear; later ones like this are not logged");
                    }
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}

impl Notice {
    fn text(&self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()),
            Self::Stopping => "STOPPING=1".to_owned(),
            Self::Alive => "WATCHDOG=1".to_owned(),
            Self::Status(line) => format!("STATUS={line}"),
            Self::MainPid(pid) => format!("MAINPID={pid}"),
        }
    }
}

/// By this time a service manager tells a reload from one that was asked for before.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// Half of `WATCHDOG_USEC`, if it is meant for this process.
fn watchdog(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0)?;
    // Not in a spin, whatever somebody set.
    Some(Duration::from_micros(micros / 2).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_beaten_at_half_its_time_if_it_is_ours() {
        let half = Some(Duration::from_secs(5));
        assert_eq!(watchdog(Some("10000000"), None, 7), half);
        assert_eq!(watchdog(Some("10000000"), Some("7"), 7), half);
        for (micros, pid) in [
            (Some("10000000"), Some("8")),
            (Some("10000000"), Some("x")),
            (Some("0"), None),
            (Some("x"), None),
            (None, None),
        ] {
            assert_eq!(watchdog(micros, pid, 7), None, "{micros:?} {pid:?}");
        }
        assert_eq!(watchdog(Some("1"), None, 7), Some(Duration::from_millis(1)));
    }

    #[tokio::test]
    async fn notices_go_to_a_path_or_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("cluster-notify-test-{}", process::id());
        let receivers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap())
                    .unwrap(),
            ),
        ];
        for (address, receiver) in receivers {
            let notifier = Notifier::new(&address, None).unwrap();
            for (notice, text) in [
                (Notice::Ready, "READY=1"),
                (Notice::Stopping, "STOPPING=1"),
                (Notice::Alive, "WATCHDOG=1"),
                (Notice::Status("2 of 2".to_owned()), "STATUS=2 of 2"),
                (Notice::MainPid(7), "MAINPID=7"),
            ] {
                notifier.tell(&notice).await;
                let mut bytes = [0; 64];
                let read = receiver.recv(&mut bytes).unwrap();
                assert_eq!(str::from_utf8(&bytes[..read]).unwrap(), text);
            }
        }
        assert!(Notifier::new(OsStr::new("vsock:2:1"), None).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_manager_that_does_not_read_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), None).unwrap();
        let began = tokio::time::Instant::now();
        while !notifier.warned.load(Ordering::Relaxed) {
            notifier.tell(&Notice::Alive).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        notifier.tell(&Notice::Ready).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        // What counts comes through as soon as there is room.
        let reading = async {
            sleep(PAUSE * 3).await;
            let mut bytes = [0; 64];
            receiver.set_nonblocking(true).unwrap();
            std::iter::from_fn(|| receiver.recv(&mut bytes).ok().map(|read| bytes[..read].to_vec()))
                .count()
        };
        tokio::join!(notifier.tell(&Notice::Ready), reading);
        let mut bytes = [0; 64];
        let read = receiver.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..read], b"READY=1");
        drop(receiver);
        notifier.tell(&Notice::Ready).await;
    }
}
