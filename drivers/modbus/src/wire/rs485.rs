//! RS-485 by the kernel: it switches the line driver on before a frame and off after it, which no
//! program can do in time. Many adapters do it themselves and need none of this.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use serial2::SerialPort;
use serial2::rs4xx::{Rs485Config, TransceiverMode};
use wharf_contract::DriverError;

/// How the line driver is switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// How long the line driver is on before the first character. In whole milliseconds.
    pub(crate) delay_before: Duration,
    /// How long it stays on after the last one. In whole milliseconds.
    pub(crate) delay_after: Duration,
    /// RTS is low while sending, and high otherwise.
    pub(crate) invert: bool,
    /// The termination resistor is switched on, where there is one that can be.
    pub(crate) terminate: bool,
}

/// Has the kernel switch the line driver.
///
/// # Errors
/// `Fatal`, if the port cannot do it.
pub(crate) fn switch_on(fd: &OwnedFd, setup: &Setup, path: &str) -> Result<(), DriverError> {
    let refused = |error: std::io::Error| DriverError::fatal(refusal(path, &error));
    // A descriptor of its own, closed again at the end.
    let port = SerialPort::from(fd.try_clone().map_err(refused)?);
    let mut config = Rs485Config::new();
    config.set_delay_before_send(setup.delay_before);
    config.set_delay_after_send(setup.delay_after);
    config.set_invert_rts(setup.invert);
    config.set_bus_termination(setup.terminate);
    port.set_rs4xx_mode(config).map_err(refused)?;
    match port.get_rs4xx_mode().map_err(refused)? {
        TransceiverMode::Rs485(_) => Ok(()),
        _ => Err(DriverError::fatal(format!("{path} took the RS-485 mode and did not keep it: {HELP}"))),
    }
}

const HELP: &str = "remove `rs485` if the adapter switches the line driver itself, as USB adapters do";

fn refusal(path: &str, error: &std::io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP) => {
            format!("the kernel's driver of {path} has no RS-485 mode ({error}): {HELP}")
        }
        _ => format!("the RS-485 mode of {path} cannot be switched on: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_rs485_says_so_and_what_to_do() {
        let setup =
            Setup { delay_before: Duration::ZERO, delay_after: Duration::ZERO, invert: false, terminate: false };
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = switch_on(&null.into(), &setup, "/dev/ttyUSB0").unwrap_err();
        assert!(matches!(error, DriverError::Fatal(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("the kernel's driver of /dev/ttyUSB0 has no RS-485 mode"), "{text}");
        assert!(text.contains("remove `rs485`"), "{text}");
    }
}
