//! How long to wait before the next try: doubling, with jitter, forgotten after a steady time.

use std::time::Duration;

/// How long something has to have worked for earlier failures to be forgotten.
pub const STEADY: Duration = Duration::from_secs(60);

/// The waits between tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    jitter: Jitter,
}

/// How a wait is varied, so that many gateways do not come back in the same instant.
#[derive(Clone, Copy, Debug)]
pub enum Jitter {
    /// Anything between nothing and the whole wait: for a broker that thousands share.
    Full,
    /// Between half and the whole wait: for a wire of our own, which gains nothing from haste.
    Half,
}

impl Backoff {
    /// Waits that begin at `first` and double up to `most`.
    pub fn new(first: Duration, most: Duration, jitter: Jitter) -> Self {
        Self { first, most, failures: 0, jitter }
    }

    /// The wait after one more failure. `worked_for` is how long it had worked before that.
    pub fn next(&mut self, worked_for: Duration) -> Duration {
        if worked_for >= STEADY {
            self.failures = 0;
        }
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        match self.jitter {
            Jitter::Full => ceiling.mul_f64(fastrand::f64()),
            Jitter::Half => ceiling.mul_f64(0.5 + fastrand::f64() / 2.0),
        }
    }

    /// Forgets the failures so far.
    pub fn forget(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        self.first.saturating_mul(1 << self.failures.min(16)).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over_after_a_steady_time() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10), Jitter::Half);
        for ceiling in [1, 2, 4, 8, 10, 10] {
            let ceiling = Duration::from_secs(ceiling);
            let wait = backoff.next(Duration::ZERO);
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?} of {ceiling:?}");
        }
        assert!(backoff.next(STEADY) <= Duration::from_secs(1));
        for _ in 0..100 {
            backoff.next(Duration::ZERO);
        }
        assert!(backoff.next(Duration::ZERO) <= Duration::from_secs(10));
    }
}
