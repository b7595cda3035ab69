//! One value of a described sensor: where it stands and what stands there.

use wharf_contract::settings;
use wharf_contract::settings::{Names, OneOrMany, Ranged, RawNumber};

use super::check::reading as check_reading;
use super::condition::{self, ConditionSettings};
use super::words::{At, BitRange, Company, Order, PointKind, Service, StepSetting};
use crate::advert::described::condition::Position;
use crate::advert::described::exact::{Decimal, Linear};
use crate::advert::described::field::{Field, Form, Meaning, Part, Place};
use crate::advert::described::{Reading, Source};
use crate::config::ValueType;

settings! {
    /// One value of the sensor: where it stands, how it is read. Of a list the first that is there
    /// counts.
    pub struct ReadingSettings {
        /// The byte of the data it begins at, counted from 0; from the end if it is negative. Without it,
        /// or with `next`: right behind the value before that has no place of its own and is there;
        /// with `last`: where that one stands.
        at: Option<At> = None,
        /// What stands there: `u8` unless said, with `bit` or `bits` the number that these are of.
        r#type: Option<ValueType> = None,
        /// One bit of it, as a `bool`; 0 is the least significant.
        bit: Option<Ranged<u8, 0, 63>> = None,
        /// Some of its bits, such as 0-6: they are the number.
        bits: Option<BitRange> = None,
        /// The order of its bytes, if not that of the description.
        order: Option<Order> = None,
        /// The length of a `string`, in bytes.
        length: Option<Ranged<u8, 1, 255>> = None,
        /// Where it stands, if not where the others do: the service whose data it is in.
        service: Option<Service> = None,
        /// Or the company.
        company: Option<Company> = None,
        /// It is there only if this holds.
        when: Option<OneOrMany<ConditionSettings>> = None,
        /// There is no value if this holds.
        missing: Option<OneOrMany<ConditionSettings>> = None,
        /// What stands there when there is no value: the number before steps and scaling, or in
        /// hexadecimal the bits.
        invalid: Option<OneOrMany<RawNumber>> = None,
        /// It is below zero if this holds, though its bits do not say so.
        negative: Option<OneOrMany<ConditionSettings>> = None,
        /// What is done to the whole number before anything else, one after the other: "& 0x7FFF",
        /// "/ 1000" (without remainder), "% 1000", ">> 4", "+ 8000".
        steps: Vec<StepSetting> = Vec::new(),
        /// What the number is multiplied by.
        scale: Option<f64> = None,
        /// What it is divided by, where that is how the maker says it: 256, 65535.
        divide: Option<f64> = None,
        /// What is added after scaling.
        offset: Option<f64> = None,
        /// How many decimals the value is rounded to.
        precision: Option<Ranged<u8, 0, 9>> = None,
        /// The unit. That of temperature, humidity and all else that has a name of its own is fixed, and
        /// need not be written: what the sensor sends is scaled to it.
        unit: Option<String> = None,
        /// What the numbers mean, such as {0: off, 1: on}. The value becomes the name.
        names: Option<Names<{ i64::MIN }, { i64::MAX }>> = None,
        /// What the bits mean, such as {0: overload, 3: door}. The value becomes the list of the names
        /// of those that are set.
        flags: Option<Names<0, 63>> = None,
        /// Of a `bool`: whether on is off.
        invert: bool = false,
        /// What kind of value it is. Of those with a name of their own it is known.
        kind: Option<PointKind> = None,
    }
    at_most_one_of: [bit, bits];
    at_most_one_of: [service, company];
    at_most_one_of: [names, flags];
    check: check_reading;
}

impl ReadingSettings {
    /// The type it has if none is said.
    pub(super) fn kind_of_number(&self) -> ValueType {
        self.r#type.unwrap_or(ValueType::U8)
    }

    /// That of a byte where the type has none.
    pub(super) fn form(&self) -> Form {
        self.kind_of_number().form(self.length.map_or(1, Ranged::get)).unwrap_or(Form::Unsigned(1))
    }

    /// Whether the value is on or off.
    pub(super) fn is_truth(&self) -> bool {
        self.bit.is_some() || self.form() == Form::Bool
    }

