//! The one place that knows whether wall time can be trusted.
//!
//! A box without a battery wakes up in 1970, or where it was switched off, and learns the time
//! minutes later from the network; people set clocks too. Time since boot never steps, and goes on
//! while the box sleeps. So a moment is kept as what the wall clock showed, together with the
//! clock's *era*: a stretch in which the distance between the two stood still. When a later era of
//! the same boot is trusted, what an earlier one stamped can be put right; the eras themselves are
//! kept by each [queue](crate::queue), beside the records they stamped.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// 2026-01-01, in milliseconds since 1970. This program is younger, so a clock that shows less has
/// not been set.
pub const CLOCK_WAS_SET: u64 = 1_767_225_600_000;

/// How far the wall clock may stray from the time since boot before that counts as a step, in
/// milliseconds: more than a slewed clock does from one look to the next.
pub const STEP: u64 = 1000;

/// What counts as one moment, in milliseconds, and how often it is tried to catch one.
const AT_ONCE: u64 = 50;
const ATTEMPTS: u32 = 5;

/// What is known about the clock that stamped a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Correction {
    /// It was set, as far as anybody can tell.
    #[default]
    None,
    /// It was not set, and the true time became known: milliseconds to add to times captured in
    /// the record. The record's own time has been corrected already.
    By(i64),
    /// It was not set, and the true time is not known, or not yet.
    Unknown,
}

/// One start of the operating system: from boot to boot another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// No boot in particular.
    pub const UNKNOWN: Self = Self([0; 16]);
}

/// A moment, as both clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970, by the wall clock; 0 for anything earlier.
    pub wall: u64,
    /// Milliseconds since boot.
    pub boot: u64,
}

impl Stamp {
    /// The wall clock's distance from the time since boot, in milliseconds.
    pub fn offset(self) -> i64 {
        self.wall.wrapping_sub(self.boot).cast_signed()
    }

    /// Whether the wall clock has been set.
    pub fn is_set(self) -> bool {
        self.wall >= CLOCK_WAS_SET
    }
}

/// Where time comes from.
pub trait Source: Send + Sync {
    /// Milliseconds since 1970, by the wall clock; 0 for anything earlier.
    fn wall(&self) -> u64;
    /// Milliseconds since boot, sleep included. Never steps.
    fn boot(&self) -> u64;
    /// Which boot this is; [`BootId::UNKNOWN`] if the system does not say.
    fn boot_id(&self) -> BootId;
    /// Whether something has told the machine the time: a clock that runs while it is off, or the
    /// network.
    fn is_kept(&self) -> bool;
}

/// The clock. Clones share it.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Source>,
    /// Whether the machine had been told the time when this clock was made.
    was_kept: bool,
    past: Arc<Mutex<Past>>,
}

/// Clocks that readings may have been stamped with and that have turned out to be wrong.
#[derive(Debug, Default)]
struct Past {
    /// The offset of the last stretch in which the clock was not set.
    unset: Option<i64>,
    guess: Option<Guess>,
}

/// A clock that has only carried on from where the machine was switched off. Moments in
/// milliseconds since boot, offsets in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Guess {
    /// When it was first looked at.
    since: u64,
    offset: i64,
    /// When it was last seen to stand as it did.
    stood_at: u64,
    /// The first step was its setting: when that was first seen, and the offset since.
    set: Option<(u64, i64)>,
}

impl Guess {
    fn new(stamp: Stamp) -> Self {
        Self { since: stamp.boot, offset: stamp.offset(), stood_at: stamp.boot, set: None }
    }

    fn look(&mut self, now: Stamp) {
        if self.set.is_some() {
            return;
        }
        match self.offset.abs_diff(now.offset()) <= STEP {
            true => self.stood_at = now.boot,
            false => self.set = Some((now.boot, now.offset())),
        }
    }

