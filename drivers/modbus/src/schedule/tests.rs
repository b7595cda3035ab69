//! The rhythm, the turns and the fairness, on a pretend clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn schedule(lanes: &[&[Duration]], now: Instant) -> Schedule {
    Schedule::new(&lanes.iter().map(|lane| lane.to_vec()).collect::<Vec<_>>(), now)
}

/// Runs a link for a while. Each exchange takes what `cost` says of its lane. Returns when each
/// block of each lane was read, in milliseconds.
fn run(schedule: &mut Schedule, start: Instant, lasting: Duration, cost: impl Fn(usize) -> Duration) -> Vec<Vec<u64>> {
    let mut now = start;
    let mut reads = vec![Vec::new(); schedule.lanes.len()];
    while let Some(next) = schedule.next(now) {
        now = now.max(next.at);
        if now >= start + lasting {
            break;
        }
        // A probe, or a lane whose time has come only now.
        let Some(block) = schedule.next(now).and_then(|next| next.block) else { continue };
        schedule.taken(next.lane, block, now);
        reads[next.lane].push(u64::try_from((now - start).as_millis()).unwrap());
        now += cost(next.lane);
        schedule.cost(next.lane, cost(next.lane));
    }
    reads
}

#[test]
fn a_late_read_does_not_shift_the_rhythm() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[SECOND]], start);
    for turn in 0..1000 {
        assert_eq!(schedule.due(0, 0), Some(start + SECOND * turn));
        let late = MS * (turn * 37 % 999);
        assert_eq!(schedule.taken(0, 0, start + SECOND * turn + late).missed, 0);
    }
}

#[test]
fn after_a_stall_the_missed_turns_are_counted_and_not_made_up_for() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[SECOND]], start);
    assert_eq!(schedule.taken(0, 0, start + MS * 4_300), Turn { number: 4, missed: 4 });
    assert_eq!(schedule.due(0, 0), Some(start + SECOND * 5));
    assert_eq!(schedule.taken(0, 0, start + SECOND * 5), Turn { number: 5, missed: 0 });
}

#[test]
fn blocks_of_one_rhythm_are_spread_over_it() {
    let start = Instant::now();
    let schedule = schedule(&[&[SECOND, SECOND], &[SECOND, SECOND]], start);
    let due = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(lane, block)| schedule.due(lane, block).unwrap() - start);
    assert_eq!(due, [0, 250, 500, 750].map(|ms| MS * ms));
}

#[test]
fn a_slow_rhythm_is_first_read_soon_and_then_in_its_place() {
    let start = Instant::now();
    let minute = SECOND * 60;
    let mut schedule = schedule(&[&[minute; 4]], start);
    for block in 0..4_u32 {
        let first = schedule.due(0, block as usize).unwrap();
        assert!(first <= start + SPREAD, "{:?}", first - start);
        schedule.taken(0, block as usize, first);
        // A place that comes too soon after the first read is passed over.
        let place = minute / 4 * block;
        let expected = if place >= minute / 2 + (first - start) { place } else { place + minute };
        assert_eq!(schedule.due(0, block as usize), Some(start + expected));
    }
}

#[test]
fn rhythms_do_not_start_together() {
    let start = Instant::now();
    let schedule = schedule(&[&[SECOND, SECOND * 10, SECOND * 30]], start);
    let due: Vec<_> = (0..3).map(|block| schedule.due(0, block).unwrap() - start).collect();
    assert!(due[0] == Duration::ZERO && due[1] > SECOND && due[2] > SECOND, "{due:?}");
}

#[test]
fn among_overdue_blocks_of_a_device_the_longest_waiting_is_read_first() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[SECOND * 4, SECOND * 2]], start);
    schedule.replace(0, [(SECOND * 4, start + SECOND), (SECOND * 4, start)]);
    let now = start + SECOND * 2;
    assert_eq!(schedule.next(now).unwrap().block, Some(1));
    schedule.taken(0, 1, now);
    assert_eq!(schedule.next(now).unwrap().block, Some(0));
}

#[test]
fn nothing_to_read_is_never_due() {
    assert_eq!(schedule(&[], Instant::now()).next(Instant::now()), None);
    assert_eq!(schedule(&[&[]], Instant::now()).next(Instant::now()), None);
}

