//! Who connects when. Pure: the clock comes in as an argument.
//!
//! An adapter holds a few connections at once, and while it makes one it does not scan. So:
//!
//! - one connection is made at a time, and making them takes no more than half of the time, but for
//!   those that a command waits for;
//! - whoever has waited longest comes first, and those that a command waits for before them;
//! - where all connections are taken, one that is kept gives way after its turn;
//! - a device that could not be reached is tried again after a pause that doubles.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time that making connections rests after one: a device that hangs would else cost its
/// neighbours as much again.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A connection that lasted so long was a good one: what failed before it is forgotten.
const STEADY: Duration = Duration::from_secs(60);

/// How connections are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// How many there may be at once.
    pub most: usize,
    /// How long one that is kept may last while others wait.
    pub turn: Duration,
    /// The pause after the first failure; it doubles.
    pub back_off: Duration,
    /// The longest pause.
    pub back_off_most: Duration,
    /// The pause until one that is not heard is looked for again.
    pub look_again: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All was done, or it gave way.
    Well,
    /// It was there and was cut.
    Cut,
    /// It could not be made, or was of no use.
    Badly,
    /// Nobody was there to connect to.
    NotThere,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Connect(usize),
    /// Ask this one to end its connection.
    GiveWay(usize),
}

/// All devices of an adapter that are connected to.
#[derive(Debug)]
pub(crate) struct Plan {
    sharing: Sharing,
    members: Vec<Member>,
    /// When a connection may be made again that no command waits for.
    rested: Instant,
}

#[derive(Debug)]
struct Member {
    /// Whether its connection is kept.
    keep: bool,
    state: State,
    /// From when on it has something to do.
    wants: Option<Instant>,
    not_before: Instant,
    failures: u32,
    /// Whether a command waits for it.
    urgent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Connecting { since: Instant },
    Up { since: Instant, asked: bool },
}

impl Plan {
    /// Devices, by whether their connections are kept. All want one at once.
    pub(crate) fn new(sharing: Sharing, keep: impl IntoIterator<Item = bool>, now: Instant) -> Self {
        let member =
            |keep| Member { keep, state: State::Idle, wants: Some(now), not_before: now, failures: 0, urgent: false };
        Self { sharing, members: keep.into_iter().map(member).collect(), rested: now }
    }

