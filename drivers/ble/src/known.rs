//! What is remembered of a device from one advertisement to the next: which model it is, which of its
//! formats is listened to, and which frames were heard before.
//!
//! Formats are pure, so this is where a repetition is told from news and a replay from a restart. It
//! has no clock: the time comes in with each advertisement. One [`Memory`] belongs to one device and
//! has a fixed size.

use std::time::{Duration, Instant};

use crate::advert::{Datum, Frame, Key, Kind, Known, Outcome, Refusal, Sequence, ruuvi};

/// Within this, a packet id that does not move on is the same packet (as bthome-ble has it).
const SAME_PACKET: Duration = Duration::from_secs(4);

/// After this without the better of two formats, the lesser is listened to again: somebody may have
/// changed the firmware.
const BETTER_FORMAT: Duration = Duration::from_secs(600);

/// A counter of an encryption that starts again below this is taken for a new battery.
const RESTART: u32 = 100;

/// How many different frames under one number are remembered: some devices send two.
const UNDER_ONE_NUMBER: usize = 4;

/// What one device has said before.
#[derive(Debug, Default)]
pub struct Memory {
    model: Option<String>,
    /// The best of its formats: rank, and when it was last heard.
    best: Option<(u8, Instant)>,
    last: Option<Last>,
    /// Frames in a row that the key did not open.
    unopened: u8,
}

/// The last frame that was news.
#[derive(Debug)]
struct Last {
    at: Instant,
    sequence: Option<Sequence>,
    /// What was said under this sequence, the newest last.
    said: Vec<Vec<Datum>>,
}

/// What becomes of an advertisement.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Of no format that anybody knows.
    NotMine,
    /// To be used.
    New(Frame),
    /// Said before: the device is there, and nothing is new.
    Repeat,
    /// Said in a better format as well.
    Lesser,
    /// The key did not open it, for the first time: it may have been damaged on the way. Nobody needs
    /// to be told yet.
    Unsure,
    /// Not to be used, and somebody should know.
    Refused(Refusal),
}

impl Memory {
    /// What formats are told of the device: `model` as the site file has it, or else as it said itself.
    pub fn known<'a>(&'a self, key: Option<&'a Key>, model: Option<&'a str>) -> Known<'a> {
        Known { key, model: model.or(self.model.as_deref()), ..Known::default() }
    }

    /// The model, if it said so.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Takes the next counter as it comes. For a device that has come back after having been gone: some
    /// begin at a random number when their battery is changed, and would be refused for a replay.
    pub fn came_back(&mut self) {
        self.last = None;
    }

    /// Judges what formats have made of an advertisement, heard `now`. `has_key`: whether the site
    /// file has a key for the device, so that whatever is not encrypted may be anybody's.
    pub fn judge(&mut self, outcome: Outcome, has_key: bool, now: Instant) -> Verdict {
        let frame = match outcome {
            Outcome::NotMine => return Verdict::NotMine,
            Outcome::Refused(Refusal::WrongKey) => return self.unopened(),
            Outcome::Refused(refusal) => return Verdict::Refused(refusal),
            Outcome::Heard(frame) => frame,
        };
        if frame.values.is_empty() {
            self.learn(&frame);
            return Verdict::New(frame);
        }
        if has_key && !frame.encrypted {
            // A beacon beside the readings is never encrypted.
            let is_beacon = rank(frame.format) == 0;
            return if is_beacon { Verdict::Lesser } else { Verdict::Refused(Refusal::NotEncrypted) };
        }
        if frame.encrypted {
            self.unopened = 0;
        }
        if !self.is_best(rank(frame.format), now) {
            return Verdict::Lesser;
        }
        let said = self.last.as_ref().filter(|last| said_before(last, &frame, now));
        match (frame.sequence, &self.last) {
            _ if said.is_some() => Verdict::Repeat,
            (Some(Sequence::Encryption(counter)), Some(Last { sequence: Some(Sequence::Encryption(last)), .. }))
                if counter < *last && counter >= RESTART =>
            {
                Verdict::Refused(Refusal::Replayed { counter, last: *last })
            }
            (Some(Sequence::Frame { number, bits }), Some(last))
                if is_packet_id(&frame) && is_behind(number, bits, last, now) =>
            {
                Verdict::Repeat
            }
            _ => {
                self.learn(&frame);
                self.remember(&frame, now);
                Verdict::New(frame)
            }
        }
    }

    fn unopened(&mut self) -> Verdict {
        self.unopened = self.unopened.saturating_add(1);
        if self.unopened < 2 { Verdict::Unsure } else { Verdict::Refused(Refusal::WrongKey) }
    }

    fn learn(&mut self, frame: &Frame) {
        if let Some(model) = &frame.model {
            self.model = Some(model.to_string());
        }
    }

    /// Whether no better format was heard of late.
    fn is_best(&mut self, rank: u8, now: Instant) -> bool {
        let is_lesser =
            self.best.is_some_and(|(best, at)| rank < best && now.saturating_duration_since(at) < BETTER_FORMAT);
        if !is_lesser {
            self.best = Some((rank, now));
        }
        !is_lesser
    }

    fn remember(&mut self, frame: &Frame, now: Instant) {
        let mut said = match self.last.take() {
            Some(last) if last.sequence == frame.sequence && frame.sequence.is_some() => last.said,
            _ => Vec::new(),
        };
        if said.len() >= UNDER_ONE_NUMBER {
            said.remove(0);
        }
        said.push(frame.values.clone());
        self.last = Some(Last { at: now, sequence: frame.sequence, said });
    }
}

