//! What is behind the simulated Modbus link, as its registers show it: an energy meter and a boiler.
//!
//! Requests in, responses out; time comes in as an argument. [`super::meter`] puts it on a socket.
//!
//! | unit | table | address | what |
//! |---|---|---|---|
//! | 1 | input | 0, 2, 4, 6 | voltage (V), current (A), power (W), frequency (Hz), each f32 |
//! | 1 | input | 8 | energy, u32, Wh |
//! | 1 | holding | 100 | serial number, 16 characters |
//! | 2 | input | 0 | level, f32, m |
//! | 2 | input | 2 | water temperature, i16, 0.1 °C |
//! | 2 | holding | 10 | setpoint, i16, 0.1 °C, writable from 5 to 90 °C |
//! | 2 | coil | 0 | pump, writable |
//! | 2 | discrete | 0 | whether the burner is on |

use std::time::Duration;

use tokio_modbus::{ExceptionCode, Request, Response};

use super::curve;

/// The unit id of the energy meter.
pub const METER: u8 = 1;
/// The unit id of the boiler.
pub const BOILER: u8 = 2;

const SERIAL_AT: u16 = 100;
const SERIAL: &[u8; 16] = b"WHARF-DEMO-00001";
const SETPOINT_AT: u16 = 10;
const PUMP_AT: u16 = 0;

/// What the boiler accepts as a setpoint, in 0.1 °C.
const SETPOINTS: std::ops::RangeInclusive<i16> = 50..=900;
/// How fast the water follows the setpoint, in real time: slow enough to watch, fast enough to wait for.
const WATER_PACE: Duration = Duration::from_secs(20);
/// How fast the tank fills and drains, in real time.
const LEVEL_PACE: Duration = Duration::from_secs(60);
/// Where the level ends up, in m, with the pump running and without.
const FULL: f64 = 1.8;
const EMPTY: f64 = 0.6;

/// The meter and the boiler at a moment.
#[derive(Clone, Debug)]
pub struct Plant {
    /// The moment, counted from the beginning of the demo.
    now: Duration,
    /// What the meter has counted, in Wh. Only ever grows.
    energy: f64,
    /// The water's temperature, in °C.
    temperature: f64,
    /// What it is to become, in 0.1 °C.
    setpoint: i16,
    /// The level in the tank, in m.
    level: f64,
    pump: bool,
}

impl Default for Plant {
    fn default() -> Self {
        Self { now: Duration::ZERO, energy: 4_217_350.0, temperature: 48.0, setpoint: 550, level: 1.4, pump: false }
    }
}

