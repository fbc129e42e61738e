//! The clock that both processes of a handover share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since boot, which [`MemoryStore`](session_core::MemoryStore) uses as its clock. All
/// processes of the machine share it, it never goes back, and it includes suspended time.
pub(super) fn boot_time() -> Duration {
    // Neither part is negative on this clock.
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/uptime` includes suspended time, see proc(5).
    #[test]
    fn c26_handover_timestamps_count_from_boot() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let timestamp = boot_time().as_secs_f64();
        assert!((timestamp - uptime).abs() < 1.0, "timestamp {timestamp}, uptime {uptime}");
    }
}