    /// By how much a time was wrong that it showed, if it was this clock that showed it: not what
    /// the clock that was set may have shown since, and not what lies before it was watched.
    fn error(&self, taken: u64, now: Stamp) -> Option<i64> {
        let (seen_at, offset) = self.set?;
        let by_this = self.since.saturating_add_signed(self.offset)..=seen_at.saturating_add_signed(self.offset);
        let by_the_other = self.stood_at.saturating_add_signed(offset)..=now.boot.saturating_add_signed(offset);
        (by_this.contains(&taken) && !by_the_other.contains(&taken)).then(|| offset.saturating_sub(self.offset))
    }
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Self::with(System)
    }

    /// Clocks of the caller's choice.
    pub fn with(source: impl Source + 'static) -> Self {
        let clock = Self { was_kept: source.is_kept(), source: Arc::new(source), past: Arc::default() };
        let now = clock.stamp();
        if now.is_set() && !clock.was_kept {
            clock.past().guess = Some(Guess::new(now));
        }
        clock
    }

    /// What the wall clock shows.
    pub fn now(&self) -> SystemTime {
        time(self.stamp().wall)
    }

    /// Whether the wall clock has been set.
    pub fn is_set(&self) -> bool {
        self.stamp().is_set()
    }

    /// Whether what it shows will stand: it has been set, and not only carried on from where the
    /// machine was switched off.
    pub fn is_sure(&self) -> bool {
        self.was_kept && self.is_set()
    }

    /// Puts a time right that was taken before the clock was set, if it has been set since: one
    /// that shows 1970, and one of a clock that had only carried on from where the machine was
    /// switched off. Any other time comes back as it is.
    pub fn settle(&self, taken_at: SystemTime) -> SystemTime {
        let taken = millis(taken_at);
        if taken >= CLOCK_WAS_SET && self.was_kept {
            return taken_at;
        }
        let now = self.stamp();
        if !now.is_set() {
            return taken_at;
        }
        let past = self.past();
        let error = match taken < CLOCK_WAS_SET {
            true => past.unset.map(|unset| now.offset().saturating_sub(unset)),
            false => past.guess.and_then(|guess| guess.error(taken, now)),
        };
        // What lies ahead of now was not taken by the clock that was watched.
        error.map_or(taken_at, |by| time(taken.saturating_add_signed(by).min(now.wall)))
    }

    /// Both clocks, read at one moment. What they show is remembered as far as times may have to be
    /// put right by it.
    pub fn stamp(&self) -> Stamp {
        let stamp = self.read();
        let mut past = self.past();
        if !stamp.is_set() {
            past.unset = Some(stamp.offset());
        } else if let Some(guess) = &mut past.guess {
            guess.look(stamp);
        }
        stamp
    }

    fn read(&self) -> Stamp {
        let mut boot = self.source.boot();
        for _ in 0..ATTEMPTS {
            let wall = self.source.wall();
            let after = self.source.boot();
            // Whoever is held up between two looks sees a step that never was.
            if after.saturating_sub(boot) <= AT_ONCE {
                return Stamp { wall, boot };
            }
            boot = after;
        }
        Stamp { wall: self.source.wall(), boot }
    }

    /// The wall clock alone, in milliseconds since 1970.
    pub fn wall(&self) -> u64 {
        self.source.wall()
    }

    /// Which boot this is.
    pub fn boot_id(&self) -> BootId {
        self.source.boot_id()
    }

    /// Whether something has told the machine the time since it was switched on. A Pi goes on from
    /// where it was switched off, which looks right and may be days behind.
    pub fn is_kept(&self) -> bool {
        self.source.is_kept()
    }

    /// Panics under this lock are defects; going on with what is there beats stopping.
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.stamp()).finish()
    }
}

/// Milliseconds since 1970; 0 for anything earlier.
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time that many milliseconds after 1970. What no clock can show is shown as 1970.
pub fn time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Linux.
struct System;

impl Source for System {
    fn wall(&self) -> u64 {
        read(ClockId::Realtime)
    }

    fn boot(&self) -> u64 {
        read(ClockId::Boottime)
    }

    fn boot_id(&self) -> BootId {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        parse_boot_id(&text).unwrap_or(BootId::UNKNOWN)
    }

    fn is_kept(&self) -> bool {
        // The second is how systemd says that the network has told it the time.
        ["/sys/class/rtc/rtc0", "/run/systemd/timesync/synchronized"].iter().any(|path| Path::new(path).exists())
    }
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let (Ok(secs), Ok(nanos)) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec)) else { return 0 };
    secs.saturating_mul(1000) + nanos / 1_000_000
}

/// A UUID as the kernel writes it.
fn parse_boot_id(text: &str) -> Option<BootId> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())?.map(|id| BootId(id.to_be_bytes()))
}

/// A clock for tests, moved by hand.
#[cfg(test)]
pub mod pretend {
    use super::*;

    /// Shares its hands with the [`Clock`] made from it.
    #[derive(Clone)]
    pub struct Pretend {
        hands: Arc<Mutex<(Stamp, BootId)>>,
        is_kept: bool,
    }

    impl Pretend {
        /// A box that has just been switched on, its wall clock showing `wall`.
        pub fn booted(boot: u8, wall: u64) -> Self {
            Self { hands: Arc::new(Mutex::new((Stamp { wall, boot: 5000 }, BootId([boot; 16])))), is_kept: true }
        }