impl Plant {
    /// Answers a request that came so long after the demo began.
    ///
    /// # Errors
    ///
    /// The exceptions a device would give: an address or function it does not have, a value it does
    /// not take, a unit that is not there.
    pub fn answer(&mut self, unit: u8, request: &Request<'_>, now: Duration) -> Result<Response, ExceptionCode> {
        self.advance(now);
        if !matches!(unit, METER | BOILER) {
            return Err(ExceptionCode::GatewayTargetDevice);
        }
        match request {
            Request::ReadCoils(start, count) => self.bits(self.coils(unit), *start, *count).map(Response::ReadCoils),
            Request::ReadDiscreteInputs(start, count) => {
                self.bits(self.discretes(unit), *start, *count).map(Response::ReadDiscreteInputs)
            }
            Request::ReadInputRegisters(start, count) => {
                slice(&self.inputs(unit), 0, *start, *count).map(Response::ReadInputRegisters)
            }
            Request::ReadHoldingRegisters(start, count) => {
                let (first, registers) = self.holdings(unit);
                slice(&registers, first, *start, *count).map(Response::ReadHoldingRegisters)
            }
            Request::WriteSingleCoil(address, on) => {
                self.write_coils(unit, *address, &[*on])?;
                Ok(Response::WriteSingleCoil(*address, *on))
            }
            Request::WriteMultipleCoils(address, coils) => {
                self.write_coils(unit, *address, coils)?;
                Ok(Response::WriteMultipleCoils(*address, 1))
            }
            Request::WriteSingleRegister(address, word) => {
                self.write_registers(unit, *address, &[*word])?;
                Ok(Response::WriteSingleRegister(*address, *word))
            }
            Request::WriteMultipleRegisters(address, words) => {
                self.write_registers(unit, *address, words)?;
                Ok(Response::WriteMultipleRegisters(*address, 1))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }

    /// Lets the time since the last request pass.
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        self.energy += self.power() * curve::hours(passed);
        self.temperature = curve::approach(self.temperature, self.target(), passed, WATER_PACE);
        self.level = curve::approach(self.level, if self.pump { FULL } else { EMPTY }, passed, LEVEL_PACE);
    }

    fn target(&self) -> f64 {
        f64::from(self.setpoint) / 10.0
    }

    fn voltage(&self) -> f64 {
        230.0 + 2.5 * curve::wobble(self.now, 1.0)
    }

    fn power(&self) -> f64 {
        curve::load(curve::hour_of_day(self.now)) * (1.0 + 0.08 * curve::wobble(self.now, 2.0))
    }

    fn inputs(&self, unit: u8) -> Vec<u16> {
        if unit == METER {
            let frequency = 50.0 + 0.02 * curve::wobble(self.now, 3.0);
            let current = self.power() / self.voltage();
            let values = [(self.voltage(), 0.1), (current, 0.01), (self.power(), 1.0), (frequency, 0.01)];
            let mut registers: Vec<u16> = values.into_iter().flat_map(|(value, step)| float(value, step)).collect();
            // A counter of 32 bits begins again at zero after four billion, as a real one does.
            registers.extend(words((self.energy as u64 & u64::from(u32::MAX)) as u32));
            registers
        } else {
            let shown = self.temperature + 0.15 * curve::wobble(self.now, 5.0);
            let mut registers = float(self.level + 0.004 * curve::wobble(self.now, 4.0), 0.001).to_vec();
            registers.push(((shown * 10.0).round() as i16).cast_unsigned());
            registers
        }
    }

    /// The holding registers, with the address of the first.
    fn holdings(&self, unit: u8) -> (u16, Vec<u16>) {
        if unit == METER {
            let pairs = SERIAL.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            (SERIAL_AT, pairs.collect())
        } else {
            (SETPOINT_AT, vec![self.setpoint.cast_unsigned()])
        }
    }

    fn coils(&self, unit: u8) -> Option<bool> {
        (unit == BOILER).then_some(self.pump)
    }

    fn discretes(&self, unit: u8) -> Option<bool> {
        (unit == BOILER).then_some(self.temperature < self.target() - 0.2)
    }

    /// Each table of bits has one bit, at address 0, or none.
    fn bits(&self, bit: Option<bool>, start: u16, count: u16) -> Result<Vec<bool>, ExceptionCode> {
        match bit {
            Some(bit) if (start, count) == (0, 1) => Ok(vec![bit]),
            _ => Err(ExceptionCode::IllegalDataAddress),
        }
    }

    fn write_coils(&mut self, unit: u8, address: u16, coils: &[bool]) -> Result<(), ExceptionCode> {
        match coils {
            [on] if (unit, address) == (BOILER, PUMP_AT) => {
                self.pump = *on;
                Ok(())
            }
            _ => Err(ExceptionCode::IllegalDataAddress),
        }
    }

    fn write_registers(&mut self, unit: u8, address: u16, words: &[u16]) -> Result<(), ExceptionCode> {
        match words {
            [word] if (unit, address) == (BOILER, SETPOINT_AT) => {
                let setpoint = word.cast_signed();
                if !SETPOINTS.contains(&setpoint) {
                    return Err(ExceptionCode::IllegalDataValue);
                }
                self.setpoint = setpoint;
                Ok(())
            }
            _ => Err(ExceptionCode::IllegalDataAddress),
        }
    }
}

/// The asked part of a table whose first register is at `first`.
fn slice(table: &[u16], first: u16, start: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
    let part = start.checked_sub(first).map(usize::from).and_then(|from| {
        let to = from + usize::from(count);
        table.get(from..to).filter(|part| !part.is_empty())
    });
    part.map(<[u16]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
}

/// As an instrument shows it: in steps of so much.
fn float(value: f64, step: f64) -> [u16; 2] {
    words((((value / step).round() * step) as f32).to_bits())
}

/// The high word first, as most meters send it.
fn words(wide: u32) -> [u16; 2] {
    [(wide >> 16) as u16, (wide & 0xffff) as u16]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn inputs(plant: &mut Plant, unit: u8, start: u16, count: u16, now: Duration) -> Vec<u16> {
        match plant.answer(unit, &Request::ReadInputRegisters(start, count), now) {
            Ok(Response::ReadInputRegisters(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    fn float_at(plant: &mut Plant, unit: u8, address: u16, now: Duration) -> f32 {
        let words = inputs(plant, unit, address, 2, now);
        f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1]))
    }

    fn temperature(plant: &mut Plant, now: Duration) -> i16 {
        inputs(plant, BOILER, 2, 1, now)[0].cast_signed()
    }

    #[test]
    fn the_meter_shows_what_a_house_would() {
        let mut plant = Plant::default();
        for second in 0..1_200 {
            let now = seconds(second);
            let [voltage, current, power, frequency] = [0, 2, 4, 6].map(|at| float_at(&mut plant, METER, at, now));
            assert!((227.0..233.0).contains(&voltage), "{voltage} V");
            assert!((49.9..50.1).contains(&frequency), "{frequency} Hz");
            assert!((200.0..4_000.0).contains(&power), "{power} W");
            assert!((voltage * current - power).abs() < 3.0, "{voltage} V and {current} A are not {power} W");
        }
    }

    #[test]
    fn the_energy_counter_counts_up_only_and_by_what_was_drawn() {
        let mut plant = Plant::default();
        let mut energy = |now| {
            let words = inputs(&mut plant, METER, 8, 2, now);
            u32::from(words[0]) << 16 | u32::from(words[1])
        };
        let first = energy(seconds(0));
        let mut last = first;
        for second in 1..=600 {
            let now = energy(seconds(second));
            assert!(now >= last);
            last = now;
        }
        // A house draws some 10 to 40 kWh a day.
        assert!((10_000..40_000).contains(&(last - first)), "{} Wh in a day", last - first);
        // A clock that goes back changes nothing.
        assert_eq!(energy(seconds(3)), last);
    }

    #[test]
    fn a_written_setpoint_is_held_and_the_water_creeps_toward_it() {
        let mut plant = Plant::default();
        let before = temperature(&mut plant, seconds(0));
        let write = Request::WriteSingleRegister(SETPOINT_AT, 700);
        assert_eq!(plant.answer(BOILER, &write, seconds(0)), Ok(Response::WriteSingleRegister(SETPOINT_AT, 700)));
        let read = Request::ReadHoldingRegisters(SETPOINT_AT, 1);
        assert_eq!(plant.answer(BOILER, &read, seconds(1)), Ok(Response::ReadHoldingRegisters(vec![700])));
        let soon = temperature(&mut plant, seconds(5));
        let later = temperature(&mut plant, seconds(120));
        assert!(before < soon && soon < later, "{before} {soon} {later}");
        assert!((695..=705).contains(&later), "{later}");
    }

    #[test]
    fn the_pump_fills_the_tank_and_without_it_the_tank_drains() {
        let mut plant = Plant::default();
        let begin = float_at(&mut plant, BOILER, 0, seconds(0));
        let drained = float_at(&mut plant, BOILER, 0, seconds(30));
        let on = Request::WriteSingleCoil(PUMP_AT, true);
        assert_eq!(plant.answer(BOILER, &on, seconds(30)), Ok(Response::WriteSingleCoil(PUMP_AT, true)));
        let coil = plant.answer(BOILER, &Request::ReadCoils(PUMP_AT, 1), seconds(30));
        assert_eq!(coil, Ok(Response::ReadCoils(vec![true])));
        let filled = float_at(&mut plant, BOILER, 0, seconds(60));
        assert!(drained < begin && filled > drained, "{begin} {drained} {filled}");
    }

    #[test]
    fn the_burner_is_on_until_the_water_is_warm() {
        let mut plant = Plant::default();
        let read = Request::ReadDiscreteInputs(0, 1);
        assert_eq!(plant.answer(BOILER, &read, seconds(0)), Ok(Response::ReadDiscreteInputs(vec![true])));
        assert_eq!(plant.answer(BOILER, &read, seconds(300)), Ok(Response::ReadDiscreteInputs(vec![false])));
    }

    #[test]
    fn the_serial_number_is_sixteen_characters_of_text() {
        let words = match Plant::default().answer(METER, &Request::ReadHoldingRegisters(SERIAL_AT, 8), seconds(0)) {
            Ok(Response::ReadHoldingRegisters(words)) => words,
            other => panic!("{other:?}"),
        };
        let bytes: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
        assert_eq!(bytes, SERIAL);
    }

    #[test]
    fn what_is_not_there_is_refused_as_a_device_would() {
        let address = ExceptionCode::IllegalDataAddress;
        for (unit, request, expected) in [
            (METER, Request::ReadInputRegisters(9, 2), address),
            (METER, Request::ReadInputRegisters(65_535, 125), address),
            (METER, Request::ReadInputRegisters(0, 0), address),
            (METER, Request::ReadHoldingRegisters(99, 2), address),
            (METER, Request::ReadCoils(0, 1), address),
            (METER, Request::WriteSingleRegister(SETPOINT_AT, 500), address),
            (BOILER, Request::ReadCoils(0, 2), address),
            (BOILER, Request::WriteMultipleRegisters(SETPOINT_AT, vec![500, 1].into()), address),
            (BOILER, Request::WriteMultipleCoils(PUMP_AT, vec![].into()), address),
            (BOILER, Request::WriteSingleRegister(SETPOINT_AT, 901), ExceptionCode::IllegalDataValue),
            (BOILER, Request::WriteSingleRegister(SETPOINT_AT, 0xffff), ExceptionCode::IllegalDataValue),
            (BOILER, Request::ReportServerId, ExceptionCode::IllegalFunction),
            (9, Request::ReadInputRegisters(0, 1), ExceptionCode::GatewayTargetDevice),
        ] {
            assert_eq!(Plant::default().answer(unit, &request, seconds(1)), Err(expected), "{unit} {request:?}");
        }
    }
}
