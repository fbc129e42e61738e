//! The thread that ends a worker whose primary has died.

use std::{io, os::fd::OwnedFd, thread, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpid, kill_process},
};

/// Starts the thread that kills this process `grace` after the primary died.
///
/// The thread is independent of the program: it needs no runtime and no lock, and works while a
/// handler blocks the event loop. Within the grace the worker can drain and exit by itself.
pub(crate) fn watch(control: OwnedFd, grace: Duration) -> io::Result<()> {
    thread::Builder::new().name("cluster-guard".to_owned()).stack_size(64 << 10).spawn(
        move || {
            wait_for_end(&control);
            thread::sleep(grace);
            // SIGKILL, because an orderly exit runs handlers that can wait for a lock of a stuck
            // thread. Only this process, because the worker is responsible for its own children.
            let _ = kill_process(getpid(), Signal::KILL);
        },
    )?;
    Ok(())
}

/// Returns when the other end of `control` is closed. Only the hang-up is polled, so unread bytes
/// neither wake the thread nor hide the hang-up.
fn wait_for_end(control: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(control, PollFlags::RDHUP)];
        match poll(&mut fds, None) {
            Ok(_)
                if fds[0]
                    .revents()
                    .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) =>
            {
                return;
            }
            // Interrupted, or out of memory: poll again after a pause, because the primary may
            // still live.
            _ => thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};

    use super::*;

    #[test]
    fn k03_only_the_hang_up_wakes_the_guard() {
        let (mut primary, worker) = UnixStream::pair().unwrap();
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            wait_for_end(&worker.into());
            ended.send(()).unwrap();
        });
        primary.write_all(b"unread").unwrap();
        assert_eq!(
            end.recv_timeout(Duration::from_millis(50)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
        drop(primary);
        assert_eq!(end.recv_timeout(Duration::from_secs(5)), Ok(()));
    }
}
