//! What a read costs its link in time: something for each request, however little it asks for,
//! and something for each byte of the answer. All that the planner weighs follows from these two.

use std::time::Duration;

use wharf_contract::plan::spell;

use crate::link::{Link, Table, Way};

/// Characters of a read request on a serial line: unit, function, address, count, CRC.
const ASKED: u32 = 8;

/// Characters of its answer beside the data: unit, function, length, CRC.
const ANSWERED: u32 = 5;

/// What a network takes for a request and back, until it has been measured.
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// What a device on a network takes for each byte of its answer, until it has been measured. The
/// network itself takes next to nothing; a small controller copies its registers one by one.
const NETWORK_BYTE: Duration = Duration::from_micros(25);

/// How a link keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A serial line, by how long one character takes, and the silence that begins every frame.
    Serial { character: Duration, silence: Duration },
    /// A network, by how long a small request takes there and back.
    Network { round_trip: Duration },
}

impl Pace {
    /// What reads cost at this pace. On a serial line that is the least they can cost: how long a
    /// device thinks is not in it.
    pub(crate) fn cost(self) -> Cost {
        match self {
            Self::Serial { character, silence } => {
                Cost { request: character * (ASKED + ANSWERED) + silence * 2, byte: character }
            }
            Self::Network { round_trip } => Cost { request: round_trip, byte: NETWORK_BYTE },
        }
    }
}

impl Link {
    /// The pace of the link, as far as its settings tell.
    pub(crate) fn pace(&self) -> Pace {
        match &self.transport.way {
            Way::Serial(setup) => {
                let pace = setup.pace();
                Pace::Serial { character: pace.character, silence: pace.between_frames }
            }
            _ => Pace::Network { round_trip: ROUND_TRIP },
        }
    }

    /// What its pace rests on, for people.
    pub(crate) fn pace_in_words(&self) -> String {
        match &self.transport.way {
            Way::Serial(setup) => format!("{} baud {}", setup.baud, setup.frame),
            _ => format!("{} a request, assumed", spell(ROUND_TRIP)),
        }
    }

    /// What a read costs, as far as the settings tell: the pause between requests is part of it.
    pub(crate) fn cost(&self) -> Cost {
        let cost = self.pace().cost();
        Cost { request: cost.request + self.transport.pause, ..cost }
    }
}

/// What a read costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Every request.
    pub(crate) request: Duration,
    /// Each byte of data in its answer.
    pub(crate) byte: Duration,
}

impl Cost {
    /// The time for one read of `count` bits or registers.
    pub(crate) fn of(&self, table: Table, count: u32) -> Duration {
        self.request + self.byte * bytes(table, count)
    }
}

/// The bytes of data in an answer of `count` bits or registers.
pub(crate) fn bytes(table: Table, count: u32) -> u32 {
    if table.is_bits() { count.div_ceil(8) } else { count.saturating_mul(2) }
}

/// How fast a gauge forgets: what is as many reads old counts for little.
const MEMORY: f64 = 256.0;

/// Reads before a gauge says anything.
const ENOUGH: f64 = 32.0;

/// Measures what reads cost, from how long they took: a line through the points (bytes, seconds)
/// by least squares, with older reads counting less and less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Gauge {
    /// A read of so many bytes of data was answered in this time.
    pub(crate) fn note(&mut self, bytes: u32, took: Duration) {
        let (x, y) = (f64::from(bytes), took.as_secs_f64());
        // One read that was held up, by the network or by us, must not tilt the line.
        if self.n >= ENOUGH && y > 4.0 * self.y / self.n {
            return;
        }
        let keep = 1.0 - 1.0 / MEMORY;
        for (sum, term) in
            [(&mut self.n, 1.0), (&mut self.x, x), (&mut self.y, y), (&mut self.xx, x * x), (&mut self.xy, x * y)]
        {
            *sum = *sum * keep + term;
        }
    }

    /// What a read costs, by what was measured. `assumed` fills in what it cannot tell: nothing
    /// after too few reads, and no price of a byte when all answers had about the same size.
    pub(crate) fn cost(&self, assumed: Cost) -> Cost {
        if self.n < ENOUGH {
            return assumed;
        }
        let (mean_x, mean_y) = (self.x / self.n, self.y / self.n);
        let spread = self.xx / self.n - mean_x * mean_x;
        let byte = if spread > 16.0 {
            ((self.xy / self.n - mean_x * mean_y) / spread).max(0.0)
        } else {
            assumed.byte.as_secs_f64().min(mean_y / mean_x.max(1.0))
        };
        let request = (mean_y - byte * mean_x).max(0.0);
        Cost { request: seconds(request), byte: seconds(byte) }
    }
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A serial line of so many baud, with so many bits to a character.
    pub(crate) fn serial(baud: u32, bits: u32) -> Pace {
        let character = Duration::from_secs(1) * bits / baud;
        let silence = if baud > 19_200 { Duration::from_micros(1_750) } else { character * 7 / 2 };
        Pace::Serial { character, silence }
    }

    fn per_second(pace: Pace, registers: u32) -> f64 {
        1.0 / pace.cost().of(Table::Holding, registers).as_secs_f64()
    }

    #[test]
    fn ten_registers_on_a_serial_line_cost_what_the_specification_makes_them_cost() {
        for (baud, expected) in [(9_600, 24.0), (19_200, 48.0), (115_200, 157.0)] {
            let found = per_second(serial(baud, 10), 10);
            assert!((found - expected).abs() < expected / 100.0, "{found} requests a second at {baud} baud");
        }
    }

    #[test]
    fn parity_makes_every_character_longer() {
        let (plain, parity) = (serial(9_600, 10).cost(), serial(9_600, 11).cost());
        assert!(parity.byte.abs_diff(plain.byte * 11 / 10) < Duration::from_nanos(10));
    }

    #[test]
    fn bits_come_eight_to_a_byte() {
        assert_eq!([1, 8, 9, 2000].map(|count| bytes(Table::Coil, count)), [1, 1, 2, 250]);
        assert_eq!(bytes(Table::Input, 125), 250);
    }

    #[test]
    fn a_gauge_finds_the_price_of_a_request_and_of_a_byte() {
        let true_cost = Cost { request: Duration::from_millis(8), byte: Duration::from_micros(1040) };
        let assumed = Pace::Network { round_trip: ROUND_TRIP }.cost();
        let mut gauge = Gauge::default();
        assert_eq!(gauge.cost(assumed), assumed, "nothing was measured yet");
        for n in 0..200_u32 {
            let count = 1 + n * 7 % 40;
            let noise = Duration::from_micros(u64::from(n * 31 % 100));
            gauge.note(bytes(Table::Holding, count), true_cost.of(Table::Holding, count) + noise);
            if n % 50 == 40 {
                gauge.note(2, Duration::from_secs(3));
            }
        }
        let found = gauge.cost(assumed);
        let near = |found: Duration, wanted: Duration| found.abs_diff(wanted) < wanted / 10;
        assert!(near(found.byte, true_cost.byte) && near(found.request, true_cost.request), "{found:?}");
    }

    #[test]
    fn answers_of_one_size_leave_the_price_of_a_byte_as_assumed() {
        let assumed = Pace::Network { round_trip: ROUND_TRIP }.cost();
        let mut gauge = Gauge::default();
        for _ in 0..100 {
            gauge.note(20, Duration::from_millis(5));
        }
        let found = gauge.cost(assumed);
        assert_eq!(found.byte, assumed.byte);
        assert!(found.request.abs_diff(Duration::from_micros(4_500)) < Duration::from_micros(5), "{found:?}");
    }
}
