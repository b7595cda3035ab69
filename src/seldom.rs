//! Log lines that would come in floods: the first at once, then one in a while with a count.

use std::time::Duration;

use tokio::time::Instant;

/// How long lines of one kind are held back.
const PAUSE: Duration = Duration::from_secs(10);

/// Decides whether a line of one kind is due.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    held_back: u64,
}

impl Seldom {
    /// Whether to log now; if so, how many lines were held back since the last one.
    pub fn due(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_and_then_one_with_a_count() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(0));
        for _ in 0..500 {
            assert_eq!(seldom.due(), None);
        }
        tokio::time::sleep(PAUSE).await;
        assert_eq!(seldom.due(), Some(500));
        assert_eq!(seldom.due(), None);
    }
}