/// Whether the same was said under the same number.
fn said_before(last: &Last, frame: &Frame, now: Instant) -> bool {
    let is_soon = now.saturating_duration_since(last.at) <= SAME_PACKET;
    let is_same = last.sequence == frame.sequence && last.said.contains(&frame.values);
    match frame.sequence {
        // What has no number is measured anew each time; but what happened has happened once.
        None => is_same && is_soon && frame.values.iter().any(|datum| datum.kind == Kind::Event),
        Some(_) if is_packet_id(frame) => is_same && is_soon,
        Some(_) => is_same,
    }
}

/// Whether its number is a packet id of BTHome, which counts advertisements. The numbers of other
/// formats count measurements: they may stand still for as long as nothing is measured.
fn is_packet_id(frame: &Frame) -> bool {
    frame.format.starts_with("BTHome") && matches!(frame.sequence, Some(Sequence::Frame { .. }))
}

/// Whether a packet id has gone back: it is no further than a quarter round ahead of the last.
fn is_behind(number: u32, bits: u8, last: &Last, now: Instant) -> bool {
    let Some(Sequence::Frame { number: before, .. }) = last.sequence else { return false };
    let round = 1_u32.checked_shl(bits.into()).unwrap_or(0);
    let ahead = number.wrapping_sub(before) & round.wrapping_sub(1);
    let is_soon = now.saturating_duration_since(last.at) <= SAME_PACKET;
    is_soon && ahead != 0 && ahead >= round / 4
}