#[test]
fn a_device_that_takes_long_holds_up_itself_and_not_the_others() {
    let start = Instant::now();
    // Five blocks of 300 ms every second: more than the link can do. The others take 20 ms each.
    let slow = [SECOND; 5];
    let mut schedule = schedule(&[&slow, &[SECOND], &[SECOND], &[SECOND]], start);
    let reads = run(&mut schedule, start, SECOND * 100, |lane| if lane == 0 { MS * 300 } else { MS * 20 });
    for quick in &reads[1..] {
        assert!((99..=101).contains(&quick.len()), "read {} times", quick.len());
    }
    assert!(reads[0].len() > 290, "and the rest of the time is its own: {}", reads[0].len());
}

#[test]
fn devices_that_all_want_too_much_get_the_same_share() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[MS * 10; 3], &[MS * 10], &[MS * 10]], start);
    let reads = run(&mut schedule, start, SECOND * 12, |lane| if lane == 2 { MS * 40 } else { MS * 10 });
    let times = [reads[0].len() * 10, reads[1].len() * 10, reads[2].len() * 40];
    assert!(times.iter().all(|&time| time.abs_diff(4_000) < 100), "{times:?}");
}

#[test]
fn a_silent_device_is_probed_in_a_gap_of_the_others_or_when_it_has_waited_long() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[SECOND], &[SECOND * 4]], start);
    schedule.replace(1, [(SECOND * 4, start + SECOND * 4)]);
    schedule.silence(0, start + SECOND, SECOND * 2, start);
    // Three seconds are free from the moment it may be probed.
    let probe = |at| Some(Next { lane: 0, block: None, at });
    assert_eq!(schedule.next(start), probe(start + SECOND));
    assert_eq!(schedule.next(start + SECOND), probe(start + SECOND));
    // At 3 s there is one second left, too little for a probe of two; so it waits for a quarter of
    // its wait.
    let mut busy = schedule;
    busy.silence(0, start + SECOND * 3, SECOND * 2, start - SECOND * 9);
    assert_eq!(busy.next(start + SECOND * 3), Some(Next { lane: 1, block: Some(0), at: start + SECOND * 4 }));
    assert_eq!(busy.next(start + SECOND * 4), Some(Next { lane: 1, block: Some(0), at: start + SECOND * 4 }));
    assert_eq!(busy.next(start + SECOND * 6), probe(start + SECOND * 6));
}

#[test]
fn after_its_return_a_device_is_read_whole_within_ten_seconds_or_its_interval() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[SECOND, SECOND, SECOND * 3600]], start);
    for block in 0..3 {
        let due = schedule.due(0, block).unwrap();
        schedule.taken(0, block, due);
    }
    let back = start + SECOND * 100;
    schedule.silence(0, back, SECOND, start);
    assert_eq!(schedule.next(start + SECOND * 50), Some(Next { lane: 0, block: None, at: back }));
    schedule.recovered(0, back);
    for (block, within) in [(0, SECOND), (1, SECOND), (2, SPREAD)] {
        assert!(schedule.due(0, block).unwrap() <= back + within);
    }
}

#[test]
fn a_block_that_is_postponed_keeps_its_place_in_the_rhythm() {
    let start = Instant::now();
    let mut schedule = schedule(&[&[SECOND * 7]], start);
    schedule.taken(0, 0, start);
    schedule.postpone(0, 0, start + SECOND * 60);
    assert_eq!(schedule.next(start).unwrap().at, start + SECOND * 63);
}

#[test]
fn a_hundred_thousand_blocks_each_keep_their_rhythm() {
    let start = Instant::now();
    let lanes: Vec<Vec<Duration>> = vec![vec![SECOND * 10; 1000]; 100];
    let mut schedule = Schedule::new(&lanes, start);
    let mut seen = vec![0_u32; 100];
    let mut now = start;
    while let Some(next) = schedule.next(now) {
        now = now.max(next.at);
        if now >= start + SECOND * 20 {
            break;
        }
        let Some(Next { lane, block: Some(block), .. }) = schedule.next(now) else { continue };
        assert_eq!(schedule.taken(lane, block, now).missed, 0);
        schedule.cost(lane, MS / 100);
        now += MS / 100;
        seen[lane] += 1;
    }
    assert!(seen.iter().all(|&reads| (1999..=2001).contains(&reads)), "{seen:?}");
}
