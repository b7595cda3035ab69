//! Scaling without binary noise: decimals are kept as whole numbers until the last step, so that 57 times
//! 0.001 is 0.057 and not 0.057000000000000002.

/// The most decimals a number may have. Those of scales have a handful, floats of four bytes a few more.
const MOST_PLACES: usize = 18;

/// A decimal number: `digits / 10^places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    digits: i128,
    places: u32,
}

impl Decimal {
    pub(crate) const ZERO: Self = Self::whole(0);
    pub(crate) const ONE: Self = Self::whole(1);

    pub(crate) const fn whole(digits: i128) -> Self {
        Self { digits, places: 0 }
    }

    /// The number as people write it; `None` if it is none, or far from what anybody writes.
    pub(crate) fn of(number: f64) -> Option<Self> {
        // Rust writes an `f64` with as many decimals as tell it from others, and never with an exponent.
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        if fraction.len() > MOST_PLACES || whole.len() > MOST_PLACES {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, places: u32::try_from(fraction.len()).ok()? })
    }

    /// Whether dividing by it leaves numbers that have an end.
    pub(crate) fn divides_evenly(self) -> bool {
        let mut rest = self.digits.unsigned_abs();
        for factor in [2, 5] {
            while rest != 0 && rest.is_multiple_of(factor) {
                rest /= factor;
            }
        }
        rest == 1
    }
}

/// `raw × scale ÷ divide + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Linear {
    pub(crate) scale: Decimal,
    /// By zero there is no value.
    pub(crate) divide: Decimal,
    pub(crate) offset: Decimal,
}

impl Linear {
    /// The value, rounded to so many decimals if they are given: what lies midway goes away from zero.
    /// `None` if a number on the way is too large.
    pub(crate) fn apply(&self, raw: Decimal, precision: Option<u8>) -> Option<f64> {
        let Self { scale, divide, offset } = self;
        let under = ten_to(raw.places.checked_add(scale.places)?)?.checked_mul(divide.digits)?;
        let over = raw.digits.checked_mul(scale.digits)?.checked_mul(ten_to(divide.places)?)?;
        let over = over.checked_mul(ten_to(offset.places)?)?.checked_add(offset.digits.checked_mul(under)?)?;
        let under = under.checked_mul(ten_to(offset.places)?)?;
        let (over, under) = if under < 0 { (over.checked_neg()?, under.checked_neg()?) } else { (over, under) };
        let (over, under) = match precision {
            Some(places) => {
                let shift = ten_to(places.into())?;
                (round(over.checked_mul(shift)?, under)?, shift)
            }
            None => reduced(over, under),
        };
        // Both are exact below 2^53, and nothing measures as finely.
        let value = over as f64 / under as f64;
        value.is_finite().then_some(value)
    }
}

impl Linear {
    /// The number that becomes this one, or the nearest to it that a float can hold. `None` if there is
    /// none.
    pub(crate) fn undo(&self, value: f64) -> Option<f64> {
        let Self { scale, divide, offset } = self;
        let raw = (value - offset.nearest()?) * divide.nearest()? / scale.nearest()?;
        raw.is_finite().then_some(raw)
    }
}

impl Decimal {
    fn nearest(self) -> Option<f64> {
        // Both are exact below 2^53.
        Some(self.digits as f64 / ten_to(self.places)? as f64)
    }
}

fn ten_to(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// The nearest whole number to `over / under`. `under` is above zero.
fn round(over: i128, under: i128) -> Option<i128> {
    let size = over.unsigned_abs().checked_mul(2)?.checked_add(under.unsigned_abs())?;
    let size = i128::try_from(size.checked_div(under.unsigned_abs().checked_mul(2)?)?).ok()?;
    Some(if over < 0 { -size } else { size })
}

fn reduced(over: i128, under: i128) -> (i128, i128) {
    let (mut a, mut b) = (over.unsigned_abs(), under.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    match i128::try_from(a) {
        Ok(common) if common != 0 => (over / common, under / common),
        _ => (over, under),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn linear(scale: f64, divide: f64, offset: f64) -> Linear {
        let of = |number| Decimal::of(number).unwrap();
        Linear { scale: of(scale), divide: of(divide), offset: of(offset) }
    }

    #[test]
    fn what_is_scaled_reads_as_people_write_it() {
        let cases = [
            (57, linear(0.001, 1.0, 0.0), 0.057),
            (-2090, linear(0.01, 1.0, 0.0), -20.9),
            (0x5019, linear(1.0, 256.0, 0.0), 80.097_656_25),
            (-384, linear(1.0, 256.0, 0.0), -1.5),
            (103, linear(10.0, 1.0, 2000.0), 3030.0),
            (0x9494, linear(1.0, 128.0, -273.15), 24.006_25),
            (7, linear(1.0, 0.5, 0.0), 14.0),
            (3, linear(1.0, -2.0, 0.0), -1.5),
            (0, linear(-0.1, 1.0, 0.0), 0.0),
        ];
        for (raw, linear, expected) in cases {
            assert_eq!(linear.apply(Decimal::whole(raw), None), Some(expected), "{raw} {linear:?}");
        }
    }

    #[test]
    fn what_has_no_end_is_rounded_away_from_zero_at_the_middle() {
        let sht = linear(175.0, 65_535.0, -45.0);
        assert_eq!(sht.apply(Decimal::whole(0x6785), Some(2)), Some(25.77));
        assert_eq!(sht.apply(Decimal::whole(0), Some(2)), Some(-45.0));
        let half = linear(0.5, 1.0, 0.0);
        assert_eq!([1, 3, -1, -3].map(|raw| half.apply(Decimal::whole(raw), Some(0)).unwrap()), [1.0, 2.0, -1.0, -2.0]);
    }

    #[test]
    fn only_numbers_that_people_write_are_decimals() {
        assert_eq!(Decimal::of(0.005), Some(Decimal { digits: 5, places: 3 }));
        assert_eq!(Decimal::of(-40.5), Some(Decimal { digits: -405, places: 1 }));
        for number in [f64::NAN, f64::INFINITY, 1e300, 1e-300] {
            assert_eq!(Decimal::of(number), None, "{number}");
        }
    }

    #[test]
    fn a_division_has_an_end_by_twos_and_fives_alone() {
        for (divisor, has_end) in [(256.0, true), (0.1, true), (2510.5024, false), (65_535.0, false), (1.0, true)] {
            assert_eq!(Decimal::of(divisor).unwrap().divides_evenly(), has_end, "{divisor}");
        }
        assert!(!Decimal::ZERO.divides_evenly());
    }

    proptest! {
        #[test]
        fn no_number_is_too_large_to_be_refused(raw in any::<i128>(), scale in any::<f64>(), precision in any::<Option<u8>>()) {
            let Some(scale) = Decimal::of(scale) else { return Ok(()) };
            let linear = Linear { scale, divide: scale, offset: scale };
            let _ = linear.apply(Decimal::whole(raw), precision);
        }

        #[test]
        fn a_scale_by_a_power_of_ten_is_the_nearest_double(raw in -1_000_000_i32..1_000_000) {
            let scaled = linear(0.01, 1.0, 0.0).apply(Decimal::whole(raw.into()), None);
            prop_assert_eq!(scaled, Some(f64::from(raw) / 100.0));
        }
    }
}