    /// What to do now, if anything. It counts as done.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Step> {
        if self.members.iter().any(|member| matches!(member.state, State::Connecting { .. })) {
            return None;
        }
        let rested = self.rested <= now;
        let ready = self.members.iter().enumerate().filter(|(_, member)| member.is_ready(now, rested));
        let (first, urgent) =
            ready.min_by_key(|(_, member)| (!member.urgent, member.wants)).map(|(i, member)| (i, member.urgent))?;
        if self.taken() < self.sharing.most {
            let member = self.members.get_mut(first)?;
            member.state = State::Connecting { since: now };
            return Some(Step::Connect(first));
        }
        if self.members.iter().any(|member| matches!(member.state, State::Up { asked: true, .. })) {
            return None;
        }
        let turn = if urgent { Duration::ZERO } else { self.sharing.turn };
        let over = self.members.iter_mut().enumerate().filter_map(|(i, member)| match &mut member.state {
            State::Up { since, asked } if member.keep && *since + turn <= now => Some((*since, i, asked)),
            _ => None,
        });
        let (_, index, asked) = over.min_by_key(|(since, ..)| *since)?;
        *asked = true;
        Some(Step::GiveWay(index))
    }

    /// When to ask for the next step, if nothing happens before.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        let of = |member: &Member| match member.state {
            State::Idle => [member.wants, Some(member.not_before)],
            State::Connecting { .. } => [None, None],
            State::Up { since, .. } => [Some(since + self.sharing.turn), None],
        };
        let all = self.members.iter().flat_map(of).flatten().chain([self.rested]);
        all.filter(|at| *at > now).min()
    }

    /// A connection has been made.
    pub(crate) fn connected(&mut self, index: usize, now: Instant) {
        let Some(member) = self.members.get_mut(index) else { return };
        if let State::Connecting { since } = member.state {
            self.rested = now + (now - since).min(LONGEST_REST);
        }
        member.state = State::Up { since: now, asked: false };
        member.urgent = false;
    }

    /// A connection has ended, or could not be made. `next`: when there is something to do.
    pub(crate) fn ended(&mut self, index: usize, end: End, next: Option<Instant>, now: Instant) {
        let sharing = self.sharing;
        let Some(member) = self.members.get_mut(index) else { return };
        match member.state {
            // Where nobody was there, no time was taken from the scan.
            State::Connecting { since } if end != End::NotThere => {
                self.rested = now + (now - since).min(LONGEST_REST);
            }
            State::Up { since, .. } if since + STEADY <= now => member.failures = 0,
            _ => {}
        }
        member.state = State::Idle;
        member.urgent = false;
        member.wants = if member.keep { Some(now) } else { next };
        match end {
            End::Well => member.failures = 0,
            End::Cut | End::Badly => {
                let pause = sharing.back_off.saturating_mul(1 << member.failures.min(16)).min(sharing.back_off_most);
                member.failures = member.failures.saturating_add(1);
                member.not_before = now + pause;
            }
            End::NotThere => member.not_before = now + sharing.look_again,
        }
    }

    /// A command waits for a device that is not connected.
    pub(crate) fn ask(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            member.urgent = true;
        }
    }

    /// No command waits any more.
    pub(crate) fn let_be(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            member.urgent = false;
        }
    }

    /// How long a device is still left alone because it could not be reached.
    pub(crate) fn left_alone(&self, index: usize, now: Instant) -> Option<Duration> {
        let member = self.members.get(index).filter(|member| member.state == State::Idle)?;
        Some(member.not_before.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// How often in a row it went badly.
    pub(crate) fn failures(&self, index: usize) -> u32 {
        self.members.get(index).map_or(0, |member| member.failures)
    }

    fn taken(&self) -> usize {
        self.members.iter().filter(|member| member.state != State::Idle).count()
    }
}

impl Member {
    fn is_ready(&self, now: Instant, rested: bool) -> bool {
        let has_to = self.urgent || (rested && self.wants.is_some_and(|wants| wants <= now));
        self.state == State::Idle && self.not_before <= now && has_to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn plan(most: usize, keep: &[bool]) -> (Plan, Instant) {
        let now = Instant::now();
        let sharing = Sharing { most, turn: 10 * S, back_off: 5 * S, back_off_most: 300 * S, look_again: 2 * S };
        (Plan::new(sharing, keep.iter().copied(), now), now)
    }

    /// Connects whoever is next, which takes no time.
    fn connect(plan: &mut Plan, now: Instant) -> Option<usize> {
        match plan.step(now)? {
            Step::Connect(index) => {
                plan.connected(index, now);
                Some(index)
            }
            Step::GiveWay(_) => None,
        }
    }

    #[test]
    fn no_more_connect_than_may_and_one_at_a_time() {
        let (mut plan, now) = plan(2, &[true, true, true]);
        assert_eq!(plan.step(now), Some(Step::Connect(0)));
        assert_eq!(plan.step(now), None, "the first is still on its way");
        plan.connected(0, now);
        assert_eq!(connect(&mut plan, now), Some(1));
        assert_eq!(plan.step(now), None, "both have their turn");
    }

    #[test]
    fn kept_connections_take_turns_where_there_are_too_few() {
        let (mut plan, mut now) = plan(1, &[true, true]);
        assert_eq!(connect(&mut plan, now), Some(0));
        for turn in 0..6 {
            let (holds, waits) = (turn % 2, (turn + 1) % 2);
            assert_eq!(plan.step(now + 9 * S), None);
            assert_eq!(plan.wake(now + 9 * S), Some(now + 10 * S));
            now += 10 * S;
            assert_eq!(plan.step(now), Some(Step::GiveWay(holds)));
            assert_eq!(plan.step(now), None, "asked once");
            plan.ended(holds, End::Well, None, now);
            assert_eq!(connect(&mut plan, now), Some(waits));
        }
    }

    #[test]
    fn who_has_waited_longest_comes_first_and_commands_before_all() {
        let (mut plan, now) = plan(1, &[false, false, false]);
        assert_eq!(connect(&mut plan, now), Some(0));
        plan.ended(0, End::Well, Some(now), now + S);
        plan.ask(2);
        assert_eq!(connect(&mut plan, now + S), Some(2));
        plan.ended(2, End::Well, Some(now + 60 * S), now + 2 * S);
        plan.members[0].wants = Some(now + S);
        assert_eq!(connect(&mut plan, now + 2 * S), Some(1));
    }

    #[test]
    fn a_command_need_not_wait_for_a_turn_to_end() {
        let (mut plan, now) = plan(1, &[true, false]);
        plan.members[1].wants = None;
        assert_eq!(connect(&mut plan, now), Some(0));
        assert_eq!(plan.step(now + S), None);
        plan.ask(1);
        assert_eq!(plan.step(now + S), Some(Step::GiveWay(0)));
    }

    #[test]
    fn a_device_that_fails_is_left_alone_for_longer_and_longer_and_no_other_is() {
        let (mut plan, mut now) = plan(1, &[true, false]);
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            now += 300 * S;
            plan.members[1].wants = None;
            assert_eq!(plan.step(now), Some(Step::Connect(0)));
            plan.ended(0, End::Badly, None, now);
            assert_eq!(plan.left_alone(0, now), Some(pause * S));
            plan.ask(0);
            assert_eq!(plan.step(now), None, "not even for a command");
            plan.let_be(0);
            plan.members[1].wants = Some(now);
            assert_eq!(connect(&mut plan, now), Some(1));
            plan.ended(1, End::Well, None, now);
        }
        assert_eq!(plan.failures(0), 8);
        now += 300 * S;
        assert_eq!(connect(&mut plan, now), Some(0));
        plan.ended(0, End::Badly, None, now + STEADY);
        assert_eq!(plan.failures(0), 1, "what was before a minute of steady running is forgotten");
    }

    #[test]
    fn making_connections_leaves_half_of_the_time_to_the_scan() {
        let (mut plan, now) = plan(3, &[true, true, true]);
        assert_eq!(plan.step(now), Some(Step::Connect(0)));
        plan.ended(0, End::Badly, None, now + 8 * S);
        assert_eq!(plan.step(now + 15 * S), None);
        assert_eq!(plan.wake(now + 15 * S), Some(now + 16 * S));
        assert_eq!(plan.step(now + 16 * S), Some(Step::Connect(1)), "which has waited longer");
        plan.ended(1, End::NotThere, None, now + 16 * S);
        assert_eq!(plan.step(now + 16 * S), Some(Step::Connect(2)), "nothing was tried, so there is no rest");
    }
}