        /// The same, and nothing has told it the time.
        pub fn guessing(boot: u8, wall: u64) -> Self {
            Self { is_kept: false, ..Self::booted(boot, wall) }
        }

        /// The clock with these hands.
        pub fn clock(&self) -> Clock {
            Clock::with(self.clone())
        }

        /// Lets time pass.
        pub fn pass(&self, millis: u64) {
            let mut hands = self.hands.lock().unwrap();
            hands.0.wall += millis;
            hands.0.boot += millis;
        }

        /// Sets the wall clock.
        pub fn set(&self, wall: u64) {
            self.hands.lock().unwrap().0.wall = wall;
        }

        /// What the wall clock shows, in milliseconds since 1970.
        pub fn wall(&self) -> u64 {
            self.hands.lock().unwrap().0.wall
        }
    }

    impl Source for Pretend {
        fn wall(&self) -> u64 {
            self.hands.lock().unwrap().0.wall
        }

        fn boot(&self) -> u64 {
            self.hands.lock().unwrap().0.boot
        }

        fn boot_id(&self) -> BootId {
            self.hands.lock().unwrap().1
        }

        fn is_kept(&self) -> bool {
            self.is_kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pretend::Pretend;
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn a_reading_taken_before_the_clock_was_set_is_put_right_afterwards() {
        let hands = Pretend::booted(1, 30_000);
        let clock = hands.clock();
        assert!(!clock.is_set());
        hands.pass(10_000);
        let taken_at = clock.now();
        hands.pass(2000);
        assert_eq!(clock.settle(taken_at), taken_at, "nothing better is known yet");
        hands.set(NOW);
        assert!(clock.is_set());
        assert_eq!(millis(clock.settle(taken_at)), NOW - 2000);
        assert_eq!(clock.settle(time(NOW - 500)), time(NOW - 500));
    }

    #[test]
    fn without_having_seen_the_unset_clock_nothing_is_made_up() {
        let clock = Pretend::booted(1, NOW).clock();
        assert_eq!(clock.settle(time(40_000)), time(40_000));
    }

    #[test]
    fn a_reading_a_guessing_clock_has_stamped_is_put_right_once_it_is_set() {
        for (guessed, known) in [(NOW - 3 * 86_400_000, NOW), (NOW + 3_600_000, NOW), (NOW - 20_000, NOW)] {
            let hands = Pretend::guessing(1, guessed);
            let clock = hands.clock();
            hands.pass(10_000);
            let (before, taken_at) = (time(guessed - 1), clock.now());
            hands.pass(2000);
            clock.now();
            assert_eq!(clock.settle(taken_at), taken_at, "nothing better is known yet");
            hands.set(known);
            assert_eq!(clock.settle(taken_at), time(known - 2000), "{guessed}");
            assert_eq!(clock.settle(before), before, "nobody knows which clock showed that");
            let fresh = clock.now();
            hands.pass(60_000);
            assert_eq!(clock.settle(fresh), fresh, "{guessed}");
            assert_eq!(clock.settle(clock.now()), clock.now(), "{guessed}");
            // Somebody sets a clock that was right: that is no news about what it had shown.
            hands.set(known + 86_400_000);
            assert_eq!(clock.settle(fresh), fresh, "{guessed}");
            assert_eq!(clock.settle(taken_at), time(known - 2000), "{guessed}");
        }
    }

    #[test]
    fn a_step_of_a_clock_that_was_told_the_time_puts_nothing_right() {
        let hands = Pretend::booted(1, NOW);
        let clock = hands.clock();
        let taken_at = clock.now();
        hands.set(NOW + 86_400_000);
        assert_eq!(clock.settle(taken_at), taken_at);
    }

    #[test]
    fn times_survive_the_way_to_disk_and_back() {
        assert_eq!(millis(time(1_795_219_869_123)), 1_795_219_869_123);
        assert_eq!(millis(SystemTime::UNIX_EPOCH - Duration::from_secs(5)), 0);
        let _ = time(u64::MAX);
    }

    #[test]
    fn the_system_has_both_clocks_and_says_which_boot_it_is() {
        let clock = Clock::system();
        let (first, second) = (clock.stamp(), clock.stamp());
        assert!(first.boot > 0 && second.boot >= first.boot);
        assert_ne!(clock.boot_id(), BootId::UNKNOWN);
        assert_eq!(clock.boot_id(), clock.boot_id());
        assert_eq!(parse_boot_id("00000000-0000-0000-0000-0000000000ff\n").unwrap().0[15], 255);
        assert_eq!(parse_boot_id("garbage"), None);
    }
}
