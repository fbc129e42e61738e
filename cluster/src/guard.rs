use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

/// Starts the thread that ends this process when the primary has been gone for `grace`.
///
/// It needs nothing of the program: no runtime, no lock, no cooperation of a handler that blocks
/// the event loop. The usual way out, a drain, has the grace to come first.
pub(crate) fn watch(control: OwnedFd, grace: Duration) -> io::Result<()> {
    thread::Builder::new().name("cluster-guard".to_owned()).stack_size(64 << 10).spawn(
        move || {
            wait_for_end(&control);
            thread::sleep(grace);
            // SIGKILL, because an orderly exit runs handlers that can wait for a lock which a stuck
            // thread holds. The process group is not touched: children of this worker are its own
            // affair.
            let _ = kill_process(getpid(), Signal::KILL);
        },
    )?;
    Ok(())
}

/// Returns when the other end of `control` is closed. Unread bytes neither wake nor hide it: only
/// the hang-up is asked for.
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
            // Interrupted, or out of memory: the primary is not known to be gone, so look again,
            // but never spin.
            _ => thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    #[test]
    fn k03_only_the_end_wakes_the_guard_even_behind_unread_bytes() {
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
