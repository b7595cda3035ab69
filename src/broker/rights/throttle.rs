//! How often passwords may be tried.
//!
//! Of one user from one address five tries are free. From then on each has to wait, a second at first and twice as long each
//! time, half a minute at most; whoever comes sooner is refused unheard, and that counts for nothing. The same goes for all tries from one address,
//! and for all tries of one user, but later: so that who goes through many names or comes from many places is stopped as well, and one device
//! with a wrong password disturbs no other on its machine.
//!
//! A try counts from its beginning, so that many at once are no way around it; a login that succeeds is taken back. With
//! time tries are forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What tries are counted by, one after the other.
const KINDS: [Kind; 3] = [
    // An address with a user: forgotten within a quarter of an hour.
    Kind { free: 5, one_forgotten_in: Duration::from_secs(180) },
    // An address; a user. A few devices that each try twice a minute for ever never fill these.
    Kind { free: 30, one_forgotten_in: Duration::from_secs(8) },
    Kind { free: 30, one_forgotten_in: Duration::from_secs(8) },
];
/// What the first one after the free ones waits, and the most that any does.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Addresses and users that are remembered. Beyond that the one that has been quiet longest goes.
const MOST: usize = 4096;

/// Who has tried how often.
#[derive(Debug, Default)]
pub struct Throttle {
    tries: HashMap<u64, Tries>,
    keys: RandomState,
}

/// How patient one is.
#[derive(Debug)]
struct Kind {
    /// Tries that have not to wait.
    free: u32,
    /// In which time one try is forgotten.
    one_forgotten_in: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    count: u32,
    last: Instant,
    /// No other is heard before this.
    next: Instant,
}

/// A try that was let through.
#[derive(Debug)]
pub struct Try([Option<u64>; 3]);

impl Throttle {
    /// Whether a try would be refused.
    pub fn has_to_wait(&self, address: Option<IpAddr>, user: &str, now: Instant) -> bool {
        self.wait(self.keys(address, user), now).is_some()
    }

    /// Begins a try.
    ///
    /// # Errors
    /// How long to wait before it is heard.
    pub fn begin(&mut self, address: Option<IpAddr>, user: &str, now: Instant) -> Result<Try, Duration> {
        let keys = self.keys(address, user);
        match self.wait(keys, now) {
            Some(wait) => return Err(wait),
            None => KINDS.iter().zip(keys).for_each(|(kind, key)| self.count(kind, key, now)),
        }
        Ok(Try(keys))
    }

    fn keys(&self, address: Option<IpAddr>, user: &str) -> [Option<u64>; 3] {
        let address = address.map(network);
        [
            Some(self.keys.hash_one((0, address, user))),
            address.map(|address| self.keys.hash_one((1, address))),
            Some(self.keys.hash_one((2, user))),
        ]
    }

    fn wait(&self, keys: [Option<u64>; 3], now: Instant) -> Option<Duration> {
        let next = keys.iter().flatten().filter_map(|key| self.tries.get(key)).map(|tries| tries.next).max()?;
        Some(next.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Takes back a try that was a login, or that said nothing of a password.
    pub fn take_back(&mut self, this: Try) {
        for key in this.0.into_iter().flatten() {
            let Some(tries) = self.tries.get_mut(&key) else { continue };
            tries.count = tries.count.saturating_sub(1);
            tries.next = tries.last;
            if tries.count == 0 {
                self.tries.remove(&key);
            }
        }
    }

    fn count(&mut self, kind: &Kind, key: Option<u64>, now: Instant) {
        let Some(key) = key else { return };
        if self.tries.len() >= MOST && !self.tries.contains_key(&key) {
            let quietest = self.tries.iter().min_by_key(|(_, tries)| tries.last).map(|(key, _)| *key);
            quietest.and_then(|quietest| self.tries.remove(&quietest));
        }
        let tries = self.tries.entry(key).or_insert(Tries { count: 0, last: now, next: now });
        let forgotten = now.saturating_duration_since(tries.last).as_secs() / kind.one_forgotten_in.as_secs();
        let left = tries.count.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        tries.count = left.saturating_add(1);
        tries.last = now;
        tries.next = match tries.count.checked_sub(kind.free) {
            None => now,
            Some(beyond) => now + FIRST_WAIT.saturating_mul(1 << beyond.min(8)).min(LONGEST_WAIT),
        };
    }
}

/// What counts as one address: of IPv6 a whole network, because a host has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 168, 1, last]))
    }

    #[test]
    fn five_tries_are_free_and_then_each_waits_twice_as_long_up_to_half_a_minute() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        for _ in 0..5 {
            assert!(throttle.begin(address(1), "panel", now).is_ok());
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            let wait = throttle.begin(address(1), "panel", now).unwrap_err();
            assert_eq!(wait, SECOND * seconds);
            // Whoever comes too soon makes it no longer.
            assert!(throttle.begin(address(1), "panel", now + wait - SECOND / 2).is_err());
            now += wait;
            assert!(throttle.begin(address(1), "panel", now).is_ok());
        }
        assert!(throttle.begin(address(2), "panel", now).is_ok(), "another address is another matter");
        assert!(throttle.begin(address(1), "plc", now).is_ok(), "and so is another user");
        now += SECOND * 3600;
        for _ in 0..5 {
            assert!(throttle.begin(address(1), "panel", now).is_ok(), "it was forgotten");
        }
    }

    #[test]
    fn who_goes_through_many_names_or_comes_from_many_places_is_stopped_as_well() {
        let now = Instant::now();
        let heard = |mut one: Box<dyn FnMut(u8) -> bool>| (0..200).filter(|index| one(*index)).count();
        let (mut names, mut places) = (Throttle::default(), Throttle::default());
        assert_eq!(heard(Box::new(move |index| names.begin(address(1), &format!("user{index}"), now).is_ok())), 30);
        assert_eq!(heard(Box::new(move |index| places.begin(address(index), "panel", now).is_ok())), 30);
        let mut network = Throttle::default();
        let host = |index: u8| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, index.into()]));
        assert_eq!(heard(Box::new(move |index| network.begin(host(index), "panel", now).is_ok())), 5);
    }

    #[test]
    fn devices_with_a_wrong_password_disturb_no_other_on_their_machine() {
        let (mut throttle, began) = (Throttle::default(), Instant::now());
        for second in 0..24 * 3600 {
            let now = began + SECOND * second;
            for device in ["one", "other"] {
                let _ = throttle.begin(address(1), device, now);
            }
            if second % 600 == 599 {
                let login = throttle.begin(address(1), "panel", now).expect("nothing is wrong with it");
                throttle.take_back(login);
            }
        }
    }

    #[test]
    fn logins_that_succeed_never_wait() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..100 {
            let this = throttle.begin(address(1), "panel", now).unwrap();
            throttle.take_back(this);
        }
        assert!(throttle.tries.is_empty());
        // Many at once, before it is known of any whether it succeeds.
        let begun: Vec<_> = (0..100).filter_map(|_| throttle.begin(address(1), "panel", now).ok()).collect();
        assert_eq!(begun.len(), 5);
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_forgets_the_quietest_first() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let millisecond = Duration::from_millis(1);
        for index in 0..MOST as u32 {
            let _ = throttle.begin(None, &format!("user{index}"), now + millisecond * index);
        }
        assert_eq!(throttle.tries.len(), MOST);
        let key = throttle.keys.hash_one((2, format!("user{}", MOST - 1).as_str()));
        assert!(throttle.tries.contains_key(&key));
    }
}
