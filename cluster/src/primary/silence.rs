use std::time::Duration;

use tokio::time::Instant;

/// Parts of the time that a worker may be silent.
const PARTS: u32 = 10;

/// How long a worker has been silent, counted in looks of the primary and not by a clock.
///
/// A look is taken every tenth of the time that is allowed. One that comes late, because the
/// primary was stopped, suspended or starved, does not count: then it is the primary that has not
/// listened. The next look is a whole interval later in any case, in which what waits in the socket
/// is read. So it takes more than ten intervals that the primary was there for, and nothing in
/// them, to make a worker a hung one; and what it said within the first ten has been read before
/// the last one ends.
pub(super) struct Silence {
    interval: Duration,
    began: Instant,
    last_look: Instant,
    beats: u64,
    /// Whole intervals without a beat.
    silent: u32,
}

impl Silence {
    pub(super) fn begin(allowed: Duration, now: Instant, beats: u64) -> Self {
        Self { interval: allowed / PARTS, began: now, last_look: now, beats, silent: 0 }
    }

    pub(super) fn next_look(&self) -> Instant {
        self.last_look + self.interval
    }

    /// Takes a look at the count of beats. Returns the time since the beginning if the worker
    /// hangs.
    pub(super) fn look(&mut self, now: Instant, beats: u64) -> Option<Duration> {
        let late = now.duration_since(self.last_look) > self.interval * 2;
        self.last_look = now;
        if beats != self.beats {
            self.beats = beats;
            self.silent = 0;
        } else if !late {
            self.silent += 1;
        }
        (self.silent > PARTS).then(|| now.duration_since(self.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(10);

    /// Looks on time until the worker hangs. Returns after how long that is.
    fn until_hung(silence: &mut Silence, from: Instant) -> Duration {
        for _ in 0..100 {
            let now = silence.next_look();
            if silence.look(now, silence.beats).is_some() {
                return now - from;
            }
        }
        panic!("silent for ever")
    }

    #[test]
    fn k08_who_is_silent_hangs_after_the_time_that_is_allowed_and_not_much_later() {
        let now = Instant::now();
        let mut silence = Silence::begin(ALLOWED, now, 7);
        let hung = until_hung(&mut silence, now);
        assert!(ALLOWED < hung && hung <= ALLOWED * 12 / 10, "{hung:?}");
        // Wherever in an interval the last beat came.
        let mut silence = Silence::begin(ALLOWED, now, 7);
        assert_eq!(silence.look(now + ALLOWED / 10, 8), None);
        let hung = until_hung(&mut silence, now);
        assert!(ALLOWED + ALLOWED / 10 < hung && hung <= ALLOWED * 12 / 10, "{hung:?}");
    }

    #[test]
    fn k08_one_beat_begins_anew() {
        let now = Instant::now();
        let mut silence = Silence::begin(ALLOWED, now, 0);
        for beats in 0..100 {
            for _ in 0..PARTS {
                assert_eq!(silence.look(silence.next_look(), beats), None);
            }
        }
    }

    #[test]
    fn k08_a_primary_that_was_away_blames_nobody() {
        let mut now = Instant::now();
        let mut silence = Silence::begin(ALLOWED, now, 0);
        for _ in 0..PARTS {
            now = silence.next_look();
            assert_eq!(silence.look(now, 0), None);
        }
        // At the brink, and again and again away for an hour: it listens for a whole interval
        // first.
        for _ in 0..100 {
            now = silence.next_look() + Duration::from_secs(3600);
            assert_eq!(silence.look(now, 0), None);
        }
        assert_eq!(until_hung(&mut silence, now), ALLOWED / 10);
    }
}
