//! Sends `sd_notify` datagrams to the service manager.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// How often an important notice is tried while the service manager does not read.
const TRIES: u32 = 25;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The connection to the service manager that started this process: datagrams to the socket that
/// `NOTIFY_SOCKET` names.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    warned: AtomicBool,
}

/// A notice for the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// All slots serve, or a reload is over.
    Ready,
    /// A reload begins.
    Reloading,
    /// The cluster stops.
    Stopping,
    /// The primary is alive.
    Alive,
    /// A status line for people.
    Status(String),
    /// Another process is the primary from now on.
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
                tracing::warn!(
                    socket = ?path, %error,
                    "NOTIFY_SOCKET is not usable; the service manager gets no notices"
                );
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
                    "the address is neither an absolute path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, watchdog, warned: AtomicBool::new(false) })
    }

    /// How often the service manager expects [`Notice::Alive`]: half of its watchdog timeout.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends a notice. If the service manager does not read, notices that change the state of the
    /// service are retried for half a second.
    pub(crate) async fn send(&self, notice: &Notice) {
        let important = !matches!(notice, Notice::Alive | Notice::Status(_));
        let mut tries = if important { TRIES } else { 1 };
        loop {
            tries -= 1;
            match self.socket.send_to_addr(notice.text().as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries > 0 => {
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    if !self.warned.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            %error, ?notice,
                            "notice to the service manager failed; further failures are not logged"
                        );
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

/// The service manager uses this time to distinguish a reload from an earlier one.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// Half of `WATCHDOG_USEC`, if it applies to this process.
fn watchdog(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0)?;
    // At least 1 ms, so that a tiny value does not cause a busy loop.
    Some(Duration::from_micros(micros / 2).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_interval_is_half_of_our_timeout() {
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
                notifier.send(&notice).await;
                let mut bytes = [0; 64];
                let read = receiver.recv(&mut bytes).unwrap();
                assert_eq!(str::from_utf8(&bytes[..read]).unwrap(), text);
            }
        }
        assert!(Notifier::new(OsStr::new("vsock:2:1"), None).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn service_manager_that_does_not_read_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), None).unwrap();
        let began = tokio::time::Instant::now();
        while !notifier.warned.load(Ordering::Relaxed) {
            notifier.send(&Notice::Alive).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        notifier.send(&Notice::Ready).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        // An important notice arrives as soon as there is room.
        let reading = async {
            sleep(PAUSE * 3).await;
            let mut bytes = [0; 64];
            receiver.set_nonblocking(true).unwrap();
            std::iter::from_fn(|| receiver.recv(&mut bytes).ok().map(|read| bytes[..read].to_vec()))
                .count()
        };
        tokio::join!(notifier.send(&Notice::Ready), reading);
        let mut bytes = [0; 64];
        let read = receiver.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..read], b"READY=1");
        drop(receiver);
        notifier.send(&Notice::Ready).await;
    }
}