/// Which of a device's formats is the best: the finer, and the one that can be verified. Where a
/// device has but one, any rank will do.
fn rank(format: &str) -> u8 {
    match format {
        "BTHome v2" => 5,
        "pvvx" => 4,
        "MiBeacon" => 2,
        ruuvi::DF6 => 1,
        "iBeacon" | "AltBeacon" | "Eddystone" => 0,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::quantity::{BUTTON, HUMIDITY, TEMPERATURE};

    fn frame(format: &'static str, sequence: Option<Sequence>, values: &[Datum]) -> Frame {
        let encrypted = matches!(sequence, Some(Sequence::Encryption(_)));
        Frame { format, sequence, values: values.to_vec(), encrypted, ..Frame::default() }
    }

    /// A device, and the seconds that have passed.
    struct Device(Memory, Instant);

    impl Device {
        fn new() -> Self {
            Self(Memory::default(), Instant::now())
        }

        fn says(&mut self, secs: u64, outcome: Outcome) -> Verdict {
            self.0.judge(outcome, false, self.1 + Duration::from_secs(secs))
        }

        /// `new`, `repeat` and so on.
        fn hears(&mut self, secs: u64, frame: Frame) -> String {
            match self.says(secs, Outcome::Heard(frame)) {
                Verdict::New(_) => "new".to_owned(),
                Verdict::Refused(refusal) => refusal.to_string(),
                other => format!("{other:?}").to_lowercase(),
            }
        }
    }

    fn packet(number: u32) -> Frame {
        frame("BTHome v2", Some(Sequence::Frame { number, bits: 8 }), &[BUTTON.says("press")])
    }

    fn sealed(counter: u32, temperature: f64) -> Frame {
        frame("BTHome v2", Some(Sequence::Encryption(counter)), &[TEMPERATURE.of(temperature)])
    }

    #[test]
    fn a_packet_id_that_does_not_move_on_is_a_repetition() {
        let mut device = Device::new();
        let heard = [9, 9, 8, 9].map(|number| device.hears(0, packet(number)));
        assert_eq!(heard, ["new", "repeat", "repeat", "repeat"]);
    }

    #[test]
    fn a_packet_id_may_leap_by_up_to_a_quarter_and_go_round() {
        let mut device = Device::new();
        let heard = [0xbd, 0xbe, 0xfd, 0x2f, 0x2f + 64].map(|number| device.hears(0, packet(number)));
        assert_eq!(heard, ["new", "new", "new", "new", "repeat"]);
    }

    #[test]
    fn after_four_seconds_any_packet_is_news() {
        let mut device = Device::new();
        let heard = [(0, 9), (4, 9), (5, 9), (8, 8), (10, 8)].map(|(secs, n)| device.hears(secs, packet(n)));
        assert_eq!(heard, ["new", "repeat", "new", "repeat", "new"]);
    }

    #[test]
    fn a_counter_that_goes_back_is_a_replay() {
        let mut device = Device::new();
        assert_eq!(device.hears(0, sealed(500, 20.0)), "new");
        assert_eq!(device.hears(60, sealed(499, 20.0)), "replayed: its counter 499 is behind 500");
        assert_eq!(device.hears(60, sealed(501, 20.0)), "new");
        assert_eq!(device.hears(6000, sealed(100, 21.0)), "replayed: its counter 100 is behind 501");
    }

    #[test]
    fn a_counter_that_starts_near_zero_is_a_new_battery() {
        let mut device = Device::new();
        let heard = [5000, 99, 100, 101].map(|counter| device.hears(0, sealed(counter, 20.0)));
        assert_eq!(heard, ["new", "new", "new", "new"]);
    }

    #[test]
    fn a_device_that_came_back_may_begin_anywhere() {
        let mut device = Device::new();
        assert_eq!(device.hears(0, sealed(5000, 20.0)), "new");
        device.0.came_back();
        assert_eq!(device.hears(9000, sealed(300, 20.0)), "new");
        assert_eq!(device.hears(9001, sealed(299, 20.0)), "replayed: its counter 299 is behind 300");
    }

    #[test]
    fn two_payloads_under_one_counter_are_both_news_once() {
        let mut device = Device::new();
        let other = frame("BTHome v2", Some(Sequence::Encryption(7)), &[HUMIDITY.of(50.0)]);
        assert_eq!(device.hears(0, sealed(7, 20.0)), "new");
        assert_eq!(device.hears(1, other.clone()), "new");
        assert_eq!(device.hears(2, sealed(7, 20.0)), "repeat");
        assert_eq!(device.hears(900, other), "repeat");
    }

    #[test]
    fn what_is_kept_under_one_number_has_a_bound() {
        let mut device = Device::new();
        for temperature in 0..100 {
            assert_eq!(device.hears(0, sealed(7, f64::from(temperature))), "new");
        }
        assert_eq!(device.0.last.unwrap().said.len(), UNDER_ONE_NUMBER);
    }

    #[test]
    fn a_measurement_keeps_its_number_for_as_long_as_it_is_the_last() {
        let mut device = Device::new();
        let tag = |number| frame("Ruuvi 5", Some(Sequence::Frame { number, bits: 16 }), &[TEMPERATURE.of(20.0)]);
        let heard = [(0, 7), (30, 7), (600, 7), (601, 6)].map(|(secs, n)| device.hears(secs, tag(n)));
        assert_eq!(heard, ["new", "repeat", "repeat", "new"]);
    }

    #[test]
    fn without_numbers_measurements_are_news_and_presses_happen_once() {
        let mut device = Device::new();
        let plain = frame("Govee", None, &[TEMPERATURE.of(20.0)]);
        let heard = [0, 1, 2].map(|secs| device.hears(secs, plain.clone()));
        assert_eq!(heard, ["new", "new", "new"]);
        let press = frame("BTHome v2", None, &[BUTTON.says("press")]);
        let heard = [3, 4, 7, 8].map(|secs| device.hears(secs, press.clone()));
        assert_eq!(heard, ["new", "repeat", "repeat", "new"]);
    }

    #[test]
    fn the_best_of_several_formats_is_listened_to_until_it_falls_silent() {
        let mut device = Device::new();
        let said = |format| frame(format, None, &[TEMPERATURE.of(20.0)]);
        let heard = [
            (0, "MiBeacon"),
            (1, "ATC1441"),
            (2, "pvvx"),
            (3, "ATC1441"),
            (4, "BTHome v2"),
            (5, "pvvx"),
            (6, "iBeacon"),
            (604, "MiBeacon"),
            (605, "iBeacon"),
        ]
        .map(|(secs, format)| device.hears(secs, said(format)));
        assert_eq!(heard, ["new", "new", "new", "lesser", "new", "lesser", "lesser", "new", "lesser"]);
        let mut air = Device::new();
        let heard =
            [(0, ruuvi::DF6), (1, ruuvi::DFE1), (2, ruuvi::DF6)].map(|(secs, format)| air.hears(secs, said(format)));
        assert_eq!(heard, ["new", "new", "lesser"]);
    }

    #[test]
    fn a_wrong_key_is_told_at_the_second_failure_in_a_row() {
        let mut device = Device::new();
        let wrong = Outcome::Refused(Refusal::WrongKey);
        assert_eq!(device.says(0, wrong.clone()), Verdict::Unsure);
        assert_eq!(device.hears(1, sealed(1, 20.0)), "new");
        assert_eq!(device.says(2, wrong.clone()), Verdict::Unsure);
        assert_eq!(device.says(3, wrong.clone()), Verdict::Refused(Refusal::WrongKey));
        assert_eq!(device.says(4, wrong), Verdict::Refused(Refusal::WrongKey));
    }

    #[test]
    fn with_a_key_in_the_site_file_nothing_plain_is_believed() {
        let mut device = Device::new();
        let mut judge = |frame| device.0.judge(Outcome::Heard(frame), true, device.1);
        let plain = frame("Govee", None, &[TEMPERATURE.of(20.0)]);
        assert_eq!(judge(plain), Verdict::Refused(Refusal::NotEncrypted));
        assert_eq!(judge(frame("iBeacon", None, &[TEMPERATURE.of(20.0)])), Verdict::Lesser);
        // A sign of life has nothing in it to believe.
        assert!(matches!(judge(frame("MiBeacon", None, &[])), Verdict::New(_)));
        assert!(matches!(judge(sealed(1, 20.0)), Verdict::New(_)));
    }

    #[test]
    fn a_model_that_was_told_once_is_known_until_the_site_file_knows_better() {
        let mut device = Device::new();
        let mut named = frame("MiBeacon", None, &[]);
        named.model = Some("LYWSD03MMC".into());
        device.hears(0, named);
        device.hears(1, frame("MiBeacon", None, &[TEMPERATURE.of(20.0)]));
        assert_eq!(device.0.known(None, None).model, Some("LYWSD03MMC"));
        assert_eq!(device.0.known(None, Some("other")).model, Some("other"));
    }

    #[test]
    fn other_refusals_pass_through() {
        let mut device = Device::new();
        assert_eq!(device.says(0, Outcome::NotMine), Verdict::NotMine);
        assert_eq!(device.says(0, Outcome::Refused(Refusal::NoKey)), Verdict::Refused(Refusal::NoKey));
    }
}
