//! Registers that a value depends on besides its own, as in SunSpec: one that holds the power of ten
//! it is multiplied by, and some that have to hold a certain number for the value to be what it is
//! taken for. They are read with the value in one request, so the two are never of different moments.

use wharf_contract::Value;

use super::Raw;
use super::decode::decode_with;
use super::layout::{Layout, Scaling};

/// The largest power of ten, and the smallest with its sign changed: SunSpec's.
const LARGEST_POWER: i16 = 10;

/// What a power of ten holds that the device does not have.
const NO_POWER: i16 = i16::MIN;

/// Where such registers stand. Offsets count from the first register that is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beside {
    /// The address of the first register that is read.
    first: u16,
    /// How many are read altogether.
    width: u16,
    /// Where the value's own begin.
    own: u16,
    /// Where the power of ten stands.
    power: Option<u16>,
    /// Registers with the numbers that they have to hold.
    requires: Box<[(u16, u16)]>,
}

impl Beside {
    /// For a value of `width` registers from `own` on, with addresses. `None` when there is nothing
    /// beside it.
    pub(crate) fn new(own: u16, width: u16, power: Option<u16>, requires: &[(u16, u16)]) -> Option<Self> {
        let others = || power.into_iter().chain(requires.iter().map(|(address, _)| *address));
        let first = others().min()?.min(own);
        let last = others().max()?.max(own.saturating_add(width.saturating_sub(1)));
        Some(Self {
            first,
            // All 65536 registers are too many for a request; the settings refuse far fewer.
            width: (last - first).saturating_add(1),
            own: own - first,
            power: power.map(|address| address - first),
            requires: requires.iter().map(|(address, number)| (address - first, *number)).collect(),
        })
    }

    /// The address of the first register that is read.
    pub(crate) fn first(&self) -> u16 {
        self.first
    }

    /// How many registers are read.
    pub(crate) fn width(&self) -> u16 {
        self.width
    }

    /// The value that stands in these registers, or why there is none.
    pub(super) fn decode(
        &self,
        raw: &Raw,
        layout: &Layout,
        amend: &mut dyn FnMut(i128) -> Result<i128, String>,
    ) -> Result<Value, String> {
        let Raw::Registers(registers) = raw else { return Err("bits came where registers were asked for".into()) };
        let register = |at: u16| {
            let register = registers.get(usize::from(at)).ok_or("too few registers came")?;
            Ok::<_, String>(layout.order.register(*register))
        };
        for (at, expected) in &self.requires {
            let found = register(*at)?;
            if found != *expected {
                let address = self.first.saturating_add(*at);
                return Err(format!("register {address} holds {found} and not {expected}: this is something else"));
            }
        }
        let mut alone = Layout { beside: None, ..layout.clone() };
        if let Some(at) = self.power {
            let power = register(at)?.cast_signed();
            let Scaling { scale, offset } = layout.scaling.unwrap_or(Scaling { scale: 1.0, offset: 0.0 });
            alone.scaling = Some(Scaling { scale: scale * power_of_ten(power)?, offset });
        }
        let own = raw.part(self.own, alone.width()).ok_or("too few registers came")?;
        decode_with(&own, &alone, amend)
    }
}

/// The number people mean by it: 0.01, and not 0.010000000000000002.
fn power_of_ten(power: i16) -> Result<f64, String> {
    if power == NO_POWER {
        return Err("the device says that there is no power of ten for it".into());
    }
    let number = (-LARGEST_POWER..=LARGEST_POWER).contains(&power).then(|| format!("1e{power}").parse().ok());
    number.flatten().ok_or_else(|| format!("{power} is no power of ten that a value could have"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::layout::Form;

    /// An `i16` at 40084 with its power at 40085, of a model that begins with 103 at 40070.
    fn decode(registers: &[u16], scale: Option<f64>) -> Result<Value, String> {
        let beside = Beside::new(40_072, 1, Some(40_073), &[(40_070, 103)]);
        let scaling = scale.map(|scale| Scaling { scale, offset: 0.0 });
        let layout =
            Layout { beside: beside.map(Box::new), scaling, invalid: [0x8000].into(), ..Layout::new(Form::I16) };
        assert_eq!(layout.width(), 4);
        super::super::decode::decode(&Raw::Registers(registers.to_vec()), &layout)
    }

    #[test]
    fn a_value_is_multiplied_by_the_power_of_ten_that_stands_beside_it() {
        assert_eq!(decode(&[103, 50, 2301, 0xFFFF], None), Ok(Value::Float(230.1)));
        assert_eq!(decode(&[103, 50, 0xFFFF, 1], None), Ok(Value::Float(-10.0)));
        assert_eq!(decode(&[103, 50, 2301, 0xFFFE], Some(0.001)), Ok(Value::Float(0.02301)));
        assert_eq!(decode(&[103, 50, 7, 0], None), Ok(Value::Float(7.0)));
    }

    #[test]
    fn what_is_no_power_of_ten_makes_no_value() {
        assert!(decode(&[103, 50, 2301, 0x8000], None).unwrap_err().contains("there is no power"));
        assert!(decode(&[103, 50, 2301, 11], None).unwrap_err().contains("11 is no power"));
        assert!(decode(&[103, 50, 0x8000, 1], None).unwrap_err().contains("no value"));
    }

    #[test]
    fn a_register_that_holds_another_number_means_that_the_value_is_something_else() {
        assert!(decode(&[104, 50, 2301, 0xFFFF], None).unwrap_err().contains("register 40070 holds 104 and not 103"));
    }

    #[test]
    fn what_stands_after_the_value_or_far_from_it_is_read_with_it() {
        let beside = Beside::new(10, 2, Some(4), &[(15, 7)]).unwrap();
        assert_eq!((beside.first(), beside.width()), (4, 12));
        let layout = Layout { beside: Some(Box::new(beside)), ..Layout::new(Form::U32) };
        let mut registers = vec![0; 12];
        (registers[0], registers[6], registers[7], registers[11]) = (2, 1, 5, 7);
        let value = super::super::decode::decode(&Raw::Registers(registers), &layout);
        assert_eq!(value, Ok(Value::Float(6_554_100.0)));
        assert_eq!(Beside::new(0, 1, None, &[]), None);
        assert_eq!(Beside::new(65_535, 4, Some(0), &[]).unwrap().width(), 65_535);
    }
}