    pub(super) fn part(&self) -> Part {
        let bits = self.bits.map(|BitRange { low, high }| Part::Bits(low, high));
        self.bit.map(|bit| Part::Bit(bit.get())).or(bits).unwrap_or(Part::All)
    }

    /// What the number is put through after its steps, if anything; or why it cannot be.
    pub(super) fn linear(&self) -> Result<Option<Linear>, String> {
        if [self.scale, self.divide, self.offset].iter().all(Option::is_none) {
            return Ok(None);
        }
        let of = |number: Option<f64>, usual: Decimal| match number {
            Some(number) => Decimal::of(number).ok_or_else(|| format!("{number:e} is no number to scale with")),
            None => Ok(usual),
        };
        let (scale, divide) = (of(self.scale, Decimal::ONE)?, of(self.divide, Decimal::ONE)?);
        let offset = of(self.offset, Decimal::ZERO)?;
        Ok(Some(Linear { scale, divide, offset }))
    }

    /// The bits that a number stands for there; or why it cannot.
    pub(super) fn invalid_bits(&self, number: RawNumber) -> Result<u64, String> {
        let field = self.field(Order::Little);
        let count = field.bit_count();
        let (RawNumber::Bits(wanted) | RawNumber::Whole(wanted)) = number else {
            return Err("there are no fractions before scaling".into());
        };
        let span = 1_i128 << count;
        let negative = matches!(number, RawNumber::Whole(_)) && wanted < 0 && matches!(field.form, Form::Signed(_));
        let bits = if negative && wanted >= -span / 2 { wanted + span } else { wanted };
        u64::try_from(bits).ok().filter(|bits| i128::from(*bits) < span).ok_or_else(|| {
            let shown = if matches!(number, RawNumber::Bits(_)) { format!("{wanted:#X}") } else { wanted.to_string() };
            format!("{shown} does not fit {count} bits")
        })
    }

    fn meaning(&self) -> Meaning {
        let names = |names: &Names<{ i64::MIN }, { i64::MAX }>| {
            Meaning::Names(names.iter().map(|(number, name)| (number, name.to_owned())).collect())
        };
        let flags = |flags: &Names<0, 63>| {
            let bit = |(bit, name): (i64, &str)| Some((u8::try_from(bit).ok()?, name.to_owned()));
            Meaning::Flags(flags.iter().filter_map(bit).collect())
        };
        let meant = self.names.as_ref().map(names).or(self.flags.as_ref().map(flags));
        meant.unwrap_or_else(|| self.linear().ok().flatten().map_or(Meaning::Itself, Meaning::Scaled))
    }

    /// How it is read. `order` holds where it says none.
    pub(super) fn field(&self, order: Order) -> Field {
        let own = self.service.is_some() || self.company.is_some();
        let place = match self.at {
            Some(At::Byte(offset)) => Place::At(offset.0),
            // What stands alone stands at the front.
            None | Some(At::Next | At::Last) if own => Place::At(Position(0)),
            None | Some(At::Next) => Place::Next,
            Some(At::Last) => Place::Last,
        };
        Field {
            place,
            form: self.form(),
            big: self.order.unwrap_or(order) == Order::Big,
            part: self.part(),
            invalid: Vec::new(),
            steps: self.steps.iter().map(|step| step.0).collect(),
            meaning: self.meaning(),
            precision: self.precision.map(Ranged::get),
            negative: condition::compile(self.negative.as_ref()),
            missing: condition::compile(self.missing.as_ref()),
            inverted: self.invert,
        }
    }

    pub(super) fn compile(&self, order: Order) -> Reading {
        let company = self.company.as_ref().map(source_of_company);
        let invalid = self.invalid.iter().flat_map(|invalid| invalid.iter());
        let invalid = invalid.filter_map(|number| self.invalid_bits(*number).ok()).collect();
        Reading {
            source: self.service.map(|service| Source::Services(vec![service.0])).or(company),
            when: condition::compile(self.when.as_ref()),
            field: Field { invalid, ..self.field(order) },
        }
    }
}

/// Where the data of a company are.
pub(super) fn source_of_company(company: &Company) -> Source {
    match company {
        Company::Any => Source::AnyCompany,
        Company::Ids(ids) => Source::Companies(ids.clone()),
    }
}
